//! What travels with a partition to whoever reads it next: counts, and the lanes met;
//! and the limit of the job, which counts what everybody sent.

use umbra_log::{Assigned, Tail};

use super::{Flight, Pipeline, ends::Partition};
use crate::{job::Run, order::Ticket};

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

    /// Notes where the partitions held stand.
    pub(super) fn note_all(&mut self) {
        for number in self.held_partitions() {
            self.note(number);
        }
    }

    /// Notes where a partition stands. Noted first and done then, a commit holds both.
    pub(super) fn note(&mut self, number: u32) {
        let first = self.flights.values().filter(|flight| flight.place.1 == number);
        let first = first.map(|flight| flight.place.2).min();
        let Some(partition) = self.partitions.get_mut(&number) else { return };
        partition.ledger.settled_to(first.unwrap_or(u64::MAX).min(partition.next()));
        let own = partition.settled_counts();
        if let Some(note) = partition.ledger.note(&own) {
            self.tail.note(number, note);
        }
    }

    /// A request of a partition is about to be done.
    pub(super) fn note_settled(&mut self, ticket: Ticket, flight: &Flight) {
        let number = flight.place.1;
        let Some(partition) = self.partitions.get_mut(&number) else { return };
        partition.ledger.settled(flight.place.0);
        if !partition.is_held() {
            // It is on its way to another reader, who is told the last of it.
            debug_assert!(!self.flights.contains_key(&ticket));
            self.note(number);
        }
    }

    // --- the limit ---

    /// What others have sent in partitions that are finished.
    pub(super) fn hear_of_sends(&mut self, run: &Run) {
        let name = &self.target.name;
        let others = run.counts.iter().filter(|((target, number), _)| {
            let mine = self.partitions.get(number).is_some_and(Partition::is_counted);
            target == name && !mine
        });
        self.sent_elsewhere = others.map(|(_, counts)| counts.sent).sum();
    }

    /// What was sent by everybody, as far as is known.
    pub(super) fn sent_so_far(&self) -> u64 {
        let before = self.job.planned.used_by(&self.target.name).sent;
        let here = self.partitions.values().filter(|one| one.is_held() || one.is_counted());
        before + self.sent_elsewhere + here.map(Partition::sent).sum::<u64>()
    }

    /// Whether as many as were asked for have been sent, or are on their way.
    pub(super) fn is_used_up(&self) -> bool {
        let Some(limit) = self.job.config.limit else { return false };
        let before = self.job.planned.used_by(&self.target.name).sent;
        let left = limit.saturating_sub(before).saturating_sub(self.sent_elsewhere);
        let (mut counted, mut held) = (0, 0);
        for partition in self.partitions.values() {
            if partition.is_counted() {
                counted += partition.sent();
            } else if partition.is_held() {
                held += partition.sent();
            }
        }
        let left = left.saturating_sub(counted);
        let begun = held + self.going as u64;
        if self.holds_all() {
            return begun >= left;
        }
        // Of what is left each partition has the same share.
        let open: Vec<&Partition> =
            self.partitions.values().filter(|partition| !partition.finished).collect();
        let n = open.len() as u64;
        let share = |index: usize| left / n + u64::from((index as u64) < left % n);
        let ours = open.iter().enumerate().filter(|(_, partition)| partition.is_held());
        let (count, share) =
            ours.fold((0, 0), |(count, sum), (index, _)| (count + 1, sum + share(index)));
        count > 0 && begun >= share
    }

    /// Whether this member is the one that waits for what the others leave of a limit.
    pub(super) fn holds_first(&self) -> bool {
        let first = self.partitions.values().find(|partition| !partition.finished);
        first.is_none_or(Partition::is_held)
    }
}
