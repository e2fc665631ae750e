//! Refused connections: a target that is back at once was not down, it refused.

use std::time::Duration;

use super::case;
use crate::{order::Ticket, outcome::Outcome, pipeline::Pipeline};

/// A target that is back so soon was not down: it refused.
const HICCUP: Duration = Duration::from_secs(1);

impl Pipeline {
    /// The request was refused. If the target turns out not to have been down, that is
    /// its answer.
    pub(in crate::pipeline) fn note_refused(&mut self, ticket: Ticket, outcome: &Outcome) {
        if self.judging.is_some()
            && let Some(flight) = self.flights.get_mut(&ticket)
        {
            flight.answers.refused = Some(Box::new(outcome.clone()));
        }
    }

    /// The target takes connections again, after this long.
    pub(in crate::pipeline) fn judge_refused(&mut self, lasted: Duration) {
        // One that has never answered is being started.
        let answered = self.partitions.values().any(|one| one.tally.answered > 0)
            || self.carry.tally.answered > 0;
        if lasted >= HICCUP || !answered {
            self.flights.values_mut().for_each(|flight| flight.answers.refused = None);
        }
    }

    /// The request will not be sent again: the refusal is what came of it.
    pub(in crate::pipeline) fn refused_for_good(&mut self, ticket: Ticket) {
        let (Some(judging), Some(flight)) = (&mut self.judging, self.flights.get_mut(&ticket))
        else {
            return;
        };
        if let Ok(case) = case(&judging.bench, &self.target, ticket, flight) {
            judging.queue.push_back(case);
            judging.start_jobs();
            // It is counted there.
            flight.answers.judged_before = true;
        }
    }
}
