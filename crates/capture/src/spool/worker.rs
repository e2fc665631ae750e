//! The spool's thread: writes what lanes put into the queue, drains the files into
//! the log while it takes records in time, and looks after spools of processes that
//! are gone. Nothing here is waited for by a live request.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use umbra_log::{Entry, Returned};
use umbra_record::{decode::decode, id};

use super::{
    Kept, LostInSpool, Spool, SpoolConfig,
    adopt::Adopter,
    drain::{Drain, Fed, JUMP, jump_to},
    frame, lock,
    store::Store,
};
use crate::{
    drain::Deadline,
    lane::{Losses, Queue},
};

/// Longest sleep: how often the log's delay is looked at.
const TICK: Duration = Duration::from_millis(250);
/// Sleep while the log has no room, or something is on its way.
const PAUSE: Duration = Duration::from_millis(3);
/// How often files are synced and the cursor is written down.
const SYNC: Duration = Duration::from_secs(1);
/// How long nothing is written after the disk has refused.
const BROKEN: Duration = Duration::from_secs(1);
/// What is handed to the log before the queue is looked at again.
const FEED: usize = 1 << 20;
/// Largest segment, and least.
const SEGMENT: std::ops::RangeInclusive<u64> = (64 << 10)..=(32 << 20);

/// See the module.
pub(crate) struct Worker {
    spool: Arc<Spool>,
    config: SpoolConfig,
    log: Arc<dyn Queue>,
    losses: Arc<Losses>,
    /// Its inbox among the losses.
    inbox: u32,
    deadline: Deadline,
    own: Drain,
    adopter: Adopter,
    batch: Vec<u8>,
    /// Records written to the own files.
    written: u64,
    broken_since: Option<Instant>,
    synced: Instant,
    told_stalled: bool,
}

impl Worker {
    /// Makes the agent's directory.
    pub(crate) fn new(
        config: SpoolConfig,
        spool: Arc<Spool>,
        log: Arc<dyn Queue>,
        (losses, inbox): (Arc<Losses>, u32),
        agent: [u8; 16],
        deadline: Deadline,
    ) -> io::Result<Self> {
        let segment = (config.max_bytes / 16).clamp(*SEGMENT.start(), *SEGMENT.end());
        let store = Store::create(&config.dir, &id::text(&agent), &config.log, segment)?;
        Ok(Self {
            adopter: Adopter::new(&config),
            spool,
            config,
            log,
            losses,
            inbox,
            deadline,
            own: Drain::new(store, agent),
            batch: Vec::new(),
            written: 0,
            broken_since: None,
            synced: Instant::now(),
            told_stalled: false,
        })
    }

    /// Where the spool is.
    pub(crate) fn dir(&self) -> PathBuf {
        self.own.store.dir().to_owned()
    }

    /// When the log is taken to be late.
    pub(crate) fn stall(&self) -> Duration {
        self.config.stall
    }

    /// Works until the spool is closed and drained, or there is no time left.
    pub(crate) fn run(mut self) -> Self {
        let mut sleep = Duration::ZERO;
        loop {
            let closed = self.take(sleep);
            self.write();
            let changed = self.settle();
            let stalled = self.is_stalled();
            let own = if stalled { Fed::Blocked } else { self.feed() };
            let adopted = match own {
                Fed::All if !closed && !stalled => self.adopter.step(&*self.log, &self.spool),
                _ => Fed::All,
            };
            let drained = own == Fed::All;
            self.rest(drained, stalled);
            self.upkeep();
            if closed && (stalled || self.deadline.is_near() || drained && self.own.flying() == 0) {
                return self;
            }
            sleep = match (own, adopted) {
                (Fed::More, _) | (_, Fed::More) => Duration::ZERO,
                _ if changed => Duration::ZERO,
                (Fed::Blocked, _) if stalled => TICK / 4,
                (Fed::All, Fed::All) if self.own.flying() + self.adopter.flying() == 0 => TICK,
                _ => PAUSE,
            };
        }
    }

    /// Keeps what the log gave back in front of what is here, and closes the spool:
    /// what is in it is for a later process. For the end, after all lanes'.
    pub(crate) fn keep(mut self, returned: &[Returned]) -> Kept {
        let error = self.put_in_front(returned).err();
        let records = self.written - self.own.drained;
        let (records, mut error) = match error {
            None => (records + self.count_new(returned), None),
            error => (records, error),
        };
        let done = match records {
            0 => self.own.store.remove(),
            _ => self.own.store.save().and_then(|()| self.own.store.sync()),
        };
        error = error.or(done.err());
        self.adopter.end();
        Kept { records, error }
    }

    /// Takes what is in the queue; waits for it. Says whether that was the last.
    fn take(&mut self, sleep: Duration) -> bool {
        self.batch.clear();
        if self.batch.capacity() > 2 * self.config.queue_bytes {
            self.batch = Vec::new();
        }
        let mut queue = self.spool.queue();
        if queue.frames.is_empty() && !queue.closed && !sleep.is_zero() {
            let waited = self.spool.wake.wait_timeout(queue, sleep);
            queue = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        std::mem::swap(&mut queue.frames, &mut self.batch);
        // Counted before it can be forgotten.
        self.spool.stats.bytes.fetch_add(self.batch.len() as u64, Ordering::Relaxed);
        queue.closed
    }

    fn write(&mut self) {
        if self.broken_since.is_some_and(|since| since.elapsed() >= BROKEN) {
            self.broken_since = None;
            self.spool.queue().broken = false;
        }
        if self.batch.is_empty() {
            return;
        }
        let first = self.spool.written() + 1;
        let last = self.spool.written() + frame::seal(&mut self.batch);
        if let Err(error) = self.own.store.write(&self.batch) {
            tracing::error!(
                %error,
                dir = %self.own.store.dir().display(),
                records = last + 1 - first,
                "the spool cannot be written: records are lost"
            );
            self.broken_since = Some(Instant::now());
            self.spool.queue().broken = true;
            let lost = LostInSpool { first, last, reason: "disk" };
            lock(&self.spool.lost).iter_mut().for_each(|inbox| inbox.push(lost));
        } else {
            self.written += last + 1 - first;
        }
        // What was lost can be found before the watermark passes it.
        self.spool.written.store(last, Ordering::Release);
    }

    /// Learns what is durable in the log, and what was lost there. Says whether
    /// anything changed.
    pub(crate) fn settle(&mut self) -> bool {
        // Watermarks first, as lanes do.
        let durable: Vec<u64> =
            (0..self.log.partitions()).map(|partition| self.log.durable(partition)).collect();
        let losses = self.losses.fetch(self.inbox, &*self.log);
        let own = self.own.settle(&*self.log, &durable, &losses);
        let adopted = self.adopter.settle(&*self.log, &durable, &losses);
        for (reason, requests) in self.own.refused.drain(..) {
            self.spool.stats.refuse(reason, requests);
        }
        own || adopted
    }

    fn feed(&mut self) -> Fed {
        let fed = self.own.feed(&*self.log, self.config.window_bytes, FEED);
        let damaged = self.own.take_damaged();
        if damaged > 0 {
            self.spool.stats.damage(self.own.store.dir(), damaged);
        }
        fed.unwrap_or_else(|error| {
            let dir = self.own.store.dir().display();
            tracing::error!(%error, %dir, "the spool cannot be read");
            Fed::Blocked
        })
    }

    /// Whether the log is late with what it has.
    fn is_stalled(&mut self) -> bool {
        let waiting = self.log.waiting();
        let stalled = waiting >= self.config.stall;
        if stalled != self.told_stalled {
            self.told_stalled = stalled;
            match stalled {
                true => tracing::warn!(
                    ?waiting,
                    dir = %self.own.store.dir().display(),
                    "the log does not take records in time: they are kept in the spool"
                ),
                false => tracing::info!("the log takes records again: the spool is drained"),
            }
        }
        stalled
    }

    /// Opens the direct way to the log if nothing is left to overtake.
    fn rest(&mut self, drained: bool, stalled: bool) {
        let mut queue = self.spool.queue();
        queue.hold = stalled;
        let active = queue.hold || !drained || !queue.frames.is_empty();
        if self.spool.is_active() != active {
            self.spool.active.store(active, Ordering::Release);
        }
        drop(queue);
        if !active && self.own.flying() == 0 && self.own.store.bytes() > 0 {
            // What was damaged is not there any more either.
            self.own.drained = self.written;
            let _ = self.own.store.clear().inspect_err(|error| {
                tracing::warn!(%error, "a drained spool cannot be removed");
            });
            self.own.restart();
        }
    }

    fn upkeep(&mut self) {
        let bytes = self.own.store.bytes() + self.adopter.bytes();
        self.spool.stats.bytes.store(bytes, Ordering::Relaxed);
        self.spool.stats.records.store(self.written - self.own.drained, Ordering::Relaxed);
        if self.synced.elapsed() < SYNC {
            return;
        }
        self.synced = Instant::now();
        let saved = self.own.store.sync().and_then(|()| self.own.store.save());
        if let Err(error) = saved {
            tracing::warn!(%error, dir = %self.own.store.dir().display(), "the spool is not synced");
        }
        self.adopter.upkeep(&self.spool);
    }

    /// Writes what the log gave back in front, but for what other spools have.
    fn put_in_front(&mut self, returned: &[Returned]) -> io::Result<()> {
        let mut frames = Vec::new();
        for one in returned.iter().filter(|one| !self.adopter.has(one.position)) {
            let (lane, sequence) = decode(one.payload.clone().into())
                .map_or((0, 0), |record| (record.lane, record.sequence));
            let headers: Vec<(&str, &[u8])> =
                one.headers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
            let entry = Entry {
                partition: one.position.partition,
                time_ns: one.time_ns,
                key: &one.key,
                headers: &headers,
                payload: &one.payload,
                weight: one.weight,
            };
            frame::encode(&entry, lane, sequence, &mut frames);
        }
        if frames.is_empty() {
            return Ok(());
        }
        // What was on its way from the files is in front now.
        let payload = jump_to(self.own.place());
        let entry = Entry {
            partition: JUMP,
            time_ns: 0,
            key: &[],
            headers: &[],
            payload: &payload,
            weight: 0,
        };
        frame::encode(&entry, 0, 0, &mut frames);
        frame::seal(&mut frames);
        self.own.store.write_in_front(&frames)
    }

    /// How many of these are not in the files already.
    fn count_new(&self, returned: &[Returned]) -> u64 {
        let new = |one: &&Returned| !self.adopter.has(one.position) && !self.own.has(one.position);
        returned.iter().filter(new).count() as u64
    }
}

impl super::SpoolStats {
    pub(super) fn refuse(&self, reason: &'static str, requests: u64) {
        tracing::error!(reason, requests, "the log refuses a record from the spool");
        *lock(&self.refused).entry(reason).or_default() += requests;
    }

    pub(super) fn damage(&self, dir: &std::path::Path, bytes: u64) {
        tracing::error!(bytes, dir = %dir.display(), "a spool is damaged: records are lost");
        self.damaged_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
