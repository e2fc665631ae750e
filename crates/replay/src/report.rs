//! The result of a replay, as the user sees it (`--output json` is its serde form).

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{judge::Compared, tally::Tally};

#[cfg(test)]
mod tests;

/// What a replay did. The counts are those of this process.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Name of the job.
    pub job: String,
    /// Which run of it.
    pub run: u32,
    /// The log.
    pub log: String,
    /// First instant of the window, RFC 3339; absent: from the oldest record.
    pub from: Option<String>,
    /// First instant after it; absent: what was in the log when the job was planned.
    pub to: Option<String>,
    /// `live` or `window`.
    pub mode: &'static str,
    /// How it ended.
    pub ended: Ended,
    /// Requests of the window that were read.
    pub read: u64,
    /// Those that the job's rules select.
    pub selected: u64,
    /// Requests met outside the window.
    pub outside: u64,
    /// Records that were in the log twice.
    pub duplicates: u64,
    /// What capture could not record.
    pub gaps: Gaps,
    /// Records that were set aside because they cannot be read or sent.
    pub dead: u64,
    /// Records of a kind that this version does not know.
    pub unknown: u64,
    /// From the first request due to the last one settled.
    pub duration_s: f64,
    /// How late requests were sent, over all targets.
    pub lag_ms: Lag,
    /// Agents that had not delivered up to the window's end.
    pub agents_missing: Vec<AgentMissing>,
    /// What comparing came to, if answers were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compare: Option<Compared>,
    /// Target by target.
    pub targets: BTreeMap<String, TargetReport>,
}

/// How a replay ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Everything asked for was done.
    Done,
    /// The job had been finished before: nothing was sent.
    AlreadyDone,
    /// An operator ended it: it does not go on.
    Cancelled,
    /// Stopped before the window's end: the same job goes on from here.
    CutShort,
    /// Targets stayed down for longer than they may.
    GaveUp {
        /// Their names.
        targets: Vec<String>,
    },
}

/// Losses of capture that the log tells of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Gaps {
    /// Requests that were not recorded.
    pub requests: u64,
    /// Records that retention or damage took before they were read.
    pub records: u64,
}

/// An agent that fell silent before the window's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentMissing {
    /// Its id.
    pub agent: String,
    /// Where it ran, if it said so.
    pub host: String,
    /// It had delivered up to here (RFC 3339); absent: it never said.
    pub up_to: Option<String>,
}

/// Lateness of sends in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Lag {
    /// Half of the sends were no later than this.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// The latest.
    pub max: f64,
}

/// Times in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Half of the answers.
    pub p50: f64,
    /// 90 of 100.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

/// What happened at one target.
#[derive(Debug, Clone, Serialize)]
pub struct TargetReport {
    /// As given.
    pub url: String,
    /// Selected requests that were read for it.
    pub selected: u64,
    /// Requests of which at least the sending was tried: answered and failed.
    pub sent: u64,
    /// Whole answers, whatever their status.
    pub answered: u64,
    /// By class.
    pub failed: BTreeMap<String, u64>,
    /// By reason.
    pub skipped: BTreeMap<String, u64>,
    /// Answers by status.
    pub status: BTreeMap<String, u64>,
    /// Time to the whole answer.
    pub latency_ms: Latency,
    /// Lateness of sends.
    pub lag_ms: Lag,
    /// Sends that waited for an answer on the same connection.
    pub held_by_order: u64,
    /// Connections whose order was given up.
    pub order_lost: u64,
    /// How long it was down.
    pub down_s: f64,
    /// Values sealed at capture that it was sent.
    pub unsealed: u64,
    /// Those that were left out of its requests.
    pub sealed_omitted: u64,
    /// Requests recorded as HTTP/2 that it was sent with HTTP/1.1, for it speaks no other.
    pub downgraded: u64,
}

/// Times in microseconds, as a histogram of bounded size.
#[derive(Debug, Clone)]
pub(crate) struct Times(Histogram<u64>);

impl Times {
    pub(crate) fn new() -> Self {
        // One day at three digits: far beyond any timeout, in about 200 KB.
        Self(Histogram::new_with_bounds(1, 86_400_000_000, 3).expect("constant bounds are valid"))
    }

    pub(crate) fn record(&mut self, time: std::time::Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    fn at(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    pub(crate) fn lag(&self) -> Lag {
        Lag { p50: self.at(0.5), p99: self.at(0.99), max: self.at(1.0) }
    }

    pub(crate) fn latency(&self) -> Latency {
        Latency { p50: self.at(0.5), p90: self.at(0.9), p99: self.at(0.99), max: self.at(1.0) }
    }
}

impl TargetReport {
    pub(crate) fn new(url: String, tally: &Tally, lag: &Times, latency: &Times) -> Self {
        Self {
            url,
            selected: tally.selected,
            sent: tally.sent,
            answered: tally.answered,
            failed: tally.failed(),
            skipped: tally.skipped(),
            status: tally.status.iter().map(|(status, n)| (status.to_string(), *n)).collect(),
            latency_ms: latency.latency(),
            lag_ms: lag.lag(),
            held_by_order: tally.held_by_order,
            order_lost: tally.order_lost,
            down_s: 0.0,
            unsealed: tally.unsealed,
            sealed_omitted: tally.sealed_omitted,
            downgraded: tally.downgraded,
        }
    }
}

/// A time of a record for people and scripts.
pub(crate) fn rfc3339(ns: u64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns))
        .map_or_else(|_| ns.to_string(), |t| t.to_string())
}
