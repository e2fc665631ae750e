//! Connections to upstreams: which one is meant, connections made, kept while idle,
//! handed out again. Each capture thread has its own.

mod dial;
mod pool;
mod routes;
mod tls;

use std::io;

use umbra_record::pb::Failure;

use crate::{
    descriptors::{self, Counted},
    h1::Malformed,
    stream::Stream,
};

pub(crate) use dial::{Dialer, Offer, prepare};
pub(crate) use pool::Pool;
pub(crate) use routes::{Backend, Routes};

pub use tls::{ClientTls, Trust, TrustError};
pub(crate) use tls::{HTTP1, HTTP2, authorities, rustls_error};

/// A connection to the upstream.
#[derive(Debug)]
pub(crate) struct Link {
    // Closed before it is no longer counted.
    pub(crate) stream: Stream,
    counted: Counted,
}

impl Link {
    pub(crate) fn new(stream: Stream, counted: Counted) -> Self {
        Self { stream, counted }
    }

    /// The stream, for those who need it as a whole, and what is to be dropped after it.
    pub(crate) fn into_parts(self) -> (Stream, Counted) {
        (self.stream, self.counted)
    }
}

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
    /// The TLS handshake failed.
    #[error("cannot agree on TLS with the upstream: {0}")]
    Tls(String),
    /// What came is not HTTP.
    #[error("the upstream sent no valid HTTP: {0}")]
    Garbled(&'static str),
    /// It ended the stream of the request, with this code.
    #[error("the upstream reset the stream: {0}")]
    StreamReset(h2::Reason),
    /// It did not process the request, because it ended the session.
    #[error("the upstream ended the session before the request: {0}")]
    GoneAway(h2::Reason),
    /// What the client sends cannot be said to the upstream.
    #[error("{reason}")]
    Misframed {
        /// What the client is told.
        status: u16,
        /// As in [`Malformed`].
        reason: &'static str,
    },
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Misframed { status: malformed.status, reason: malformed.reason }
    }
}

impl Fault {
    /// No descriptor was left for a connection.
    pub(crate) fn is_shortage(&self) -> Option<&io::Error> {
        match self {
            Self::Unresolved(error) | Self::Refused(error) => {
                Some(error).filter(|error| descriptors::is_shortage(error))
            }
            _ => None,
        }
    }

    /// What the client is told (RFC 9110 15.6.3, 15.6.5).
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Timeout(_) => 504,
            Self::Misframed { status, .. } => *status,
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
            Self::Tls(_) => Failure::Tls,
            Self::StreamReset(_) | Self::GoneAway(_) => Failure::Reset,
            // It is the client's fault.
            Self::Misframed { .. } => Failure::None,
        }
    }

    /// What an HTTP/2 client is told once it is too late for a status (RFC 9113 7).
    pub(crate) fn reason(&self) -> h2::Reason {
        match self {
            // Without the end of the answer it is none that went well.
            Self::StreamReset(h2::Reason::NO_ERROR) => h2::Reason::INTERNAL_ERROR,
            Self::StreamReset(reason) => *reason,
            // The client may send it again.
            Self::GoneAway(_) => h2::Reason::REFUSED_STREAM,
            Self::Timeout(_) => h2::Reason::CANCEL,
            Self::Misframed { .. } => h2::Reason::PROTOCOL_ERROR,
            _ => h2::Reason::INTERNAL_ERROR,
        }
    }
}
