//! What a lane handed to the log for one partition and is not yet known to be
//! durable: which sequence has which position, so that a loss the log tells by
//! position becomes the lane's loss by sequence, and what a flush did not reach
//! can be counted.

use std::collections::VecDeque;

/// Consecutive entries of equal weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: u64,
    last: u64,
    /// Sequence of `first`.
    sequence: u64,
    weight: u32,
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
}

impl Ledger {
    pub(crate) fn push(&mut self, position: u64, sequence: u64, weight: u32, time_ns: u64) {
        if let Some(run) = self.runs.back_mut()
            && run.last + 1 == position
            && run.weight == weight
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
            weight,
            from_ns: time_ns,
            to_ns: time_ns,
        });
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
        let mut kept = VecDeque::with_capacity(self.runs.len() + 1);
        for run in self.runs.drain(..) {
            let (from, to) = (run.first.max(first), run.last.min(last));
            if from > to {
                kept.push_back(run);
                continue;
            }
            lost.push(LostRun {
                first_sequence: run.sequence + (from - run.first),
                last_sequence: run.sequence + (to - run.first),
                requests: (to - from + 1) * u64::from(run.weight),
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
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_by_position_become_losses_by_sequence() {
        let mut ledger = Ledger::default();
        // Positions 1–4 and 7–8 are ours, 5 and 6 another lane's.
        for (sequence, position) in [1, 2, 3, 4, 7, 8].into_iter().enumerate() {
            ledger.push(position, sequence as u64 + 1, 1, position * 10);
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
            ledger.push(position, position, u32::from(position % 2 == 1), 0);
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
            ledger.push(position, position - 10, 1, 0);
        }
        ledger.settle(12);
        let lost = ledger.lose(0, 13);
        assert_eq!((lost[0].first_sequence, lost[0].last_sequence), (3, 3));
    }
}
