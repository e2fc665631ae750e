//! The reading side of a log: what a reader meets, and how it says that it has
//! handled it.

use std::{collections::BTreeMap, future::Future, time::Duration};

use bytes::Bytes;

use crate::{LogError, settle::Token};

/// What a reader meets, in the order of each partition.
#[derive(Debug)]
pub enum Event {
    /// A record to handle.
    Delivery(Delivery),
    /// These partitions are this reader's from now on.
    Assigned(Vec<Assigned>),
    /// No longer this reader's: work of theirs that was not begun is to be given back
    /// (see [`Delivery::untouched`]), what is in flight settled soon: the log waits
    /// for it up to its deadline, then gives the partitions away.
    Revoked(Vec<u32>),
    /// Every record before `offset` has been delivered and there is none after it
    /// now (sent once each time the reader catches up, also for partitions that
    /// hold nothing, first after `Assigned`).
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
    /// A delivery that was dropped undone twice. It holds the progress of its
    /// partition until it is kept aside: both `done` and dropping settle it.
    SetAside(Delivery),
}

/// A partition that has become a reader's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Which.
    pub partition: u32,
    /// Where it begins.
    pub offset: u64,
    /// What its reader before last noted; empty without a group, and if nothing was.
    pub note: Bytes,
}

/// The reading side: one member of a consumer group, or a reader without a group
/// that never commits.
///
/// Promises: each partition's records come in offset order, each once, except
/// that what was not `done` at a crash, or was dropped, comes again; reading
/// ahead is bounded: undone deliveries above the high mark pause the source
/// (per partition on Kafka), done ones resume it; what is uncounted does not count
/// towards the mark, and holds nobody up, for as long as it is out; progress is the
/// contiguous prefix of what is done, committed every 200 ms and at `close`, together with
/// the runs settled beyond it, which a successor does not deliver again.
///
/// A successor is told which records may have been handled before, as attempt 2.
/// After a crash these are all that were allowed to be delivered and are not known to
/// be settled. After a revocation or `close` whose last commit came through, these are
/// the ones up to the last that was dropped, or not settled in time; behind it, what
/// was given back [`untouched`](Delivery::untouched) or never left the reader comes as
/// attempt 1 (unless a predecessor that crashed may have handled it).
///
/// A note made with [`Tail::note`] is committed with progress, or alone if there is
/// none: every later commit of the partition holds the last one. A commit that
/// holds something `done` holds the notes made before that, and one that holds a
/// note holds what was `done` before it.
///
/// A reader without a group must settle its deliveries too: it is how the
/// read-ahead is bounded. Dropping a reader without `close` is what a crash is:
/// what was done since the last commit may come again, as attempt 2.
pub trait Tail: Send {
    /// The next event; waits for one. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Result<Event, LogError>> + Send;
    /// Tells that nothing of this partition is wanted any more (its window ended):
    /// it is no longer fetched nor delivered, and deliveries of it that are dropped
    /// do not come again; progress keeps, and what is out may still be `done`.
    fn finish(&mut self, partition: u32);
    /// Keeps this with the progress of the partition from now on, instead of what was
    /// kept, for whoever is assigned it next. Cheap: the last one before a commit is
    /// committed. Until the partition is somebody else's, also after
    /// [`Event::Revoked`]: note first, then `done`, and the last commit holds both.
    /// Above [`MAX_NOTE`] bytes it is refused (told in the log) and the one before
    /// stays. Of a partition that is not this reader's, or without a group, nothing
    /// is kept.
    ///
    /// [`MAX_NOTE`]: crate::progress::MAX_NOTE
    fn note(&mut self, partition: u32, note: Bytes);
    /// Commits what is done and leaves the group; undone deliveries will be
    /// delivered to a successor, as attempt 2 unless they were given back
    /// [`untouched`](Delivery::untouched) before. `Err` at the deadline.
    fn close(self, deadline: Duration) -> impl Future<Output = Result<(), LogError>> + Send;
}

/// One record, on loan until it is `done`, from whichever thread. Dropped undone,
/// it is delivered once more (as attempt 2), then set aside; given back
/// [`untouched`](Delivery::untouched), as if nothing had been. It counts towards the
/// read-ahead of its reader until then, or until [`Delivery::uncount`].
#[derive(Debug)]
pub struct Delivery {
    /// Which partition.
    pub partition: u32,
    /// Where in it.
    pub offset: u64,
    /// As given to `Entry::time_ns` (to the millisecond on Kafka).
    pub time_ns: u64,
    /// 2: a predecessor may have begun to handle it, or it was dropped before.
    pub attempt: u32,
    /// The record. Empty for a record without payload (a Kafka null value). Clone
    /// it to keep it (no copy is made); what is taken out of here is not delivered
    /// again if the delivery is dropped.
    pub payload: Bytes,
    /// How it finds its way back; see `settle`.
    pub(crate) token: Token,
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
    /// Kafka: makes it a static member of the group (`group.instance.id`), unique
    /// within the group. One that comes back within the session timeout keeps its
    /// partitions, and nothing moves; one that does not come back is replaced only
    /// after it, since a static member does not say good-bye. A second member of
    /// the same id ends the first. An embedded log has one reader per group anyway.
    pub instance: Option<String>,
    /// Used where the group has no progress.
    pub start: Start,
    /// High mark of undone deliveries that are not uncounted, in bytes; resumes below
    /// a quarter.
    pub read_ahead_bytes: usize,
    /// The same in records.
    pub read_ahead_records: usize,
}

impl Default for TailOptions {
    /// All partitions from the oldest record, without a group, 32 MiB or 20,000
    /// records ahead.
    fn default() -> Self {
        Self {
            group: None,
            instance: None,
            start: Start::Earliest,
            read_ahead_bytes: 32 << 20,
            read_ahead_records: 20_000,
        }
    }
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
