//! The account of each partition: numbers given out, and the watermark up to which
//! all of them have been reported. Reports may come out of order (a batch that
//! failed is reported after later ones); the watermark waits for them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::Producer;

/// How often the number of partitions may grow while an appender is open.
const GROWTHS: usize = 64;

/// The lanes by partition. Those added later live in blocks of their own, so that
/// finding one takes no lock.
pub(super) struct Lanes {
    blocks: [OnceLock<Box<[Lane]>>; GROWTHS],
    count: AtomicU32,
}

impl Lanes {
    pub(super) fn new(partitions: u32) -> Self {
        let lanes = Self { blocks: [const { OnceLock::new() }; GROWTHS], count: AtomicU32::new(0) };
        lanes.grow(partitions);
        lanes
    }

    pub(super) fn len(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    /// Called by one thread at a time.
    pub(super) fn grow(&self, to: u32) {
        let now = self.len();
        let Some(more) = to.checked_sub(now).filter(|more| *more > 0) else { return };
        let block: Box<[Lane]> = (0..more).map(|_| Lane::default()).collect();
        let Some(free) = self.blocks.iter().find(|block| block.get().is_none()) else { return };
        if free.set(block).is_ok() {
            self.count.store(to, Ordering::Release);
        }
    }

    pub(super) fn get(&self, partition: u32) -> Option<&Lane> {
        let mut index = partition as usize;
        for block in &self.blocks {
            let block = block.get()?;
            match block.get(index) {
                Some(lane) => return Some(lane),
                None => index -= block.len(),
            }
        }
        None
    }

    /// Records go to this producer from now on; none: they find no room.
    pub(super) fn give(&self, producer: Option<&Arc<Producer>>) {
        self.iter().for_each(|lane| lane.accepted().producer = producer.cloned());
    }

    /// How many records were accepted and not reported yet.
    pub(super) fn waiting(&self) -> u64 {
        self.iter().map(|lane| lane.accepted().last().saturating_sub(lane.durable())).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.blocks.iter().map_while(OnceLock::get).flatten()
    }
}

/// One partition's account.
#[derive(Default)]
pub(super) struct Lane {
    /// Held while a record is handed to librdkafka.
    accepted: Mutex<Accepted>,
    durable: AtomicU64,
    /// Reported beyond the watermark.
    ahead: Mutex<BTreeSet<u64>>,
    /// Weights that do not fit a ticket.
    heavy: Mutex<BTreeMap<u64, u32>>,
    /// The record whose time is taken; 0: none.
    sampled: AtomicU64,
}

/// The numbers given out, and the times of those that are not durable: librdkafka
/// does not tell the time of a record that was refused.
#[derive(Default)]
pub(super) struct Accepted {
    last: u64,
    /// Of the last numbers, in order, Unix milliseconds.
    times: VecDeque<i64>,
    /// Takes the next one. Kept here, so that whoever changes it knows which records
    /// the one before was given.
    producer: Option<Arc<Producer>>,
    /// When the sampled record was accepted.
    since: Option<Instant>,
}

impl Accepted {
    /// The last number given out.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn producer(&self) -> Option<&Producer> {
        self.producer.as_deref()
    }

    /// The next number was given out; forgets the times of durable ones.
    fn push(&mut self, time_ms: i64, durable: u64) {
        self.last += 1;
        self.times.push_back(time_ms);
        let kept = self.last.saturating_sub(durable) as usize;
        let durable = self.times.len().saturating_sub(kept);
        self.times.drain(..durable);
    }

    fn time(&self, number: u64) -> Option<i64> {
        let back = self.last.checked_sub(number)? as usize;
        self.times.iter().rev().nth(back).copied()
    }
}

impl Lane {
    pub(super) fn accepted(&self) -> MutexGuard<'_, Accepted> {
        lock(&self.accepted)
    }

    /// The number after the last one now belongs to a record of this time.
    pub(super) fn accept(&self, accepted: &mut Accepted, time_ms: i64) {
        accepted.push(time_ms, self.durable());
    }

    /// Takes the time of the record that will have this number, if of no other.
    pub(super) fn sample(&self, accepted: &mut Accepted, number: u64) {
        if self.sampled.load(Ordering::Relaxed) == 0 {
            accepted.since = Some(Instant::now());
            self.sampled.store(number, Ordering::Relaxed);
        }
    }

    /// It was not accepted after all.
    pub(super) fn unsample(&self, accepted: &mut Accepted, number: u64) {
        if self.sampled.load(Ordering::Relaxed) == number {
            accepted.since = None;
            self.sampled.store(0, Ordering::Relaxed);
        }
    }

    /// How long the sampled record has been waiting.
    pub(super) fn waiting(&self) -> Duration {
        match self.sampled.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            _ => self.accepted().since.map_or(Duration::ZERO, |since| since.elapsed()),
        }
    }

    /// Time of a record that is not durable.
    pub(super) fn time(&self, number: u64) -> Option<i64> {
        lock(&self.accepted).time(number)
    }

    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// What travels with the record through librdkafka.
    pub(super) fn ticket(&self, number: u64, weight: u32) -> Ticket {
        if weight > 1 {
            lock(&self.heavy).insert(number, weight);
        }
        Ticket(number << 2 | u64::from(weight.min(HEAVY)))
    }

    /// The record was not accepted after all.
    pub(super) fn void(&self, ticket: Ticket) {
        self.redeem(ticket);
    }

    /// The weight that belongs to the ticket; once.
    pub(super) fn redeem(&self, ticket: Ticket) -> u32 {
        match ticket.weight() {
            HEAVY => lock(&self.heavy).remove(&ticket.number()).unwrap_or(HEAVY),
            weight => weight,
        }
    }

    /// Numbers given out and not reported.
    pub(super) fn missing(&self) -> Vec<u64> {
        let last = self.accepted().last;
        let ahead = lock(&self.ahead);
        (self.durable() + 1..=last).filter(|number| !ahead.contains(number)).collect()
    }

    /// The weight of a record whose ticket will not come back, or 1: most are.
    pub(super) fn weight(&self, number: u64) -> u32 {
        lock(&self.heavy).remove(&number).unwrap_or(1)
    }

    /// `number` is durable, or lost and told. The time that took, if it was taken.
    pub(super) fn report(&self, number: u64) -> Option<Duration> {
        self.pass(number);
        if self.sampled.load(Ordering::Relaxed) != number {
            return None;
        }
        let since = self.accepted().since.take();
        self.sampled.store(0, Ordering::Relaxed);
        since.map(|since| since.elapsed())
    }

    fn pass(&self, number: u64) {
        let mut ahead = lock(&self.ahead);
        let mut durable = self.durable.load(Ordering::Relaxed);
        if number <= durable {
            // It was given up, and is reported after all.
            return;
        }
        if number != durable + 1 {
            ahead.insert(number);
            return;
        }
        durable = number;
        while ahead.first() == Some(&(durable + 1)) {
            ahead.pop_first();
            durable += 1;
        }
        self.durable.store(durable, Ordering::Release);
    }
}

/// Stands for "look it up".
const HEAVY: u32 = 2;

/// A record's number and weight in one word, so that no allocation is needed to
/// carry them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl Ticket {
    pub(super) fn from_raw(raw: usize) -> Self {
        Self(raw as u64)
    }

    pub(super) fn into_raw(self) -> usize {
        const { assert!(usize::BITS == 64, "tickets need pointers of 64 bits") };
        self.0 as usize
    }

    pub(super) fn number(self) -> u64 {
        self.0 >> 2
    }

    fn weight(self) -> u32 {
        (self.0 & 3) as u32
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watermark_waits_for_reports_that_come_late() {
        let lane = Lane::default();
        for (number, durable) in [(2, 0), (3, 0), (1, 3), (5, 3), (4, 5), (6, 6)] {
            lane.report(number);
            assert_eq!(lane.durable(), durable, "after {number}");
        }
    }

    #[test]
    fn what_was_not_reported_is_missing_and_what_is_reported_again_changes_nothing() {
        let lane = Lane::default();
        for number in 1..=6 {
            lane.accept(&mut lane.accepted(), number);
        }
        lane.report(1);
        lane.report(4);
        assert_eq!(lane.missing(), [2, 3, 5, 6]);
        for number in [2, 3, 5, 2, 1, 6] {
            lane.report(number);
        }
        assert_eq!((lane.durable(), lane.missing(), lock(&lane.ahead).len()), (6, vec![], 0));
    }

    #[test]
    fn times_are_known_until_records_are_durable() {
        let lane = Lane::default();
        for number in 1..=5 {
            lane.accept(&mut lane.accepted(), number * 10);
        }
        lane.report(1);
        lane.report(2);
        lane.report(4);
        lane.accept(&mut lane.accepted(), 60);
        assert_eq!([3, 5, 6].map(|number| lane.time(number)), [Some(30), Some(50), Some(60)]);
        assert_eq!([2, 7].map(|number| lane.time(number)), [None, None]);
        let accepted = lane.accepted();
        assert_eq!((accepted.last(), accepted.times.len()), (6, 4));
    }

    #[test]
    fn one_record_at_a_time_is_timed() {
        let lane = Lane::default();
        lane.sample(&mut lane.accepted(), 1);
        lane.accept(&mut lane.accepted(), 1);
        lane.sample(&mut lane.accepted(), 2);
        lane.unsample(&mut lane.accepted(), 2);
        assert_eq!(lane.report(2), None);
        assert!(lane.waiting() > Duration::ZERO);
        assert!(lane.report(1).is_some());
        assert_eq!(lane.waiting(), Duration::ZERO);
        lane.sample(&mut lane.accepted(), 3);
        lane.unsample(&mut lane.accepted(), 3);
        assert_eq!((lane.waiting(), lane.report(3)), (Duration::ZERO, None));
    }

    #[test]
    fn a_ticket_keeps_number_and_weight() {
        let lane = Lane::default();
        for (number, weight) in [(1, 0), (2, 1), (3, 2), (4, 77), (u64::MAX >> 2, u32::MAX)] {
            let ticket = Ticket::from_raw(lane.ticket(number, weight).into_raw());
            assert_eq!(ticket.number(), number);
            assert_eq!(lane.redeem(ticket), weight);
        }
        assert!(lock(&lane.heavy).is_empty());
    }

    #[test]
    fn lanes_stay_where_they_are_when_more_are_added() {
        let lanes = Lanes::new(2);
        lanes.get(1).unwrap().report(1);
        assert!(lanes.get(2).is_none());
        lanes.grow(5);
        lanes.grow(3);
        assert_eq!(lanes.len(), 5);
        assert_eq!(lanes.get(1).unwrap().durable(), 1);
        lanes.get(4).unwrap().report(1);
        assert_eq!(lanes.iter().map(Lane::durable).collect::<Vec<_>>(), [0, 1, 0, 0, 1]);
        assert!(lanes.get(5).is_none());
    }
}
