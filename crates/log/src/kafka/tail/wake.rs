//! What the thread that polls sleeps on while there is nothing to take.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

/// Rung from librdkafka's threads, waited for by one.
#[derive(Default)]
pub(super) struct Wake {
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Wake {
    pub(super) fn ring(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *rung, true) {
            self.bell.notify_one();
        }
    }

    /// Returns when it rings, at once if it has since the last time, or after so long.
    pub(super) fn wait(&self, patience: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.bell.wait_timeout_while(rung, patience, |rung| !*rung);
        let (mut rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}
