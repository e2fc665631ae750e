//! What a running replay counts and where it stands: metrics for scraping, a
//! snapshot for the heartbeat, progress for a bar. Written by the pipelines, read
//! by whoever likes; never on a send's way but for a few atomic additions.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::{
    outcome::{Class, Outcome},
    tally::Skip,
};

#[cfg(test)]
mod tests;

use crate::judge::{Compared, Court};

type Labels = Vec<(&'static str, String)>;

/// Counts and state of a replay. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    metrics: Metrics,
    states: Arc<Mutex<BTreeMap<String, TargetState>>>,
    /// Whoever judges, while a job runs.
    court: Arc<Mutex<Option<Arc<Court>>>>,
}

/// Where the pipeline of one target stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TargetState {
    /// Requests of the window read.
    pub read: u64,
    /// Requests sent.
    pub sent: u64,
    /// Whole answers.
    pub answered: u64,
    /// Sends that failed.
    pub failed: u64,
    /// Selected requests that were not sent, for a reason.
    pub skipped: u64,
    /// Records set aside.
    pub dead: u64,
    /// Requests in flight.
    pub in_flight: usize,
    /// Requests read and not yet sent.
    pub waiting: usize,
    /// Bytes of the log held for them.
    pub held_bytes: usize,
    /// Sends a second, lately.
    pub rate: f64,
    /// How late the last send was, or how late the next one already is.
    pub lag: Duration,
    /// Records of the log this pipeline has passed, of those it is to read.
    pub passed: u64,
    /// Records it is to read; `None`: not known (live, or a window that is still
    /// being written).
    pub total: Option<u64>,
    /// Time until the end at this pace, where it can be told.
    pub eta: Option<Duration>,
    /// What holds it back, if anything does.
    pub blocked: Option<Blocked>,
    /// Nothing is left to do.
    pub finished: bool,
}

/// What a pipeline waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// In words: `the target is down`, `waits for an answer`, ….
    pub why: String,
    /// The oldest record that is not settled: its partition and offset.
    pub record: Option<(u32, u64)>,
    /// For how long.
    pub since: Duration,
}

/// The state of a whole job, summed up for one line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// Records passed, of the slowest target.
    pub done: u64,
    /// Records to read, if known.
    pub total: Option<u64>,
    /// Requests sent, over all targets.
    pub sent: u64,
    /// Sends a second, over all targets.
    pub rate: f64,
    /// The largest lateness of any target.
    pub lag: Duration,
    /// The longest time left of any target.
    pub eta: Option<Duration>,
    /// The target that is held back, and by what.
    pub held: Option<(String, Blocked)>,
}

impl Stats {
    /// Starts from nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Offers the metrics for scraping, under their names in the manual.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Where each target's pipeline stands.
    pub fn snapshot(&self) -> BTreeMap<String, TargetState> {
        self.states().clone()
    }

    /// All targets in one line.
    pub fn progress(&self) -> Progress {
        let states = self.states();
        let slowest = states.values().min_by_key(|state| state.passed);
        Progress {
            done: slowest.map_or(0, |state| state.passed),
            total: slowest.and_then(|state| state.total),
            sent: states.values().map(|state| state.sent).sum(),
            rate: states.values().map(|state| state.rate).sum(),
            lag: states.values().map(|state| state.lag).max().unwrap_or_default(),
            eta: states.values().map(|state| state.eta).max().flatten(),
            held: states
                .iter()
                .find_map(|(name, state)| Some((name.clone(), state.blocked.clone()?))),
        }
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<String, TargetState>> {
        self.states.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The verdicts as of now; `None`: nothing is compared. Takes a while.
    pub fn compared(&self) -> Option<Compared> {
        let court = self.court.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        court.map(|court| court.compared())
    }

    pub(crate) fn set_court(&self, court: Arc<Court>) {
        *self.court.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(court);
    }

    /// Handles for the judge of a target.
    pub(crate) fn judge(&self, target: &str) -> JudgeStats {
        let with = |result: &str| {
            let labels = vec![("target", target.to_owned()), ("result", result.to_owned())];
            self.metrics.compared.get_or_create(&labels).clone()
        };
        let labels = vec![("target", target.to_owned())];
        JudgeStats {
            equal: with("equal"),
            different: with("different"),
            not_compared: with("not_compared"),
            verdict: self.metrics.verdict.get_or_create(&labels).clone(),
            findings: self.metrics.findings.clone(),
            target: target.to_owned(),
        }
    }

    pub(crate) fn set_state(&self, target: &str, state: TargetState) {
        self.states().insert(target.to_owned(), state);
    }

    /// Handles for one target, looked up once. `first`: the target whose pipeline
    /// speaks for all in what is counted once per job.
    pub(crate) fn target(&self, name: &str, first: bool) -> TargetStats {
        let label = || vec![("target", name.to_owned())];
        let with = |key: &'static str, value: &str| {
            vec![("target", name.to_owned()), (key, value.to_owned())]
        };
        let m = &self.metrics;
        TargetStats {
            read: first.then(|| m.read.clone()),
            sent: m.sent.get_or_create(&label()).clone(),
            outcomes: Class::ALL
                .map(|class| m.outcomes.get_or_create(&with("class", class.label())).clone()),
            skipped: Skip::ALL
                .map(|why| m.skipped.get_or_create(&with("reason", why.label())).clone()),
            unsealed: m.unsealed.get_or_create(&label()).clone(),
            sealed_omitted: m.sealed_omitted.get_or_create(&label()).clone(),
            downgraded: m.downgraded.get_or_create(&label()).clone(),
            send_lag: m.send_lag.clone(),
            response: m.response.get_or_create(&label()).clone(),
            in_flight: m.in_flight.get_or_create(&label()).clone(),
            log_lag: m.log_lag.clone(),
            name: name.to_owned(),
        }
    }
}

#[derive(Debug, Clone)]
struct Metrics {
    read: Counter,
    sent: Family<Labels, Counter>,
    outcomes: Family<Labels, Counter>,
    skipped: Family<Labels, Counter>,
    unsealed: Family<Labels, Counter>,
    sealed_omitted: Family<Labels, Counter>,
    downgraded: Family<Labels, Counter>,
    send_lag: Histogram,
    response: Family<Labels, Histogram, fn() -> Histogram>,
    log_lag: Family<Labels, Gauge<f64, AtomicU64>>,
    in_flight: Family<Labels, Gauge<i64, AtomicI64>>,
    compared: Family<Labels, Counter>,
    verdict: Family<Labels, Gauge<i64, AtomicI64>>,
    findings: Family<Labels, Gauge<i64, AtomicI64>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            read: Counter::default(),
            sent: Family::default(),
            outcomes: Family::default(),
            skipped: Family::default(),
            // 50 µs to 26 s: from a pacer in good health to a shadow far behind.
            unsealed: Family::default(),
            sealed_omitted: Family::default(),
            downgraded: Family::default(),
            send_lag: Histogram::new(exponential_buckets(0.00005, 2.0, 20)),
            response: Family::new_with_constructor(response_times),
            log_lag: Family::default(),
            in_flight: Family::default(),
            compared: Family::default(),
            verdict: Family::default(),
            findings: Family::default(),
        }
    }
}

/// 0.25 ms to 65 s.
fn response_times() -> Histogram {
    Histogram::new(exponential_buckets(0.00025, 2.0, 19))
}

impl Metrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "umbra_replay_read",
            "Requests of the window read from the log",
            self.read.clone(),
        );
        registry.register("umbra_replay_sent", "Requests sent to a target", self.sent.clone());
        registry.register(
            "umbra_replay_outcomes",
            "What became of the sends, by class",
            self.outcomes.clone(),
        );
        registry.register(
            "umbra_replay_skipped",
            "Selected requests that were not sent, by reason",
            self.skipped.clone(),
        );
        registry.register(
            "umbra_replay_unsealed",
            "Values sealed at capture that were put back into requests sent",
            self.unsealed.clone(),
        );
        registry.register(
            "umbra_replay_sealed_omitted",
            "Values sealed at capture that were left out of requests sent",
            self.sealed_omitted.clone(),
        );
        registry.register(
            "umbra_replay_downgraded",
            "Requests recorded as HTTP/2 and sent with HTTP/1.1",
            self.downgraded.clone(),
        );
        registry.register(
            "umbra_replay_send_lag_seconds",
            "How late requests were sent",
            self.send_lag.clone(),
        );
        registry.register(
            "umbra_replay_response_seconds",
            "Time to the whole answer of a target",
            self.response.clone(),
        );
        registry.register(
            "umbra_replay_log_lag_seconds",
            "Age of the last record read, while there are more",
            self.log_lag.clone(),
        );
        registry.register(
            "umbra_replay_in_flight",
            "Requests sent and not yet answered",
            self.in_flight.clone(),
        );
        registry.register(
            "umbra_compare",
            "Requests whose answers were compared, or could not be, by result",
            self.compared.clone(),
        );
        registry.register(
            "umbra_compare_verdict",
            "The verdict as of now: 0 same, 1 unsure, 2 different",
            self.verdict.clone(),
        );
        registry.register(
            "umbra_compare_findings",
            "Findings as of now, by class",
            self.findings.clone(),
        );
    }
}

/// The metrics of one target.
#[derive(Debug, Clone)]
pub(crate) struct TargetStats {
    read: Option<Counter>,
    pub sent: Counter,
    outcomes: [Counter; Class::ALL.len()],
    skipped: [Counter; Skip::ALL.len()],
    unsealed: Counter,
    sealed_omitted: Counter,
    downgraded: Counter,
    send_lag: Histogram,
    response: Histogram,
    pub in_flight: Gauge<i64, AtomicI64>,
    log_lag: Family<Labels, Gauge<f64, AtomicU64>>,
    name: String,
}

impl TargetStats {
    pub(crate) fn read(&self) {
        if let Some(read) = &self.read {
            read.inc();
        }
    }

    pub(crate) fn outcome(&self, outcome: &Outcome) {
        self.outcomes[outcome.class as usize].inc();
        if outcome.class == Class::Answered {
            self.response.observe(outcome.latency.as_secs_f64());
        }
        self.unsealed.inc_by(outcome.restored.opened as u64);
        self.sealed_omitted.inc_by(outcome.restored.omitted as u64);
        self.downgraded.inc_by(u64::from(outcome.downgraded));
    }

    pub(crate) fn skipped(&self, why: Skip) {
        self.skipped[why as usize].inc();
    }

    pub(crate) fn lag(&self, lag: Duration) {
        self.send_lag.observe(lag.as_secs_f64());
    }

    pub(crate) fn log_lag(&self, partition: u32, lag: Duration) {
        let labels = vec![("partition", partition.to_string()), ("target", self.name.clone())];
        self.log_lag.get_or_create(&labels).set(lag.as_secs_f64());
    }
}

/// The metrics of one judge.
#[derive(Debug, Clone)]
pub(crate) struct JudgeStats {
    equal: Counter,
    different: Counter,
    not_compared: Counter,
    verdict: Gauge<i64, AtomicI64>,
    findings: Family<Labels, Gauge<i64, AtomicI64>>,
    target: String,
}

impl JudgeStats {
    pub(crate) fn compared(&self, equal: bool) {
        if equal { &self.equal } else { &self.different }.inc();
    }

    pub(crate) fn not_compared(&self) {
        self.not_compared.inc();
    }

    pub(crate) fn verdict(&self, report: &umbra_compare::Report) {
        use umbra_compare::{Class, Judgement};
        self.verdict.set(match report.verdict {
            Judgement::Same => 0,
            Judgement::Unsure => 1,
            Judgement::Different => 2,
        });
        let classes = [
            ("confirmed", Class::Confirmed),
            ("shape", Class::Shape),
            ("new", Class::New),
            ("noise", Class::Noise),
        ];
        for (label, class) in classes {
            let count = report.findings.iter().filter(|finding| finding.class == class).count();
            let labels = vec![("target", self.target.clone()), ("class", label.to_owned())];
            self.findings.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
