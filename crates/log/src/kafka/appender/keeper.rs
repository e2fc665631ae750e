//! The thread behind an appender: polls its producer, and replaces it when it has
//! failed or the topic's limits have changed. What the old one has not delivered goes
//! to the new one in order, before anything else; until then nothing is taken.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    error::RDKafkaErrorCode as Code,
    producer::{BaseRecord, Producer as _, PurgeConfig},
};
use tokio::{runtime::Handle, task::JoinHandle};

use super::{Account, Producer, Reports, lanes::Ticket, rescue::Rescued, single::Single};
use crate::{
    LogError,
    kafka::{admin::Admin, client::explain, properties::Limits},
};

/// How often the number of partitions and the topic's limits are asked for.
const REFRESH: Duration = Duration::from_secs(30);
/// The same of the limits after brokers have refused a batch.
const RECHECK: Duration = Duration::from_secs(2);
/// Longest wait for the number of partitions; delivery reports wait with it.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the thread rests between two looks for reports, and so how late a record may
/// be known to be durable. (The client's own waiting goes round and round through the last
/// millisecond of each wait, which costs an idle producer more than all the rest.)
const POLL: Duration = Duration::from_millis(5);
/// The same while many come in, records are sent again one by one, and in the end.
const POLL_OFTEN: Duration = Duration::from_millis(1);
/// So many at a look are many: what they hold of the queue should be free again soon.
const MANY: u64 = 500;
/// Requests whose reports are taken at one look.
const REQUESTS: u32 = 1_000;
/// Longest wait for what an old producer has, before it is taken from it.
const HAND_OVER: Duration = Duration::from_secs(3);
/// Longest wait until it has given all of it: a broker's thread may be in the middle of
/// resolving a name …
const PATIENCE: Duration = Duration::from_secs(30);
/// … and while the caller wants something else.
const HURRY: Duration = Duration::from_secs(3);
/// How often it is told to.
const PURGE: Duration = Duration::from_millis(50);
/// First pause before another producer is tried, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// Makes producers for one topic.
pub(super) struct Maker {
    pub(super) admin: Arc<Admin>,
    pub(super) topic: String,
    pub(super) queue_bytes: usize,
    pub(super) account: Arc<Account>,
}

impl Maker {
    pub(super) fn make(&self, limits: Limits) -> Result<Arc<Producer>, LogError> {
        let properties = self.admin.properties();
        let config = properties.producer(self.queue_bytes, limits);
        let single = Some(Single::new(config.clone(), &self.topic, limits.record));
        let account = Arc::clone(&self.account);
        let reports = Reports { account, watch: properties.watch(), single };
        let made = config.create_with_context(reports).map_err(|error| {
            explain("opening the log for appending", properties.brokers(), &error, None)
        });
        made.map(Arc::new)
    }
}

/// See the module.
pub(super) struct Keeper {
    maker: Maker,
    account: Arc<Account>,
    producer: Option<Arc<Producer>>,
    runtime: Handle,
    max_message_bytes: usize,
    /// The newest answer; 0: none yet.
    told: Arc<AtomicUsize>,
    asking: Option<JoinHandle<()>>,
    asked: Instant,
    /// A batch was refused since the last answer.
    doubts: bool,
    refreshed: Instant,
    /// When a producer was replaced last.
    replaced: Instant,
    pause: Duration,
}

impl Keeper {
    pub(super) fn new(
        maker: Maker,
        producer: Arc<Producer>,
        max_message_bytes: usize,
        runtime: Handle,
    ) -> Self {
        let account = Arc::clone(&maker.account);
        account.lanes.give(Some(&producer));
        Self {
            maker,
            account,
            producer: Some(producer),
            runtime,
            max_message_bytes,
            told: Arc::default(),
            asking: None,
            asked: Instant::now(),
            doubts: false,
            refreshed: Instant::now(),
            replaced: Instant::now(),
            pause: Duration::ZERO,
        }
    }

    pub(super) fn run(mut self) {
        while self.account.end.get().is_none() {
            self.poll(POLL);
            if self.account.rescue.is_asked() {
                self.give_back();
            } else if self.account.rescue.has_failed() {
                self.shut(Duration::ZERO);
                self.replace();
            } else {
                self.refresh();
            }
        }
        while self.account.lanes.waiting() > 0 && !self.is_over() {
            self.poll(POLL_OFTEN);
        }
        self.account.lanes.give(None);
        if let Some(asking) = self.asking.take() {
            asking.abort();
        }
    }

    /// Takes the delivery reports that are there, and rests.
    fn poll(&self, idle: Duration) {
        let often = self.producer.as_ref().is_some_and(|producer| self.look(producer));
        self.account.rescue.rest(if often { POLL_OFTEN } else { idle });
    }

    /// Takes the delivery reports that are there. Whether the next ones should be taken soon.
    fn look(&self, producer: &Producer) -> bool {
        // The records that are sent again, before the first one's next reports.
        let single = producer.context().single.as_ref().and_then(Single::producer);
        let busy = single.filter(|single| single.in_flight_count() > 0);
        busy.inspect(|single| _ = self.drain(single));
        self.drain(producer) >= MANY || busy.is_some()
    }

    /// How many reports there were.
    fn drain(&self, producer: &Producer) -> u64 {
        let reports = || self.account.reports.load(Ordering::Relaxed);
        let begun = reports();
        for _ in 0..REQUESTS {
            let before = reports();
            // Those of one request, if any.
            producer.poll(Duration::ZERO);
            if reports() == before {
                break;
            }
        }
        reports() - begun
    }

    fn is_over(&self) -> bool {
        self.account.end.get().is_some_and(|end| Instant::now() >= *end)
    }

    /// The caller wants something else than going on.
    fn is_interrupted(&self) -> bool {
        self.account.end.get().is_some() || self.account.rescue.is_asked()
    }

    /// Ends the producer. What it does not deliver within `grace` is kept.
    fn shut(&mut self, grace: Duration) {
        // Its end may bring reports.
        drop(self.empty(grace));
        self.account.give_up();
    }

    /// Takes the producer's records from it, after `grace`.
    fn empty(&mut self, grace: Duration) -> Option<Arc<Producer>> {
        self.account.lanes.give(None);
        let producer = self.producer.take()?;
        let single = producer.context().single.as_ref().and_then(Single::producer);
        let in_flight =
            || producer.in_flight_count() + single.map_or(0, |single| single.in_flight_count());
        let poll = || {
            self.look(&producer);
            self.account.rescue.rest(POLL_OFTEN);
        };
        let rescue = &self.account.rescue;
        let is_over = || rescue.has_failed() || rescue.is_asked() || self.is_over();
        let begun = Instant::now();
        while in_flight() > 0 && begun.elapsed() < grace && !is_over() {
            poll();
        }
        let purge = || {
            // Waits for no broker's thread.
            let all = || PurgeConfig::default().queue().inflight().non_blocking();
            producer.purge(all());
            single.inspect(|single| single.purge(all()));
        };
        let (begun, mut hurry, mut purged) = (Instant::now(), None, None::<Instant>);
        while in_flight() > 0 && begun.elapsed() < PATIENCE {
            if self.is_interrupted() && hurry.get_or_insert_with(Instant::now).elapsed() >= HURRY {
                break;
            }
            if purged.is_none_or(|at| at.elapsed() >= PURGE) {
                purge();
                purged = Some(Instant::now());
            }
            poll();
        }
        Some(producer)
    }

    /// Tries another producer, until one delivers.
    fn replace(&mut self) {
        if self.replaced.elapsed() > PAUSES.1 {
            self.pause = Duration::ZERO;
        }
        while !self.is_interrupted() {
            if !self.pause.is_zero() {
                self.account.rescue.rest(self.pause);
            }
            self.pause = (self.pause * 2).clamp(PAUSES.0, PAUSES.1);
            if self.is_interrupted() {
                return;
            }
            self.account.rescue.begin_again();
            let limits = Limits::of(self.max_message_bytes, self.maker.queue_bytes);
            match self.maker.make(limits) {
                Ok(producer) => self.producer = Some(producer),
                Err(error) => {
                    tracing::warn!(%error, "no producer can be made");
                    continue;
                }
            }
            self.account.limit.store(limits.record, Ordering::Relaxed);
            if self.hand_over() {
                self.account.rescue.recovered();
                self.replaced = Instant::now();
                return;
            }
            self.shut(Duration::ZERO);
        }
    }

    /// Gives the new producer what the old one had, then the lanes. The first record
    /// goes alone: if it fails, the others keep their places behind it.
    fn hand_over(&mut self) -> bool {
        let Some(producer) = self.producer.clone() else { return false };
        if let Some(((partition, number), record)) = self.account.rescue.take() {
            if !self.send(&producer, partition, number, record) {
                return false;
            }
            while producer.in_flight_count() > 0 {
                if self.account.rescue.has_failed() || self.is_interrupted() {
                    return false;
                }
                self.poll(POLL_OFTEN);
            }
        }
        while let Some(((partition, number), record)) = self.account.rescue.take() {
            if !self.send(&producer, partition, number, record) {
                return false;
            }
        }
        self.account.lanes.give(Some(&producer));
        !self.account.rescue.has_failed()
    }

    /// Waits for room. False: the producer fails, and the record is kept.
    fn send(&self, producer: &Producer, partition: u32, number: u64, record: Rescued) -> bool {
        let Some(lane) = self.account.lanes.get(partition) else { return true };
        let mut ticket: Ticket = lane.ticket(number, record.weight);
        loop {
            let mut entry = BaseRecord::with_opaque_to(&self.maker.topic, ticket.into_raw())
                .partition(partition as i32)
                .timestamp(record.time_ms)
                .payload(&record.payload);
            entry.headers.clone_from(&record.headers);
            entry.key = record.key.as_ref();
            let Err((error, _)) = producer.send(entry) else { return true };
            let weight = lane.redeem(ticket);
            let full = matches!(
                error.rdkafka_error_code(),
                Some(Code::QueueFull | Code::UnknownPartition)
            );
            if !full || self.is_interrupted() || self.account.rescue.has_failed() {
                if !full {
                    self.account.rescue.fail(&error.to_string());
                }
                self.account.rescue.put(partition, number, record);
                return false;
            }
            self.poll(POLL_OFTEN);
            ticket = lane.ticket(number, weight);
        }
    }

    /// Gives the caller what is not durable; nothing is taken after that.
    fn give_back(&mut self) {
        let old = self.empty(Duration::ZERO);
        self.account.give_up();
        let positions = self.account.rescue.give_back();
        for at in positions {
            if let Some(lane) = self.account.lanes.get(at.partition) {
                self.account.report(lane, at.number);
            }
        }
        // Its end may wait for a broker's thread; the caller does not.
        drop(old);
    }

    /// Looks for new partitions and other limits.
    fn refresh(&mut self) {
        if self.refreshed.elapsed() >= REFRESH {
            self.refreshed = Instant::now();
            self.find_partitions();
        }
        if self.account.recheck.load(Ordering::Relaxed) && !self.doubts {
            self.doubts = true;
            self.asked = Instant::now();
        }
        if self.asked.elapsed() >= if self.doubts { RECHECK } else { REFRESH } {
            self.ask_limits();
        }
        let told = self.told.swap(0, Ordering::AcqRel);
        if told == 0 {
            return;
        }
        self.account.recheck.store(false, Ordering::Relaxed);
        self.doubts = false;
        if told != self.max_message_bytes {
            tracing::info!(
                topic = self.maker.topic,
                before = self.max_message_bytes,
                now = told,
                "max.message.bytes was changed"
            );
            self.max_message_bytes = told;
            self.shut(HAND_OVER);
            self.replace();
        }
    }

    fn find_partitions(&self) {
        let Some(producer) = &self.producer else { return };
        let found = producer.client().fetch_metadata(Some(&self.maker.topic), REFRESH_TIMEOUT);
        let known =
            found.ok().and_then(|found| found.topics().first().map(|one| one.partitions().len()));
        if let Some(count) = known {
            self.account.lanes.grow(count as u32);
            self.account.lanes.give(Some(producer));
        }
    }

    fn ask_limits(&mut self) {
        if self.asking.as_ref().is_some_and(|asking| !asking.is_finished()) {
            return;
        }
        self.asked = Instant::now();
        let (admin, topic) = (Arc::clone(&self.maker.admin), self.maker.topic.clone());
        let told = Arc::clone(&self.told);
        self.asking = Some(self.runtime.spawn(async move {
            match admin.max_message_bytes(&topic).await {
                Ok(Some(bytes)) => told.store(bytes, Ordering::Release),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "the topic's limits are not told"),
            }
        }));
    }
}
