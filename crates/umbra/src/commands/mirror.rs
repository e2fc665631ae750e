//! `umbra mirror`: an agent and a live replay in one process, through the log.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use umbra_capture::{Transport, Upstream};
use umbra_replay::{Baseline, Config, Stats};

use super::{
    capture::{self, Agent, Sockets},
    compared, replay,
};
use crate::{
    admin,
    config::{self, Capture, Output},
    exit::{Code, Failure, Outcome},
    output, ready,
    settings::Settings,
    signals,
};

/// Runs it.
pub(crate) async fn run(mut settings: Settings) -> Outcome {
    let form = config::output(&mut settings);
    let run = config::run(&mut settings);
    let log = config::log(&mut settings);
    let capture = config::capture(&mut settings, run.drain);
    let replay = config::live_replay(&mut settings, run.drain);
    let telling = config::telling(&mut settings);
    if let (Some(capture), Some(replay)) = (&capture, &replay) {
        refuse_production(&mut settings, capture, replay);
    }
    let recorded = replay.as_ref().and_then(|replay| replay.compare.as_ref());
    if recorded.is_some_and(|compare| compare.baseline == Baseline::Recorded)
        && settings.text("responses") == Some("off")
    {
        settings.problem("responses", "off leaves nothing to --compare with");
    }
    if recorded.is_some_and(|compare| compare.baseline == Baseline::Recorded)
        && settings.text("sink").is_some()
    {
        let what = "a sink sees no answers to --compare with; say --baseline TARGET";
        settings.problem("sink", what);
    }
    let all = log.zip(capture).zip(replay);
    let ((mut log, mut capture), replay) = config::all_there(&settings, all)?;
    capture::share_memory(&mut capture, &mut log.options);

    let stop = CancellationToken::new();
    let signals = signals::watch(stop.clone())?;
    let mut sockets = Sockets::new(&capture).await?;
    let log = sockets.open_log(log, &stop).await?;
    // The plan comes first: every request the agent will record is meant.
    let agreed = umbra_replay::plan(&replay, &log).await?;
    let stats = Stats::new();
    let mut shown = admin::Shown::new(settings.as_yaml());
    stats.register(&mut shown.registry);
    shown.report = compared::live(&stats, &replay.job, log.name());
    let agent = Agent::start(capture, &run, shown, &log, &mut sockets, stop).await?;
    tracing::info!(log = log.name(), listen = ?agent.ready.listen, job = replay.job, "mirroring");
    // The agent may have made it just now.
    let mut replay = replay;
    if replay.unsealing.identities.is_none() {
        replay.unsealing.identities = config::own_identity_if_any();
    }

    // The replay stops after the agent, so that what was recorded last is still
    // read; what it cannot send within the drain stays in the log under its job.
    let replay_stop = CancellationToken::new();
    ready::write(run.ready_file.as_deref(), &agent.ready)?;
    let captured = async {
        let report = agent.finish().await;
        // Nothing is recorded any more: what was last is read and sent.
        let last = tokio::time::timeout(run.drain, idle(&stats));
        let _ = replay_stop.run_until_cancelled(last).await;
        replay_stop.cancel();
        report
    };
    let replayed = async {
        let result = replay::watched(replay, agreed, &log, &stats, &replay_stop).await;
        if let Err(failure) = &result {
            // Production is served on: only the shadow goes without.
            tracing::error!(%failure, "nothing is mirrored any more; requests are still recorded");
        }
        replay_stop.cancel();
        result
    };
    let (captured, replayed) = tokio::join!(captured, replayed);
    signals.abort();
    let captured = captured?;
    let replayed = match replayed {
        Ok(replayed) => replayed,
        Err(failure) => {
            // What was captured is told all the same.
            let told = capture::as_json(&captured);
            match form {
                Output::Json => output::json(&serde_json::json!({ "capture": told }))?,
                Output::Text => output::text(&capture::as_text(&captured))?,
            }
            return Err(failure);
        }
    };
    match form {
        Output::Json => output::json(&serde_json::json!({
            "capture": capture::as_json(&captured),
            "replay": replay::as_json(&replayed)?,
        }))?,
        Output::Text => {
            output::text(&capture::as_text(&captured))?;
            output::text(&replay::as_text(&replayed))?;
        }
    }
    let told = compared::tell(&replayed, &telling, form)?;
    replay::code(&replayed)
        .map(|code| if code == 0 { told } else { code })
        .map_err(|message| Failure::new(Code::Unavailable, message))
}

/// A mirror whose target is one of its own upstreams would double production's load.
fn refuse_production(settings: &mut Settings, capture: &Capture, replay: &Config) {
    let config = &capture.config;
    let routed = config.routes.iter().map(|route| &route.upstream);
    let upstreams: Vec<&Upstream> = routed
        .chain([&config.upstream])
        .filter(|upstream| !matches!(upstream.transport, Transport::Unix(_)))
        .collect();
    for target in replay.targets.iter().filter(|_| !replay.allow_production) {
        let url = &target.url;
        let usual = if url.scheme_str() == Some("https") { 443 } else { 80 };
        let port = url.port_u16().unwrap_or(usual);
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let same = |up: &Upstream| up.port == port && host.eq_ignore_ascii_case(&up.host);
        if upstreams.iter().any(|upstream| same(upstream)) {
            let what =
                format!("{url} is the upstream; --allow-production sends there all the same");
            settings.problem("target", what);
        }
    }
}

/// Waits until no pipeline has anything to do, and has met nothing new for longer
/// than the log takes to hand a record on.
async fn idle(stats: &Stats) {
    const QUIET: Duration = Duration::from_millis(500);
    let passed = || stats.snapshot().values().map(|state| state.passed).collect::<Vec<_>>();
    loop {
        let before = passed();
        tokio::time::sleep(QUIET).await;
        let busy = stats.snapshot().values().any(|state| state.waiting + state.in_flight > 0);
        if !busy && before == passed() {
            return;
        }
    }
}
