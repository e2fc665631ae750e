//! How a client's connection becomes a stream with a session: the header of the PROXY
//! protocol, then the TLS handshake, both within the time a client has for a head. What
//! is spoken on it afterwards is not decided here.

mod incoming;
mod proxy_protocol;
mod reload;
mod tls;
mod validity;

use std::{net::SocketAddr, rc::Rc, time::Duration};

use bytes::BytesMut;
use tokio::time::{Instant, timeout_at};

pub(crate) use incoming::Incoming;
pub(crate) use reload::Watcher;
pub use tls::{ServerTls, TlsFiles};

use crate::{Config, drain::Stop, origin::Session, stream::Stream, upstream::prepare};
use incoming::NoHeader;
use proxy_protocol::Source;

/// After a stop a client that has connected and said nothing has this long to begin.
const LAST_CALL: Duration = Duration::from_millis(500);

/// Welcomes the clients of one capture thread.
#[derive(Debug)]
pub(crate) struct Front {
    tls: Option<ServerTls>,
    proxy_protocol: bool,
    within: Duration,
    stop: Rc<Stop>,
}

/// A client to be served.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: Stream,
    pub(crate) session: Session,
    /// What has been read and not used up.
    pub(crate) buffered: BytesMut,
    /// HTTP/2 was agreed on in the TLS handshake.
    pub(crate) http2: bool,
}

/// A connection that is not served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unwelcome {
    /// It ended, or stayed silent, before anything was said: as balancers' checks do.
    Silent,
    /// Counted under this reason.
    Because(&'static str),
}

impl Front {
    pub(crate) fn new(config: &Config, stop: Rc<Stop>) -> Self {
        Self {
            tls: config.tls.clone(),
            proxy_protocol: config.proxy_protocol,
            within: config.header_timeout,
            stop,
        }
    }

    /// Makes a client of a connection that has been accepted.
    pub(crate) async fn welcome(&self, incoming: Incoming) -> Result<Client, Unwelcome> {
        let session = match &incoming {
            Incoming::Tcp(stream, peer) => {
                prepare(stream);
                Session::plain(*peer)
            }
            Incoming::Unix(_) => Session::unix(),
        };
        let tls = self.tls.as_ref().filter(|_| matches!(incoming, Incoming::Tcp(..)));
        if tls.is_none() && !self.proxy_protocol {
            return Ok(Client::plain(incoming, session));
        }
        // Short beside what follows: it need not make the future of every connection
        // large.
        Box::pin(self.greet(incoming, session, tls)).await
    }

    async fn greet(
        &self,
        incoming: Incoming,
        mut session: Session,
        tls: Option<&ServerTls>,
    ) -> Result<Client, Unwelcome> {
        let deadline = Instant::now() + self.within;
        let mut stop = self.stop.watch_more();
        tokio::select! {
            begun = timeout_at(deadline, incoming.begins()) => match begun {
                Ok(true) => {}
                Ok(false) | Err(_) => return Err(Unwelcome::Silent),
            },
            () = async {
                let since = std::future::poll_fn(|cx| stop.poll(cx)).await;
                tokio::time::sleep_until((since + LAST_CALL).into()).await;
            } => return Err(Unwelcome::Silent),
        }
        drop(stop);
        if self.proxy_protocol {
            let source = match timeout_at(deadline, incoming.proxy_header()).await {
                Ok(Ok(source)) => source,
                Ok(Err(NoHeader::Ended)) => return Err(Unwelcome::Because("proxy_ended")),
                Ok(Err(NoHeader::Refused(reason))) => return Err(Unwelcome::Because(reason)),
                Err(_) => return Err(Unwelcome::Because("proxy_timeout")),
            };
            session.comes_from(&source);
        }
        match (tls, incoming) {
            (Some(tls), Incoming::Tcp(stream, _)) => {
                match timeout_at(deadline, tls.accept(stream)).await {
                    Ok(Ok(accepted)) => {
                        session.scheme = "https";
                        session.tls_server_name = accepted.server_name;
                        session.alpn = accepted.alpn;
                        let (stream, buffered) = (accepted.stream, BytesMut::new());
                        Ok(Client { stream, session, buffered, http2: accepted.http2 })
                    }
                    Ok(Err(reason)) => Err(Unwelcome::Because(reason)),
                    Err(_) => Err(Unwelcome::Because("tls_timeout")),
                }
            }
            (_, incoming) => Ok(Client::plain(incoming, session)),
        }
    }
}

impl Client {
    fn plain(incoming: Incoming, session: Session) -> Self {
        Self { stream: incoming.into(), session, buffered: BytesMut::new(), http2: false }
    }
}

impl Session {
    /// Somebody in front has said who the client is.
    fn comes_from(&mut self, source: &Source) {
        let told = match source {
            Source::Connection => return,
            Source::Address(address) => {
                Self::plain(SocketAddr::new(address.ip().to_canonical(), address.port()))
            }
            Source::Unix => Self::unix(),
        };
        (self.peer, self.client) = (told.peer, told.client);
    }
}
