//! The writing side of a log: what an entry is, how it is accepted, and how its
//! writer learns that it is durable or lost.

use std::{future::Future, time::Duration};

use crate::LogError;

/// One entry to be appended. Borrowed: the log copies the payload exactly once,
/// into the producer's queue or the open chunk, so the caller may reuse its buffer
/// and still has the entry when it is rejected.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Explicit, below [`Append::partitions`]: the caller pins what belongs together.
    pub partition: u32,
    /// Capture time, Unix nanoseconds. Kafka keeps milliseconds of it.
    pub time_ns: u64,
    /// What the entry is kept together by; for outside readers. An embedded log
    /// does not keep it.
    pub key: &'a [u8],
    /// Small headers for outside readers that filter without decoding. Not part
    /// of what a [`crate::Delivery`] carries; an embedded log does not keep them.
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
    /// The appender takes nothing any more (closed, or failed for good), or the
    /// log has no such partition.
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

/// An entry that an appender had accepted and gave back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// Where it stood.
    pub position: Position,
    /// See [`Entry::time_ns`]; to the millisecond.
    pub time_ns: u64,
    /// See [`Entry::key`].
    pub key: Vec<u8>,
    /// See [`Entry::headers`].
    pub headers: Vec<(String, Vec<u8>)>,
    /// See [`Entry::payload`].
    pub payload: Vec<u8>,
    /// See [`Entry::weight`].
    pub weight: u32,
}

/// How long a sample of entries took from being accepted to being durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendTimes {
    /// Upper bounds of the buckets, in microseconds; one more bucket has the rest.
    pub bounds_us: &'static [u64],
    /// Entries in each bucket.
    pub counts: Vec<u64>,
    /// Sum of all times.
    pub sum_us: u64,
}

/// The writing side. Cheap to share between threads (`&self`).
///
/// Promises: `enqueue` never waits and never blocks on I/O; entries of one
/// partition enqueued by one thread keep their order in the log (but for what a
/// broker refuses together with its batch: that is sent once more, entry by entry,
/// and may stand behind later ones); what is accepted is either durable in the end
/// or told by `losses`; memory stays within the queue bound it was opened with.
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
    /// How long a record has been waiting to become durable, at least: a bound from
    /// below on the age of the oldest one.
    fn waiting(&self) -> Duration {
        Duration::ZERO
    }
    /// Whether the log would take an entry like this if it had room.
    fn fits(&self, _entry: &Entry<'_>) -> Result<(), Rejected> {
        Ok(())
    }
    /// How long entries took to become durable, as far as that was measured.
    fn times(&self) -> Option<AppendTimes> {
        None
    }
    /// Takes no more entries and gives back, in order, those that are accepted and
    /// not known to be durable: some may be durable all the same. For the end of a
    /// process that can keep them elsewhere; a log that loses nothing then gives
    /// nothing back.
    fn take_back(&self, _deadline: Duration) -> Vec<Returned> {
        Vec::new()
    }
    /// Makes what is accepted so far durable; `Err` at the deadline.
    fn flush(&self, deadline: Duration) -> impl Future<Output = Result<(), LogError>> + Send;
}
