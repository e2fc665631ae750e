//! `umbra replay`: runs a job and tells what became of its requests.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio_util::sync::CancellationToken;
use umbra_log::{Log, Mode};
use umbra_replay::{Agreed, Config, Ended, ReplayError, Report, Stats, TargetReport, Which};

use super::compared;
use crate::{
    admin,
    config::{self, Output},
    exit::{Code, Failure, Outcome},
    heartbeat, output, progress, ready,
    settings::{Settings, values},
    signals,
};

/// Runs it.
pub(crate) async fn run(mut settings: Settings) -> Outcome {
    let form = config::output(&mut settings);
    let run = config::run(&mut settings);
    let log = config::log(&mut settings);
    let dry = settings.on("dry-run");
    let replay = config::replay(&mut settings, run.drain);
    let telling = config::telling(&mut settings);
    let (log, replay) = config::all_there(&settings, log.zip(replay))?;

    let stop = CancellationToken::new();
    let signals = signals::watch(stop.clone())?;
    let log = Log::open(&log.address, log.options, Mode::Existing).await?;
    warn_of_retention(&log, &replay.which);
    if dry {
        return dry_run(&replay, &log, form, stop).await;
    }
    let stats = Stats::new();
    let mut shown = admin::Shown::new(settings.as_yaml());
    stats.register(&mut shown.registry);
    shown.report = compared::live(&stats, &replay.job, log.name());
    let shown = Arc::new(shown);
    let admin = admin::Server::start(run.admin.as_deref(), Arc::clone(&shown)).await?;
    let ready = ready::Ready { listen: Vec::new(), admin: admin.address, pid: std::process::id() };
    tracing::info!(log = log.name(), job = replay.job, admin = ?ready.admin, "replaying");
    if form == Output::Text {
        output::text(&format!("job {}\n", replay.job))?;
    }
    // With the plan its start is fixed: what is recorded from now on is meant.
    let agreed = umbra_replay::plan(&replay, &log).await?;
    shown.ready.store(true, Ordering::Release);
    ready::write(run.ready_file.as_deref(), &ready)?;
    let report = watched(replay, agreed, &log, &stats, &stop).await;
    admin.end().await;
    signals.abort();
    let report = report?;
    match form {
        Output::Json => output::json(&as_json(&report)?)?,
        Output::Text => output::text(&as_text(&report))?,
    }
    let told = compared::tell(&report, &telling, form)?;
    code(&report)
        .map(|code| if code == 0 { told } else { code })
        .map_err(|message| Failure::new(Code::Unavailable, message))
}

/// Runs the job with progress, heartbeat and hints.
pub(crate) async fn watched(
    config: Config,
    agreed: Agreed,
    log: &Log,
    stats: &Stats,
    stop: &CancellationToken,
) -> Result<Report, Failure> {
    let bar = progress::Bar::new();
    let work = umbra_replay::run(config, agreed, log, stats.clone(), stop.clone());
    let work = heartbeat::during(Box::pin(work), |seconds| beat(stats, seconds));
    Ok(bar.during(stats, work).await?)
}

fn beat(stats: &Stats, _seconds: f64) {
    for (target, state) in stats.snapshot() {
        tracing::info!(
            target_name = target,
            read = state.read,
            sent = state.sent,
            rate = format!("{:.1}/s", state.rate),
            answered = state.answered,
            failed = state.failed,
            skipped = state.skipped,
            dead = state.dead,
            in_flight = state.in_flight,
            waiting = state.waiting,
            held_bytes = state.held_bytes,
            lag_ms = state.lag.as_secs_f64() * 1e3,
            passed = state.passed,
            total = state.total,
            blocked = state.blocked.as_ref().map(|b| b.why.as_str()),
            blocked_record =
                state.blocked.as_ref().and_then(|b| b.record).map(|(p, o)| format!("{p}/{o}")),
            blocked_s = state.blocked.as_ref().map(|b| b.since.as_secs_f64()),
            "replay heartbeat"
        );
    }
}

/// A window may begin before what the topic keeps.
fn warn_of_retention(log: &Log, which: &Which) {
    let (Some(retention), Which::Window { from_ns: Some(from_ns), .. }) = (log.retention(), which)
    else {
        return;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = now.saturating_sub(Duration::from_nanos(*from_ns));
    if age > retention {
        tracing::warn!(
            log = log.name(),
            from = values::show_instant(*from_ns),
            "the window begins {age:.0?} ago, and the topic keeps records for {retention:?} only: \
             older ones may be gone (raise retention.ms to replay further back)"
        );
    }
}

async fn dry_run(config: &Config, log: &Log, form: Output, stop: CancellationToken) -> Outcome {
    let Some(dry) = umbra_replay::dry_run(config, log, stop).await? else {
        tracing::warn!("stopped before the log was read");
        return Ok(Code::CutShort as u8);
    };
    let object =
        serde_json::to_value(&dry).map_err(|e| Failure::new(Code::Bug, format!("result: {e}")))?;
    match form {
        Output::Json => output::json(&object)?,
        Output::Text => {
            output::text("dry run: nothing is sent\n")?;
            output::text(&tree(&object, 1))?;
        }
    }
    Ok(0)
}

/// An object for people: a line a key, indented.
fn tree(value: &serde_json::Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let mut text = String::new();
    if let serde_json::Value::Object(map) = value {
        for (key, value) in map {
            let key = key.replace('_', " ");
            match value {
                serde_json::Value::Null => {}
                serde_json::Value::Object(below) if below.is_empty() => {}
                serde_json::Value::Object(_) => {
                    text.push_str(&format!("{indent}{key}\n{}", tree(value, depth + 1)));
                }
                serde_json::Value::String(word) => {
                    text.push_str(&format!("{indent}{key}: {word}\n"));
                }
                other => text.push_str(&format!("{indent}{key}: {other}\n")),
            }
        }
    }
    text
}

/// The result object.
pub(crate) fn as_json(report: &Report) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(report).map_err(|e| Failure::new(Code::Bug, format!("result: {e}")))
}

/// The same for people.
pub(crate) fn as_text(report: &Report) -> String {
    let mut text = match &report.ended {
        Ended::Done => format!("job {} is done", report.job),
        Ended::AlreadyDone => {
            format!(
                "job {} was finished before: nothing sent (--again runs it once more)",
                report.job
            )
        }
        Ended::Cancelled => format!("job {} was cancelled", report.job),
        Ended::CutShort => format!("job {} was cut short: run it again to go on", report.job),
        Ended::GaveUp { targets } => {
            format!("job {} gave up: {} stayed down", report.job, targets.join(", "))
        }
    };
    text.push_str(&format!(
        "\nread {}  selected {}  lag p50 {:.2} ms, p99 {:.2} ms  in {:.1} s\n",
        report.read, report.selected, report.lag_ms.p50, report.lag_ms.p99, report.duration_s
    ));
    if report.gaps.requests > 0 {
        text.push_str(&format!("not recorded at capture: {} requests\n", report.gaps.requests));
    }
    if report.dead > 0 {
        text.push_str(&format!("set aside: {} records\n", report.dead));
    }
    for agent in &report.agents_missing {
        text.push_str(&format!(
            "agent {} ({}) had not delivered up to the end\n",
            agent.agent, agent.host
        ));
    }
    for (name, target) in &report.targets {
        text.push_str(&format!(
            "{name} {}: sent {}  answered {}{}{}\n  status{}\n  latency p50 {:.1} ms, p99 {:.1} ms\n",
            target.url,
            target.sent,
            target.answered,
            list("  failed", &target.failed),
            list("  skipped", &target.skipped),
            list("", &target.status),
            target.latency_ms.p50,
            target.latency_ms.p99
        ));
        text.push_str(&notes(target));
    }
    text
}

/// What was done to requests on the way to a target, if anything was.
fn notes(target: &TargetReport) -> String {
    let mut text = String::new();
    if target.unsealed + target.sealed_omitted > 0 {
        text.push_str(&format!(
            "  sealed values: {} put back, {} left out\n",
            target.unsealed, target.sealed_omitted
        ));
    }
    if target.downgraded > 0 {
        text.push_str(&format!(
            "  recorded as HTTP/2 and sent with HTTP/1.1, for it speaks no other: {}\n",
            target.downgraded
        ));
    }
    text
}

fn list(title: &str, counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return String::new();
    }
    let items = counts.iter().map(|(name, n)| format!(" {name} {n}")).collect::<String>();
    format!("{title}{items}")
}

/// The exit code of a replay that ran; `Err` with what gave up.
pub(crate) fn code(report: &Report) -> Result<u8, String> {
    match &report.ended {
        Ended::Done | Ended::AlreadyDone | Ended::Cancelled => Ok(0),
        Ended::CutShort if report.mode == "live" => Ok(0),
        Ended::CutShort => Ok(Code::CutShort as u8),
        Ended::GaveUp { targets } => Err(format!(
            "{} refused connections for longer than --when-down allows; run job {} again to go on",
            targets.join(", "),
            report.job
        )),
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        use ReplayError as E;
        let code = match &error {
            E::PlanDiffers { .. }
            | E::WouldHitProduction { .. }
            | E::Invalid(_)
            | E::Target { .. } => Code::Usage,
            E::NoSuchLog(_) => Code::NoInput,
            E::Unusable(_) | E::Sealed { .. } => Code::Data,
            E::Unreachable(_) | E::Held(_) | E::Refused(_) => Code::Unavailable,
            E::Io(_) => Code::Disk,
            E::Bug(_) => Code::Bug,
        };
        let remedy = match &error {
            E::PlanDiffers { .. } => "; --adopt takes the stored ones, another --job starts anew",
            E::Sealed { .. } => {
                "; give an identity that opens it with --seal-key, or send without such values \
                 with --sealed omit"
            }
            _ => "",
        };
        Self::new(code, format!("{error}{remedy}"))
    }
}
