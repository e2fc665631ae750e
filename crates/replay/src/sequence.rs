//! Records met a second time: an agent whose log was in trouble may have written
//! some twice. Told by (agent, lane, partition, sequence), within bounded memory.

use std::collections::BTreeMap;

use crate::table::Table;

#[cfg(test)]
mod tests;

/// Runs of sequences kept per lane; a lane with more holes forgets the oldest hole.
const MAX_RUNS: usize = 64;

/// Lanes remembered; beyond, the whole memory begins anew.
const MAX_LANES: usize = 65_536;

/// A lane in a partition.
type Lane = ([u8; 16], u32, u32);

/// Which sequences of each lane have been met.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    lanes: Table<Lane, Runs>,
    /// Per partition, the offset up to which records were delivered: what comes
    /// below it comes again by the log's doing and is no duplicate of the agent's.
    delivered: Table<u32, u64>,
}

/// First to last sequence, both included; neighbours are merged.
type Runs = BTreeMap<u64, u64>;

impl Seen {
    /// Reading of the partition begins at this offset (again).
    pub(crate) fn restart(&mut self, partition: u32, offset: u64) {
        self.lanes.retain(|(_, _, at), _| *at != partition);
        self.delivered.insert(partition, offset);
    }

    /// These sequences of a lane in a partition were met by whoever read it before.
    pub(crate) fn met_before(&mut self, lane: ([u8; 16], u32, u32), first: u64, last: u64) {
        if first > 0 && first <= last && self.lanes.len() < MAX_LANES {
            self.lanes.entry(lane).or_default().insert(first, last);
        }
    }

    /// Whether a record at this place is met for the first time. Sequence 0 stands
    /// for none.
    pub(crate) fn is_new(
        &mut self,
        agent: [u8; 16],
        lane: u32,
        (partition, offset): (u32, u64),
        sequence: u64,
    ) -> bool {
        let delivered = self.delivered.entry(partition).or_default();
        let again = offset < *delivered;
        *delivered = (*delivered).max(offset + 1);
        if again || sequence == 0 {
            return true;
        }
        if self.lanes.len() >= MAX_LANES && !self.lanes.contains_key(&(agent, lane, partition)) {
            self.lanes.clear();
        }
        insert(self.lanes.entry((agent, lane, partition)).or_default(), sequence)
    }
}

/// Adds a sequence to the runs; `false` if it was in one.
fn insert(runs: &mut Runs, sequence: u64) -> bool {
    let before = runs.range(..=sequence).next_back().map(|(first, last)| (*first, *last));
    if before.is_some_and(|(_, last)| sequence <= last) {
        return false;
    }
    let joins_next = sequence.checked_add(1).and_then(|next| runs.remove(&next));
    let last = joins_next.unwrap_or(sequence);
    match before {
        Some((first, end)) if end + 1 == sequence => runs.insert(first, last),
        _ => runs.insert(sequence, last),
    };
    if runs.len() > MAX_RUNS {
        // The oldest hole counts as met from now on.
        if let (Some((first, _)), Some((_, last))) = (runs.pop_first(), runs.pop_first()) {
            runs.insert(first, last);
        }
    }
    true
}
