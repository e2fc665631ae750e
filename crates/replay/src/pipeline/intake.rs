//! From records to requests that wait for their time: decoded, cut to the window,
//! put together, selected. What is not taken is counted with its reason and done.
//!
//! What is rare and has to be waited for is boxed: its state would be part of the future of
//! each record, which is moved about a few times.

use std::sync::Arc;

use umbra_log::{Delivery, Event};
use umbra_record::{
    decode::{DecodeError, decode},
    pb::{self, record::Body},
    select::Selection,
};

use super::{Answers, Flight, Judging, Pipeline, Stage};
use crate::{
    assembly::{Assembly, Id, Joined, Whole},
    error::ReplayError,
    order::{Connection, Ticket},
    tally::Skip,
};

/// Somebody else's topic is not copied into the dead letters: if this many records
/// cannot be read and not one could, the job ends.
const FOREIGN: u64 = 1000;

impl Pipeline {
    pub(super) async fn on_event(&mut self, event: Event) -> Result<(), ReplayError> {
        match self.pass_by_parked(event) {
            Some(event) => self.meet(event).await?,
            None => return Ok(()),
        }
        self.unpark().await
    }

    /// Takes an event whose turn it is.
    pub(super) async fn meet(&mut self, event: Event) -> Result<(), ReplayError> {
        match event {
            Event::Delivery(delivery) => self.on_delivery(delivery).await?,
            Event::Assigned(partitions) => Box::pin(self.hear_and_take(partitions)).await,
            Event::Revoked(partitions) => {
                self.on_revoked(&partitions);
                self.tell_verdict_soon();
            }
            Event::CaughtUp { partition, offset } => self.on_caught_up(partition, offset),
            Event::Missing { partition, from, to, reason } => {
                tracing::error!(partition, from, to, reason, "records are missing in the log");
                self.on_missing(partition, from, to);
            }
            Event::SetAside(delivery) => {
                Box::pin(self.set_aside(delivery, "given back twice".to_owned())).await?;
            }
        }
        Ok(())
    }

    async fn on_delivery(&mut self, delivery: Delivery) -> Result<(), ReplayError> {
        let (partition, offset) = (delivery.partition, delivery.offset);
        self.passed(partition, offset, delivery.time_ns);
        let record = match decode(delivery.payload.clone()) {
            Ok(record) => record,
            Err(DecodeError::UnknownKind(kind)) => {
                tracing::debug!(partition, offset, kind, "a record of a newer kind");
                self.tally(partition).unknown += 1;
                self.hand_in(delivery);
                return Ok(());
            }
            Err(error) => return Box::pin(self.set_aside(delivery, error.to_string())).await,
        };
        let agent = id_of(&record.agent);
        if !self.seen.is_new(agent, record.lane, (partition, offset), record.sequence) {
            self.tally(partition).duplicates += 1;
            self.hand_in(delivery);
            return Ok(());
        }
        if let Some(partition) = self.partitions.get_mut(&partition) {
            partition.ledger.meet(offset, agent, record.lane, record.sequence);
        }
        match record.body {
            Some(Body::Request(request)) => {
                // It stays where it is from now on.
                let request = Arc::new(request);
                let written = request.start_ns.saturating_add(request.end_after_ns);
                self.agents.met(agent, written);
                self.on_request(agent, &record.key, request, delivery).await?;
            }
            Some(Body::Part(part)) => self.on_part(part, delivery).await?,
            Some(Body::Mark(mark)) => {
                self.learn_redaction(&mark);
                self.agents.mark(agent, record.lane, (partition, offset), &mark);
                self.hand_in(delivery);
            }
            Some(Body::Gap(gap)) => {
                self.on_gap(&gap, partition);
                self.hand_in(delivery);
            }
            Some(Body::Response(response)) => self.on_response(response, delivery),
            None => self.hand_in(delivery),
        }
        Ok(())
    }

    /// Losses of capture that touch the window.
    fn on_gap(&mut self, gap: &pb::Gap, partition: u32) {
        if self.job.planned.window().touches(gap.from_ns, gap.to_ns) {
            self.tally(partition).gap_requests += gap.requests;
        }
    }

    async fn on_request(
        &mut self,
        agent: [u8; 16],
        key: &[u8],
        request: Arc<pb::Request>,
        delivery: Delivery,
    ) -> Result<(), ReplayError> {
        let partition = delivery.partition;
        let inside = self.job.planned.window().contains(request.start_ns);
        if !inside || self.is_past_end(partition, delivery.offset) {
            self.tally(partition).outside += 1;
            self.hand_in(delivery);
            return Ok(());
        }
        let selected = self.job.config.selection.decide(&(&*request).into()).is_selected();
        let allowed = !selected || self.job.config.allow_production;
        if !allowed && self.production.is_hit(&request.upstream) {
            return Err(ReplayError::WouldHitProduction {
                target: self.target.name.clone(),
                upstream: request.upstream.clone(),
            });
        }
        self.tally(partition).read += 1;
        self.stats.read();
        if !selected {
            self.tally(partition).not_selected += 1;
            self.hand_in(delivery);
            return Ok(());
        }
        self.tally(partition).selected += 1;
        if let Some(why) = refusal(&request, self.job.config.writes, &self.share) {
            self.tally(partition).skip(why);
            self.stats.skipped(why);
            self.not_sent(&request, (partition, delivery.offset), why);
            self.hand_in(delivery);
            return Ok(());
        }
        if !request.sealed.is_empty() && self.unseals() {
            Box::pin(self.job.seals.prepare(&request.sealed)).await?;
        }
        self.admit(agent, key, request, delivery);
        Ok(())
    }

    /// Whether anybody it sends to is given what was sealed.
    fn unseals(&self) -> bool {
        self.target.unseal || self.judging.as_ref().is_some_and(Judging::unseals)
    }

    fn admit(
        &mut self,
        agent: [u8; 16],
        key: &[u8],
        mut request: Arc<pb::Request>,
        delivery: Delivery,
    ) {
        let now = self.now();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let in_line = self.order.as_ref().and_then(|_| Connection::of(agent, key, &request));
        let line = in_line.map(|(line, _)| line);
        let place = (request.start_ns, delivery.partition, delivery.offset);
        let mut refused = None;
        let assembling = Assembly::concerns(&request);
        if assembling {
            let id = id_of(&request.id);
            refused = self.assembly.begin(id, ticket, place.1, &request, now).err();
        }
        let bytes = delivery.payload.len();
        let body = Arc::make_mut(&mut request).body.take().map(|body| vec![body]);
        let flight = Box::new(Flight {
            stage: Stage::Assembling,
            handed_over: false,
            place,
            agent,
            line,
            body,
            attempt: delivery.attempt,
            answers: Answers::default(),
            deliveries: vec![delivery],
            kept: 0,
            counted: false,
            arrived_ns: now,
            due_ns: 0,
            request,
        });
        if let (Some(order), Some((line, number))) = (&mut self.order, in_line) {
            order.enter(line, number, ticket);
        }
        self.flights.insert(ticket, flight);
        if let Some(partition) = self.partitions.get_mut(&place.1) {
            partition.open.enter(place.2);
        }
        self.grew(ticket, bytes);
        self.expect_answers(ticket);
        match refused {
            Some(why) => self.skip(ticket, why),
            None if assembling => self.begin_body(ticket),
            None => {
                self.keep_request(ticket, place.1);
                self.complete(ticket, now);
            }
        }
    }

    /// The first of a body is there. One of announced length waits for its room.
    fn begin_body(&mut self, ticket: Ticket) {
        let Some(flight) = self.flights.get(&ticket) else { return };
        if flight.request.parts > 0 {
            let id = id_of(&flight.request.id);
            self.park(ticket, id);
        } else {
            self.keep_deliveries(ticket);
            self.relieve();
        }
    }

    /// The request is whole: from now on it waits for its time.
    fn complete(&mut self, ticket: Ticket, now: u64) {
        if let Some(flight) = self.flights.get_mut(&ticket) {
            flight.stage = Stage::Waiting;
            flight.arrived_ns = now;
            self.merge.insert(flight.place, ticket);
        }
    }

    async fn on_part(&mut self, part: pb::BodyPart, delivery: Delivery) -> Result<(), ReplayError> {
        let now = self.now();
        let id = id_of(&part.id);
        match self.assembly.join(&id, part, now) {
            Joined::NotWanted | Joined::Again => self.hand_in(delivery),
            Joined::Kept(ticket) => {
                self.keep(ticket, delivery);
                self.relieve();
            }
            Joined::Whole(whole) => {
                // What was sealed behind the head, whose keys nobody has asked for.
                if !whole.sealed.is_empty() && self.unseals() {
                    Box::pin(self.job.seals.prepare(&whole.sealed)).await?;
                }
                self.keep(whole.ticket, delivery);
                self.assembled(whole, now);
                // Others may have more room now.
                self.held.changed = true;
            }
            Joined::GivenUp(ticket, why) => {
                self.keep(ticket, delivery);
                self.skip(ticket, why);
            }
        }
        Ok(())
    }

    fn keep(&mut self, ticket: Ticket, mut delivery: Delivery) {
        let bytes = delivery.payload.len();
        match self.flights.get_mut(&ticket) {
            Some(flight) => {
                flight.attempt = flight.attempt.max(delivery.attempt);
                // The parts of a body never stop the reader that brings them.
                delivery.uncount();
                flight.kept += bytes;
                self.held.kept += bytes;
                flight.deliveries.push(delivery);
                self.grew(ticket, bytes);
            }
            None => self.hand_in(delivery),
        }
    }

    fn assembled(&mut self, whole: Whole, now: u64) {
        if let Some(flight) = self.flights.get_mut(&whole.ticket) {
            flight.body = Some(whole.pieces);
            let request = Arc::make_mut(&mut flight.request);
            if !whole.trailers.is_empty() {
                request.trailers = whole.trailers;
            }
            request.sealed.extend(whole.sealed);
            if let Some(length) = whole.cut {
                request.completeness = pb::Completeness::Truncated as i32;
                request.body_length = length;
            }
            self.complete(whole.ticket, now);
        }
    }

    /// The request holds more of the log.
    fn grew(&mut self, ticket: Ticket, bytes: usize) {
        self.held_bytes += bytes;
        let line = self.flights.get(&ticket).and_then(|flight| flight.line);
        if let (Some(order), Some(line)) = (&mut self.order, line) {
            order.grew(line, ticket, bytes);
        }
    }

    pub(super) fn lost_order(&mut self, line: Connection) {
        let tickets = self.order.as_ref().map(|order| order.line(line)).unwrap_or_default();
        if let Some(flight) = tickets.first().and_then(|ticket| self.flights.get(ticket)) {
            let partition = flight.place.1;
            self.tally(partition).order_lost += 1;
        }
        for ticket in tickets {
            self.unblock(ticket);
        }
    }

    pub(super) async fn set_aside(
        &mut self,
        delivery: Delivery,
        reason: String,
    ) -> Result<(), ReplayError> {
        let (partition, offset) = (delivery.partition, delivery.offset);
        tracing::warn!(partition, offset, reason, "a record is set aside");
        self.job.dead.keep(&delivery, &self.target.name, reason).await?;
        self.tally(partition).dead += 1;
        self.hand_in(delivery);
        let dead: u64 = self.partitions.values().map(|one| one.tally.dead).sum();
        if self.agents.is_empty() && dead >= FOREIGN {
            return Err(ReplayError::Unusable(format!(
                "this is not a log of recorded requests: none of its first {dead} records can be read"
            )));
        }
        Ok(())
    }

    /// The request cannot be said in the target's protocol: nothing was sent.
    pub(super) async fn set_aside_unsendable(
        &mut self,
        ticket: Ticket,
        reason: String,
    ) -> Result<(), ReplayError> {
        if let Some(flight) = self.flights.get(&ticket) {
            let partition = flight.place.1;
            for delivery in &flight.deliveries {
                self.job.dead.keep(delivery, &self.target.name, reason.clone()).await?;
            }
            self.tally(partition).dead += 1;
        }
        self.skip(ticket, Skip::Unsendable);
        Ok(())
    }

    /// Partitions that are somebody else's now: what was not sent is theirs too.
    fn on_revoked(&mut self, partitions: &[u32]) {
        // Production's answers come to somebody else now.
        self.give_up_answers("handed_over", |flight| partitions.contains(&flight.place.1));
        // As long as it is known what is not settled.
        self.settle_up();
        self.note_of(partitions.iter().copied());
        for number in partitions {
            if let Some(partition) = self.partitions.get_mut(number) {
                partition.ledger.hand_over();
            }
        }
        let gone: Vec<(Ticket, Box<Flight>)> = self
            .flights
            .extract_if(|_, flight| {
                let out = matches!(flight.stage, Stage::InFlight | Stage::Judging);
                partitions.contains(&flight.place.1) && !out
            })
            .collect();
        for (ticket, flight) in &gone {
            self.assembly.drop_request(&id_of(&flight.request.id));
            self.give_back(*ticket, flight);
        }
        for flight in self.flights.values_mut() {
            flight.handed_over |= partitions.contains(&flight.place.1);
        }
        gone.into_iter().for_each(|(_, flight)| flight.leave());
        for partition in partitions {
            self.merge.release(*partition);
            self.forget_parked(*partition);
            self.released(*partition);
        }
        self.share_out();
    }

    /// A request that was not sent is left to whoever reads its partition next, who
    /// counts it too.
    pub(super) fn give_back(&mut self, ticket: Ticket, flight: &Flight) {
        self.forget_place(ticket, flight);
        let tally = self.tally(flight.place.1);
        tally.read -= 1;
        tally.selected -= 1;
        if let Some(partition) = self.partitions.get_mut(&flight.place.1) {
            partition.open.leave(flight.place.2);
        }
    }
}

/// Why a selected request is not for this target, or cannot be sent.
pub(crate) fn refusal(request: &pb::Request, writes: bool, share: &Selection) -> Option<Skip> {
    let completeness = request.completeness;
    if request.tunnel || request.form == pb::TargetForm::Authority as i32 {
        Some(Skip::Tunnel)
    } else if completeness == pb::Completeness::Aborted as i32 {
        Some(Skip::Aborted)
    } else if !writes && !is_safe(&request.method) {
        Some(Skip::Writes)
    } else if !share.decide(&request.into()).is_selected() {
        Some(Skip::Percent)
    } else {
        None
    }
}

/// RFC 9110 section 9.2.1.
pub(crate) fn is_safe(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE")
}

/// 16 bytes, as `decode` has checked.
pub(crate) fn id_of(bytes: &[u8]) -> Id {
    let mut id = [0; 16];
    let n = bytes.len().min(16);
    id[..n].copy_from_slice(&bytes[..n]);
    id
}
