//! The tee's byte budget: one number shared by all threads. Each lane takes it
//! in larger pieces and serves its messages from that credit, so that the shared
//! cache line is touched once for many messages. What is taken is given back by
//! the drop of a charge, whoever holds it then.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// The whole budget.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    free: AtomicUsize,
    /// What each lane holds as unused credit, written by that lane alone.
    credits: Vec<LaneCell>,
    piece: usize,
}

/// A lane's part of the budget. Lives on the lane's thread.
#[derive(Debug)]
pub(crate) struct Credit {
    budget: Arc<Budget>,
    lane: usize,
}

/// Bytes taken from a lane's credit, until dropped on the same thread.
#[derive(Debug)]
pub(crate) struct Charge {
    credit: Rc<Credit>,
    bytes: usize,
}

/// Bytes taken from the budget, until dropped on any thread.
#[derive(Debug)]
pub(crate) struct DetachedCharge {
    budget: Arc<Budget>,
    bytes: usize,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct LaneCell(AtomicUsize);

impl Budget {
    pub(crate) fn new(limit: usize, lanes: usize) -> Arc<Self> {
        // Unused credit of all lanes together stays below a quarter of the budget.
        let piece = (limit / (8 * lanes.max(1))).min(256 << 10);
        let credits = (0..lanes).map(|_| LaneCell::default()).collect();
        Arc::new(Self { limit, free: limit.into(), credits, piece })
    }

    /// Bytes of messages held now.
    pub(crate) fn used(&self) -> usize {
        let unused: usize = self.credits.iter().map(|cell| cell.0.load(Relaxed)).sum();
        self.limit.saturating_sub(self.free.load(Relaxed) + unused)
    }

    fn take(&self, bytes: usize) -> bool {
        self.free.fetch_update(Relaxed, Relaxed, |free| free.checked_sub(bytes)).is_ok()
    }

    fn give(&self, bytes: usize) {
        self.free.fetch_add(bytes, Relaxed);
    }
}

impl Credit {
    pub(crate) fn new(budget: Arc<Budget>, lane: usize) -> Rc<Self> {
        Rc::new(Self { budget, lane })
    }

    /// An empty charge, to be grown.
    pub(crate) fn charge(self: &Rc<Self>) -> Charge {
        Charge { credit: Rc::clone(self), bytes: 0 }
    }

    fn unused(&self) -> &AtomicUsize {
        &self.budget.credits[self.lane].0
    }

    fn take(&self, bytes: usize) -> bool {
        let mut unused = self.unused().load(Relaxed);
        if unused < bytes {
            let missing = bytes - unused;
            let amounts = [missing.max(self.budget.piece), missing];
            let Some(taken) = amounts.into_iter().find(|amount| self.budget.take(*amount)) else {
                return false;
            };
            unused += taken;
        }
        self.unused().store(unused - bytes, Relaxed);
        true
    }

    fn give(&self, bytes: usize) {
        let mut unused = self.unused().load(Relaxed) + bytes;
        if unused > 2 * self.budget.piece {
            self.budget.give(unused - self.budget.piece);
            unused = self.budget.piece;
        }
        self.unused().store(unused, Relaxed);
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.budget.give(self.unused().swap(0, Relaxed));
    }
}

impl Charge {
    /// Adds `bytes`, or says that the budget does not allow it.
    #[must_use]
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let taken = self.credit.take(bytes);
        if taken {
            self.bytes += bytes;
        }
        taken
    }

    /// Gives all of it back.
    pub(crate) fn release(&mut self) {
        self.credit.give(std::mem::take(&mut self.bytes));
    }

    /// Takes its bytes out into a charge of their own.
    pub(crate) fn take(&mut self) -> Self {
        Self { credit: Rc::clone(&self.credit), bytes: std::mem::take(&mut self.bytes) }
    }

    /// Takes it off the lane, to travel to another thread.
    pub(crate) fn detach(mut self) -> DetachedCharge {
        let bytes = std::mem::take(&mut self.bytes);
        DetachedCharge { budget: Arc::clone(&self.credit.budget), bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.release();
    }
}

impl Drop for DetachedCharge {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

#[cfg(test)]
mod tests;
