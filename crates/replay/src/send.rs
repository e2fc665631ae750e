//! Sends recorded requests to one target and tells what became of each: rewrites,
//! connects, writes, reads the whole answer. Whether, when and in which order is
//! decided elsewhere; so is what an outcome means.

mod answer;
mod connect;
mod http1;
mod http2;
mod rewrite;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_rustls::rustls::ClientConfig;

use crate::{
    config::{Protocol, Target},
    outcome::{Answer, Class, Outcome, Outgoing},
};
use connect::Connector;
use http1::Http1;
use http2::Http2;
use rewrite::Rules;

/// Sends to one target; shared by all that send to it.
pub struct Sender {
    rules: Rules,
    transport: Transport,
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

enum Transport {
    Http1(Http1),
    Http2(Http2),
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
    /// A sender that trusts the certificates the operating system trusts.
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
        let connector = Connector::new(target, tls)?;
        let transport = match target.protocol {
            Protocol::Http1 => {
                Transport::Http1(Http1::new(connector, target.timeout, target.concurrency))
            }
            Protocol::Http2 => {
                let scheme = target.url.scheme_str().unwrap_or("http");
                let http2 = Http2::new(connector, scheme, target.timeout, target.concurrency);
                Transport::Http2(http2)
            }
        };
        Ok(Self { rules: Rules::new(target, job)?, transport })
    }

    /// Sends one request and takes the whole answer. Never sends a byte of it twice;
    /// ends within the target's timeouts. Dropping the future gives the request up
    /// and closes its connection (HTTP/2: its stream).
    pub async fn send(&self, outgoing: Outgoing) -> Outcome {
        let started = Instant::now();
        let shadow = match self.rules.apply(&outgoing) {
            Ok(shadow) => shadow,
            Err(why) => {
                let fault = Fault::new(Class::Unsendable, why);
                return Sent::not_connected(fault, started).into();
            }
        };
        drop(outgoing);
        match &self.transport {
            Transport::Http1(http1) => http1.send(&shadow).await,
            Transport::Http2(http2) => http2.send(shadow).await,
        }
        .into()
    }

    /// Whether a connection can be made now. Sends nothing over it.
    pub async fn probe(&self) -> bool {
        match &self.transport {
            Transport::Http1(http1) => http1.probe().await,
            Transport::Http2(http2) => http2.probe().await,
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
        }
    }
}
