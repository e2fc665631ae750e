//! From outcomes to judgements: joins the answer of a shadow with production's, which is
//! a record of its own before or after the request's, or with those of the targets that
//! are asked beside it; has them compared away from the pipeline's own loop, and only
//! then settles the request. What an answer is compared with, and what comes of that,
//! is the judge's business.
//!
//! What never comes is not waited for: each wait is bounded in number and in time, and
//! ends as "not compared" with its reason.

mod early;
mod joined;
mod missing;
mod refused;
mod told;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::{JoinError, JoinSet};
use umbra_log::Delivery;
use umbra_record::pb;

use super::{Phase, Pipeline, Stage, intake::id_of};
use crate::{
    assembly::Id,
    config::WhenDown,
    error::ReplayError,
    judge::{Asked, At, Bench, Beside, Case, Companion, Exchanges, Facts, Note, no_answers},
    order::Ticket,
    outcome::Outcome,
    tally::Skip,
};
use early::Early;
use joined::{case, open};
pub(super) use told::Hearing;

/// Cases that one job compares, so that handing over costs little.
const BATCH: usize = 32;
/// So many requests without one answer of production: there are none.
const NO_ANSWERS: u64 = 1000;

/// What a pipeline knows of answers that are to be compared.
pub(super) struct Judging {
    bench: Bench,
    /// Requests that are not settled, where production's answers are wanted.
    by_id: HashMap<Id, Ticket>,
    early: Early,
    /// The shadow has answered, production's answer is not known, since then.
    waiting: BTreeMap<Ticket, Instant>,
    /// Bytes of the log held for them.
    waiting_bytes: usize,
    /// Answers of production met, and requests that will have none.
    met: u64,
    missed: u64,
    /// By partition, how many of its requests have no answer of production yet.
    unanswered: BTreeMap<u32, usize>,
    /// Ready to be compared.
    queue: VecDeque<Case>,
    jobs: JoinSet<Vec<Ticket>>,
    most_jobs: usize,
    /// What is being told to the other members of the job.
    telling: JoinSet<()>,
    next_look: Instant,
    next_note: Instant,
    between_notes: Duration,
}

/// What is known of the answers to one request. Small as long as nothing is: every request
/// that is held has one.
#[derive(Debug, Default)]
pub(super) struct Answers {
    recorded: Recorded,
    own: Option<Box<Outcome>>,
    /// The target refused, and was back so soon that it was not down.
    refused: Option<Box<Outcome>>,
    baseline: Option<Box<Outcome>>,
    noise: Option<Box<Outcome>>,
    /// It was judged before, by a member of the job that did not come to settle it.
    pub(super) judged_before: bool,
}

/// Production's answer.
#[derive(Debug, Default)]
enum Recorded {
    /// Nobody wants it.
    #[default]
    Unwanted,
    Unknown,
    Here(Box<pb::Response>),
    /// It will not be known, and why.
    Never(&'static str),
}

impl Answers {
    /// Whether the target itself has answered.
    pub(super) fn has_own(&self) -> bool {
        self.own.is_some()
    }

    /// Whether anybody who is asked has.
    pub(super) fn has_any(&self) -> bool {
        self.own.is_some() || self.baseline.is_some() || self.noise.is_some()
    }
}

impl Judging {
    pub(super) fn new(bench: Bench) -> Self {
        // Half of the cores at most: what is sent, and when, comes first.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            bench,
            by_id: HashMap::new(),
            early: Early::default(),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            met: 0,
            missed: 0,
            unanswered: BTreeMap::new(),
            queue: VecDeque::new(),
            jobs: JoinSet::new(),
            most_jobs: (cores / 2).max(1),
            telling: JoinSet::new(),
            next_look: Instant::now() + told::LOOK,
            next_note: Instant::now() + told::FIRST_NOTE,
            between_notes: told::FIRST_NOTE,
        }
    }

    /// Whether production's answers are compared with.
    fn wants_recorded(&self) -> bool {
        self.bench.baseline.is_none()
    }

    /// Whether a target that is asked beside the shadow is given what was sealed.
    pub(super) fn unseals(&self) -> bool {
        let mut beside = self.bench.baseline.iter().chain(&self.bench.noise);
        beside.any(|companion| companion.target.unseal)
    }

    /// Nothing waits or is being compared.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.queue.is_empty() && self.jobs.is_empty()
    }

    /// Whether production's answer to a request of this partition is not known yet.
    pub(super) fn waits_in(&self, partition: u32) -> bool {
        self.unanswered.get(&partition).is_some_and(|count| *count > 0)
    }

    /// The next requests that were compared; never, while none is. Cancel-safe.
    pub(super) async fn next(judging: &mut Option<Self>) -> Result<Vec<Ticket>, JoinError> {
        let jobs = judging.as_mut().map(|judging| &mut judging.jobs);
        match jobs.filter(|jobs| !jobs.is_empty()) {
            Some(jobs) => jobs.join_next().await.unwrap_or_else(|| Ok(Vec::new())),
            None => std::future::pending().await,
        }
    }

    /// A request was taken in: what is known of production's answer to it.
    fn take_in(&mut self, id: Id, ticket: Ticket, partition: u32) -> Recorded {
        if !self.wants_recorded() {
            return Recorded::Unwanted;
        }
        self.by_id.insert(id, ticket);
        match self.early.take(&id) {
            Some(answer) => Recorded::Here(Box::new(answer)),
            None => {
                *self.unanswered.entry(partition).or_default() += 1;
                Recorded::Unknown
            }
        }
    }

    fn wait(&mut self, ticket: Ticket, bytes: usize) {
        if self.waiting.insert(ticket, Instant::now()).is_none() {
            self.waiting_bytes += bytes;
        }
    }

    /// `false`: it did not wait.
    fn waits_no_more(&mut self, ticket: Ticket, bytes: usize) -> bool {
        let waited = self.waiting.remove(&ticket).is_some();
        if waited {
            self.waiting_bytes -= bytes;
        }
        waited
    }

    fn known(&mut self, partition: u32) {
        if let Some(count) = self.unanswered.get_mut(&partition) {
            *count -= 1;
        }
    }

    /// What was judged since it was told last.
    fn note(&self, run: u32, below: &BTreeMap<u32, u64>) -> Option<Note> {
        let judge = &self.bench.judge;
        let verdict = judge.news(below)?;
        let target = judge.target.clone();
        Some(Note { run, target, judged: judge.judged(below), verdict })
    }

    /// Hands cases over as far as there are threads for them.
    fn start_jobs(&mut self) {
        while self.jobs.len() < self.most_jobs && !self.queue.is_empty() {
            let batch: Vec<Case> = self.queue.drain(..self.queue.len().min(BATCH)).collect();
            let judge = Arc::clone(&self.bench.judge);
            self.jobs.spawn_blocking(move || {
                batch.iter().for_each(|case| judge.judge(case));
                judge.sum_up();
                batch.into_iter().map(|case| case.ticket).collect()
            });
        }
    }
}

impl Pipeline {
    // --- before it is sent ---

    /// A request that was taken in will be judged.
    pub(super) fn expect_answers(&mut self, ticket: Ticket) {
        let (Some(judging), Some(flight)) = (&mut self.judging, self.flights.get_mut(&ticket))
        else {
            return;
        };
        let id = id_of(&flight.request.id);
        flight.answers.recorded = judging.take_in(id, ticket, flight.place.1);
    }

    /// A selected request that is not sent to this target.
    pub(super) fn not_sent(&self, request: &pb::Request, at: At, why: Skip) {
        if let Some(judging) = &self.judging
            && why != Skip::Percent
        {
            judging.bench.judge.not_compared(&Facts::of(request, at), why.label());
        }
    }

    /// Who is to be sent the request: this target and those beside it, as far as they have
    /// not answered it yet. `None`: only this target ever is.
    pub(super) fn asked(&self, ticket: Ticket) -> Option<Box<Asked>> {
        let (judging, flight) = self.judging.as_ref().zip(self.flights.get(&ticket))?;
        Some(Box::new(open(&judging.bench, &flight.answers, &self.sender)))
    }

    /// An agent says what it takes out of messages.
    pub(super) fn learn_redaction(&self, mark: &pb::Mark) {
        if let Some(judging) = &self.judging {
            judging.bench.judge.learn_redaction(&mark.rules);
        }
    }

    /// Production's answer was met.
    pub(super) fn on_response(&mut self, response: pb::Response, delivery: Delivery) {
        let Some(judging) = self.judging.as_mut().filter(|judging| judging.wants_recorded()) else {
            return self.hand_in(delivery);
        };
        judging.met += 1;
        let id = id_of(&response.id);
        let ticket = judging.by_id.get(&id).copied();
        let Some((ticket, flight)) =
            ticket.and_then(|one| Some((one, self.flights.get_mut(&one)?)))
        else {
            // Of a request that is not sent, most likely, or is still to come.
            if self.job.planned.window().contains(response.request_start_ns) {
                judging.early.keep(id, response, delivery.payload.len());
            }
            return self.hand_in(delivery);
        };
        if !matches!(flight.answers.recorded, Recorded::Unknown) {
            return self.hand_in(delivery);
        }
        flight.answers.recorded = Recorded::Here(Box::new(response));
        judging.known(flight.place.1);
        let waits = judging.waits_no_more(ticket, flight.bytes());
        self.keep_answer(ticket, delivery);
        if waits {
            self.judge(ticket);
        }
    }

    /// Keeps the record of an answer with its request: settled before it, it would not
    /// be there for whoever sends the request again.
    fn keep_answer(&mut self, ticket: Ticket, mut delivery: Delivery) {
        let bytes = delivery.payload.len();
        let room = self.has_room_for(bytes);
        let Some(flight) = self.flights.get_mut(&ticket) else { return self.hand_in(delivery) };
        if room {
            delivery.uncount();
            flight.kept += bytes;
            self.held.kept += bytes;
        }
        flight.deliveries.push(delivery);
        self.held_bytes += bytes;
    }

    // --- after it was sent ---

    /// Takes what the targets beside this one answered. `false`: one of them is down, and
    /// the request waits for it.
    pub(super) fn take_beside(
        &mut self,
        ticket: Ticket,
        started: Instant,
        beside: Option<Box<Beside>>,
    ) -> Result<bool, ReplayError> {
        let (Some(judging), Some(beside)) = (&self.judging, beside) else { return Ok(true) };
        let sent_ns = self.job.time.at(started);
        let both = [
            (judging.bench.baseline.clone(), beside.baseline),
            (judging.bench.noise.clone(), beside.noise),
        ];
        let mut whole = true;
        for (index, (companion, outcome)) in both.into_iter().enumerate() {
            let (Some(companion), Some(outcome)) = (companion, outcome) else { continue };
            let holds = matches!(companion.target.when_down, WhenDown::Hold(_));
            if outcome.class.is_down() && !outcome.written && holds {
                let Companion { target, sender, .. } = companion;
                self.found_down(&target.name, target.when_down, sender, &outcome.detail);
                whole = false;
                continue;
            }
            let name = &companion.target.name;
            self.carry.beside.entry(name.clone()).or_insert_with(Exchanges::new).count(&outcome);
            companion.stats.sent.inc();
            companion.stats.outcome(&outcome);
            if let Some(flight) = self.flights.get(&ticket) {
                let late = Duration::from_nanos(sent_ns.saturating_sub(flight.due_ns));
                self.tell(&companion.target, flight, &outcome, (sent_ns, late))?;
            }
            if let Some(flight) = self.flights.get_mut(&ticket) {
                match index {
                    0 => flight.answers.baseline = Some(Box::new(outcome)),
                    _ => flight.answers.noise = Some(Box::new(outcome)),
                }
            }
        }
        Ok(whole)
    }

    /// The target has answered: nobody on the request's connection waits for it any
    /// more. It is settled once it is judged.
    pub(super) fn answered(&mut self, ticket: Ticket, outcome: Option<Outcome>) {
        let Some(judging) = &mut self.judging else { return self.settled(ticket) };
        let Some(flight) = self.flights.get_mut(&ticket) else { return };
        if outcome.is_some() {
            flight.answers.own = outcome.map(Box::new);
        }
        flight.body = None;
        let waits = matches!(flight.answers.recorded, Recorded::Unknown);
        let judged_before = flight.answers.judged_before;
        if waits && !judged_before {
            judging.wait(ticket, flight.bytes());
        }
        self.leave_line(ticket);
        if judged_before {
            self.settled(ticket);
        } else if waits {
            self.keep_deliveries(ticket);
            self.wait_for_no_more_than_fit();
        } else {
            self.judge(ticket);
        }
    }

    /// It will not be compared, and why.
    pub(super) fn not_judged(&self, ticket: Ticket, why: &'static str) {
        if let (Some(judging), Some(flight)) = (&self.judging, self.flights.get(&ticket)) {
            let at = (flight.place.1, flight.place.2);
            judging.bench.judge.not_compared(&Facts::of(&flight.request, at), why);
        }
    }

    /// What the target answered, while another that is asked too has not.
    pub(super) fn keep_outcome(&mut self, ticket: Ticket, outcome: Option<Outcome>) {
        if let (Some(outcome), Some(flight)) = (outcome, self.flights.get_mut(&ticket)) {
            flight.answers.own = Some(Box::new(outcome));
        }
    }

    /// It no longer stands in anybody's way.
    fn leave_line(&mut self, ticket: Ticket) {
        let Some(flight) = self.flights.get_mut(&ticket) else { return };
        if flight.is_going() {
            self.going -= 1;
        }
        flight.stage = Stage::Judging;
        let next = match (&mut self.order, flight.line.take()) {
            (Some(order), Some(line)) => order.leave(line, ticket),
            _ => None,
        };
        if let Some(next) = next {
            self.unblock(next);
        }
    }

    /// All that will be known is known: compares it, or says why not.
    fn judge(&mut self, ticket: Ticket) {
        let (Some(judging), Some(flight)) = (&mut self.judging, self.flights.get_mut(&ticket))
        else {
            return;
        };
        match case(&judging.bench, &self.target, ticket, flight) {
            Ok(case) => {
                judging.queue.push_back(case);
                judging.start_jobs();
            }
            Err(why) => {
                let at = (flight.place.1, flight.place.2);
                judging.bench.judge.not_compared(&Facts::of(&flight.request, at), why);
                self.settled(ticket);
            }
        }
    }

    /// Cases that were compared: their requests are settled.
    pub(super) fn on_judged(
        &mut self,
        judged: Result<Vec<Ticket>, JoinError>,
    ) -> Result<(), ReplayError> {
        let judged =
            judged.map_err(|error| ReplayError::Bug(format!("comparing failed: {error}")))?;
        for ticket in judged {
            self.settled(ticket);
        }
        if let Some(judging) = &mut self.judging {
            judging.start_jobs();
        }
        Ok(())
    }

    /// Everything that was compared meanwhile.
    pub(super) fn settle_judged(&mut self) -> Result<(), ReplayError> {
        while let Some(judged) =
            self.judging.as_mut().and_then(|judging| judging.jobs.try_join_next())
        {
            self.on_judged(judged)?;
        }
        // Nothing is read any more: production's answers will not be met.
        if self.phase != Phase::Running {
            self.give_up_answers("stopped", |_| true);
        }
        match &self.judging {
            Some(judging) if judging.met == 0 && judging.missed >= NO_ANSWERS => {
                Err(no_answers(judging.missed))
            }
            _ => Ok(()),
        }
    }

    /// Whether nothing is left to be judged.
    pub(super) fn is_judged(&self) -> bool {
        self.judging.as_ref().is_none_or(Judging::is_idle)
    }

    /// Whether answers to requests of this partition are still to be met.
    pub(super) fn waits_for_answers_in(&self, partition: u32) -> bool {
        self.judging.as_ref().is_some_and(|judging| judging.waits_in(partition))
    }
}
