//! What the members of a job tell each other of what they have judged, and when.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use umbra_log::Assigned;
use umbra_record::pb::job_entry::Entry;

use crate::{error::ReplayError, pipeline::Pipeline};

/// What was judged is told to the other members of the job after this long first, then
/// ever more rarely: each telling is kept for as long as the job's plan.
pub(super) const FIRST_NOTE: Duration = Duration::from_secs(5);
const RAREST_NOTE: Duration = Duration::from_secs(300);
/// What is settled is looked at this often.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// What others have judged is being heard, for the sake of these partitions.
pub(in crate::pipeline) struct Hearing {
    assigned: Vec<Assigned>,
    task: JoinSet<Result<(), ReplayError>>,
}

impl Hearing {
    /// The partitions that are ours, now that it was heard what others have judged; never,
    /// while nothing is heard. Cancel-safe.
    pub(in crate::pipeline) async fn heard(
        this: &mut Option<Self>,
    ) -> Result<Vec<Assigned>, ReplayError> {
        let heard = match this {
            Some(hearing) => hearing.task.join_next().await,
            None => std::future::pending().await,
        };
        let heard = heard.unwrap_or(Ok(Ok(())));
        let heard = heard.map_err(|error| ReplayError::Bug(format!("hearing failed: {error}")))?;
        let assigned = this.take().map(|hearing| hearing.assigned);
        heard.map(|()| assigned.unwrap_or_default())
    }
}

impl Pipeline {
    /// Tells the other members of the job what was judged, when it is time to.
    pub(in crate::pipeline) fn tell_verdict(&mut self) {
        let now = Instant::now();
        let below = match &self.judging {
            Some(judging) if judging.next_look <= now => self.settled_below(),
            _ => return,
        };
        let Some(judging) = &mut self.judging else { return };
        judging.next_look = now + LOOK;
        judging.bench.judge.settled(&below);
        if judging.next_note > now {
            return;
        }
        while judging.telling.try_join_next().is_some() {}
        judging.between_notes = (judging.between_notes * 2).min(RAREST_NOTE);
        judging.next_note = Instant::now() + judging.between_notes;
        let Some(note) = judging.note(self.job.planned.run, &below) else { return };
        let job = Arc::clone(&self.job);
        judging.telling.spawn(async move { job.tell_verdict(note).await });
    }

    /// What is judged of partitions that are handed over is told on the next look.
    pub(in crate::pipeline) fn tell_verdict_soon(&mut self) {
        if let Some(judging) = &mut self.judging {
            judging.next_note = Instant::now();
            judging.next_look = judging.next_note;
        }
    }

    /// Has it told, and this entry of the job's journal after it: that a partition is
    /// finished, say.
    pub(in crate::pipeline) async fn tell_with_verdict(&mut self, entry: Entry) {
        let below = self.settled_below();
        let Some(judging) = &mut self.judging else { return self.job.journal.tell(entry).await };
        let note = judging.note(self.job.planned.run, &below);
        let mut before = std::mem::take(&mut judging.telling);
        let job = Arc::clone(&self.job);
        judging.telling.spawn(async move {
            while before.join_next().await.is_some() {}
            if let Some(note) = note {
                job.tell_verdict(note).await;
            }
            job.journal.tell(entry).await;
        });
    }

    /// Tells it now, and comes back when it is told: at the end.
    pub(in crate::pipeline) async fn tell_all_of_verdict(&mut self) {
        let below = self.settled_below();
        let Some(judging) = &mut self.judging else { return };
        while judging.telling.join_next().await.is_some() {}
        if let Some(note) = judging.note(self.job.planned.run, &below) {
            self.job.tell_verdict(note).await;
        }
    }

    /// These partitions are ours once it was heard what others have told, so that what
    /// they have judged is not judged again. Nothing more is read until then, all else
    /// goes on.
    pub(in crate::pipeline) async fn hear_and_take(&mut self, assigned: Vec<Assigned>) {
        if self.judging.is_none() {
            return self.on_assigned(&assigned).await;
        }
        let job = Arc::clone(&self.job);
        let mut task = JoinSet::new();
        task.spawn(async move { job.hear_verdicts().await });
        self.hearing = Some(Hearing { assigned, task });
    }

    /// Whether that is being heard.
    pub(in crate::pipeline) fn is_hearing(&self) -> bool {
        self.hearing.is_some()
    }

    /// It was heard.
    pub(in crate::pipeline) async fn on_heard(
        &mut self,
        heard: Result<Vec<Assigned>, ReplayError>,
    ) -> Result<(), ReplayError> {
        self.on_assigned(&heard?).await;
        Ok(())
    }

    /// By partition that is read here, the first offset that is not settled.
    fn settled_below(&self) -> BTreeMap<u32, u64> {
        let mut below = self.read_up_to();
        for flight in self.flights.values() {
            if let Some(below) = below.get_mut(&flight.place.1) {
                *below = (*below).min(flight.place.2);
            }
        }
        below
    }
}
