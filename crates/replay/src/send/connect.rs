//! Makes connections to one target: resolves its name, connects, shakes hands.
//! Knows nothing of HTTP but the protocol's name in the handshake.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{self, ClientConfig, pki_types::ServerName},
};

use super::{Fault, SenderError};
use crate::{config::Target, outcome::Class};

/// Where and how to connect.
pub(super) struct Connector {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
}

/// A connection, encrypted or not.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connector {
    /// The name in the handshake is the target's own, never the shadow host. `tls`:
    /// what to trust; `None`: what the target's settings say. `offer`: the protocols'
    /// names (ALPN), the preferred one first.
    pub(super) fn new(
        target: &Target,
        tls: Option<&ClientConfig>,
        offer: &[&[u8]],
    ) -> Result<Self, SenderError> {
        let bad = |why: &str| SenderError::Url(target.url.to_string(), why.to_owned());
        let host = target.url.host().ok_or_else(|| bad("it names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let (default_port, secure) = match target.url.scheme_str() {
            Some("http") => (80, false),
            Some("https") => (443, true),
            _ => return Err(bad("only http and https targets can be sent to")),
        };
        let tls = if secure {
            let name = target.tls.server_name(&host).map_err(|why| bad(&why))?;
            let mut config = match tls {
                Some(config) => config.clone(),
                None => target.tls.client_config().map_err(SenderError::Trust)?,
            };
            config.alpn_protocols = offer.iter().map(|name| name.to_vec()).collect();
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        let port = target.url.port_u16().unwrap_or(default_port);
        Ok(Self { host, port, tls, timeout: target.connect_timeout })
    }

    /// A new connection, or why there is none. Nothing of a request is written.
    pub(super) async fn connect(&self) -> Result<Stream, Fault> {
        let deadline = Instant::now() + self.timeout;
        let tcp = self.connect_tcp(deadline).await?;
        let Some((connector, name)) = &self.tls else {
            return Ok(Stream::Plain(tcp));
        };
        match timeout_at(deadline, connector.connect(name.clone(), tcp)).await {
            Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
            Ok(Err(e)) if e.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
                let hint = if is_of_another_version(&e) {
                    "; the target speaks another version of HTTP: --http1 or --http2 says which"
                } else {
                    ""
                };
                Err(Fault::new(Class::Tls, format!("TLS handshake: {e}{hint}")))
            }
            Ok(Err(e)) => Err(Fault::new(Class::Reset, format!("during the TLS handshake: {e}"))),
            Err(_) => Err(self.too_late("TLS handshake")),
        }
    }

    async fn connect_tcp(&self, deadline: Instant) -> Result<TcpStream, Fault> {
        let addresses = self.resolve(deadline).await?;
        let mut last = None;
        for address in addresses {
            match timeout_at(deadline, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Best effort: without it, small writes may only be late.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(e)) => {
                    last = Some(Fault::new(Class::Refused, format!("connect to {address}: {e}")));
                }
                Err(_) => return Err(self.too_late("connection")),
            }
        }
        Err(last.unwrap_or_else(|| {
            Fault::new(Class::Unresolved, format!("{} has no address", self.host))
        }))
    }

    async fn resolve(&self, deadline: Instant) -> Result<Vec<SocketAddr>, Fault> {
        if let Ok(ip) = self.host.parse() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        let lookup = tokio::net::lookup_host((self.host.as_str(), self.port));
        match timeout_at(deadline, lookup).await {
            Ok(Ok(addresses)) => Ok(addresses.collect()),
            Ok(Err(e)) => Err(Fault::new(Class::Unresolved, format!("resolve {}: {e}", self.host))),
            Err(_) => {
                let detail = format!("resolve {}: not within {:?}", self.host, self.timeout);
                Err(Fault::new(Class::Unresolved, detail))
            }
        }
    }

    /// Host and port, for people.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn too_late(&self, what: &str) -> Fault {
        let (host, port, timeout) = (&self.host, self.port, self.timeout);
        Fault::new(Class::Refused, format!("no {what} to {host}:{port} within {timeout:?}"))
    }
}

/// The server takes none of the protocols it was offered (RFC 7301 section 3.2).
fn is_of_another_version(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        tls,
        Some(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol))
    )
}

impl Stream {
    /// Whether the handshake agreed on HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2"))
    }

    /// Whether an idle connection may still be used. Asks the kernel, because the
    /// runtime may not have seen yet that the peer closed. Bytes that nobody asked
    /// for (a 408, a TLS close) also end it.
    pub(super) fn is_quiet(&self) -> bool {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        };
        let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        let mut byte = [0_u8; 1];
        matches!(
            rustix::net::recv(tcp, &mut byte, flags),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR)
        )
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, data),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
