//! What makes up what a job does, as canonical text: stored with its plan, and
//! compared when the job goes on. Made from what the flags mean, not from how they
//! were written, so that `--rate 100` and `--rate 6000/m` are the same. Where the log
//! is, how results look, timeouts and the like are not part of it.

use std::{collections::HashMap, time::Duration};

use umbra_record::redact::HashKey;
use umbra_replay::{Baseline, Closed, Config, Late, Order, Pace, Protocol, Target};

use crate::settings::{Settings, values};

#[cfg(test)]
mod tests;

/// Lists of rules, each of which may be given in any order.
const RULES: &[&str] = &[
    "method",
    "host",
    "path",
    "header",
    "content-type",
    "skip-method",
    "skip-host",
    "skip-path",
    "skip-header",
    "skip-content-type",
    "min-size",
    "max-size",
];

/// What a guess at a header's value costs: 2^15 rounds of scrypt (RFC 7914) with blocks
/// of 8, 32 MiB and about a tenth of a second.
const LOG_ROUNDS: u8 = 15;
const BLOCKS: u32 = 8;

/// Each setting's name and values.
pub(super) fn planned(settings: &Settings, config: &Config) -> Vec<(String, Vec<String>)> {
    let mut all: Vec<(&str, Vec<String>)> = Vec::new();
    let mut one = |name, value: Option<String>| all.extend(value.map(|v| (name, vec![v])));
    one("live", settings.on("live").then(|| "true".to_owned()));
    for name in ["from", "to"] {
        one(name, settings.text(name).map(instant));
    }
    one("grace", Some(duration(config.grace)));
    one("limit", config.limit.map(|limit| limit.to_string()));
    one("duration", config.duration.map(duration));
    one("loop", Some(config.repeat.to_string()));
    let (name, pace) = pace(&config.pace);
    one(name, pace);
    one("order", Some(order(config.order).to_owned()));
    one("late", Some(late(config.late)));
    one("writes", Some(if config.writes { "send" } else { "skip" }.to_owned()));
    // Who may open sealed values is each member's own affair.
    let omits = config.unsealing.closed == Closed::Omit;
    one("sealed", omits.then(|| "omit".to_owned()));
    one("percent", settings.text("percent").map(percent));
    one("percent-by", settings.text("percent-by").map(str::to_owned));
    for name in RULES {
        let mut rules = settings.texts(name).to_vec();
        rules.sort();
        rules.dedup();
        if !rules.is_empty() {
            all.push((name, rules));
        }
    }
    // Where the baseline is production's recorded answers, comparing changes nothing that
    // is sent.
    if let Some(compare) = &config.compare {
        if let Baseline::Target(name) = &compare.baseline {
            all.push(("baseline", vec![name.clone()]));
        }
        all.extend(compare.noise.iter().map(|name| ("noise", vec![name.clone()])));
    }
    let mut tags = Tags { job: &config.job, keys: HashMap::new() };
    let mut targets: Vec<String> =
        config.targets.iter().map(|one| target(one, &mut tags)).collect();
    targets.sort();
    all.push(("target", targets));
    all.into_iter().map(|(name, values)| (name.to_owned(), values)).collect()
}

/// An absolute time in one form. A relative one stays as it was said: the plan keeps
/// what it meant at the first start, and the same command line goes on with that.
fn instant(text: &str) -> String {
    let text = text.trim();
    if text == "now" || text.starts_with(['-', '+']) {
        return text.to_owned();
    }
    values::instant(text).map_or_else(|_| text.to_owned(), values::show_instant)
}

fn duration(time: Duration) -> String {
    let text = format!("{}.{:09}", time.as_secs(), time.subsec_nanos());
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

fn rate(per_second: f64) -> String {
    format!("{per_second}/s")
}

fn percent(text: &str) -> String {
    values::percent(text).map_or_else(|_| text.to_owned(), |percent| percent.to_string())
}

fn pace(pace: &Pace) -> (&'static str, Option<String>) {
    match pace {
        Pace::Recorded { speed } => ("speed", Some(speed.to_string())),
        Pace::Arrival { delay } => ("delay", delay.map(duration)),
        Pace::Rate(per_second) => ("rate", Some(rate(*per_second))),
        Pace::Max => ("rate", Some("max".to_owned())),
        Pace::Stages(stages) => {
            let stage = |one: &umbra_replay::Stage| {
                format!("{}:{}", duration(one.duration), rate(one.rate))
            };
            ("stages", Some(stages.iter().map(stage).collect::<Vec<_>>().join(",")))
        }
    }
}

fn order(order: Order) -> &'static str {
    match order {
        Order::Connection => "connection",
        Order::Free => "free",
    }
}

fn late(late: Late) -> String {
    match late {
        Late::Send => "send".to_owned(),
        Late::Skip(bound) => format!("skip:{}", duration(bound)),
    }
}

/// What stands for the values of headers that a target is given, which may be secret.
/// Every replica has to come to the same, and has no secret but the values themselves: so
/// it is the slow hash that keeps whoever reads the plan from trying what they may be,
/// and the job's name that makes tables of one job useless for others. A value with
/// little to guess, such as a short password, is found all the same.
struct Tags<'a> {
    job: &'a str,
    /// By value: many targets are given the same.
    keys: HashMap<Vec<u8>, HashKey>,
}

impl Tags<'_> {
    fn of(&mut self, target: &str, header: &str, value: &[u8]) -> String {
        let key = self.keys.entry(value.to_vec()).or_insert_with(|| {
            let salt = format!("umbra plan\0{}", self.job);
            let mut key = [0; 32];
            scrypt::Params::new(LOG_ROUNDS, BLOCKS, 1, key.len())
                .map_err(|error| error.to_string())
                .and_then(|params| {
                    scrypt::scrypt(value, salt.as_bytes(), &params, &mut key)
                        .map_err(|error| error.to_string())
                })
                .expect("parameters and length are constants that scrypt takes");
            HashKey::new(&key)
        });
        // Two targets that are given the same do not show it.
        let tag = key.tag("plan", format!("{target}\0{header}").as_bytes());
        format!("scrypt-{:032x}", u128::from_be_bytes(tag))
    }
}

/// What is sent to it.
fn target(target: &Target, tags: &mut Tags<'_>) -> String {
    let mut text = format!("{}={}", target.name, target.url);
    if target.percent < 100.0 {
        text.push_str(&format!(",percent={}", target.percent));
    }
    text.push_str(&format!(",shadow-host={}", target.shadow_host));
    for (name, value) in &target.set_headers {
        let tag = tags.of(&target.name, name.as_str(), value.as_bytes());
        text.push_str(&format!(",set-header={name}:{tag}"));
    }
    let mut removed: Vec<&str> = target.remove_headers.iter().map(|name| name.as_str()).collect();
    removed.sort_unstable();
    removed.dedup();
    for name in removed {
        text.push_str(&format!(",remove-header={name}"));
    }
    match target.protocol {
        Protocol::Recorded => {}
        Protocol::Http1 => text.push_str(",http1"),
        Protocol::Http2 => text.push_str(",http2"),
    }
    if !target.unseal {
        text.push_str(",unseal=no");
    }
    text
}
