//! The settings of `capture`, ready to use.

use std::{path::PathBuf, time::Duration};

use umbra_capture::{
    Config, KeyBy, Profile, RecordResponses, Route, ServerTls, Sink, Suffix, TlsFiles, Upstream,
};

use super::{
    privacy::{Privacy, key, privacy},
    selection, upstream,
};
use crate::{
    listen::Listen,
    settings::{Settings, values},
};

/// Largest body kept in one record: leaves room for a head below a broker's
/// default limit of 1 MiB.
const MAX_RECORD_BODY: usize = 512 << 10;

/// An agent, before its sockets are bound.
#[derive(Debug)]
pub(crate) struct Capture {
    /// Where it listens.
    pub(crate) listen: Vec<Listen>,
    /// Where one agent asks the one before it for its sockets.
    pub(crate) handover: Option<PathBuf>,
    /// What the library is told, but for its keys …
    pub(crate) config: Config,
    /// … which are made as this says.
    pub(crate) privacy: Privacy,
    /// Where records go while the log does not take them …
    pub(crate) spool: Spool,
    /// … and how much of them.
    pub(crate) spool_max: u64,
    /// Its part of the memory.
    pub(crate) spool_queue: usize,
}

/// What `--spool` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spool {
    /// If the log may be away.
    Auto,
    /// Nowhere.
    Off,
    /// There.
    Dir(PathBuf),
}

/// How `--memory` is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Tee and recorder.
    pub(crate) tee: usize,
    /// The queue before the log.
    pub(crate) queue: usize,
    /// The queue before the spool's files.
    pub(crate) spool: usize,
}

/// Largest queue before the spool's files.
const SPOOL_QUEUE: usize = 8 << 20;

impl Shares {
    /// `queue`: what is wished for.
    pub(crate) fn of(memory: usize, queue: usize) -> Self {
        let queue = queue.min(memory / 4);
        let spool = (memory / 8).min(SPOOL_QUEUE);
        Self { tee: memory - queue - spool, queue, spool }
    }
}

/// Reads the settings of an agent.
pub(crate) fn capture(settings: &mut Settings, drain: Duration) -> Option<Capture> {
    if settings.texts("listen").is_empty() {
        settings.problem("listen", "is required");
    }
    let listen = settings.read_all("listen", Listen::parse);
    let handover = settings.text("handover").map(PathBuf::from);
    let sink = sink(settings);
    let (upstream, routes) = upstreams(settings);
    let key = match settings.read("key", key).unwrap_or_default() {
        KeyBy::Auto if sink.is_some() => KeyBy::Client,
        key => key,
    };
    let privacy = privacy(settings, &key);
    let labels = settings.read_all("label", values::pair).into_iter().collect();
    let time = |s: &mut Settings, name| s.read(name, values::some_duration).unwrap_or_default();
    let number = |s: &mut Settings, name| s.read(name, values::count).unwrap_or(1) as usize;
    let bytes = |s: &mut Settings, name| s.read(name, values::size).unwrap_or_default();
    let config = Config {
        upstream,
        routes,
        sink,
        tls: tls(settings),
        proxy_protocol: settings.on("proxy-protocol"),
        connect: settings.on("connect"),
        selection: selection(settings, "capture"),
        responses: settings.read("responses", responses).unwrap_or(RecordResponses::Full),
        max_body: bytes(settings, "max-body"),
        max_response_body: bytes(settings, "max-response-body"),
        key,
        privacy: umbra_capture::Privacy {
            rules: privacy.rules.clone(),
            ..umbra_capture::Privacy::default()
        },
        agent: umbra_capture::new_agent(),
        max_record_body: MAX_RECORD_BODY,
        memory: memory(settings),
        labels,
        threads: settings.read("threads", threads).unwrap_or(1),
        connect_timeout: time(settings, "upstream-connect-timeout"),
        upstream_timeout: time(settings, "upstream-timeout"),
        header_timeout: time(settings, "header-timeout"),
        idle_timeout: time(settings, "idle-timeout"),
        max_head: bytes(settings, "max-head") as usize,
        max_headers: number(settings, "max-headers"),
        max_connections: number(settings, "max-connections"),
        max_streams: u32::try_from(number(settings, "max-streams")).unwrap_or(u32::MAX),
        open_after: time(settings, "open-after"),
        mark_every: time(settings, "mark-every"),
        drain,
        spool: None,
    };
    if !(1 << 10..=1 << 20).contains(&config.max_head) {
        settings.problem("max-head", "must be from 1KiB to 1MiB");
    }
    // A head of the largest size holds no more.
    if config.max_headers > 100_000 {
        settings.problem("max-headers", "more than 100000");
    }
    if config.max_connections > 10_000_000 {
        settings.problem("max-connections", "more than 10000000");
    }
    if config.max_response_body > MAX_RECORD_BODY as u64 {
        settings.problem("max-response-body", "must be at most 512KiB: an answer is one record");
    }
    let spool = settings.read("spool", spool).unwrap_or(Spool::Auto);
    let spool_max = bytes(settings, "spool-max");
    if spool_max < 1 << 20 {
        settings.problem("spool-max", "less than 1MiB");
    }
    Some(Capture { listen, handover, config, privacy, spool, spool_max, spool_queue: SPOOL_QUEUE })
}

/// TLS towards clients, if there are certificates.
fn tls(settings: &mut Settings) -> Option<ServerTls> {
    let path = |name| settings.text(name).map(PathBuf::from);
    let (certificate, key) = (path("tls-cert"), path("tls-key"));
    let client_authorities = path("tls-client-ca");
    let missing = match (&certificate, &key) {
        (Some(_), Some(_)) => None,
        (None, None) if client_authorities.is_some() => Some("tls-cert"),
        (None, None) => return None,
        (Some(_), None) => Some("tls-key"),
        (None, Some(_)) => Some("tls-cert"),
    };
    if let Some(missing) = missing {
        settings.problem(missing, "is required: TLS takes a certificate and its key");
    }
    let files = TlsFiles { certificate: certificate?, key: key?, client_authorities };
    let loaded = ServerTls::load(files);
    let told = |problems: Vec<String>| {
        problems.into_iter().for_each(|problem| settings.trouble(format!("TLS: {problem}")));
    };
    loaded.map_err(told).ok()
}

/// The mirror sink, if it is to be one.
fn sink(settings: &mut Settings) -> Option<Sink> {
    let profile = settings.read("sink", str::parse::<Profile>);
    let suffix = settings.read("sink-suffix", |text| match text {
        "auto" => Ok(None),
        "strip" => Ok(Some(Suffix::Strip)),
        "keep" => Ok(Some(Suffix::Keep)),
        _ => Err("expected auto, strip or keep".into()),
    });
    let original = settings.on("sink-original");
    for name in ["sink-suffix", "sink-original"] {
        if settings.text("sink").is_none() && settings.given(name) {
            settings.problem(name, "has a meaning with --sink only");
        }
    }
    let sink = Sink::new(profile?);
    if original && matches!(sink.profile, Profile::Plain | Profile::Nginx) {
        settings.problem("sink-original", "only Envoy tells the original path and host");
    }
    Some(Sink { suffix: suffix.flatten().unwrap_or(sink.suffix), original, ..sink })
}

/// A sink has none.
fn upstreams(settings: &mut Settings) -> (Upstream, Vec<Route>) {
    let found = match (settings.text("sink"), settings.text("upstream")) {
        (Some(_), None) => None,
        (Some(_), Some(_)) => {
            settings.problem("sink", "answers by itself: it has no --upstream");
            None
        }
        (None, None) => {
            settings.problem("upstream", "is required, or --sink");
            None
        }
        (None, Some(_)) => upstream::upstreams(settings),
    };
    let nowhere = || Upstream { url: String::new(), ..Upstream::tcp("localhost", 80) };
    found.unwrap_or_else(|| (nowhere(), Vec::new()))
}

fn spool(text: &str) -> Result<Spool, String> {
    match text {
        "auto" => Ok(Spool::Auto),
        "off" => Ok(Spool::Off),
        "" => Err("expected a directory, auto or off".into()),
        dir => Ok(Spool::Dir(PathBuf::from(dir))),
    }
}

fn memory(settings: &mut Settings) -> usize {
    let bytes = settings.read("memory", values::size).unwrap_or(128 << 20);
    if bytes < 1 << 20 {
        settings.problem("memory", "less than 1MiB");
    }
    bytes as usize
}

fn responses(text: &str) -> Result<RecordResponses, String> {
    match text {
        "off" => Ok(RecordResponses::Off),
        "head" => Ok(RecordResponses::Head),
        "full" => Ok(RecordResponses::Full),
        _ => Err("expected off, head or full".into()),
    }
}

fn threads(text: &str) -> Result<usize, String> {
    if text == "auto" {
        return Ok(std::thread::available_parallelism().map_or(1, usize::from));
    }
    match values::count(text)? {
        number @ 1..=256 => Ok(number as usize),
        _ => Err("must be at most 256".into()),
    }
}
