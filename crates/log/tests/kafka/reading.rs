//! Readers: groups, rebalances, crashes, gaps.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rdkafka::{
    Offset, TopicPartitionList,
    admin::AdminOptions,
    consumer::{BaseConsumer, CommitMode, Consumer},
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;
use umbra_log::{
    Append, Appender, Assigned, Delivery, Entry, Event, Log, LogTail, Start, Tail, TailOptions,
};

use crate::broker::{self, DEADLINE, Own, unique};

fn entry(partition: u32, payload: &[u8]) -> Entry<'_> {
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

fn begins(list: &[Assigned]) -> Vec<(u32, u64)> {
    list.iter().map(|one| (one.partition, one.offset)).collect()
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
            Event::Assigned(list) => met.assigned.extend(begins(&list)),
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
    tail.close(DEADLINE).await.expect("closed");
    append(&log, 3, 50, 60).await;
    let mut tail = log.tail(member(&group)).await.expect("a tail");
    let met = to_the_end(&mut tail, &ends(3, 60)).await;
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

/// A member of a group that handles what it gets until it is told to stop.
struct Member {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// Who handled what: member, partition, offset, attempt.
type Handled = (u32, u32, u64, u32);

impl Member {
    async fn start(name: u32, log: &Log, group: &str, handled: UnboundedSender<Handled>) -> Self {
        let stop = CancellationToken::new();
        let mut tail = log.tail(member(group)).await.expect("a tail");
        let stopped = stop.clone();
        let run = async move {
            loop {
                let event = tokio::select! {
                    () = stopped.cancelled() => break,
                    event = tail.next() => event.expect("no error"),
                };
                match event {
                    Event::Delivery(one) => {
                        handled
                            .send((name, one.partition, one.offset, one.attempt))
                            .expect("the test listens");
                        one.done();
                    }
                    Event::Assigned(_) | Event::Revoked(_) | Event::CaughtUp { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            tail.close(DEADLINE).await.expect("closed");
        };
        // Joined by `stop`.
        #[expect(clippy::disallowed_methods, reason = "held and awaited")]
        let task = tokio::spawn(run);
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic");
    }
}

/// Takes what was handled until `enough`.
async fn collect(
    handled: &mut UnboundedReceiver<Handled>,
    all: &mut Vec<Handled>,
    enough: impl Fn(&[Handled]) -> bool,
) {
    while !enough(all) {
        let one = tokio::time::timeout(DEADLINE, handled.recv()).await;
        all.push(one.expect("something is handled in time").expect("a member lives"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_and_each_record_is_handled_once() {
    const PARTITIONS: u32 = 6;
    let topic = unique("rebalance");
    let log = broker::log(&topic, PARTITIONS).await;
    let group = unique("g");
    let (tell, mut handled) = unbounded_channel();
    let appender = log.appender().await.expect("an appender");
    let stop_writing = CancellationToken::new();
    let write = async {
        let mut number = 0;
        while !stop_writing.is_cancelled() {
            append_with(&appender, PARTITIONS, number, number + 20).await;
            number += 20;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        number
    };
    let mut all = Vec::new();
    let by =
        |name: u32| move |all: &[Handled]| all.iter().filter(|one| one.0 == name).count() >= 500;
    let work = async {
        let first = Member::start(1, &log, &group, tell.clone()).await;
        collect(&mut handled, &mut all, by(1)).await;
        // Three at a time, each of them works; then they go, one by one.
        let second = Member::start(2, &log, &group, tell.clone()).await;
        collect(&mut handled, &mut all, by(2)).await;
        let third = Member::start(3, &log, &group, tell.clone()).await;
        collect(&mut handled, &mut all, by(3)).await;
        first.stop().await;
        third.stop().await;
        stop_writing.cancel();
        second
    };
    let (total, second) = tokio::join!(write, work);
    collect(&mut handled, &mut all, |all| {
        let different: BTreeSet<(u32, u64)> = all.iter().map(|one| (one.1, one.2)).collect();
        different.len() as u64 >= total * u64::from(PARTITIONS)
    })
    .await;
    second.stop().await;
    while let Ok(one) = handled.try_recv() {
        all.push(one);
    }
    let mut seen = BTreeMap::new();
    for (name, partition, offset, attempt) in all {
        let before = seen.insert((partition, offset), name);
        assert_eq!(before, None, "{partition}/{offset} again, by {name}");
        assert_eq!(attempt, 1, "{partition}/{offset} by {name}");
    }
    assert_eq!(seen.len() as u64, total * u64::from(PARTITIONS), "none is missing");
}

/// Longer than a session: the members may lose what they have, and get it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_loses_nothing_and_what_comes_twice_is_marked() {
    let own = Own::start();
    let options = broker::with(4, &[("session.timeout.ms", "6000")]);
    let log = Log::open(&own.address("outage"), options, umbra_log::Mode::Create).await;
    let log = log.expect("a log");
    let appender = log.appender().await.expect("an appender");
    append_with(&appender, 4, 0, 500).await;
    let (tell, mut handled) = unbounded_channel();
    let first = Member::start(1, &log, "g", tell.clone()).await;
    let second = Member::start(2, &log, "g", tell).await;
    let mut all = Vec::new();
    let complete = |count: u64| {
        move |all: &[Handled]| {
            let different: BTreeSet<(u32, u64)> = all.iter().map(|one| (one.1, one.2)).collect();
            different.len() as u64 == count
        }
    };
    collect(&mut handled, &mut all, complete(2000)).await;
    let (frozen, late) = (
        async {
            own.freeze();
            // Not a wait for something to happen: this is how long it is away.
            tokio::time::sleep(Duration::from_secs(8)).await;
            own.thaw();
        },
        async {
            for number in 500..700 {
                for partition in 0..4 {
                    appender
                        .enqueue(&entry(partition, number.to_string().as_bytes()))
                        .expect("room");
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        },
    );
    tokio::join!(frozen, late);
    appender.flush(DEADLINE).await.expect("durable");
    collect(&mut handled, &mut all, complete(2800)).await;
    first.stop().await;
    second.stop().await;
    while let Ok(one) = handled.try_recv() {
        all.push(one);
    }
    let mut seen = BTreeSet::new();
    for (name, partition, offset, attempt) in all {
        let again = !seen.insert((partition, offset));
        assert!(!again || attempt == 2, "{partition}/{offset} again, by {name}, not marked");
    }
}

/// Waits for the event, passing those that only tell of progress.
async fn next_of(tail: &mut LogTail) -> Event {
    loop {
        match next(tail).await {
            Event::CaughtUp { .. } => {}
            event => return event,
        }
    }
}

/// The only member of a new group holds 10 deliveries of each of two partitions when a
/// second one comes: returns the log, both, what is held and the partition that goes.
async fn held_at_revocation(what: &str) -> (Log, LogTail, LogTail, Vec<Delivery>, u32) {
    let topic = unique(what);
    // Half of the session timeout is what a revocation may take.
    let options = broker::with(2, &[("session.timeout.ms", "6000")]);
    let log = Log::open(&broker::address(&topic), options, umbra_log::Mode::Create).await;
    let log = log.expect("a log");
    append(&log, 2, 0, 10).await;
    let group = unique("g");
    let mut first = log.tail(member(&group)).await.expect("a tail");
    let held = to_the_end(&mut first, &ends(2, 10)).await.deliveries;
    assert_eq!(held.len(), 20);
    let second = log.tail(member(&group)).await.expect("a tail");
    let gone = match next_of(&mut first).await {
        Event::Revoked(gone) => gone,
        other => panic!("{other:?}"),
    };
    assert_eq!(gone.len(), 1, "one is moved, the other stays");
    (log, first, second, held, gone[0])
}

#[tokio::test]
async fn what_is_in_flight_may_be_settled_while_a_partition_goes() {
    let (log, first, mut second, held, gone) = held_at_revocation("in-flight").await;
    // The successor waits for it.
    let early = tokio::time::timeout(Duration::from_millis(500), next_of(&mut second)).await;
    assert!(early.is_err(), "{early:?}");
    held.into_iter().for_each(Delivery::done);
    append(&log, 2, 10, 11).await;
    match next_of(&mut second).await {
        Event::Assigned(list) => assert_eq!(begins(&list), [(gone, 10)]),
        other => panic!("{other:?}"),
    }
    match next_of(&mut second).await {
        Event::Delivery(one) => {
            assert_eq!((one.partition, one.offset, one.attempt), (gone, 10, 1));
            one.done();
        }
        other => panic!("{other:?}"),
    }
    first.close(DEADLINE).await.expect("closed");
    second.close(DEADLINE).await.expect("closed");
}

#[tokio::test]
async fn what_is_not_settled_when_a_partition_goes_is_marked() {
    let (_log, first, mut second, held, gone) = held_at_revocation("unsettled").await;
    // Every other is settled in time, the rest far too late.
    let (late, in_time) = held.into_iter().partition::<Vec<_>, _>(|one| one.offset % 2 == 0);
    in_time.into_iter().for_each(Delivery::done);
    match next_of(&mut second).await {
        Event::Assigned(list) => assert_eq!(begins(&list), [(gone, 0)]),
        other => panic!("{other:?}"),
    }
    let mut again = Vec::new();
    while again.len() < 5 {
        match next_of(&mut second).await {
            Event::Delivery(one) => again.push(one),
            other => panic!("{other:?}"),
        }
    }
    let told: Vec<_> = again.iter().map(|one| (one.partition, one.offset, one.attempt)).collect();
    let expected: Vec<_> = (0..5).map(|half| (gone, half * 2, 2)).collect();
    assert_eq!(told, expected);
    // What its old owner does now has no effect.
    late.into_iter().for_each(Delivery::done);
    first.close(DEADLINE).await.expect("closed");
    again.into_iter().filter(|one| one.offset < 4).for_each(Delivery::done);
    second.close(DEADLINE).await.expect("closed");
}

#[tokio::test]
async fn settling_late_does_not_move_the_next_owner() {
    let (log, first, mut second, held, gone) = held_at_revocation("late").await;
    let group_left = match next_of(&mut second).await {
        Event::Assigned(list) => begins(&list),
        other => panic!("{other:?}"),
    };
    assert_eq!(group_left, [(gone, 0)]);
    held.into_iter().for_each(Delivery::done);
    let partitions = log.spans().await.expect("spans").len();
    assert_eq!(partitions, 2);
    first.close(DEADLINE).await.expect("closed");
    // The second has done nothing yet: all ten of the moved partition come.
    let mut again = Vec::new();
    while again.len() < 10 {
        match next_of(&mut second).await {
            Event::Delivery(one) if one.partition == gone => again.push((one.offset, one.attempt)),
            Event::Delivery(_) | Event::Assigned(_) => {}
            other => panic!("{other:?}"),
        }
    }
    again.sort_unstable();
    again.dedup();
    assert_eq!(again.iter().map(|one| one.0).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    second.close(DEADLINE).await.expect("closed");
}

async fn delete_before(topic: &str, offset: i64) {
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(topic, 0, Offset::Offset(offset)).expect("an offset");
    let done = broker::admin().delete_records(&before, &AdminOptions::new()).await;
    done.expect("deleted").elements()[0].error().expect("deleted");
}

#[tokio::test]
async fn what_retention_took_before_it_was_read_is_told() {
    let topic = unique("gone");
    let log = broker::log(&topic, 1).await;
    append(&log, 1, 0, 50).await;
    let group = unique("g");
    let mut tail = log.tail(member(&group)).await.expect("a tail");
    let met = to_the_end(&mut tail, &ends(1, 50)).await;
    met.deliveries.into_iter().filter(|one| one.offset < 10).for_each(Delivery::done);
    tail.close(DEADLINE).await.expect("closed");
    delete_before(&topic, 30).await;
    let options = [member(&group), TailOptions::default()];
    for (options, from) in options.into_iter().zip([10, 0]) {
        let start = Start::At([(0, 0)].into());
        let mut tail = log.tail(TailOptions { start, ..options }).await.expect("a tail");
        let met = to_the_end(&mut tail, &ends(1, 50)).await;
        assert_eq!(met.missing, [(0, from, 30)]);
        assert_eq!(
            met.deliveries.iter().map(number).collect::<Vec<_>>(),
            (30..50).collect::<Vec<_>>()
        );
        met.deliveries.into_iter().for_each(Delivery::done);
        tail.close(DEADLINE).await.expect("closed");
    }
    let mut tail = log.tail(member(&group)).await.expect("a tail");
    assert_eq!(to_the_end(&mut tail, &ends(1, 50)).await.assigned, ends(1, 50));
}

/// So many bytes that a fetch takes one batch of them.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..400).map(|_| next()).collect()
}

#[tokio::test]
async fn a_reader_overtaken_by_retention_goes_on_behind_the_gap() {
    for group in [None, Some(unique("g"))] {
        let topic = unique("overtaken");
        let log = broker::log(&topic, 1).await;
        let appender = log.appender().await.expect("an appender");
        for batch in 0..3 {
            for number in batch * 1000..(batch + 1) * 1000 {
                appender.enqueue(&entry(0, &noise(number))).expect("room");
            }
            appender.flush(DEADLINE).await.expect("durable");
        }
        let options = TailOptions {
            group,
            read_ahead_records: 10,
            read_ahead_bytes: 64 << 10,
            ..TailOptions::default()
        };
        let mut tail = log.tail(options).await.expect("a tail");
        let mut held = Vec::new();
        while held.len() < 10 {
            if let Event::Delivery(one) = next_of(&mut tail).await {
                held.push(one);
            }
        }
        // No more than the first batch was fetched: what is read next will not be there.
        delete_before(&topic, 2900).await;
        held.into_iter().for_each(Delivery::done);
        let (mut read, mut missing) = (Vec::new(), Vec::new());
        while read.last() != Some(&2999) {
            match next_of(&mut tail).await {
                Event::Delivery(one) => {
                    read.push(one.offset);
                    one.done();
                }
                Event::Missing { from, to, .. } => missing.push((from, to)),
                other => panic!("{other:?}"),
            }
        }
        let [(from, 2900)] = missing[..] else { panic!("{missing:?}") };
        let expected: Vec<u64> = (10..from).chain(2900..3000).collect();
        assert_eq!(read, expected);
        tail.close(DEADLINE).await.expect("closed");
    }
}

#[tokio::test]
async fn progress_beyond_the_end_begins_anew_and_is_told() {
    let topic = unique("beyond");
    let log = broker::log(&topic, 1).await;
    append(&log, 1, 0, 10).await;
    for (offset, metadata, missing, begin) in [
        (1000, "", vec![(0, 10, 1000)], 0),
        // Another tool's commit, with words of its own.
        (4, "set by hand", vec![], 4),
    ] {
        let group = unique("g");
        let other: BaseConsumer =
            broker::config().set("group.id", &group).create().expect("a client");
        let mut list = TopicPartitionList::new();
        let mut one = list.add_partition(&topic, 0);
        one.set_offset(Offset::Offset(offset)).expect("an offset");
        one.set_metadata(metadata);
        other.commit(&list, CommitMode::Sync).expect("committed");
        let mut tail = log.tail(member(&group)).await.expect("a tail");
        let met = to_the_end(&mut tail, &ends(1, 10)).await;
        assert_eq!(met.missing, missing);
        assert_eq!(met.assigned, ends(1, begin));
        assert_eq!(met.deliveries.len() as u64, 10 - begin);
        assert!(met.deliveries.iter().all(|one| one.attempt == 1));
        tail.close(DEADLINE).await.expect("closed");
    }
}

#[tokio::test]
async fn added_partitions_are_found_and_read_from_their_beginning() {
    let topic = unique("added");
    let options = broker::with(1, &[("topic.metadata.refresh.interval.ms", "500")]);
    let log = Log::open(&broker::address(&topic), options, umbra_log::Mode::Create).await;
    let log = log.expect("a log");
    append(&log, 1, 0, 10).await;
    let start = Start::At([(0, 5)].into());
    let with = |group| TailOptions { group, start: start.clone(), ..TailOptions::default() };
    let mut tails = [
        log.tail(with(None)).await.expect("a tail"),
        log.tail(with(Some(unique("g")))).await.expect("a tail"),
    ];
    for tail in &mut tails {
        assert_eq!(to_the_end(tail, &ends(1, 10)).await.deliveries.len(), 5);
    }
    broker::add_partitions(&topic, 3).await;
    let log = broker::log(&topic, 3).await;
    append(&log, 3, 0, 20).await;
    for tail in tails {
        let mut tail = tail;
        let mut new = BTreeMap::<u32, Vec<u64>>::new();
        while new.get(&1).map_or(0, Vec::len) < 20 || new.get(&2).map_or(0, Vec::len) < 20 {
            match next_of(&mut tail).await {
                Event::Delivery(one) => {
                    new.entry(one.partition).or_default().push(one.offset);
                    one.done();
                }
                // Those of the first partition were dropped above.
                Event::SetAside(one) if one.partition == 0 => one.done(),
                Event::Assigned(list) => {
                    assert!(list.iter().all(|one| one.offset == 0), "{list:?}");
                }
                other => panic!("{other:?}"),
            }
        }
        for partition in 1..3 {
            assert_eq!(new[&partition], (0..20).collect::<Vec<_>>());
        }
        tail.close(DEADLINE).await.expect("closed");
    }
}
