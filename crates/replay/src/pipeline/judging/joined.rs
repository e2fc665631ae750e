//! All answers to one request, put together; and who is still to be asked.

use std::sync::Arc;

use umbra_record::pb;

use super::{Answers, Recorded};
use crate::{
    config::Target,
    judge::{Asked, Bench, Case, Companion, Expected, Facts, Side},
    order::Ticket,
    outcome::{Class, Outcome},
    pipeline::Flight,
    send::Sender,
};

/// Those that are still to be asked.
pub(super) fn open(bench: &Bench, answers: &Answers, own: &Arc<Sender>) -> Asked {
    let sender = |companion: &Option<Companion>, answer: &Option<Box<Outcome>>| {
        let companion = companion.as_ref().filter(|_| answer.is_none());
        companion.map(|companion| Arc::clone(&companion.sender))
    };
    Asked {
        own: answers.own.is_none().then(|| Arc::clone(own)),
        baseline: sender(&bench.baseline, &answers.baseline),
        noise: sender(&bench.noise, &answers.noise),
    }
}

/// The request with all its answers, or why they cannot be compared.
pub(super) fn case(
    bench: &Bench,
    target: &Target,
    ticket: Ticket,
    flight: &mut Flight,
) -> Result<Case, &'static str> {
    let mut facts = Facts::of(&flight.request, (flight.place.1, flight.place.2));
    facts.again = flight.attempt > 1;
    if flight.request.completeness == pb::Completeness::Truncated as i32 {
        // The shadow was asked something else.
        return Err("request_cut");
    }
    let answers = std::mem::take(&mut flight.answers);
    let side = |companion: &Option<Companion>, outcome: Option<Box<Outcome>>| {
        companion
            .as_ref()
            .zip(outcome)
            .map(|(one, outcome)| Side::new(&one.target, &facts, *outcome))
    };
    let expected = match (&bench.baseline, answers.recorded) {
        (None, Recorded::Here(response)) => Expected::Recorded(response),
        (None, Recorded::Never(why)) => return Err(why),
        (None, _) => return Err("no_answer"),
        (Some(_), _) => match side(&bench.baseline, answers.baseline) {
            Some(side) if side.outcome.class == Class::Unsendable => return Err("unsendable"),
            Some(side) if side.outcome.class.is_down() && !side.outcome.written => {
                return Err("baseline_down");
            }
            Some(side) => Expected::Sent(Box::new(side)),
            None => return Err("baseline_missing"),
        },
    };
    let own = answers.refused.or(answers.own).ok_or("down")?;
    let noise = side(&bench.noise, answers.noise);
    let noise = noise.filter(|side| !side.outcome.class.is_down());
    let actual = Side::new(target, &facts, *own);
    Ok(Case { ticket, facts, expected, actual, noise })
}
