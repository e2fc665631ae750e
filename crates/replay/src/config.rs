//! What a replay is told to do, ready to use: every value has been checked by
//! whoever built it (the binary's `config` module).

use std::{sync::Arc, time::Duration};

use umbra_record::{authority::ShadowHost, select::Selection};

use crate::{judge::Compare, seals::Unsealing, send::Tls};

/// A replay job's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// The job's name: same name, same plan, goes on where it stopped.
    pub job: String,
    /// Start a new run of a finished job.
    pub again: bool,
    /// Take the stored plan although the flags differ.
    pub adopt: bool,
    /// Which records.
    pub which: Which,
    /// How long to wait for late records and silent agents.
    pub grace: Duration,
    /// Stop after this many sends per target. Counts over all passes and starts of a
    /// run; of a start that was killed only what it did in partitions it had finished.
    pub limit: Option<u64>,
    /// Stop after this long. Counts like the limit, but not at all for a start that
    /// was killed.
    pub duration: Option<Duration>,
    /// Play the window this many times.
    pub repeat: u64,
    /// When each request is due.
    pub pace: Pace,
    /// Which of the records read.
    pub selection: Selection,
    /// Where to. Names are unique.
    pub targets: Vec<Target>,
    /// Promise on order.
    pub order: Order,
    /// What to do when a request cannot be sent in time.
    pub late: Late,
    /// Send methods that are not safe (RFC 9110 section 9.2.1).
    pub writes: bool,
    /// Send to the upstream the records came from.
    pub allow_production: bool,
    /// Bound of what is held of the log in memory, per target: bodies put together and
    /// requests that wait, and the largest body that can be replayed. Half as much again
    /// is taken when bodies would block each other otherwise, and the reader has a
    /// quarter of its own (beside one record of each partition).
    pub read_ahead_bytes: usize,
    /// On Kafka: a name for this member of the job that it keeps over restarts, unique
    /// among the members, so that a restart within the session timeout moves nothing.
    pub instance: Option<String>,
    /// How long in-flight requests may take after a stop.
    pub drain: Duration,
    /// How the shadows' answers are judged, if they are.
    pub compare: Option<Arc<Compare>>,
    /// How values that were sealed at capture come back.
    pub unsealing: Unsealing,
    /// Each outcome, as a JSON line, before its offset is committed.
    pub outcomes: Option<std::path::PathBuf>,
    /// The user's settings in canonical form, stored with the plan and compared
    /// when the job goes on.
    pub settings: Vec<(String, Vec<String>)>,
}

/// Which records of the log a job is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// What is appended from now on, until stopped.
    Live,
    /// Half open, by capture time in Unix nanoseconds; an open end is resolved when
    /// the job is planned (`from`: the beginning, `to`: what is in the log now).
    Window {
        /// First instant.
        from_ns: Option<u64>,
        /// First instant not meant.
        to_ns: Option<u64>,
    },
}

/// When requests are due.
#[derive(Debug, Clone, PartialEq)]
pub enum Pace {
    /// As captured, this many times as fast.
    Recorded {
        /// Above 0.
        speed: f64,
    },
    /// As they arrive in the log, or captured + delay (live).
    Arrival {
        /// After capture.
        delay: Option<Duration>,
    },
    /// So many a second.
    Rate(f64),
    /// Rates one after the other, each ramped to from the one before; the last is
    /// kept.
    Stages(Vec<Stage>),
    /// As fast as the target answers.
    Max,
}

/// One stage of [`Pace::Stages`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// How long.
    pub duration: Duration,
    /// Rate at its end, in requests a second.
    pub rate: f64,
}

/// A shadow cluster.
#[derive(Debug, Clone)]
pub struct Target {
    /// In results, metrics and the consumer group's name.
    pub name: String,
    /// As given.
    pub url: http::Uri,
    /// How the authority is made.
    pub shadow_host: ShadowHost,
    /// Share of the selected requests sent here, 0 to 100.
    pub percent: f64,
    /// Set on each request, after everything else.
    pub set_headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// Removed from each request.
    pub remove_headers: Vec<http::HeaderName>,
    /// Most requests in flight.
    pub concurrency: usize,
    /// Longest wait for the whole answer.
    pub timeout: Duration,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// HTTP version to send with.
    pub protocol: Protocol,
    /// If its URL is `https`.
    pub tls: Tls,
    /// Whether it is sent what was sealed at capture.
    pub unseal: bool,
    /// When it refuses connections.
    pub when_down: WhenDown,
}

/// HTTP version of the requests sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// As recorded: HTTP/1.1 for HTTP/1.0 too; HTTP/2 by prior knowledge on `http` and by
    /// agreement on `https`, and HTTP/1.1 instead where the target speaks no HTTP/2.
    Recorded,
    /// Always HTTP/1.1.
    Http1,
    /// Always HTTP/2 (prior knowledge on `http`).
    Http2,
}

/// What happens while a target refuses connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenDown {
    /// Hold its pipeline until it is back, or give up after this long.
    Hold(Option<Duration>),
    /// Count its requests as skipped and go on.
    Skip,
}

/// What order is kept between requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// A request waits for the answer to the one before it on its connection.
    Connection,
    /// None.
    Free,
}

/// What happens to a request that is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// Sent all the same.
    Send,
    /// Skipped and counted beyond this bound.
    Skip(Duration),
}
