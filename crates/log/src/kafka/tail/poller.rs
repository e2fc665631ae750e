//! The thread that polls: one loop that takes what librdkafka has, settles what
//! came back, commits, and moves rebalances along (`rebalance`, `commits`). It never
//! waits for its user, and for the brokers only briefly.
//!
//! Each partition has a queue of its own in librdkafka, which stops fetching for it when
//! that is full. So a partition of which there is enough is simply not taken from; to
//! pause it would throw away what was fetched. All in one queue would stop all fetching
//! with the first batch of one of them.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, base_consumer::PartitionQueue},
    error::{KafkaError, KafkaResult},
    message::{BorrowedMessage, Timestamp},
};
use tokio::sync::oneshot;

use super::{
    commits::Commits,
    group::Group,
    inbox::{Inbox, Wish},
    partition::{Desk, Marks, Partition},
    rebalance::Rebalancing,
    wake::Wake,
};
use crate::{
    LogError, Start,
    kafka::client::{explain, passes},
    settle::{SettleQueue, Settled},
};

/// Records taken of a partition between two looks at everything else.
const BATCH: usize = 128;
/// Longest wait for a record while something else is going on …
const SHORT: Duration = Duration::from_millis(5);
/// … and while nothing is.
const LONG: Duration = Duration::from_millis(50);
/// The brokers' answer is waited for so long at a time, without polling.
pub(super) const ASK: Duration = Duration::from_secs(2);

/// How to read.
pub(super) struct Settings {
    pub(super) topic: String,
    pub(super) brokers: String,
    pub(super) grouped: bool,
    /// Its name, if it is a static member.
    pub(super) instance: Option<String>,
    /// Never `Latest`: that was looked up.
    pub(super) start: Start,
    /// How long a revoked partition waits for what is in flight.
    pub(super) settle: Duration,
    pub(super) read_ahead_bytes: usize,
    pub(super) read_ahead_records: usize,
    /// How often a reader without a group looks for added partitions.
    pub(super) look_for_partitions: Duration,
}

/// A wish to close, and where the outcome goes.
pub(super) struct Closing {
    pub(super) by: Instant,
    pub(super) told: oneshot::Sender<Result<(), LogError>>,
}

pub(super) struct Poller {
    pub(super) consumer: Arc<BaseConsumer<Group>>,
    pub(super) desk: Desk,
    pub(super) settings: Settings,
    pub(super) partitions: BTreeMap<u32, Partition>,
    /// What librdkafka has fetched of them.
    pub(super) queues: BTreeMap<u32, PartitionQueue<Group>>,
    wake: Arc<Wake>,
    pub(super) commits: Commits,
    pub(super) rebalancing: Rebalancing,
    pub(super) closing: Option<Closing>,
    /// What was lost on the way out.
    pub(super) close_error: Option<LogError>,
    /// Drained into each time; kept for its allocation.
    settled: Vec<Settled>,
    looked_for_partitions: Option<Instant>,
    stop: bool,
}

impl Poller {
    pub(super) fn new(
        mut consumer: BaseConsumer<Group>,
        inbox: Arc<Inbox>,
        settings: Settings,
    ) -> Result<Self, LogError> {
        // The loop looks often enough.
        let queue = SettleQueue::new(|| {});
        let wake = Arc::new(Wake::default());
        let bell = Arc::clone(&wake);
        consumer.set_nonempty_callback(move || bell.ring());
        let consumer = Arc::new(consumer);
        let commits = if settings.grouped {
            Commits::of(&consumer, &settings.topic, Arc::clone(&wake))?
        } else {
            Commits::none()
        };
        Ok(Self {
            consumer,
            desk: Desk { inbox, queue, grouped: settings.grouped },
            settings,
            partitions: BTreeMap::new(),
            queues: BTreeMap::new(),
            wake,
            commits,
            rebalancing: Rebalancing::default(),
            closing: None,
            close_error: None,
            settled: Vec::new(),
            looked_for_partitions: None,
            stop: false,
        })
    }

    /// Where its user's acts go.
    pub(super) fn queue(&self) -> Arc<SettleQueue> {
        Arc::clone(&self.desk.queue)
    }

    pub(super) fn run(mut self) {
        // However this thread ends, its user is told.
        let _end = EndGuard(Arc::clone(&self.desk.inbox));
        if self.settings.grouped
            && let Err(error) = self.consumer.subscribe(&[&self.settings.topic])
        {
            return self.fail("subscribing", &error);
        }
        while !self.stop {
            self.poll();
            self.settle();
            self.heed_wishes();
            self.take_outcome();
            self.take_notes();
            self.rebalance();
            self.commit();
            if !self.settings.grouped {
                self.look_for_partitions();
            }
        }
        self.leave();
    }

    // --- records ---

    fn poll(&mut self) {
        let events = self.take_events();
        let records = self.take_records();
        if !events && !records {
            self.wake.wait(self.patience());
        }
    }

    /// What concerns no partition. Whether there was anything.
    fn take_events(&mut self) -> bool {
        let consumer = Arc::clone(&self.consumer);
        let mut any = false;
        // A rebalance looks like nothing here, and is found when the notes are taken.
        for _ in 0..BATCH {
            let Some(polled) = consumer.poll(Duration::ZERO) else { break };
            any = true;
            match polled {
                Ok(message) => {
                    if let Some(partition) = self.partitions.get_mut(&(message.partition() as u32))
                    {
                        arrive(partition, &message, &self.desk);
                    }
                }
                Err(error) => self.heed_error(&error),
            }
        }
        any
    }

    /// Whether there were any.
    fn take_records(&mut self) -> bool {
        let marks = self.marks();
        let (mut any, mut errors) = (false, Vec::new());
        for (number, queue) in &self.queues {
            let Some(partition) = self.partitions.get_mut(number) else { continue };
            for _ in 0..BATCH {
                if !partition.takes(marks) {
                    break;
                }
                match queue.poll(Duration::ZERO) {
                    Some(Ok(message)) => arrive(partition, &message, &self.desk),
                    Some(Err(KafkaError::PartitionEOF(_))) => partition.reach_end(&self.desk),
                    Some(Err(error)) => errors.push(error),
                    None => break,
                }
                any = true;
            }
        }
        errors.iter().for_each(|error| self.heed_error(error));
        any
    }

    /// A queue of its own for what is fetched of a partition that is about to be assigned.
    pub(super) fn split(&mut self, number: u32) -> KafkaResult<()> {
        // The end of the old one silences both.
        self.queues.remove(&number);
        let queue = self.consumer.split_partition_queue(&self.settings.topic, number as i32);
        let mut queue = queue
            .ok_or_else(|| KafkaError::Subscription(format!("no queue for partition {number}")))?;
        let bell = Arc::clone(&self.wake);
        queue.set_nonempty_callback(move || bell.ring());
        self.queues.insert(number, queue);
        Ok(())
    }

    fn patience(&self) -> Duration {
        let busy = self.closing.is_some()
            || self.rebalancing.is_busy()
            || self.commits.in_flight()
            || self.partitions.values().any(|one| !one.is_idle());
        if busy { SHORT } else { LONG }
    }

    fn heed_error(&mut self, error: &KafkaError) {
        use rdkafka::error::RDKafkaErrorCode as Code;
        match error {
            KafkaError::MessageConsumption(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                self.rebalancing.out_of_range = true;
            }
            error if error.rdkafka_error_code() == Some(Code::FencedInstanceId) => {
                self.desk.inbox.fail(LogError::Held(format!(
                    "another reader has joined as instance `{}` and taken the place of this one \
                     in reading {}: instance ids must differ",
                    self.settings.instance.as_deref().unwrap_or_default(),
                    self.settings.topic
                )));
                self.stop = true;
            }
            KafkaError::MessageConsumptionFatal(_) => {
                self.fail("reading the log", error);
                self.stop = true;
            }
            // Without a group its coordinator does not matter.
            KafkaError::MessageConsumption(Code::GroupAuthorizationFailed)
                if !self.settings.grouped => {}
            error if passes(error) || self.consumer.context().passes(error) => {
                tracing::debug!(%error, "reading goes on");
            }
            error => self.fail("reading the log", error),
        }
    }

    pub(super) fn fail(&self, doing: &str, error: &KafkaError) {
        let told = self.consumer.context().take_last();
        let doing = format!("{doing} {}", self.settings.topic);
        self.desk.inbox.fail(explain(&doing, &self.settings.brokers, error, told));
    }

    // --- what comes back ---

    pub(super) fn settle(&mut self) {
        let mut settled = std::mem::take(&mut self.settled);
        for (number, (epoch, note)) in self.desk.queue.drain(&mut settled) {
            let partition = self.partitions.get_mut(&number);
            if let Some(partition) = partition.filter(|one| one.epoch == epoch) {
                partition.progress.set_note(note);
            }
        }
        for one in settled.drain(..) {
            if let Some(partition) = self.partitions.get_mut(&one.partition)
                && partition.epoch == one.epoch
            {
                partition.settle(one, &self.desk);
            }
        }
        self.settled = settled;
    }

    fn heed_wishes(&mut self) {
        let finished = self.desk.inbox.newly_finished();
        for number in &finished {
            if let Some(partition) = self.partitions.get_mut(number) {
                partition.finish();
            }
        }
        if !finished.is_empty()
            && let Err(error) = self.consumer.pause(&self.list(finished))
        {
            tracing::warn!(%error, "a partition that is finished could not be paused");
        }
        match self.desk.inbox.wish() {
            Some(Wish::Close(closing)) => {
                self.closing = Some(closing);
                if self.settings.grouped {
                    self.consumer.unsubscribe();
                }
            }
            Some(Wish::Abandon) if self.closing.is_none() => self.stop = true,
            Some(Wish::Abandon) | None => {}
        }
        let Some(closing) = &self.closing else { return };
        let gone = !self.settings.grouped
            || (self.partitions.is_empty()
                && !self.rebalancing.is_busy()
                && !self.commits.in_flight());
        if Instant::now() >= closing.by && !gone {
            self.close_error.get_or_insert(LogError::Deadline(
                "the brokers did not confirm the last progress in time".into(),
            ));
            self.stop = true;
        } else if gone {
            self.stop = true;
        }
    }

    // --- bounds ---

    /// Each partition's share of the read-ahead.
    fn marks(&self) -> Marks {
        let shares = self.partitions.values().filter(|one| !one.finished).count().max(1);
        Marks {
            bytes: (self.settings.read_ahead_bytes / shares).max(1),
            records: (self.settings.read_ahead_records / shares).max(1),
        }
    }

    pub(super) fn list(&self, numbers: impl IntoIterator<Item = u32>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for number in numbers {
            list.add_partition(&self.settings.topic, number as i32);
        }
        list
    }

    pub(super) fn list_at(
        &self,
        offsets: impl IntoIterator<Item = (u32, Offset)>,
    ) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (number, offset) in offsets {
            list.add_partition_offset(&self.settings.topic, number as i32, offset)?;
        }
        Ok(list)
    }

    /// A reader without a group assigns itself what there is.
    fn look_for_partitions(&mut self) {
        let often = self.settings.look_for_partitions;
        let due = self.looked_for_partitions.is_none_or(|last| last.elapsed() >= often);
        if !due || self.closing.is_some() || self.rebalancing.is_busy() {
            return;
        }
        let found = self.consumer.fetch_metadata(Some(&self.settings.topic), ASK);
        match found {
            Ok(found) => {
                self.looked_for_partitions = Some(Instant::now());
                let count = found.topics().first().map_or(0, |topic| topic.partitions().len());
                let new: Vec<u32> =
                    (0..count as u32).filter(|one| !self.partitions.contains_key(one)).collect();
                if !new.is_empty() {
                    self.rebalancing.add(new);
                }
            }
            Err(error) => tracing::debug!(%error, "looking for partitions"),
        }
    }

    // --- the end ---

    /// Leaves the group. librdkafka waits for an answer to each rebalance it told of,
    /// also now.
    fn leave(mut self) {
        self.consumer.context().leave();
        self.answer_all();
        let closing = self.closing.take();
        let result = self.close_error.take().map_or(Ok(()), Err);
        let Self { consumer, commits, queues, .. } = self;
        commits.end();
        drop(queues);
        // Whoever has it last closes it, and polls until it is closed.
        drop(consumer);
        if let Some(closing) = closing {
            // Nobody may be waiting any more.
            let _ = closing.told.send(result);
        }
    }
}

struct EndGuard(Arc<Inbox>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end(LogError::Unusable("the reader of the log has ended".into()));
    }
}

fn arrive(partition: &mut Partition, message: &BorrowedMessage<'_>, desk: &Desk) {
    let payload = message.payload().unwrap_or(b"");
    let offset = message.offset().max(0) as u64;
    partition.arrive(offset, time_ns(message.timestamp()), payload, desk);
}

pub(in crate::kafka) fn time_ns(timestamp: Timestamp) -> u64 {
    let millis = timestamp.to_millis().unwrap_or(0);
    u64::try_from(millis).unwrap_or(0).saturating_mul(1_000_000)
}
