//! Readers: groups, rebalances, crashes, gaps.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use umbra_log::{Append, Appender, Delivery, Entry, Event, Log, LogTail, Start, Tail, TailOptions};

use crate::broker::{self, DEADLINE, unique};

pub fn entry(partition: u32, payload: &[u8]) -> Entry<'_> {
    Entry {
        partition,
        time_ns: 1_700_000_000_000_000_000,
        key: b"",
        headers: &[],
        payload,
        weight: 1,
    }
}

/// Appends `from..to` to each partition, as text.
async fn append(log: &Log, partitions: u32, from: u64, to: u64) {
    let appender = log.appender().await.expect("an appender");
    append_with(&appender, partitions, from, to).await;
}

async fn append_with(appender: &Appender, partitions: u32, from: u64, to: u64) {
    for number in from..to {
        for partition in 0..partitions {
            appender.enqueue(&entry(partition, number.to_string().as_bytes())).expect("room");
        }
    }
    appender.flush(DEADLINE).await.expect("durable");
    assert_eq!(appender.losses(), []);
}

fn member(group: &str) -> TailOptions {
    TailOptions { group: Some(group.to_owned()), ..TailOptions::default() }
}

fn number(delivery: &Delivery) -> u64 {
    std::str::from_utf8(&delivery.payload).expect("text").parse().expect("a number")
}

async fn next(tail: &mut LogTail) -> Event {
    tokio::time::timeout(DEADLINE, tail.next()).await.expect("an event in time").expect("no error")
}

/// What one reader met until it had caught up with `partitions` partitions.
#[derive(Debug, Default)]
struct Met {
    assigned: BTreeMap<u32, u64>,
    deliveries: Vec<Delivery>,
    missing: Vec<(u32, u64, u64)>,
    ends: BTreeMap<u32, u64>,
}

async fn to_the_end(tail: &mut LogTail, ends: &BTreeMap<u32, u64>) -> Met {
    let mut met = Met::default();
    while met.ends != *ends {
        match next(tail).await {
            Event::Assigned(list) => met.assigned.extend(list),
            Event::Delivery(delivery) => met.deliveries.push(delivery),
            Event::CaughtUp { partition, offset } => {
                met.ends.insert(partition, offset);
            }
            Event::Missing { partition, from, to, .. } => met.missing.push((partition, from, to)),
            event => panic!("unexpected {event:?}"),
        }
    }
    met
}

fn ends(partitions: u32, offset: u64) -> BTreeMap<u32, u64> {
    (0..partitions).map(|partition| (partition, offset)).collect()
}

#[tokio::test]
async fn reads_all_partitions_without_a_group() {
    let topic = unique("plain");
    let log = broker::log(&topic, 3).await;
    append(&log, 3, 0, 50).await;
    let mut tail = log.tail(TailOptions::default()).await.expect("a tail");
    let met = to_the_end(&mut tail, &ends(3, 50)).await;
    assert_eq!(met.assigned, ends(3, 0));
    for partition in 0..3 {
        let read: Vec<u64> =
            met.deliveries.iter().filter(|one| one.partition == partition).map(number).collect();
        assert_eq!(read, (0..50).collect::<Vec<_>>());
    }
    assert!(met.deliveries.iter().all(|one| one.attempt == 1));
    tail.close(DEADLINE).await.expect("closed");
}

#[tokio::test]
async fn a_group_goes_on_where_it_closed() {
    let topic = unique("group");
    let log = broker::log(&topic, 3).await;
    append(&log, 3, 0, 50).await;
    let group = unique("g");
    let mut tail = log.tail(member(&group)).await.expect("a tail");
    let met = to_the_end(&mut tail, &ends(3, 50)).await;
    assert_eq!(met.deliveries.len(), 150);
    met.deliveries.into_iter().for_each(Delivery::done);
    let started = Instant::now();
    tail.close(DEADLINE).await.expect("closed");
    eprintln!("closed in {:?}", started.elapsed());
    append(&log, 3, 50, 60).await;
    let started = Instant::now();
    let mut tail = log.tail(member(&group)).await.expect("a tail");
    let met = to_the_end(&mut tail, &ends(3, 60)).await;
    eprintln!("reopened and read in {:?}", started.elapsed());
    assert_eq!(met.assigned, ends(3, 50));
    let read: Vec<(u64, u32)> =
        met.deliveries.iter().map(|one| (number(one), one.attempt)).collect();
    assert_eq!(read.len(), 30);
    assert!(
        read.iter().all(|(number, attempt)| (50..60).contains(number) && *attempt == 1),
        "{read:?}"
    );
    tail.close(DEADLINE).await.expect("closed");
}
