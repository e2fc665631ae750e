//! How a [`Delivery`] finds its way back to the reader it came from: a shared
//! queue of what was settled, by whichever thread, and a token that pushes into
//! it exactly once (and once before, if the delivery is uncounted).
//!
//! The queue needs no bound of its own: it never holds more than two entries for
//! each delivery that is out, and those are bounded by the reader's high mark, or
//! by whoever uncounted them. Notes about partitions take the same way, so that
//! draining never sees a later act of the user without an earlier one; of each
//! partition the last is kept. Decides nothing about progress; the owner drains it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::{Delivery, progress::MAX_NOTE};

/// What became of one delivery.
#[derive(Debug)]
pub(crate) struct Settled {
    /// Of the delivery.
    pub(crate) partition: u32,
    /// Of the delivery.
    pub(crate) offset: u64,
    /// As given to [`Token::new`]: which assignment of the partition it belongs
    /// to, so that what is settled late is not taken for progress of a later one.
    pub(crate) epoch: u32,
    /// What of the read-ahead is free again; `None` if it was free before.
    pub(crate) freed: Option<u32>,
    /// Which of the ends it met.
    pub(crate) end: End,
}

/// The ends of a delivery, and what may come before them.
#[derive(Debug)]
pub(crate) enum End {
    /// Handled.
    Done,
    /// Dropped undone: all that is needed to deliver it once more.
    Returned {
        /// Of the delivery.
        time_ns: u64,
        /// Of the delivery.
        payload: Bytes,
    },
    /// Given back by its user, who did not begin to handle it.
    Untouched {
        /// Of the delivery.
        time_ns: u64,
        /// Of the delivery.
        attempt: u32,
        /// Of the delivery.
        payload: Bytes,
    },
    /// Thrown away by the reader before its user saw it: no progress, only room.
    Discarded,
    /// No end: it is still out, but does not count any more.
    Uncounted,
}

/// Notes by partition, each with the assignment it is about.
pub(crate) type Notes = BTreeMap<u32, (u32, Bytes)>;

/// What the user did since it was drained last.
#[derive(Default)]
struct State {
    settled: Vec<Settled>,
    notes: Notes,
}

/// The shared queue of settled deliveries, and of notes.
pub(crate) struct SettleQueue {
    state: Mutex<State>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl SettleQueue {
    /// `wake` is called, on whatever thread settles a delivery, each time the
    /// queue stops being empty. It must be cheap and must not block.
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), wake: Box::new(wake) })
    }

    /// Moves everything settled so far into `into`, which should be empty: its
    /// allocation is reused. Returns the notes made so far.
    pub(crate) fn drain(&self, into: &mut Vec<Settled>) -> Notes {
        let mut state = self.state();
        if into.is_empty() {
            std::mem::swap(&mut state.settled, into);
        } else {
            into.append(&mut state.settled);
        }
        std::mem::take(&mut state.notes)
    }

    /// Notes something about a partition in this assignment of it, instead of what
    /// was noted before. A note that is too long is refused: told, and not kept.
    pub(crate) fn note(&self, partition: u32, epoch: u32, note: Bytes) {
        if note.len() > MAX_NOTE {
            let bytes = note.len();
            tracing::error!(partition, bytes, limit = MAX_NOTE, "a note is too long to be kept");
            return;
        }
        self.state().notes.insert(partition, (epoch, note));
        (self.wake)();
    }

    fn push(&self, one: Settled) {
        let first = {
            let mut state = self.state();
            state.settled.push(one);
            state.settled.len() == 1
        };
        if first {
            (self.wake)();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SettleQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettleQueue").finish_non_exhaustive()
    }
}

/// The private half of a [`Delivery`].
#[derive(Debug)]
pub(crate) struct Token {
    queue: Option<Arc<SettleQueue>>,
    epoch: u32,
    /// What it counts against the read-ahead; `None` once uncounted.
    counted: Option<u32>,
    last_chance: bool,
}

impl Token {
    /// A token that reports to `queue` exactly once. `bytes` is what the delivery
    /// counts against the read-ahead.
    pub(crate) fn new(queue: &Arc<SettleQueue>, epoch: u32, bytes: u32) -> Self {
        Self { queue: Some(Arc::clone(queue)), epoch, counted: Some(bytes), last_chance: false }
    }

    /// For [`crate::Event::SetAside`]: dropping it settles it too.
    #[must_use]
    pub(crate) fn last_chance(mut self) -> Self {
        self.last_chance = true;
        self
    }

    fn end(&mut self, partition: u32, offset: u64, end: End) {
        if let Some(queue) = self.queue.take() {
            let freed = self.counted.take();
            queue.push(Settled { partition, offset, epoch: self.epoch, freed, end });
        }
    }

    fn uncount(&mut self, partition: u32, offset: u64) {
        if let (Some(queue), Some(bytes)) = (&self.queue, self.counted.take()) {
            let (freed, end) = (Some(bytes), End::Uncounted);
            queue.push(Settled { partition, offset, epoch: self.epoch, freed, end });
        }
    }
}

impl Delivery {
    /// A delivery whose end is reported through `token`.
    pub(crate) fn new(
        (partition, offset): (u32, u64),
        time_ns: u64,
        attempt: u32,
        payload: Bytes,
        token: Token,
    ) -> Self {
        Self { partition, offset, time_ns, attempt, payload, token }
    }

    /// Settles it: it is never delivered to this group again (once committed).
    pub fn done(mut self) {
        self.token.end(self.partition, self.offset, End::Done);
    }

    /// Gives it back: nothing of it was begun, so this was no attempt. Whoever is
    /// delivered it next, this reader or a successor, gets it as if for the first
    /// time; a reader that keeps its partition gets it again at once, as often as it
    /// does this. To be used for what is left when a partition is revoked or the
    /// reader is closed. What was set aside is settled by it, as by dropping it.
    pub fn untouched(mut self) {
        if self.token.last_chance {
            return;
        }
        let payload = std::mem::take(&mut self.payload);
        let end = End::Untouched { time_ns: self.time_ns, attempt: self.attempt, payload };
        self.token.end(self.partition, self.offset, end);
    }

    /// Takes it off the reader's read-ahead, bytes and record, while it stays undone:
    /// from now on whoever holds it bounds what he holds. Progress is not affected; if
    /// it is dropped, it is delivered again and counts again then. Once is enough.
    pub fn uncount(&mut self) {
        self.token.uncount(self.partition, self.offset);
    }

    /// Takes it back before its user saw it: neither progress nor an attempt.
    pub(crate) fn discard(mut self) {
        self.token.end(self.partition, self.offset, End::Discarded);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.token.queue.is_none() {
            return;
        }
        let end = if self.token.last_chance {
            End::Done
        } else {
            End::Returned { time_ns: self.time_ns, payload: std::mem::take(&mut self.payload) }
        };
        self.token.end(self.partition, self.offset, end);
    }
}

#[cfg(test)]
mod tests;
