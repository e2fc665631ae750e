//! Requests that could not be recorded, gathered by reason until the log takes a
//! Gap record about them.

use std::collections::BTreeMap;

use umbra_record::pb;

use super::ledger::LostRun;

/// Most runs of lost sequences kept apart per reason; beyond, neighbours of a
/// partition are told as one run.
const MAX_RANGES: usize = 2048;

/// What is still to be told.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    open: BTreeMap<&'static str, Gap>,
}

/// One reason's losses.
#[derive(Debug)]
pub(crate) struct Gap {
    requests: u64,
    from_ns: u64,
    to_ns: u64,
    ranges: Vec<pb::LaneRange>,
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

    /// Takes one gap, to be told now.
    pub(crate) fn take(&mut self) -> Option<(&'static str, Gap)> {
        self.open.pop_first()
    }

    /// Puts one back that could not be told.
    pub(crate) fn put_back(&mut self, reason: &'static str, gap: Gap) {
        self.open.insert(reason, gap);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
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
}
