//! File descriptors are bounded by the system, and a client that has been
//! accepted needs a second one, for the upstream. So each thread keeps one in
//! reserve for every client that has no upstream connection yet, and accepts
//! nobody for whom it has none. Where that is not enough because others in the
//! process or on the machine take theirs, those who need one wait for the next
//! that is free, and nobody is accepted meanwhile.

use std::{
    cell::{Cell, RefCell},
    io,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::io::Errno;
use tokio::{sync::Notify, time::timeout};

/// While it accepts, a thread keeps this many more, which it gives up when there
/// are none left: the log and the name service get some.
const MARGIN: usize = 4;

/// Shortest time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// What all threads of an agent know of the shortage.
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// What the ones in reserve are copies of.
    blank: OwnedFd,
    freed: Notify,
    /// Upstream connections that wait for a descriptor.
    waiting: AtomicUsize,
    told: Mutex<Told>,
}

/// When there was none left, and when that was said.
#[derive(Debug, Default)]
struct Told {
    short: Option<Instant>,
    warned: Option<Instant>,
}

/// One thread's part.
#[derive(Debug)]
pub(crate) struct Reserve {
    shared: Arc<Descriptors>,
    kept: RefCell<Vec<OwnedFd>>,
    clients: Cell<usize>,
    upstreams: Cell<usize>,
}

/// A connection that counts, until dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    reserve: Rc<Reserve>,
    side: Side,
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Client,
    Upstream,
}

/// An upstream connection that waits for a descriptor, until dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a Descriptors);

/// Whether an error says that the process or the system has no descriptor left.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    let none_left = [Errno::MFILE, Errno::NFILE];
    error.raw_os_error().is_some_and(|code| none_left.iter().any(|e| e.raw_os_error() == code))
}

impl Descriptors {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            blank: UnixDatagram::unbound()?.into(),
            freed: Notify::new(),
            waiting: AtomicUsize::new(0),
            told: Mutex::default(),
        })
    }

    /// Waits until a connection ends, at most so long: others may have given theirs
    /// back, and one that ended just before is not noticed.
    pub(crate) async fn freed(&self, at_most: Duration) {
        // Either way it is tried again.
        let _ = timeout(at_most, self.freed.notified()).await;
    }

    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting(self)
    }

    /// There is none left.
    pub(crate) fn ran_out(&self, error: &io::Error) {
        self.told().short = Some(Instant::now());
        self.cannot_accept(
            error,
            "no connection is accepted until another one ends; raise the limit of open files",
        );
    }

    /// Tells the operator, but not all the time.
    pub(crate) fn cannot_accept(&self, error: &io::Error, what: &str) {
        if self.told().is_to_be_said(Instant::now()) {
            tracing::warn!(%error, "{what}");
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn is_to_be_said(&mut self, now: Instant) -> bool {
        let due = self.warned.is_none_or(|last| now.saturating_duration_since(last) >= WARN_EVERY);
        if due {
            self.warned = Some(now);
        }
        due
    }
}

impl Reserve {
    pub(crate) fn new(shared: Arc<Descriptors>) -> Self {
        Self { shared, kept: RefCell::default(), clients: Cell::new(0), upstreams: Cell::new(0) }
    }

    pub(crate) fn shared(&self) -> &Arc<Descriptors> {
        &self.shared
    }

    /// Makes sure that another client can get its upstream connection too.
    pub(crate) fn make_room(&self) -> io::Result<()> {
        if self.shared.waiting.load(Ordering::Acquire) > 0 {
            // Whoever has been accepted goes first.
            self.give_up_margin();
            return Err(Errno::MFILE.into());
        }
        let filled = self.fill(self.needed() + 1 + MARGIN);
        if filled.is_err() {
            self.give_up_margin();
        }
        filled
    }

    /// Keeps no more than the clients need that are there.
    pub(crate) fn give_up_margin(&self) {
        self.kept.borrow_mut().truncate(self.needed());
    }

    pub(crate) fn client(self: &Rc<Self>) -> Counted {
        self.clients.set(self.clients.get() + 1);
        Counted { reserve: Rc::clone(self), side: Side::Client }
    }

    /// To be called before the connection is made: frees its descriptor.
    pub(crate) fn upstream(self: &Rc<Self>) -> Counted {
        self.upstreams.set(self.upstreams.get() + 1);
        self.kept.borrow_mut().pop();
        Counted { reserve: Rc::clone(self), side: Side::Upstream }
    }

    /// How many upstream connections nobody here needs while others have none.
    pub(crate) fn spare_upstreams(&self) -> usize {
        let short = self.shared.told().short;
        if short.is_some_and(|at| at.elapsed() < WARN_EVERY) {
            self.upstreams.get().saturating_sub(self.clients.get())
        } else {
            0
        }
    }

    fn needed(&self) -> usize {
        self.clients.get().saturating_sub(self.upstreams.get())
    }

    fn fill(&self, up_to: usize) -> io::Result<()> {
        let mut kept = self.kept.borrow_mut();
        while kept.len() < up_to {
            kept.push(self.shared.blank.try_clone()?);
        }
        Ok(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let reserve = &self.reserve;
        match self.side {
            Side::Client => {
                reserve.clients.set(reserve.clients.get() - 1);
                reserve.kept.borrow_mut().truncate(reserve.needed() + 1 + MARGIN);
            }
            Side::Upstream => {
                reserve.upstreams.set(reserve.upstreams.get() - 1);
                // Its client may want another one. If there is none, it will wait.
                let _ = reserve.fill(reserve.needed());
            }
        }
        reserve.shared.freed.notify_waiters();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
