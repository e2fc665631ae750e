//! From waiting to settled: what is due goes when order and room allow, and what
//! came back is counted, told and only then settled in the log.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use umbra_log::Delivery;

use super::{
    End, Flight, Phase, Pipeline, Stage,
    lanes::{Job, Sent},
};
use crate::{
    clock::{Anchor, nanos},
    config::{Late, Target},
    error::ReplayError,
    order::Ticket,
    outcome::{Class, Outcome, Outgoing},
    outcomes,
    pacer::Pacer,
    tally::Skip,
};

/// A live replay that finds a request older than this was stopped or held, and
/// keeps the recorded spacing instead of sending all at once.
const BACKLOG_NS: u64 = 5_000_000_000;

impl Pipeline {
    /// Takes everything that is due out of line and sends what may go. Returns when
    /// to look again.
    pub(super) async fn pump(&mut self) -> Result<Option<u64>, ReplayError> {
        let mut wake = self.end_in_time();
        if self.phase == Phase::Running && !self.is_down_held() {
            if !self.keep_course().await {
                return Ok(self.merge.sure_at(self.now()));
            }
            wake = self.take_due().into_iter().chain(wake).min();
        }
        self.fill();
        Ok(wake)
    }

    /// Ends the pipeline when its time is over; says when that will be.
    fn end_in_time(&mut self) -> Option<u64> {
        let used = self.job.planned.used_by(&self.target.name).time_ns;
        let length = nanos(self.job.config.duration?).saturating_sub(used);
        let until = self.counts_from()?.saturating_add(length);
        if self.now() < until {
            return Some(until);
        }
        // What is in flight gets its whole timeout.
        let patience = self.target.timeout + self.target.connect_timeout;
        self.drain(End::Limited, patience);
        None
    }

    fn take_due(&mut self) -> Option<u64> {
        let gated = matches!(self.carry.pacer, Pacer::Rate(_));
        while let Some((place, ticket)) = self.merge.first() {
            let now = self.now();
            if self.is_full() {
                if !self.pace_over {
                    // What others leave of a limit begins then, not with what was due.
                    self.carry.pacer.pass_to(now);
                }
                return None;
            }
            if gated && let Some(sure_at) = self.merge.sure_at(now) {
                return Some(sure_at);
            }
            let Some(flight) = self.flights.get_mut(&ticket) else {
                self.merge.remove(&place);
                continue;
            };
            let arrived = flight.arrived_ns;
            if self.carry.first_due_ns.is_none() {
                let written = place.0.saturating_add(flight.request.end_after_ns);
                keep_spacing(&mut self.carry.pacer, place.0, written, now);
            }
            let Some(due) = self.carry.pacer.next(place.0, arrived, now) else {
                // The stages have ended at a rate of nothing, or no send is ours.
                self.pace_over = self.carry.pacer.is_over();
                return None;
            };
            if due > now {
                return Some(due);
            }
            flight.due_ns = due;
            self.merge.remove(&place);
            self.carry.pacer.took(due, arrived);
            self.carry.first_due_ns.get_or_insert(due);
            self.line_up(ticket, now);
        }
        None
    }

    /// Whether all that was asked for is on its way, or has been.
    pub(super) fn is_full(&self) -> bool {
        self.pace_over || self.is_used_up()
    }

    /// Whether a limit has been reached and everything up to it is settled.
    pub(super) fn is_limited(&self) -> Option<End> {
        if self.going > 0 || !self.is_full() || !self.is_judged() {
            None
        } else if self.pace_over || self.holds_all() {
            Some(End::Limited)
        } else {
            // Whoever is left in the end does what the others leave.
            (!self.holds_first()).then_some(End::Yielded)
        }
    }

    /// It is due: it may go, unless order makes it wait.
    fn line_up(&mut self, ticket: Ticket, now: u64) {
        if self.is_skipping() {
            self.skip(ticket, Skip::Down);
            return;
        }
        let Some(flight) = self.flights.get_mut(&ticket) else { return };
        let free = match (&self.order, flight.line) {
            (Some(order), Some(line)) => order.may_go(line, ticket),
            _ => true,
        };
        self.going += 1;
        if free {
            flight.stage = Stage::Ready;
            self.ready.push_back(ticket);
        } else {
            flight.stage = Stage::Blocked { since_ns: now };
            let partition = flight.place.1;
            self.tally(partition).held_by_order += 1;
        }
    }

    /// Sends what is ready while there is room.
    fn fill(&mut self) {
        if self.phase != Phase::Running || self.is_held() {
            return;
        }
        while self.in_flight < self.target.concurrency {
            let Some(ticket) = self.ready.pop_front() else { break };
            let Some(flight) = self.flights.get(&ticket) else { continue };
            let late = Duration::from_nanos(self.now().saturating_sub(flight.due_ns));
            let max = matches!(self.carry.pacer, Pacer::Max);
            if matches!(self.job.config.late, Late::Skip(bound) if late > bound && !max) {
                self.skip(ticket, Skip::Late);
            } else {
                self.send(ticket);
            }
        }
    }

    fn send(&mut self, ticket: Ticket) {
        let Some(flight) = self.flights.get_mut(&ticket) else { return };
        flight.stage = Stage::InFlight;
        let outgoing = Outgoing {
            request: Arc::clone(&flight.request),
            body: flight.body.clone(),
            attempt: flight.attempt,
        };
        self.in_flight += 1;
        self.stats.in_flight.set(self.in_flight as i64);
        let asked = self.asked(ticket);
        self.sends.send(
            ticket,
            match asked {
                Some(asked) => Job::Beside(asked, outgoing),
                None => Job::Alone(outgoing),
            },
        );
    }

    /// A send has ended.
    pub(super) async fn settle(&mut self, sent: Sent) -> Result<(), ReplayError> {
        let Sent { ticket, started, outcome, beside } = sent;
        self.in_flight -= 1;
        self.stats.in_flight.set(self.in_flight as i64);
        let all_there = self.take_beside(ticket, started, beside)?;
        if let Some(outcome) = &outcome {
            if outcome.class.is_down() && !outcome.written {
                self.on_down(ticket, outcome);
                return Ok(());
            }
            if outcome.class == Class::Unsendable {
                let detail = outcome.detail.clone();
                return Box::pin(self.set_aside_unsendable(ticket, detail)).await;
            }
            self.take_outcome(ticket, started, outcome)?;
        }
        if all_there {
            self.answered(ticket, outcome);
        } else {
            self.answered_in_part(ticket, outcome);
        }
        Ok(())
    }

    /// Tells and counts what the target answered.
    fn take_outcome(
        &mut self,
        ticket: Ticket,
        started: Instant,
        outcome: &Outcome,
    ) -> Result<(), ReplayError> {
        let Some(flight) = self.flights.get(&ticket) else { return Ok(()) };
        let sent_ns = self.job.time.at(started);
        let late = Duration::from_nanos(sent_ns.saturating_sub(flight.due_ns));
        self.tell(&self.target, flight, outcome, (sent_ns, late))?;
        self.shown.hint.look(&self.target, &flight.request, outcome);
        self.count(flight.place.1, outcome, late);
        Ok(())
    }

    /// Writes the outcome where it was asked for, before its record is settled.
    pub(super) fn tell(
        &self,
        target: &Target,
        flight: &Flight,
        outcome: &Outcome,
        (sent_ns, late): (u64, Duration),
    ) -> Result<(), ReplayError> {
        let Some(file) = &self.job.outcomes else { return Ok(()) };
        let own = target.url.authority().map_or("", |authority| authority.as_str());
        let sent = outcomes::Sent {
            job: &self.job.config.job,
            run: self.job.planned.run,
            target: &target.name,
            agent: &flight.agent,
            request: &flight.request,
            sent_as: &target.shadow_host.apply(&flight.request.authority, own),
            partition: flight.place.1,
            offset: flight.place.2,
            attempt: flight.attempt,
            sent_ns,
            lag_ms: late.as_secs_f64() * 1000.0,
        };
        file.write(&sent, outcome)
            .map_err(|error| ReplayError::Io(format!("the file of outcomes: {error}")))
    }

    fn count(&mut self, partition: u32, outcome: &Outcome, late: Duration) {
        if !matches!(self.carry.pacer, Pacer::Max) {
            self.carry.lag.record(late);
            self.stats.lag(late);
        }
        self.shown.lag = late;
        self.stats.sent.inc();
        self.stats.outcome(outcome);
        let tally = self.tally(partition);
        tally.sent += 1;
        tally.made(outcome);
        if outcome.class == Class::Answered {
            tally.answered += 1;
            let status = outcome.answer.as_ref().map_or(0, |answer| answer.status);
            *tally.status.entry(status).or_default() += 1;
            self.carry.latency.record(outcome.latency);
        } else {
            tally.fail(outcome.class);
        }
    }

    /// A selected request that will not be sent.
    pub(super) fn skip(&mut self, ticket: Ticket, why: Skip) {
        if let Some(flight) = self.flights.get(&ticket) {
            let partition = flight.place.1;
            let sent = flight.answers.has_own();
            if !flight.answers.judged_before {
                self.not_sent(&flight.request, (flight.place.1, flight.place.2), why);
            }
            if !sent {
                self.tally(partition).skip(why);
                self.stats.skipped(why);
            }
            self.settled(ticket);
        }
    }

    /// Nothing is left to do for the request: its records are done, and whoever
    /// waited for it may go.
    pub(super) fn settled(&mut self, ticket: Ticket) {
        let Some(flight) = self.flights.remove(&ticket) else { return };
        self.forget_place(ticket, &flight);
        if let Some(partition) = self.partitions.get_mut(&flight.place.1) {
            partition.open.leave(flight.place.2);
        }
        if let Some(partition) = self.partitions.get_mut(&flight.place.1) {
            partition.ledger.settled(flight.place.0);
        }
        for delivery in flight.deliveries {
            self.hand_in(delivery);
        }
        self.carry.last_settled_ns = Some(self.now());
    }

    /// Takes a request out of every table it may be in.
    pub(super) fn forget_place(&mut self, ticket: Ticket, flight: &Flight) {
        self.forget_answers(ticket, flight);
        self.held_bytes -= flight.bytes();
        self.held.left(ticket, flight);
        if flight.is_going() {
            self.going -= 1;
        }
        if flight.stage == Stage::Waiting {
            self.merge.remove(&flight.place);
        }
        let next = match (&mut self.order, flight.line) {
            (Some(order), Some(line)) => order.leave(line, ticket),
            _ => None,
        };
        if let Some(next) = next {
            self.unblock(next);
        }
    }

    pub(super) fn unblock(&mut self, ticket: Ticket) {
        let flight = self.flights.get_mut(&ticket);
        if let Some(flight) = flight.filter(|one| matches!(one.stage, Stage::Blocked { .. })) {
            flight.stage = Stage::Ready;
            self.ready.push_back(ticket);
        }
    }

    /// The pipeline ends when everything is settled; until then it is not over.
    pub(super) fn all_finished(&self) -> bool {
        !self.job.planned.live
            && self.partitions.values().all(|partition| partition.finished)
            && self.has_looked()
            && self.flights.is_empty()
    }
}

impl Flight {
    /// Whether it has been taken out of line: it is sent, or about to be.
    pub(super) fn is_going(&self) -> bool {
        matches!(self.stage, Stage::Ready | Stage::Blocked { .. } | Stage::InFlight)
    }

    /// Leaves its records to whoever reads them next: as if they had not been read,
    /// unless the request may have reached anybody.
    pub(super) fn leave(self) {
        let out = matches!(self.stage, Stage::InFlight | Stage::Judging);
        if !out && !self.answers.has_any() {
            self.deliveries.into_iter().for_each(Delivery::untouched);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.deliveries.iter().map(|delivery| delivery.payload.len()).sum()
    }
}

/// A live replay that begins far behind keeps the recorded spacing.
fn keep_spacing(pacer: &mut Pacer, captured: u64, written: u64, now: u64) {
    if let Pacer::Arrival { anchor, delay_ns } = pacer {
        let delay = delay_ns.unwrap_or(0);
        if written.saturating_add(BACKLOG_NS).saturating_add(delay) < now {
            *anchor = Some(Anchor { t0_ns: captured, wall0_ns: now });
        }
    }
}
