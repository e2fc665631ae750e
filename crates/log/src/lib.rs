//! An ordered, partitioned, durable queue of opaque bytes, behind one small
//! trait each way: [`Append`] and [`Tail`]. Two implementations keep the same
//! promises, which [`conformance`] states and checks: Kafka (`kafka`) and a
//! directory of MCAP segments (`file`). Knows neither HTTP nor protobuf.

mod log;
pub use log::{Address, LogOptions, Schema};

use std::{collections::BTreeMap, future::Future, time::Duration};

use bytes::Bytes;

/// One entry to be appended. Borrowed: the log copies the payload exactly once,
/// into the producer's queue or the open chunk, so the caller may reuse its buffer
/// and still has the entry when it is rejected.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Explicit, below [`Append::partitions`]: the caller pins what belongs together.
    pub partition: u32,
    /// Capture time, Unix nanoseconds. Kafka keeps milliseconds of it.
    pub time_ns: u64,
    /// What the entry is kept together by; for outside readers.
    pub key: &'a [u8],
    /// Small headers for outside readers that filter without decoding. Not part
    /// of what a [`Delivery`] carries; an embedded log does not keep them.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The record.
    pub payload: &'a [u8],
    /// How many requests are lost if this entry is: summed in [`Loss`].
    pub weight: u32,
}

/// Where an accepted entry stands among those this appender accepted for its
/// partition: durable as soon as [`Append::durable`] reaches `number`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The entry's partition.
    pub partition: u32,
    /// Counts from 1 per partition and appender.
    pub number: u64,
}

/// Why an entry was not accepted. The caller still has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The bounded queue before the log is full; try again later, or count it.
    #[error("the queue to the log is full")]
    Full,
    /// Will never fit: above the log's record limit.
    #[error("record of {size} bytes is above the log's limit of {limit}")]
    TooLarge {
        /// Of the payload.
        size: usize,
        /// Largest payload the log takes.
        limit: usize,
    },
    /// The appender takes nothing any more (closed, or failed for good).
    #[error("the log takes no more records: {0}")]
    Closed(String),
}

/// Entries that were accepted and then lost (refused by the broker, or the disk
/// failed for good), since the last call of `losses`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Their partition.
    pub partition: u32,
    /// Run of positions, both ends included.
    pub first: u64,
    /// See `first`.
    pub last: u64,
    /// Sum of their weights.
    pub weight: u64,
    /// In a word fit for a metric label, such as `too_large` or `log_failed`.
    pub reason: &'static str,
}

/// The writing side. Cheap to share between threads (`&self`).
///
/// Promises: `enqueue` never waits and never blocks on I/O; entries of one
/// partition enqueued by one thread keep their order in the log; what is
/// accepted is either durable in the end or told by `losses`; memory stays
/// within the queue bound it was opened with.
pub trait Append: Send + Sync + 'static {
    /// Partitions to choose from. May grow, never shrinks.
    fn partitions(&self) -> u32;
    /// Accepts the entry or says why not, at once.
    fn enqueue(&self, entry: &Entry<'_>) -> Result<Position, Rejected>;
    /// All of this partition's entries with `number <=` this are durable (or were
    /// told by `losses`). 0: none yet.
    fn durable(&self, partition: u32) -> u64;
    /// Accepted entries lost since the last call.
    fn losses(&self) -> Vec<Loss>;
    /// Makes what is accepted so far durable; `Err` at the deadline.
    fn flush(&self, deadline: Duration) -> impl Future<Output = Result<(), LogError>> + Send;
}

/// What a reader meets, in the order of each partition.
#[derive(Debug)]
pub enum Event {
    /// A record to handle.
    Delivery(Delivery),
    /// These partitions are this reader's from now on, beginning at the offset.
    Assigned(Vec<(u32, u64)>),
    /// No longer this reader's: unsent work of theirs is to be discarded (drop the
    /// deliveries), what is in flight settled soon: the log waits for it up to its
    /// deadline, then gives the partitions away.
    Revoked(Vec<u32>),
    /// Every record before `offset` has been delivered and there is none after it
    /// now (sent once each time the reader catches up).
    CaughtUp {
        /// Which partition.
        partition: u32,
        /// Where the next record will be.
        offset: u64,
    },
    /// Records that should be here and are not: retention overtook the reader, or
    /// a chunk is damaged. Counted and passed.
    Missing {
        /// Which partition.
        partition: u32,
        /// First missing offset.
        from: u64,
        /// First offset that is there again.
        to: u64,
        /// In words, with the place.
        reason: String,
    },
    /// A delivery that was dropped undone twice; it counts as done. Keep it aside.
    SetAside(Delivery),
}

/// The reading side: one member of a consumer group, or a reader without a group
/// that never commits.
///
/// Promises: each partition's records come in offset order, each once, except
/// that what was not `done` at a crash, or was dropped, comes again; reading
/// ahead is bounded: undone deliveries above the high mark pause the source
/// (per partition on Kafka), done ones resume it; progress is the contiguous
/// prefix of what is done, committed every 200 ms and at `close`, together with
/// the runs settled beyond it, which a successor does not deliver again.
pub trait Tail: Send {
    /// The next event; waits for one. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Result<Event, LogError>> + Send;
    /// Tells that nothing of this partition is wanted any more (its window ended):
    /// it is no longer fetched; progress keeps.
    fn finish(&mut self, partition: u32);
    /// Commits what is done and leaves the group; undone deliveries will be
    /// delivered to a successor. `Err` at the deadline.
    fn close(self, deadline: Duration) -> impl Future<Output = Result<(), LogError>> + Send;
}

/// One record, on loan until it is `done`. Dropped undone, it is delivered once
/// more, then set aside.
#[derive(Debug)]
pub struct Delivery {
    /// Which partition.
    pub partition: u32,
    /// Where in it.
    pub offset: u64,
    /// As given to `Entry::time_ns` (to the millisecond on Kafka).
    pub time_ns: u64,
    /// 2: a predecessor may have handled it before it died.
    pub attempt: u32,
    /// The record. Empty for a record without payload (a Kafka null value).
    pub payload: Bytes,
}

impl Delivery {
    /// Settles it: it is never delivered to this group again (once committed).
    pub fn done(self) {}
}

/// Where a group without progress begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record kept.
    Earliest,
    /// With what is appended after the reader was opened.
    Latest,
    /// At these offsets; partitions that are not listed were born later and begin
    /// at 0.
    At(BTreeMap<u32, u64>),
}

/// How to open a reader.
#[derive(Debug, Clone)]
pub struct TailOptions {
    /// Consumer group; `None` reads all partitions and commits nothing.
    pub group: Option<String>,
    /// Used where the group has no progress.
    pub start: Start,
    /// High mark of undone deliveries, in bytes; resumes below a quarter.
    pub read_ahead_bytes: usize,
    /// The same in records.
    pub read_ahead_records: usize,
}

/// What is in one partition now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Which.
    pub partition: u32,
    /// Oldest offset kept.
    pub low: u64,
    /// Offset the next record will get (the high watermark).
    pub high: u64,
}

/// What can go wrong with a log, by who has to act.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no such log.
    #[error("{0}")]
    NotFound(String),
    /// It is not a log of ours, or damaged beyond passing.
    #[error("{0}")]
    Unusable(String),
    /// It cannot be reached, or did not answer in time. `retryable`.
    #[error("{0}")]
    Unreachable(String),
    /// Somebody else holds it.
    #[error("{0}")]
    Held(String),
    /// It says no: authorization, a setting we cannot work with.
    #[error("{0}")]
    Refused(String),
    /// The disk said no.
    #[error("{0}")]
    Io(String),
    /// A deadline passed.
    #[error("{0}")]
    Deadline(String),
}
