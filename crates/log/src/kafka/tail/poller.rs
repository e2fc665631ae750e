//! The thread that polls: one loop that takes what librdkafka has, settles what
//! came back, commits, pauses and resumes, and moves rebalances along (`rebalance`,
//! `commits`). It never waits for its user, and for the brokers only briefly.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
    message::Timestamp,
};
use tokio::sync::oneshot;

use super::{
    commits::Commits,
    group::Group,
    inbox::{Inbox, Wish},
    partition::{Desk, Marks, Partition},
    rebalance::Rebalancing,
};
use crate::{
    LogError, Start,
    kafka::client::{explain, passes},
    settle::{SettleQueue, Settled},
};

/// Records taken between two looks at everything else.
const BATCH: usize = 256;
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
        consumer: BaseConsumer<Group>,
        inbox: Arc<Inbox>,
        settings: Settings,
    ) -> Result<Self, LogError> {
        // The loop looks often enough.
        let queue = SettleQueue::new(|| {});
        let consumer = Arc::new(consumer);
        let commits = if settings.grouped {
            Commits::of(&consumer, &settings.topic)?
        } else {
            Commits::none()
        };
        Ok(Self {
            consumer,
            desk: Desk { inbox, queue, grouped: settings.grouped },
            settings,
            partitions: BTreeMap::new(),
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
            self.regulate();
            if !self.settings.grouped {
                self.look_for_partitions();
            }
        }
        self.leave();
    }

    // --- records ---

    fn poll(&mut self) {
        let consumer = Arc::clone(&self.consumer);
        let mut wait = self.patience();
        let marks = self.marks();
        for _ in 0..BATCH {
            match consumer.poll(wait) {
                Some(Ok(message)) => {
                    let number = message.partition() as u32;
                    if let Some(partition) = self.partitions.get_mut(&number) {
                        let payload = message.payload().unwrap_or(b"");
                        let offset = message.offset().max(0) as u64;
                        partition.arrive(offset, time_ns(message.timestamp()), payload, &self.desk);
                        if partition.wants_pause(marks) {
                            break;
                        }
                    }
                }
                Some(Err(KafkaError::PartitionEOF(number))) => {
                    if let Some(partition) = self.partitions.get_mut(&(number as u32)) {
                        partition.reach_end(&self.desk);
                    }
                }
                Some(Err(error)) => self.heed_error(&error),
                None => break,
            }
            wait = Duration::ZERO;
        }
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
        for number in self.desk.inbox.newly_finished() {
            if let Some(partition) = self.partitions.get_mut(&number) {
                partition.finish();
            }
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

    fn regulate(&mut self) {
        let marks = self.marks();
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for partition in self.partitions.values_mut().filter(|one| !one.revoking) {
            if partition.wants_pause(marks) {
                partition.paused = true;
                pause.push(partition.number);
            } else if partition.wants_resume(marks) {
                partition.paused = false;
                resume.push(partition.number);
            }
        }
        for (numbers, act) in [
            (pause, BaseConsumer::pause as fn(&BaseConsumer<Group>, &_) -> KafkaResult<()>),
            (resume, BaseConsumer::resume),
        ] {
            if !numbers.is_empty()
                && let Err(error) = act(&self.consumer, &self.list(numbers))
            {
                tracing::warn!(%error, "a partition could not be paused or resumed");
            }
        }
    }

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
        let Self { consumer, commits, .. } = self;
        commits.end();
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

pub(in crate::kafka) fn time_ns(timestamp: Timestamp) -> u64 {
    let millis = timestamp.to_millis().unwrap_or(0);
    u64::try_from(millis).unwrap_or(0).saturating_mul(1_000_000)
}
