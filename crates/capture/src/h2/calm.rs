//! How much of what costs a peer little and us something is taken: a bucket of
//! tokens, filled by time and by useful work.

use std::time::{Duration, Instant};

/// A bucket of tokens.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: u32,
    most: u32,
    per_second: u32,
    filled: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(most: u32, per_second: u32, now: Instant) -> Self {
        Self { tokens: most, most, per_second, filled: now }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.tokens == 0 {
            self.fill(now());
        }
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }

    /// Something useful was done.
    pub(super) fn earn(&mut self, tokens: u32) {
        self.tokens = self.tokens.saturating_add(tokens).min(self.most);
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).min(Duration::from_secs(3600));
        let earned = passed.as_millis() as u64 * u64::from(self.per_second) / 1000;
        if earned > 0 {
            self.filled = now;
            self.earn(u32::try_from(earned).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests;
