//! What travels with a partition to whoever reads it next: counts, and the lanes met;
//! and the limit of the job, which counts what everybody sent.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use umbra_log::{Assigned, Delivery, Tail};

use super::{Pipeline, ends::Partition};
use crate::job::Run;

#[cfg(test)]
mod tests;

/// So many settled records are told to the log at once at most.
const MOST_SETTLED: usize = 1024;

/// Records that are settled, and of which the log was not told yet.
#[derive(Debug, Default)]
pub(super) struct Settled {
    records: Vec<Delivery>,
    /// Of a partition that is on its way to another reader.
    urgent: bool,
}

impl Pipeline {
    // --- notes ---

    /// Takes over what the reader before has noted.
    pub(super) fn inherit(&mut self, assigned: &Assigned) {
        let Some(partition) = self.partitions.get_mut(&assigned.partition) else { return };
        let own = partition.settled_counts();
        for ((agent, lane), first, last) in partition.ledger.inherit(&assigned.note, &own) {
            self.seen.met_before((agent, lane, assigned.partition), first, last);
        }
    }

    // --- what is settled ---

    /// Nothing is left to do for this record. The log is told so together with others,
    /// after the counts that go with them: a commit that holds the one holds the other.
    pub(super) fn hand_in(&mut self, mut delivery: Delivery) {
        // It makes nobody wait, and holds nothing, until then.
        delivery.uncount();
        delivery.payload = Bytes::new();
        self.settled.urgent |=
            self.partitions.get(&delivery.partition).is_none_or(|partition| !partition.is_held());
        self.settled.records.push(delivery);
    }

    /// Tells the log what is settled if somebody waits for that, or if it is a lot.
    pub(super) fn settle_up_in_time(&mut self) {
        if self.settled.urgent || self.settled.records.len() >= MOST_SETTLED {
            self.settle_up();
        }
    }

    /// Tells the log what is settled: notes first, then the records.
    pub(super) fn settle_up(&mut self) {
        self.settled.urgent = false;
        if self.settled.records.is_empty() {
            return;
        }
        let records = std::mem::take(&mut self.settled.records);
        let numbers: BTreeSet<u32> = records.iter().map(|one| one.partition).collect();
        self.note_of(numbers);
        records.into_iter().for_each(Delivery::done);
    }

    /// The same after an error: what was met last may not be among what is settled, so
    /// only the counts are noted.
    pub(super) fn settle_up_after_error(&mut self) {
        let records = std::mem::take(&mut self.settled.records);
        let numbers: BTreeSet<u32> = records.iter().map(|one| one.partition).collect();
        for number in numbers {
            self.note(number);
        }
        records.into_iter().for_each(Delivery::done);
    }

    /// Notes where these partitions stand.
    pub(super) fn note_of(&mut self, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            if let Some(partition) = self.partitions.get_mut(&number) {
                let to = partition.settled_to();
                partition.ledger.settled_to(to);
            }
            self.note(number);
        }
    }

    fn note(&mut self, number: u32) {
        let Some(partition) = self.partitions.get_mut(&number) else { return };
        let own = partition.settled_counts();
        if let Some(note) = partition.ledger.note(&own) {
            self.tail.note(number, note);
        }
    }

    // --- the limit ---

    /// What was sent in partitions that are finished, as the journal has it.
    pub(super) fn hear_of_sends(&mut self, run: &Run) {
        let ours = run.counts.iter().filter(|((target, _), _)| *target == self.target.name);
        self.told_sent = ours.map(|((_, number), counts)| (*number, counts.sent)).collect();
    }

    fn spent(&self) -> Spent {
        let before = self.job.planned.used_by(&self.target.name).sent;
        Spent::of(before, &self.told_sent, &self.partitions)
    }

    /// What was sent by everybody, as far as is known.
    pub(super) fn sent_so_far(&self) -> u64 {
        let spent = self.spent();
        spent.elsewhere + spent.counted + spent.held
    }

    /// Whether as many as were asked for have been sent, or are on their way.
    pub(super) fn is_used_up(&self) -> bool {
        let Some(limit) = self.job.config.limit else { return false };
        let Spent { elsewhere, counted, held } = self.spent();
        let left = limit.saturating_sub(elsewhere);
        let begun = counted + held + self.going as u64;
        if self.holds_all() {
            return begun >= left;
        }
        // Of what is left each partition has the same share, also those that were
        // finished here: what was sent in them is part of what we may send.
        let shared: Vec<&Partition> =
            self.partitions.values().filter(|one| !one.finished || one.is_counted()).collect();
        let n = shared.len() as u64;
        let share = |index: usize| left / n + u64::from((index as u64) < left % n);
        let ours = shared.iter().enumerate().filter(|(_, one)| one.is_held() || one.is_counted());
        let share = ours.map(|(index, _)| share(index)).sum();
        let holds_any = shared.iter().any(|one| !one.finished && one.is_held());
        holds_any && begun >= share
    }

    /// Whether this member is the one that waits for what the others leave of a limit.
    pub(super) fn holds_first(&self) -> bool {
        let first = self.partitions.values().find(|partition| !partition.finished);
        first.is_none_or(Partition::is_held)
    }
}

/// What a job has sent to a target, each partition counted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spent {
    /// Before this run, and by others in partitions that are finished.
    elsewhere: u64,
    /// In partitions that were finished here.
    counted: u64,
    /// In those that are read here.
    held: u64,
}

impl Spent {
    fn of(before: u64, told: &BTreeMap<u32, u64>, partitions: &BTreeMap<u32, Partition>) -> Self {
        let mut spent = Self { elsewhere: before, counted: 0, held: 0 };
        for (number, partition) in partitions {
            // A finished partition may be read again, after a restart or by a member it has
            // moved to; what travels with it is what the journal has already.
            if partition.is_counted() {
                spent.counted += partition.sent();
            } else if partition.is_held() && !told.contains_key(number) {
                spent.held += partition.sent();
            }
        }
        let counted_here = |number: &u32| partitions.get(number).is_some_and(Partition::is_counted);
        let others = told.iter().filter(|(number, _)| !counted_here(number));
        spent.elsewhere += others.map(|(_, sent)| sent).sum::<u64>();
        spent
    }
}
