//! Promises about what comes again and what does not.

use std::{collections::BTreeSet, time::Duration};

use super::{Bench, NOTHING, Subject, offsets, settle, text};
use crate::{Delivery, Event, Start};

/// The plain case.
pub async fn what_is_done_does_not_come_again(subject: &dyn Subject) {
    let bench = Bench::new(subject, "done", 2).await;
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..30);
    writer.append_numbers(1, 0..30);
    writer.flush().await;
    let mut first = bench.reader(Some("g"), Start::Earliest).await;
    settle(first.up_to(&[(0, 30), (1, 30)]).await);
    first.close().await;
    let mut second = bench.reader(Some("g"), Start::Earliest).await;
    assert_eq!(offsets(&second.up_to(&[(0, 30), (1, 30)]).await), NOTHING);
    writer.append(0, "new");
    let new = second.delivery().await;
    assert_eq!((new.offset, new.attempt, text(&new)), (30, 1, "new"));
    new.done();
    second.close().await;
}

/// A start is for groups without progress.
pub async fn progress_wins_over_the_start(subject: &dyn Subject) {
    let bench = Bench::new(subject, "start", 1).await;
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..10);
    writer.flush().await;
    let mut first = bench.reader(Some("g"), Start::Latest).await;
    assert_eq!(offsets(&first.up_to(&[(0, 10)]).await), NOTHING);
    writer.append_numbers(0, 10..20);
    writer.flush().await;
    let deliveries = first.up_to(&[(0, 20)]).await;
    let (done, undone) = deliveries.into_iter().partition(|delivery| delivery.offset < 15);
    settle(done);
    first.close().await;
    drop::<Vec<_>>(undone);
    for start in [Start::Latest, Start::Earliest, Start::At([(0, 3)].into())] {
        let mut next = bench.reader(Some("g"), start).await;
        assert_eq!(offsets(&next.up_to(&[(0, 20)]).await), [15, 16, 17, 18, 19]);
        next.close().await;
    }
}

/// The contiguous prefix, and the runs beyond it.
pub async fn what_is_not_done_comes_again_and_settled_runs_do_not(subject: &dyn Subject) {
    let bench = Bench::new(subject, "runs", 1).await;
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..20);
    writer.flush().await;
    let undone = BTreeSet::from([3, 4, 9, 17]);
    let mut first = bench.reader(Some("g"), Start::Earliest).await;
    let deliveries = first.up_to(&[(0, 20)]).await;
    let (held, done) =
        deliveries.into_iter().partition::<Vec<_>, _>(|d| undone.contains(&d.offset));
    settle(done);
    first.close().await;
    // Too late: somebody else has them now.
    settle(held);
    writer.append_numbers(0, 20..22);
    writer.flush().await;
    let mut second = bench.reader(Some("g"), Start::Earliest).await;
    let again = second.up_to(&[(0, 22)]).await;
    assert_eq!(offsets(&again), [3, 4, 9, 17, 20, 21]);
    let attempts: Vec<u32> = again.iter().map(|delivery| delivery.attempt).collect();
    assert_eq!(attempts, [2, 2, 2, 2, 1, 1], "a clean end says what was seen");
    settle(again);
    second.close().await;
    let mut third = bench.reader(Some("g"), Start::Earliest).await;
    assert_eq!(offsets(&third.up_to(&[(0, 22)]).await), NOTHING);
    third.close().await;
}

/// A reader that dies: nothing is lost, and what comes twice is marked.
pub async fn after_a_crash_what_may_be_done_is_marked(subject: &dyn Subject) {
    let bench = Bench::new(subject, "crash", 1).await;
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..200);
    writer.flush().await;
    let mut handled = BTreeSet::new();
    for _ in 0..4 {
        let mut reader = bench.reader(Some("g"), Start::Earliest).await;
        let mut held = Vec::new();
        for _ in 0..40 {
            let delivery = reader.delivery().await;
            let repeated = !handled.insert(delivery.offset);
            assert!(!repeated || delivery.attempt == 2, "{} is not marked", delivery.offset);
            if delivery.offset % 3 == 0 {
                held.push(delivery);
            } else {
                delivery.done();
            }
        }
        drop(reader);
        drop(held);
    }
    let mut last = bench.reader(Some("g"), Start::Earliest).await;
    while handled.len() < 200 || handled.iter().any(|&offset| offset >= 200) {
        let delivery = last.delivery().await;
        let repeated = !handled.insert(delivery.offset);
        assert!(!repeated || delivery.attempt == 2, "{} is not marked", delivery.offset);
        delivery.done();
    }
    last.close().await;
}

/// Every 200 ms, so that a crash repeats little.
pub async fn progress_is_committed_without_being_asked(subject: &dyn Subject) {
    let bench = Bench::new(subject, "commits", 1).await;
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..50);
    writer.flush().await;
    // The machine may be slow; that it never happens is what must not be.
    for wait in [500, 1000, 2000, 4000, 8000] {
        let mut reader = bench.reader(Some("g"), Start::Earliest).await;
        let deliveries = reader.up_to(&[(0, 50)]).await;
        let first = deliveries.is_empty();
        settle(deliveries);
        if first {
            return;
        }
        // Nobody calls `next` meanwhile.
        tokio::time::sleep(Duration::from_millis(wait)).await;
        drop(reader);
    }
    panic!("progress is not committed");
}

/// From any thread, backwards, late.
pub async fn deliveries_may_be_settled_anywhere_in_any_order(subject: &dyn Subject) {
    let bench = Bench::new(subject, "threads", 2).await;
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..500);
    writer.append_numbers(1, 0..500);
    writer.flush().await;
    let mut reader = bench.reader(Some("g"), Start::Earliest).await;
    let mut deliveries = reader.up_to(&[(0, 500), (1, 500)]).await;
    deliveries.reverse();
    let mut threads = Vec::new();
    while !deliveries.is_empty() {
        let rest = deliveries.split_off(deliveries.len().min(250));
        let mine = std::mem::replace(&mut deliveries, rest);
        threads.push(std::thread::spawn(move || settle(mine)));
    }
    for thread in threads {
        thread.join().expect("settling does not fail");
    }
    reader.close().await;
    let mut next = bench.reader(Some("g"), Start::Earliest).await;
    assert_eq!(offsets(&next.up_to(&[(0, 500), (1, 500)]).await), NOTHING);
    next.close().await;
}

/// Once more, then aside; never round and round, never lost.
pub async fn a_dropped_delivery_comes_once_more_and_is_then_set_aside(subject: &dyn Subject) {
    let bench = Bench::new(subject, "dropped", 1).await;
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..5);
    writer.flush().await;
    let mut reader = bench.reader(Some("g"), Start::Earliest).await;
    for delivery in reader.up_to(&[(0, 5)]).await {
        // 1 and 3 are dropped.
        if delivery.offset % 2 == 0 {
            delivery.done();
        }
    }
    let again = reader.deliveries(2).await;
    assert_eq!(offsets(&again), [1, 3]);
    for delivery in again {
        assert_eq!((text(&delivery), delivery.attempt), (&*delivery.offset.to_string(), 2));
        // 3 is good now, 1 is dropped again.
        if delivery.offset == 3 {
            delivery.done();
        }
    }
    match reader.event().await {
        Event::SetAside(delivery) => {
            assert_eq!((delivery.offset, text(&delivery)), (1, "1"));
            // It counts as done, however it ends.
            drop(delivery);
        }
        other => panic!("{other:?}"),
    }
    assert!(reader.event_if_any().await.is_none());
    reader.close().await;
    let mut next = bench.reader(Some("g"), Start::Earliest).await;
    assert_eq!(offsets(&next.up_to(&[(0, 5)]).await), NOTHING);
    next.close().await;
}

/// More than one block of reserved offsets.
pub async fn long_reads_renew_their_reservation(subject: &dyn Subject) {
    let bench = Bench::new(subject, "long", 1).await;
    let writer = bench.writer().await;
    let total = crate::progress::BLOCK * 3;
    for _ in 0..total {
        writer.append_patiently(0, b"x").await;
    }
    writer.flush().await;
    let mut reader = bench.reader(Some("g"), Start::Earliest).await;
    for offset in 0..total {
        let delivery = reader.delivery().await;
        assert_eq!((delivery.offset, delivery.attempt), (offset, 1));
        delivery.done();
    }
    reader.close().await;
    let mut next = bench.reader(Some("g"), Start::Earliest).await;
    assert_eq!(offsets(&next.up_to(&[(0, total)]).await), NOTHING);
    next.close().await;
}

/// Reading ahead is not handling.
pub async fn what_was_read_ahead_and_not_seen_is_no_attempt(subject: &dyn Subject) {
    let bench = Bench::new(subject, "unseen", 1).await;
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..100);
    writer.flush().await;
    let mut first = bench.reader(Some("g"), Start::Earliest).await;
    let seen = first.deliveries(10).await;
    first.close().await;
    drop(seen);
    let mut second = bench.reader(Some("g"), Start::Earliest).await;
    let all = second.up_to(&[(0, 100)]).await;
    assert_eq!(all.len(), 100);
    for delivery in &all {
        let attempt = if delivery.offset < 10 { 2 } else { 1 };
        assert_eq!(delivery.attempt, attempt, "{}", delivery.offset);
    }
    settle(all);
    second.close().await;
}

/// Read ahead, seen, and not begun: after a clean end nothing is marked but what was.
pub async fn what_is_given_back_untouched_is_no_attempt(subject: &dyn Subject) {
    let bench = Bench::new(subject, "untouched", 2).await;
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..100);
    writer.append_numbers(1, 0..100);
    writer.flush().await;
    let ends = [(0, 100), (1, 100)];
    let done = |offset: u64| offset < 10 || offset == 50 || offset == 99;
    let mut first = bench.reader(Some("g"), Start::Earliest).await;
    let mut out = Vec::new();
    for delivery in first.up_to(&ends).await {
        match (delivery.partition, delivery.offset) {
            (_, offset) if done(offset) => delivery.done(),
            // Begun, and dropped, or not settled in time.
            (1, 12) => drop(delivery),
            (1, 15) => out.push(delivery),
            _ => delivery.untouched(),
        }
    }
    first.close().await;
    settle(out);
    // The second begins nothing, the third dies.
    for clean in [true, false] {
        let mut next = bench.reader(Some("g"), Start::Earliest).await;
        let again = next.up_to(&ends).await;
        assert_eq!(again.len(), 2 * (100 - 12));
        for delivery in &again {
            let (partition, offset) = (delivery.partition, delivery.offset);
            let marked = partition == 1 && offset <= 15;
            assert_eq!(delivery.attempt, if marked { 2 } else { 1 }, "{partition}/{offset}");
            assert!(!done(offset), "{partition}/{offset} was done");
        }
        if clean {
            again.into_iter().for_each(Delivery::untouched);
            next.close().await;
        } else {
            drop(next);
            again.into_iter().for_each(Delivery::untouched);
        }
    }
    let mut last = bench.reader(Some("g"), Start::Earliest).await;
    let all = last.up_to(&ends).await;
    assert!(all.iter().all(|one| one.attempt == 2), "nobody knows what the dead one did");
    settle(all);
    last.close().await;
}

/// By whoever keeps the partition, as often as he likes: it is neither marked nor set
/// aside for that.
pub async fn what_is_given_back_untouched_comes_again_as_it_was(subject: &dyn Subject) {
    let bench = Bench::new(subject, "back", 1).await;
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..3);
    writer.flush().await;
    let mut reader = bench.reader(Some("g"), Start::Earliest).await;
    for delivery in reader.up_to(&[(0, 3)]).await {
        if delivery.offset == 1 { delivery.untouched() } else { delivery.done() }
    }
    for (attempt, dropped) in [(1, false), (1, true), (2, false), (2, false), (2, true)] {
        let again = reader.delivery().await;
        assert_eq!((again.offset, text(&again), again.attempt), (1, "1", attempt));
        if dropped { drop(again) } else { again.untouched() }
    }
    match reader.event().await {
        Event::SetAside(delivery) => delivery.done(),
        other => panic!("{other:?}"),
    }
    reader.close().await;
    let mut next = bench.reader(Some("g"), Start::Earliest).await;
    assert_eq!(offsets(&next.up_to(&[(0, 3)]).await), NOTHING);
    next.close().await;
}
