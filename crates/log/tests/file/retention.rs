//! Segments roll, and the oldest go.

use std::{collections::BTreeMap, fs, time::Duration};

use umbra_log::{Event, LogOptions, Start, TailOptions};

use crate::bench::{
    append_lines, check, create, earliest, event, existing, flush, options, read_to, segments,
    small_segments, until,
};

#[tokio::test]
async fn a_reader_overtaken_by_retention_goes_on_and_counts() {
    let temporary = tempfile::tempdir().unwrap();
    let retain_bytes = 120 << 10;
    let log = create(
        temporary.path(),
        LogOptions { retain_bytes: Some(retain_bytes), ..small_segments() },
    );
    let appender = log.appender().unwrap();
    append_lines(&appender, 0..600);
    flush(&appender).await;
    // Holds what it reads, so that it is overtaken.
    let options = TailOptions { read_ahead_records: 50, ..TailOptions::default() };
    let mut slow = log.tail(&options).unwrap();
    let mut held = Vec::new();
    while held.len() < 50 {
        if let Event::Delivery(delivery) = event(&mut slow).await {
            held.push(delivery);
        }
    }
    for round in 2..150u64 {
        append_lines(&appender, round * 300..round * 300 + 300);
        flush(&appender).await;
    }
    let bytes: u64 =
        segments(temporary.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes < retain_bytes + (80 << 10), "{bytes} are kept");
    let spans = log.spans().unwrap();
    assert!(spans.iter().all(|span| span.low > 1000 && span.high == 15_000), "{spans:?}");

    let mut read = read_to_end(&mut slow, held).await;
    assert!(read.missing.iter().all(|missing| missing.3.contains("retention")), "{read:?}");
    for partition in 0..3 {
        assert!(read.accounted(partition).iter().copied().eq(0..15_000));
    }
    assert!(read.count() > 300, "what was kept was delivered");
    assert!(read.count() < 44_000, "something was missing");

    // One that comes too late is told the same.
    let start = Start::At(BTreeMap::new());
    let mut late = log.tail(&TailOptions { start, ..TailOptions::default() }).unwrap();
    read = read_to(&mut late, [15_000; 3]).await;
    for (partition, span) in (0..).zip(&spans) {
        let missing: Vec<_> = read.missing.iter().filter(|one| one.0 == partition).collect();
        assert_eq!(missing.len(), 1);
        assert_eq!((missing[0].1, missing[0].2), (0, span.low));
        assert!(missing[0].3.contains("retention"));
    }
    // And one that wants the earliest is told nothing.
    let read = read_to(&mut earliest(&log), [15_000; 3]).await;
    assert_eq!(read.missing, []);
    assert_eq!(read.offsets[0].first(), Some(&spans[0].low));
}

async fn read_to_end(
    tail: &mut umbra_log::file::FileTail,
    held: Vec<umbra_log::Delivery>,
) -> crate::bench::Read {
    let mut before = crate::bench::Read::default();
    for delivery in held {
        check(&delivery);
        before.offsets[delivery.partition as usize].push(delivery.offset);
        delivery.done();
    }
    let mut read = read_to(tail, [15_000; 3]).await;
    for (before, read) in before.offsets.into_iter().zip(&mut read.offsets) {
        read.splice(0..0, before);
    }
    read
}

#[tokio::test]
async fn segments_roll_and_go_by_age() {
    let temporary = tempfile::tempdir().unwrap();
    let log = create(
        temporary.path(),
        LogOptions {
            segment_age: Duration::from_millis(300),
            retain_age: Some(Duration::from_millis(1500)),
            ..options()
        },
    );
    let appender = log.appender().unwrap();
    append_lines(&appender, 0..30);
    flush(&appender).await;
    let first = segments(temporary.path()).remove(0);
    // Nothing more is written, and still it is finished …
    until("the segment is finished", || {
        mcap::Summary::read(&fs::read(&first).unwrap()).is_ok_and(|summary| summary.is_some())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(2600)).await;
    assert!(first.exists(), "… but not removed: it says where the offsets go on");
    append_lines(&appender, 30..60);
    flush(&appender).await;
    until("the old segment is removed", || !first.exists()).await;
    drop(appender);
    let spans = existing(temporary.path()).spans().unwrap();
    assert!(spans.iter().all(|span| span.low == 10 && span.high == 20), "{spans:?}");
    // Everything may age; offsets do not begin anew.
    let appender = log.appender().unwrap();
    append_lines(&appender, 60..63);
    drop(appender);
    let spans = existing(temporary.path()).spans().unwrap();
    assert!(spans.iter().all(|span| span.high == 21), "{spans:?}");
}
