//! One request with all its answers, and how each becomes one that can be compared.

use std::time::Duration;

use bytes::Bytes;
use umbra_compare::{Answer, Body, Timing};
use umbra_record::pb;

use crate::{
    config::Target,
    judge::At,
    order::Ticket,
    outcome::{Class, Outcome},
};

/// A request that is to be judged.
#[derive(Debug)]
pub(crate) struct Case {
    pub ticket: Ticket,
    pub facts: Facts,
    pub expected: Expected,
    pub actual: Side,
    pub noise: Option<Side>,
}

/// What is told of a request.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub id: Bytes,
    pub at: At,
    pub method: String,
    /// Without the query.
    pub path: String,
    pub query: String,
    pub start_ns: u64,
    /// What was taken out of it.
    pub rule_set: Bytes,
    /// It may have been sent before.
    pub again: bool,
    pub authority: Bytes,
}

/// The answer that is taken for right.
#[derive(Debug)]
pub(crate) enum Expected {
    /// Production's.
    Recorded(Box<pb::Response>),
    /// A target's.
    Sent(Box<Side>),
}

/// What a target made of the request.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    /// The name it was asked under.
    pub authority: Bytes,
    pub outcome: Outcome,
}

impl Facts {
    pub(crate) fn of(request: &pb::Request, at: At) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            id: request.id.clone(),
            at,
            method: text(&request.method),
            path: text(&request.path),
            query: request.query.as_deref().map(text).unwrap_or_default(),
            start_ns: request.start_ns,
            rule_set: request.rule_set.clone(),
            again: false,
            authority: request.authority.clone(),
        }
    }
}

impl Expected {
    pub(crate) fn answer(&self, facts: &Facts) -> Answer {
        match self {
            Self::Recorded(response) => {
                Answer { authority: facts.authority.clone(), ..Answer::from(&**response) }
            }
            Self::Sent(side) => side.answer(),
        }
    }
}

impl Side {
    pub(crate) fn new(target: &Target, facts: &Facts, outcome: Outcome) -> Self {
        let own = target.url.authority().map_or("", |authority| authority.as_str());
        let authority = target.shadow_host.apply(&facts.authority, own).into_owned();
        Self { authority: authority.into(), outcome }
    }

    pub(crate) fn answer(&self) -> Answer {
        let outcome = &self.outcome;
        let failure = (outcome.class != Class::Answered).then(|| outcome.class.label().to_owned());
        let authority = self.authority.clone();
        let Some(answer) = &outcome.answer else {
            return Answer { failure, authority, ..Answer::default() };
        };
        Answer {
            status: answer.status,
            failure,
            headers: answer.headers.clone(),
            trailers: answer.trailers.clone(),
            body: Body {
                bytes: answer.body.clone().unwrap_or_default(),
                length: answer.body_length,
                hash: answer.body_hash,
            },
            authority,
            timing: Some(Timing {
                head_ns: nanos(answer.head_after),
                first_byte_ns: nanos(answer.first_byte_after.unwrap_or(answer.end_after)),
                end_ns: nanos(answer.end_after),
            }),
            ..Answer::default()
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
