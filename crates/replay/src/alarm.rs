//! One thread that waits for absolute deadlines and wakes pipelines on time: the
//! runtime's own timers tick at a millisecond, which is too coarse for pacing.
//! Knows nothing of what is due.

use std::{
    io,
    num::NonZeroU64,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::Notify;

use crate::clock::TimeBase;

#[cfg(test)]
mod tests;

/// The thread. Dropping it ends and joins the thread.
#[derive(Debug)]
pub(crate) struct Alarm {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

/// One pipeline's deadline.
#[derive(Debug)]
pub(crate) struct Bell {
    shared: Arc<Shared>,
    slot: usize,
    notify: Arc<Notify>,
    /// What was set last, to leave the lock alone when nothing changes.
    set: Option<u64>,
}

#[derive(Debug)]
struct Shared {
    time: TimeBase,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bells: Vec<(Option<u64>, Arc<Notify>)>,
    /// What the thread sleeps for; `None`: for a change.
    waiting_for: Option<u64>,
    stop: bool,
}

impl Alarm {
    pub(crate) fn start(time: TimeBase) -> io::Result<Self> {
        let shared =
            Arc::new(Shared { time, state: Mutex::default(), changed: Condvar::default() });
        let thread = thread::Builder::new().name("umbra-pacer".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run()
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(crate) fn bell(&self) -> Bell {
        let notify = Arc::new(Notify::new());
        let mut state = self.shared.lock();
        state.bells.push((None, Arc::clone(&notify)));
        Bell { shared: Arc::clone(&self.shared), slot: state.bells.len() - 1, notify, set: None }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It has nothing to report; a panic there has been printed already.
            let _ = thread.join();
        }
    }
}

impl Bell {
    /// Rings once at this time (of the `TimeBase`), replacing what was set before.
    pub(crate) fn set(&mut self, at_ns: Option<u64>) {
        if self.set == at_ns {
            return;
        }
        self.set = at_ns;
        let mut state = self.shared.lock();
        state.bells[self.slot].0 = at_ns;
        let sooner = at_ns.is_some_and(|at| state.waiting_for.is_none_or(|waits| at < waits));
        drop(state);
        if sooner {
            self.shared.changed.notify_one();
        }
    }

    /// Waits for the bell. Cancel-safe: a ring that nobody waited for is kept.
    pub(crate) async fn rung(&mut self) {
        self.notify.notified().await;
        self.set = None;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        // Without this the kernel may wake the thread 50 µs late to save power. If
        // it cannot be set, sends are that much later and the lag says so.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let mut state = self.lock();
        while !state.stop {
            let now = self.time.now();
            let mut next: Option<u64> = None;
            for (at, notify) in &mut state.bells {
                match *at {
                    Some(due) if due <= now => {
                        *at = None;
                        notify.notify_one();
                    }
                    Some(due) => next = Some(next.map_or(due, |next| next.min(due))),
                    None => {}
                }
            }
            state.waiting_for = next;
            state = match next {
                Some(due) => {
                    let left = Duration::from_nanos(due.saturating_sub(self.time.now()));
                    let woken = self.changed.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}
