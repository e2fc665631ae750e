//! One producer of the writing side on Kafka ([`super::shares`] has several): hands
//! records to librdkafka's bounded queue and keeps account of what became of them. A
//! batch that a broker refuses is sent again record by record ([`single`]): what is
//! refused on its own is lost. What a producer fails to deliver for a reason that may
//! pass is delivered by the next one ([`keeper`]). Whether a queue that is full means
//! that Kafka is away, and what to do then, is the caller's business.

use std::{
    error::Error,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::{BorrowedMessage, DeliveryResult, Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, ProducerContext},
    statistics::Statistics,
};
use tokio::sync::Notify;

use self::{
    keeper::{Keeper, Maker},
    lanes::{Lane, Lanes, Ticket},
    rescue::{Rescue, rescues},
    single::{Single, judges_batches},
};
use super::{admin::Admin, client::Watch, properties::Limits};
use crate::{AppendTimes, Entry, LogError, Loss, Position, Rejected, Returned, times::Times};

mod keeper;
mod lanes;
mod rescue;
mod single;

/// How long a drop waits for what is not yet durable.
const LAST_FLUSH: Duration = Duration::from_secs(3);
/// A record's frame in a batch: lengths, deltas and counts at their longest.
const FRAME: usize = 70;
/// The same of one header.
const HEADER_FRAME: usize = 10;

type Producer = BaseProducer<Reports>;

/// A producer, and the account of the partitions that are its own. Dropping it waits a
/// moment for what is not yet durable, then gives it up and says how much that was.
pub(super) struct Share {
    topic: String,
    account: Arc<Account>,
    thread: Option<JoinHandle<()>>,
}

impl Share {
    /// To be called within a runtime, on which the topic's settings are asked for
    /// from time to time. `progress` is told each time something became durable.
    pub(super) fn open(
        admin: &Arc<Admin>,
        topic: &str,
        partitions: u32,
        queue_bytes: usize,
        max_message_bytes: usize,
        progress: Arc<Notify>,
    ) -> Result<Self, LogError> {
        let limits = Limits::of(max_message_bytes, queue_bytes);
        let account = Arc::new(Account::new(partitions, limits, progress));
        let maker = Maker {
            admin: Arc::clone(admin),
            topic: topic.to_owned(),
            queue_bytes,
            account: Arc::clone(&account),
        };
        let producer = maker.make(limits)?;
        let keeper =
            Keeper::new(maker, producer, max_message_bytes, tokio::runtime::Handle::current());
        let thread =
            thread::Builder::new().name("kafka-producer".into()).spawn(move || keeper.run());
        let thread = thread.map_err(|error| LogError::Io(format!("no thread: {error}")))?;
        Ok(Self { topic: topic.to_owned(), account, thread: Some(thread) })
    }

    /// Largest payload that is surely taken, with `beside` bytes of key and headers.
    fn record_limit(&self, beside: usize) -> usize {
        self.account.limit.load(Ordering::Relaxed).saturating_sub(beside + FRAME)
    }

    pub(super) fn room_for(&self, entry: &Entry<'_>) -> Result<(), Rejected> {
        let headers: usize =
            entry.headers.iter().map(|(name, value)| name.len() + value.len() + HEADER_FRAME).sum();
        let limit = self.record_limit(entry.key.len() + headers);
        let size = entry.payload.len();
        if size > limit { Err(Rejected::TooLarge { size, limit }) } else { Ok(()) }
    }

    fn rejected(&self, error: &KafkaError, entry: &Entry<'_>) -> Rejected {
        match error.rdkafka_error_code() {
            Some(Code::MessageSizeTooLarge) => {
                Rejected::TooLarge { size: entry.payload.len(), limit: self.record_limit(0) }
            }
            // The queue is full; or a partition we know of and librdkafka does not: it
            // will in a moment; or the producer has failed: there will be another.
            _ => Rejected::Full,
        }
    }

    pub(super) fn partitions(&self) -> u32 {
        self.account.lanes.len()
    }

    pub(super) fn enqueue(&self, entry: &Entry<'_>) -> Result<Position, Rejected> {
        let Some(lane) = self.account.lanes.get(entry.partition) else {
            return Err(Rejected::Closed(format!("it has no partition {}", entry.partition)));
        };
        self.room_for(entry)?;
        let headers = owned_headers(entry.headers);
        // The number and the place in librdkafka's queue are given out together.
        let mut accepted = lane.accepted();
        let number = accepted.last() + 1;
        lane.sample(&mut accepted, number);
        let ticket = lane.ticket(number, entry.weight);
        // librdkafka takes 0 for "now".
        let time_ms = i64::try_from(entry.time_ns / 1_000_000).unwrap_or(i64::MAX).max(1);
        let mut record = BaseRecord::with_opaque_to(&self.topic, ticket.into_raw())
            .partition(entry.partition as i32)
            .timestamp(time_ms)
            .payload(entry.payload);
        record.headers = headers;
        record.key = (!entry.key.is_empty()).then_some(entry.key);
        let sent = match accepted.producer() {
            Some(producer) => producer.send(record).map_err(|(error, _)| Some(error)),
            // It has failed, and there is no other yet.
            None => Err(None),
        };
        match sent {
            Ok(()) => {
                lane.accept(&mut accepted, time_ms);
                Ok(Position { partition: entry.partition, number })
            }
            Err(error) => {
                lane.unsample(&mut accepted, number);
                lane.void(ticket);
                drop(accepted);
                Err(error.map_or(Rejected::Full, |error| self.rejected(&error, entry)))
            }
        }
    }

    pub(super) fn durable(&self, partition: u32) -> u64 {
        self.account.lanes.get(partition).map_or(0, Lane::durable)
    }

    pub(super) fn losses(&self) -> Vec<Loss> {
        std::mem::take(&mut *self.account.losses())
    }

    pub(super) fn waiting(&self) -> Duration {
        self.account.lanes.iter().map(Lane::waiting).max().unwrap_or_default()
    }

    pub(super) fn times(&self) -> AppendTimes {
        self.account.times.read()
    }

    /// Asks for everything that is not durable.
    pub(super) fn ask_back(&self) {
        self.account.rescue.ask_back();
    }

    /// Waits for what was asked for.
    pub(super) fn given_back(&self, until: Instant) -> Vec<Returned> {
        self.account.rescue.given_back(until)
    }

    /// The last number of each partition.
    pub(super) fn accepted(&self) -> Vec<u64> {
        self.account.lanes.iter().map(|lane| lane.accepted().last()).collect()
    }

    /// How many records up to these numbers are not durable.
    pub(super) fn missing(&self, accepted: &[u64]) -> u64 {
        let lanes = self.account.lanes.iter();
        accepted.iter().zip(lanes).map(|(last, lane)| last.saturating_sub(lane.durable())).sum()
    }

    /// Why the producer failed last, while that is not over.
    pub(super) fn why(&self) -> Option<String> {
        self.account.rescue.why()
    }

    /// From now on a moment is left for what is not yet durable.
    pub(super) fn end(&self) {
        let _ = self.account.end.set(Instant::now() + LAST_FLUSH);
        self.account.rescue.wake();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.end();
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
    progress: Arc<Notify>,
    /// What a producer could not deliver, and the next one may.
    rescue: Rescue,
    times: Times,
    /// How many delivery reports came in.
    reports: AtomicU64,
    /// Largest record with key and headers.
    limit: AtomicUsize,
    /// The topic's settings may have changed.
    recheck: AtomicBool,
    /// Set when the appender is dropped: what is not durable then is given up.
    end: OnceLock<Instant>,
}

impl Account {
    fn new(partitions: u32, limits: Limits, progress: Arc<Notify>) -> Self {
        Self {
            lanes: Lanes::new(partitions),
            losses: Mutex::default(),
            progress,
            rescue: Rescue::default(),
            times: Times::default(),
            reports: AtomicU64::new(0),
            limit: AtomicUsize::new(limits.record),
            recheck: AtomicBool::new(false),
            end: OnceLock::new(),
        }
    }

    fn losses(&self) -> MutexGuard<'_, Vec<Loss>> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `number` is durable, or lost and told.
    fn report(&self, lane: &Lane, number: u64) {
        if let Some(time) = lane.report(number) {
            self.times.observe(time);
        }
        self.progress.notify_waiters();
    }

    /// No producer has anything: what was not reported and is not kept is lost.
    fn give_up(&self) {
        let mut given_up = 0_u64;
        for (partition, lane) in (0..).zip(self.lanes.iter()) {
            let missing = lane.missing().into_iter();
            for number in missing.filter(|number| !self.rescue.has(partition, *number)) {
                self.lost(partition, number, lane.weight(number), "log_failed");
                self.report(lane, number);
                given_up += 1;
            }
        }
        if given_up > 0 {
            tracing::error!(records = given_up, "an old producer keeps records: they are lost");
        }
    }

    /// The appender is dropped, and there is no more time.
    fn is_over(&self) -> bool {
        self.end.get().is_some_and(|end| Instant::now() >= *end)
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
        if self.account.rescue.is_asked() {
            return false;
        }
        let Some(time_ms) = lane.time(ticket.number()) else { return false };
        self.account.recheck.store(true, Ordering::Relaxed);
        let make = || Self {
            account: Arc::clone(&self.account),
            watch: self.watch.another(),
            single: None,
        };
        let is_over = || self.account.is_over() || self.account.rescue.is_asked();
        single
            .send(message, time_ms, ticket, is_over, make)
            .inspect_err(|again| tracing::debug!(%again, "a record cannot be sent again"))
            .is_ok()
    }

    /// Whether a record that is not delivered is kept: somebody may deliver it yet.
    fn keeps(&self, error: &KafkaError) -> bool {
        // Refused with its batch, and the caller wants it back before it is sent again.
        let asked =
            self.single.is_some() && judges_batches(error) && self.account.rescue.is_asked();
        (rescues(error) || asked) && self.account.end.get().is_none()
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
        if error.rdkafka_error_code() == Some(Code::Fatal) {
            self.account.rescue.fail(reason);
        }
        self.watch.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        self.account.reports.fetch_add(1, Ordering::Relaxed);
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
        if let Some(error) = error.filter(|error| self.keeps(error)) {
            let time_ms = lane.time(ticket.number()).unwrap_or(1);
            self.account.rescue.keep(message, (ticket.number(), weight, time_ms), error);
            return;
        }
        if let Some(error) = error {
            let reason = reason(error);
            tracing::debug!(partition, number = ticket.number(), %error, "a record was lost");
            self.account.lost(partition, ticket.number(), weight, reason);
        }
        // The loss is there to be read before the watermark passes it.
        self.account.report(lane, ticket.number());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_producer_reports_and_nobody_keeps_is_lost() {
        let account = Account::new(2, Limits::of(1 << 20, 1 << 20), Arc::default());
        let lane = account.lanes.get(1).unwrap();
        for time in 1..=6 {
            lane.accept(&mut lane.accepted(), time);
        }
        let _ = lane.ticket(3, 77);
        lane.report(1);
        lane.report(4);
        let kept = rescue::Rescued {
            time_ms: 1,
            key: None,
            headers: None,
            payload: Vec::new(),
            weight: 1,
        };
        account.rescue.put(1, 5, kept);
        account.give_up();
        let lost: Vec<_> = account
            .losses()
            .iter()
            .map(|run| (run.partition, run.first, run.last, run.weight))
            .collect();
        assert_eq!(lost, [(1, 2, 3, 78), (1, 6, 6, 1)]);
        // The watermark waits for what is kept, and for nothing else.
        assert_eq!(lane.durable(), 4);
        account.report(lane, 5);
        assert_eq!((lane.durable(), account.lanes.waiting()), (6, 0));
        account.give_up();
        assert_eq!(account.losses().len(), 2);
    }
}
