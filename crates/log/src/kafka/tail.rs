//! The reading side on Kafka, as its user sees it. Everything that talks to the
//! brokers runs on one thread that never stops polling (`poller`); between the two
//! is an `inbox`.

mod commits;
mod group;
mod inbox;
mod partition;
mod poller;
mod rebalance;
mod wake;

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::oneshot;

pub(super) use self::poller::time_ns;
use self::{
    group::Group,
    inbox::Inbox,
    poller::{Closing, Poller, Settings},
};
use super::admin::Admin;
use crate::{Event, LogError, Start, Tail, TailOptions, settle::SettleQueue};

/// An assignment needs a group's name even where none is joined.
const NO_GROUP: &str = "umbra-reader";
/// What closing may take beyond its deadline, so that the thread's own answer comes
/// first.
const GRACE: Duration = Duration::from_millis(500);

/// A member of a consumer group, or a reader without one. Dropping it without
/// `close` leaves the group at once and commits nothing; the thread that polls ends
/// by itself soon after, since a drop must not wait for brokers.
pub struct KafkaTail {
    inbox: Arc<Inbox>,
    queue: Arc<SettleQueue>,
    thread: Option<JoinHandle<()>>,
}

impl KafkaTail {
    pub(super) async fn open(
        admin: &Arc<Admin>,
        topic: &str,
        options: TailOptions,
    ) -> Result<Self, LogError> {
        let partitions = admin.partitions(topic).await?;
        let start = match options.start {
            // The end is where it is now, not where it will be when partitions come.
            Start::Latest => {
                let spans = admin.spans(topic, partitions).await?;
                Start::At(spans.iter().map(|span| (span.partition, span.high)).collect())
            }
            start => start,
        };
        let mut config = match &options.group {
            Some(group) => admin.properties().member(group),
            None => admin.properties().reader(),
        };
        let shares = partitions.max(1) as usize;
        let (bytes, records) = (options.read_ahead_bytes, options.read_ahead_records);
        admin.properties().fetch_for(&mut config, bytes / shares, records / shares);
        match (&options.group, &options.instance) {
            (None, _) => {
                config.set("group.id", NO_GROUP);
            }
            (Some(_), Some(instance)) => {
                config.set("group.instance.id", instance);
            }
            (Some(_), None) => {}
        }
        let watch = admin.properties().watch();
        let watch = match &options.group {
            Some(group) => watch.member(group),
            None => watch,
        };
        let inbox = Arc::new(Inbox::default());
        let consumer = config
            .create_with_context(Group::new(watch))
            .map_err(|error| admin.explain("opening the log for reading", &error))?;
        let poller = Poller::new(
            consumer,
            Arc::clone(&inbox),
            Settings {
                topic: topic.to_owned(),
                brokers: admin.properties().brokers().to_owned(),
                grouped: options.group.is_some(),
                instance: options.group.and(options.instance),
                start,
                settle: settle_deadline(&config),
                read_ahead_bytes: options.read_ahead_bytes,
                read_ahead_records: options.read_ahead_records,
                look_for_partitions: millis(&config, "topic.metadata.refresh.interval.ms")
                    .unwrap_or(Duration::from_secs(10)),
            },
        )?;
        let queue = poller.queue();
        let thread = thread::Builder::new()
            .name("kafka-consumer".into())
            .spawn(move || poller.run())
            .map_err(|error| LogError::Io(format!("no thread: {error}")))?;
        Ok(Self { inbox, queue, thread: Some(thread) })
    }
}

impl Tail for KafkaTail {
    async fn next(&mut self) -> Result<Event, LogError> {
        self.inbox.next().await
    }

    fn finish(&mut self, partition: u32) {
        self.inbox.finish(partition);
    }

    fn note(&mut self, partition: u32, note: Bytes) {
        if let Some(epoch) = self.inbox.assignment(partition) {
            self.queue.note(partition, epoch, note);
        }
    }

    async fn close(mut self, deadline: Duration) -> Result<(), LogError> {
        let (told, result) = oneshot::channel();
        self.inbox.close(Closing { by: Instant::now() + deadline, told });
        let closed = match tokio::time::timeout(deadline + GRACE, result).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(LogError::Unusable("the thread that polls has ended".into())),
            // It is on its way out; waiting for it is what the deadline forbids.
            Err(_) => return Err(LogError::Deadline(format!("not closed after {deadline:?}"))),
        };
        if let Some(thread) = self.thread.take() {
            let left = tokio::task::spawn_blocking(move || thread.join());
            if let Ok(Ok(Err(_))) = tokio::time::timeout(deadline + GRACE, left).await {
                return Err(LogError::Unusable("the thread that polls has panicked".into()));
            }
        }
        closed
    }
}

impl Drop for KafkaTail {
    fn drop(&mut self) {
        self.inbox.abandon();
    }
}

impl std::fmt::Debug for KafkaTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaTail").finish_non_exhaustive()
    }
}

/// How long a revoked partition waits for what is in flight: less than what would
/// cost the membership.
fn settle_deadline(config: &rdkafka::ClientConfig) -> Duration {
    const LONGEST: Duration = Duration::from_secs(5);
    ["session.timeout.ms", "max.poll.interval.ms"]
        .into_iter()
        .filter_map(|key| millis(config, key))
        .map(|whole| whole / 2)
        .fold(LONGEST, Duration::min)
}

fn millis(config: &rdkafka::ClientConfig, key: &str) -> Option<Duration> {
    config.get(key)?.parse().ok().map(Duration::from_millis)
}

/// Offsets by partition.
type Offsets = BTreeMap<u32, u64>;
