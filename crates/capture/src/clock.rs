//! A lane's time: wall-clock nanoseconds that never go back, so that a Mark's
//! promise ("no later request starts earlier") survives a corrected clock.

use std::{
    cell::Cell,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How often the system's clock is asked; in between time is counted from there.
const RESYNC: Duration = Duration::from_millis(500);

/// One instant on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Unix nanoseconds.
    pub(crate) wall_ns: u64,
    /// The same, monotonic.
    pub(crate) at: Instant,
}

/// The clock of one thread.
#[derive(Debug)]
pub(crate) struct Clock {
    anchor: Cell<Moment>,
    /// The system's clock is behind: ours runs slower until it has caught up.
    ahead: Cell<bool>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let anchor = Moment { wall_ns: system_ns(), at: Instant::now() };
        Self { anchor: Cell::new(anchor), ahead: Cell::new(false) }
    }

    pub(crate) fn now(&self) -> Moment {
        self.at(Instant::now(), system_ns)
    }

    fn at(&self, at: Instant, system_ns: impl FnOnce() -> u64) -> Moment {
        let anchor = self.anchor.get();
        let elapsed = at.saturating_duration_since(anchor.at);
        let passed = if self.ahead.get() { elapsed - elapsed / 10 } else { elapsed };
        let mut now = Moment { wall_ns: anchor.wall_ns + nanos(passed), at };
        if elapsed >= RESYNC {
            let system = system_ns();
            self.ahead.set(system < now.wall_ns);
            now.wall_ns = now.wall_ns.max(system);
            self.anchor.set(now);
        }
        now
    }
}

impl Moment {
    /// Nanoseconds from here to `later`.
    pub(crate) fn until(&self, later: Moment) -> u64 {
        nanos(later.at.saturating_duration_since(self.at))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn system_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos)
}

#[cfg(test)]
mod tests;
