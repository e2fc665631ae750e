//! The writing side on Kafka: one producer, or several that share the partitions. A
//! producer of librdkafka compresses and sends on one thread for each broker, which is
//! busy all the time at about half a gigabyte a second; each further one has threads, a
//! connection and a part of the queue of its own. What becomes of a record is
//! [`super::appender`]'s business.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{admin::Admin, appender::Share};
use crate::{Append, AppendTimes, Entry, LogError, Loss, Position, Rejected, Returned};

/// Batches of the largest size that fit a producer's part of the queue at least: with
/// fewer there are too few partitions with a full one while others are under way.
const BATCHES: usize = 7;

/// What an appender is opened with.
pub(super) struct Wanted {
    pub(super) partitions: u32,
    pub(super) queue_bytes: usize,
    pub(super) max_message_bytes: usize,
    pub(super) producers: u32,
}

impl Wanted {
    /// No more producers than their parts of queue and partitions are worth.
    fn producers(&self) -> usize {
        let fit = self.queue_bytes / self.max_message_bytes.saturating_mul(BATCHES).max(1);
        (self.producers.min(self.partitions) as usize).min(fit).max(1)
    }
}

/// Appends to one topic. Dropping it waits a moment for what is not yet durable, then
/// gives it up and says how much that was: `flush` first.
pub struct KafkaAppender {
    topic: String,
    brokers: String,
    /// Partition `n` belongs to share `n % shares.len()` for good.
    shares: Box<[Share]>,
    /// Each time something became durable.
    progress: Arc<Notify>,
}

impl KafkaAppender {
    /// To be called within a runtime, on which the topic's settings are asked for
    /// from time to time.
    pub(super) fn open(admin: &Arc<Admin>, topic: &str, wanted: &Wanted) -> Result<Self, LogError> {
        let progress = Arc::new(Notify::new());
        let producers = wanted.producers();
        let shares = (0..producers).map(|_| {
            Share::open(
                admin,
                topic,
                wanted.partitions,
                wanted.queue_bytes / producers,
                wanted.max_message_bytes,
                Arc::clone(&progress),
            )
        });
        Ok(Self {
            topic: topic.to_owned(),
            brokers: admin.properties().brokers().to_owned(),
            shares: shares.collect::<Result<_, _>>()?,
            progress,
        })
    }

    fn share(&self, partition: u32) -> &Share {
        &self.shares[partition as usize % self.shares.len()]
    }
}

impl Append for KafkaAppender {
    fn partitions(&self) -> u32 {
        // Each learns by itself that there are more.
        self.shares.iter().map(Share::partitions).min().unwrap_or(0)
    }

    fn enqueue(&self, entry: &Entry<'_>) -> Result<Position, Rejected> {
        self.share(entry.partition).enqueue(entry)
    }

    fn durable(&self, partition: u32) -> u64 {
        self.share(partition).durable(partition)
    }

    fn losses(&self) -> Vec<Loss> {
        self.shares.iter().flat_map(Share::losses).collect()
    }

    fn waiting(&self) -> Duration {
        self.shares.iter().map(Share::waiting).max().unwrap_or_default()
    }

    fn fits(&self, entry: &Entry<'_>) -> Result<(), Rejected> {
        self.share(entry.partition).room_for(entry)
    }

    fn take_back(&self, deadline: Duration) -> Vec<Returned> {
        let until = Instant::now() + deadline;
        self.shares.iter().for_each(Share::ask_back);
        self.shares.iter().flat_map(|share| share.given_back(until)).collect()
    }

    fn times(&self) -> Option<AppendTimes> {
        self.shares.iter().map(Share::times).reduce(|mut sum, other| {
            sum.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
            sum.sum_us += other.sum_us;
            sum
        })
    }

    async fn flush(&self, deadline: Duration) -> Result<(), LogError> {
        let targets: Vec<Vec<u64>> = self.shares.iter().map(Share::accepted).collect();
        let missing = || -> u64 {
            self.shares.iter().zip(&targets).map(|(share, target)| share.missing(target)).sum()
        };
        let all = async {
            loop {
                let progress = self.progress.notified();
                tokio::pin!(progress);
                progress.as_mut().enable();
                if missing() == 0 {
                    return;
                }
                progress.await;
            }
        };
        tokio::time::timeout(deadline, all).await.map_err(|_| {
            let told = self.shares.iter().find_map(Share::why);
            let reason = told.map(|reason| format!(": {reason}")).unwrap_or_default();
            LogError::Deadline(format!(
                "{} records are not durable after {deadline:?} (Kafka at {}){reason}",
                missing(),
                self.brokers
            ))
        })
    }
}

impl Drop for KafkaAppender {
    fn drop(&mut self) {
        // All have the same moment.
        self.shares.iter().for_each(Share::end);
    }
}

impl std::fmt::Debug for KafkaAppender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaAppender")
            .field("topic", &self.topic)
            .field("partitions", &self.partitions())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_are_as_many_as_have_something_to_share() {
        let of = |producers, partitions, queue_mib: usize, message_mib: usize| {
            let (queue_bytes, max_message_bytes) = (queue_mib << 20, message_mib << 20);
            Wanted { partitions, queue_bytes, max_message_bytes, producers }.producers()
        };
        assert_eq!([of(1, 12, 16, 1), of(2, 12, 16, 1), of(8, 12, 16, 1)], [1, 2, 2]);
        assert_eq!([of(8, 12, 64, 1), of(8, 3, 64, 1), of(8, 1, 64, 1)], [8, 3, 1]);
        // A part of the queue has room for the largest records, too.
        assert_eq!([of(2, 12, 1, 1), of(2, 12, 16, 8), of(0, 12, 16, 1)], [1, 1, 1]);
    }
}
