//! Where records go while the log does not take them: a spool on the local disk,
//! drained in order when it does again. From the first record that goes there until
//! the last one is handed on, every record goes that way, so that none overtakes
//! another. Lanes see [`Spool`]; the files belong to a thread of their own
//! ([`worker`]).
//!
//! What happens to a record that finds no room here either, is the lane's business.

mod adopt;
mod drain;
mod frame;
mod reader;
mod store;
mod worker;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use umbra_log::Entry;

use crate::lane::{Kind, NotTaken};
pub(crate) use worker::Worker;

/// Where the spool is, and what it may take.
#[derive(Debug, Clone)]
pub struct SpoolConfig {
    /// Holds a directory for each agent; shared by agents, also of other logs.
    pub dir: PathBuf,
    /// Where it cannot be used, the agent does not start; or else it does without.
    pub required: bool,
    /// Most bytes on the disk of this agent and of those whose spool it has taken
    /// over.
    pub max_bytes: u64,
    /// Name of the log: a spool is only taken over for the same one.
    pub log: String,
    /// A record that is not durable after this sends all others to the spool.
    pub stall: Duration,
    /// Most bytes waiting to be written.
    pub queue_bytes: usize,
    /// Most bytes handed from the spool to the log and not yet durable.
    pub window_bytes: usize,
}

/// Kept for Gaps and Marks, so that a spool that is full still says so.
const RESERVE: u64 = 4 << 20;

/// The lanes' side.
#[derive(Debug)]
pub(crate) struct Spool {
    /// Every record goes here. Changed under the lock of `queue`.
    active: AtomicBool,
    queue: Mutex<WriteQueue>,
    wake: Condvar,
    /// Numbers up to here are in the files, or told to be lost.
    written: AtomicU64,
    lost: Mutex<Vec<Vec<LostInSpool>>>,
    pub(crate) stats: SpoolStats,
    max_bytes: u64,
    queue_bytes: usize,
}

/// Records on their way to the files.
#[derive(Debug, Default)]
struct WriteQueue {
    frames: Vec<u8>,
    /// Of the last record ever put here.
    last: u64,
    /// The log is late: everything goes here, though nothing may be left.
    hold: bool,
    /// Nothing can be written now.
    broken: bool,
    closed: bool,
}

/// Records that were accepted here and could not be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LostInSpool {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) reason: &'static str,
}

/// What a spool counts; written by its thread.
#[derive(Debug, Default)]
pub(crate) struct SpoolStats {
    /// On the disk now.
    pub(crate) bytes: AtomicU64,
    /// Records of this agent that are here and not durable in the log.
    pub(crate) records: AtomicU64,
    /// Bytes found that were no records.
    pub(crate) damaged_bytes: AtomicU64,
    /// Requests that the log refused when they were drained, by reason.
    pub(crate) refused: Mutex<std::collections::BTreeMap<&'static str, u64>>,
}

impl Spool {
    /// Lanes are numbered below `lanes`.
    pub(crate) fn new(config: &SpoolConfig, lanes: u32) -> Arc<Self> {
        Arc::new(Self {
            active: AtomicBool::new(false),
            queue: Mutex::default(),
            wake: Condvar::new(),
            written: AtomicU64::new(0),
            lost: Mutex::new(vec![Vec::new(); lanes as usize]),
            stats: SpoolStats::default(),
            max_bytes: config.max_bytes,
            queue_bytes: config.queue_bytes,
        })
    }

    /// Whether records have to go here. What a lane puts here, or what was put here
    /// before by whoever hands a connection to that lane, is seen by it.
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Takes a record, and with it all that follow. Its number, which counts from 1
    /// over all lanes.
    pub(crate) fn push(
        &self,
        entry: &Entry<'_>,
        kind: Kind,
        lane: u32,
        sequence: u64,
    ) -> Result<u64, NotTaken> {
        let len = frame::encoded_len(entry);
        let reserve = match kind {
            Kind::Gap | Kind::Mark => 0,
            _ => RESERVE.min(self.max_bytes / 8),
        };
        let mut queue = self.queue();
        if queue.closed {
            return Err(NotTaken { reason: "log_closed", later: false });
        }
        if queue.broken {
            return Err(NotTaken { reason: "disk", later: false });
        }
        let used = self.stats.bytes.load(Ordering::Relaxed) + (queue.frames.len() + len) as u64;
        if used > self.max_bytes - reserve {
            return Err(NotTaken { reason: "spool_full", later: false });
        }
        if len > frame::MAX_FRAME {
            return Err(NotTaken { reason: "too_large", later: false });
        }
        if !queue.frames.is_empty() && queue.frames.len() + len > self.queue_bytes {
            return Err(NotTaken { reason: "spool_slow", later: true });
        }
        let was_empty = queue.frames.is_empty();
        frame::encode(entry, lane, sequence, &mut queue.frames);
        queue.last += 1;
        let number = queue.last;
        self.active.store(true, Ordering::Release);
        drop(queue);
        if was_empty {
            self.wake.notify_one();
        }
        Ok(number)
    }

    /// Whether the log is late: what it has is given back in the end and kept here.
    pub(crate) fn is_holding(&self) -> bool {
        self.is_active() && self.queue().hold
    }

    /// Records up to this number are in the files, or told by `lost`.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// What was lost since this lane's last call.
    pub(crate) fn lost(&self, lane: u32) -> Vec<LostInSpool> {
        let mut lost = lock(&self.lost);
        lost.get_mut(lane as usize).map(std::mem::take).unwrap_or_default()
    }

    /// No more is put here.
    pub(crate) fn close(&self) {
        self.queue().closed = true;
        self.wake.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, WriteQueue> {
        lock(&self.queue)
    }
}

/// What a spool holds at its end.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Records of this agent that a later process will hand to the log.
    pub(crate) records: u64,
    /// If the spool could not take what the log gave back.
    pub(crate) error: Option<io::Error>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
