//! New connections to an upstream over TCP, a Unix socket or TLS: its name is looked
//! up (and remembered for a few seconds), all its addresses are tried, and which
//! version of HTTP is spoken is settled.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use tokio::{
    net::{TcpStream, UnixStream},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    Fault,
    tls::{Alpn, ClientTls, HTTP2, rustls_error, speaks_none},
};
use crate::{Transport, Upstream, UpstreamHttp, descriptors::is_shortage, stream::Stream};

/// How long addresses are believed.
const REMEMBER: Duration = Duration::from_secs(5);

/// A Unix socket whose queue is full refuses at once: it is asked again so often.
const FULL: Duration = Duration::from_millis(5);

/// What the client speaks, and the upstream is to speak too if it is free to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    Http1,
    Http2,
}

/// Makes connections to one upstream.
#[derive(Debug)]
pub(crate) struct Dialer {
    upstream: Upstream,
    within: Duration,
    known: RefCell<Option<(Instant, Vec<SocketAddr>)>>,
    /// The address that answered last is tried first.
    first: Cell<usize>,
    /// It refused to speak HTTP/1.1 in its last handshake.
    only_http2: Cell<bool>,
}

impl Dialer {
    pub(crate) fn new(upstream: Upstream, within: Duration) -> Self {
        Self {
            upstream,
            within,
            known: RefCell::default(),
            first: Cell::new(0),
            only_http2: Cell::new(false),
        }
    }

    /// What the scheme of requests to it is.
    pub(crate) fn scheme(&self) -> &'static str {
        match self.upstream.transport {
            Transport::Tcp | Transport::Unix(_) => "http",
            Transport::Tls(_) => "https",
        }
    }

    /// Whether HTTP/2 may be what a client of HTTP/2 gets.
    pub(crate) fn may_speak_http2(&self) -> bool {
        match self.upstream.http {
            UpstreamHttp::Auto => matches!(self.upstream.transport, Transport::Tls(_)),
            UpstreamHttp::Http1 => false,
            UpstreamHttp::Http2 => true,
        }
    }

    /// Whether HTTP/2 is what a client of HTTP/1 gets too.
    pub(crate) fn speaks_only_http2(&self) -> bool {
        self.upstream.http == UpstreamHttp::Http2 || self.only_http2.get()
    }

    /// A new connection, within the time allowed for all addresses together; and
    /// whether HTTP/2 is to be spoken on it.
    pub(crate) async fn connect(&self, offer: Offer) -> Result<(Stream, bool), Fault> {
        let end = Instant::now() + self.within;
        let http2 = self.upstream.http == UpstreamHttp::Http2;
        match &self.upstream.transport {
            Transport::Tcp => Ok((self.tcp(end).await?.into(), http2)),
            Transport::Unix(path) => Ok((unix(path, end).await?.into(), http2)),
            // Rare beside the requests that follow: it need not make their futures large.
            Transport::Tls(tls) => Box::pin(self.tls(tls, offer, end)).await,
        }
    }

    async fn tls(
        &self,
        tls: &ClientTls,
        offer: Offer,
        end: Instant,
    ) -> Result<(Stream, bool), Fault> {
        let auto = self.upstream.http == UpstreamHttp::Auto;
        let mut alpn = match (self.upstream.http, offer) {
            (UpstreamHttp::Http1, _) => Alpn::Http1,
            (UpstreamHttp::Http2, _) => Alpn::Http2,
            (UpstreamHttp::Auto, Offer::Http2) => Alpn::Http2First,
            (UpstreamHttp::Auto, Offer::Http1) if self.only_http2.get() => Alpn::Http2First,
            (UpstreamHttp::Auto, Offer::Http1) => Alpn::Http1,
        };
        loop {
            let stream = self.tcp(end).await?;
            let error = match timeout_at(end, tls.handshake(alpn, stream)).await {
                Ok(Ok(session)) => {
                    let http2 = session.get_ref().1.alpn_protocol() == Some(HTTP2);
                    if alpn == Alpn::Http2 && !http2 {
                        return Err(Fault::Tls("it does not speak HTTP/2".to_owned()));
                    }
                    self.only_http2.set(http2 && offer == Offer::Http1);
                    return Ok((tokio_rustls::TlsStream::from(session).into(), http2));
                }
                Ok(Err(error)) => error,
                Err(_) => return Err(Fault::Timeout("shake hands")),
            };
            if auto && alpn == Alpn::Http1 && speaks_none(&error) {
                alpn = Alpn::Http2First;
                continue;
            }
            return Err(match rustls_error(&error) {
                Some(error) => Fault::Tls(error.to_string()),
                None => Fault::Reset(error),
            });
        }
    }

    async fn tcp(&self, end: Instant) -> Result<TcpStream, Fault> {
        let addresses = match timeout_at(end, self.addresses()).await {
            Ok(found) => found.map_err(Fault::Unresolved)?,
            Err(_) => return Err(Fault::Timeout("resolve")),
        };
        let mut last = None;
        for turn in 0..addresses.len() {
            let at = (self.first.get() + turn) % addresses.len();
            let left = end.saturating_duration_since(Instant::now());
            // No address may use up the time of those behind it.
            let share = left / (addresses.len() - turn) as u32;
            match timeout(share, TcpStream::connect(addresses[at])).await {
                Ok(Ok(stream)) => {
                    self.first.set(at);
                    prepare(&stream);
                    return Ok(stream);
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

async fn unix(path: &Path, end: Instant) -> Result<UnixStream, Fault> {
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                return Err(Fault::Refused(error));
            }
            Err(_) if Instant::now() >= end => return Err(Fault::Timeout("accept a connection")),
            Err(_) => sleep(FULL).await,
        }
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
