//! The settings of `replay`, ready to use.

use std::{path::PathBuf, time::Duration};

use umbra_replay::{Config, Late, Order, Pace, Stage, Which};

use super::{compare::compare, planned::planned, selection, target, unseal::unsealing, window};
use crate::settings::{Settings, values};

/// Reads the settings of a replay.
pub(crate) fn replay(settings: &mut Settings, drain: Duration) -> Option<Config> {
    let (from_ns, to_ns) = window(settings);
    let live = settings.on("live");
    if live && (from_ns.is_some() || to_ns.is_some()) {
        settings.problem("live", "and a window (--from, --to) exclude each other");
    }
    if live && settings.given("loop") {
        settings.problem("loop", "repeats a window; it does not go with --live");
    }
    let which = if live { Which::Live } else { Which::Window { from_ns, to_ns } };
    config(settings, which, drain)
}

/// The live replay within `mirror`.
pub(crate) fn live_replay(settings: &mut Settings, drain: Duration) -> Option<Config> {
    config(settings, Which::Live, drain)
}

fn config(settings: &mut Settings, which: Which, drain: Duration) -> Option<Config> {
    let pace = pace(settings, which == Which::Live);
    let order = settings.read("order", order).unwrap_or(match pace {
        Pace::Recorded { .. } | Pace::Arrival { .. } => Order::Connection,
        _ => Order::Free,
    });
    let read_ahead = settings.read("read-ahead", values::size).unwrap_or(64 << 20);
    if read_ahead < 1 << 20 {
        settings.problem("read-ahead", "less than 1MiB");
    }
    let targets = target::all(settings, which == Which::Live);
    let mut config = Config {
        job: job(settings),
        again: settings.on("again"),
        adopt: settings.on("adopt"),
        grace: settings.read("grace", values::duration).unwrap_or(Duration::from_secs(60)),
        limit: settings.read("limit", values::count),
        duration: settings.read("duration", values::some_duration),
        repeat: settings.read("loop", values::count).unwrap_or(1),
        selection: selection(settings, "replay"),
        compare: compare(settings, &targets),
        targets,
        late: settings.read("late", late).unwrap_or(Late::Send),
        writes: settings.read("writes", writes).unwrap_or(true),
        allow_production: settings.on("allow-production"),
        read_ahead_bytes: read_ahead as usize,
        instance: instance(settings),
        unsealing: unsealing(settings),
        outcomes: settings.text("outcomes").map(PathBuf::from),
        settings: Vec::new(),
        which,
        pace,
        order,
        drain,
    };
    config.settings = planned(settings, &config);
    Some(config)
}

fn job(settings: &mut Settings) -> String {
    let named = settings.read("job", |text| {
        let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if text.is_empty() || text.len() > 64 || !text.chars().all(fit) {
            return Err("expected up to 64 letters, digits, - and _".into());
        }
        Ok(text.to_owned())
    });
    named.unwrap_or_else(|| format!("job-{}-{}", values::stamp(), std::process::id()))
}

/// A name among the members of a job's groups.
fn instance(settings: &mut Settings) -> Option<String> {
    settings.read("instance-id", |text| {
        let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.is_empty() || text.len() > 200 || !text.chars().all(fit) {
            return Err("expected up to 200 letters, digits, -, _ and .".into());
        }
        Ok(text.to_owned())
    })
}

fn pace(settings: &mut Settings, live: bool) -> Pace {
    let speed = settings.read("speed", values::speed);
    let rate = settings.read("rate", |text| match text {
        "max" => Ok(Pace::Max),
        _ => values::rate(text).map(Pace::Rate),
    });
    let stages = settings.read("stages", stages);
    let delay = settings.read("delay", values::duration);
    let given = ["speed", "rate", "stages"].into_iter().filter(|name| settings.given(name));
    if given.count() > 1 {
        settings.trouble("--speed, --rate and --stages exclude each other");
    }
    if delay.is_some() && !live {
        settings.problem("delay", "is for --live; a window is paced by --speed or --rate");
    }
    if live && settings.given("speed") {
        settings.problem(
            "speed",
            "is for a window; --live goes as fast as production, later by --delay",
        );
    }
    match (rate, stages) {
        (Some(pace), _) => pace,
        (None, Some(stages)) => Pace::Stages(stages),
        (None, None) if live => Pace::Arrival { delay },
        (None, None) => Pace::Recorded { speed: speed.unwrap_or(1.0) },
    }
}

fn stages(text: &str) -> Result<Vec<Stage>, String> {
    let one = |stage: &str| {
        let (duration, rate) = stage.split_once(':').ok_or("expected D:RATE, such as 5m:100")?;
        Ok(Stage { duration: values::some_duration(duration)?, rate: values::rate(rate)? })
    };
    text.split(',').map(|stage| one(stage.trim())).collect()
}

fn order(text: &str) -> Result<Order, String> {
    match text {
        "connection" => Ok(Order::Connection),
        "free" => Ok(Order::Free),
        _ => Err("expected connection or free".into()),
    }
}

fn late(text: &str) -> Result<Late, String> {
    match text.split_once(':') {
        None if text == "send" => Ok(Late::Send),
        Some(("skip", bound)) => Ok(Late::Skip(values::duration(bound)?)),
        _ => Err("expected send or skip:TIME".into()),
    }
}

fn writes(text: &str) -> Result<bool, String> {
    match text {
        "send" => Ok(true),
        "skip" => Ok(false),
        _ => Err("expected send or skip".into()),
    }
}
