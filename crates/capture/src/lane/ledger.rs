//! What a lane handed over for one partition, to the log or to the spool, and is
//! not yet known to be durable: which sequence has which number there, so that a
//! loss told by number becomes the lane's loss by sequence, and what a flush did
//! not reach can be counted.

use std::collections::{BTreeMap, VecDeque};

/// The request that several records of this lane belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BodyId(pub(crate) u64);

/// Where an entry was handed to. Each counts by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Log,
    Spool,
}

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

/// One partition's entries in order of position, on each way.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    runs: [VecDeque<Run>; 2],
    bodies: BTreeMap<BodyId, Body>,
    /// Requests in the runs, without those of bodies.
    requests: u64,
    /// Bodies that are not lost.
    open_bodies: u64,
}

/// A body that is being written or has entries in the runs.
#[derive(Debug, Default)]
struct Body {
    /// Its request is counted as lost.
    lost: bool,
    /// No further entry comes.
    ended: bool,
    entries: u64,
}

impl Ledger {
    pub(crate) fn push(
        &mut self,
        way: Way,
        position: u64,
        sequence: u64,
        mut item: Item,
        time_ns: u64,
    ) {
        item.body = item.body.filter(|id| match self.bodies.get_mut(id) {
            Some(body) if body.lost => false,
            Some(body) => {
                body.entries += 1;
                true
            }
            None => true,
        });
        self.requests += u64::from(item.requests);
        let runs = &mut self.runs[way as usize];
        if let Some(run) = runs.back_mut()
            && run.last + 1 == position
            && run.sequence + (position - run.first) == sequence
            && run.item == item
        {
            run.last = position;
            run.from_ns = run.from_ns.min(time_ns);
            run.to_ns = run.to_ns.max(time_ns);
            return;
        }
        runs.push_back(Run {
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
        self.runs.iter().all(VecDeque::is_empty)
    }

    /// Requests of which something is not durable, or yet to come.
    pub(crate) fn open_requests(&self) -> u64 {
        self.requests + self.open_bodies
    }

    /// Entries of this body will be pushed.
    pub(crate) fn begin_body(&mut self, body: BodyId) {
        self.bodies.insert(body, Body::default());
        self.open_bodies += 1;
    }

    /// Entries of this body will not be pushed any more.
    pub(crate) fn end_body(&mut self, id: BodyId) {
        if let Some(body) = self.bodies.get_mut(&id) {
            body.ended = true;
            self.forget(id);
        }
    }

    /// The request of a body is lost, whatever becomes of its entries. False: it
    /// was before.
    pub(crate) fn lose_body(&mut self, id: BodyId) -> bool {
        let mut before = false;
        if let Some(body) = self.bodies.get_mut(&id) {
            body.entries = 0;
            before = std::mem::replace(&mut body.lost, true);
            self.open_bodies -= u64::from(!before);
        }
        let entries = self.runs.iter_mut().flatten().filter(|run| run.item.body == Some(id));
        entries.for_each(|run| run.item.body = None);
        self.forget(id);
        !before
    }

    /// Forgets what is durable on a way.
    pub(crate) fn settle(&mut self, way: Way, durable: u64) {
        while let Some(run) = self.runs[way as usize].front_mut() {
            if run.first > durable {
                return;
            }
            let count = run.last.min(durable) + 1 - run.first;
            let item = run.item;
            if run.last > durable {
                run.sequence += count;
                run.first = durable + 1;
            } else {
                self.runs[way as usize].pop_front();
            }
            self.take(item, count);
        }
    }

    /// Takes out the entries with positions `first..=last`.
    pub(crate) fn lose(&mut self, way: Way, first: u64, last: u64) -> Vec<LostRun> {
        let mut lost = Vec::new();
        let mut bodies = Vec::new();
        let runs = std::mem::take(&mut self.runs[way as usize]);
        let mut kept = VecDeque::with_capacity(runs.len() + 1);
        for run in runs {
            let (from, to) = (run.first.max(first), run.last.min(last));
            if from > to {
                kept.push_back(run);
                continue;
            }
            let body = run.item.body.filter(|body| !bodies.contains(body));
            bodies.extend(body);
            let count = to - from + 1;
            self.requests -= count * u64::from(run.item.requests);
            lost.push(LostRun {
                first_sequence: run.sequence + (from - run.first),
                last_sequence: run.sequence + (to - run.first),
                requests: count * u64::from(run.item.requests) + u64::from(body.is_some()),
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
        self.runs[way as usize] = kept;
        for body in bodies {
            self.lose_body(body);
        }
        lost
    }

    /// So many entries of a kind are durable.
    fn take(&mut self, item: Item, count: u64) {
        self.requests -= count * u64::from(item.requests);
        if let Some(id) = item.body
            && let Some(body) = self.bodies.get_mut(&id)
        {
            body.entries = body.entries.saturating_sub(count);
            self.forget(id);
        }
    }

    /// Nothing more becomes of a body that has ended and has no entries.
    fn forget(&mut self, id: BodyId) {
        if let Some(body) = self.bodies.get(&id)
            && body.ended
            && body.entries == 0
        {
            self.open_bodies -= u64::from(!body.lost);
            self.bodies.remove(&id);
        }
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
        ledger.lose(Way::Log, first, last).iter().map(|run| run.requests).sum()
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
            ledger.push(Way::Log, at as u64 + 1, at as u64 + 1, item, 0);
        }
        ledger.end_body(BodyId(1));
        ledger.settle(Way::Log, 1);
        assert_eq!(lost(&mut ledger, 4, 4), 1);
        assert_eq!(lost(&mut ledger, 6, 6), 0, "its request is lost already");
        assert_eq!(lost(&mut ledger, 2, 3), 2);
        ledger.push(Way::Log, 7, 7, part(2), 0);
        assert!(!ledger.lose_body(BodyId(2)), "it was lost before");
        ledger.end_body(BodyId(2));
        assert_eq!(lost(&mut ledger, 1, u64::MAX), 0);
        // The other way round: what was counted by the writer is not counted here.
        ledger.begin_body(BodyId(3));
        ledger.push(Way::Log, 8, 8, part(3), 0);
        assert!(ledger.lose_body(BodyId(3)));
        ledger.push(Way::Log, 9, 9, part(3), 0);
        ledger.end_body(BodyId(3));
        assert_eq!(lost(&mut ledger, 1, u64::MAX), 0);
        assert!(ledger.is_empty() && ledger.bodies.is_empty());
    }

    #[test]
    fn a_run_of_parts_is_one_request() {
        let mut ledger = Ledger::default();
        ledger.begin_body(BodyId(1));
        for at in 1..=5 {
            ledger.push(Way::Log, at, at, part(1), 0);
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
            ledger.push(Way::Log, position, sequence as u64 + 1, requests(1), position * 10);
        }
        let lost = ledger.lose(Way::Log, 3, 7);
        let sequences: Vec<_> =
            lost.iter().map(|run| (run.first_sequence, run.last_sequence, run.requests)).collect();
        assert_eq!(sequences, [(3, 4, 2), (5, 5, 1)]);
        assert_eq!(
            ledger.lose(Way::Log, 1, u64::MAX).iter().map(|run| run.requests).sum::<u64>(),
            3
        );
    }

    #[test]
    fn settled_entries_cannot_be_lost_and_weights_are_kept_apart() {
        let mut ledger = Ledger::default();
        for position in 1..=6 {
            ledger.push(Way::Log, position, position, requests(u32::from(position % 2 == 1)), 0);
        }
        ledger.settle(Way::Log, 3);
        let lost = ledger.lose(Way::Log, 1, 100);
        assert_eq!(lost.iter().map(|run| run.requests).sum::<u64>(), 1);
        assert_eq!(lost.first().map(|run| run.first_sequence), Some(4));
    }

    #[test]
    fn settling_inside_a_run_moves_its_first_sequence() {
        let mut ledger = Ledger::default();
        for position in 11..=15 {
            ledger.push(Way::Log, position, position - 10, requests(1), 0);
        }
        ledger.settle(Way::Log, 12);
        let lost = ledger.lose(Way::Log, 0, 13);
        assert_eq!((lost[0].first_sequence, lost[0].last_sequence), (3, 3));
    }
}
