//! One assigned partition: what is out, what waits for a reservation, and whether
//! it rests. Pure bookkeeping: it talks to nobody.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use super::inbox::{Inbox, Turn};
use crate::{
    Delivery, Event,
    progress::{Checkpoint, Progress},
    settle::{End, SettleQueue, Settled, Token},
};

/// What a record costs beside its payload while it is read ahead.
const RECORD_OVERHEAD: usize = 128;

pub(super) struct Partition {
    pub(super) number: u32,
    /// Which assignment this is: what was settled under another is not ours.
    pub(super) epoch: u32,
    pub(super) progress: Progress,
    /// The next offset that is expected from the brokers.
    pub(super) fetched: u64,
    /// What counts towards the read-ahead: fetched, not settled, not uncounted.
    records: usize,
    bytes: usize,
    /// On offer or in its user's hands.
    out: usize,
    resting: bool,
    /// Its user wants no more of it.
    pub(super) finished: bool,
    /// Its user is to give it up.
    pub(super) revoking: bool,
    /// Waits until a checkpoint that reserves it is durable.
    held: VecDeque<Held>,
    /// Dropped undone once.
    returned: BTreeSet<u64>,
    /// The end has been reached behind all that is held.
    at_end: bool,
    /// Where the user was last told that he has caught up.
    told_end: Option<u64>,
}

struct Held {
    offset: u64,
    time_ns: u64,
    payload: Bytes,
}

/// High marks of one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    pub(super) bytes: usize,
    pub(super) records: usize,
}

/// Where deliveries go, and where they come back.
pub(super) struct Desk {
    pub(super) inbox: Arc<Inbox>,
    pub(super) queue: Arc<SettleQueue>,
    /// Without a group nothing needs to be durable before it is delivered.
    pub(super) grouped: bool,
}

impl Partition {
    pub(super) fn new(number: u32, epoch: u32, from: &Checkpoint) -> Self {
        Self {
            number,
            epoch,
            progress: Progress::resume(from),
            fetched: from.committed,
            records: 0,
            bytes: 0,
            out: 0,
            resting: false,
            finished: false,
            revoking: false,
            held: VecDeque::new(),
            returned: BTreeSet::new(),
            at_end: false,
            told_end: None,
        }
    }

    /// A record has arrived.
    pub(super) fn arrive(&mut self, offset: u64, time_ns: u64, payload: &[u8], desk: &Desk) {
        // After a new position some may come twice.
        if offset < self.fetched || self.finished || self.revoking {
            return;
        }
        if offset > self.fetched {
            let (partition, from) = (self.number, self.fetched);
            tracing::debug!(partition, from, to = offset, "no records at these offsets");
        }
        self.fetched = offset + 1;
        self.at_end = false;
        if self.progress.is_settled(offset) {
            return;
        }
        self.count(payload.len());
        self.held.push_back(Held { offset, time_ns, payload: Bytes::copy_from_slice(payload) });
        self.release(desk);
    }

    /// The brokers have no more for now.
    pub(super) fn reach_end(&mut self, desk: &Desk) {
        self.at_end = true;
        self.release(desk);
    }

    /// The next record to come is at `offset`; what was expected before it is gone.
    pub(super) fn jump(&mut self, offset: u64) {
        if offset < self.fetched {
            // Begun anew: what was settled means other records now.
            self.forget_held();
            let anew =
                Checkpoint { note: self.progress.note().clone(), ..Checkpoint::fresh(offset) };
            self.progress = Progress::resume(&anew);
        }
        self.fetched = offset;
        self.told_end = None;
    }

    /// Delivers what may be delivered.
    pub(super) fn release(&mut self, desk: &Desk) {
        if self.revoking {
            return;
        }
        while let Some(first) = self.held.front() {
            // It is the next record there is: what was jumped over does not exist, or
            // was settled by a predecessor.
            self.progress.pass_to(first.offset);
            if !self.progress.may_deliver(first.offset) {
                if desk.grouped {
                    return;
                }
                let checkpoint = self.progress.checkpoint();
                self.progress.confirmed(&checkpoint);
            }
            if let Some(Held { offset, time_ns, payload }) = self.held.pop_front() {
                let attempt = self.progress.deliver(offset);
                self.offer(offset, time_ns, attempt, payload, Turn::First, desk);
            }
        }
        if self.at_end && self.told_end != Some(self.fetched) {
            self.told_end = Some(self.fetched);
            let event = Event::CaughtUp { partition: self.number, offset: self.fetched };
            desk.inbox.tell(self.epoch, self.number, event);
        }
    }

    /// A delivery of this assignment has met its end.
    pub(super) fn settle(&mut self, settled: Settled, desk: &Desk) {
        let Settled { offset, end, freed, .. } = settled;
        if let Some(bytes) = freed {
            self.records = self.records.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(bytes as usize);
        }
        if !matches!(end, End::Uncounted) {
            self.out = self.out.saturating_sub(1);
        }
        match end {
            End::Done => {
                self.progress.settle(offset);
                self.returned.remove(&offset);
            }
            End::Returned { time_ns, payload, .. } if !self.revoking && !self.finished => {
                let turn = if self.returned.insert(offset) { Turn::Again } else { Turn::Aside };
                self.count(payload.len());
                self.offer(offset, time_ns, 2, payload, turn, desk);
            }
            End::Untouched { time_ns, attempt, payload } if !self.revoking && !self.finished => {
                let again = self.returned.contains(&offset);
                let turn = if again { Turn::Again } else { Turn::First };
                self.count(payload.len());
                self.offer(offset, time_ns, attempt, payload, turn, desk);
            }
            // Unless it was begun, and dropped, before that.
            End::Untouched { .. } | End::Discarded if !self.returned.contains(&offset) => {
                self.progress.untouched(offset);
            }
            End::Returned { .. } | End::Untouched { .. } | End::Discarded | End::Uncounted => {}
        }
    }

    /// Whether nothing is in its user's hands.
    pub(super) fn is_idle(&self) -> bool {
        self.out == 0
    }

    /// From now on it only waits for what its user holds.
    pub(super) fn give_up(&mut self) {
        self.revoking = true;
        self.forget_held();
    }

    /// Whether another record may be taken: none from the high mark on, until a quarter of
    /// it is left.
    pub(super) fn takes(&mut self, marks: Marks) -> bool {
        let part = if self.resting { 4 } else { 1 };
        let (bytes, records) = (marks.bytes / part, marks.records / part);
        self.resting = if self.resting {
            self.bytes > bytes || self.records > records
        } else {
            self.bytes >= bytes || self.records >= records
        };
        !(self.resting || self.finished || self.revoking)
    }

    /// Nothing of it waits any more: its user has finished it.
    pub(super) fn finish(&mut self) {
        self.finished = true;
        self.forget_held();
    }

    fn forget_held(&mut self) {
        for held in self.held.drain(..) {
            self.records = self.records.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(cost(held.payload.len()));
        }
    }

    fn count(&mut self, payload: usize) {
        self.records += 1;
        self.bytes += cost(payload);
    }

    fn offer(
        &mut self,
        offset: u64,
        time_ns: u64,
        attempt: u32,
        payload: Bytes,
        turn: Turn,
        desk: &Desk,
    ) {
        self.out += 1;
        let bytes = u32::try_from(cost(payload.len())).unwrap_or(u32::MAX);
        let mut token = Token::new(&desk.queue, self.epoch, bytes);
        if turn == Turn::Aside {
            token = token.last_chance();
        }
        let delivery = Delivery::new((self.number, offset), time_ns, attempt, payload, token);
        desk.inbox.deliver(self.epoch, delivery, turn);
    }
}

fn cost(payload: usize) -> usize {
    payload + RECORD_OVERHEAD
}

#[cfg(test)]
mod tests;
