//! A verdict over many requests: per endpoint, field and kind of difference, how often
//! the candidate differs where a second good answer does not (b) and the other way
//! round (c); whether that can be chance; and what is to be said about it.
//!
//! State is a set of counts: it is bounded, does not depend on the order of requests,
//! and states of disjoint requests can be merged.

mod report;
mod tally;

#[cfg(test)]
mod tests;

pub use report::{Class, Coverage, Finding, Judgement, Report};
pub use tally::Example;

use serde::{Deserialize, Serialize};

use crate::{Difference, Kind, endpoint::Tree};
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
}

impl Default for Settings {
    fn default() -> Self {
        Self { alpha: 0.01, share: 0.05, confidence: 0.95 }
    }
}

/// The state. Serializes, so that it can be kept beside the progress of a job.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Verdict {
    settings: Settings,
    endpoints: Tree<Tally>,
}

impl Verdict {
    /// Without any request yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, endpoints: Tree::default() }
    }

    /// Counts one request: how the candidate's answer differs from the baseline's, and
    /// how a second good answer does, if there is one. Each request is to be counted
    /// once.
    pub fn compared(
        &mut self,
        request: &RequestKey<'_>,
        candidate: &[Difference],
        noise: Option<&[Difference]>,
    ) {
        let tally = self.endpoints.of(request.method, request.path);
        tally.compared(request.id, candidate, noise);
    }

    /// Counts a request whose answers could not be compared. It is never "equal".
    pub fn not_compared(&mut self, request: &RequestKey<'_>, reason: &str) {
        self.endpoints.of(request.method, request.path).not_compared(reason);
    }

    /// Adds the counts of another state about other requests.
    pub fn merge(&mut self, other: Self) {
        self.endpoints.merge(other.endpoints);
    }

    /// What can be said so far.
    pub fn finish(&self) -> Report {
        Report::new(&self.settings, &self.endpoints.endpoints())
    }
}

/// Whether two good answers never differ in this way by chance: what is left to be
/// sure of without a measurement of the noise.
fn is_hard(field: &str, kind: Kind) -> bool {
    match kind {
        Kind::Missing | Kind::Added | Kind::Type | Kind::Shape => true,
        Kind::Value => {
            matches!(field, "status" | "failure" | "header:content-type" | "trailer:grpc-status")
        }
        _ => false,
    }
}
