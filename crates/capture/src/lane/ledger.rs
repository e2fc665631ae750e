//! What a lane handed to the log for one partition and is not yet known to be
//! durable: which sequence has which position, so that a loss the log tells by
//! position becomes the lane's loss by sequence, and what a flush did not reach
//! can be counted.

use std::collections::{BTreeMap, VecDeque};

/// The request that several records of this lane belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BodyId(pub(crate) u64);

/// What is lost with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) requests: u32,
    /// Besides, one request for the first of all entries with this body.
    pub(crate) body: Option<BodyId>,
}

/// Consecutive entries of the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: u64,
    last: u64,
    /// Sequence of `first`.
    sequence: u64,
    item: Item,
    from_ns: u64,
    to_ns: u64,
}

/// Entries that were lost after the log had accepted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LostRun {
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    /// Requests among them.
    pub(crate) requests: u64,
    /// Span of their times, at least.
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
}

/// One partition's entries in order of position.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    runs: VecDeque<Run>,
    /// Bodies that are being written, and whether their request is lost already.
    bodies: BTreeMap<BodyId, bool>,
}

impl Ledger {
    pub(crate) fn push(&mut self, position: u64, sequence: u64, mut item: Item, time_ns: u64) {
        item.body = item.body.filter(|body| self.bodies.get(body) != Some(&true));
        if let Some(run) = self.runs.back_mut()
            && run.last + 1 == position
            && run.item == item
        {
            run.last = position;
            run.from_ns = run.from_ns.min(time_ns);
            run.to_ns = run.to_ns.max(time_ns);
            return;
        }
        self.runs.push_back(Run {
            first: position,
            last: position,
            sequence,
            item,
            from_ns: time_ns,
            to_ns: time_ns,
        });
    }

    /// Nothing is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Entries of this body will be pushed.
    pub(crate) fn begin_body(&mut self, body: BodyId) {
        self.bodies.insert(body, false);
    }

    /// Entries of this body will not be pushed any more.
    pub(crate) fn end_body(&mut self, body: BodyId) {
        self.bodies.remove(&body);
    }

    /// The request of a body is lost, whatever becomes of its entries. False: it
    /// was before.
    pub(crate) fn lose_body(&mut self, body: BodyId) -> bool {
        let before = self.bodies.get_mut(&body).is_some_and(|lost| std::mem::replace(lost, true));
        let entries = self.runs.iter_mut().filter(|run| run.item.body == Some(body));
        entries.for_each(|run| run.item.body = None);
        !before
    }

    /// Forgets what is durable.
    pub(crate) fn settle(&mut self, durable: u64) {
        while let Some(run) = self.runs.front_mut() {
            if run.last > durable {
                if run.first <= durable {
                    run.sequence += durable + 1 - run.first;
                    run.first = durable + 1;
                }
                return;
            }
            self.runs.pop_front();
        }
    }

    /// Takes out the entries with positions `first..=last`.
    pub(crate) fn lose(&mut self, first: u64, last: u64) -> Vec<LostRun> {
        let mut lost = Vec::new();
        let mut bodies = Vec::new();
        let mut kept = VecDeque::with_capacity(self.runs.len() + 1);
        for run in self.runs.drain(..) {
            let (from, to) = (run.first.max(first), run.last.min(last));
            if from > to {
                kept.push_back(run);
                continue;
            }
            let body = run.item.body.filter(|body| !bodies.contains(body));
            bodies.extend(body);
            lost.push(LostRun {
                first_sequence: run.sequence + (from - run.first),
                last_sequence: run.sequence + (to - run.first),
                requests: (to - from + 1) * u64::from(run.item.requests)
                    + u64::from(body.is_some()),
                from_ns: run.from_ns,
                to_ns: run.to_ns,
            });
            if run.first < from {
                kept.push_back(Run { last: from - 1, ..run });
            }
            if to < run.last {
                let sequence = run.sequence + (to + 1 - run.first);
                kept.push_back(Run { first: to + 1, sequence, ..run });
            }
        }
        self.runs = kept;
        for body in bodies {
            self.lose_body(body);
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(requests: u32) -> Item {
        Item { requests, body: None }
    }

    fn part(body: u64) -> Item {
        Item { requests: 0, body: Some(BodyId(body)) }
    }

    fn lost(ledger: &mut Ledger, first: u64, last: u64) -> u64 {
        ledger.lose(first, last).iter().map(|run| run.requests).sum()
    }

    #[test]
    fn a_request_with_parts_is_lost_once_with_the_first_of_its_entries() {
        let mut ledger = Ledger::default();
        // Two bodies of which one is still being written, and a request between.
        ledger.begin_body(BodyId(1));
        ledger.begin_body(BodyId(2));
        for (at, item) in
            [part(1), part(2), requests(1), part(1), part(2), part(1)].into_iter().enumerate()
        {
            ledger.push(at as u64 + 1, at as u64 + 1, item, 0);
        }
        ledger.end_body(BodyId(1));
        ledger.settle(1);
        assert_eq!(lost(&mut ledger, 4, 4), 1);
        assert_eq!(lost(&mut ledger, 6, 6), 0, "its request is lost already");
        assert_eq!(lost(&mut ledger, 2, 3), 2);
        ledger.push(7, 7, part(2), 0);
        assert!(!ledger.lose_body(BodyId(2)), "it was lost before");
        ledger.end_body(BodyId(2));
        assert_eq!(lost(&mut ledger, 1, u64::MAX), 0);
        // The other way round: what was counted by the writer is not counted here.
        ledger.begin_body(BodyId(3));
        ledger.push(8, 8, part(3), 0);
        assert!(ledger.lose_body(BodyId(3)));
        ledger.push(9, 9, part(3), 0);
        ledger.end_body(BodyId(3));
        assert_eq!(lost(&mut ledger, 1, u64::MAX), 0);
        assert!(ledger.is_empty() && ledger.bodies.is_empty());
    }

    #[test]
    fn a_run_of_parts_is_one_request() {
        let mut ledger = Ledger::default();
        ledger.begin_body(BodyId(1));
        for at in 1..=5 {
            ledger.push(at, at, part(1), 0);
        }
        ledger.end_body(BodyId(1));
        assert_eq!(lost(&mut ledger, 2, 4), 1);
        assert_eq!(lost(&mut ledger, 0, 9), 0);
    }

    #[test]
    fn losses_by_position_become_losses_by_sequence() {
        let mut ledger = Ledger::default();
        // Positions 1–4 and 7–8 are ours, 5 and 6 another lane's.
        for (sequence, position) in [1, 2, 3, 4, 7, 8].into_iter().enumerate() {
            ledger.push(position, sequence as u64 + 1, requests(1), position * 10);
        }
        let lost = ledger.lose(3, 7);
        let sequences: Vec<_> =
            lost.iter().map(|run| (run.first_sequence, run.last_sequence, run.requests)).collect();
        assert_eq!(sequences, [(3, 4, 2), (5, 5, 1)]);
        assert_eq!(ledger.lose(1, u64::MAX).iter().map(|run| run.requests).sum::<u64>(), 3);
    }

    #[test]
    fn settled_entries_cannot_be_lost_and_weights_are_kept_apart() {
        let mut ledger = Ledger::default();
        for position in 1..=6 {
            ledger.push(position, position, requests(u32::from(position % 2 == 1)), 0);
        }
        ledger.settle(3);
        let lost = ledger.lose(1, 100);
        assert_eq!(lost.iter().map(|run| run.requests).sum::<u64>(), 1);
        assert_eq!(lost.first().map(|run| run.first_sequence), Some(4));
    }

    #[test]
    fn settling_inside_a_run_moves_its_first_sequence() {
        let mut ledger = Ledger::default();
        for position in 11..=15 {
            ledger.push(position, position - 10, requests(1), 0);
        }
        ledger.settle(12);
        let lost = ledger.lose(0, 13);
        assert_eq!((lost[0].first_sequence, lost[0].last_sequence), (3, 3));
    }
}
