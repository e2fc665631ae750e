//! Whose turn it is: the sends of a rate are numbered over the whole job, and send
//! number k belongs to partition k mod n of those that take a share. Whoever holds
//! the partition sends it, so that any number of replicas make up exactly the rate
//! between them, evenly spread, without a word to each other. Pure.

use std::collections::BTreeSet;

use crate::job::{HEARD_NS, Run, ShareChange};

#[cfg(test)]
mod tests;

/// Changes older than this do not matter to any send that is still to come.
const PAST_NS: u64 = 60_000_000_000;

/// That nothing will be left to send is told when that is so long ahead at most.
pub(crate) const AHEAD_NS: u64 = 2_000_000_000;

/// Which partitions take a share of a rate, over time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Roster {
    /// From when on, ascending; those that take a share then, ascending. The first
    /// holds from the beginning.
    spells: Vec<(u64, Vec<u32>)>,
}

impl Roster {
    /// The roster of a target, as the journal tells it. Without anybody on it the
    /// last ones stay: whoever is left has work that was not counted on.
    pub(crate) fn new(run: &Run, target: &str, now: u64) -> Self {
        let planned = run.plan.iter().flat_map(|plan| &plan.partitions);
        let first = planned
            .filter(|one| one.end.is_none_or(|end| end > one.start))
            .map(|one| one.partition)
            .collect();
        let changes = run.shares.get(target).map_or(&[][..], Vec::as_slice);
        Self::of(first, changes, now)
    }

    pub(crate) fn of(mut taking: BTreeSet<u32>, changes: &[ShareChange], now: u64) -> Self {
        let mut changes = changes.to_vec();
        // What was told first goes first among those of one time.
        changes.sort_by_key(|change| change.from_ns);
        let mut spells: Vec<(u64, Vec<u32>)> = vec![(0, taking.iter().copied().collect())];
        for change in changes {
            let changed = match change.takes {
                true => taking.insert(change.partition),
                false => taking.remove(&change.partition),
            };
            if !changed || taking.is_empty() {
                continue;
            }
            let all: Vec<u32> = taking.iter().copied().collect();
            if change.from_ns.saturating_add(PAST_NS) < now {
                spells = vec![(0, all)];
            } else {
                spells.push((change.from_ns, all));
            }
        }
        Self { spells }
    }

    /// Those that take a share at this time, in order of their numbers.
    pub(crate) fn at(&self, time_ns: u64) -> &[u32] {
        let spell = self.spells.iter().rev().find(|(from, _)| *from <= time_ns);
        spell.map_or(&[], |(_, taking)| taking)
    }

    /// Whose a send is, by its number and when it is due.
    pub(crate) fn owner(&self, number: u64, due_ns: u64) -> Option<u32> {
        let taking = self.at(due_ns);
        let n = taking.len() as u64;
        number.checked_rem(n).map(|index| taking[index as usize])
    }

    /// The partitions of ours that take no share any more, and from when on, if the last
    /// of our sends is due at that time: none of our sends is lost then, and none of the
    /// job's. Nothing as long as that is far ahead, or nobody else is there.
    pub(crate) fn ahead(
        &self,
        held: &BTreeSet<u32>,
        last_due_ns: u64,
        now: u64,
    ) -> Option<(Vec<u32>, u64)> {
        let (ours, others): (Vec<u32>, Vec<u32>) =
            self.last().iter().partition(|number| held.contains(number));
        if ours.is_empty() || others.is_empty() {
            return None;
        }
        Some((ours, last_due_ns.saturating_add(1).max(now.saturating_add(HEARD_NS))))
    }

    /// The most that take a share at any time that matters.
    pub(crate) fn most(&self) -> usize {
        self.spells.iter().map(|(_, taking)| taking.len()).max().unwrap_or(0)
    }

    /// Those that take a share in the end, as far as is known.
    pub(crate) fn last(&self) -> &[u32] {
        self.spells.last().map_or(&[], |(_, taking)| taking)
    }
}
