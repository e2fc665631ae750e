//! Whole replays: a real embedded log, real shadows over TCP, every promise that a
//! user relies on.

// A test fails by panicking, its helpers too.
#![allow(clippy::unwrap_used)]

mod again;
mod bad_records;
mod bodies;
mod going_on;
mod holding;
mod limits;
mod pacing;
mod patience;
mod recording;
mod sealing;
mod shadow;
mod steering;
mod windows;

use umbra_log::Address;

/// A new log for one test.
fn address(directory: &std::path::Path) -> Address {
    Address::File(directory.join("log"))
}
