//! What the limits of a job leave of it: so many whole passes over the window, and
//! the earliest requests of one more. Pure; reading is done elsewhere.

use std::{
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use super::count;
use crate::{
    config::{Config, Pace},
    merge::Place,
    pacer::Profile,
};

#[cfg(test)]
mod tests;

/// Requests sorted by time in a pass that is cut. Beyond that the first in the log
/// stand for the first in time.
const MAX_SORTED: usize = 1 << 18;

/// What one target gets of one pass over the window.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Whole {
    pub requests: u64,
    pub writes: BTreeMap<String, u64>,
    /// Capture times of the first and the last.
    span: Option<(u64, u64)>,
}

impl Whole {
    pub(super) fn take(&mut self, captured_ns: u64, write: Option<String>) {
        self.requests += 1;
        if let Some(write) = write {
            count(&mut self.writes, &write, 1);
        }
        let (first, last) = self.span.unwrap_or((u64::MAX, 0));
        self.span = Some((first.min(captured_ns), last.max(captured_ns)));
    }

    fn span_ns(&self) -> u64 {
        self.span.map_or(0, |(first, last)| last - first)
    }
}

/// Where the job ends for one target.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Cut {
    /// Passes that are played to their end.
    pub passes: u64,
    /// Of the pass after them: at most so many requests, captured before that time.
    rest: Option<(u64, u64)>,
    first_ns: u64,
}

impl Cut {
    pub(super) fn new(config: &Config, whole: &Whole) -> Self {
        let all = Self { passes: config.repeat, rest: None, first_ns: 0 };
        let Some((first_ns, _)) = whole.span else { return all };
        let mut limit = config.limit.unwrap_or(u64::MAX);
        let mut by_time = (u64::MAX, u64::MAX);
        match (&config.pace, config.duration) {
            (_, None) | (Pace::Max | Pace::Arrival { .. }, _) => {}
            (Pace::Recorded { speed }, Some(duration)) => {
                by_time = recorded(duration, *speed, first_ns, whole.span_ns());
            }
            (Pace::Rate(rate), Some(duration)) => {
                limit = limit.min(sends_within(&Profile::constant(*rate), duration));
            }
            (Pace::Stages(stages), Some(duration)) => {
                limit = limit.min(sends_within(&Profile::stages(stages), duration));
            }
        }
        if let Pace::Stages(stages) = &config.pace {
            // Stages that end at a rate of nothing end the job.
            limit = limit.min(sends_within(&Profile::stages(stages), Duration::MAX));
        }
        let by_limit = (limit / whole.requests, limit % whole.requests);
        let passes = by_limit.0.min(by_time.0);
        if passes >= config.repeat {
            return all;
        }
        let requests = if by_limit.0 == passes { by_limit.1 } else { u64::MAX };
        let before = if by_time.0 == passes { by_time.1 } else { u64::MAX };
        Self { passes, rest: Some((requests, before)), first_ns }
    }

    /// Whether some requests of a pass are sent and others are not.
    pub(super) fn is_partial(&self) -> bool {
        self.rest.is_some_and(|(requests, before)| requests > 0 && before > self.first_ns)
    }

    /// From the first due to the last.
    pub(super) fn duration(&self, pace: &Pace, whole: &Whole, rest: &Whole) -> Option<f64> {
        let requests = self.passes * whole.requests + rest.requests;
        let timed = |profile: Profile| {
            let last = requests.saturating_sub(1);
            profile.time_of(last).map(|ns| ns as f64 / 1e9)
        };
        match pace {
            Pace::Recorded { speed } => {
                let rest_ns = rest.span.map_or(0, |(_, last)| last - self.first_ns);
                let ns = self.passes as f64 * whole.span_ns() as f64 + rest_ns as f64;
                Some(ns / 1e9 / speed)
            }
            Pace::Arrival { .. } => Some(whole.span_ns() as f64 / 1e9),
            Pace::Rate(rate) => timed(Profile::constant(*rate)),
            Pace::Stages(stages) => timed(Profile::stages(stages)),
            Pace::Max => None,
        }
    }
}

/// Passes that fit in this time, and up to which capture time the next one comes.
fn recorded(duration: Duration, speed: f64, first_ns: u64, span_ns: u64) -> (u64, u64) {
    let recorded = duration.as_nanos() as f64 * speed;
    let span = span_ns as f64;
    // What is due exactly at the end is not sent any more.
    if recorded > span && span_ns == 0 {
        return (u64::MAX, u64::MAX);
    }
    let passes = ((recorded / span).ceil() - 1.0).max(0.0);
    let left = recorded - passes * span;
    (passes as u64, first_ns.saturating_add(left.ceil() as u64))
}

/// How many sends of a rate are due before this time.
fn sends_within(profile: &Profile, duration: Duration) -> u64 {
    let length = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let due = |position: u64| profile.time_of(position).is_some_and(|at| at < length);
    let (mut within, mut beyond) = (0, u64::MAX);
    while within < beyond {
        let middle = within + (beyond - within) / 2;
        if due(middle) {
            within = middle + 1;
        } else {
            beyond = middle;
        }
    }
    within
}

/// The first requests of a pass, by capture time.
#[derive(Debug, Default)]
pub(super) struct Earliest {
    most: u64,
    before: u64,
    /// Taken and sorted: the last one on top.
    sorted: BinaryHeap<(Place, Option<String>)>,
    /// Taken as they came: more than can be sorted.
    found: Whole,
}

impl Earliest {
    pub(super) fn new(cut: &Cut) -> Self {
        let (most, before) = cut.rest.filter(|_| cut.is_partial()).unwrap_or_default();
        Self { most, before, sorted: BinaryHeap::new(), found: Whole::default() }
    }

    pub(super) fn take(&mut self, place: Place, write: Option<String>) {
        if place.0 >= self.before {
            return;
        }
        if self.most > MAX_SORTED as u64 {
            if self.found.requests < self.most {
                self.found.take(place.0, write);
            }
        } else if (self.sorted.len() as u64) < self.most {
            self.sorted.push((place, write));
        } else if let Some(mut last) = self.sorted.peek_mut()
            && place < last.0
        {
            *last = (place, write);
        }
    }

    pub(super) fn result(mut self) -> Whole {
        for ((captured_ns, ..), write) in self.sorted {
            self.found.take(captured_ns, write);
        }
        self.found
    }
}
