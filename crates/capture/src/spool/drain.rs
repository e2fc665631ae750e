//! Moves the records of one spool to the log, in order: reads ahead of what is
//! durable within a bound, and removes what is durable. A record that the log
//! refuses for good is replaced by a Gap under its number, so that the log itself
//! tells of it, where it would have been.

use std::{collections::VecDeque, io};

use umbra_log::{Entry, Loss, Position, Rejected};
use umbra_record::{
    encode::{self, Envelope},
    pb,
};

use super::{
    frame::Frame,
    reader::Reader,
    store::{Place, Store},
};
use crate::lane::Queue;

/// Partition of the frame that says where reading goes on.
pub(super) const JUMP: u32 = u32::MAX;

/// Most records on their way at a time, whatever their size.
const MAX_FLYING: usize = 50_000;

/// One spool, being drained.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) store: Store,
    pub(super) agent: [u8; 16],
    reader: Reader,
    flying: VecDeque<Flying>,
    flying_bytes: usize,
    /// Records that are durable in the log.
    pub(super) drained: u64,
    /// Requests that the log refused, since they were last asked for.
    pub(super) refused: Vec<(&'static str, u64)>,
}

/// A record that was handed to the log.
#[derive(Debug)]
struct Flying {
    at: Position,
    bytes: usize,
    record: Numbered,
    /// Where the spool goes on behind it.
    end: Place,
    lost: Option<&'static str>,
}

/// What a Gap needs to know of a record.
#[derive(Debug, Clone, Copy)]
struct Numbered {
    partition: u32,
    lane: u32,
    sequence: u64,
    time_ns: u64,
    weight: u32,
}

/// What came of an attempt to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fed {
    /// The log takes no more now, or enough is on its way.
    Blocked,
    /// There is more.
    More,
    /// All is handed to the log.
    All,
}

impl Drain {
    pub(super) fn new(store: Store, agent: [u8; 16]) -> Self {
        let reader = Reader::new(store.cursor());
        Self {
            store,
            agent,
            reader,
            flying: VecDeque::new(),
            flying_bytes: 0,
            drained: 0,
            refused: Vec::new(),
        }
    }

    /// Hands about `budget` bytes to the log, of which `window` at a time.
    pub(super) fn feed(
        &mut self,
        log: &dyn Queue,
        window: usize,
        budget: usize,
    ) -> io::Result<Fed> {
        let mut fed = 0;
        while fed < budget {
            if self.flying_bytes >= window || self.flying.len() >= MAX_FLYING {
                return Ok(Fed::Blocked);
            }
            let Some(len) = self.reader.find(&self.store)? else { return Ok(Fed::All) };
            let Some(frame) = self.reader.frame() else { return Ok(Fed::All) };
            if let Some(to) = jump(&frame) {
                self.reader.jump(to);
                continue;
            }
            let record = Numbered::of(&frame);
            let taken = match log.enqueue(&frame.entry()) {
                Err(Rejected::TooLarge { .. }) => {
                    self.refused.push(("too_large", record.weight.into()));
                    tell(log, &self.agent, record, "too_large")
                }
                taken => taken,
            };
            let Ok(at) = taken else { return Ok(Fed::Blocked) };
            self.reader.pass(len);
            self.flying_bytes += len;
            fed += len;
            let end = self.reader.place();
            self.flying.push_back(Flying { at, bytes: len, record, end, lost: None });
        }
        Ok(Fed::More)
    }

    /// Learns what is durable, up to a watermark for each partition, and what was
    /// lost. Says whether anything changed.
    pub(super) fn settle(&mut self, log: &dyn Queue, durable: &[u64], losses: &[Loss]) -> bool {
        for loss in losses {
            let run = loss.first..=loss.last;
            for flying in &mut self.flying {
                if flying.at.partition == loss.partition && run.contains(&flying.at.number) {
                    flying.lost = Some(loss.reason);
                }
            }
        }
        let before = self.flying.len();
        let mut to = None;
        while let Some(first) = self.flying.front_mut() {
            if let Some(reason) = first.lost {
                let Ok(at) = tell(log, &self.agent, first.record, reason) else { break };
                self.refused.push((reason, first.record.weight.into()));
                (first.at, first.lost) = (at, None);
                break;
            }
            let durable = durable.get(first.at.partition as usize).copied().unwrap_or(0);
            if first.at.number > durable {
                break;
            }
            self.flying_bytes -= first.bytes;
            self.drained += 1;
            to = Some(first.end);
            self.flying.pop_front();
        }
        if let Some(to) = to
            && let Err(error) = self.store.drained(to)
        {
            tracing::warn!(%error, dir = %self.store.dir().display(), "a drained spool cannot be removed");
        }
        before != self.flying.len()
    }

    /// Handed to the log and not durable yet.
    pub(super) fn flying(&self) -> usize {
        self.flying.len()
    }

    /// Whether this position was given to one of its records.
    pub(super) fn has(&self, at: Position) -> bool {
        self.flying.iter().any(|flying| flying.at == at)
    }

    /// Forgets what is on its way and begins where the store does.
    pub(super) fn restart(&mut self) {
        self.flying.clear();
        self.flying_bytes = 0;
        self.reader.jump(self.store.cursor());
    }

    /// Where reading goes on.
    pub(super) fn place(&self) -> Place {
        self.reader.place()
    }

    /// See [`Reader::take_damaged`].
    pub(super) fn take_damaged(&mut self) -> u64 {
        self.reader.take_damaged()
    }

    /// See [`Reader::torn`].
    pub(super) fn torn(&self) -> u64 {
        self.reader.torn()
    }
}

impl Numbered {
    fn of(frame: &Frame<'_>) -> Self {
        Self {
            partition: frame.partition,
            lane: frame.lane,
            sequence: frame.sequence,
            time_ns: frame.time_ns,
            weight: frame.weight,
        }
    }
}

/// The entry that says where reading goes on: its payload.
pub(super) fn jump_to(place: Place) -> [u8; 16] {
    let mut payload = [0; 16];
    payload[..8].copy_from_slice(&place.segment.to_le_bytes());
    payload[8..].copy_from_slice(&place.offset.to_le_bytes());
    payload
}

fn jump(frame: &Frame<'_>) -> Option<Place> {
    let payload: [u8; 16] = frame.payload.try_into().ok().filter(|_| frame.partition == JUMP)?;
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| payload[at + n]));
    Some(Place { segment: number(0), offset: number(8) })
}

/// Puts a Gap where a record would have been.
fn tell(
    log: &dyn Queue,
    agent: &[u8; 16],
    record: Numbered,
    reason: &str,
) -> Result<Position, Rejected> {
    let gap = pb::Gap {
        requests: record.weight.into(),
        reason: reason.to_owned(),
        from_ns: record.time_ns,
        to_ns: record.time_ns,
        ranges: Vec::new(),
    };
    let mut payload = Vec::new();
    encode::gap(&gap, &mut payload);
    let (agent, lane, sequence) = (*agent, record.lane, record.sequence);
    Envelope { agent, lane, key: &[], sequence }.encode(&mut payload);
    log.enqueue(&Entry {
        partition: record.partition,
        time_ns: record.time_ns,
        key: &[],
        headers: &[("umbra-kind", b"gap")],
        payload: &payload,
        weight: 0,
    })
}
