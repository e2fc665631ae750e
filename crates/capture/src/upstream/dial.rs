//! New connections to the upstream: its name is looked up (and remembered for a
//! few seconds), and all its addresses are tried.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::{
    net::TcpStream,
    time::{timeout, timeout_at},
};

use super::Fault;
use crate::{Upstream, descriptors::is_shortage, stream::Stream};

/// How long addresses are believed.
const REMEMBER: Duration = Duration::from_secs(5);

/// Makes connections to one upstream.
#[derive(Debug)]
pub(crate) struct Dialer {
    upstream: Upstream,
    within: Duration,
    known: RefCell<Option<(Instant, Vec<SocketAddr>)>>,
    /// The address that answered last is tried first.
    first: Cell<usize>,
}

impl Dialer {
    pub(crate) fn new(upstream: Upstream, within: Duration) -> Self {
        Self { upstream, within, known: RefCell::default(), first: Cell::new(0) }
    }

    /// A new connection, within the time allowed for all addresses together.
    pub(crate) async fn connect(&self) -> Result<Stream, Fault> {
        let end = tokio::time::Instant::now() + self.within;
        let addresses = match timeout_at(end, self.addresses()).await {
            Ok(found) => found.map_err(Fault::Unresolved)?,
            Err(_) => return Err(Fault::Timeout("resolve")),
        };
        let mut last = None;
        for turn in 0..addresses.len() {
            let at = (self.first.get() + turn) % addresses.len();
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            // No address may use up the time of those behind it.
            let share = left / (addresses.len() - turn) as u32;
            match timeout(share, TcpStream::connect(addresses[at])).await {
                Ok(Ok(stream)) => {
                    self.first.set(at);
                    prepare(&stream);
                    return Ok(stream.into());
                }
                // It says nothing about the addresses.
                Ok(Err(error)) if is_shortage(&error) => return Err(Fault::Refused(error)),
                Ok(Err(error)) => last = Some(Fault::Refused(error)),
                Err(_) => last = Some(Fault::Timeout("accept a connection")),
            }
        }
        // What is remembered may be out of date.
        self.known.replace(None);
        Err(last.unwrap_or_else(|| {
            Fault::Unresolved(io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
        }))
    }

    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let Upstream { host, port, .. } = &self.upstream;
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, *port)]);
        }
        if let Some((at, known)) = &*self.known.borrow()
            && at.elapsed() < REMEMBER
        {
            return Ok(known.clone());
        }
        let found: Vec<SocketAddr> =
            tokio::net::lookup_host((host.as_str(), *port)).await?.collect();
        self.known.replace(Some((Instant::now(), found.clone())));
        Ok(found)
    }
}

/// Small messages leave at once, and a peer that vanished without a word is
/// noticed in the end.
pub(crate) fn prepare(stream: &TcpStream) {
    // Both only make things better; a socket without them works.
    let _ = stream.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
}
