//! What a pipeline tells the job's journal of its partitions, and hears from it about
//! those of other members.

use umbra_record::pb::{self, job_entry::Entry};

use super::Partition;
use crate::{
    clock::nanos,
    course::LEAD,
    error::ReplayError,
    job::{HEARD_NS, Run},
    pacer::Pacer,
    pipeline::Pipeline,
    share::AHEAD_NS,
    tally::Tally,
};

impl Pipeline {
    /// Tells the job's journal which partitions are finished.
    pub(in crate::pipeline) async fn report_partitions(&mut self) -> Result<(), ReplayError> {
        let now = self.now();
        let over: Vec<u32> = self
            .open
            .iter()
            .filter(|number| {
                self.partitions.get(number).is_some_and(|partition| match partition.end {
                    Some(end) => partition.next >= end,
                    None => partition.over_ns.is_some(),
                })
            })
            .copied()
            .collect();
        for number in over {
            self.look_at_end(number, now);
            self.settle_up();
            let Some(partition) = self.partitions.get_mut(&number) else { continue };
            if !partition.finished || partition.told {
                continue;
            }
            self.open.remove(&number);
            partition.told = true;
            partition.counted = true;
            let done = pb::PartitionDone {
                target: self.target.name.clone(),
                run: self.job.planned.run,
                partition: number,
                counts: Some(partition.all_counts()),
            };
            // Whoever hears that all partitions are finished hears all verdicts.
            Box::pin(self.tell_with_verdict(Entry::Done(done))).await;
        }
        Ok(())
    }

    /// Partitions that others have finished are finished, and those that others have met
    /// are there.
    pub(in crate::pipeline) async fn hear_of_partitions(&mut self, run: &Run) {
        self.hear_of_sends(run);
        let changes = run.shares.get(&self.target.name);
        for change in changes.into_iter().flatten().filter(|change| change.takes) {
            self.partitions.entry(change.partition).or_default();
        }
        for (target, number) in &run.done {
            if let Some(partition) = self.partitions.get_mut(number)
                && *target == self.target.name
                && !partition.held
            {
                partition.over_ns.get_or_insert(0);
                partition.finished = true;
                partition.told = true;
            }
        }
    }

    /// Tells the others of a partition that the plan does not know.
    pub(super) async fn tell_of_partition(&mut self, number: u32) {
        self.tell_share(number, self.now().saturating_add(HEARD_NS), true).await;
    }

    async fn tell_share(&self, partition: u32, from_ns: u64, takes: bool) {
        let share = pb::PartitionShare {
            target: self.target.name.clone(),
            run: self.job.planned.run,
            partition,
            from_ns,
            takes,
        };
        self.job.journal.tell(Entry::Share(share)).await;
    }

    /// Leaves its sends of a rate to the others when nothing will be left to send, so
    /// that none of them is lost meanwhile; takes them back if there is more after all.
    pub(in crate::pipeline) async fn share_ahead(&mut self) {
        let Pacer::Rate(_) = self.carry.pacer else { return };
        if self.epoch().is_none() || self.is_held() || self.is_full() {
            return;
        }
        let now = self.now();
        let held = self.held_partitions();
        let waiting = self.merge.len() as u64;
        if !held.iter().any(|number| self.course.roster.takes(*number)) {
            // What was not counted on needs a share again.
            if waiting > 0 && self.shared_ns.is_none_or(|at| at < now) {
                let from_ns = now.saturating_add(HEARD_NS);
                self.shared_ns = Some(from_ns.saturating_add(nanos(LEAD)));
                for number in held.iter().filter(|number| self.is_unfinished(**number)) {
                    self.tell_share(*number, from_ns, true).await;
                }
            }
            return;
        }
        let all_read = held.iter().all(|number| {
            self.partitions.get(number).is_none_or(|one| one.over_ns.is_some() || one.finished)
        });
        if !all_read || self.shared_ns.is_some_and(|at| at > now) {
            return;
        }
        let soon = now.saturating_add(AHEAD_NS);
        let Some(last) = self.carry.pacer.due_after(waiting, soon) else { return };
        if let Some((ours, from_ns)) = self.course.roster.ahead(&held, last, now) {
            self.shared_ns = Some(from_ns.saturating_add(nanos(LEAD)));
            for number in ours {
                self.tell_share(number, from_ns, false).await;
            }
        }
    }

    /// Whether it is known that there are no other partitions than those met: new ones
    /// may have come while the window was being written.
    pub(in crate::pipeline) fn has_looked(&self) -> bool {
        let Some(looked) = &self.job.partitions else { return true };
        looked.borrow().is_some_and(|count| self.partitions.len() as u64 >= u64::from(count))
    }

    /// Partitions that are there and that nobody has met yet are awaited.
    pub(in crate::pipeline) fn look_for_partitions(&mut self) {
        let Some(looked) = &self.job.partitions else { return };
        let count = looked.borrow().unwrap_or(0);
        for number in 0..count {
            self.partitions.entry(number).or_default();
        }
    }

    fn is_unfinished(&self, number: u32) -> bool {
        self.partitions.get(&number).is_some_and(|one| !one.finished && !one.told)
    }

    /// Tells the job's journal that this member has stopped before the run was over, and
    /// what it did of it.
    pub(in crate::pipeline) async fn tell_left(&self) {
        let mut tally = Tally::default();
        let uncounted = |partition: &&Partition| !partition.counted;
        for partition in self.partitions.values().filter(uncounted) {
            tally.add(&partition.tally);
        }
        let from_ns = self.counts_from();
        let left = pb::TargetLeft {
            target: self.target.name.clone(),
            run: self.job.planned.run,
            counts: Some(tally.to_counts()),
            from_ns: from_ns.unwrap_or(0),
            to_ns: from_ns.map_or(0, |_| self.now()),
            rate_position: self.carry.pacer.position(),
        };
        self.job.journal.tell(Entry::Left(left)).await;
    }
}
