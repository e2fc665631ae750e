//! Connections to the upstream: made, kept while idle, handed out again. One per
//! capture thread; nothing here is shared between threads.

mod dial;
mod pool;

use std::io;

use umbra_record::pb::Failure;

pub(crate) use dial::{Dialer, prepare};
pub(crate) use pool::Pool;

/// Why there is no answer of the upstream, or no more of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Its name has no address.
    #[error("cannot resolve the upstream: {0}")]
    Unresolved(io::Error),
    /// No connection could be made.
    #[error("cannot connect to the upstream: {0}")]
    Refused(io::Error),
    /// It took longer than allowed to connect or to answer.
    #[error("the upstream did not {0} in time")]
    Timeout(&'static str),
    /// The connection ended too early.
    #[error("the upstream closed the connection: {0}")]
    Reset(io::Error),
    /// What came is not HTTP.
    #[error("the upstream sent no valid HTTP: {0}")]
    Garbled(&'static str),
}

impl Fault {
    /// What the client is told (RFC 9110 15.6.3, 15.6.5).
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Timeout(_) => 504,
            _ => 502,
        }
    }

    /// What the record says.
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::Unresolved(_) => Failure::Unresolved,
            Self::Refused(_) => Failure::Refused,
            Self::Timeout(_) => Failure::Timeout,
            Self::Reset(_) => Failure::Reset,
            Self::Garbled(_) => Failure::Garbled,
        }
    }
}
