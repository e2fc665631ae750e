//! One time axis for due times, and how the capture times of records are mapped onto
//! it. What the members of a job agree on is decided in `course`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use umbra_record::pb;

/// Unix nanoseconds that never jump: the wall clock is read once and monotonic time
/// added to it, so that setting the system's clock neither stops nor bursts a
/// replay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeBase {
    origin: Instant,
    origin_ns: u64,
}

impl TimeBase {
    pub(crate) fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin: Instant::now(), origin_ns: nanos(since) }
    }

    pub(crate) fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    pub(crate) fn at(&self, instant: Instant) -> u64 {
        self.origin_ns.saturating_add(nanos(instant.saturating_duration_since(self.origin)))
    }
}

/// A duration in whole nanoseconds, 584 years at most.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How capture times are mapped: `due = wall0 + (captured - t0) / speed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub t0_ns: u64,
    pub wall0_ns: u64,
}

impl Anchor {
    pub(crate) fn due(&self, captured_ns: u64, speed: f64) -> u64 {
        let recorded = i128::from(captured_ns) - i128::from(self.t0_ns);
        // An f64 holds the nanoseconds of 104 days exactly; beyond, the error is
        // below one part in 10^15.
        let scaled = if speed == 1.0 { recorded } else { (recorded as f64 / speed) as i128 };
        let due = i128::from(self.wall0_ns) + scaled;
        u64::try_from(due.max(0)).unwrap_or(u64::MAX)
    }

    /// What was captured then is due at this time.
    pub(crate) fn captured(&self, due_ns: u64, speed: f64) -> u64 {
        let passed = i128::from(due_ns) - i128::from(self.wall0_ns);
        let scaled = if speed == 1.0 { passed } else { (passed as f64 * speed) as i128 };
        let captured = i128::from(self.t0_ns) + scaled;
        u64::try_from(captured.max(0)).unwrap_or(u64::MAX)
    }
}

impl From<&pb::ClockEpoch> for Anchor {
    fn from(epoch: &pb::ClockEpoch) -> Self {
        Self { t0_ns: epoch.t0_ns, wall0_ns: epoch.wall0_ns }
    }
}
