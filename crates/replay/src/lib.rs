//! From log to order, pacing, shadow clusters and outcomes. Knows nothing of
//! capture.

mod config;
pub use config::{Config, Late, Order, Pace, Protocol, Stage, Target, WhenDown, Which};
