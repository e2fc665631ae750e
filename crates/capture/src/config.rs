//! What an agent is told to do, ready to use: every value has been checked by
//! whoever built it (the binary's `config` module).

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use umbra_record::select::Selection;

use crate::{ClientTls, Privacy, ServerTls, Sink, SpoolConfig};

/// An agent's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where requests go that no route is for.
    pub upstream: Upstream,
    /// Where others go; the first that matches wins.
    pub routes: Vec<Route>,
    /// They go nowhere: a mesh mirrors them to the agent, which answers by itself.
    pub sink: Option<Sink>,
    /// TLS for clients that come over TCP.
    pub tls: Option<ServerTls>,
    /// Each connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// CONNECT is passed on, instead of being refused with 405.
    pub connect: bool,
    /// Which requests are recorded.
    pub selection: Selection,
    /// Whether and how far answers are recorded.
    pub responses: RecordResponses,
    /// Largest request body recorded whole; the rest is cut and marked.
    pub max_body: u64,
    /// Largest answer body recorded whole.
    pub max_response_body: u64,
    /// Largest body kept in one record; larger ones follow as parts.
    pub max_record_body: usize,
    /// Budget of the tee and the recorder: bytes of messages held for the log.
    pub memory: usize,
    /// What keeps records together, in one partition and in order.
    pub key: KeyBy,
    /// Which values do not leave the process as they are.
    pub privacy: Privacy,
    /// The process that captures, as its records name it: see [`crate::new_agent`].
    pub agent: [u8; 16],
    /// Copied into each record.
    pub labels: BTreeMap<String, String>,
    /// Capture threads; each is a lane with its own upstream connections.
    pub threads: usize,
    /// Longest wait for a connection to the upstream.
    pub connect_timeout: Duration,
    /// Longest silence of the upstream before its answer's head: 504. Afterwards it
    /// takes the time it needs, as streams of events do.
    pub upstream_timeout: Duration,
    /// Longest time for a client to send a head.
    pub header_timeout: Duration,
    /// Longest idle time of a client's connection: between requests, in the middle
    /// of a body, and while it does not read its answer. After this long without a
    /// byte of a streaming answer, a client that has closed its side is given up.
    pub idle_timeout: Duration,
    /// Largest head of a message, in bytes.
    pub max_head: usize,
    /// Most fields in a head.
    pub max_headers: usize,
    /// Most client connections at a time.
    pub max_connections: usize,
    /// Most requests at a time on an HTTP/2 connection of a client.
    pub max_streams: u32,
    /// A request still open after this is written as it stands.
    pub open_after: Duration,
    /// How often each lane writes a Mark into each partition.
    pub mark_every: Duration,
    /// After a stop: running requests may take three quarters of this, the log has
    /// what is left (but never less than half a second).
    pub drain: Duration,
    /// Where records go while the log does not take them; none: they wait for the
    /// log within the budget, and are lost beyond.
    pub spool: Option<SpoolConfig>,
}

impl Config {
    /// Most bytes that a request's body may become when its coding is removed.
    pub(crate) fn body_limit(&self) -> usize {
        usize::try_from(self.max_body).unwrap_or(usize::MAX)
    }

    /// Most bytes of an answer's body that are recorded.
    pub(crate) fn max_answer_body(&self) -> usize {
        let most = usize::try_from(self.max_response_body).unwrap_or(usize::MAX);
        most.min(self.max_record_body)
    }
}

/// One upstream service.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// As the user wrote it, for records and messages.
    pub url: String,
    /// Name or address; a Unix socket's stands for it in requests without Host.
    pub host: String,
    /// Port; of a Unix socket it means nothing.
    pub port: u16,
    /// How it is reached.
    pub transport: Transport,
    /// What is spoken.
    pub http: UpstreamHttp,
}

/// What carries the connections to an upstream.
#[derive(Debug, Clone)]
pub enum Transport {
    /// TCP, in the clear.
    Tcp,
    /// A Unix socket, in the clear.
    Unix(PathBuf),
    /// TLS over TCP.
    Tls(ClientTls),
}

/// The version of HTTP spoken to an upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UpstreamHttp {
    /// HTTP/1.1 in the clear; over TLS what the client speaks, if the upstream does too,
    /// else the other.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A rule of the table of upstreams.
#[derive(Debug, Clone)]
pub struct Route {
    /// For this host: a name, on whatever port; a name with a port; or `*.example.com`
    /// for all names below. None: for all.
    pub host: Option<String>,
    /// For paths that begin with these elements: `/api` is for `/api` and `/api/x`.
    /// None: for all.
    pub path: Option<String>,
    /// Where such requests go.
    pub upstream: Upstream,
}

/// What keeps records together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KeyBy {
    /// The connection on HTTP/1, the request on HTTP/2.
    #[default]
    Auto,
    /// The client's connection.
    Connection,
    /// Nothing but the request and its answer.
    Request,
    /// The client's address.
    Client,
    /// The value of this header; without it, the connection.
    Header(String),
    /// The value of this cookie; without it, the connection.
    Cookie(String),
}

/// How much of an answer is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordResponses {
    /// Nothing.
    Off,
    /// Status, headers, times, length and hash of the body.
    Head,
    /// The body too, up to `max_response_body`.
    Full,
}

impl Upstream {
    /// HTTP/1.1 in the clear.
    pub fn tcp(host: &str, port: u16) -> Self {
        let shown = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Self {
            url: format!("http://{shown}:{port}"),
            host: host.to_owned(),
            port,
            transport: Transport::Tcp,
            http: UpstreamHttp::Auto,
        }
    }

    /// What stands for it in requests without Host.
    pub(crate) fn authority(&self) -> Vec<u8> {
        let host = self.host.trim_matches(['[', ']']);
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let usual = match self.transport {
            Transport::Tcp => self.port == 80,
            Transport::Tls(_) => self.port == 443,
            Transport::Unix(_) => true,
        };
        if usual { host.into_bytes() } else { format!("{host}:{}", self.port).into_bytes() }
    }
}
