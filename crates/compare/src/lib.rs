//! Two answers to one request, their differences, and a verdict over many requests
//! that survives noise. Pure: no sockets, no clock, no randomness; state is bounded
//! and can be merged.
//!
//! The way through: [`Answer`] (from a record, or from what a shadow sent) →
//! [`differences`] between production's answer and the shadow's, and between
//! production's and that of a second instance of the old version if there is one →
//! [`Verdict::compared`] with both → [`Verdict::finish`].

mod answer;
mod difference;
mod endpoint;
mod gate;
mod json;
mod number;
mod rules;
mod statistics;
mod verdict;

pub use answer::{Answer, Body, Timing};
pub use difference::{Difference, Kind, MAX_DIFFERENCES, differences, explain};
pub use endpoint::lexical_template;
pub use gate::Gate;
pub use rules::{Rules, VOLATILE_HEADERS};
pub use statistics::{benjamini_hochberg, fisher, mcnemar};
pub use verdict::{
    Class, Coverage, Example, Finding, Judgement, Latency, Report, RequestKey, Settings, Verdict,
};
