//! What can never be sent is kept aside with the reason, so that its partition can
//! move on and somebody can look at it: one journal for all jobs of a log.

use bytes::Bytes;
use prost::Message;
use umbra_log::{Delivery, Journal, LogError};

/// One entry of the journal `dead`.
#[derive(Clone, PartialEq, Message)]
pub struct DeadLetter {
    /// The job that met it.
    #[prost(string, tag = "1")]
    pub job: String,
    /// The target it was read for.
    #[prost(string, tag = "2")]
    pub target: String,
    /// Why it is here, in words.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// Where it was in the log.
    #[prost(uint32, tag = "4")]
    pub partition: u32,
    /// Where it was in the partition.
    #[prost(uint64, tag = "5")]
    pub offset: u64,
    /// Its time in the log, Unix nanoseconds.
    #[prost(fixed64, tag = "6")]
    pub time_ns: u64,
    /// The record, byte for byte.
    #[prost(bytes = "bytes", tag = "7")]
    pub payload: Bytes,
}

/// The journal, as one job writes it.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    journal: Journal,
    job: String,
}

impl DeadLetters {
    pub(crate) fn new(journal: Journal, job: &str) -> Self {
        Self { journal, job: job.to_owned() }
    }

    /// Keeps the record; it may be settled once this has returned.
    pub(crate) async fn keep(
        &self,
        delivery: &Delivery,
        target: &str,
        reason: String,
    ) -> Result<(), LogError> {
        let letter = DeadLetter {
            job: self.job.clone(),
            target: target.to_owned(),
            reason,
            partition: delivery.partition,
            offset: delivery.offset,
            time_ns: delivery.time_ns,
            payload: delivery.payload.clone(),
        };
        self.journal.append(&letter.encode_to_vec()).await.map(|_| ())
    }
}
