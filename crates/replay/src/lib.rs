//! From log to order, pacing, shadow clusters and outcomes. Knows nothing of
//! capture.

mod config;
mod outcome;
pub use config::{Config, Late, Order, Pace, Protocol, Stage, Target, WhenDown, Which};
pub use outcome::{Answer, Class, MAX_ANSWER_BODY, Outcome, Outgoing};
