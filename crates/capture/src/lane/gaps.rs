//! Requests that could not be recorded, gathered by reason until Gap records that
//! tell of them are durable: a Gap that is lost itself is told again.

use std::collections::{BTreeMap, VecDeque};

use umbra_record::pb;

use super::{
    At,
    ledger::{LostRun, Way},
};

/// Most runs of lost sequences kept apart per reason; beyond, neighbours of a
/// partition are told as one run.
const MAX_RANGES: usize = 2048;

/// Most Gap records on their way; what is lost meanwhile is gathered.
const MAX_SENT: usize = 64;

/// What is still to be told, and what may have to be told again.
#[derive(Debug)]
pub(crate) struct Gaps {
    open: BTreeMap<&'static str, Gap>,
    /// Pieces of Gaps, and lost ones that found no room in `open`; told first.
    again: VecDeque<(&'static str, Gap)>,
    /// Written and not known to be durable.
    sent: Vec<Sent>,
    /// Most ranges a record can have: fewer if the log finds them too large.
    max_ranges: usize,
}

/// One reason's losses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    requests: u64,
    from_ns: u64,
    to_ns: u64,
    ranges: Vec<pb::LaneRange>,
}

#[derive(Debug)]
struct Sent {
    at: At,
    reason: &'static str,
    gap: Gap,
}

impl Default for Gaps {
    fn default() -> Self {
        Self {
            open: BTreeMap::new(),
            again: VecDeque::new(),
            sent: Vec::new(),
            max_ranges: MAX_RANGES,
        }
    }
}

impl Gaps {
    /// Adds one request that was never handed to the log.
    pub(crate) fn add(&mut self, reason: &'static str, requests: u64, from_ns: u64, to_ns: u64) {
        let gap = self.open.entry(reason).or_insert(Gap {
            requests: 0,
            from_ns,
            to_ns,
            ranges: Vec::new(),
        });
        gap.requests += requests;
        gap.from_ns = gap.from_ns.min(from_ns);
        gap.to_ns = gap.to_ns.max(to_ns);
    }

    /// Adds entries the log accepted and lost.
    pub(crate) fn add_run(
        &mut self,
        reason: &'static str,
        lane: u32,
        partition: u32,
        run: LostRun,
    ) {
        self.add(reason, run.requests, run.from_ns, run.to_ns);
        let Some(gap) = self.open.get_mut(reason) else { return };
        let full = gap.ranges.len() >= MAX_RANGES;
        let neighbour = gap.ranges.iter_mut().rev().find(|range| range.partition == partition);
        match neighbour {
            Some(range) if full || range.last + 1 == run.first_sequence => {
                range.first = range.first.min(run.first_sequence);
                range.last = range.last.max(run.last_sequence);
            }
            _ => gap.ranges.push(pb::LaneRange {
                lane,
                partition,
                first: run.first_sequence,
                last: run.last_sequence,
            }),
        }
    }

    /// Takes one gap that fits a record, to be told now. None: there is none, or
    /// enough are on their way.
    pub(crate) fn take(&mut self) -> Option<(&'static str, Gap)> {
        if self.sent.len() >= MAX_SENT {
            return None;
        }
        let (reason, mut gap) = self.again.pop_front().or_else(|| self.open.pop_first())?;
        if let Some(rest) = gap.cut(self.max_ranges) {
            self.again.push_front((reason, rest));
        }
        Some((reason, gap))
    }

    /// One was written there.
    pub(crate) fn sent(&mut self, reason: &'static str, gap: Gap, at: At) {
        self.sent.push(Sent { at, reason, gap });
    }

    /// Puts one back that could not be told now.
    pub(crate) fn put_back(&mut self, reason: &'static str, gap: Gap) {
        self.again.push_front((reason, gap));
    }

    /// One is more than the log takes: it is told in smaller pieces.
    pub(crate) fn too_large(&mut self, reason: &'static str, gap: Gap) {
        if gap.ranges.is_empty() {
            // The smallest record there is; the totals in Marks tell of it.
            tracing::error!(reason, requests = gap.requests, "the log takes no record of a loss");
            return;
        }
        self.max_ranges = self.max_ranges.min(gap.ranges.len() / 2);
        if self.max_ranges == 0 {
            tracing::warn!(reason, "the log takes no record that says which records were lost");
        }
        self.put_back(reason, gap);
    }

    /// What was written where it was lost is to be told again.
    pub(crate) fn lost(&mut self, lies: impl Fn(At) -> bool, why: &str) {
        let (lost, sent) = std::mem::take(&mut self.sent).into_iter().partition(|s| lies(s.at));
        self.sent = sent;
        for Sent { reason, gap, .. } in lost {
            if why == "too_large" {
                self.too_large(reason, gap);
            } else {
                self.gather(reason, gap);
            }
        }
    }

    /// What was written up to there is told.
    pub(crate) fn settle(&mut self, partition: u32, durable: u64) {
        let told = |at: At| at.way == Way::Log && at.partition == partition && at.number <= durable;
        self.sent.retain(|sent| !told(sent.at));
    }

    /// The same of the spool.
    pub(crate) fn settle_spool(&mut self, written: u64) {
        self.sent.retain(|sent| sent.at.way != Way::Spool || sent.at.number > written);
    }

    /// Everything is handed to the log.
    pub(crate) fn are_written(&self) -> bool {
        self.open.is_empty() && self.again.is_empty()
    }

    /// Everything is told, and durable.
    pub(crate) fn are_told(&self) -> bool {
        self.are_written() && self.sent.is_empty()
    }

    /// Joins one with what is open for its reason, if it finds room there.
    fn gather(&mut self, reason: &'static str, gap: Gap) {
        match self.open.get_mut(reason) {
            None => drop(self.open.insert(reason, gap)),
            Some(open) if open.ranges.len() + gap.ranges.len() <= MAX_RANGES => open.join(gap),
            Some(_) => self.again.push_back((reason, gap)),
        }
    }
}

impl Gap {
    pub(crate) fn message(&self, reason: &str) -> pb::Gap {
        pb::Gap {
            requests: self.requests,
            reason: reason.to_owned(),
            from_ns: self.from_ns,
            to_ns: self.to_ns,
            ranges: self.ranges.clone(),
        }
    }

    /// Leaves at most so many ranges here, with all the requests. The rest is a
    /// gap of its own; without room for any range, they are not told.
    fn cut(&mut self, max_ranges: usize) -> Option<Self> {
        if self.ranges.len() <= max_ranges {
            return None;
        }
        let ranges = self.ranges.split_off(max_ranges);
        (max_ranges > 0).then_some(Self { requests: 0, ranges, ..*self })
    }

    fn join(&mut self, other: Self) {
        self.requests += other.requests;
        self.from_ns = self.from_ns.min(other.from_ns);
        self.to_ns = self.to_ns.max(other.to_ns);
        self.ranges.extend(other.ranges);
        self.ranges.sort_by_key(|range| (range.partition, range.first));
        self.ranges.dedup_by(|next, range| {
            let touches = range.partition == next.partition && range.last + 1 >= next.first;
            if touches {
                range.last = range.last.max(next.last);
            }
            touches
        });
    }
}

#[cfg(test)]
mod tests;
