//! What the members of a job tell each other of what they have judged, and when.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{error::ReplayError, pipeline::Pipeline};

/// What was judged is told to the other members of the job after this long first, then
/// ever more rarely: each telling is kept for as long as the job's plan.
pub(super) const FIRST_NOTE: Duration = Duration::from_secs(5);
const RAREST_NOTE: Duration = Duration::from_secs(300);
/// What is settled is looked at this often.
pub(super) const LOOK: Duration = Duration::from_secs(1);

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

    /// Tells it now, and comes back when it is told: before a partition is said to be
    /// finished, and at the end.
    pub(in crate::pipeline) async fn tell_all_of_verdict(&mut self) {
        let below = self.settled_below();
        let Some(judging) = &mut self.judging else { return };
        while judging.telling.join_next().await.is_some() {}
        if let Some(note) = judging.note(self.job.planned.run, &below) {
            self.job.tell_verdict(note).await;
        }
    }

    /// Hears what others have told, so that what they have judged is not judged again.
    pub(in crate::pipeline) async fn hear_verdicts(&self) -> Result<(), ReplayError> {
        if self.judging.is_some() { self.job.hear_verdicts().await } else { Ok(()) }
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
