//! Promises of the writing side.

use std::{collections::BTreeMap, sync::Arc};

use super::{Bench, DEADLINE, Subject, now_ns, settle, text};
use crate::{Append, Log, LogError, LogOptions, Mode, Rejected, Start};

/// Order and completeness, over several partitions.
pub async fn each_partition_keeps_its_order_and_each_record_comes_once(subject: &dyn Subject) {
    let bench = Bench::new(subject, "order", 3).await;
    let writer = bench.writer().await;
    assert_eq!(writer.0.partitions(), 3);
    for number in 0..600u64 {
        writer.append((number % 3) as u32, &number.to_string());
    }
    writer.flush().await;
    let mut reader = bench.reader(None, Start::Earliest).await;
    let deliveries = reader.up_to(&[(0, 200), (1, 200), (2, 200)]).await;
    let mut seen: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for delivery in &deliveries {
        let seen = seen.entry(delivery.partition).or_default();
        assert_eq!(delivery.offset, seen.len() as u64, "offsets begin at 0, without holes");
        assert_eq!(delivery.attempt, 1);
        seen.push(text(delivery).parse().expect("a number"));
    }
    for partition in 0..3u32 {
        let expected: Vec<u64> = (0..200).map(|n| n * 3 + u64::from(partition)).collect();
        assert_eq!(seen[&partition], expected);
    }
    settle(deliveries);
}

/// Entries of one partition enqueued by one thread keep their order.
pub async fn producers_side_by_side_keep_their_order(subject: &dyn Subject) {
    let bench = Bench::new(subject, "producers", 2).await;
    let writer = Arc::new(bench.writer().await);
    let producers: Vec<_> = (0..4)
        .map(|producer| {
            let writer = Arc::clone(&writer);
            std::thread::spawn(move || {
                for number in 0..500 {
                    writer.append(number % 2, &format!("{producer} {number}"));
                }
            })
        })
        .collect();
    for producer in producers {
        producer.join().expect("no producer fails");
    }
    writer.flush().await;
    let mut reader = bench.reader(None, Start::Earliest).await;
    let deliveries = reader.up_to(&[(0, 1000), (1, 1000)]).await;
    assert_eq!(deliveries.len(), 2000);
    let mut last: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    for delivery in &deliveries {
        let (producer, number) = text(delivery).split_once(' ').expect("two numbers");
        let number: u32 = number.parse().expect("a number");
        let lane = (producer.parse().expect("a number"), delivery.partition);
        let before = last.insert(lane, number);
        let expected = before.map_or(delivery.partition, |before| before + 2);
        assert_eq!(number, expected, "of producer {producer}");
    }
    settle(deliveries);
}

/// Bytes and times, also at the edges.
pub async fn payload_and_time_come_as_they_were_given(subject: &dyn Subject) {
    let bench = Bench::new(subject, "payload", 1).await;
    let writer = bench.writer().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let large = noise(900_000);
    let begin = now_ns();
    let payloads: [&[u8]; 5] = [b"", &every_byte, &large, b"", b"end"];
    for (number, payload) in (0u64..).zip(payloads) {
        // Times need not rise.
        let time = begin - number * 1_000_000;
        writer.try_append(0, time, payload).expect("there is room");
    }
    writer.flush().await;
    let mut reader = bench.reader(None, Start::Earliest).await;
    let deliveries = reader.up_to(&[(0, 5)]).await;
    assert_eq!(deliveries.len(), 5);
    for (delivery, payload) in deliveries.iter().zip(payloads) {
        assert!(delivery.payload == payload, "payload {} differs", delivery.offset);
        assert_eq!(delivery.time_ns, begin - delivery.offset * 1_000_000);
    }
    settle(deliveries);
}

/// The limit is told, holds, and what is just below it passes.
pub async fn too_large_is_told_with_the_limit(subject: &dyn Subject) {
    let bench = Bench::new(subject, "too-large", 1).await;
    let writer = bench.writer().await;
    let huge = vec![b'x'; 64 << 20];
    let Err(Rejected::TooLarge { size, limit }) = writer.try_append(0, now_ns(), &huge) else {
        panic!("64 MiB were accepted");
    };
    assert_eq!(size, huge.len());
    assert!(limit >= 900_000, "the limit is {limit}");
    let above = writer.try_append(0, now_ns(), &huge[..limit + 1]);
    assert_eq!(above, Err(Rejected::TooLarge { size: limit + 1, limit }));
    let largest = noise(limit);
    let position = writer.append_patiently(0, &largest).await;
    assert_eq!(position.number, 1, "what was refused was not counted");
    writer.flush().await;
    let mut reader = bench.reader(None, Start::Earliest).await;
    let delivery = reader.delivery().await;
    assert!(delivery.payload == largest[..], "the largest record differs");
    delivery.done();
}

/// Numbers and the watermark they are compared with.
pub async fn positions_count_and_become_durable(subject: &dyn Subject) {
    let bench = Bench::new(subject, "durable", 3).await;
    let writer = bench.writer().await;
    writer.0.flush(DEADLINE).await.expect("nothing to do");
    for number in 1..=100 {
        let position = writer.append(1, "x");
        assert_eq!((position.partition, position.number), (1, number));
    }
    assert_eq!(writer.append(2, "y").number, 1);
    assert!(writer.0.durable(1) <= 100);
    writer.flush().await;
    let durable: Vec<u64> = (0..3).map(|partition| writer.0.durable(partition)).collect();
    assert_eq!(durable, [0, 100, 1]);
    let Err(Rejected::Closed(_)) = writer.try_append(3, now_ns(), b"z") else {
        panic!("a partition that is not there took a record");
    };
    // Numbers begin anew with each appender; offsets do not.
    drop(writer);
    let writer = bench.writer().await;
    assert_eq!(writer.append(1, "x").number, 1);
    writer.flush().await;
    assert_eq!(writer.0.durable(1), 1);
}

/// The bound of the queue: nothing is lost by it, and nothing waits.
pub async fn a_full_queue_gives_the_entry_back_and_takes_it_later(subject: &dyn Subject) {
    let queue_bytes = 1 << 20;
    let options = LogOptions { partitions: 1, queue_bytes, ..subject.options() };
    let bench = Bench::with(subject, "full", options).await;
    let writer = bench.writer().await;
    let payload = noise(100_000);
    let mut accepted = 0u64;
    loop {
        match writer.try_append(0, now_ns(), &payload) {
            Ok(_) => accepted += 1,
            Err(Rejected::Full) => break,
            Err(other) => panic!("{other}"),
        }
        assert!(accepted < 100_000, "the queue is never full");
    }
    assert!(accepted * payload.len() as u64 >= queue_bytes as u64 / 2, "{accepted} fit");
    writer.append_patiently(0, b"after").await;
    writer.flush().await;
    let mut reader = bench.reader(None, Start::Earliest).await;
    for offset in 0..accepted {
        let delivery = reader.delivery().await;
        assert!(delivery.offset == offset && delivery.payload == payload[..], "at {offset}");
        delivery.done();
    }
    let last = reader.delivery().await;
    assert_eq!((last.offset, text(&last)), (accepted, "after"));
    last.done();
}

/// Closing and opening is not seen in the offsets.
pub async fn a_log_goes_on_where_it_was_closed(subject: &dyn Subject) {
    let bench = Bench::new(subject, "goes-on", 2).await;
    for round in 0..4u64 {
        let writer = bench.writer().await;
        writer.append_numbers(0, round * 10..round * 10 + 10);
        // Dropped without a flush: what was accepted is written all the same.
        drop(writer);
    }
    let mut reader = bench.reader(None, Start::Earliest).await;
    let deliveries = reader.up_to(&[(0, 40)]).await;
    let numbers: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    assert_eq!(deliveries.iter().map(text).collect::<Vec<_>>(), numbers);
    settle(deliveries);
}

/// Watermarks of each partition.
pub async fn spans_tell_what_is_there(subject: &dyn Subject) {
    let bench = Bench::new(subject, "spans", 3).await;
    let ends = async |log: &Log| {
        let spans = log.spans().await.expect("spans can be asked");
        spans.iter().map(|span| (span.partition, span.low, span.high)).collect::<Vec<_>>()
    };
    assert_eq!(ends(&bench.log).await, [(0, 0, 0), (1, 0, 0), (2, 0, 0)]);
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..7);
    writer.append_numbers(2, 0..1);
    writer.flush().await;
    let other = bench.again().await;
    assert_eq!(ends(&other).await, [(0, 0, 7), (1, 0, 0), (2, 0, 1)]);
    drop(writer);
    assert_eq!(ends(&other).await, [(0, 0, 7), (1, 0, 0), (2, 0, 1)]);
}

/// Readers make no logs.
pub async fn a_log_that_is_not_there_is_not_found(subject: &dyn Subject) {
    let address = subject.address("not-there");
    for _ in 0..2 {
        match Log::open(&address, subject.options(), Mode::Existing).await {
            Err(LogError::NotFound(why)) => assert!(why.contains("not-there"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Bytes that do not compress, always the same.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}
