//! Sets of sequence numbers as runs: what a lane's holes and told losses are.

use std::collections::BTreeMap;

/// Disjoint runs of numbers, each with the time at which it was noticed.
#[derive(Debug, Default)]
pub(super) struct Runs {
    by_first: BTreeMap<u64, (u64, u64)>,
}

/// One of them, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) at_ns: u64,
}

impl Run {
    /// How many numbers it has.
    pub(super) fn count(self) -> u64 {
        self.last - self.first + 1
    }
}

impl Runs {
    /// A set of these runs.
    pub(super) fn of(runs: &[Run]) -> Self {
        let mut set = Self::default();
        runs.iter().for_each(|&run| set.add(run));
        set
    }

    /// How many runs there are.
    pub(super) fn len(&self) -> usize {
        self.by_first.len()
    }

    /// The runs in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Run> {
        self.by_first.iter().map(|(&first, &(last, at_ns))| Run { first, last, at_ns })
    }

    /// Adds `first..=last`, joined with every run it overlaps or touches. The very
    /// last number is none, so that there is one behind each.
    pub(super) fn add(&mut self, run: Run) {
        let Run { mut first, mut last, mut at_ns } = run;
        last = last.min(u64::MAX - 1);
        if first > last {
            return;
        }
        while let Some((&other, &(end, at))) = self.by_first.range(..=last + 1).next_back() {
            if end + 1 < first {
                break;
            }
            self.by_first.remove(&other);
            (first, last, at_ns) = (first.min(other), last.max(end), at_ns.min(at));
        }
        self.by_first.insert(first, (last, at_ns));
    }

    /// Takes one number out; says whether it was in.
    pub(super) fn take(&mut self, number: u64) -> bool {
        let Some((&first, &(last, at_ns))) = self.by_first.range(..=number).next_back() else {
            return false;
        };
        if last < number {
            return false;
        }
        self.by_first.remove(&first);
        if first < number {
            self.by_first.insert(first, (number - 1, at_ns));
        }
        if number < last {
            self.by_first.insert(number + 1, (last, at_ns));
        }
        true
    }

    /// Takes the lowest run out.
    pub(super) fn take_first(&mut self) -> Option<Run> {
        let (first, (last, at_ns)) = self.by_first.pop_first()?;
        Some(Run { first, last, at_ns })
    }

    /// What is in this and within `first..=last`, and not in `other`.
    pub(super) fn without(&self, other: &Self, first: u64, last: u64) -> Vec<Run> {
        let mut left = Vec::new();
        for run in self.iter() {
            let (mut from, to) = (run.first.max(first), run.last.min(last));
            // The run of the other that begins before, then those within.
            let before = other.by_first.range(..from).next_back();
            let within = other.by_first.range(from..=to.max(from));
            for (&cut, &(end, _)) in before.into_iter().chain(within) {
                if cut > to || from > to {
                    break;
                }
                if cut > from {
                    left.push(Run { first: from, last: cut - 1, at_ns: run.at_ns });
                }
                from = from.max(end + 1);
            }
            if from <= to {
                left.push(Run { first: from, last: to, at_ns: run.at_ns });
            }
        }
        left
    }
}

#[cfg(test)]
mod tests;
