//! From log to order, pacing, shadow clusters and outcomes. Knows nothing of
//! capture.

mod alarm;
mod assembly;
mod clock;
mod config;
mod course;
mod dead;
mod dry_run;
mod error;
#[cfg(test)]
mod instructions;
mod job;
pub mod jobs;
mod judge;
mod merge;
mod note;
mod order;
mod outcome;
mod outcomes;
mod pacer;
mod pipeline;
mod plan;
mod production;
mod report;
mod run;
mod seals;
mod send;
mod sequence;
mod share;
mod stats;
mod table;
mod tally;
mod window;

pub use config::{Config, Late, Order, Pace, Protocol, Stage, Target, WhenDown, Which};
pub use dead::DeadLetter;
pub use dry_run::{DryKey, DryRun, DryTarget, dry_run};
pub use error::{Difference, ReplayError};
pub use judge::{Again, Baseline, Compare, Compared, ComparedTarget, judge_again};
pub use outcome::{Answer, Class, MAX_ANSWER_BODY, Outcome, Outgoing};
pub use plan::{Agreed, Planned, Standing, plan, stored};
pub use report::{AgentMissing, Ended, Gaps, Lag, Latency, Report, TargetReport};
pub use run::run;
pub use seals::{Closed, Unsealing};
pub use send::{Sender, SenderError, Tls};
pub use stats::{Blocked, Progress, Stats, TargetState};
pub use tally::Skip;
