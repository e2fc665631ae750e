//! What can never be sent is kept aside with the reason, so that its partition can
//! move on and somebody can look at it: one journal for all jobs of a log.

use bytes::Bytes;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use umbra_log::{Delivery, Journal, Log, LogError};

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

/// Letters on their way; each sender waits for its own, so there are at most as many
/// as pipelines.
const QUEUE: usize = 16;

/// Where the pipelines of a job hand in what they keep aside.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetters {
    job: String,
    keeper: mpsc::Sender<Letter>,
}

/// Writes what is handed in. The journal is made when it is needed first: a job
/// without dead letters leaves nothing, and needs no leave to.
#[derive(Debug)]
pub(crate) struct Keeper {
    letters: mpsc::Receiver<Letter>,
    journal: Option<Journal>,
}

#[derive(Debug)]
struct Letter {
    bytes: Vec<u8>,
    kept: oneshot::Sender<Result<(), LogError>>,
}

/// Both ends.
pub(crate) fn dead_letters(job: &str) -> (DeadLetters, Keeper) {
    let (keeper, letters) = mpsc::channel(QUEUE);
    (DeadLetters { job: job.to_owned(), keeper }, Keeper { letters, journal: None })
}

impl DeadLetters {
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
        let gone = || LogError::Io("nobody keeps dead letters any more".to_owned());
        let (kept, result) = oneshot::channel();
        let letter = Letter { bytes: letter.encode_to_vec(), kept };
        self.keeper.send(letter).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

impl Keeper {
    /// Keeps letters for as long as it is polled.
    pub(crate) async fn serve(&mut self, log: &Log) {
        while let Some(letter) = self.letters.recv().await {
            let result = self.append(log, &letter.bytes).await;
            // Whoever has gone does not settle the record, and it comes again.
            let _ = letter.kept.send(result);
        }
    }

    async fn append(&mut self, log: &Log, bytes: &[u8]) -> Result<(), LogError> {
        let journal = match self.journal.take() {
            Some(journal) => journal,
            None => log.journal("dead").await?,
        };
        self.journal.insert(journal).append(bytes).await.map(|_| ())
    }
}
