//! Whose turn it is: the sends of a rate are numbered over the whole job, and send
//! number k belongs to partition k mod n of those that take a share. Whoever holds
//! the partition sends it, so that any number of replicas make up exactly the rate
//! between them, evenly spread, without a word to each other. Pure.
//!
//! What it costs does not depend on how many partitions there are but by the logarithm:
//! a job may have ten thousand, and as many changes in the minute in which it ends.

use std::collections::{BTreeMap, BTreeSet};

use crate::job::{HEARD_NS, Run, ShareChange};

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

/// Changes older than this do not matter to any send that is still to come.
const PAST_NS: u64 = 60_000_000_000;

/// That nothing will be left to send is told when that is so long ahead at most.
pub(crate) const AHEAD_NS: u64 = 2_000_000_000;

/// Which partitions take a share of a rate, over time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Roster {
    /// Those that take one in the end, as far as is known, ascending. What was before is
    /// found by going back from there.
    last: Vec<u32>,
    /// What has led there, ascending by time.
    steps: Vec<Step>,
    /// The last one has nothing left to send, and stays until another comes: whoever is
    /// left has work that was not counted on.
    stays: bool,
    /// So many of the journal's changes are in here.
    heard: usize,
    /// Changes before this time are not among the steps any more.
    past_ns: u64,
}

/// A change, and what it made of the roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    change: ShareChange,
    out: Option<u32>,
    into: Option<u32>,
    /// Whether the only one had to stay before.
    stayed: bool,
}

/// The turns of one replica from one change of the roster to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turns {
    /// This many steps of the roster came before.
    after: usize,
    /// Sends that are due before this time.
    pub until_ns: u64,
    /// How many take a share.
    all: u64,
    /// Partitions of ours, and which of all they are; ascending.
    ours: Vec<(u32, u64)>,
}

impl Roster {
    /// The roster of a target, as the journal tells it.
    pub(crate) fn new(run: &Run, target: &str, now: u64) -> Self {
        let planned = run.plan.iter().flat_map(|plan| &plan.partitions);
        let first = planned
            .filter(|one| one.end.is_none_or(|end| end > one.start))
            .map(|one| one.partition)
            .collect();
        Self::of(first, changes(run, target), now)
    }

    pub(crate) fn of(first: BTreeSet<u32>, changes: &[ShareChange], now: u64) -> Self {
        let mut roster = Self { last: first.into_iter().collect(), ..Self::default() };
        roster.hear(changes, now);
        roster
    }

    /// Whether the journal tells of no more changes than this has heard of.
    pub(crate) fn knows_all(&self, run: &Run, target: &str) -> bool {
        self.heard == changes(run, target).len()
    }

    /// The same roster, with what the journal has told since it was made.
    pub(crate) fn went_on(&self, run: &Run, target: &str, now: u64) -> Self {
        let all = changes(run, target);
        let more = all.get(self.heard..).unwrap_or_default();
        if self.heard == 0 || more.iter().any(|change| change.from_ns < self.past_ns) {
            return Self::new(run, target, now);
        }
        let mut roster = self.clone();
        roster.hear(more, now);
        roster
    }

    /// Takes in changes in the order of the journal. None may be older than what has been
    /// forgotten.
    pub(crate) fn hear(&mut self, changes: &[ShareChange], now: u64) {
        self.heard += changes.len();
        if let Some(earliest) = changes.iter().map(|change| change.from_ns).min() {
            let kept = self.steps.partition_point(|step| step.change.from_ns <= earliest);
            let undone = self.steps.split_off(kept);
            undone.iter().rev().for_each(|step| self.undo(step));
            let again = undone.iter().map(|step| &step.change);
            let mut all: Vec<ShareChange> = again.chain(changes).copied().collect();
            // What was told first goes first among those of one time.
            all.sort_by_key(|change| change.from_ns);
            all.into_iter().for_each(|change| self.take(change));
        }
        let old = |step: &Step| step.change.from_ns.saturating_add(PAST_NS) < now;
        let forgotten = self.steps.partition_point(old);
        if let Some(step) = self.steps[..forgotten].last() {
            self.past_ns = step.change.from_ns.saturating_add(1);
            self.steps.drain(..forgotten);
        }
    }

    fn take(&mut self, change: ShareChange) {
        let stayed = self.stays;
        let (mut out, mut into) = (None, None);
        match (self.last.binary_search(&change.partition), change.takes) {
            (Ok(_), true) => self.stays = false,
            (Ok(_), false) if self.last.len() == 1 => self.stays = true,
            (Ok(at), false) => out = Some(self.last.remove(at)),
            (Err(_), true) => {
                if std::mem::take(&mut self.stays) {
                    out = self.last.pop();
                }
                into = Some(change.partition);
                let at = self.last.partition_point(|one| *one < change.partition);
                self.last.insert(at, change.partition);
            }
            (Err(_), false) => {}
        }
        self.steps.push(Step { change, out, into, stayed });
    }

    fn undo(&mut self, step: &Step) {
        if let Some(at) = step.into.and_then(|one| self.last.binary_search(&one).ok()) {
            self.last.remove(at);
        }
        if let Some(one) = step.out {
            let at = self.last.partition_point(|other| *other < one);
            self.last.insert(at, one);
        }
        self.stays = step.stayed;
    }

    /// The turns of whoever holds these partitions, at a time.
    pub(crate) fn turns(&self, held: &BTreeSet<u32>, time_ns: u64) -> Turns {
        let after = self.steps.partition_point(|step| step.change.from_ns <= time_ns);
        // How many more there were then of each number than in the end.
        let mut more: BTreeMap<u32, i64> = BTreeMap::new();
        for step in &self.steps[after..] {
            step.out.into_iter().for_each(|one| *more.entry(one).or_default() += 1);
            step.into.into_iter().for_each(|one| *more.entry(one).or_default() -= 1);
        }
        let mut below = more.iter().peekable();
        let mut passed = 0;
        let mut ours = Vec::new();
        for one in held {
            while let Some((_, n)) = below.next_if(|(other, _)| *other < one) {
                passed += n;
            }
            let place = self.last.partition_point(|other| other < one);
            let taking = i64::from(self.last.get(place) == Some(one));
            if taking + more.get(one).copied().unwrap_or(0) > 0 {
                ours.push((*one, place.saturating_add_signed(passed as isize) as u64));
            }
        }
        let all = (self.last.len() as u64).saturating_add_signed(more.values().sum());
        Turns { after, until_ns: self.until(after), all, ours }
    }

    /// The turns after the next change.
    pub(crate) fn advance(&self, turns: &mut Turns, held: &BTreeSet<u32>) {
        let Some(step) = self.steps.get(turns.after) else { return };
        turns.after += 1;
        turns.until_ns = self.until(turns.after);
        if let Some(out) = step.out {
            turns.all -= 1;
            turns.ours.retain(|(one, _)| *one != out);
            let above = turns.ours.partition_point(|(one, _)| *one < out);
            turns.ours[above..].iter_mut().for_each(|(_, place)| *place -= 1);
        }
        if let Some(into) = step.into {
            turns.all += 1;
            let above = turns.ours.partition_point(|(one, _)| *one < into);
            turns.ours[above..].iter_mut().for_each(|(_, place)| *place += 1);
            if held.contains(&into) {
                turns.ours.insert(above, (into, self.place(into, turns.after)));
            }
        }
    }

    /// Which of all it is after so many steps.
    fn place(&self, one: u32, after: usize) -> u64 {
        let below = self.last.partition_point(|other| *other < one) as u64;
        let lower = |other: Option<u32>| i64::from(other.is_some_and(|other| other < one));
        let steps = self.steps[after..].iter();
        below.saturating_add_signed(steps.map(|step| lower(step.out) - lower(step.into)).sum())
    }

    fn until(&self, after: usize) -> u64 {
        self.steps.get(after).map_or(u64::MAX, |step| step.change.from_ns)
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
        let ours: Vec<u32> = held.iter().copied().filter(|number| self.takes(*number)).collect();
        if ours.is_empty() || ours.len() == self.last.len() {
            return None;
        }
        Some((ours, last_due_ns.saturating_add(1).max(now.saturating_add(HEARD_NS))))
    }

    /// Whether it takes a share in the end, as far as is known.
    pub(crate) fn takes(&self, number: u32) -> bool {
        self.last.binary_search(&number).is_ok()
    }
}

impl Turns {
    /// The first send of ours from that number on, whenever it is due. If nobody is known
    /// to take a share, all are.
    pub(crate) fn first_from(&self, number: u64) -> Option<u64> {
        let Some(place) = number.checked_rem(self.all) else { return Some(number) };
        let next = self.ours.partition_point(|(_, ours)| *ours < place);
        match (self.ours.get(next), self.ours.first()) {
            (Some((_, ours)), _) => number.checked_add(ours - place),
            (None, Some((_, ours))) => number.checked_add(self.all - place + ours),
            (None, None) => None,
        }
    }
}

fn changes<'a>(run: &'a Run, target: &str) -> &'a [ShareChange] {
    run.shares.get(target).map_or(&[], Vec::as_slice)
}
