//! The writing side on Kafka: hands records to librdkafka's bounded queue and
//! keeps account of what became of them. A batch that a broker refuses is sent again
//! record by record ([`single`]): what is refused on its own is lost. Whether a queue that is full means that
//! Kafka is away, and what to do then, is the caller's business.

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::{BorrowedMessage, DeliveryResult, Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
    statistics::Statistics,
};
use tokio::sync::Notify;

use self::{
    lanes::{Lane, Lanes, Ticket},
    single::{Single, judges_batches},
};
use super::{
    client::{Watch, explain},
    properties::{Limits, Properties},
};
use crate::{Append, Entry, LogError, Loss, Position, Rejected};

mod lanes;
mod single;

/// How often the number of partitions is asked for.
const REFRESH: Duration = Duration::from_secs(30);
/// Longest wait for that answer; delivery reports wait with it.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the polling thread sleeps when there is nothing to report, and so how
/// long a drop may wait for it.
const POLL: Duration = Duration::from_millis(100);
/// The same for each of two producers, while records are sent again one by one and
/// in the end.
const POLL_OFTEN: Duration = Duration::from_millis(1);
/// How long a drop waits for what is not yet durable.
const LAST_FLUSH: Duration = Duration::from_secs(3);
/// A record's frame in a batch: lengths, deltas and counts at their longest.
const FRAME: usize = 70;
/// The same of one header.
const HEADER_FRAME: usize = 10;

/// Appends to one topic. Dropping it waits a moment for what is not yet durable, then
/// gives it up and says how much that was: `flush` first.
pub struct KafkaAppender {
    topic: String,
    brokers: String,
    limits: Limits,
    producer: Arc<BaseProducer<Reports>>,
    account: Arc<Account>,
    thread: Option<JoinHandle<()>>,
}

impl KafkaAppender {
    pub(super) fn open(
        properties: &Properties,
        topic: &str,
        partitions: u32,
        queue_bytes: usize,
        limits: Limits,
    ) -> Result<Self, LogError> {
        let account = Arc::new(Account::new(partitions));
        let refused =
            |error| explain("opening the log for appending", properties.brokers(), &error, None);
        let config = properties.producer(queue_bytes, limits);
        let single = Some(Single::new(config.clone(), topic, limits.record));
        let reports = Reports { account: Arc::clone(&account), watch: properties.watch(), single };
        let producer: BaseProducer<Reports> =
            config.create_with_context(reports).map_err(refused)?;
        let producer = Arc::new(producer);
        let thread = thread::Builder::new().name("kafka-producer".into()).spawn({
            let (producer, account) = (Arc::clone(&producer), Arc::clone(&account));
            let topic = topic.to_owned();
            move || poll(&producer, &account, &topic)
        });
        let thread = thread.map_err(|error| LogError::Io(format!("no thread: {error}")))?;
        Ok(Self {
            topic: topic.to_owned(),
            brokers: properties.brokers().to_owned(),
            limits,
            producer,
            account,
            thread: Some(thread),
        })
    }

    /// Largest payload that is surely taken, with `beside` bytes of key and headers.
    #[must_use]
    pub fn record_limit(&self, beside: usize) -> usize {
        self.limits.record.saturating_sub(beside + FRAME)
    }

    fn room_for(&self, entry: &Entry<'_>) -> Result<(), Rejected> {
        let headers: usize =
            entry.headers.iter().map(|(name, value)| name.len() + value.len() + HEADER_FRAME).sum();
        let limit = self.record_limit(entry.key.len() + headers);
        let size = entry.payload.len();
        if size > limit { Err(Rejected::TooLarge { size, limit }) } else { Ok(()) }
    }

    fn rejected(&self, error: &KafkaError, entry: &Entry<'_>) -> Rejected {
        match error.rdkafka_error_code() {
            // A partition we know of and librdkafka does not: it will in a moment.
            Some(Code::QueueFull | Code::UnknownPartition) => Rejected::Full,
            Some(Code::MessageSizeTooLarge) => {
                Rejected::TooLarge { size: entry.payload.len(), limit: self.limits.record }
            }
            _ => Rejected::Closed(
                self.account.fatal.get().cloned().unwrap_or_else(|| error.to_string()),
            ),
        }
    }
}

impl Append for KafkaAppender {
    fn partitions(&self) -> u32 {
        self.account.lanes.len()
    }

    fn enqueue(&self, entry: &Entry<'_>) -> Result<Position, Rejected> {
        let Some(lane) = self.account.lanes.get(entry.partition) else {
            return Err(Rejected::Closed(format!("it has no partition {}", entry.partition)));
        };
        self.room_for(entry)?;
        let headers = owned_headers(entry.headers);
        // The number and the place in librdkafka's queue are given out together.
        let mut accepted = lane.accepted();
        let number = accepted.last() + 1;
        let ticket = lane.ticket(number, entry.weight);
        // librdkafka takes 0 for "now".
        let time_ms = i64::try_from(entry.time_ns / 1_000_000).unwrap_or(i64::MAX).max(1);
        let mut record = BaseRecord::with_opaque_to(&self.topic, ticket.into_raw())
            .partition(entry.partition as i32)
            .timestamp(time_ms)
            .payload(entry.payload);
        record.headers = headers;
        record.key = (!entry.key.is_empty()).then_some(entry.key);
        match self.producer.send(record) {
            Ok(()) => {
                lane.accept(&mut accepted, time_ms);
                Ok(Position { partition: entry.partition, number })
            }
            Err((error, _)) => {
                lane.void(ticket);
                drop(accepted);
                Err(self.rejected(&error, entry))
            }
        }
    }

    fn durable(&self, partition: u32) -> u64 {
        self.account.lanes.get(partition).map_or(0, Lane::durable)
    }

    fn losses(&self) -> Vec<Loss> {
        std::mem::take(&mut *self.account.losses())
    }

    async fn flush(&self, deadline: Duration) -> Result<(), LogError> {
        let targets: Vec<u64> =
            self.account.lanes.iter().map(|lane| lane.accepted().last()).collect();
        let missing = || -> u64 {
            let lanes = self.account.lanes.iter();
            targets
                .iter()
                .zip(lanes)
                .map(|(target, lane)| target.saturating_sub(lane.durable()))
                .sum()
        };
        let all = async {
            loop {
                let progress = self.account.progress.notified();
                tokio::pin!(progress);
                progress.as_mut().enable();
                if missing() == 0 {
                    return;
                }
                progress.await;
            }
        };
        tokio::time::timeout(deadline, all).await.map_err(|_| {
            let told = self.producer.context().watch.take_last();
            let reason = told.map(|(_, reason)| format!(": {reason}")).unwrap_or_default();
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
        let _ = self.account.end.set(Instant::now() + LAST_FLUSH);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that polls Kafka's producer has panicked");
        }
        let given_up = self.account.lanes.waiting();
        if given_up > 0 {
            tracing::error!(
                records = given_up,
                topic = self.topic,
                "given up before they were durable"
            );
        }
    }
}

/// What became of the records, shared with the thread that polls.
struct Account {
    lanes: Lanes,
    losses: Mutex<Vec<Loss>>,
    /// Each time something became durable.
    progress: Notify,
    /// Why nothing is taken any more.
    fatal: OnceLock<String>,
    /// Set when the appender is dropped: what is not durable then is given up.
    end: OnceLock<Instant>,
}

impl Account {
    fn new(partitions: u32) -> Self {
        Self {
            lanes: Lanes::new(partitions),
            losses: Mutex::default(),
            progress: Notify::new(),
            fatal: OnceLock::new(),
            end: OnceLock::new(),
        }
    }

    fn losses(&self) -> MutexGuard<'_, Vec<Loss>> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self, partition: u32, number: u64, weight: u32, reason: &'static str) {
        let mut losses = self.losses();
        if let Some(run) = losses.iter_mut().rev().find(|run| run.partition == partition)
            && run.last + 1 == number
            && run.reason == reason
        {
            run.last = number;
            run.weight += u64::from(weight);
            return;
        }
        losses.push(Loss { partition, first: number, last: number, weight: weight.into(), reason });
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

/// Receives delivery reports, on the polling thread only.
struct Reports {
    account: Arc<Account>,
    watch: Watch,
    /// Where refused records go; none: they have been there.
    single: Option<Single>,
}

impl Reports {
    /// Sends a refused record once more, on its own, if that may help. What was
    /// taken is reported later, under the same number.
    fn send_again(
        &self,
        message: &BorrowedMessage<'_>,
        error: &KafkaError,
        lane: &Lane,
        ticket: Ticket,
    ) -> bool {
        let Some(single) = self.single.as_ref().filter(|_| judges_batches(error)) else {
            return false;
        };
        let Some(time_ms) = lane.time(ticket.number()) else { return false };
        let make = || Self {
            account: Arc::clone(&self.account),
            watch: self.watch.another(),
            single: None,
        };
        single
            .send(message, time_ms, ticket, &self.account.end, make)
            .inspect_err(|again| tracing::debug!(%again, "a record cannot be sent again"))
            .is_ok()
    }
}

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.watch.generate_oauth_token(config)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.watch.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.watch.stats(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(Code::Fatal)
            && self.account.fatal.set(reason.to_owned()).is_ok()
        {
            tracing::error!("Kafka's producer has failed for good: {reason}");
        }
        self.watch.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        let (message, error) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (message, Some(error)),
        };
        let Ok(partition) = u32::try_from(message.partition()) else { return };
        let Some(lane) = self.account.lanes.get(partition) else { return };
        let ticket = Ticket::from_raw(ticket);
        if error.is_some_and(|error| self.send_again(message, error, lane, ticket)) {
            return;
        }
        let weight = lane.redeem(ticket);
        if let Some(error) = error {
            let reason = reason(error);
            tracing::debug!(partition, number = ticket.number(), %error, "a record was lost");
            self.account.lost(partition, ticket.number(), weight, reason);
        }
        // The loss is there to be read before the watermark passes it.
        lane.report(ticket.number());
        self.account.progress.notify_waiters();
    }
}

/// A word for a metric's label.
fn reason(error: &KafkaError) -> &'static str {
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize) => {
            "too_large"
        }
        Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => "not_authorized",
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            "no_topic"
        }
        Some(Code::InvalidTimestamp) => "bad_time",
        Some(Code::PurgeQueue | Code::PurgeInflight) => "closed",
        _ => "log_failed",
    }
}

fn owned_headers(headers: &[(&str, &[u8])]) -> Option<OwnedHeaders> {
    if headers.is_empty() {
        return None;
    }
    let mut owned = OwnedHeaders::new_with_capacity(headers.len());
    for (key, value) in headers {
        owned = owned.insert(Header { key, value: Some(*value) });
    }
    Some(owned)
}

fn poll(producer: &BaseProducer<Reports>, account: &Account, topic: &str) {
    let single = || producer.context().single.as_ref().and_then(Single::producer);
    let mut refreshed = Instant::now();
    while account.end.get().is_none() {
        // The records that are sent again, before the first one's next reports.
        let busy = single().filter(|single| single.in_flight_count() > 0);
        busy.inspect(|single| single.poll(POLL_OFTEN));
        producer.poll(if busy.is_some() { POLL_OFTEN } else { POLL });
        if refreshed.elapsed() < REFRESH {
            continue;
        }
        refreshed = Instant::now();
        let found = producer.client().fetch_metadata(Some(topic), REFRESH_TIMEOUT);
        let known =
            found.ok().and_then(|found| found.topics().first().map(|one| one.partitions().len()));
        if let Some(count) = known {
            account.lanes.grow(count as u32);
        }
    }
    let over = || account.end.get().is_some_and(|end| Instant::now() >= *end);
    while account.lanes.waiting() > 0 && !over() {
        single().inspect(|single| single.poll(POLL_OFTEN));
        producer.poll(POLL_OFTEN);
    }
}
