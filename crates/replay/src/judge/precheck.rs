//! Looks at the beginning of a window before anything is sent: whether there are answers
//! of production to compare with at all, and which rules of redaction were applied.

use std::collections::BTreeMap;

use umbra_log::{Event, Log, Start, Tail, TailOptions};
use umbra_record::{
    decode::decode,
    pb::{self, record::Body},
};

use crate::{error::ReplayError, window::Window};

/// So many requests without one answer: there are none.
const ENOUGH: u64 = 1000;
/// Most records looked at.
const MOST: u64 = 20_000;

/// What the beginning of a window holds.
#[derive(Debug, Default)]
pub(crate) struct Beginning {
    pub requests: u64,
    pub answers: u64,
    redacted: bool,
    /// Rules of redaction, as marks have them.
    pub rules: Vec<Vec<String>>,
}

/// Looks at the first records between these offsets. `wants_answers`: looks on until
/// there is one.
pub(crate) async fn look(
    log: &Log,
    spans: &BTreeMap<u32, (u64, u64)>,
    window: &Window,
    wants_answers: bool,
) -> Result<Beginning, ReplayError> {
    let mut left: BTreeMap<u32, u64> = spans
        .iter()
        .filter(|(_, (start, end))| start < end)
        .map(|(partition, (_, end))| (*partition, *end))
        .collect();
    let mut found = Beginning::default();
    if left.is_empty() {
        return Ok(found);
    }
    let starts = spans.iter().map(|(partition, (start, _))| (*partition, *start)).collect();
    let options = TailOptions {
        start: Start::At(starts),
        read_ahead_bytes: 4 << 20,
        read_ahead_records: 1000,
        ..TailOptions::default()
    };
    let mut tail = log.tail(options).await?;
    let mut looked = 0;
    while !left.is_empty() && looked < MOST && !found.is_enough(wants_answers) {
        let (partition, next) = match tail.next().await? {
            Event::Delivery(delivery) => {
                looked += 1;
                if let Ok(record) = decode(delivery.payload.clone()) {
                    found.take(record, window);
                }
                let place = (delivery.partition, delivery.offset + 1);
                delivery.done();
                place
            }
            Event::CaughtUp { partition, offset } => (partition, offset),
            Event::Missing { partition, to, .. } => (partition, to),
            _ => continue,
        };
        if left.get(&partition).is_some_and(|end| next >= *end) {
            left.remove(&partition);
            tail.finish(partition);
        }
    }
    tail.close(std::time::Duration::from_secs(10)).await?;
    Ok(found)
}

impl Beginning {
    fn take(&mut self, record: pb::Record, window: &Window) {
        match record.body {
            Some(Body::Request(request)) if window.contains(request.start_ns) => self.requests += 1,
            Some(Body::Response(response)) if window.contains(response.request_start_ns) => {
                self.answers += 1;
                self.redacted |= !response.rule_set.is_empty();
            }
            Some(Body::Mark(mark))
                if !mark.rules.is_empty() && !self.rules.contains(&mark.rules) =>
            {
                self.rules.push(mark.rules);
            }
            _ => {}
        }
    }

    fn is_enough(&self, wants_answers: bool) -> bool {
        // What was taken out of answers is told by marks.
        let told = !self.redacted || !self.rules.is_empty();
        (told && (self.answers > 0 || !wants_answers)) || self.requests >= ENOUGH
    }
}

/// Refuses a window without any answer of production.
pub(crate) fn check(found: &Beginning) -> Result<(), ReplayError> {
    if found.requests == 0 || found.answers > 0 {
        return Ok(());
    }
    Err(no_answers(found.requests))
}

/// Says what is missing, and what to do.
pub(crate) fn no_answers(requests: u64) -> ReplayError {
    ReplayError::Unusable(format!(
        "there is nothing to compare with: none of {requests} requests has production's answer \
         in the log (recorded with --responses off, or from a mesh's own mirror); record with \
         --responses full, or name a target that runs the old version: --baseline TARGET"
    ))
}
