//! Idle connections to the upstream.

use std::{
    cell::RefCell,
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::Link;

/// Most idle connections kept.
const MAX_IDLE: usize = 512;

/// Longest time a connection is kept idle. Most servers close theirs after 5 s to
/// 75 s; the closer we come to that, the more requests meet a closing connection.
const IDLE: Duration = Duration::from_secs(30);

/// A thread's idle connections, the last used one first.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<VecDeque<Idle>>,
}

#[derive(Debug)]
struct Idle {
    link: Link,
    since: Instant,
}

impl Pool {
    /// Takes a connection that seems alive. `sure`: for a request that must not
    /// be sent twice, the socket itself is asked, not only what the runtime knows.
    pub(crate) fn take(&self, sure: bool) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        while let Some(candidate) = idle.pop_back() {
            if candidate.link.stream.is_quiet(sure) {
                return Some(candidate.link);
            }
        }
        None
    }

    /// Keeps a connection whose last answer has ended, then.
    pub(crate) fn put(&self, link: Link, since: Instant) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= MAX_IDLE {
            idle.pop_front();
        }
        idle.push_back(Idle { link, since });
    }

    /// Closes the `n` that have been idle longest. Says how many there were.
    pub(crate) fn close(&self, n: usize) -> usize {
        let mut idle = self.idle.borrow_mut();
        let n = n.min(idle.len());
        idle.drain(..n);
        n
    }

    /// Closes what has been idle for too long.
    pub(crate) fn prune(&self, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        while idle.front().is_some_and(|first| now.duration_since(first.since) > IDLE) {
            idle.pop_front();
        }
    }
}
