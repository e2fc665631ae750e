//! What travels with a partition from reader to reader: what became of its requests so
//! far, and which records of which agents have been met, so that neither counts nor
//! the knowledge of repetitions die with a process. Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use bytes::Bytes;
use prost::Message;
use umbra_log::MAX_NOTE;
use umbra_record::pb;

use crate::{job::entry::decode_note, table::Table};

#[cfg(test)]
mod tests;

/// Records that are met and not settled, as far as is remembered which they are.
const MOST_MET: usize = 65_536;

/// Lanes that are remembered for a successor.
const MOST_LANES: usize = 1024;

/// A lane of an agent.
type Lane = ([u8; 16], u32);

/// What is noted of one partition.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// By whoever read it before.
    inherited: pb::Counts,
    captured_ns: u64,
    /// The last unbroken run of each lane, of records below which all is settled.
    lanes: Table<Lane, Run>,
    /// Records met, in the order of their offsets, until all before them is settled.
    met: VecDeque<Met>,
    /// For telling which lanes were met lately.
    clock: u64,
    /// What was noted last.
    noted: pb::PartitionNote,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    first: u64,
    last: u64,
    at: u64,
}

#[derive(Debug, Clone, Copy)]
struct Met {
    offset: u64,
    lane: Lane,
    sequence: u64,
}

impl Ledger {
    /// Takes over what the reader before has noted. `own`: what this process has
    /// counted in the partition before, which is in the note too. Returns the lanes
    /// that have been met, with their first and last sequences.
    pub(crate) fn inherit(&mut self, note: &[u8], own: &pb::Counts) -> Vec<(Lane, u64, u64)> {
        // A note of another version is none.
        let note = decode_note(note).unwrap_or_default();
        let mut counts = note.counts.clone().unwrap_or_default();
        subtract(&mut counts, own);
        *self = Self { inherited: counts, captured_ns: note.captured_ns, ..Self::default() };
        for seen in note.lanes.iter().rev() {
            let Ok(agent) = <[u8; 16]>::try_from(&*seen.agent) else { continue };
            self.clock += 1;
            let run = Run { first: seen.first, last: seen.sequence, at: self.clock };
            self.lanes.insert((agent, seen.lane), run);
        }
        self.noted = note;
        self.lanes.iter().map(|(lane, run)| (*lane, run.first, run.last)).collect()
    }

    /// What others have counted.
    pub(crate) fn inherited(&self) -> &pb::Counts {
        &self.inherited
    }

    /// A record was met for the first time.
    pub(crate) fn meet(&mut self, offset: u64, agent: [u8; 16], lane: u32, sequence: u64) {
        // What comes again was met before.
        if sequence == 0 || self.met.back().is_some_and(|last| last.offset >= offset) {
            return;
        }
        if self.met.len() >= MOST_MET {
            // What comes again of them is not recognised by a successor.
            self.met.clear();
        }
        self.met.push_back(Met { offset, lane: (agent, lane), sequence });
    }

    /// A request that was captured then is settled.
    pub(crate) fn settled(&mut self, captured_ns: u64) {
        self.captured_ns = self.captured_ns.max(captured_ns);
    }

    /// Everything below this offset is settled.
    pub(crate) fn settled_to(&mut self, offset: u64) {
        while let Some(met) = self.met.front().filter(|met| met.offset < offset).copied() {
            self.met.pop_front();
            self.clock += 1;
            let at = self.clock;
            if self.lanes.len() >= MOST_LANES && !self.lanes.contains_key(&met.lane) {
                let oldest = self.lanes.iter().min_by_key(|(_, run)| run.at);
                if let Some(lane) = oldest.map(|(lane, _)| *lane) {
                    self.lanes.remove(&lane);
                }
            }
            let fresh = Run { first: met.sequence, last: met.sequence, at };
            let run = self.lanes.entry(met.lane).or_insert(fresh);
            run.at = at;
            if met.sequence > run.last.saturating_add(1) {
                *run = fresh;
            } else if Some(met.sequence) == run.last.checked_add(1) {
                run.last = met.sequence;
            }
        }
    }

    /// What was met and is not settled is somebody else's from now on, who has to meet it
    /// for the first time.
    pub(crate) fn hand_over(&mut self) {
        self.met.clear();
    }

    /// The note for a successor, unless it is the one that was made last. `own`: what
    /// this process has counted of settled requests.
    pub(crate) fn note(&mut self, own: &pb::Counts) -> Option<Bytes> {
        let mut counts = self.inherited.clone();
        add(&mut counts, own);
        let captured_ns = self.captured_ns;
        let mut note = pb::PartitionNote { counts: Some(counts), captured_ns, lanes: Vec::new() };
        let mut room = MAX_NOTE.checked_sub(note.encoded_len())?;
        let mut lanes: Vec<(&Lane, &Run)> = self.lanes.iter().collect();
        lanes.sort_unstable_by_key(|(_, run)| std::cmp::Reverse(run.at));
        for ((agent, lane), run) in lanes {
            let agent = Bytes::copy_from_slice(agent);
            let seen = pb::LaneSeen { agent, lane: *lane, sequence: run.last, first: run.first };
            // Its key and length take two bytes.
            let Some(left) = room.checked_sub(seen.encoded_len() + 2) else { break };
            room = left;
            note.lanes.push(seen);
        }
        if note == self.noted {
            return None;
        }
        let bytes = note.encode_to_vec().into();
        self.noted = note;
        Some(bytes)
    }
}

/// Adds counts up.
pub(crate) fn add(sum: &mut pb::Counts, more: &pb::Counts) {
    each(sum, more, |sum, more| *sum = sum.saturating_add(more));
}

fn subtract(sum: &mut pb::Counts, less: &pb::Counts) {
    each(sum, less, |sum, less| *sum = sum.saturating_sub(less));
}

fn each(sum: &mut pb::Counts, other: &pb::Counts, change: impl Fn(&mut u64, u64)) {
    change(&mut sum.read, other.read);
    change(&mut sum.selected, other.selected);
    change(&mut sum.sent, other.sent);
    change(&mut sum.answered, other.answered);
    change(&mut sum.dead, other.dead);
    for (mine, theirs) in [
        (&mut sum.failed, &other.failed),
        (&mut sum.skipped, &other.skipped),
        (&mut sum.status, &other.status),
    ] {
        let mut all: BTreeMap<String, u64> = mem::take(mine).into_iter().collect();
        for (key, n) in theirs {
            change(all.entry(key.clone()).or_default(), *n);
        }
        *mine = all.into_iter().filter(|(_, n)| *n > 0).collect();
    }
}
