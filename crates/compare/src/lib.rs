//! Two answers to one request, their differences, and a verdict over many requests
//! that survives noise. Pure: no sockets, no clock, no randomness; state is bounded
//! and can be merged.
//!
//! The way through: [`Answer`] (from a record, or from what a shadow sent) →
//! [`differences`] between production's answer and the shadow's, and between
//! production's and that of a second instance of the old version if there is one →
//! [`Verdict::compared`] with both → [`Verdict::finish`].
//!
//! ```
//! use umbra_compare::{Answer, Body, Judgement, RequestKey, Rules, Verdict, differences};
//!
//! let rules = Rules::new(&["GET /users/{id} body.age ~1"]).unwrap();
//! let answer = |body: &str| Answer {
//!     status: 200,
//!     body: Body::whole(body.to_owned()),
//!     ..Answer::default()
//! };
//! let mut verdict = Verdict::default();
//! for id in 0..100u32 {
//!     let old = answer(r#"{"name":"Ann","age":40}"#);
//!     let second = answer(r#"{"age":41,"name":"Ann"}"#);
//!     let new = answer(r#"{"name":null,"age":40}"#);
//!     let path = format!("/users/{id}");
//!     let rules = rules.for_request("GET", &path);
//!     let request = RequestKey { id: &id.to_be_bytes(), method: "GET", path: &path, again: false };
//!     let noise = differences(&old, &second, &rules);
//!     verdict.compared(&request, &differences(&old, &new, &rules), Some(&noise));
//! }
//! let report = verdict.finish();
//! assert_eq!(report.verdict, Judgement::Different);
//! assert_eq!(report.findings[0].endpoint, "GET /users/{id}");
//! assert_eq!(report.findings[0].field, "body.name");
//! ```

mod answer;
mod content;
mod difference;
mod endpoint;
mod gate;
mod json;
mod node;
mod number;
mod redaction;
pub mod report;
mod rules;
mod statistics;
mod verdict;

pub use answer::{Answer, Body, Timing};
pub use difference::{Difference, Kind, MAX_DIFFERENCES, differences, explain};
pub use endpoint::{lexical_template, openapi};
pub use gate::Gate;
pub use rules::{Rules, VOLATILE_HEADERS};
pub use statistics::{benjamini_hochberg, fisher, mcnemar};
pub use verdict::{
    Class, Coverage, Example, Finding, Judgement, Latency, QUANTILES, Report, RequestKey, Settings,
    StatusPair, Streams, Verdict,
};
