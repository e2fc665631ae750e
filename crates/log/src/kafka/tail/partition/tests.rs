use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use super::*;
use crate::Assigned;

const MARKS: Marks = Marks { bytes: 10_000, records: 8 };

struct Bench {
    partition: Partition,
    desk: Desk,
}

impl Bench {
    fn new(from: &Checkpoint, grouped: bool) -> Self {
        let desk = Desk { inbox: Arc::default(), queue: SettleQueue::new(|| {}), grouped };
        desk.inbox.assigned(
            1,
            vec![Assigned { partition: 0, offset: from.committed, note: Bytes::new() }],
        );
        Self { partition: Partition::new(0, 1, from), desk }
    }

    fn arrive(&mut self, offsets: impl IntoIterator<Item = u64>) {
        for offset in offsets {
            self.partition.arrive(offset, 0, b"x", &self.desk);
        }
    }

    /// As a commit does that succeeds.
    fn reserve(&mut self) {
        let checkpoint = self.partition.progress.checkpoint();
        self.partition.progress.confirmed(&checkpoint);
        self.partition.release(&self.desk);
    }

    fn settle(&mut self) {
        let mut settled = Vec::new();
        self.desk.queue.drain(&mut settled);
        for one in settled {
            self.partition.settle(one, &self.desk);
        }
    }

    fn revoke(&mut self) {
        self.desk.inbox.revoke(&[(0, 1)].into());
        self.partition.give_up();
        self.settle();
    }

    /// What is there for the user.
    fn next(&self) -> Option<Event> {
        loop {
            let mut cx = Context::from_waker(Waker::noop());
            match pin!(self.desk.inbox.next()).poll(&mut cx) {
                Poll::Ready(Ok(Event::Assigned(_))) => {}
                Poll::Ready(other) => return Some(other.expect("no error")),
                Poll::Pending => return None,
            }
        }
    }

    fn deliveries(&self) -> Vec<Delivery> {
        std::iter::from_fn(|| match self.next()? {
            Event::Delivery(one) => Some(one),
            other => panic!("{other:?}"),
        })
        .collect()
    }
}

fn offsets(deliveries: &[Delivery]) -> Vec<(u64, u32)> {
    deliveries.iter().map(|one| (one.offset, one.attempt)).collect()
}

#[test]
fn nothing_is_delivered_before_it_is_reserved() {
    let mut bench = Bench::new(&Checkpoint::fresh(7), true);
    bench.arrive(7..10);
    bench.partition.reach_end(&bench.desk);
    assert!(bench.next().is_none());
    bench.reserve();
    for expected in 7..10 {
        match bench.next() {
            Some(Event::Delivery(one)) => assert_eq!((one.offset, one.attempt), (expected, 1)),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(bench.next(), Some(Event::CaughtUp { offset: 10, .. })));
    bench.partition.reach_end(&bench.desk);
    assert!(bench.next().is_none(), "the same end is told once");
}

#[test]
fn a_gap_wider_than_a_reservation_does_not_stop_it() {
    for grouped in [true, false] {
        let mut bench = Bench::new(&Checkpoint::fresh(0), grouped);
        bench.arrive([0, 1_000_000]);
        bench.reserve();
        bench.reserve();
        assert_eq!(offsets(&bench.deliveries()), [(0, 1), (1_000_000, 1)]);
    }
}

#[test]
fn what_a_predecessor_settled_is_skipped_and_what_it_may_have_sent_is_marked() {
    let from = Checkpoint {
        committed: 2,
        reserved: 8,
        runs: vec![(3, 5), (6, 7)],
        ..Checkpoint::fresh(0)
    };
    let mut bench = Bench::new(&from, true);
    bench.arrive(2..12);
    bench.reserve();
    let expected = [(2, 2), (5, 2), (7, 2), (8, 1), (9, 1), (10, 1), (11, 1)];
    let deliveries = bench.deliveries();
    assert_eq!(offsets(&deliveries), expected);
    deliveries.into_iter().for_each(Delivery::done);
    bench.settle();
    assert_eq!(bench.partition.progress.committed(), 12);
}

#[test]
fn the_high_mark_pauses_and_a_quarter_resumes() {
    let mut bench = Bench::new(&Checkpoint::fresh(0), false);
    bench.arrive(0..8);
    assert!(!bench.partition.takes(MARKS));
    let mut out = bench.deliveries();
    out.drain(3..).for_each(Delivery::done);
    bench.settle();
    assert!(!bench.partition.takes(MARKS), "3 of 8 are out");
    out.drain(2..).for_each(Delivery::done);
    bench.settle();
    assert!(bench.partition.takes(MARKS));
}

#[test]
fn what_is_uncounted_is_out_but_leaves_room() {
    let mut bench = Bench::new(&Checkpoint::fresh(0), true);
    bench.arrive(0..8);
    bench.reserve();
    let mut out = bench.deliveries();
    out.iter_mut().for_each(Delivery::uncount);
    bench.settle();
    assert!(bench.partition.takes(MARKS));
    assert!(!bench.partition.is_idle(), "its user has them");
    assert_eq!(bench.partition.progress.committed(), 0);
    // Dropped, they count again.
    drop(out);
    bench.settle();
    assert!(!bench.partition.takes(MARKS));
    let mut again = bench.deliveries();
    assert_eq!(offsets(&again), (0..8).map(|offset| (offset, 2)).collect::<Vec<_>>());
    again[0].uncount();
    again.into_iter().for_each(Delivery::done);
    bench.settle();
    assert_eq!((bench.partition.records, bench.partition.bytes), (0, 0));
    assert!(bench.partition.is_idle());
    assert_eq!(bench.partition.progress.committed(), 8);
}

#[test]
fn records_that_come_twice_are_delivered_once() {
    let mut bench = Bench::new(&Checkpoint::fresh(0), false);
    bench.arrive([0, 1, 2, 1, 2, 3]);
    assert_eq!(offsets(&bench.deliveries()), [(0, 1), (1, 1), (2, 1), (3, 1)]);
}

#[test]
fn given_up_it_waits_for_what_was_seen_and_forgets_the_rest() {
    let mut bench = Bench::new(&Checkpoint::fresh(0), true);
    bench.arrive(0..2);
    bench.reserve();
    let seen = bench.deliveries();
    // Two more that nobody looks at, and two that wait for a reservation.
    bench.arrive(2..4);
    bench.arrive([9_000, 9_001]);
    bench.revoke();
    assert!(!bench.partition.is_idle());
    seen.into_iter().for_each(Delivery::done);
    bench.settle();
    assert!(bench.partition.is_idle());
    // Offsets 4 to 9,000 do not exist.
    let expected =
        Checkpoint { committed: 2, reserved: 2, runs: vec![(4, 9_000)], ..Checkpoint::fresh(0) };
    assert_eq!(bench.partition.progress.last_checkpoint(), expected);
}

#[test]
fn of_what_was_seen_only_what_was_begun_is_reserved_in_the_end() {
    let mut bench = Bench::new(&Checkpoint::fresh(0), true);
    bench.arrive(0..10);
    bench.reserve();
    let mut seen = bench.deliveries();
    bench.arrive(10..12);
    bench.revoke();
    // 8 is done, 5 dropped, 2 still out in the end, nothing else was begun.
    seen.remove(8).done();
    drop(seen.remove(5));
    let out = seen.remove(2);
    seen.into_iter().for_each(Delivery::untouched);
    bench.settle();
    assert!(!bench.partition.is_idle());
    let expected =
        Checkpoint { committed: 0, reserved: 6, runs: vec![(8, 9)], ..Checkpoint::fresh(0) };
    assert_eq!(bench.partition.progress.last_checkpoint(), expected);
    out.untouched();
    bench.settle();
    assert!(bench.partition.is_idle());
    assert!(bench.next().is_some_and(|one| matches!(one, Event::Revoked(_))));
    assert!(bench.next().is_none(), "nothing comes again of what is given up");
}

#[test]
fn what_is_given_back_comes_again_at_once_and_counts() {
    let mut bench = Bench::new(&Checkpoint::fresh(0), true);
    bench.arrive(0..8);
    bench.reserve();
    let mut first = bench.deliveries();
    first.iter_mut().for_each(Delivery::uncount);
    first.into_iter().for_each(Delivery::untouched);
    bench.settle();
    assert!(!bench.partition.takes(MARKS));
    let again = bench.deliveries();
    assert_eq!(offsets(&again), (0..8).map(|offset| (offset, 1)).collect::<Vec<_>>());
    // Dropped, and then not begun a second time: once begun it stays.
    drop(again);
    bench.settle();
    bench.deliveries().into_iter().for_each(Delivery::untouched);
    bench.settle();
    assert_eq!(offsets(&bench.deliveries()), (0..8).map(|one| (one, 2)).collect::<Vec<_>>());
    bench.settle();
    bench.partition.finish();
    bench.revoke();
    assert_eq!(bench.partition.progress.last_checkpoint().reserved, 8);
}
