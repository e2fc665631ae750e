//! How much of the log a pipeline holds in memory. What it keeps account of itself
//! is uncounted at the reader, so that the parts of a body always come, whatever
//! else waits; all other requests count at the reader, whose own bound is small.
//!
//! A body in parts begins only when there is room for all of it. Until then the
//! records behind its request stay where they are, in their order: the partition is
//! *parked*, and since they count, the reader soon stops fetching it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use umbra_log::{Delivery, Event, Log};

use super::{Flight, Pipeline, Stage};
use crate::{
    assembly::Id,
    config::{Config, Pace},
    error::ReplayError,
    order::Ticket,
    tally::Skip,
};

/// Requests held at most, per target, beside those that count at the reader.
pub(crate) const READ_AHEAD_RECORDS: usize = 16_384;

/// The same of what is sent as fast as the target answers: what waits there may as well
/// wait in the log. What is sent at recorded times is put in order meanwhile.
const FEW_RECORDS: usize = 2048;

/// With no more than this part of the allowed requests in flight it is order that holds them
/// up: others may be found further on.
const STARVED: usize = 8;

/// Bodies that block each other for so long do so for good.
const STUCK: Duration = Duration::from_secs(1);

/// The bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Of what is held as a rule, and of each body.
    pub(super) bound: usize,
    /// Of what is held when bodies would block each other otherwise.
    pub(super) most: usize,
    /// Of the reader: what is held beside that.
    pub reader_bytes: usize,
    pub reader_records: usize,
    /// Of a connection's line, which loses its order above it.
    pub(super) line_bytes: usize,
    pub(super) line_requests: usize,
    /// Whether each partition rests by itself at the reader.
    pub(super) divided: bool,
    /// Of what is held as a rule, in requests.
    few: usize,
}

impl Room {
    pub(crate) fn new(log: &Log, config: &Config, partitions: usize) -> Self {
        let read_ahead_bytes = config.read_ahead_bytes;
        let (shares, few, reader_records) = match (log, &config.pace) {
            (Log::File(_), Pace::Max) => (1, FEW_RECORDS, FEW_RECORDS / 2),
            (Log::File(_), _) => (1, READ_AHEAD_RECORDS, READ_AHEAD_RECORDS / 4),
            (Log::Kafka(_), Pace::Max) => (partitions.max(1), FEW_RECORDS, READ_AHEAD_RECORDS / 4),
            (Log::Kafka(_), _) => (partitions.max(1), READ_AHEAD_RECORDS, READ_AHEAD_RECORDS / 4),
        };
        Self {
            bound: read_ahead_bytes,
            most: read_ahead_bytes.saturating_add(read_ahead_bytes / 2),
            reader_bytes: read_ahead_bytes / 4,
            reader_records,
            line_bytes: read_ahead_bytes,
            line_requests: READ_AHEAD_RECORDS / shares / 2,
            divided: shares > 1,
            few,
        }
    }

    /// Whether fewer requests are held than may be.
    fn is_lean(&self) -> bool {
        self.few < READ_AHEAD_RECORDS
    }
}

/// A partition whose next body has no room yet.
#[derive(Debug)]
pub(super) struct Parked {
    /// The request of that body.
    ticket: Ticket,
    id: Id,
    start_ns: u64,
    /// What the body takes, with its request.
    bytes: usize,
    /// What came behind it. Bounded by the reader: these count.
    events: VecDeque<Event>,
}

/// What a pipeline holds beside its requests, and how much.
#[derive(Debug)]
pub(super) struct Held {
    /// Bytes that are uncounted at the reader.
    pub(super) kept: usize,
    /// Requests that count at the reader until there is room for more here, and some that
    /// have left.
    counted: VecDeque<Ticket>,
    /// How many of them have not.
    alive: usize,
    /// By partition.
    parked: BTreeMap<u32, Parked>,
    /// There may be room for a parked one.
    pub(super) changed: bool,
    /// The one partition whose bodies may begin above the bound, until the last that
    /// did so has left.
    overdraft: Option<(u32, Ticket)>,
    /// When the reader had anything last.
    heard: Instant,
    /// Since when bodies block each other.
    stuck: Option<Instant>,
}

impl Held {
    pub(super) fn new() -> Self {
        Self {
            kept: 0,
            counted: VecDeque::new(),
            alive: 0,
            parked: BTreeMap::new(),
            changed: false,
            overdraft: None,
            heard: Instant::now(),
            stuck: None,
        }
    }

    /// Forgets a request that was held.
    pub(super) fn left(&mut self, ticket: Ticket, flight: &Flight) {
        self.kept -= flight.kept;
        self.alive -= usize::from(flight.counted);
        self.changed = true;
        if self.overdraft.is_some_and(|(_, last)| last == ticket) {
            self.overdraft = None;
        }
    }

    /// Gives back what is parked, undone.
    pub(super) fn drop_parked(&mut self) {
        std::mem::take(&mut self.parked).into_values().for_each(Parked::leave);
    }
}

impl Pipeline {
    // --- taking ---

    /// Gives the event back unless its partition is parked.
    pub(super) fn pass_by_parked(&mut self, event: Event) -> Option<Event> {
        self.held.heard = Instant::now();
        let number = match &event {
            Event::Delivery(delivery) => delivery.partition,
            Event::CaughtUp { partition, .. } | Event::Missing { partition, .. } => *partition,
            Event::SetAside(_) | Event::Assigned(_) | Event::Revoked(_) => return Some(event),
        };
        let Some(parked) = self.held.parked.get_mut(&number) else { return Some(event) };
        self.held_bytes += payload(&event);
        parked.events.push_back(event);
        None
    }

    /// Keeps account of a whole request if there is room, so that the reader does not.
    pub(super) fn keep_request(&mut self, ticket: Ticket, number: u32) {
        let awaited =
            if self.room.divided { self.assembly.promises_in(number) } else { self.promised() > 0 };
        // Beside a body whose parts are on their way nothing may stop the reader; what
        // is parked must find room some time.
        let limit = match (awaited, self.held.parked.is_empty()) {
            (true, _) => self.room.most,
            (false, true) => self.room.bound,
            (false, false) => return,
        };
        let bytes = self.flights.get(&ticket).map_or(0, |flight| flight.bytes());
        let taken = self.held.kept + self.promised();
        if taken + bytes <= limit && self.kept_requests() < self.most_requests() {
            self.keep_deliveries(ticket);
        } else if self.room.is_lean()
            && let Some(flight) = self.flights.get_mut(&ticket)
        {
            flight.counted = true;
            self.held.counted.push_back(ticket);
            self.held.alive += 1;
        }
    }

    /// Takes requests over that count at the reader, as others have left: it stops until
    /// most of those have.
    pub(super) fn keep_more(&mut self) {
        while let Some(&ticket) = self.held.counted.front()
            && self.held.parked.is_empty()
        {
            let counted = self.flights.get(&ticket).filter(|flight| flight.counted);
            if let Some(bytes) = counted.map(|flight| flight.bytes()) {
                if self.kept_requests() >= self.most_requests() || !self.has_room_for(bytes) {
                    break;
                }
                self.keep_deliveries(ticket);
            }
            self.held.counted.pop_front();
        }
        // Those behind one that stays for long.
        if self.held.counted.len() > 2 * self.held.alive + FEW_RECORDS {
            let flights = &self.flights;
            let counted = |ticket: &Ticket| flights.get(ticket).is_some_and(|one| one.counted);
            self.held.counted.retain(counted);
        }
    }

    fn kept_requests(&self) -> usize {
        self.flights.len() - self.held.alive
    }

    /// Requests of which account is kept here, at most.
    fn most_requests(&self) -> usize {
        let idle = self.ready.is_empty() && self.in_flight <= self.target.concurrency / STARVED;
        let starved = idle && !self.is_held();
        // Nor may anything stop the reader while it brings the parts of a body.
        if starved || self.promised() > 0 { READ_AHEAD_RECORDS } else { self.room.few }
    }

    /// Takes the deliveries of a request off the reader's account.
    pub(super) fn keep_deliveries(&mut self, ticket: Ticket) {
        let Some(flight) = self.flights.get_mut(&ticket) else { return };
        flight.deliveries.iter_mut().for_each(Delivery::uncount);
        self.held.alive -= usize::from(std::mem::take(&mut flight.counted));
        let bytes = flight.bytes();
        self.held.kept += bytes - flight.kept;
        flight.kept = bytes;
    }

    /// Gives up on bodies of unknown length while they take more than there is.
    pub(super) fn relieve(&mut self) {
        // A record is a little more than what was announced of its body.
        let most = self.room.most + self.room.most / 16;
        while self.held.kept + self.promised() > most {
            let Some(ticket) = self.assembly.give_up_begun() else { break };
            self.skip(ticket, Skip::TooLarge);
        }
    }

    // --- parking ---

    /// The request is there, and its body is to begin when there is room.
    pub(super) fn park(&mut self, ticket: Ticket, id: Id) {
        let Some(flight) = self.flights.get(&ticket) else { return };
        let announced = usize::try_from(flight.request.body_length).unwrap_or(usize::MAX);
        let (start_ns, number, _) = flight.place;
        let bytes = announced.max(flight.bytes());
        let parked = Parked { ticket, id, start_ns, bytes, events: VecDeque::new() };
        self.held.parked.insert(number, parked);
        self.held.changed = true;
    }

    /// Goes on with parked partitions as far as there is room.
    pub(super) async fn unpark(&mut self) -> Result<(), ReplayError> {
        while std::mem::take(&mut self.held.changed) {
            while let Some(number) = self.next_to_go_on() {
                Box::pin(self.go_on_with(number)).await?;
            }
        }
        Ok(())
    }

    async fn go_on_with(&mut self, number: u32) -> Result<(), ReplayError> {
        let Some(mut parked) = self.held.parked.remove(&number) else { return Ok(()) };
        if self.flights.contains_key(&parked.ticket) {
            self.keep_deliveries(parked.ticket);
            self.assembly.promise(&parked.id);
        }
        let now = self.now();
        self.assembly.touch(number, now);
        while let Some(event) = parked.events.pop_front() {
            self.held_bytes -= payload(&event);
            self.meet(event).await?;
            if let Some(again) = self.held.parked.get_mut(&number) {
                again.events = parked.events;
                break;
            }
        }
        Ok(())
    }

    /// The parked partition that may go on now. Those come first in which a body is
    /// unfinished: its parts are behind the one that waits.
    fn next_to_go_on(&mut self) -> Option<u32> {
        let mut first: Option<(u64, u32)> = None;
        let mut begun: Vec<(u64, u32)> = Vec::new();
        for (number, parked) in &self.held.parked {
            if !self.flights.contains_key(&parked.ticket) {
                return Some(*number);
            }
            let place = (parked.start_ns, *number);
            if self.assembly.promises_in(*number) {
                begun.push(place);
            } else {
                first = Some(first.map_or(place, |first| first.min(place)));
            }
        }
        begun.sort_unstable();
        let begun = begun.into_iter().map(|(_, number)| (number, true));
        let first = first.map(|(_, number)| (number, false));
        begun.chain(first).find(|(number, begun)| self.may_begin(*number, *begun)).map(|one| one.0)
    }

    /// Whether there is room for the body a partition is parked for.
    fn may_begin(&mut self, number: u32, begun: bool) -> bool {
        let Some(parked) = self.held.parked.get(&number) else { return false };
        let after = (self.held.kept + self.promised()).saturating_add(parked.bytes);
        // An embedded log is read in one order: what comes between is in memory
        // anyway. Of the partitions of Kafka one after the other begins, so that the
        // one that has begun finds room for the bodies between its parts.
        let alone = begun || self.promised() == 0;
        let limit = match (self.room.divided, alone) {
            (false, _) => self.room.most,
            (true, true) => self.room.bound,
            (true, false) => self.room.bound / 2,
        };
        if after <= limit {
            return true;
        }
        // What is to go before everything that waits does not wait for it.
        let ticket = parked.ticket;
        let earliest = self.merge.first().is_none_or(|((at, ..), _)| parked.start_ns <= at);
        let free = self.held.overdraft.is_none_or(|(holder, _)| holder == number);
        let may = alone && earliest && free && after <= self.room.most;
        if may {
            self.held.overdraft = Some((number, ticket));
        }
        may
    }

    /// Whether so much more can be held as a rule.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        self.held.kept + self.promised() + bytes <= self.room.bound
    }

    fn promised(&self) -> usize {
        self.assembly.promised()
    }

    // --- stalls ---

    /// Bodies that can neither be finished nor begun because of each other: one that
    /// has not begun is given up, so that its partition moves on.
    pub(super) fn check_parked(&mut self) {
        self.held.changed |= !self.held.parked.is_empty();
        if self.is_held() || !self.is_stuck_for_room() {
            self.held.stuck = None;
            return;
        }
        if self.held.stuck.get_or_insert_with(Instant::now).elapsed() < STUCK {
            return;
        }
        self.held.stuck = None;
        let parked = self.held.parked.iter();
        let one = parked
            .min_by_key(|(number, parked)| (!self.assembly.promises_in(**number), parked.start_ns));
        if let Some((_, &Parked { ticket, id, .. })) = one {
            self.assembly.drop_request(&id);
            self.skip(ticket, Skip::TooLarge);
        }
    }

    fn is_stuck_for_room(&self) -> bool {
        if self.held.parked.is_empty() {
            return false;
        }
        let others = |kept: bool| {
            let mut others = self.flights.values().filter(|one| one.stage != Stage::Assembling);
            others.any(|one| !kept || one.kept > 0)
        };
        if self.room.divided {
            // What is kept and whole will leave, and parts of a partition that is not
            // parked will come.
            let parked = &self.held.parked;
            !others(true) && self.assembly.promising().all(|number| parked.contains_key(&number))
        } else {
            let counted = self.held_bytes - self.held.kept;
            let paused = counted > self.room.reader_bytes / 4;
            !others(false) && paused && self.held.heard.elapsed() >= STUCK
        }
    }

    /// The partition is somebody else's.
    pub(super) fn forget_parked(&mut self, number: u32) {
        if let Some(parked) = self.held.parked.remove(&number) {
            self.held_bytes -= parked.events.iter().map(payload).sum::<usize>();
            parked.leave();
        }
    }
}

impl Parked {
    /// Nothing of it has been looked at.
    fn leave(self) {
        for event in self.events {
            if let Event::Delivery(delivery) = event {
                delivery.untouched();
            }
        }
    }
}

fn payload(event: &Event) -> usize {
    match event {
        Event::Delivery(delivery) => delivery.payload.len(),
        _ => 0,
    }
}
