//! A side log on Kafka: a topic of one partition that keeps everything, written
//! one entry at a time and read to its end.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};
use tokio::task::spawn_blocking;

use super::{
    admin::Admin,
    client::{Watch, explain, watermarks},
    topic::Wanted,
};
use crate::{LogError, Mode};

/// What an entry may hold beside a record of the log.
const BESIDE: usize = 64 << 10;
/// A reader that follows looks up from its wait so often, to see whether anybody
/// still wants the answer.
const SLICE: Duration = Duration::from_millis(250);
/// Entries handed over at a time.
const BATCH: usize = 4096;
/// An assignment needs a group's name even where none is joined.
const NO_GROUP: &str = "umbra-journal";

/// A side log of a topic.
pub struct KafkaJournal {
    shared: Arc<Shared>,
    producer: FutureProducer<Watch>,
}

struct Shared {
    topic: String,
    admin: Arc<Admin>,
    /// Readers that nobody is using.
    idle: Mutex<Vec<Reader>>,
}

struct Reader {
    consumer: BaseConsumer<Watch>,
    /// The offset it will read next; `None`: not placed yet.
    next: Option<u64>,
}

impl KafkaJournal {
    pub(super) async fn open(
        admin: &Arc<Admin>,
        topic: String,
        record_bytes: usize,
        mode: Mode,
    ) -> Result<Self, LogError> {
        let max_bytes = record_bytes + BESIDE;
        let settings = [
            ("retention.ms", "-1".to_owned()),
            ("retention.bytes", "-1".to_owned()),
            ("max.message.bytes", max_bytes.to_string()),
        ];
        let wanted = Wanted {
            partitions: 1,
            replicas: None,
            settings: settings.map(|(key, value)| (key.to_owned(), value)).into(),
        };
        let wanted = (mode == Mode::Create).then_some(&wanted);
        let found = admin.open(&topic, wanted).await?;
        if found.partitions != 1 {
            return Err(LogError::Refused(format!(
                "the topic {topic} has {} partitions: its entries need one order, hence one \
                 partition",
                found.partitions
            )));
        }
        if let Some(retention) = found.retention {
            return Err(LogError::Refused(format!(
                "the topic {topic} keeps its entries for {retention:?} only: set retention.ms=-1"
            )));
        }
        let producer = admin
            .properties()
            .producer(
                max_bytes.max(1 << 20) * 2,
                super::Limits::of(found.max_message_bytes, usize::MAX),
            )
            .set("linger.ms", "0")
            // An entry that is not taken in time is an error its writer is told.
            .set("message.timeout.ms", admin.timeout().as_millis().max(1).to_string())
            .create_with_context(admin.properties().watch())
            .map_err(|error| admin.explain(&format!("opening the topic {topic}"), &error))?;
        let shared = Shared { topic, admin: Arc::clone(admin), idle: Mutex::default() };
        Ok(Self { shared: Arc::new(shared), producer })
    }

    /// See [`crate::Journal::append`].
    ///
    /// # Errors
    /// If the brokers did not confirm it in time.
    pub async fn append(&self, entry: &[u8]) -> Result<u64, LogError> {
        let record: FutureRecord<'_, (), [u8]> =
            FutureRecord::to(&self.shared.topic).partition(0).payload(entry);
        let sent = self.producer.send(record, Timeout::After(self.shared.admin.timeout())).await;
        match sent {
            Ok(delivered) => u64::try_from(delivered.offset).map_err(|_| {
                LogError::Unusable(format!("the brokers named no offset in {}", self.shared.topic))
            }),
            Err((error, _)) => Err(explain(
                &format!("appending to {}", self.shared.topic),
                self.shared.admin.properties().brokers(),
                &error,
                None,
            )),
        }
    }

    /// See [`crate::Journal::read_from`].
    ///
    /// # Errors
    /// If the brokers do not answer in time.
    pub async fn read_from(&self, offset: u64) -> Result<Vec<(u64, Bytes)>, LogError> {
        let timeout = self.shared.admin.timeout();
        self.with_reader(move |reader, topic| reader.read_to_end(topic, offset, timeout)).await
    }

    /// See [`crate::Journal::read_to`].
    ///
    /// # Errors
    /// If the brokers do not answer in time.
    pub async fn read_to(&self, offset: u64, last: u64) -> Result<Vec<(u64, Bytes)>, LogError> {
        let timeout = self.shared.admin.timeout();
        self.with_reader(move |reader, topic| match reader.next {
            // To ask for the end takes as long as an answer to what it is waiting for there.
            Some(next) if next == offset => reader.read(topic, offset, last + 1, timeout),
            _ => reader.read_to_end(topic, offset, timeout),
        })
        .await
    }

    /// See [`crate::Journal::follow_from`].
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn follow_from(&self, offset: u64) -> Result<Vec<(u64, Bytes)>, LogError> {
        loop {
            // The answer to a caller that has gone is lost; its next call names the
            // offset again.
            let entries = self.with_reader(move |reader, topic| reader.some(topic, offset)).await?;
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
    }

    async fn with_reader<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Reader, &str) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, LogError> {
        let shared = Arc::clone(&self.shared);
        let done = spawn_blocking(move || {
            let mut reader = shared.reader()?;
            let result = read(&mut reader, &shared.topic);
            match result {
                Ok(answer) => {
                    shared.idle().push(reader);
                    Ok(answer)
                }
                Err(error) => {
                    let told = reader.consumer.context().take_last();
                    let doing = format!("reading the topic {}", shared.topic);
                    Err(explain(&doing, shared.admin.properties().brokers(), &error, told))
                }
            }
        });
        done.await.map_err(|stopped| LogError::Unusable(format!("reading: {stopped}")))?
    }
}

impl std::fmt::Debug for KafkaJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaJournal").field("topic", &self.shared.topic).finish_non_exhaustive()
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> Result<Reader, LogError> {
        if let Some(reader) = self.idle().pop() {
            return Ok(reader);
        }
        let mut config = self.admin.properties().reader();
        config.set("group.id", NO_GROUP);
        let watch = self.admin.properties().watch();
        let consumer = config.create_with_context(watch).map_err(|error| {
            self.admin.explain(&format!("opening the topic {}", self.topic), &error)
        })?;
        Ok(Reader { consumer, next: None })
    }
}

impl Reader {
    fn place(&mut self, topic: &str, offset: u64) -> Result<(), KafkaError> {
        if self.next != Some(offset) {
            let mut at = TopicPartitionList::new();
            at.add_partition_offset(topic, 0, Offset::Offset(offset as i64))?;
            self.consumer.assign(&at)?;
            self.next = Some(offset);
        }
        Ok(())
    }

    /// All entries from `offset` up to what is the end when this is called.
    fn read_to_end(
        &mut self,
        topic: &str,
        offset: u64,
        timeout: Duration,
    ) -> Result<Vec<(u64, Bytes)>, KafkaError> {
        // One that reads takes its token while it does.
        if self.next.is_none() {
            Watch::sign_in(&self.consumer);
        }
        let (low, high) = watermarks(&self.consumer, topic, timeout)?;
        self.read(topic, offset.max(low), high, timeout)
    }

    /// All entries from `next` up to `high`.
    fn read(
        &mut self,
        topic: &str,
        mut next: u64,
        high: u64,
        timeout: Duration,
    ) -> Result<Vec<(u64, Bytes)>, KafkaError> {
        let mut entries = Vec::new();
        if next >= high {
            return Ok(entries);
        }
        // A reader that stands there already has what is new within milliseconds, behind
        // ends from before that wait in its queue.
        let mut anew = self.next != Some(next);
        self.place(topic, next)?;
        let mut deadline = Instant::now() + timeout;
        while next < high {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.poll(left.min(SLICE))? {
                Polled::Entry(at, entry) => {
                    entries.push((at, entry));
                    next = at + 1;
                    deadline = Instant::now() + timeout;
                }
                // What lies between here and the end are no entries.
                Polled::End if anew => break,
                Polled::End => {}
                Polled::Nothing if left.is_zero() => {
                    return Err(KafkaError::MessageConsumption(
                        rdkafka::error::RDKafkaErrorCode::OperationTimedOut,
                    ));
                }
                Polled::Nothing if !anew => {
                    self.next = None;
                    self.place(topic, next)?;
                    anew = true;
                }
                Polled::Nothing => {}
            }
        }
        Ok(entries)
    }

    /// What is there from `offset` on within a moment; may be nothing.
    fn some(&mut self, topic: &str, offset: u64) -> Result<Vec<(u64, Bytes)>, KafkaError> {
        self.place(topic, offset)?;
        let mut entries = Vec::new();
        let until = Instant::now() + SLICE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.poll(if entries.is_empty() { left } else { Duration::ZERO })? {
                Polled::Entry(at, entry) => entries.push((at, entry)),
                Polled::End | Polled::Nothing if entries.is_empty() && !left.is_zero() => continue,
                Polled::End | Polled::Nothing => return Ok(entries),
            }
            if entries.len() >= BATCH {
                return Ok(entries);
            }
        }
    }

    fn poll(&mut self, timeout: Duration) -> Result<Polled, KafkaError> {
        match self.consumer.poll(timeout) {
            None => Ok(Polled::Nothing),
            Some(Ok(message)) => {
                let offset = message.offset().max(0) as u64;
                self.next = Some(offset + 1);
                Ok(Polled::Entry(offset, Bytes::copy_from_slice(message.payload().unwrap_or(b""))))
            }
            Some(Err(KafkaError::PartitionEOF(_))) => Ok(Polled::End),
            Some(Err(error))
                if super::client::passes_alone(&error)
                    || self.consumer.context().passes(&error) =>
            {
                Ok(Polled::Nothing)
            }
            Some(Err(error)) => Err(error),
        }
    }
}

enum Polled {
    Entry(u64, Bytes),
    End,
    Nothing,
}
