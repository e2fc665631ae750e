//! How an agent is told to stop, and when it has to be done: one deadline for all
//! threads, and a stop signal per thread that an idle connection can wait for
//! without touching anything shared.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// What is kept for the last records of all.
const NEAR: Duration = Duration::from_millis(500);

/// Set once, when the stop comes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deadline(Arc<OnceLock<Instant>>);

/// One thread's stop signal.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    since: Cell<Option<Instant>>,
    waiting: RefCell<BTreeMap<u64, Waker>>,
    more: Cell<u64>,
}

/// Somebody who can wait for the signal.
#[derive(Debug)]
pub(crate) struct StopWatch {
    stop: Rc<Stop>,
    id: u64,
    registered: bool,
}

impl Deadline {
    /// The stop has come: `within` is left. Later calls change nothing.
    pub(crate) fn set(&self, within: Duration) -> Instant {
        *self.0.get_or_init(|| Instant::now() + within)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// There is time for the last records and the last flush, but no more.
    pub(crate) fn is_near(&self) -> bool {
        self.left().is_some_and(|left| left <= NEAR)
    }

    /// What is left, if the stop has come.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.0.get().map(|at| at.saturating_duration_since(Instant::now()))
    }
}

impl Stop {
    /// Tells everyone who waits and will wait.
    pub(crate) fn stop(&self) {
        self.since.set(Some(Instant::now()));
        for (_, waker) in std::mem::take(&mut *self.waiting.borrow_mut()) {
            waker.wake();
        }
    }

    /// When the stop came.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since.get()
    }

    /// For those without a connection of a number of its own.
    pub(crate) fn watch_more(self: &Rc<Self>) -> StopWatch {
        // Connections are numbered from the other end.
        self.more.set(self.more.get() + 1);
        self.watch(u64::MAX - self.more.get())
    }

    /// `id` is unique on this thread.
    pub(crate) fn watch(self: &Rc<Self>, id: u64) -> StopWatch {
        StopWatch { stop: Rc::clone(self), id, registered: false }
    }
}

impl StopWatch {
    pub(crate) fn since(&self) -> Option<Instant> {
        self.stop.since()
    }

    /// Ready once the stop has come. Always to be polled by the same task.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        if let Some(since) = self.stop.since() {
            return Poll::Ready(since);
        }
        if !self.registered {
            self.stop.waiting.borrow_mut().insert(self.id, cx.waker().clone());
            self.registered = true;
        }
        Poll::Pending
    }
}

impl Drop for StopWatch {
    fn drop(&mut self) {
        if self.registered {
            self.stop.waiting.borrow_mut().remove(&self.id);
        }
    }
}
