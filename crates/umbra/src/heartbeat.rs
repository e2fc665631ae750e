//! One log line each 30 s of every long-running process: that it lives, how fast
//! it goes, what it lost.

use std::{future::Future, time::Duration};

/// How often.
const EVERY: Duration = Duration::from_secs(30);

/// Runs `work` to its end and calls `beat` with the seconds since the last call
/// meanwhile.
pub(crate) async fn during<T>(work: impl Future<Output = T>, mut beat: impl FnMut(f64)) -> T {
    tokio::pin!(work);
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = tokio::time::Instant::now();
    loop {
        tokio::select! {
            done = &mut work => return done,
            now = tick.tick() => {
                beat((now - last).as_secs_f64());
                last = now;
            }
        }
    }
}
