//! What an agent counts. Every lane writes counters of its own, so that no two
//! threads share a cache line for each request; readers add them up. How they
//! look as metrics is in [`metrics`].

mod metrics;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::registry::Registry;
use umbra_log::AppendTimes;

use crate::{ServerTls, budget::Budget, keys::SealKeys, lane::Queue, spool::Spool};

/// A handle on an agent's counters; clones see the same numbers.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    shared: Arc<Shared>,
}

/// All counters at one moment.
///
/// `requests` runs ahead of the sum of the others by what is in flight.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests whose head was accepted.
    pub requests: u64,
    /// Those handed to the log or the spool and not lost there: durable, or about to be.
    pub accepted: u64,
    /// Those durable in the log, or kept in the spool. One whose body is still being
    /// received is none of them yet. Never goes down.
    pub recorded: u64,
    /// Those the selection left out.
    pub not_selected: u64,
    /// Those that should be in the log and are not, by reason.
    pub lost: BTreeMap<String, u64>,
    /// Answers that should be in the log and are not, by reason.
    pub answers_lost: BTreeMap<String, u64>,
    /// Values that were to be sealed or hashed and were dropped, for want of a key or of
    /// room in the record.
    pub redaction_dropped: u64,
    /// Bodies cut because not all of them could be looked at for secrets.
    pub redaction_cut: u64,
    /// How often a data key could not be put into the log's key store.
    pub keys_failed: u64,
    /// Messages refused for what is wrong with them, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Bytes the tee holds now.
    pub tee_bytes: u64,
    /// Bytes of records in the spool, with those that other processes left there.
    pub spool_bytes: u64,
    /// This agent's records in the spool.
    pub spooled: u64,
    /// Bytes in spools that were no records.
    pub spool_damaged_bytes: u64,
    /// Requests counted as recorded that the log refused when the spool was drained,
    /// by reason; Gaps in their places tell of them.
    pub spool_refused: BTreeMap<String, u64>,
    /// Client connections open now.
    pub connections: u64,
    /// Of certificates towards clients, if there are any.
    pub tls: Option<TlsSnapshot>,
}

/// What became of the files of certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSnapshot {
    /// How often they changed and were taken …
    pub reloaded: u64,
    /// … and could not be used.
    pub failed: u64,
    /// When the certificate in use expires, in seconds since 1970.
    pub expires: u64,
}

/// What became of an agent's requests, when it is done:
/// `requests = recorded + not_selected + Σ lost`, exactly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Requests whose head was accepted.
    pub requests: u64,
    /// Those durable in the log, or kept in the spool.
    pub recorded: u64,
    /// Those the selection left out.
    pub not_selected: u64,
    /// Those that should be in the log and are not, by reason.
    pub lost: BTreeMap<String, u64>,
    /// Records left in a spool for a later process.
    pub spooled: u64,
    /// The agent's id, as UUID text.
    pub agent: String,
}

#[derive(Debug, Default)]
struct Shared {
    lanes: Mutex<Vec<Arc<LaneStats>>>,
    budget: Mutex<Option<Arc<Budget>>>,
    spool: Mutex<Option<Arc<Spool>>>,
    log: Mutex<Option<Log>>,
    tls: Mutex<Option<ServerTls>>,
    keys: Mutex<Option<SealKeys>>,
}

struct Log(Arc<dyn Queue>);

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

/// The counters of one lane. Only the lane's own thread writes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct LaneStats {
    pub(crate) requests: Count,
    /// Handed over and not known to be lost.
    pub(crate) accepted: Count,
    /// Those of them that are durable. Never goes down.
    recorded: Count,
    pub(crate) not_selected: Count,
    pub(crate) connections: Count,
    pub(crate) redaction_dropped: Count,
    pub(crate) redaction_cut: Count,
    pub(crate) upstream: Histogram,
    lost: Mutex<BTreeMap<&'static str, u64>>,
    answers_lost: Mutex<BTreeMap<&'static str, u64>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

/// A counter with one writer: a plain load and store, no locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

/// Upper bounds of the buckets of [`Histogram`], in microseconds.
const BOUNDS_US: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000, 30_000_000,
];

/// Durations in fixed buckets, with one writer.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [Count; BOUNDS_US.len() + 1],
    sum_us: Count,
}

impl Stats {
    /// Adds the agent's metrics to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(metrics::Metrics { stats: self.clone() }));
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        let mut sum = Snapshot { tee_bytes: self.tee_bytes(), ..Snapshot::default() };
        for lane in self.lanes() {
            // What is decided is read before what was begun, so that `requests`
            // is never the smaller.
            sum.accepted += lane.accepted.get();
            sum.recorded += lane.recorded.get();
            sum.not_selected += lane.not_selected.get();
            sum.connections += lane.connections.get();
            sum.redaction_dropped += lane.redaction_dropped.get();
            sum.redaction_cut += lane.redaction_cut.get();
            add(&mut sum.lost, &lane.lost());
            add(&mut sum.answers_lost, &lock(&lane.answers_lost));
            add(&mut sum.refused, &lock(&lane.refused));
        }
        for lane in self.lanes() {
            sum.requests += lane.requests.get();
        }
        sum.tls = lock(&self.shared.tls).as_ref().map(|tls| {
            let stats = tls.stats();
            let [reloaded, failed, expires] =
                [&stats.reloaded, &stats.failed, &stats.expires].map(|n| n.load(Ordering::Relaxed));
            TlsSnapshot { reloaded, failed, expires }
        });
        sum.keys_failed = lock(&self.shared.keys).as_ref().map_or(0, SealKeys::failures);
        if let Some(spool) = &*lock(&self.shared.spool) {
            let stats = &spool.stats;
            sum.spool_bytes = stats.bytes.load(Ordering::Relaxed);
            sum.spooled = stats.records.load(Ordering::Relaxed);
            sum.spool_damaged_bytes = stats.damaged_bytes.load(Ordering::Relaxed);
            add(&mut sum.spool_refused, &lock(&stats.refused));
        }
        sum
    }

    pub(crate) fn attach_lane(&self) -> Arc<LaneStats> {
        let lane = Arc::new(LaneStats::default());
        lock(&self.shared.lanes).push(Arc::clone(&lane));
        lane
    }

    pub(crate) fn attach_budget(&self, budget: Arc<Budget>) {
        *lock(&self.shared.budget) = Some(budget);
    }

    pub(crate) fn attach_spool(&self, spool: Arc<Spool>) {
        *lock(&self.shared.spool) = Some(spool);
    }

    pub(crate) fn attach_tls(&self, tls: ServerTls) {
        *lock(&self.shared.tls) = Some(tls);
    }

    pub(crate) fn attach_keys(&self, keys: Option<SealKeys>) {
        *lock(&self.shared.keys) = keys;
    }

    pub(crate) fn attach_log(&self, log: Arc<dyn Queue>) {
        *lock(&self.shared.log) = Some(Log(log));
    }

    /// How long records took to become durable.
    fn append_times(&self) -> Option<AppendTimes> {
        lock(&self.shared.log).as_ref().and_then(|log| log.0.times())
    }

    /// Lets go of what belongs to an agent that has ended.
    pub(crate) fn detach(&self) {
        *lock(&self.shared.log) = None;
    }

    fn lanes(&self) -> Vec<Arc<LaneStats>> {
        lock(&self.shared.lanes).clone()
    }

    fn tee_bytes(&self) -> u64 {
        lock(&self.shared.budget).as_ref().map_or(0, |budget| budget.used() as u64)
    }
}

impl LaneStats {
    /// Of the accepted requests so many are not durable.
    pub(crate) fn recorded(&self, open: u64) {
        let recorded = self.accepted.get().saturating_sub(open);
        self.recorded.set(self.recorded.get().max(recorded));
    }

    pub(crate) fn recorded_total(&self) -> u64 {
        self.recorded.get()
    }

    /// A message was recorded of which values were dropped, or the body cut.
    pub(crate) fn redacted(&self, dropped: u64, cut: bool) {
        if dropped > 0 {
            self.redaction_dropped.add(dropped);
        }
        if cut {
            self.redaction_cut.add(1);
        }
    }

    pub(crate) fn lose(&self, reason: &'static str, requests: u64) {
        *lock(&self.lost).entry(reason).or_default() += requests;
    }

    pub(crate) fn lose_answer(&self, reason: &'static str) {
        *lock(&self.answers_lost).entry(reason).or_default() += 1;
    }

    pub(crate) fn refuse(&self, reason: &'static str) {
        *lock(&self.refused).entry(reason).or_default() += 1;
    }

    pub(crate) fn lost(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.lost).clone()
    }
}

impl Count {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.get().wrapping_sub(n), Ordering::Relaxed);
    }
}

impl Histogram {
    pub(crate) fn observe(&self, value: Duration) {
        let us = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS_US.partition_point(|bound| *bound < us)].add(1);
        self.sum_us.add(us);
    }
}

fn add(sum: &mut BTreeMap<String, u64>, part: &BTreeMap<&'static str, u64>) {
    for (reason, n) in part {
        *sum.entry((*reason).to_owned()).or_default() += n;
    }
}

/// Counters stay readable after a panic elsewhere: they are plain numbers.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
