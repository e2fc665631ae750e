//! Where a pipeline stands: how far each partition has been read, when its window
//! is over, what is settled; and what is shown of it. What is told of that to the other
//! members of the job is in `journal`.

mod journal;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::{Duration, Instant},
};

use umbra_log::{Assigned, Tail};
use umbra_record::pb;

use super::{Pipeline, Stage, hint::Hint};
use crate::{
    clock::nanos,
    note::{Ledger, add},
    order::Ticket,
    stats::{Blocked, TargetState},
    tally::{Skip, Tally},
    window::Stand,
};

/// The shown state is renewed this often.
const SHOW: Duration = Duration::from_millis(250);

/// What waits less long than this is no news.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// One partition of the plan, or one met later.
#[derive(Debug, Default)]
pub(super) struct Partition {
    /// First offset of the plan.
    start: u64,
    /// First offset not to read, if the plan knows it.
    end: Option<u64>,
    /// The next offset to be met.
    next: u64,
    /// Its records come to this pipeline.
    held: bool,
    /// Everything that is in the log has been met.
    caught_up: bool,
    /// Time of the record met last.
    last_ns: u64,
    /// Since when nothing of the window can come any more.
    over_ns: Option<u64>,
    /// The reader was told so.
    unread: bool,
    /// Over, and everything taken from it is settled.
    pub(super) finished: bool,
    /// The job's journal says so.
    told: bool,
    /// And says it with the counts kept here.
    counted: bool,
    /// Requests taken from it and not settled.
    pub(super) open: Open,
    pub(super) tally: Tally,
    /// What travels with it.
    pub(super) ledger: Ledger,
}

/// Requests by their offsets. One that is read again while it is still with the sender
/// is in it twice.
#[derive(Debug, Default)]
pub(super) struct Open {
    offsets: BTreeMap<u64, usize>,
    count: usize,
}

/// What the shown state was made from.
#[derive(Debug)]
pub(super) struct Shown {
    at: Instant,
    begun: Instant,
    sent: u64,
    rate: f64,
    /// Of the send that ended last.
    pub(super) lag: Duration,
    pub(super) hint: Hint,
}

impl Open {
    pub(super) fn enter(&mut self, offset: u64) {
        *self.offsets.entry(offset).or_default() += 1;
        self.count += 1;
    }

    pub(super) fn leave(&mut self, offset: u64) {
        let Entry::Occupied(mut times) = self.offsets.entry(offset) else { return };
        *times.get_mut() -= 1;
        if *times.get() == 0 {
            times.remove();
        }
        self.count -= 1;
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.offsets.first_key_value().map(|(offset, _)| *offset)
    }
}

impl Partition {
    /// Whether its records come to this pipeline.
    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// Whether the journal has the counts kept here.
    pub(super) fn is_counted(&self) -> bool {
        self.counted
    }

    /// Everything below that offset is settled.
    pub(super) fn settled_to(&self) -> u64 {
        self.open.first().map_or(self.next, |first| first.min(self.next))
    }

    /// Requests sent, whoever read it.
    pub(super) fn sent(&self) -> u64 {
        self.ledger.inherited().sent + self.tally.sent
    }

    /// One that came with so many sends.
    #[cfg(test)]
    pub(super) fn inherited(held: bool, counted: bool, sent: u64) -> Self {
        let mut one = Self { held, counted, ..Self::default() };
        one.tally.sent = sent;
        one
    }

    /// What this process has counted of it, of requests that are settled.
    pub(super) fn settled_counts(&self) -> pb::Counts {
        let mut counts = self.tally.to_counts();
        let open = self.open.count() as u64;
        counts.read = counts.read.saturating_sub(open);
        counts.selected = counts.selected.saturating_sub(open);
        counts
    }

    /// The same of whoever read it.
    fn all_counts(&self) -> pb::Counts {
        let mut counts = self.ledger.inherited().clone();
        add(&mut counts, &self.settled_counts());
        counts
    }
}

impl Shown {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { at: now, begun: now, sent: 0, rate: 0.0, lag: Duration::ZERO, hint: Hint::default() }
    }
}

impl Pipeline {
    /// Takes the partitions of the plan. What was finished before stays so; what has
    /// nothing to read is over at once.
    pub(super) fn plan_partitions(&mut self) {
        for (number, (start, end)) in &self.job.planned.partitions {
            let told = self.job.planned.done.contains(&(self.target.name.clone(), *number));
            let empty = end.is_some_and(|end| end <= *start);
            let partition = Partition {
                start: *start,
                end: *end,
                next: *start,
                over_ns: (told || empty).then_some(0),
                finished: told || empty,
                // Of one that is empty the plan has told everybody.
                told: told || empty,
                ..Partition::default()
            };
            self.partitions.insert(*number, partition);
        }
    }

    pub(super) async fn on_assigned(&mut self, partitions: &[Assigned]) {
        let now = self.now();
        let ends_known = !self.job.planned.live && self.job.planned.ends_are_known();
        for assigned in partitions {
            let Assigned { partition: number, offset, .. } = assigned;
            self.seen.restart(*number, *offset);
            let partition = self.partitions.entry(*number).or_insert_with(|| Partition {
                // Born after the plan was made: nothing of a window that was over
                // by then is in it.
                end: ends_known.then_some(0),
                start: *offset,
                ..Partition::default()
            });
            partition.next = *offset;
            partition.held = true;
            partition.unread = false;
            partition.caught_up = false;
            if !partition.told {
                self.open.insert(*number);
            }
            self.inherit(assigned);
            self.merge.hold(*number, now);
            self.look_at_end(*number, now);
            let finished = self.partitions.get(number).is_some_and(|one| one.finished);
            if !ends_known && !finished && !self.job.planned.partitions.contains_key(number) {
                self.tell_of_partition(*number).await;
            }
        }
        self.share_out();
    }

    pub(super) fn released(&mut self, number: u32) {
        self.open.remove(&number);
        if let Some(partition) = self.partitions.get_mut(&number) {
            partition.held = false;
            if !partition.told {
                // What of it was read and not sent is for whoever reads it next: only
                // they can tell when it is finished.
                partition.over_ns = None;
                partition.finished = false;
            }
        }
    }

    /// A record of the partition has been met.
    pub(super) fn passed(&mut self, number: u32, offset: u64, time_ns: u64) {
        let now = self.now();
        self.merge.heard(number, now);
        if let Some(partition) = self.partitions.get_mut(&number) {
            partition.next = partition.next.max(offset + 1);
            partition.caught_up = false;
            partition.last_ns = time_ns;
        }
    }

    pub(super) fn on_caught_up(&mut self, number: u32, offset: u64) {
        let now = self.now();
        self.merge.at_end(number);
        if let Some(partition) = self.partitions.get_mut(&number) {
            partition.next = partition.next.max(offset);
            partition.caught_up = true;
        }
        self.look_at_end(number, now);
    }

    pub(super) fn on_missing(&mut self, number: u32, from: u64, to: u64) {
        if let Some(partition) = self.partitions.get_mut(&number) {
            let end = partition.end.unwrap_or(u64::MAX);
            partition.tally.missing += to.min(end).saturating_sub(from);
            partition.next = partition.next.max(to);
        }
    }

    /// Whether a record there is beyond the plan.
    pub(super) fn is_past_end(&self, number: u32, offset: u64) -> bool {
        let partition = self.partitions.get(&number);
        partition.and_then(|partition| partition.end).is_some_and(|end| offset >= end)
    }

    /// Finds out whether the partition is over, and if so, stops reading it as soon
    /// as no part of a request is missing.
    fn look_at_end(&mut self, number: u32, now: u64) {
        let grace = self.grace_ns();
        let unanswered = self.waits_for_answers_in(number);
        let Some(partition) = self.partitions.get_mut(&number) else { return };
        if !partition.held {
            return;
        }
        if partition.over_ns.is_none() {
            let over = match (partition.end, self.job.planned.to_ns) {
                _ if self.job.planned.live => false,
                (Some(end), _) => partition.next >= end,
                (None, Some(to)) => {
                    let stand = Stand { next: partition.next, caught_up: partition.caught_up };
                    self.agents.delivered((number, stand), to, now, grace)
                }
                (None, None) => false,
            };
            if !over {
                return;
            }
            partition.over_ns = Some(now);
        }
        if self.assembly.waits_in(number) || unanswered {
            return;
        }
        if !partition.unread {
            partition.unread = true;
            self.tail.finish(number);
            self.merge.release(number);
        }
        partition.finished = partition.open.count() == 0;
    }

    /// How far each partition that is read here was met.
    pub(super) fn read_up_to(&self) -> BTreeMap<u32, u64> {
        let held = self.partitions.iter().filter(|(_, partition)| partition.held);
        held.map(|(number, partition)| (*number, partition.next)).collect()
    }

    /// Whether everything that is in the log of this partition has been met.
    pub(super) fn has_caught_up(&self, number: u32) -> bool {
        self.partitions.get(&number).is_none_or(|partition| partition.caught_up)
    }

    /// Since when the job's duration counts in this start. A live replay begins when
    /// it starts to listen, a window with its first request.
    pub(super) fn counts_from(&self) -> Option<u64> {
        if self.job.planned.live { Some(self.begun_ns) } else { self.carry.first_due_ns }
    }

    pub(super) fn on_tick(&mut self) {
        let now = self.now();
        self.settle_up();
        self.check_patience();
        self.look_for_partitions();
        self.check_order(now);
        self.check_parts(now);
        self.check_answers();
        self.tell_verdict();
        let numbers: Vec<u32> = self.partitions.keys().copied().collect();
        for number in numbers {
            if self.partitions.get(&number).is_some_and(|partition| !partition.finished) {
                self.look_at_end(number, now);
            }
        }
        if self.shown.at.elapsed() >= SHOW {
            self.show(false);
        }
    }

    /// A connection whose next request is held up by one that is not even whole
    /// loses its order after the target's timeout; one that takes too much of what is
    /// read ahead, when the same request holds it up for a while.
    fn check_order(&mut self, now: u64) {
        let timeout = nanos(self.target.timeout);
        let Some(order) = &mut self.order else { return };
        let mut stuck = Vec::new();
        for flight in self.flights.values() {
            let (Stage::Blocked { since_ns }, Some(line)) = (flight.stage, flight.line) else {
                continue;
            };
            let first = order.first(line).and_then(|ticket| self.flights.get(&ticket));
            let unsent = first.is_some_and(|flight| flight.stage == Stage::Assembling);
            if unsent && now.saturating_sub(since_ns) > timeout {
                stuck.push(line);
            }
        }
        stuck.retain(|line| order.lose(*line));
        let flights = &self.flights;
        // One that is not due, or waits for room, holds nobody up by itself.
        stuck.extend(order.held_up(now, |ticket| {
            flights
                .get(&ticket)
                .is_some_and(|flight| !matches!(flight.stage, Stage::Waiting | Stage::Ready))
        }));
        for line in stuck {
            self.lost_order(line);
        }
    }

    /// Parts that will not come are not waited for: those of an agent that has ended
    /// or fallen silent. While it lives, an upload may take as long as it likes; the
    /// room that it takes meanwhile is bounded.
    fn check_parts(&mut self, now: u64) {
        let grace = self.grace_ns();
        let mut lost: Vec<Ticket> = Vec::new();
        for (number, partition) in &self.partitions {
            if !partition.caught_up {
                continue;
            }
            let (flights, agents) = (&self.flights, &self.agents);
            lost.extend(self.assembly.give_up(*number, |ticket| {
                flights
                    .get(&ticket)
                    .is_none_or(|flight| agents.is_gone(&flight.agent, *number, now, grace))
            }));
        }
        for ticket in lost {
            self.skip(ticket, Skip::Incomplete);
        }
    }

    /// Adds the partitions' counts up for the report.
    pub(super) fn sum_up(&mut self) {
        self.show(true);
        for partition in self.partitions.values() {
            self.carry.tally.add(&partition.tally);
        }
    }

    fn show(&mut self, finished: bool) {
        let now = self.now();
        let mut tally = self.carry.tally.clone();
        let (mut passed, mut total) = (0, Some(0));
        for (number, partition) in &self.partitions {
            tally.add(&partition.tally);
            let read = partition.next.min(partition.end.unwrap_or(u64::MAX));
            passed += read.saturating_sub(partition.start);
            let all = partition.end.map(|end| end.saturating_sub(partition.start));
            total = total.zip(all).map(|(total, all)| total + all);
            let behind = if partition.caught_up || partition.finished || partition.last_ns == 0 {
                0
            } else {
                now.saturating_sub(partition.last_ns)
            };
            self.stats.log_lag(*number, Duration::from_nanos(behind));
        }
        passed = passed.saturating_sub(self.flights.len() as u64);
        self.measure_rate(tally.sent);
        let begun = self.shown.begun.elapsed();
        let eta = total
            .filter(|_| passed > 0)
            .map(|total: u64| begun.mul_f64(total.saturating_sub(passed) as f64 / passed as f64));
        let state = TargetState {
            read: tally.read,
            sent: tally.sent,
            answered: tally.answered,
            failed: tally.sent - tally.answered,
            skipped: tally.settled() - tally.sent,
            dead: tally.dead,
            in_flight: self.in_flight,
            waiting: self.flights.len() - self.in_flight,
            held_bytes: self.held_bytes,
            rate: self.shown.rate,
            lag: self.lag_now(),
            passed,
            total,
            eta: if finished { Some(Duration::ZERO) } else { eta },
            blocked: if finished { None } else { self.blocked() },
            finished,
        };
        self.job.stats.set_state(&self.target.name, state);
    }

    fn measure_rate(&mut self, sent: u64) {
        let seconds = self.shown.at.elapsed().as_secs_f64();
        if seconds > 0.0 {
            let rate = sent.saturating_sub(self.shown.sent) as f64 / seconds;
            // Smoothed over a few seconds, so that a person can read it.
            self.shown.rate += (rate - self.shown.rate) * (seconds / 2.0).min(1.0);
        }
        self.shown.at = Instant::now();
        self.shown.sent = sent;
    }

    /// The lateness of the last send, or what the next one has already.
    fn lag_now(&self) -> Duration {
        let now = self.now();
        let next = self.ready.front().and_then(|ticket| self.flights.get(ticket));
        let waits = next.map_or(0, |flight| now.saturating_sub(flight.due_ns));
        self.shown.lag.max(Duration::from_nanos(waits))
    }

    /// What holds the pipeline back, and the oldest record that is not settled.
    fn blocked(&self) -> Option<Blocked> {
        let now = self.now();
        let oldest = self
            .flights
            .values()
            .filter(|flight| flight.is_going() || flight.stage == Stage::Assembling)
            .min_by_key(|flight| flight.arrived_ns.max(flight.due_ns));
        let record = oldest.map(|flight| (flight.place.1, flight.place.2));
        if let Some(down) = &self.down {
            let record = record.or_else(|| {
                self.merge.first().map(|((_, partition, offset), _)| (partition, offset))
            });
            return Some(Blocked { why: down.why.clone(), record, since: down.lasted() });
        }
        let oldest = oldest?;
        let since = Duration::from_nanos(now.saturating_sub(oldest.arrived_ns.max(oldest.due_ns)));
        if since < WORTH_TELLING {
            return None;
        }
        let why = match oldest.stage {
            Stage::Assembling => "waits for the rest of a body".to_owned(),
            Stage::Blocked { .. } => "waits for the answer before it on its connection".to_owned(),
            Stage::Ready => format!("{} requests are in flight, no more may be", self.in_flight),
            Stage::Waiting | Stage::InFlight | Stage::Judging => "waits for an answer".to_owned(),
        };
        Some(Blocked { why, record, since })
    }
}
