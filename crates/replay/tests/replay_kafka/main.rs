//! Whole replays, as in `tests/replay`, from a real Kafka: what holds on one log
//! holds on the other. The broker is the one named by `UMBRA_TEST_KAFKA`
//! (`scripts/kafka run -- cargo test …`), or one that is started here.

// A test fails by panicking, its helpers too.
#![allow(clippy::unwrap_used)]

#[path = "../replay/again.rs"]
mod again;
#[path = "../replay/bad_records.rs"]
mod bad_records;
#[path = "../replay/bodies.rs"]
mod bodies;
mod broker;
#[path = "../replay/going_on.rs"]
mod going_on;
#[path = "../replay/holding.rs"]
mod holding;
#[path = "../replay/limits.rs"]
mod limits;
mod members;
#[path = "../replay/pacing.rs"]
mod pacing;
#[path = "../replay/patience.rs"]
mod patience;
#[path = "../replay/recording.rs"]
mod recording;
#[path = "../replay/shadow.rs"]
mod shadow;
#[path = "../replay/steering.rs"]
mod steering;
#[path = "../replay/windows.rs"]
mod windows;

use umbra_log::Address;

/// A new log for one test.
fn address(_: &std::path::Path) -> Address {
    Address::Kafka { brokers: broker::addresses(), topic: broker::unique("replay") }
}
