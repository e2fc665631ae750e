//! What the tests are made of: processes that are always ended, a client and a
//! shadow that see raw bytes, and waiting on conditions.

pub(crate) mod api;
pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod disk;
pub(crate) mod envoy;
pub(crate) mod httpbin;
pub(crate) mod jobs;
pub(crate) mod kcat;
pub(crate) mod load;
pub(crate) mod logs;
pub(crate) mod nginx;
pub(crate) mod process;
pub(crate) mod secured;
pub(crate) mod served;
pub(crate) mod shadow;
pub(crate) mod wire;

use std::time::{Duration, Instant};

/// Longest wait of any condition: generous, since machines are slow at times.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds, or panics with what was waited for.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        pause(Duration::from_millis(10));
    }
}

/// Between two looks at a condition.
pub(crate) fn pause(time: Duration) {
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}
