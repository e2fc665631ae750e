//! A table on Kafka: a compacted topic of one partition. What is removed is not only
//! hidden by a tombstone: the topic's settings, and what `remove` does, have the brokers
//! delete its bytes soon.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};
use tokio::task::spawn_blocking;

use super::{
    admin::Admin,
    client::{Watch, explain, passes_alone, watermarks},
    topic::{Settings, Wanted},
};
use crate::{
    LogError, Mode,
    table::{MAX_KEYS, MAX_VALUE, is_key, too_many},
};

/// Settings of a topic that forgets what was removed. The cleaner never looks into the
/// segment that is written to: a segment takes a second of records, so that the one
/// after them ends it. It looks at a topic as soon as there is anything to do, however
/// little that is beside what stays, and after `max.compaction.lag.ms` in any case.
/// Tombstones stay for a day, for those who read meanwhile.
const SETTINGS: [(&str, &str); 6] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "1000"),
    ("min.cleanable.dirty.ratio", "0.001"),
    ("min.compaction.lag.ms", "0"),
    ("max.compaction.lag.ms", "600000"),
    ("delete.retention.ms", "86400000"),
];
/// A value with its key, and what Kafka adds.
const MAX_MESSAGE: usize = 2 * MAX_VALUE;
/// A record after this long ends the segment of those before it.
const SEGMENT: Duration = Duration::from_millis(1100);
/// A tombstone that removes nothing; its only use is to come later.
const NOBODY: &str = ".";
/// Between looks whether anybody still waits.
const SLICE: Duration = Duration::from_millis(250);
/// An assignment needs a group's name even where none is joined.
const NO_GROUP: &str = "umbra-table";

/// A table of a topic.
#[derive(Clone)]
pub struct KafkaTable {
    topic: Arc<str>,
    admin: Arc<Admin>,
}

impl KafkaTable {
    pub(super) async fn open(
        admin: &Arc<Admin>,
        topic: String,
        mode: Mode,
    ) -> Result<Self, LogError> {
        let table = Self { topic: topic.into(), admin: Arc::clone(admin) };
        if mode == Mode::Create {
            let settings = SETTINGS.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            table.check(Some(&Wanted { partitions: 1, replicas: None, settings })).await?;
        }
        Ok(table)
    }

    /// Finds the topic, or makes it if told how.
    async fn check(&self, wanted: Option<&Wanted>) -> Result<(), LogError> {
        let topic = &self.topic;
        let found = self.admin.open_checked(topic, wanted, Settings::refuse_table).await?;
        if found.partitions != 1 {
            return Err(LogError::Refused(format!(
                "the topic {topic} has {} partitions: its entries need one order, hence one \
                 partition",
                found.partitions
            )));
        }
        Ok(())
    }

    pub(crate) fn name(&self) -> &str {
        &self.topic
    }

    pub(crate) async fn put(&self, key: &str, value: &[u8]) -> Result<(), LogError> {
        let producer = self.producer()?;
        let put = self.send(&producer, key, Some(value)).await;
        finish(producer).await;
        put
    }

    /// Tombstones, and behind them, in a segment of its own, one of nobody: the brokers
    /// then clean those before it.
    pub(crate) async fn remove(&self, keys: &[String]) -> Result<(), LogError> {
        let producer = self.producer()?;
        let removed = self.bury(&producer, keys).await;
        finish(producer).await;
        removed
    }

    async fn bury(
        &self,
        producer: &FutureProducer<Watch>,
        keys: &[String],
    ) -> Result<(), LogError> {
        for key in keys {
            self.send(producer, key, None).await?;
        }
        tokio::time::sleep(SEGMENT).await;
        self.send(producer, NOBODY, None).await
    }

    /// What is there up to what is the end when this is called.
    pub(crate) async fn read_all(&self) -> Result<BTreeMap<String, Bytes>, LogError> {
        match self.check(None).await {
            Err(LogError::NotFound(_)) => return Ok(BTreeMap::new()),
            checked => checked?,
        }
        let table = self.clone();
        let done = spawn_blocking(move || {
            let consumer = table.consumer()?;
            table.read(&consumer).map_err(|error| match error {
                Read::Kafka(error) => {
                    let told = consumer.context().take_last();
                    let doing = format!("reading the topic {}", table.topic);
                    explain(&doing, table.admin.properties().brokers(), &error, told)
                }
                Read::TooMany => too_many(&format!("the topic {}", table.topic)),
            })
        });
        done.await.map_err(|stopped| LogError::Unusable(format!("reading: {stopped}")))?
    }

    async fn send(
        &self,
        producer: &FutureProducer<Watch>,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<(), LogError> {
        let mut record: FutureRecord<'_, str, [u8]> =
            FutureRecord::to(&self.topic).partition(0).key(key);
        record.payload = value;
        let sent = producer.send(record, Timeout::After(self.admin.timeout())).await;
        sent.map(drop).map_err(|(error, _)| {
            let doing = format!("writing to {}", self.topic);
            explain(&doing, self.admin.properties().brokers(), &error, None)
        })
    }

    /// One for a few records, once a day.
    fn producer(&self) -> Result<FutureProducer<Watch>, LogError> {
        let limits = super::Limits::of(MAX_MESSAGE, usize::MAX);
        self.admin
            .properties()
            .producer(4 * MAX_VALUE, limits)
            .set("linger.ms", "0")
            .set("message.timeout.ms", self.admin.timeout().as_millis().max(1).to_string())
            .create_with_context(self.admin.properties().watch())
            .map_err(|error| {
                self.admin.explain(&format!("opening the topic {}", self.topic), &error)
            })
    }

    fn consumer(&self) -> Result<BaseConsumer<Watch>, LogError> {
        let mut config = self.admin.properties().reader();
        config.set("group.id", NO_GROUP);
        let watch = self.admin.properties().watch();
        config.create_with_context(watch).map_err(|error| {
            self.admin.explain(&format!("opening the topic {}", self.topic), &error)
        })
    }

    fn read(&self, consumer: &BaseConsumer<Watch>) -> Result<BTreeMap<String, Bytes>, Read> {
        let timeout = self.admin.timeout();
        Watch::sign_in(consumer);
        let (low, high) = watermarks(consumer, &self.topic, timeout)?;
        let mut all = BTreeMap::new();
        if low >= high {
            return Ok(all);
        }
        let mut at = TopicPartitionList::new();
        at.add_partition_offset(&self.topic, 0, Offset::Offset(low as i64))?;
        consumer.assign(&at)?;
        let mut deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match consumer.poll(left.min(SLICE)) {
                Some(Ok(message)) => {
                    take(&mut all, &message);
                    if all.len() > MAX_KEYS {
                        return Err(Read::TooMany);
                    }
                    if message.offset() + 1 >= high as i64 {
                        return Ok(all);
                    }
                    deadline = Instant::now() + timeout;
                }
                // What compaction removed at the end leaves no message behind.
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(all),
                Some(Err(error)) if !passes_alone(&error) && !consumer.context().passes(&error) => {
                    return Err(error.into());
                }
                _ if left.is_zero() => {
                    let late = RDKafkaErrorCode::OperationTimedOut;
                    return Err(KafkaError::MessageConsumption(late).into());
                }
                _ => {}
            }
        }
    }
}

impl std::fmt::Debug for KafkaTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaTable").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// Why reading ended early.
enum Read {
    Kafka(KafkaError),
    TooMany,
}

impl From<KafkaError> for Read {
    fn from(error: KafkaError) -> Self {
        Self::Kafka(error)
    }
}

/// A later record of a key stands for it; one without a value removes it.
fn take(all: &mut BTreeMap<String, Bytes>, message: &impl Message) {
    let key = message.key().and_then(|key| std::str::from_utf8(key).ok());
    // What others wrote there is none of ours.
    let Some(key) = key.filter(|key| is_key(key)) else { return };
    match message.payload().filter(|value| value.len() <= MAX_VALUE) {
        Some(value) => {
            all.insert(key.to_owned(), Bytes::copy_from_slice(value));
        }
        None => {
            all.remove(key);
        }
    }
}

/// Closing a client waits for its threads.
async fn finish(producer: FutureProducer<Watch>) {
    let _ = spawn_blocking(move || drop(producer)).await;
}
