//! `umbra capture`: binds the sockets, opens the log, runs the agent and tells
//! what became of its requests.

mod sockets;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use umbra_capture::{AgentError, Report, Snapshot, SpoolConfig, Stats};
use umbra_log::{Log, LogOptions};

pub(crate) use sockets::Sockets;

use super::privacy;
use crate::{
    admin,
    config::{self, Capture, Output, Run, Shares, Spool},
    exit::{Code, Failure, Outcome},
    heartbeat, output, ready,
    settings::Settings,
    signals,
};

/// Runs it.
pub(crate) async fn run(mut settings: Settings) -> Outcome {
    let form = config::output(&mut settings);
    let run = config::run(&mut settings);
    let log = config::log(&mut settings);
    let capture = config::capture(&mut settings, run.drain);
    let (mut log, mut capture) = config::all_there(&settings, log.zip(capture))?;
    share_memory(&mut capture, &mut log.options);

    let stop = CancellationToken::new();
    let signals = signals::watch(stop.clone())?;
    let mut sockets = Sockets::new(&capture).await?;
    let log = sockets.open_log(log, &stop).await?;
    let shown = admin::Shown::new(settings.as_yaml());
    let agent = Agent::start(capture, &run, shown, &log, &mut sockets, stop).await?;
    tracing::info!(log = log.name(), listen = ?agent.ready.listen, admin = ?agent.ready.admin, "capturing");
    ready::write(run.ready_file.as_deref(), &agent.ready)?;
    let report = agent.finish().await?;
    signals.abort();
    match form {
        Output::Json => output::json(&as_json(&report))?,
        Output::Text => output::text(&as_text(&report))?,
    }
    Ok(0)
}

/// A running agent.
pub(crate) struct Agent {
    /// Where it listens.
    pub(crate) ready: ready::Ready,
    stats: Stats,
    work: tokio::task::JoinHandle<Result<Report, AgentError>>,
    /// Keys of the days to come; ends when it is dropped.
    renewal: JoinSet<()>,
    admin: admin::Server,
}

impl Agent {
    /// Binds everything and starts the threads.
    pub(crate) async fn start(
        mut capture: Capture,
        run: &Run,
        mut shown: admin::Shown,
        log: &Log,
        sockets: &mut Sockets,
        stop: CancellationToken,
    ) -> Result<Self, Failure> {
        let stats = Stats::default();
        stats.register(&mut shown.registry);
        let renewal = privacy::open(&mut capture, log).await?;
        fit_descriptors(&mut capture);
        capture.config.spool = spool(&capture, log);
        let bound = sockets.bind(&capture.listen)?;
        let shown = Arc::new(shown);
        let admin = |shown| admin::Server::start(run.admin.as_deref(), shown);
        let early = match sockets.takes_over() {
            false => Some(admin(Arc::clone(&shown)).await?),
            true => None,
        };
        let appender = Arc::new(log.appender().await?);
        // What comes from here on waits in the sockets' queues until the threads run.
        sockets.go().await?;
        shown.ready.store(true, Ordering::Release);
        let (counters, stopped) = (stats.clone(), stop.clone());
        let work = tokio::task::spawn_blocking(move || {
            umbra_capture::run(capture.config, bound.listeners, appender, counters, stopped)
        });
        let admin = match early {
            Some(admin) => admin,
            // The agent before this one gives up its place.
            None => admin(shown).await?,
        };
        sockets.wait_for_successor(admin.stop_signal(), stop)?;
        let ready =
            ready::Ready { listen: bound.shown, admin: admin.address, pid: std::process::id() };
        Ok(Self { ready, stats, work, renewal, admin })
    }

    /// Waits for the end of the drain, with a heartbeat meanwhile.
    pub(crate) async fn finish(self) -> Result<Report, Failure> {
        let mut last = Snapshot::default();
        let stats = self.stats;
        let work = heartbeat::during(self.work, |seconds| {
            let now = stats.snapshot();
            let rate = (now.requests - last.requests) as f64 / seconds;
            tracing::info!(
                requests = now.requests,
                rate = format!("{rate:.1}/s"),
                recorded = now.recorded,
                not_selected = now.not_selected,
                lost = ?now.lost,
                tee_bytes = now.tee_bytes,
                spool_bytes = now.spool_bytes,
                spooled = now.spooled,
                connections = now.connections,
                "capture heartbeat"
            );
            last = now;
        });
        let report = work.await.map_err(|e| Failure::new(Code::Bug, format!("capture: {e}")))?;
        drop(self.renewal);
        self.admin.end().await;
        let report = report.map_err(|error| failure(&error))?;
        if report.spooled > 0 {
            tracing::warn!(
                records = report.spooled,
                "left in the spool: the next agent with the same --spool and --log delivers them"
            );
        }
        if !report.lost.is_empty() {
            tracing::error!(lost = ?report.lost, "requests were not recorded");
        }
        Ok(report)
    }
}

/// Capture threads whose records one producer of Kafka compresses with ease: it is busy with
/// those of eight that record small answers, or of one that records large ones at full rate.
const THREADS_PER_PRODUCER: usize = 4;

/// What of `--memory` the queues take, and how many producers share the one before Kafka. A
/// record that can be put into parts takes no more than half of the queue before the log.
pub(crate) fn share_memory(capture: &mut Capture, options: &mut LogOptions) {
    let shares = Shares::of(capture.config.memory, options.queue_bytes);
    if shares.queue < options.queue_bytes {
        tracing::info!(bytes = shares.queue, "--queue is cut to a quarter of --memory");
    }
    options.queue_bytes = shares.queue;
    options.producers = capture.config.threads.div_ceil(THREADS_PER_PRODUCER) as u32;
    capture.config.memory = shares.tee;
    capture.config.max_record_body = capture.config.max_record_body.min(shares.queue / 2);
    capture.spool_queue = shares.spool;
}

/// When the log does not take records in time, and they are kept in the spool.
const STALL: Duration = Duration::from_secs(5);

fn spool(capture: &Capture, log: &Log) -> Option<SpoolConfig> {
    let dir = match &capture.spool {
        Spool::Off => None,
        Spool::Dir(dir) => Some(dir.clone()),
        Spool::Auto if matches!(log, Log::File(_)) => return None,
        Spool::Auto => state_dir().map(|dir| dir.join("umbra/spool")),
    };
    if dir.is_none() && matches!(log, Log::Kafka(_)) {
        tracing::warn!(
            "without --spool what is captured while Kafka is away is kept in memory only, and lost beyond --memory"
        );
    }
    Some(SpoolConfig {
        dir: dir?,
        // Where nobody asked for it, capture begins without.
        required: matches!(capture.spool, Spool::Dir(_)),
        max_bytes: capture.spool_max,
        log: log.name().to_owned(),
        stall: STALL,
        queue_bytes: capture.spool_queue,
        window_bytes: capture.spool_queue,
    })
}

/// Where programs keep what should outlive them.
fn state_dir() -> Option<PathBuf> {
    let dir =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    dir("XDG_STATE_HOME").or_else(|| dir("HOME").map(|home| home.join(".local/state")))
}

/// Descriptors kept for the log, the admin endpoints and whatever else …
const RESERVED_DESCRIPTORS: u64 = 128;

/// … and for each capture thread.
const THREAD_DESCRIPTORS: u64 = 8;

/// A client's connection takes two descriptors, its own and one to the upstream: as
/// many are allowed as the system gives, and no more clients accepted than can be
/// served.
fn fit_descriptors(capture: &mut Capture) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            limit = getrlimit(Resource::Nofile);
        }
    }
    let Some(open) = limit.current else { return };
    let kept = RESERVED_DESCRIPTORS + THREAD_DESCRIPTORS * capture.config.threads as u64;
    let fit = (open.saturating_sub(kept) / 2).max(16) as usize;
    if fit < capture.config.max_connections {
        tracing::warn!(
            open_files = open,
            max_connections = fit,
            "fewer connections than asked for: raise the limit of open files (ulimit -n)"
        );
        capture.config.max_connections = fit;
    }
}

fn failure(error: &AgentError) -> Failure {
    if let AgentError::Spool { .. } = error {
        return Failure::new(Code::Disk, format!("capture: {error}"));
    }
    if let AgentError::Panicked { report, .. } = error {
        tracing::error!(
            requests = report.requests,
            recorded = report.recorded,
            lost = ?report.lost,
            "what is known of the requests"
        );
    }
    Failure::new(Code::Bug, format!("capture: {error}"))
}

/// The result object.
pub(crate) fn as_json(report: &Report) -> serde_json::Value {
    json!({
        "requests": report.requests,
        "recorded": report.recorded,
        "not_selected": report.not_selected,
        "lost": report.lost,
        "spooled": report.spooled,
        "agent": report.agent,
    })
}

/// The same for people.
pub(crate) fn as_text(report: &Report) -> String {
    let mut text = format!(
        "requests {}  recorded {}  not selected {}",
        report.requests, report.recorded, report.not_selected
    );
    for (reason, lost) in &report.lost {
        text.push_str(&format!("  lost ({reason}) {lost}"));
    }
    if report.spooled > 0 {
        text.push_str(&format!("  records left in the spool {}", report.spooled));
    }
    text.push('\n');
    text
}
