//! A connection that has been accepted and not yet been welcomed. Bytes can be looked
//! at without being taken, so that each layer leaves the next one its own.

use std::{io, net::SocketAddr};

use rustix::net::{RecvFlags, recv};
use tokio::{
    io::Interest,
    net::{TcpStream, UnixStream},
};

use super::proxy_protocol::{Parsed, Source, parse};
use crate::stream::Stream;

/// How much is looked at in one go.
const LOOK: usize = 1024;

/// What carries it.
#[derive(Debug)]
pub(crate) enum Incoming {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// Why a PROXY header could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoHeader {
    /// The connection ended within it.
    Ended,
    /// It is none; a reason to be counted.
    Refused(&'static str),
}

impl Incoming {
    /// Waits for the first byte. False: there will be none.
    pub(super) async fn begins(&self) -> bool {
        self.receive(&mut [0], RecvFlags::PEEK).await.is_ok_and(|n| n > 0)
    }

    /// Reads a PROXY header and nothing behind it.
    pub(super) async fn proxy_header(&self) -> Result<Source, NoHeader> {
        let mut header = Vec::new();
        let mut seen = [0; LOOK];
        loop {
            let n = self.receive(&mut seen, RecvFlags::PEEK).await.unwrap_or(0);
            if n == 0 {
                return Err(NoHeader::Ended);
            }
            let had = header.len();
            header.extend_from_slice(&seen[..n]);
            let parsed = parse(&header).map_err(NoHeader::Refused)?;
            // An incomplete one is the header's as a whole, so the wait is for more.
            let ours = match &parsed {
                Parsed::Incomplete => n,
                Parsed::Complete { len, .. } => len - had,
            };
            self.take(ours).await.map_err(|_| NoHeader::Ended)?;
            if let Parsed::Complete { source, .. } = parsed {
                return Ok(source);
            }
        }
    }

    /// Takes so many bytes that have been seen.
    async fn take(&self, mut n: usize) -> io::Result<()> {
        let mut taken = [0; LOOK];
        while n > 0 {
            match self.receive(&mut taken[..n.min(LOOK)], RecvFlags::empty()).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                some => n -= some,
            }
        }
        Ok(())
    }

    async fn receive(&self, buf: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        let flags = flags | RecvFlags::DONTWAIT;
        match self {
            Self::Tcp(stream, _) => {
                let ask = || Ok(recv(stream, &mut *buf, flags)?.0);
                stream.async_io(Interest::READABLE, ask).await
            }
            Self::Unix(stream) => {
                let ask = || Ok(recv(stream, &mut *buf, flags)?.0);
                stream.async_io(Interest::READABLE, ask).await
            }
        }
    }
}

impl From<Incoming> for Stream {
    fn from(incoming: Incoming) -> Self {
        match incoming {
            Incoming::Tcp(stream, _) => stream.into(),
            Incoming::Unix(stream) => stream.into(),
        }
    }
}
