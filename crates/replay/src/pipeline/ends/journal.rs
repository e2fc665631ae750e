//! What a pipeline tells the job's journal of its partitions, and hears from it about
//! those of other members.

use std::time::{Duration, Instant};

use umbra_record::pb::{self, job_entry::Entry};

use crate::{error::ReplayError, pipeline::Pipeline, tally::Tally};

/// What other members have finished is looked for this often, by one with nothing
/// left of its own.
const HEAR: Duration = Duration::from_secs(1);

impl Pipeline {
    /// Tells the job's journal which partitions are finished, and hears of those that
    /// others have.
    pub(in crate::pipeline) async fn report_partitions(&mut self) -> Result<(), ReplayError> {
        self.hear().await?;
        let now = self.now();
        let over: Vec<u32> = self
            .partitions
            .iter()
            .filter(|(_, partition)| match partition.end {
                Some(end) => partition.next >= end && !partition.told,
                None => partition.over_ns.is_some() && !partition.told,
            })
            .map(|(number, _)| *number)
            .collect();
        for number in over {
            self.look_at_end(number, now);
            let Some(partition) = self.partitions.get_mut(&number) else { continue };
            if !partition.finished || partition.told {
                continue;
            }
            partition.told = true;
            partition.counted = true;
            let done = pb::PartitionDone {
                target: self.target.name.clone(),
                run: self.job.planned.run,
                partition: number,
                counts: Some(partition.tally.to_counts()),
            };
            self.job.journal.append(Entry::Done(done)).await?;
        }
        Ok(())
    }

    /// Once everything of its own is done, a member ends with the others: their
    /// partitions are finished when the journal says so.
    async fn hear(&mut self) -> Result<(), ReplayError> {
        if !self.waits_for_others() || self.shown.heard.elapsed() < HEAR {
            return Ok(());
        }
        let stored = self.job.journal.read().await?;
        self.shown.heard = Instant::now();
        let Some(run) = stored.runs.get(&self.job.planned.run) else { return Ok(()) };
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
        Ok(())
    }

    fn waits_for_others(&self) -> bool {
        !self.job.planned.live
            && self.flights.is_empty()
            && !self.all_finished()
            && self.partitions.values().all(|partition| partition.finished || !partition.held)
    }

    /// Tells the job's journal what was done of a run that is not over, so that its
    /// limits hold for whoever goes on.
    pub(in crate::pipeline) async fn tell_left(&self) -> Result<(), ReplayError> {
        let mut tally = Tally::default();
        for partition in self.partitions.values().filter(|partition| !partition.counted) {
            tally.add(&partition.tally);
        }
        let Some(from_ns) = self.counts_from() else { return Ok(()) };
        let left = pb::TargetLeft {
            target: self.target.name.clone(),
            run: self.job.planned.run,
            counts: Some(tally.to_counts()),
            from_ns,
            to_ns: self.now(),
        };
        Ok(self.job.journal.append(Entry::Left(left)).await?)
    }
}
