//! `umbra mirror`: an agent and a live replay in one process, through the log.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use umbra_log::{Log, Mode};
use umbra_replay::Stats;

use super::{
    capture::{self, Agent},
    replay,
};
use crate::{
    config::{self, Output},
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
    let all = log.zip(capture).zip(replay);
    let ((log, capture), replay) = config::all_there(&settings, all)?;

    let stop = CancellationToken::new();
    let signals = signals::watch(stop.clone())?;
    let log = Log::open(&log.address, log.options, Mode::Create).await?;
    // The plan comes first: every request the agent will record is meant.
    umbra_replay::plan(&replay, &log).await?;
    let agent = Agent::start(capture, &run, settings.as_yaml(), &log, stop).await?;
    tracing::info!(log = log.name(), listen = ?agent.ready.listen, job = replay.job, "mirroring");

    // The replay stops after the agent, so that what was recorded last is still
    // read; what it cannot send within the drain stays in the log under its job.
    let replay_stop = CancellationToken::new();
    let stats = Stats::new();
    ready::write(run.ready_file.as_deref(), &agent.ready)?;
    let captured = async {
        let report = agent.finish().await;
        // Nothing is recorded any more: what was last is read and sent.
        let _ = tokio::time::timeout(run.drain, idle(&stats)).await;
        replay_stop.cancel();
        report
    };
    let replayed = replay::watched(replay, &log, &stats, &replay_stop);
    let (captured, replayed) = tokio::join!(captured, replayed);
    signals.abort();
    let (captured, replayed) = (captured?, replayed?);
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
    replay::code(&replayed).map_err(|message| Failure::new(Code::Unavailable, message))
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
