//! What the tests of the embedded log share: logs in a temporary directory, texts
//! to write, and readers with a deadline.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use umbra_log::{
    Append, Delivery, Entry, Event, LogOptions, Mode, Position, Rejected, Schema, Start, Tail,
    TailOptions,
    file::{FileAppender, FileLog, FileTail},
};

/// Longest wait for anything that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn options() -> LogOptions {
    LogOptions {
        partitions: 3,
        schema: Some(Schema {
            name: "test.Record".to_owned(),
            encoding: "protobuf".to_owned(),
            data: b"a descriptor set".to_vec(),
        }),
        ..LogOptions::default()
    }
}

/// Many segments.
pub(crate) fn small_segments() -> LogOptions {
    LogOptions { segment_bytes: 20 << 10, ..options() }
}

pub(crate) fn create(path: &Path, options: LogOptions) -> FileLog {
    FileLog::open(path, options, Mode::Create).unwrap()
}

pub(crate) fn existing(path: &Path) -> FileLog {
    FileLog::open(path, options(), Mode::Existing).unwrap()
}

pub(crate) fn try_append(
    appender: &FileAppender,
    partition: u32,
    payload: &[u8],
) -> Result<Position, Rejected> {
    let time_ns = 1_700_000_000_000_000_000 + u64::from(partition);
    appender.enqueue(&Entry { partition, time_ns, key: b"", headers: &[], payload, weight: 1 })
}

/// The text of a record that says where it must turn up.
pub(crate) fn line(partition: u32, offset: u64) -> String {
    let mut text = format!("{partition} {offset} ");
    // Of different lengths, and not too easy to compress.
    let mut state = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..offset % 97 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(char::from(b'a' + (state % 26) as u8));
    }
    text
}

/// Appends lines that continue each partition round-robin, `count` in all.
pub(crate) fn append_lines(appender: &FileAppender, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let partition = (number % 3) as u32;
        try_append(appender, partition, line(partition, number / 3).as_bytes()).unwrap();
    }
}

/// Asserts that a delivery is the line that belongs there.
pub(crate) fn check(delivery: &Delivery) {
    let expected = line(delivery.partition, delivery.offset);
    assert_eq!(String::from_utf8_lossy(&delivery.payload), expected);
}

pub(crate) async fn flush(appender: &FileAppender) {
    appender.flush(DEADLINE).await.unwrap();
}

pub(crate) fn earliest(log: &FileLog) -> FileTail {
    log.tail(&TailOptions::default()).unwrap()
}

pub(crate) fn group(log: &FileLog, group: &str, start: Start) -> FileTail {
    log.tail(&TailOptions { group: Some(group.to_owned()), start, ..TailOptions::default() })
        .unwrap()
}

pub(crate) async fn event(tail: &mut FileTail) -> Event {
    tokio::time::timeout(DEADLINE, tail.next()).await.expect("an event in time").unwrap()
}

/// What was read up to the end of every partition.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// Per partition, in order; all of them are the right lines.
    pub(crate) offsets: [Vec<u64>; 3],
    /// Partition, first, behind the last, why.
    pub(crate) missing: Vec<(u32, u64, u64, String)>,
}

impl Read {
    pub(crate) fn count(&self) -> usize {
        self.offsets.iter().map(Vec::len).sum()
    }

    /// Delivered and missing offsets of a partition together, in order.
    pub(crate) fn accounted(&self, partition: u32) -> Vec<u64> {
        let missing = self.missing.iter().filter(|missing| missing.0 == partition);
        let mut all: Vec<u64> = missing.flat_map(|missing| missing.1..missing.2).collect();
        all.extend(&self.offsets[partition as usize]);
        all.sort_unstable();
        all
    }
}

/// Reads, checks and settles everything until each partition has caught up with at
/// least `ends`.
pub(crate) async fn read_to(tail: &mut FileTail, ends: [u64; 3]) -> Read {
    let mut read = Read::default();
    let mut left = vec![0, 1, 2];
    while !left.is_empty() {
        match event(tail).await {
            Event::Delivery(delivery) => {
                check(&delivery);
                let offsets = &mut read.offsets[delivery.partition as usize];
                assert!(offsets.last().is_none_or(|last| *last < delivery.offset));
                offsets.push(delivery.offset);
                delivery.done();
            }
            Event::Missing { partition, from, to, reason } => {
                read.missing.push((partition, from, to, reason));
            }
            Event::CaughtUp { partition, offset } => {
                if offset >= ends[partition as usize] {
                    left.retain(|one| *one != partition);
                }
            }
            Event::Assigned(_) => {}
            other => panic!("{other:?}"),
        }
    }
    read
}

/// Paths of the segments, oldest first.
pub(crate) fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "mcap")).collect();
    segments.sort();
    segments
}

/// Waits for what must become true.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < DEADLINE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
