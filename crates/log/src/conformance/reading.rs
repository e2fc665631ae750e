//! Promises of the reading side, as far as they are not about progress.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bench, NOTHING, Reader, SILENCE, Subject, now_ns, offsets, settle, text};
use crate::{Delivery, Event, Start, Tail, TailOptions};

/// Nothing is waited for in vain: not even in an empty partition.
pub async fn an_empty_log_is_caught_up_with(subject: &dyn Subject) {
    let bench = Bench::new(subject, "empty", 3).await;
    let mut reader = bench.reader(Some("g"), Start::Earliest).await;
    let mut assigned = BTreeMap::new();
    while assigned.len() < 3 {
        match reader.event().await {
            Event::Assigned(partitions) => {
                assigned.extend(partitions.iter().map(|one| (one.partition, one.offset)));
            }
            other => panic!("{other:?} before the partitions were assigned"),
        }
    }
    assert_eq!(assigned, BTreeMap::from([(0, 0), (1, 0), (2, 0)]));
    let mut caught_up = BTreeSet::new();
    while caught_up.len() < 3 {
        match reader.event().await {
            Event::CaughtUp { partition, offset: 0 } => {
                assert!(caught_up.insert(partition), "told twice");
            }
            other => panic!("{other:?}"),
        }
    }
    reader.close().await;
}

/// It is told behind the records, each time, and only where there were some.
pub async fn caught_up_is_told_after_the_records_it_covers(subject: &dyn Subject) {
    let bench = Bench::new(subject, "caught-up", 2).await;
    let writer = bench.writer().await;
    let mut reader = bench.reader(None, Start::Earliest).await;
    settle(reader.up_to(&[(0, 0), (1, 0)]).await);
    for round in 1..=3u64 {
        writer.append_numbers(1, 0..20);
        writer.flush().await;
        let mut next = (round - 1) * 20;
        while next < round * 20 {
            // It may catch up in between, but never ahead of the records.
            match reader.event().await {
                Event::Delivery(delivery) => {
                    assert_eq!((delivery.partition, delivery.offset), (1, next));
                    next += 1;
                    delivery.done();
                }
                Event::CaughtUp { partition, offset } => {
                    assert_eq!((partition, offset), (1, next));
                }
                other => panic!("{other:?}"),
            }
        }
        settle(reader.up_to(&[(1, round * 20)]).await);
    }
    assert!(reader.event_if_any().await.is_none(), "there is nothing more to tell");
}

/// `Start::Latest`.
pub async fn latest_begins_with_what_comes(subject: &dyn Subject) {
    let bench = Bench::new(subject, "latest", 2).await;
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..50);
    writer.flush().await;
    let mut reader = bench.reader(Some("g"), Start::Latest).await;
    assert_eq!(offsets(&reader.up_to(&[(0, 50), (1, 0)]).await), NOTHING);
    writer.append(0, "new");
    writer.append(1, "new");
    writer.flush().await;
    let deliveries = reader.deliveries(2).await;
    let seen: BTreeSet<_> = deliveries.iter().map(|d| (d.partition, d.offset, text(d))).collect();
    assert_eq!(seen, BTreeSet::from([(0, 50, "new"), (1, 0, "new")]));
    settle(deliveries);
    reader.close().await;
}

/// `Start::At`.
pub async fn at_begins_there_and_elsewhere_at_zero(subject: &dyn Subject) {
    let bench = Bench::new(subject, "at", 3).await;
    let writer = bench.writer().await;
    for partition in 0..3 {
        writer.append_numbers(partition, 0..40);
    }
    writer.flush().await;
    // The end is a place to start at, too.
    let start = Start::At(BTreeMap::from([(0, 25), (1, 40)]));
    let mut reader = bench.reader(Some("g"), start).await;
    let deliveries = reader.up_to(&[(0, 40), (1, 40), (2, 40)]).await;
    let mut seen: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for delivery in &deliveries {
        seen.entry(delivery.partition).or_default().push(delivery.offset);
    }
    assert_eq!(seen, BTreeMap::from([(0, (25..40).collect()), (2, (0..40).collect())]));
    settle(deliveries);
    reader.close().await;
}

/// `offsets_for_time`: late records included.
pub async fn a_time_is_found_and_nothing_before_it_is_as_new(subject: &dyn Subject) {
    let bench = Bench::new(subject, "times", 3).await;
    let begin = now_ns() - 60_000_000_000;
    let mut times: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    // Partition 2 stays empty, and a writer in between makes a new segment.
    for round in 0..4u64 {
        let writer = bench.writer().await;
        for number in 0..50u64 {
            let partition = (number % 2) as u32;
            // Every fifth is late by up to a few rounds.
            let late = if number % 5 == 0 { number * 3 } else { 0 };
            let time = begin + (round * 50 + number).saturating_sub(late) * 1_000_000;
            writer.try_append(partition, time, b"x").expect("there is room");
            times.entry(partition).or_default().push(time);
        }
        writer.flush().await;
    }
    let mut exact = 0;
    for tick in [0, 1, 13, 49, 50, 51, 99, 120, 150, 199] {
        let time = begin + tick * 1_000_000;
        let found = bench.log.offsets_for_time(time).await.expect("times can be asked");
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
        for (partition, times) in &times {
            let offset = found[partition] as usize;
            let before = times[..offset].iter().filter(|&&before| before >= time);
            assert_eq!(before.count(), 0, "partition {partition}, tick {tick}: {offset}");
            exact += usize::from(times.get(offset).is_some_and(|&at| at >= time));
        }
        assert_eq!(found[&2], 0);
    }
    assert!(exact > 0, "some tick is found exactly");
    let later = bench.log.offsets_for_time(begin + 200_000_000).await.expect("can be asked");
    assert_eq!(later, BTreeMap::from([(0, 100), (1, 100), (2, 0)]), "the end");
}

/// `next` loses nothing when its future is dropped.
pub async fn next_may_be_cancelled(subject: &dyn Subject) {
    let bench = Bench::new(subject, "cancel", 1).await;
    let writer = bench.writer().await;
    let mut reader = bench.reader(None, Start::Earliest).await;
    let (mut appended, mut next, mut cancelled) = (0, 0, 0);
    let deadline = tokio::time::Instant::now() + super::DEADLINE;
    while next < 300 {
        if appended < 300 {
            appended += 1;
            writer.append(0, "x");
        }
        let wait = std::time::Duration::from_micros(200);
        match tokio::time::timeout(wait, reader.0.next()).await {
            Ok(Ok(Event::Delivery(delivery))) => {
                assert_eq!(delivery.offset, next);
                next += 1;
                delivery.done();
            }
            Ok(Ok(Event::Assigned(_) | Event::CaughtUp { .. })) => {}
            Ok(other) => panic!("{other:?}"),
            Err(_) => cancelled += 1,
        }
        assert!(tokio::time::Instant::now() < deadline, "{next} came");
    }
    assert!(cancelled > 0);
}

/// The high mark, and that reading goes on below a quarter.
pub async fn undone_deliveries_bound_what_is_read_ahead(subject: &dyn Subject) {
    let bench = Bench::new(subject, "ahead", 1).await;
    let writer = bench.writer().await;
    for _ in 0..3000 {
        writer.append_patiently(0, &[b'x'; 1000]).await;
    }
    writer.flush().await;
    for (read_ahead_records, read_ahead_bytes) in [(100, usize::MAX), (usize::MAX, 100_000)] {
        let options =
            TailOptions { read_ahead_records, read_ahead_bytes, ..TailOptions::default() };
        let mut reader = bench.reader_with(options).await;
        let mut held = Vec::new();
        while let Ok(event) = tokio::time::timeout(SILENCE, reader.0.next()).await {
            match event.expect("the log can be read") {
                Event::Delivery(delivery) => held.push(delivery),
                Event::Assigned(_) => {}
                other => panic!("{other:?}"),
            }
            assert!(held.len() <= 200, "it goes on reading");
        }
        while held.is_empty() {
            held.push(reader.delivery().await);
        }
        // One that is never settled does not stop the others.
        let stuck = held.remove(0);
        settle(held);
        loop {
            let delivery = reader.delivery().await;
            let last = delivery.offset == 2999;
            delivery.done();
            if last {
                break;
            }
        }
        stuck.done();
    }
}

/// `uncount`: what is uncounted stays undone and takes no room; the bound holds for
/// all others, also for what was uncounted and comes again.
pub async fn what_is_uncounted_holds_nobody_up(subject: &dyn Subject) {
    let bench = Bench::new(subject, "uncount", 1).await;
    let writer = bench.writer().await;
    for _ in 0..1500 {
        writer.append_patiently(0, &[b'x'; 1000]).await;
    }
    writer.flush().await;
    for (group, records, bytes) in [("records", 100, usize::MAX), ("bytes", usize::MAX, 100_000)] {
        let options = TailOptions {
            group: Some(format!("uncount.{group}")),
            read_ahead_records: records,
            read_ahead_bytes: bytes,
            ..TailOptions::default()
        };
        let mut reader = bench.reader_with(options).await;
        // Ten times the bound.
        let mut uncounted = reader.deliveries(1).await;
        while uncounted.len() < 1000 {
            uncounted.iter_mut().last().expect("there is one").uncount();
            uncounted.push(reader.delivery().await);
        }
        uncounted.iter_mut().for_each(Delivery::uncount);
        let mut counted = reader.deliveries(1).await;
        counted.extend(until_silence(&mut reader).await);
        assert!(counted.len() <= 200, "{} beyond the bound", counted.len());
        let mut done: BTreeSet<u64> = offsets(&counted).into_iter().collect();
        settle(counted);
        // Done and dropped as ever: nothing is subtracted twice, progress is theirs.
        let dropped = uncounted.split_off(500);
        done.extend(offsets(&uncounted));
        settle(uncounted);
        let mut missing: BTreeSet<u64> = offsets(&dropped).into_iter().collect();
        drop(dropped);
        // Those that come again are not held back, for they are in memory anyway, but
        // they count.
        let (mut again, mut new) = (Vec::new(), 0);
        while !missing.is_empty() {
            let delivery = reader.delivery().await;
            new += usize::from(!missing.remove(&delivery.offset));
            again.push(delivery);
        }
        let more = until_silence(&mut reader).await;
        assert!(new + more.len() <= 200, "it goes on reading: {new} and {}", more.len());
        done.extend(offsets(&again));
        done.extend(offsets(&more));
        settle(again);
        settle(more);
        while done.len() < 1500 {
            let delivery = reader.delivery().await;
            done.insert(delivery.offset);
            delivery.done();
        }
        reader.close().await;
        let mut next = bench.reader(Some(group), Start::Earliest).await;
        assert_eq!(offsets(&next.up_to(&[(0, 1500)]).await), NOTHING);
        next.close().await;
    }
}

/// Deliveries that come until it seems that no more will.
async fn until_silence(reader: &mut Reader) -> Vec<Delivery> {
    let mut held = Vec::new();
    while let Some(event) = reader.event_if_any().await {
        match event {
            Event::Delivery(delivery) => held.push(delivery),
            Event::Assigned(_) | Event::CaughtUp { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    held
}

/// `finish`.
pub async fn a_finished_partition_is_left_alone(subject: &dyn Subject) {
    let bench = Bench::new(subject, "finish", 2).await;
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..20);
    writer.append_numbers(1, 0..20);
    writer.flush().await;
    let mut reader = bench.reader(Some("g"), Start::Earliest).await;
    let mut first = reader.up_to(&[(0, 20), (1, 20)]).await;
    reader.0.finish(0);
    // Dropping what is out does not bring it back now.
    first.retain(|delivery| delivery.partition == 1 || delivery.offset < 5);
    settle(first);
    writer.append_numbers(0, 20..40);
    writer.append_numbers(1, 20..40);
    writer.flush().await;
    let more = reader.up_to(&[(1, 40)]).await;
    assert!(more.iter().all(|delivery| delivery.partition == 1));
    assert_eq!(offsets(&more), (20..40).collect::<Vec<_>>());
    settle(more);
    assert!(reader.event_if_any().await.is_none());
    reader.close().await;
    let mut next = bench.reader(Some("g"), Start::Earliest).await;
    let rest = next.up_to(&[(0, 40), (1, 40)]).await;
    assert_eq!(offsets(&rest), (5..40).collect::<Vec<_>>(), "its progress was kept");
    settle(rest);
    next.close().await;
}

/// Groups, and readers without one.
pub async fn readers_of_different_groups_do_not_meet(subject: &dyn Subject) {
    let bench = Bench::new(subject, "groups", 1).await;
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..100);
    writer.flush().await;
    let mut one = bench.reader(Some("one"), Start::Earliest).await;
    let mut two = bench.reader(Some("two"), Start::Earliest).await;
    let mut none = bench.reader(None, Start::Earliest).await;
    settle(one.up_to(&[(0, 100)]).await);
    one.close().await;
    let all: Vec<u64> = (0..100).collect();
    let seen = two.up_to(&[(0, 100)]).await;
    assert_eq!(offsets(&seen), all);
    let seen_without = none.up_to(&[(0, 100)]).await;
    assert_eq!(offsets(&seen_without), all);
    settle(seen_without);
    settle(seen);
    two.close().await;
    none.close().await;
    let mut again = bench.reader(None, Start::Earliest).await;
    let seen = again.up_to(&[(0, 100)]).await;
    assert_eq!(offsets(&seen), all, "no group, no progress");
    settle(seen);
}
