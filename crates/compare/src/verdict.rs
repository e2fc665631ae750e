//! A verdict over many requests: per endpoint, field and kind of difference, how often
//! the candidate differs where a second good answer does not (b) and the other way
//! round (c); whether that can be chance; and what is to be said about it.
//!
//! State is a set of counts: it is bounded, does not depend on the order of requests
//! (until a bound is reached), and states of disjoint requests can be merged.

mod example;
mod latency;
mod recent;
mod report;
mod stored;
mod tally;

#[cfg(test)]
mod tests;

pub use example::Example;
pub(crate) use example::rank;
pub use latency::{Latency, QUANTILES};
pub use report::{Class, Coverage, Finding, Judgement, Report, StatusPair, Streams};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Answer, Difference, Kind, Rules, content, content::Media, endpoint::Tree};
use recent::{Answered, Contribution, Known, Outcome, Recent};
use tally::{Room, Sign, Tally};

/// Which request two answers belong to.
#[derive(Debug, Clone, Copy)]
pub struct RequestKey<'a> {
    /// Its id.
    pub id: &'a [u8],
    /// As recorded.
    pub method: &'a str,
    /// As recorded, without the query.
    pub path: &'a str,
    /// It may have been sent before, perhaps by another replica: what it contributes is
    /// kept longer, so that states which both hold it count it once.
    pub again: bool,
}

/// How sure one wants to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Largest expected share of false findings among those reported.
    pub alpha: f64,
    /// `same` is said when a difference in this share of the requests would have been
    /// seen …
    pub share: f64,
    /// … with this probability.
    pub confidence: f64,
    /// Baseline and candidate answered under the same load, so that their times can be
    /// compared. Not so when the baseline's were recorded earlier.
    pub same_load: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { alpha: 0.01, share: 0.05, confidence: 0.95, same_load: false }
    }
}

/// Most pairs of field and kind in all endpoints together; differences in further ones
/// are counted together by endpoint. This bounds the memory.
const MAX_FIELDS: usize = 20_000;
/// Most bytes of examples.
const MAX_EXAMPLES: usize = 16 << 20;
/// Most pairs of statuses that are told apart.
const MAX_STATUSES: usize = 500;

/// The state of one comparison: one candidate against one baseline.
///
/// It is bounded: about 2,000 endpoints, 20,000 fields in them and 16 MiB of examples
/// at most, which is below 100 MiB whatever comes, and far below 1 MiB for a service as
/// they are. States can be stored ([`Verdict::to_bytes`]) and merged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verdict {
    settings: Settings,
    endpoints: Tree<Tally>,
    /// Counted before, of a good version: what differs between good answers.
    learned: Option<Tree<Tally>>,
    room: Room,
    /// Requests by the status of both answers.
    statuses: BTreeMap<String, BTreeMap<String, u64>>,
    recent: Recent,
}

impl Default for Verdict {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl Verdict {
    /// Without any request yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            endpoints: Tree::default(),
            learned: None,
            room: Room { fields: MAX_FIELDS, examples: MAX_EXAMPLES },
            statuses: BTreeMap::new(),
            recent: Recent::default(),
        }
    }

    /// With endpoints the user named, as `GET /users/{name}` (`*` for any method): paths
    /// that match one belong to it; others are told apart as ever. Tells everything
    /// that is wrong with the names.
    pub fn with_endpoints<S: AsRef<str>>(mut self, named: &[S]) -> Result<Self, Vec<String>> {
        self.endpoints.name(named)?;
        Ok(self)
    }

    /// With the noise as it was learned: a verdict on the very version that gave the
    /// baseline's answers, so that all it counted is noise. Used where requests have no
    /// second good answer.
    pub fn with_noise(mut self, learned: Self) -> Self {
        self.learned = Some(learned.endpoints);
        self
    }

    /// Counts one request: how the candidate's answer differs from the baseline's, and
    /// how a second good answer does, if there is one.
    ///
    /// Returns false if this request was counted already, which is known of the latest
    /// tens of thousands: something sent again follows soon. It counts once then, and
    /// if its answers are other ones this time, the same of the two counts wherever the
    /// same two meet.
    pub fn compared(
        &mut self,
        request: &RequestKey<'_>,
        candidate: &[Difference],
        noise: Option<&[Difference]>,
    ) -> bool {
        self.count(request, tally::outcome(candidate, noise), candidate, noise)
    }

    /// Counts a request whose answers could not be compared. It is never "equal".
    /// Returns as [`Verdict::compared`].
    pub fn not_compared(&mut self, request: &RequestKey<'_>, reason: &str) -> bool {
        self.count(request, Outcome::Not(tally::reason(reason)), &[], None)
    }

    fn count(
        &mut self,
        request: &RequestKey<'_>,
        outcome: Outcome,
        candidate: &[Difference],
        noise: Option<&[Difference]>,
    ) -> bool {
        let known = self.recent.known(request.id);
        self.recent.pass();
        if matches!(known, Known::Counted) {
            return false;
        }
        let template = self.endpoints.template(request.method, request.path);
        let (tally, beyond) = self.endpoints.of(request.method, &template);
        let moves = tally.moves(candidate, noise, &mut self.room);
        let mut contribution = Contribution {
            outcome,
            moves,
            method: request.method.into(),
            path: format!("/{}", template.join("/")).into(),
            beyond,
            answered: None,
        };
        if let Known::As(before) = &known {
            // Whatever is told of the answers comes later, and decides nothing.
            let plain = Contribution { answered: None, ..before.clone() };
            if plain <= contribution {
                tally.close(&contribution.moves);
                return false;
            }
            self.take_out(rank(request.id), before);
            // Counters that both move may be gone.
            let (tally, _) = self.endpoints.of(request.method, &template);
            contribution.moves = tally.moves(candidate, noise, &mut self.room);
        }
        let (tally, _) = self.endpoints.of(request.method, &template);
        tally.count(&contribution.outcome, &contribution.moves, Sign::Add);
        tally.examples(request, &contribution.moves, candidate, &mut self.room);
        self.recent.put(request.id, request.again, contribution);
        matches!(known, Known::No)
    }

    /// Counts the statuses of the two answers of a request and, as far as they are known,
    /// their times; of streams of events also the times to the first byte and between
    /// events. To be called after [`Verdict::compared`] or [`Verdict::not_compared`];
    /// without effect if that did not count the request.
    pub fn answered(
        &mut self,
        request: &RequestKey<'_>,
        expected: &Answer,
        actual: &Answer,
        rules: &Rules,
    ) {
        let timed = |answer: &Answer| answer.timing.filter(|_| answer.failure.is_none());
        let mut answered = Answered {
            statuses: Some((status(expected), status(actual))),
            whole: None,
            first: None,
            between: None,
        };
        let silent = rules.ignores("latency", Kind::Slower).is_some();
        if let (Some(one), Some(other), false) = (timed(expected), timed(actual), silent) {
            answered.whole = Some((one.end_ns, other.end_ns));
            if Media::of(expected).is_events() && Media::of(actual).is_events() {
                answered.first = Some((one.first_byte_ns, other.first_byte_ns));
                let between = |answer: &Answer, end: u64, first: u64| {
                    let gaps = content::events(&answer.body.bytes).checked_sub(1)?;
                    end.saturating_sub(first).checked_div(gaps)
                };
                let whole = expected.body.is_whole() && actual.body.is_whole();
                answered.between = between(expected, one.end_ns, one.first_byte_ns)
                    .zip(between(actual, other.end_ns, other.first_byte_ns))
                    .filter(|_| whole);
            }
        }
        self.tell(request.id, &answered);
    }

    /// Counts how long the two answers of a request took, baseline's first, where there
    /// are no answers to give to [`Verdict::answered`].
    pub fn timed(
        &mut self,
        request: &RequestKey<'_>,
        expected_ns: u64,
        actual_ns: u64,
        rules: &Rules,
    ) {
        if rules.ignores("latency", Kind::Slower).is_none() {
            let whole = Some((expected_ns, actual_ns));
            self.tell(request.id, &Answered { statuses: None, whole, first: None, between: None });
        }
    }

    fn tell(&mut self, id: &[u8], answered: &Answered) {
        let Some(contribution) = self.recent.current(id) else { return };
        if contribution.answered.is_some() {
            return;
        }
        contribution.answered = Some(answered.clone());
        let Contribution { method, path, beyond, .. } = contribution;
        if let Some(tally) = self.endpoints.get_mut(method, path, *beyond) {
            tally.answered(answered, Sign::Add);
        }
        if let Some((expected, actual)) = &answered.statuses {
            let pairs: usize = self.statuses.values().map(BTreeMap::len).sum();
            let known =
                self.statuses.get(&**expected).is_some_and(|all| all.contains_key(&**actual));
            let (expected, actual) = match known || pairs < MAX_STATUSES {
                true => (&**expected, &**actual),
                false => ("other", "other"),
            };
            let all = self.statuses.entry(expected.to_owned()).or_default();
            *all.entry(actual.to_owned()).or_default() += 1;
        }
    }

    /// Takes a request out of the counts again.
    fn take_out(&mut self, rank: u64, contribution: &Contribution) {
        let Contribution { outcome, moves, method, path, beyond, answered } = contribution;
        let Some(tally) = self.endpoints.get_mut(method, path, *beyond) else { return };
        tally.forget(rank, moves);
        tally.count(outcome, moves, Sign::TakeOut);
        let Some(answered) = answered else { return };
        tally.answered(answered, Sign::TakeOut);
        if let Some((expected, actual)) = &answered.statuses
            && let Some(all) = self.statuses.get_mut(&**expected)
            && let Some(count) = all.get_mut(&**actual)
        {
            *count = count.saturating_sub(1);
            all.retain(|_, count| *count > 0);
            self.statuses.retain(|_, all| !all.is_empty());
        }
    }

    /// Adds the counts of another state. A request that is among the last of either, or
    /// was sent again knowingly ([`RequestKey::again`]), counts once if both have it.
    /// Otherwise the states must be about other requests. In which order states are
    /// merged makes no difference, until a bound is reached.
    pub fn merge(&mut self, mut other: Self) {
        for (hash, one, theirs) in self.recent.shared(&other.recent) {
            if one <= theirs {
                other.take_out(hash, &theirs);
                other.recent.replace(hash, one);
            } else {
                self.take_out(hash, &one);
            }
        }
        other.endpoints.sweep();
        self.endpoints.sweep();
        self.endpoints.merge(other.endpoints);
        for (expected, all) in other.statuses {
            let mine = self.statuses.entry(expected).or_default();
            for (actual, count) in all {
                *mine.entry(actual).or_default() += count;
            }
        }
        self.recent.merge(other.recent);
        self.keep_bounds();
    }

    /// Counts together, or forgets, what is beyond the bounds after merging.
    fn keep_bounds(&mut self) {
        let sizes = |endpoints: &Tree<Tally>| {
            let all = endpoints.endpoints();
            let fields: usize = all.iter().map(|(_, tally)| tally.len()).sum();
            let examples: usize = all.iter().map(|(_, tally)| tally.examples_size()).sum();
            (fields, examples)
        };
        let (fields, _) = sizes(&self.endpoints);
        if fields > MAX_FIELDS {
            let all = self.endpoints.endpoints();
            let counts = all.iter().flat_map(|(_, tally)| tally.counts());
            let mut totals: Vec<u64> = counts.map(|(_, _, counts)| counts.total()).collect();
            totals.sort_unstable_by(|one, other| other.cmp(one));
            // Of those that are as rare none is to be preferred.
            let least = totals[MAX_FIELDS] + 1;
            self.endpoints.each(|tally| tally.fold(least));
        }
        for most in (0..3).rev() {
            if sizes(&self.endpoints).1 <= MAX_EXAMPLES {
                break;
            }
            self.endpoints.each(|tally| tally.keep_examples(most));
        }
        let (fields, examples) = sizes(&self.endpoints);
        self.room = Room {
            fields: MAX_FIELDS.saturating_sub(fields),
            examples: MAX_EXAMPLES.saturating_sub(examples),
        };
    }

    /// What can be said so far.
    pub fn finish(&self) -> Report {
        let learned = self.learned.as_ref().map(Tree::endpoints).unwrap_or_default();
        let learned = learned.into_iter().collect();
        let endpoints = self.endpoints.endpoints();
        Report::new(&self.settings, &endpoints, &learned, &self.statuses)
    }
}

/// The status of an answer, or what came instead.
fn status(answer: &Answer) -> Box<str> {
    match (&answer.failure, answer.status) {
        (Some(failure), _) => tally::reason(failure),
        (None, 0) => "none".into(),
        (None, status) => status.to_string().into(),
    }
}

/// Whether two good answers never differ in this way by chance: what is left to be
/// sure of without a measurement of the noise.
fn is_hard(field: &str, kind: Kind) -> bool {
    match kind {
        Kind::Missing | Kind::Added | Kind::Type | Kind::Shape | Kind::Slower => true,
        Kind::Value => {
            matches!(
                field,
                "status"
                    | "failure"
                    | "header:content-type"
                    | "header:grpc-status"
                    | "trailer:grpc-status"
            )
        }
        _ => false,
    }
}
