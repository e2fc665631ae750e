//! Requests that are ready, in order of capture over all partitions. Under a rate
//! the next one is only known when every partition has shown what it has; one that
//! is at its end, or silent for a while, is not waited for. Pure.

use std::collections::BTreeMap;

use crate::{order::Ticket, table::Table};

#[cfg(test)]
mod tests;

/// A partition that has delivered nothing for so long is not waited for.
pub(crate) const SILENT_NS: u64 = 200_000_000;

/// Where a request stands: captured, partition, offset.
pub(crate) type Place = (u64, u32, u64);

/// What is ready, and which partitions may still come before it.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    ready: BTreeMap<Place, Ticket>,
    partitions: Table<u32, Held>,
}

#[derive(Debug)]
struct Held {
    ready: usize,
    /// Nothing will come from it before this time passes without a record.
    heard_ns: u64,
    /// There is nothing more to read in it now.
    at_end: bool,
}

impl Merge {
    /// The partition is read from now on.
    pub(crate) fn hold(&mut self, partition: u32, now: u64) {
        self.partitions.entry(partition).or_insert(Held { ready: 0, heard_ns: now, at_end: false });
    }

    /// The partition is not read any more; what is ready of it stays.
    pub(crate) fn release(&mut self, partition: u32) {
        self.partitions.remove(&partition);
    }

    /// A record of the partition was read.
    pub(crate) fn heard(&mut self, partition: u32, now: u64) {
        if let Some(held) = self.partitions.get_mut(&partition) {
            held.heard_ns = now;
            held.at_end = false;
        }
    }

    /// There is nothing more to read in the partition now.
    pub(crate) fn at_end(&mut self, partition: u32) {
        if let Some(held) = self.partitions.get_mut(&partition) {
            held.at_end = true;
        }
    }

    pub(crate) fn insert(&mut self, place: Place, ticket: Ticket) {
        self.ready.insert(place, ticket);
        if let Some(held) = self.partitions.get_mut(&place.1) {
            held.ready += 1;
        }
    }

    /// How many are ready.
    pub(crate) fn len(&self) -> usize {
        self.ready.len()
    }

    /// The earliest of what is ready.
    pub(crate) fn first(&self) -> Option<(Place, Ticket)> {
        self.ready.first_key_value().map(|(place, ticket)| (*place, *ticket))
    }

    pub(crate) fn remove(&mut self, place: &Place) -> Option<Ticket> {
        let ticket = self.ready.remove(place)?;
        if let Some(held) = self.partitions.get_mut(&place.1) {
            held.ready = held.ready.saturating_sub(1);
        }
        Some(ticket)
    }

    /// When it is sure that nothing earlier than the first is still to come: now
    /// (`None`), or at that time unless something is heard before.
    pub(crate) fn sure_at(&self, now: u64) -> Option<u64> {
        self.partitions
            .values()
            .filter(|held| held.ready == 0 && !held.at_end)
            .map(|held| held.heard_ns.saturating_add(SILENT_NS))
            .filter(|at| *at > now)
            .max()
    }
}
