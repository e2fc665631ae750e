//! A small durable side log of a log: opaque bytes in one total order, kept for
//! ever. Job plans and dead letters live in one each. Not made for volume.

use bytes::Bytes;

use crate::{LogError, file::FileJournal, kafka::KafkaJournal};

/// A side log of either kind.
///
/// Promises: what `append` returned is durable, and every reader sees the same
/// entries at the same offsets, in the same order, whoever appended; offsets only
/// grow (not always by one).
#[derive(Debug)]
pub enum Journal {
    /// A file beside the embedded log.
    File(FileJournal),
    /// A topic of one partition.
    Kafka(KafkaJournal),
}

impl Journal {
    /// Appends an entry and returns its offset once it is durable.
    ///
    /// # Errors
    /// If it could not be made durable; it may still turn up later.
    pub async fn append(&self, entry: &[u8]) -> Result<u64, LogError> {
        match self {
            Self::File(journal) => journal.append(entry).await,
            Self::Kafka(journal) => journal.append(entry).await,
        }
    }

    /// The entries at `offset` and after it, up to the journal's current end:
    /// everything whose `append` had returned, anywhere, before this was called.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn read_from(&self, offset: u64) -> Result<Vec<(u64, Bytes)>, LogError> {
        match self {
            Self::File(journal) => journal.read_from(offset).await,
            Self::Kafka(journal) => journal.read_from(offset).await,
        }
    }

    /// The entries at `offset` and after it, at least up to the one at `last`, which
    /// `append` has returned.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn read_to(&self, offset: u64, last: u64) -> Result<Vec<(u64, Bytes)>, LogError> {
        match self {
            Self::File(journal) => journal.read_from(offset).await,
            Self::Kafka(journal) => journal.read_to(offset, last).await,
        }
    }

    /// Like `read_from`, but waits until there is at least one entry. Cancel-safe:
    /// to follow a journal, call it again with the last offset plus one.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn follow_from(&self, offset: u64) -> Result<Vec<(u64, Bytes)>, LogError> {
        match self {
            Self::File(journal) => journal.follow_from(offset).await,
            Self::Kafka(journal) => journal.follow_from(offset).await,
        }
    }
}
