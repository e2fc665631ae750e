//! The thread behind an embedded log's reader: reads ahead of it within bounds,
//! settles what comes back, keeps the group's progress. It polls, and faster while
//! there is something to find.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use super::{
    cursor::{Cursor, Found},
    group::Group,
};
use crate::{
    Assigned, Delivery, Event, LogError,
    progress::{Checkpoint, Progress},
    settle::{End, SettleQueue, Settled, Token},
};

/// Between looks at the end of the log: at first …
const POLL: Duration = Duration::from_millis(1);
/// … doubling to …
const POLL_IDLE: Duration = Duration::from_millis(16);
/// Between looks for room while paused.
const POLL_PAUSED: Duration = Duration::from_millis(1);
/// Between commits, and before a failed one is tried again.
const COMMIT: Duration = Duration::from_millis(200);

/// What thread and reader share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    outbox: Mutex<Outbox>,
    /// Something is in the outbox.
    pub(super) ready: Notify,
    control: Mutex<Control>,
}

/// Bounded by the read-ahead: what is in it is undone.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) events: VecDeque<Event>,
    /// Why there will be no more.
    pub(super) error: Option<LogError>,
}

/// What the reader asks of the thread.
#[derive(Debug, Default)]
pub(super) struct Control {
    pub(super) finished: Vec<u32>,
    pub(super) stop: Option<Stop>,
}

/// How the thread ends.
#[derive(Debug)]
pub(super) enum Stop {
    /// As in a crash: nothing is committed any more.
    Abandon,
    /// With a last commit.
    Close {
        /// Where the result goes.
        result: oneshot::Sender<Result<(), LogError>>,
    },
}

impl Shared {
    pub(super) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much may be undone and not uncounted.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadAhead {
    pub(super) bytes: usize,
    pub(super) records: usize,
}

/// See the module.
pub(super) struct Follower {
    pub(super) shared: Arc<Shared>,
    settle: Arc<SettleQueue>,
    cursor: Cursor,
    group: Option<Group>,
    parts: Vec<Part>,
    /// Read and not delivered yet; what is left of one chunk.
    pending: VecDeque<Found>,
    /// To be put in the outbox together.
    events: VecDeque<Event>,
    /// Handed back once already.
    returned: BTreeSet<(u32, u64)>,
    settled: Vec<Settled>,
    limit: ReadAhead,
    undone: ReadAhead,
    paused: bool,
    committed_at: Option<Instant>,
    /// The last commit failed.
    troubled: bool,
}

/// One partition.
struct Part {
    progress: Progress,
    finished: bool,
    /// The offset last told to be caught up with.
    told: Option<u64>,
}

impl Follower {
    pub(super) fn new(
        (shared, settle): (Arc<Shared>, Arc<SettleQueue>),
        cursor: Cursor,
        group: Option<Group>,
        from: &[Checkpoint],
        limit: ReadAhead,
    ) -> Self {
        let part = |from| Part { progress: Progress::resume(from), finished: false, told: None };
        Self {
            shared,
            settle,
            cursor,
            group,
            parts: from.iter().map(part).collect(),
            pending: VecDeque::new(),
            events: VecDeque::new(),
            returned: BTreeSet::new(),
            settled: Vec::new(),
            limit,
            undone: ReadAhead { bytes: 0, records: 0 },
            paused: false,
            committed_at: None,
            troubled: false,
        }
    }

    /// Runs until stopped or until the log cannot be read.
    pub(super) fn run(mut self) {
        if let Err(error) = self.follow() {
            self.publish();
            self.shared.outbox().error = Some(error);
            self.shared.ready.notify_one();
            // What is out can still be settled and committed.
            while !self.serve() {
                self.commit_if_due();
                thread::park_timeout(POLL_IDLE);
            }
        }
    }

    fn follow(&mut self) -> Result<(), LogError> {
        let start = |(at, part): (usize, &Part)| Assigned {
            partition: at as u32,
            offset: part.progress.committed(),
            note: part.progress.note().clone(),
        };
        let assigned = self.parts.iter().enumerate().map(start).collect();
        self.events.push_back(Event::Assigned(assigned));
        let mut poll = POLL;
        while !self.serve() {
            self.commit_if_due();
            let mut moved = self.deliver();
            if self.pending.is_empty() && !self.paused {
                let read = self.read()?;
                if !read && self.pending.is_empty() {
                    self.tell_caught_up();
                }
                moved |= read || !self.pending.is_empty();
            }
            self.publish();
            if moved {
                poll = POLL;
            } else {
                thread::park_timeout(if self.paused { POLL_PAUSED } else { poll });
                poll = (poll * 2).min(POLL_IDLE);
            }
        }
        Ok(())
    }

    /// Takes what came back and what the reader asks for; true if it was the end.
    fn serve(&mut self) -> bool {
        let stop = {
            let mut control = self.shared.control();
            for partition in control.finished.drain(..) {
                if let Some(part) = self.parts.get_mut(partition as usize) {
                    part.finished = true;
                }
            }
            control.stop.take()
        };
        // Behind the wish to stop: what was settled before it is taken with it.
        self.take_settled();
        match stop {
            None => false,
            Some(Stop::Abandon) => true,
            Some(Stop::Close { result }) => {
                // Nobody waits any more if the deadline has passed.
                let _ = result.send(self.close());
                true
            }
        }
    }

    fn take_settled(&mut self) {
        let mut settled = std::mem::take(&mut self.settled);
        let notes = self.settle.drain(&mut settled);
        for (partition, (_, note)) in notes {
            if let Some(part) = self.parts.get_mut(partition as usize) {
                part.progress.set_note(note);
            }
        }
        for one in settled.drain(..) {
            if let Some(bytes) = one.freed {
                self.undone.bytes -= bytes as usize;
                self.undone.records -= 1;
            }
            let Some(part) = self.parts.get_mut(one.partition as usize) else {
                continue;
            };
            let place = (one.partition, one.offset);
            match one.end {
                End::Done => {
                    part.progress.settle(one.offset);
                    if !self.returned.is_empty() {
                        self.returned.remove(&place);
                    }
                }
                End::Returned { time_ns, payload } if !part.finished => {
                    self.deliver_again(place, time_ns, payload);
                }
                End::Untouched { time_ns, attempt, payload } if !part.finished => {
                    let token = self.token(payload.len());
                    let delivery = Delivery::new(place, time_ns, attempt, payload, token);
                    self.events.push_back(Event::Delivery(delivery));
                }
                // Unless it was begun, and dropped, before that.
                End::Untouched { .. } | End::Discarded if !self.returned.contains(&place) => {
                    part.progress.untouched(one.offset);
                }
                End::Returned { .. } | End::Untouched { .. } | End::Discarded | End::Uncounted => {}
            }
        }
        self.settled = settled;
        if self.undone.bytes <= self.limit.bytes / 4
            && self.undone.records <= self.limit.records / 4
        {
            self.paused = false;
        }
    }

    fn deliver_again(&mut self, place: (u32, u64), time_ns: u64, payload: Bytes) {
        let first = self.returned.insert(place);
        let token = self.token(payload.len());
        // Whoever dropped it may have begun to handle it.
        let attempt = 2;
        self.events.push_back(if first {
            Event::Delivery(Delivery::new(place, time_ns, attempt, payload, token))
        } else {
            Event::SetAside(Delivery::new(place, time_ns, attempt, payload, token.last_chance()))
        });
    }

    fn token(&mut self, bytes: usize) -> Token {
        self.undone.bytes += bytes;
        self.undone.records += 1;
        if self.undone.bytes >= self.limit.bytes || self.undone.records >= self.limit.records {
            self.paused = true;
        }
        Token::new(&self.settle, 0, bytes as u32)
    }

    /// Reads the next chunk; false if there is none now.
    fn read(&mut self) -> Result<bool, LogError> {
        let parts = &self.parts;
        let mut wanted = |partition: u32, offset: u64| {
            parts
                .get(partition as usize)
                .is_some_and(|part| !part.finished && !part.progress.is_settled(offset))
        };
        self.cursor.read(&mut wanted, &mut self.pending)
    }

    /// Delivers what was read as far as it is allowed; true if it was anything.
    fn deliver(&mut self) -> bool {
        let mut moved = false;
        while let Some(found) = self.pending.pop_front() {
            match found {
                Found::Record { partition, offset, time_ns, payload } => {
                    let part = &mut self.parts[partition as usize];
                    if part.finished {
                        continue;
                    }
                    let allowed = self.group.is_none() || part.progress.may_deliver(offset);
                    if self.paused || !allowed {
                        let back = Found::Record { partition, offset, time_ns, payload };
                        self.pending.push_front(back);
                        return moved;
                    }
                    let attempt = part.progress.deliver(offset);
                    let token = self.token(payload.len());
                    let place = (partition, offset);
                    let delivery = Delivery::new(place, time_ns, attempt, payload, token);
                    self.events.push_back(Event::Delivery(delivery));
                }
                Found::Missing { partition, from, to, reason } => {
                    self.miss(partition, from, to, reason);
                }
            }
            moved = true;
        }
        moved
    }

    fn miss(&mut self, partition: u32, from: u64, to: u64, reason: String) {
        let Some(part) = self.parts.get_mut(partition as usize) else {
            return;
        };
        let from = from.max(part.progress.committed());
        if part.finished || from >= to {
            return;
        }
        tracing::warn!(partition, from, to, reason, "records are missing");
        part.progress.pass_to(to);
        self.events.push_back(Event::Missing { partition, from, to, reason });
    }

    fn tell_caught_up(&mut self) {
        for (partition, (part, &next)) in self.parts.iter_mut().zip(self.cursor.next()).enumerate()
        {
            let offset = next.max(part.progress.committed());
            if !part.finished && part.told != Some(offset) {
                part.told = Some(offset);
                let partition = partition as u32;
                self.events.push_back(Event::CaughtUp { partition, offset });
            }
        }
    }

    fn publish(&mut self) {
        if !self.events.is_empty() {
            self.shared.outbox().events.append(&mut self.events);
            self.shared.ready.notify_one();
        }
    }

    fn commit_if_due(&mut self) {
        let waited = self.committed_at.is_none_or(|at| at.elapsed() >= COMMIT);
        let live = || self.parts.iter().filter(|part| !part.finished);
        let at_once = !self.troubled && live().any(|part| part.progress.wants_reservation());
        let due = waited && self.parts.iter().any(|part| part.progress.changed());
        let retry = waited && self.troubled;
        if self.group.is_none() || !(at_once || due || retry) {
            return;
        }
        let checkpoints = (0..).zip(self.parts.iter_mut().map(|part| part.progress.checkpoint()));
        let checkpoints: BTreeMap<u32, Checkpoint> = checkpoints.collect();
        let result = self.commit(&checkpoints, false);
        for (part, checkpoint) in self.parts.iter_mut().zip(checkpoints.values()) {
            match result {
                Ok(()) => part.progress.confirmed(checkpoint),
                Err(_) => part.progress.failed(),
            }
        }
        match &result {
            Ok(()) if self.troubled => tracing::info!("progress is kept again"),
            Err(error) if !self.troubled => {
                tracing::error!(%error, "progress cannot be kept; trying again");
            }
            _ => {}
        }
        self.troubled = result.is_err();
        self.committed_at = Some(Instant::now());
    }

    fn commit(
        &mut self,
        checkpoints: &BTreeMap<u32, Checkpoint>,
        last: bool,
    ) -> Result<(), LogError> {
        match &mut self.group {
            Some(group) => group.commit(checkpoints, last),
            None => Ok(()),
        }
    }

    fn close(&mut self) -> Result<(), LogError> {
        // Nothing is delivered from now on, not even what comes back.
        for part in &mut self.parts {
            part.finished = true;
        }
        self.publish();
        let left = std::mem::take(&mut self.shared.outbox().events);
        discard_unseen(left);
        self.take_settled();
        let last = (0..).zip(self.parts.iter().map(|part| part.progress.last_checkpoint()));
        self.commit(&last.collect(), true)
    }
}

/// Takes deliveries back that nobody saw.
pub(super) fn discard_unseen(events: impl IntoIterator<Item = Event>) {
    for event in events {
        // What is set aside stays undone as well: nobody has kept it.
        if let Event::Delivery(delivery) | Event::SetAside(delivery) = event {
            delivery.discard();
        }
    }
}
