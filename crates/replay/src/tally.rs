//! The counts of a pipeline: every request read is in exactly one of them. Kept per
//! partition, so that they can travel with it; knows nothing of metrics.

use std::collections::BTreeMap;

use umbra_record::pb;

use crate::outcome::{Class, Outcome};

/// Why a selected request was not sent to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Skip {
    /// Its method is not safe, and the job does not send writes.
    Writes,
    /// It is not in the target's share.
    Percent,
    /// It became a tunnel, whose bytes are not recorded.
    Tunnel,
    /// The client went away before its end.
    Aborted,
    /// Parts of its body are not in the log.
    Incomplete,
    /// Its body does not fit in what may be read ahead.
    TooLarge,
    /// It could not be sent within the bound on lateness.
    Late,
    /// The target was down.
    Down,
    /// It cannot be said in the target's protocol; it is kept aside.
    Unsendable,
}

impl Skip {
    /// Every reason, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::Writes,
        Self::Percent,
        Self::Tunnel,
        Self::Aborted,
        Self::Incomplete,
        Self::TooLarge,
        Self::Late,
        Self::Down,
        Self::Unsendable,
    ];

    /// As a metric label and a key of results.
    pub fn label(self) -> &'static str {
        match self {
            Self::Writes => "writes",
            Self::Percent => "percent",
            Self::Tunnel => "tunnel",
            Self::Aborted => "aborted",
            Self::Incomplete => "incomplete",
            Self::TooLarge => "too_large",
            Self::Late => "late",
            Self::Down => "down",
            Self::Unsendable => "unsendable",
        }
    }
}

/// What became of the requests of one partition, or of several summed up.
///
/// `read = selected + not_selected`, `selected = sent + Σ skipped + undone`,
/// `sent = answered + Σ failed`, where undone is what a stop left for later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Requests of the window, each counted once.
    pub read: u64,
    /// Requests met outside the window.
    pub outside: u64,
    /// Records met a second time.
    pub duplicates: u64,
    pub not_selected: u64,
    pub selected: u64,
    pub sent: u64,
    pub answered: u64,
    failed: [u64; Class::ALL.len()],
    skipped: [u64; Skip::ALL.len()],
    pub status: BTreeMap<u16, u64>,
    pub dead: u64,
    /// Records of a kind newer than this reader.
    pub unknown: u64,
    /// Requests that the capture agents could not record, within the window.
    pub gap_requests: u64,
    /// Records that should be in the log and are not there.
    pub missing: u64,
    /// Sends that waited for the answer to the request before.
    pub held_by_order: u64,
    /// Connections that lost their order.
    pub order_lost: u64,
    /// Values sealed at capture that were sent, and those that were left out.
    pub unsealed: u64,
    pub sealed_omitted: u64,
    /// Requests recorded as HTTP/2 that were sent with HTTP/1.1.
    pub downgraded: u64,
}

impl Tally {
    pub(crate) fn fail(&mut self, class: Class) {
        self.failed[class as usize] += 1;
    }

    pub(crate) fn skip(&mut self, reason: Skip) {
        self.skipped[reason as usize] += 1;
    }

    /// How a request was sent that had something to be made of.
    pub(crate) fn made(&mut self, outcome: &Outcome) {
        self.unsealed += outcome.restored.opened as u64;
        self.sealed_omitted += outcome.restored.omitted as u64;
        self.downgraded += u64::from(outcome.downgraded);
    }

    /// Failures by class, those that happened.
    pub(crate) fn failed(&self) -> BTreeMap<String, u64> {
        named(Class::ALL.iter().map(|class| (class.label(), self.failed[*class as usize])))
    }

    /// Skipped requests by reason, those that happened.
    pub(crate) fn skipped(&self) -> BTreeMap<String, u64> {
        named(Skip::ALL.iter().map(|reason| (reason.label(), self.skipped[*reason as usize])))
    }

    /// Requests that are settled: sent, or skipped for good.
    pub(crate) fn settled(&self) -> u64 {
        self.sent + self.skipped.iter().sum::<u64>()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.outside += other.outside;
        self.duplicates += other.duplicates;
        self.not_selected += other.not_selected;
        self.selected += other.selected;
        self.sent += other.sent;
        self.answered += other.answered;
        self.dead += other.dead;
        self.unknown += other.unknown;
        self.gap_requests += other.gap_requests;
        self.missing += other.missing;
        self.held_by_order += other.held_by_order;
        self.order_lost += other.order_lost;
        self.unsealed += other.unsealed;
        self.sealed_omitted += other.sealed_omitted;
        self.downgraded += other.downgraded;
        for (mine, theirs) in self.failed.iter_mut().zip(other.failed) {
            *mine += theirs;
        }
        for (mine, theirs) in self.skipped.iter_mut().zip(other.skipped) {
            *mine += theirs;
        }
        for (status, n) in &other.status {
            *self.status.entry(*status).or_default() += n;
        }
    }

    /// As the job journal keeps it.
    pub(crate) fn to_counts(&self) -> pb::Counts {
        pb::Counts {
            read: self.read,
            selected: self.selected,
            sent: self.sent,
            answered: self.answered,
            failed: self.failed().into_iter().collect(),
            skipped: self.skipped().into_iter().collect(),
            status: self.status.iter().map(|(status, n)| (status.to_string(), *n)).collect(),
            dead: self.dead,
        }
    }
}

fn named(counts: impl Iterator<Item = (&'static str, u64)>) -> BTreeMap<String, u64> {
    counts.filter(|(_, n)| *n > 0).map(|(name, n)| (name.to_owned(), n)).collect()
}
