//! Bodies put together from their parts. Whoever has the memory promises them their
//! room; patience is bounded by whoever asks.
//! A pure table of what is not whole yet; the deliveries stay with the pipeline.

use std::collections::HashMap;

use bytes::Bytes;
use umbra_record::pb;

use crate::{order::Ticket, tally::Skip};

#[cfg(test)]
mod tests;

/// A body of more parts is not waited for: each is held on its own.
const MAX_PARTS: u32 = 16_384;

/// Id of a request.
pub(crate) type Id = [u8; 16];

/// Requests whose bodies are not whole yet.
#[derive(Debug)]
pub(crate) struct Assembly {
    unfinished: HashMap<Id, Unfinished>,
    /// Of one body.
    max_body: usize,
    /// Still to come of those that were promised their room.
    promised: usize,
}

#[derive(Debug)]
struct Unfinished {
    ticket: Ticket,
    partition: u32,
    pieces: Vec<Bytes>,
    /// Of the next part.
    index: u32,
    /// How many there will be, if the request said so.
    expected: Option<u32>,
    bytes: usize,
    /// Of the whole body, as the request said.
    announced: usize,
    /// Bytes still to come for which there is room.
    promised: usize,
    /// It takes parts; one of announced length first waits for its room.
    begun: bool,
    /// The pipeline's own time when something of it came last.
    touched_ns: u64,
}

/// A body that is whole.
#[derive(Debug, PartialEq)]
pub(crate) struct Whole {
    pub ticket: Ticket,
    pub pieces: Vec<Bytes>,
    /// What the request's record could not say; empty if it could.
    pub trailers: Vec<pb::Header>,
    /// Taken out of body and trailers, beside what the request's record says.
    pub sealed: Vec<pb::Sealed>,
    /// The agent cut the body, which the request's record could not say: the length
    /// of the whole.
    pub cut: Option<u64>,
}

/// What a part led to.
#[derive(Debug, PartialEq)]
pub(crate) enum Joined {
    /// Nobody waits for it: its request is not sent, or was given up.
    NotWanted,
    /// It was there before.
    Again,
    /// Its request waits for more.
    Kept(Ticket),
    /// Its request is whole.
    Whole(Whole),
    /// Its request will never be whole.
    GivenUp(Ticket, Skip),
}

impl Assembly {
    pub(crate) fn new(max_body: usize) -> Self {
        Self { unfinished: HashMap::new(), max_body, promised: 0 }
    }

    /// Whether parts are to follow this request.
    pub(crate) fn concerns(request: &pb::Request) -> bool {
        request.parts > 0 || request.completeness == pb::Completeness::Open as i32
    }

    /// Takes a request whose parts are to come. An error: it can never fit.
    pub(crate) fn begin(
        &mut self,
        id: Id,
        ticket: Ticket,
        partition: u32,
        request: &pb::Request,
        now: u64,
    ) -> Result<(), Skip> {
        if self.unfinished.contains_key(&id) {
            // Ids are unique: a second one of this id is not from an agent.
            return Err(Skip::Incomplete);
        }
        let first = request.body.clone().filter(|body| !body.is_empty());
        let announced = announced(request);
        if announced > self.max_body {
            return Err(Skip::TooLarge);
        }
        let bytes = first.as_ref().map_or(0, Bytes::len);
        self.unfinished.insert(
            id,
            Unfinished {
                ticket,
                partition,
                pieces: first.into_iter().collect(),
                index: 0,
                expected: (request.parts > 0).then_some(request.parts),
                bytes,
                announced,
                promised: 0,
                begun: request.parts == 0,
                touched_ns: now,
            },
        );
        Ok(())
    }

    /// There is room for all of this body.
    pub(crate) fn promise(&mut self, id: &Id) {
        let Some(one) = self.unfinished.get_mut(id) else { return };
        self.promised -= one.promised;
        one.promised = one.announced.saturating_sub(one.bytes);
        one.begun = true;
        self.promised += one.promised;
    }

    /// Bytes still to come for which there is to be room.
    pub(crate) fn promised(&self) -> usize {
        self.promised
    }

    /// Whether such a body is in this partition.
    pub(crate) fn promises_in(&self, partition: u32) -> bool {
        self.promised > 0 && self.promising().any(|one| one == partition)
    }

    /// The partitions such bodies are in.
    pub(crate) fn promising(&self) -> impl Iterator<Item = u32> {
        self.unfinished.values().filter(|one| one.promised > 0).map(|one| one.partition)
    }

    /// What is unfinished in the partition could not go on until now.
    pub(crate) fn touch(&mut self, partition: u32, now: u64) {
        for one in self.unfinished.values_mut().filter(|one| one.partition == partition) {
            one.touched_ns = now;
        }
    }

    /// Takes a part.
    pub(crate) fn join(&mut self, id: &Id, part: pb::BodyPart, now: u64) -> Joined {
        let Some(one) = self.unfinished.get_mut(id) else { return Joined::NotWanted };
        let ticket = one.ticket;
        if part.index < one.index {
            return Joined::Again;
        }
        if part.index > one.index {
            // A hole: parts come in order or not at all.
            self.forget(id);
            return Joined::GivenUp(ticket, Skip::Incomplete);
        }
        one.index += 1;
        one.bytes += part.data.len();
        one.touched_ns = now;
        let awaited = one.promised.min(part.data.len());
        one.promised -= awaited;
        self.promised -= awaited;
        if !part.data.is_empty() {
            one.pieces.push(part.data);
        }
        let cut = part.aborted && part.completeness == pb::Completeness::Truncated as i32;
        if part.aborted && !cut {
            self.forget(id);
            return Joined::GivenUp(ticket, Skip::Aborted);
        }
        if cut || part.last || one.expected == Some(one.index) {
            let whole = self.forget(id).map(|one| Whole {
                ticket,
                pieces: one.pieces,
                trailers: part.trailers,
                sealed: part.sealed,
                cut: cut.then_some(part.body_length),
            });
            return whole.map_or(Joined::NotWanted, Joined::Whole);
        }
        if one.bytes > self.max_body || one.index >= MAX_PARTS {
            self.forget(id);
            return Joined::GivenUp(ticket, Skip::TooLarge);
        }
        Joined::Kept(ticket)
    }

    /// Gives up the request that has waited longest for a part.
    pub(crate) fn give_up_begun(&mut self) -> Option<Ticket> {
        let begun = self.unfinished.iter().filter(|(_, one)| one.begun);
        let (id, _) = begun.min_by_key(|(_, one)| one.touched_ns)?;
        let id = *id;
        self.forget(&id).map(|one| one.ticket)
    }

    /// Gives up whatever of the partition `impatient` says so.
    pub(crate) fn give_up(
        &mut self,
        partition: u32,
        impatient: impl Fn(Ticket) -> bool,
    ) -> Vec<Ticket> {
        let ids: Vec<Id> = self
            .unfinished
            .iter()
            .filter(|(_, one)| one.partition == partition && impatient(one.ticket))
            .map(|(id, _)| *id)
            .collect();
        ids.iter().filter_map(|id| self.forget(id)).map(|one| one.ticket).collect()
    }

    /// Whether anything of this partition waits for parts.
    pub(crate) fn waits_in(&self, partition: u32) -> bool {
        self.unfinished.values().any(|one| one.partition == partition)
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// The request is not wanted any more.
    pub(crate) fn drop_request(&mut self, id: &Id) {
        self.forget(id);
    }

    fn forget(&mut self, id: &Id) -> Option<Unfinished> {
        let one = self.unfinished.remove(id)?;
        self.promised -= one.promised;
        Some(one)
    }
}

/// Bytes of the body that are in the log, at most. One that the agent cut says how
/// long it was, not how much of it was kept; its parts are no larger than its
/// beginning.
fn announced(request: &pb::Request) -> usize {
    let whole = usize::try_from(request.body_length).unwrap_or(usize::MAX);
    if request.completeness != pb::Completeness::Truncated as i32 {
        return whole;
    }
    let piece = request.body.as_ref().map_or(0, Bytes::len);
    whole.min(piece.saturating_mul(request.parts as usize + 1))
}
