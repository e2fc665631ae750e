//! A verdict over many requests: per endpoint, field and kind of difference, how often
//! the candidate differs where a second good answer does not (b) and the other way
//! round (c); whether that can be chance; and what is to be said about it.
//!
//! State is a set of counts: it is bounded, does not depend on the order of requests
//! (until a bound is reached), and states of disjoint requests can be merged.

mod latency;
mod report;
mod tally;

#[cfg(test)]
mod tests;

pub use latency::Latency;
pub use report::{Class, Coverage, Finding, Judgement, Report};
pub use tally::Example;

use std::collections::{HashSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{Difference, Kind, Rules, endpoint::Tree};
use tally::Tally;

/// Which request two answers belong to.
#[derive(Debug, Clone, Copy)]
pub struct RequestKey<'a> {
    /// Its id.
    pub id: &'a [u8],
    /// As recorded.
    pub method: &'a str,
    /// As recorded, without the query.
    pub path: &'a str,
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
/// Requests that are remembered so that none counts twice.
const MAX_RECENT: usize = 50_000;

/// The state of one comparison: one candidate against one baseline. Serializes, so that it can be kept beside the progress of a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verdict {
    settings: Settings,
    endpoints: Tree<Tally>,
    /// Counted before, of a good version: what differs between good answers.
    learned: Option<Tree<Tally>>,
    /// How many more pairs of field and kind there may be.
    room: usize,
    /// Not kept: whoever continues from a stored state sends again only what is not in
    /// it.
    #[serde(skip)]
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
            room: MAX_FIELDS,
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
    /// Returns false, and counts nothing, if this request was counted already. That is
    /// known of the latest tens of thousands: something sent again follows soon.
    pub fn compared(
        &mut self,
        request: &RequestKey<'_>,
        candidate: &[Difference],
        noise: Option<&[Difference]>,
    ) -> bool {
        if !self.recent.is_new(request.id) {
            return false;
        }
        let tally = self.endpoints.of(request.method, request.path);
        tally.compared(request.id, candidate, noise, &mut self.room);
        true
    }

    /// Counts a request whose answers could not be compared. It is never "equal".
    /// Returns as [`Verdict::compared`].
    pub fn not_compared(&mut self, request: &RequestKey<'_>, reason: &str) -> bool {
        if !self.recent.is_new(request.id) {
            return false;
        }
        self.endpoints.of(request.method, request.path).not_compared(reason);
        true
    }

    /// Counts how long the two answers of a request took, baseline's first. To be called
    /// for a request that [`Verdict::compared`] counted.
    pub fn timed(
        &mut self,
        request: &RequestKey<'_>,
        expected_ns: u64,
        actual_ns: u64,
        rules: &Rules,
    ) {
        if rules.ignores("latency", Kind::Slower).is_some() {
            return;
        }
        let tally = self.endpoints.of(request.method, request.path);
        tally.latencies.add(expected_ns, actual_ns);
    }

    /// Adds the counts of another state, which must be about other requests: what is
    /// summed cannot be taken out again.
    pub fn merge(&mut self, other: Self) {
        self.endpoints.merge(other.endpoints);
        let fields: usize = self.endpoints.endpoints().iter().map(|(_, tally)| tally.len()).sum();
        self.room = MAX_FIELDS.saturating_sub(fields);
    }

    /// What can be said so far.
    pub fn finish(&self) -> Report {
        let learned = self.learned.as_ref().map(Tree::endpoints).unwrap_or_default();
        let learned = learned.into_iter().collect();
        Report::new(&self.settings, &self.endpoints.endpoints(), &learned)
    }
}

/// The latest requests, by a hash of their ids.
#[derive(Debug, Clone, Default)]
struct Recent {
    set: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Recent {
    /// Whether it was not seen before; remembers it.
    fn is_new(&mut self, id: &[u8]) -> bool {
        let hash = tally::rank(id);
        if !self.set.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > MAX_RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
        true
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
