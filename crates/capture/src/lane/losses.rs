//! What the log lost, for every lane to find its own in. The log tells each loss
//! once, to whoever asks; lanes ask in turn and put down what concerns all.

use std::sync::{Mutex, PoisonError};

use umbra_log::Loss;

use super::Queue;

/// Losses that lanes have not fetched yet, by lane.
#[derive(Debug)]
pub(crate) struct Losses {
    inboxes: Mutex<Vec<Vec<Loss>>>,
}

impl Losses {
    pub(crate) fn new(lanes: u32) -> Self {
        Self { inboxes: Mutex::new(vec![Vec::new(); lanes as usize]) }
    }

    /// All losses since this lane's last call.
    pub(crate) fn fetch(&self, lane: u32, log: &dyn Queue) -> Vec<Loss> {
        let mut inboxes = self.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked for under the lock: a lane that finds nothing new at the log must
        // find in its inbox what another lane has just taken from there.
        let new = log.losses();
        if !new.is_empty() {
            for inbox in inboxes.iter_mut() {
                inbox.extend_from_slice(&new);
            }
        }
        inboxes.get_mut(lane as usize).map(std::mem::take).unwrap_or_default()
    }
}
