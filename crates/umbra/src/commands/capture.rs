//! `umbra capture`: binds the sockets, opens the log, runs the agent and tells
//! what became of its requests.

use std::{
    net::TcpListener,
    sync::{Arc, atomic::Ordering},
};

use serde_json::json;
use tokio_util::sync::CancellationToken;
use umbra_capture::{AgentError, Report, Snapshot, Stats};
use umbra_log::{Log, Mode};

use crate::{
    admin,
    config::{self, Capture, Output, Run},
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
    let (log, capture) = config::all_there(&settings, log.zip(capture))?;

    let stop = CancellationToken::new();
    let signals = signals::watch(stop.clone())?;
    let log = Log::open(&log.address, log.options, Mode::Create).await?;
    let shown = admin::Shown::new(settings.as_yaml());
    let agent = Agent::start(capture, &run, shown, &log, stop).await?;
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
    admin: admin::Server,
}

impl Agent {
    /// Binds everything and starts the threads.
    pub(crate) async fn start(
        mut capture: Capture,
        run: &Run,
        mut shown: admin::Shown,
        log: &Log,
        stop: CancellationToken,
    ) -> Result<Self, Failure> {
        let stats = Stats::default();
        stats.register(&mut shown.registry);
        fit_descriptors(&mut capture);
        let listeners = bind(&capture)?;
        let shown = Arc::new(shown);
        let admin = admin::Server::start(run.admin.as_deref(), Arc::clone(&shown))?;
        let ready = ready::Ready {
            listen: listeners.iter().filter_map(|l| l.local_addr().ok()).collect(),
            admin: admin.address,
            pid: std::process::id(),
        };
        let appender = Arc::new(log.appender().await?);
        shown.ready.store(true, Ordering::Release);
        let counters = stats.clone();
        let work = tokio::task::spawn_blocking(move || {
            umbra_capture::run(capture.config, listeners, appender, counters, stop)
        });
        Ok(Self { ready, stats, work, admin })
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
                connections = now.connections,
                "capture heartbeat"
            );
            last = now;
        });
        let report = work.await.map_err(|e| Failure::new(Code::Bug, format!("capture: {e}")))?;
        self.admin.end().await;
        let report = report.map_err(|error| failure(&error))?;
        if !report.lost.is_empty() {
            tracing::error!(lost = ?report.lost, "requests were not recorded");
        }
        Ok(report)
    }
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

fn bind(capture: &Capture) -> Result<Vec<TcpListener>, Failure> {
    let mut bound = Vec::new();
    for addresses in &capture.listen {
        let listener = TcpListener::bind(addresses.as_slice())
            .map_err(|e| Failure::new(Code::Unavailable, format!("--listen {addresses:?}: {e}")))?;
        bound.push(listener);
    }
    Ok(bound)
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
    text.push('\n');
    text
}
