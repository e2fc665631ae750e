//! `umbra capture`: binds the sockets, opens the log, runs the agent and tells
//! what became of its requests.

use std::{
    net::TcpListener,
    sync::{Arc, atomic::Ordering},
};

use serde_json::json;
use tokio_util::sync::CancellationToken;
use umbra_capture::{Report, Snapshot, Stats};
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
    let agent = Agent::start(capture, &run, settings.as_yaml(), &log, stop).await?;
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
    /// Endpoints, also for others to register metrics with before they serve.
    stats: Stats,
    work: tokio::task::JoinHandle<Report>,
    admin: tokio::task::JoinSet<()>,
    admin_stop: CancellationToken,
}

impl Agent {
    /// Binds everything and starts the threads.
    pub(crate) async fn start(
        capture: Capture,
        run: &Run,
        shown: String,
        log: &Log,
        stop: CancellationToken,
    ) -> Result<Self, Failure> {
        let mut shown = admin::Shown::new(shown);
        let stats = Stats::default();
        stats.register(&mut shown.registry);
        let listeners = bind(&capture)?;
        let admin_listener = admin::bind(run.admin.as_deref())?;
        let ready = ready::Ready {
            listen: listeners.iter().filter_map(|l| l.local_addr().ok()).collect(),
            admin: admin_listener.as_ref().and_then(|l| l.local_addr().ok()),
            pid: std::process::id(),
        };
        let appender = Arc::new(log.appender().await?);
        shown.ready.store(true, Ordering::Release);
        let admin_stop = CancellationToken::new();
        let mut admin = tokio::task::JoinSet::new();
        if let Some(listener) = admin_listener {
            admin.spawn(admin::serve(listener, Arc::new(shown), admin_stop.clone()));
        }
        let counters = stats.clone();
        let work = tokio::task::spawn_blocking(move || {
            umbra_capture::run(capture.config, listeners, appender, counters, stop)
        });
        Ok(Self { ready, stats, work, admin, admin_stop })
    }

    /// Waits for the end of the drain, with a heartbeat meanwhile.
    pub(crate) async fn finish(mut self) -> Result<Report, Failure> {
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
        self.admin_stop.cancel();
        while self.admin.join_next().await.is_some() {}
        if !report.lost.is_empty() {
            tracing::error!(lost = ?report.lost, "requests were not recorded");
        }
        Ok(report)
    }
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
