//! Answers of production that never come, or too late: who is given up, and when.

use std::{collections::BTreeMap, time::Duration};

use super::Recorded;
use crate::{
    clock::nanos,
    order::Ticket,
    pipeline::{Flight, Pipeline, intake::id_of},
};

/// Requests whose shadow has answered and production's answer has not been met yet.
const MAX_WAITING: usize = 4096;
/// Production has answered after this long, or never will.
const LONGEST_ANSWER: Duration = Duration::from_secs(120);
/// In the middle of a log, its answer is not much further on.
const LONGEST_SEARCH: Duration = Duration::from_secs(30);

impl Pipeline {
    /// The oldest are given up when there are too many.
    pub(super) fn wait_for_no_more_than_fit(&mut self) {
        let most = self.room.bound / 2;
        loop {
            let Some(judging) = &self.judging else { return };
            let full = judging.waiting.len() > MAX_WAITING || judging.waiting_bytes > most;
            match judging.waiting.first_key_value() {
                Some((ticket, _)) if full => self.give_up_answer(*ticket, "answer_late"),
                _ => return,
            }
        }
    }

    /// Answers that will not come: of agents that have ended or fallen silent, or too far
    /// behind their requests.
    pub(in crate::pipeline) fn check_answers(&mut self) {
        let (now, grace) = (self.now(), self.grace_ns());
        let Some(judging) = &self.judging else { return };
        let expected = judging.unanswered.iter().filter(|(_, count)| **count > 0);
        let caught_up: BTreeMap<u32, bool> =
            expected.map(|(number, _)| (*number, self.has_caught_up(*number))).collect();
        if caught_up.is_empty() {
            return;
        }
        let mut lost: Vec<(Ticket, &'static str)> = Vec::new();
        for (ticket, flight) in &self.flights {
            let number = flight.place.1;
            let Some(caught_up) = caught_up.get(&number) else { continue };
            if !matches!(flight.answers.recorded, Recorded::Unknown) {
                continue;
            }
            let why = if *caught_up {
                let old = now.saturating_sub(flight.place.0) > nanos(LONGEST_ANSWER);
                let gone = self.agents.is_gone(&flight.agent, number, now, grace);
                (old || gone).then_some("no_answer")
            } else {
                let since = judging.waiting.get(ticket);
                since.is_some_and(|since| since.elapsed() > LONGEST_SEARCH).then_some("answer_late")
            };
            lost.extend(why.map(|why| (*ticket, why)));
        }
        for (ticket, why) in lost {
            self.give_up_answer(ticket, why);
        }
    }

    /// Production's answer to this request will not be known.
    pub(super) fn give_up_answer(&mut self, ticket: Ticket, why: &'static str) {
        let (Some(judging), Some(flight)) = (&mut self.judging, self.flights.get_mut(&ticket))
        else {
            return;
        };
        if matches!(flight.answers.recorded, Recorded::Unknown) {
            flight.answers.recorded = Recorded::Never(why);
            judging.known(flight.place.1);
            judging.missed += u64::from(why == "no_answer");
        }
        if judging.waits_no_more(ticket, flight.bytes()) {
            self.judge(ticket);
        }
    }

    /// Gives up waiting for answers to requests that the target has answered.
    pub(in crate::pipeline) fn give_up_answers(
        &mut self,
        why: &'static str,
        of: impl Fn(&Flight) -> bool,
    ) {
        let Some(judging) = &self.judging else { return };
        let wanted = |ticket: &&Ticket| self.flights.get(*ticket).is_some_and(|flight| of(flight));
        let tickets: Vec<Ticket> = judging.waiting.keys().filter(wanted).copied().collect();
        for ticket in tickets {
            self.give_up_answer(ticket, why);
        }
    }

    /// The request is settled, or somebody else's.
    pub(in crate::pipeline) fn forget_answers(&mut self, ticket: Ticket, flight: &Flight) {
        let Some(judging) = &mut self.judging else { return };
        judging.by_id.remove(&id_of(&flight.request.id));
        judging.waits_no_more(ticket, flight.bytes());
        if matches!(flight.answers.recorded, Recorded::Unknown) {
            judging.known(flight.place.1);
        }
    }
}
