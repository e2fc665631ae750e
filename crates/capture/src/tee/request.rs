//! The tee of a connection's requests, one after the other. Whatever ends a
//! request, even the drop of its connection, gives it to the log or counts it.

use std::{ops::RangeInclusive, rc::Rc, sync::Arc, time::Instant};

use bytes::Bytes;
use http::HeaderMap;
use umbra_record::pb::Completeness;

use super::body::{Body, BodyCopy, Copied};
use crate::{
    clock::Moment,
    h1::{Fields, RequestHead},
    lane::Flight,
    origin::Origin,
    record::{Http2Request, PartEnd, PartRecord, RequestRecord, Trailers, owned_trailers},
    redactor::Aside,
    sink::Restored,
    tap::Tap,
};

const ANY_SIZE: RangeInclusive<u64> = 0..=u64::MAX;

/// Keeps the request at hand. Belongs to one connection.
pub(crate) struct RequestTee {
    tap: Rc<Tap>,
    connection: Arc<Origin>,
    /// Of the request at hand.
    origin: Arc<Origin>,
    record: RequestRecord,
    copy: BodyCopy,
    start: Moment,
    /// When what is looked at was read, if that is known.
    read_at: Option<Moment>,
    state: State,
    /// All of the request has been received.
    ended: bool,
    flight: Option<Flight>,
    next_number: u64,
    /// Of bodies that are meant; any, if the head said how large it is.
    sizes: RangeInclusive<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing to record: no request, not selected, or already given away.
    Idle,
    Recording,
    /// To be counted as lost at its end.
    GivenUp(&'static str),
    /// Written as it stood; what follows goes after it as parts.
    Open {
        lost: Option<&'static str>,
    },
}

impl RequestTee {
    pub(crate) fn new(tap: Rc<Tap>, origin: Arc<Origin>) -> Self {
        Self {
            copy: BodyCopy::new(tap.credit.charge()),
            start: tap.now(),
            read_at: None,
            tap,
            connection: Arc::clone(&origin),
            origin,
            record: RequestRecord::default(),
            state: State::Idle,
            ended: false,
            flight: None,
            next_number: 0,
            sizes: ANY_SIZE,
        }
    }

    /// Where the next head is to be parsed into.
    pub(crate) fn head_mut(&mut self) -> &mut RequestHead {
        &mut self.record.head
    }

    /// The head of the request at hand, and what it was parsed from.
    pub(crate) fn head(&self) -> (&RequestHead, &[u8]) {
        (&self.record.head, &self.record.bytes)
    }

    /// The memory of heads, of no other use between two requests.
    pub(crate) fn head_bytes(&mut self) -> &mut Vec<u8> {
        &mut self.record.bytes
    }

    /// Where its records go.
    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    pub(crate) fn id(&self) -> [u8; 16] {
        self.record.id
    }

    /// The request's place on its connection.
    pub(crate) fn number(&self) -> u64 {
        self.record.number
    }

    pub(crate) fn start(&self) -> Moment {
        self.start
    }

    /// The request that begins next has been mirrored by a mesh: what of it is recorded
    /// otherwise than it came, and what tells its client from others.
    pub(crate) fn mirrored(
        &mut self,
        authority: &[u8],
        restored: &Restored,
        client: Option<&[u8]>,
    ) {
        let record = &mut self.record;
        record.received_authority.clear();
        if restored.authority.is_some() {
            record.received_authority.extend_from_slice(authority);
        }
        record.client.clear();
        record.client.extend_from_slice(client.unwrap_or_default());
    }

    /// Begins a request: its head has been parsed from `bytes`. Without a flight all of
    /// it was there at its start, and until more is read no other time is taken.
    pub(crate) fn begin(&mut self, start: Moment, bytes: &[u8], flight: Option<Flight>) {
        self.read_at = flight.is_none().then_some(start);
        let record = &mut self.record;
        record.bytes.clear();
        record.bytes.extend_from_slice(bytes);
        record.number = self.next_number;
        self.next_number += 1;
        self.begin_message(start, flight);
    }

    /// Begins an HTTP/2 request, the only one of this tee: `number` is its place on
    /// the connection.
    pub(crate) fn begin_http2(
        &mut self,
        start: Moment,
        number: u64,
        head: Arc<Http2Request>,
        flight: Option<Flight>,
    ) {
        self.record.http2 = Some(head);
        self.record.number = number;
        self.begin_message(start, flight);
    }

    fn begin_message(&mut self, start: Moment, flight: Option<Flight>) {
        let record = &mut self.record;
        record.id = self.tap.next_id(start.wall_ns);
        record.start_ns = start.wall_ns;
        record.framed = record.announces_body();
        record.trailers.clear();
        record.tunnel = false;
        record.holds_body = false;
        record.aside = Aside::default();
        self.start = start;
        self.ended = false;
        self.sizes = match record.announced_size() {
            Some(_) => ANY_SIZE,
            None => self.tap.config.selection.sizes(),
        };
        let selected = self.tap.selects(&self.connection, record);
        match self.tap.keyed(&self.connection, &self.origin, record) {
            Some(origin) => self.origin = origin,
            None if Arc::ptr_eq(&self.origin, &self.connection) => {}
            None => self.origin = Arc::clone(&self.connection),
        }
        let lane = self.tap.lane.borrow();
        lane.stats().requests.add(1);
        if selected {
            self.state = State::Recording;
            self.flight = flight;
            self.copy.start(self.tap.config.max_body);
        } else {
            self.state = State::Idle;
            lane.stats().not_selected.add(1);
        }
    }

    /// The request goes to this upstream.
    pub(crate) fn goes_to(&mut self, upstream: &Arc<str>) {
        if !Arc::ptr_eq(&self.record.upstream, upstream) {
            self.record.upstream = Arc::clone(upstream);
        }
    }

    /// The request stays unrecorded across a wait: Marks must respect it.
    pub(crate) fn hold(&mut self) {
        if self.state == State::Recording && self.flight.is_none() {
            self.flight = Some(self.tap.flights.begin(self.start.wall_ns));
        }
    }

    /// Whether body bytes are of interest at all, and worth sharing.
    pub(crate) fn wants_frames(&self) -> bool {
        match self.state {
            State::Recording | State::Open { lost: None } => self.copy.wants_more(),
            _ => false,
        }
    }

    /// Whether what follows is of no use: the request will be counted as lost.
    pub(crate) fn has_given_up(&self) -> bool {
        matches!(self.state, State::GivenUp(_) | State::Open { lost: Some(_) })
    }

    /// Takes the next body bytes; `shared` are the same, if they can be shared.
    pub(crate) fn data(&mut self, frame: &[u8], shared: Option<Bytes>) {
        let length = self.copy.length().saturating_add(frame.len() as u64);
        if self.state == State::Recording && length > *self.sizes.end() {
            return self.leave_out();
        }
        let over = match self.state {
            State::Idle | State::GivenUp(_) | State::Open { lost: Some(_) } => return,
            State::Recording | State::Open { lost: None } => {
                self.copy.add(frame, shared) == Copied::OverBudget
            }
        };
        match &mut self.state {
            State::Open { lost } if over => {
                *lost = Some("tee_full");
                self.copy.clear();
            }
            state if over => {
                *state = State::GivenUp("tee_full");
                self.copy.clear();
                // It will never be written, so no Mark has to wait for it.
                self.flight = None;
            }
            State::Open { .. }
                if !self.record.holds_body
                    && self.copy.body.len() >= self.tap.config.max_record_body =>
            {
                self.write_part(None);
            }
            _ => {}
        }
    }

    /// Takes the trailer section.
    pub(crate) fn trailers(&mut self, fields: Fields<'_>) {
        if self.state != State::Idle {
            let owned = fields.map(|(name, value)| (name.to_vec(), value.to_vec()));
            self.record.trailers.extend(owned);
        }
    }

    /// The same of an HTTP/2 request.
    pub(crate) fn trailers_http2(&mut self, fields: &HeaderMap) {
        if self.state != State::Idle {
            self.record.trailers.extend(owned_trailers(fields));
        }
    }

    /// More is read, or waited for.
    pub(crate) fn reads_on(&mut self) {
        self.read_at = None;
    }

    /// When what is looked at was read; else the time it is.
    pub(crate) fn read_at(&self) -> Moment {
        self.read_at.unwrap_or_else(|| self.tap.now())
    }

    /// All of the request has been received.
    pub(crate) fn ended(&mut self) {
        self.ended = true;
        self.record.end_after_ns = self.start.until(self.read_at());
    }

    /// When the request is to be written as it stands, if it goes on that long.
    pub(crate) fn open_at(&self) -> Option<Instant> {
        (self.state == State::Recording).then(|| self.start.at + self.tap.config.open_after)
    }

    /// Writes the request as it stands, so that it holds back no Mark.
    pub(crate) fn write_open(&mut self) {
        if self.state != State::Recording {
            return;
        }
        if self.ended {
            // Only the question whether it becomes a tunnel kept it.
            return self.emit();
        }
        let (body, charge) = match self.tap.concerns_body(&self.record) {
            // Taken out of a piece, a secret could be left by half.
            true => {
                self.record.hold_body();
                (Body::default(), self.tap.credit.charge())
            }
            false => self.copy.take(),
        };
        let mut record = self.record.snapshot(body);
        record.length = self.copy.length();
        record.hash = None;
        record.completeness = Completeness::Open;
        record.end_after_ns = self.start.until(self.tap.now());
        let taken = self.tap.open_request(&self.origin, record, charge);
        self.state = if taken { State::Open { lost: None } } else { State::Idle };
        self.flight = None;
    }

    /// The connection became a tunnel.
    pub(crate) fn tunnel(&mut self) {
        self.record.tunnel = true;
    }

    /// Whether there is a request whose answer is to be recorded.
    pub(crate) fn is_recording(&self) -> bool {
        self.state != State::Idle
    }

    /// Gives the request away: whole if it has ended, else as aborted.
    pub(crate) fn emit(&mut self) {
        match self.state {
            State::Idle => return,
            State::GivenUp(reason) => {
                let (number, start_ns) = (self.record.number, self.record.start_ns);
                self.tap.lose(&self.origin, number, start_ns, reason);
            }
            State::Recording if !self.sizes.contains(&self.copy.length()) => self.leave_out(),
            State::Recording => self.emit_whole(),
            State::Open { lost } => self.write_part(Some(lost)),
        }
        self.state = State::Idle;
        self.copy.clear();
        self.flight = None;
    }

    /// The request turned out to be none that is meant: as if it had been seen at once.
    fn leave_out(&mut self) {
        self.state = State::Idle;
        self.flight = None;
        self.copy.clear();
        // Nobody wants its answer.
        self.origin.lost_here.set(self.record.number);
        self.tap.lane.borrow().stats().not_selected.add(1);
    }

    fn emit_whole(&mut self) {
        if !self.ended {
            self.record.end_after_ns = self.start.until(self.tap.now());
        }
        self.record.completeness = self.completeness();
        self.record.length = self.copy.length();
        self.record.hash = self.record.framed.then(|| self.copy.digest());
        std::mem::swap(&mut self.record.body, &mut self.copy.body);
        let charge = self.copy.charge.take();
        self.tap.request(&self.origin, &mut self.record, charge);
        std::mem::swap(&mut self.record.body, &mut self.copy.body);
    }

    fn completeness(&self) -> Completeness {
        match (self.ended, self.copy.is_cut()) {
            (false, _) => Completeness::Aborted,
            (true, true) => Completeness::Truncated,
            (true, false) => Completeness::Complete,
        }
    }

    /// Writes what has come since the last part; at the end with the rest.
    fn write_part(&mut self, end: Option<Option<&'static str>>) {
        let (body, charge) = self.copy.take();
        let end = end.map(|lost| PartEnd {
            completeness: self.completeness(),
            trailers: std::mem::take::<Trailers>(&mut self.record.trailers),
            length: self.copy.length(),
            hash: Some(self.copy.digest()),
            lost,
        });
        let part = PartRecord { id: self.record.id, start_ns: self.start.wall_ns, body, end };
        self.tap.part(&self.origin, part, charge);
    }
}

impl Drop for RequestTee {
    fn drop(&mut self) {
        self.emit();
    }
}
