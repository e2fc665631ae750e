//! One target's way from the log to its shadow: a single task that owns its reader
//! and all state of its requests, so that nothing needs a lock. The parts:
//! `intake` (records to requests), `room` (how much is held), `dispatch` (due, in
//! order, sent, settled), `hold` (a target that is down), `ends` (windows,
//! partitions, progress). Several pipelines share nothing but the job.

mod course;
mod dispatch;
mod ends;
mod handover;
mod hint;
mod hold;
mod intake;
mod judging;
mod lanes;
mod room;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use umbra_log::{Delivery, LogTail, Tail};
use umbra_record::{pb, select::Selection};

use crate::{
    alarm::Bell,
    assembly::Assembly,
    clock::nanos,
    config::{Order, Target},
    error::ReplayError,
    judge::{Bench, Exchanges},
    merge::{Merge, Place},
    order::{Connection, OrderTable, Ticket},
    pacer::Pacer,
    production::Production,
    report::{AgentMissing, Times},
    run::{Job, Prepared},
    send::Sender,
    sequence::Seen,
    stats::TargetStats,
    table::Table,
    tally::Tally,
    window::Agents,
};
use course::Course;
use ends::Partition;
use handover::Settled;
use hold::{Down, Flaps};
pub(crate) use intake::{id_of, is_safe, refusal};
use judging::{Answers, Hearing, Judging};
use lanes::Lanes;
use room::Held;
pub(crate) use room::{READ_AHEAD_RECORDS, Room};

/// Everything that waits for time rather than for an event is looked at this often;
/// due requests have their own, precise bell.
const TICK: Duration = Duration::from_millis(50);

/// Events taken in one turn before due requests are looked at again.
const EVENTS_PER_TURN: usize = 32;

/// A target's pipeline, for one pass over the window.
pub(crate) struct Pipeline {
    job: Arc<Job>,
    target: Target,
    sender: Arc<Sender>,
    tail: LogTail,
    bell: Bell,
    stats: TargetStats,
    production: Production,
    /// The target's share of what is selected.
    share: Selection,

    room: Room,
    flights: Table<Ticket, Box<Flight>>,
    next_ticket: Ticket,
    /// Bytes of the log in memory: of flights, and parked.
    held_bytes: usize,
    held: Held,
    assembly: Assembly,
    merge: Merge,
    order: Option<OrderTable>,
    /// If answers are compared.
    judging: Option<Judging>,
    hearing: Option<Hearing>,
    /// Due, and free to go as soon as there is room.
    ready: VecDeque<Ticket>,
    sends: Lanes,
    in_flight: usize,
    /// Due and not settled.
    going: usize,
    /// The pace has come to an end of its own.
    pace_over: bool,

    seen: Seen,
    settled: Settled,
    agents: Agents,
    partitions: BTreeMap<u32, Partition>,
    /// Those that are read here, and of which the journal does not say that they are
    /// finished: few, while a job may have thousands.
    open: BTreeSet<u32>,
    down: Option<Down>,
    flaps: Flaps,
    course: Course,
    /// What was told last about our share of a rate holds from then on.
    shared_ns: Option<u64>,
    /// What was sent in partitions that are finished, as the journal has it.
    told_sent: BTreeMap<u32, u64>,
    phase: Phase,
    begun_ns: u64,
    carry: Carry,
    /// Where the shown state was computed last, for its rate.
    shown: ends::Shown,
}

/// What outlives a pass over the window.
#[derive(Debug, Clone)]
pub(crate) struct Carry {
    pub pacer: Pacer,
    pub tally: Tally,
    pub lag: Times,
    pub latency: Times,
    /// Of the targets that are asked beside this one, by name.
    pub beside: BTreeMap<String, Exchanges>,
    pub down: Duration,
    pub first_due_ns: Option<u64>,
    pub last_settled_ns: Option<u64>,
}

/// How a pipeline ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Everything of the window is settled.
    Finished,
    /// A limit that was asked for was reached.
    Limited,
    /// The job was cancelled, or deleted.
    Cancelled,
    /// Its part of a limit is used up, what is left of it is for the other members.
    Yielded,
    /// It was told to stop.
    Stopped,
    /// The target stayed down.
    GaveUp,
}

/// What a pipeline leaves.
pub(crate) struct Ended {
    pub target: String,
    pub end: End,
    pub carry: Carry,
    pub missing: Vec<AgentMissing>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Nothing new is sent; what is in flight may end until then.
    Draining {
        end: End,
        until: Instant,
    },
}

/// A request that is not settled.
struct Flight {
    stage: Stage,
    /// Its partition went to somebody else while it was with the sender, or judged.
    handed_over: bool,
    place: Place,
    agent: [u8; 16],
    line: Option<Connection>,
    request: Arc<pb::Request>,
    /// Absent: no body framing.
    body: Option<Vec<Bytes>>,
    deliveries: Vec<Delivery>,
    /// Bytes of them that do not count at the reader.
    kept: usize,
    /// All of them count there, and will not when there is room for more here.
    counted: bool,
    attempt: u32,
    answers: Answers,
    /// When it was whole and could have been sent.
    arrived_ns: u64,
    due_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Parts of its body are missing.
    Assembling,
    /// Not due yet; in `merge`.
    Waiting,
    /// Due; waits for the answer before it on its connection, since then.
    Blocked { since_ns: u64 },
    /// In `ready`.
    Ready,
    /// With the sender.
    InFlight,
    /// Answered; production's answer is awaited, or both are being compared.
    Judging,
}

impl Carry {
    pub(crate) fn new(pacer: Pacer) -> Self {
        Self {
            pacer,
            tally: Tally::default(),
            lag: Times::new(),
            latency: Times::new(),
            beside: BTreeMap::new(),
            down: Duration::ZERO,
            first_due_ns: None,
            last_settled_ns: None,
        }
    }
}

impl Pipeline {
    pub(crate) fn new(
        job: Arc<Job>,
        prepared: &Prepared,
        tail: LogTail,
        room: Room,
        stats: TargetStats,
        bench: Option<Bench>,
        carry: Carry,
    ) -> Self {
        let target = prepared.target.clone();
        let begun_ns = job.time.now();
        let assembly = Assembly::new(room.bound);
        let order = (job.config.order == Order::Connection)
            .then(|| OrderTable::new(room.line_bytes, room.line_requests));
        Self {
            bell: job.alarm.bell(),
            production: Production::new(&target.url),
            course: Course::new(job.journal.follow()),
            job,
            target,
            sender: Arc::clone(&prepared.sender),
            share: prepared.share.clone(),
            tail,
            stats,
            room,
            flights: Table::default(),
            next_ticket: 0,
            held_bytes: 0,
            held: Held::new(),
            assembly,
            merge: Merge::default(),
            order,
            judging: bench.map(Judging::new),
            hearing: None,
            ready: VecDeque::new(),
            sends: Lanes::new(Arc::clone(&prepared.sender)),
            in_flight: 0,
            going: 0,
            pace_over: false,
            seen: Seen::default(),
            settled: Settled::default(),
            agents: Agents::default(),
            partitions: BTreeMap::new(),
            open: BTreeSet::new(),
            down: None,
            flaps: Flaps::default(),
            shared_ns: None,
            told_sent: BTreeMap::new(),
            phase: Phase::Running,
            begun_ns,
            carry,
            shown: ends::Shown::new(),
        }
    }

    /// Runs until the window, a limit or `stop` ends it; leaves the group in order.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<Ended, ReplayError> {
        self.plan_partitions();
        self.join().await;
        let end = self.turn_until_end(&stop).await;
        self.close(end).await
    }

    async fn turn_until_end(&mut self, stop: &CancellationToken) -> Result<End, ReplayError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if matches!(self.carry.pacer, Pacer::Max) {
                // Sends that are about to end are settled together.
                tokio::task::yield_now().await;
            }
            self.settle_ended().await?;
            if self.phase == Phase::Running {
                self.unpark().await?;
            }
            let wake = self.pump().await?;
            self.keep_more();
            self.bell.set(wake);
            self.report_partitions().await?;
            self.settle_up_in_time();
            if let Some(end) = self.is_over() {
                return Ok(end);
            }
            let running = self.phase == Phase::Running;
            tokio::select! {
                biased;
                () = stop.cancelled(), if running => self.drain(End::Stopped, self.job.config.drain),
                sent = self.sends.next() => self.settle(sent?).await?,
                judged = Judging::next(&mut self.judging) => self.on_judged(judged)?,
                () = self.bell.rung() => {}
                () = self.course.changed(), if running => Box::pin(self.heed()).await,
                heard = Hearing::heard(&mut self.hearing), if running => Box::pin(self.on_heard(heard)).await?,
                event = self.tail.next(), if running && !self.is_hearing() => {
                    self.on_event(event?).await?;
                    self.take_more_events().await?;
                }
                () = wait_back(&mut self.down) => self.on_back(),
                _ = tick.tick() => {
                    self.on_tick();
                    self.check_parked();
                    Box::pin(self.answer_newcomers()).await;
                    Box::pin(self.share_ahead()).await;
                }
            }
        }
    }

    /// Events that are there already, so that a full log is not read one turn each.
    async fn take_more_events(&mut self) -> Result<(), ReplayError> {
        for _ in 0..EVENTS_PER_TURN {
            // Safe to drop in between: `next` is cancel-safe.
            if self.is_hearing() {
                break;
            }
            let Some(event) = self.tail.next().now_or_never() else { break };
            self.on_event(event?).await?;
        }
        Ok(())
    }

    async fn settle_ended(&mut self) -> Result<(), ReplayError> {
        while let Some(sent) = self.sends.try_next() {
            self.settle(sent).await?;
        }
        self.settle_judged()
    }

    /// Nothing new is sent from now on.
    fn drain(&mut self, end: End, patience: Duration) {
        if self.phase == Phase::Running {
            self.phase = Phase::Draining { end, until: Instant::now() + patience };
        }
    }

    fn is_over(&self) -> Option<End> {
        match self.phase {
            Phase::Draining { end, until } => {
                let done = self.in_flight == 0 && self.is_judged();
                (done || Instant::now() >= until).then_some(end)
            }
            Phase::Running if self.all_finished() => Some(End::Finished),
            Phase::Running => self.is_limited(),
        }
    }

    async fn close(mut self, end: Result<End, ReplayError>) -> Result<Ended, ReplayError> {
        // What is still in flight has used up its time; it will be sent again, as a
        // second attempt, by whoever goes on.
        self.sends.shutdown().await;
        self.on_down_end();
        self.tell_all_of_verdict().await;
        self.sum_up();
        if end.is_ok() {
            self.settle_up();
        } else {
            self.settle_up_after_error();
        }
        std::mem::take(&mut self.flights).into_values().for_each(|flight| flight.leave());
        self.held.drop_parked();
        let patience = self.job.config.drain.max(Duration::from_secs(5));
        if !matches!(end, Ok(End::Finished)) {
            self.tell_left().await;
        }
        let closed = self.tail.close(patience).await;
        let end = end?;
        closed?;
        let missing = match (end, self.job.planned.to_ns) {
            (End::Finished, Some(to)) => self.agents.missing(to),
            _ => Vec::new(),
        };
        Ok(Ended { target: self.target.name, end, carry: self.carry, missing })
    }

    fn now(&self) -> u64 {
        self.job.time.now()
    }

    fn tally(&mut self, partition: u32) -> &mut Tally {
        &mut self.partitions.entry(partition).or_default().tally
    }

    fn grace_ns(&self) -> u64 {
        nanos(self.job.planned.grace)
    }
}

/// Resolves when the target that is down takes connections again; never while it is
/// up.
async fn wait_back(down: &mut Option<Down>) {
    match down {
        Some(down) => down.back().await,
        None => std::future::pending().await,
    }
}
