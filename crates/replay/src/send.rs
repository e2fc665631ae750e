//! Sends recorded requests to one target and tells what became of each: rewrites,
//! connects, writes, reads the whole answer. Whether, when and in which order is
//! decided elsewhere; so is what an outcome means.

mod answer;
mod connect;
mod http1;
mod http2;
mod patience;
mod recorded;
mod rewrite;
mod trust;
mod value;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio_rustls::rustls::ClientConfig;
use umbra_record::{pb, redact::Restored};

use crate::{
    config::{Protocol, Target},
    outcome::{Answer, Class, Outcome, Outgoing},
    seals::{Echo, Seals},
};
use connect::Connector;
use http1::Http1;
use http2::Http2;
use patience::Patience;
use recorded::Recorded;
use rewrite::{Rules, Shadow};
pub use trust::Tls;

/// The protocols' names in a TLS handshake.
const H1: &[u8] = b"http/1.1";
const H2: &[u8] = b"h2";

/// Sends to one target; shared by all that send to it.
pub struct Sender {
    rules: Rules,
    transport: Transport,
    seals: Option<Arc<Seals>>,
    /// Whether this target is given what was sealed.
    unseal: bool,
}

/// Why a target cannot be sent to as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// The URL, and what is wrong with it.
    #[error("target {0}: {1}")]
    Url(String, String),
    /// A header that cannot be set or removed.
    #[error("header '{0}' frames or routes the request and cannot be set or removed")]
    Field(String),
    /// Nothing to verify the target's certificate with.
    #[error("TLS: {0}")]
    Trust(String),
}

/// What whoever sends one request after the other keeps between them.
#[derive(Debug, Default)]
pub(crate) struct Reused {
    patience: Patience,
    /// Its memory serves the next request.
    out: BytesMut,
}

enum Transport {
    Http1(Http1),
    Http2(Http2),
    Recorded(Box<Recorded>),
}

/// What a transport did with one request.
struct Sent {
    fault: Option<Fault>,
    written: bool,
    whole: bool,
    connect: Option<Duration>,
    started: Instant,
    answer: Option<Answer>,
}

/// What went wrong.
#[derive(Debug)]
struct Fault {
    class: Class,
    detail: String,
}

impl Sender {
    /// A sender that trusts whom the target's settings say.
    pub fn new(target: &Target, job: &str) -> Result<Self, SenderError> {
        Self::build(target, job, None)
    }

    /// A sender with its own idea of whom to trust and who it is. The protocol's
    /// name (ALPN) is set to the target's.
    pub fn with_tls(
        target: &Target,
        job: &str,
        tls: Arc<ClientConfig>,
    ) -> Result<Self, SenderError> {
        Self::build(target, job, Some(tls))
    }

    fn build(
        target: &Target,
        job: &str,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, SenderError> {
        if target.tls.insecure {
            tracing::warn!(target = target.name, "any certificate of the target is taken");
        }
        // Read once, whatever number of kinds of connections is made with it.
        let tls = match tls {
            None if target.url.scheme_str() == Some("https") => {
                Some(Arc::new(target.tls.client_config().map_err(SenderError::Trust)?))
            }
            tls => tls,
        };
        let connector = |offer: &[&[u8]]| Connector::new(target, tls.as_deref(), offer);
        let (timeout, concurrency) = (target.timeout, target.concurrency);
        let scheme = target.url.scheme_str().unwrap_or("http");
        let http1 = || Ok(Http1::new(connector(&[H1])?, timeout, concurrency));
        let http2 = || Ok(Http2::new(connector(&[H2])?, scheme, timeout, concurrency));
        let transport = match target.protocol {
            Protocol::Http1 => Transport::Http1(http1()?),
            Protocol::Http2 => Transport::Http2(http2()?),
            Protocol::Recorded => {
                let asking = connector(&[H2, H1])?;
                let patience = target.connect_timeout;
                Transport::Recorded(Box::new(Recorded::new(http1()?, http2()?, asking, patience)))
            }
        };
        let rules = Rules::new(target, job)?;
        Ok(Self { rules, transport, seals: None, unseal: target.unseal })
    }

    /// The same, putting back what was sealed, unless the target is not to get it.
    /// Without, sealed values are sent as they stand in the record.
    pub(crate) fn with_seals(self, seals: Arc<Seals>) -> Self {
        Self { seals: Some(seals), ..self }
    }

    /// Sends one request and takes the whole answer. Never sends a byte of it twice;
    /// ends within the target's timeouts. Dropping the future gives the request up
    /// and closes its connection (HTTP/2: its stream).
    pub async fn send(&self, outgoing: Outgoing) -> Outcome {
        self.send_again(outgoing, &mut Reused::default()).await
    }

    /// The same for one request after the other.
    pub(crate) async fn send_again(&self, outgoing: Outgoing, reused: &mut Reused) -> Outcome {
        let started = Instant::now();
        let unsendable = |why: String| {
            let fault = Fault::new(Class::Unsendable, why);
            Outcome::from(Sent::not_connected(fault, started))
        };
        let sealed = !outgoing.request.sealed.is_empty();
        let (outgoing, restored, echo) = match &self.seals {
            Some(seals) if sealed => match Box::pin(seals.restore(outgoing, self.unseal)).await {
                Ok(unsealed) => (unsealed.outgoing, unsealed.restored, unsealed.echo),
                Err(why) => return unsendable(why),
            },
            _ => (outgoing, Restored::default(), Echo::default()),
        };
        let shadow = match self.rules.apply(&outgoing) {
            Ok(shadow) => shadow,
            Err(why) => return unsendable(why.to_owned()),
        };
        let version = outgoing.request.version();
        let (mut sent, downgraded) = self.transport.send(&shadow, version, reused).await;
        match sent.answer.take_if(|answer| echo.is_work(answer)) {
            None => sent.answer.iter_mut().for_each(|answer| echo.remove_from(answer)),
            Some(answer) => match without(echo, answer).await {
                Ok(answer) => sent.answer = Some(answer),
                Err(fault) => sent.fault = Some(fault),
            },
        }
        Outcome { restored, downgraded, ..sent.into() }
    }

    /// Whether a connection can be made now. Sends nothing over it.
    pub async fn probe(&self) -> bool {
        match &self.transport {
            Transport::Http1(http1) => http1.probe().await,
            Transport::Http2(http2) => http2.probe().await,
            Transport::Recorded(recorded) => recorded.probe().await,
        }
    }
}

/// The answer without what was unsealed for the request, where to find that is work.
async fn without(echo: Echo, mut answer: Answer) -> Result<Answer, Fault> {
    let done = tokio::task::spawn_blocking(move || {
        echo.remove_from(&mut answer);
        answer
    });
    done.await.map_err(|stopped| {
        Fault::new(Class::Garbled, format!("taking sealed values out of the answer: {stopped}"))
    })
}

impl Transport {
    /// Tells whether it went as HTTP/1.1 although it was recorded as HTTP/2. The state of a
    /// send with HTTP/2 is boxed, so that one with HTTP/1.1 has not its size.
    async fn send(
        &self,
        shadow: &Shadow<'_>,
        version: pb::Version,
        reused: &mut Reused,
    ) -> (Sent, bool) {
        match self {
            Self::Http1(http1) => (http1.send(shadow, reused).await, false),
            Self::Http2(http2) => (Box::pin(http2.send(shadow)).await, false),
            Self::Recorded(recorded) => match version {
                // There is no HTTP/3 to a target; what it has in common with HTTP/2 is
                // most of it.
                pb::Version::Http2 | pb::Version::Http3 => {
                    Box::pin(recorded.send_http2(shadow, reused)).await
                }
                _ => (recorded.http1.send(shadow, reused).await, false),
            },
        }
    }
}

impl Fault {
    fn new(class: Class, detail: impl Into<String>) -> Self {
        Self { class, detail: detail.into() }
    }
}

impl Sent {
    fn not_connected(fault: Fault, started: Instant) -> Self {
        Self {
            fault: Some(fault),
            written: false,
            whole: false,
            connect: None,
            started,
            answer: None,
        }
    }
}

impl From<Sent> for Outcome {
    fn from(sent: Sent) -> Self {
        let (class, detail) = match sent.fault {
            Some(fault) => (fault.class, fault.detail),
            None => (Class::Answered, String::new()),
        };
        // Time spent on the rest of the body after an early answer is not latency.
        let latency = match &sent.answer {
            Some(answer) => answer.end_after,
            None => sent.started.elapsed(),
        };
        Self {
            class,
            detail,
            written: sent.written,
            whole: sent.whole,
            connect: sent.connect,
            latency,
            answer: sent.answer,
            restored: Restored::default(),
            downgraded: false,
        }
    }
}
