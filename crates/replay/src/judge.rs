//! Judges outcomes: what a shadow answered against what production, or another target,
//! answered to the same request. Holds the running verdict of each target, for the
//! result, the metrics and whoever asks meanwhile. When an answer is there to be judged
//! is the pipeline's business, what differs and what that means is `umbra_compare`'s.

mod case;
mod companion;
mod compared;

pub(crate) use case::{Case, Expected, Facts, Side};
pub(crate) use companion::{Asked, Bench, Beside, Companion, Exchanges};
pub use compared::{Compared, ComparedTarget};

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use umbra_compare::{RequestKey, Rules, Settings, Verdict};

use crate::stats::JudgeStats;

/// How answers are judged.
#[derive(Debug, Clone)]
pub struct Compare {
    /// What the shadows' answers are held against.
    pub baseline: Baseline,
    /// A second instance of the old version: what differs between its answers and the
    /// baseline's is noise.
    pub noise: Option<String>,
    /// What does not count.
    pub rules: Rules,
    /// How sure one wants to be.
    pub settings: Settings,
    /// A verdict without any request, with the endpoints that were named.
    pub blank: Verdict,
    /// Noise that was learned before.
    pub learned: Option<Verdict>,
}

/// Whose answer is taken for the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Baseline {
    /// Production's, as it was recorded.
    Recorded,
    /// That of the target of this name, which is sent every request beside the shadow.
    Target(String),
}

impl Baseline {
    /// As the user writes it.
    pub fn name(&self) -> &str {
        match self {
            Self::Recorded => "recorded",
            Self::Target(name) => name,
        }
    }
}

impl Compare {
    /// Targets that are no shadows themselves, but answer beside them.
    pub(crate) fn companions(&self) -> impl Iterator<Item = &str> {
        let baseline = match &self.baseline {
            Baseline::Recorded => None,
            Baseline::Target(name) => Some(name.as_str()),
        };
        baseline.into_iter().chain(self.noise.as_deref())
    }

    /// Whether a target of this name is one of them.
    pub(crate) fn is_companion(&self, name: &str) -> bool {
        self.companions().any(|companion| companion == name)
    }
}

/// The judge of one target, for as long as its job runs here.
pub(crate) struct Judge {
    pub(crate) target: String,
    compare: Arc<Compare>,
    state: Mutex<State>,
    stats: JudgeStats,
}

/// What was judged.
struct State {
    /// Since it was told to the journal last.
    fresh: Verdict,
    /// Told before, by whomever.
    told: Verdict,
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Judge {
    pub(crate) fn new(target: &str, compare: Arc<Compare>, stats: JudgeStats) -> Self {
        let blank = || compare.blank.clone();
        let state = Mutex::new(State { fresh: blank(), told: blank() });
        Self { target: target.to_owned(), state, compare, stats }
    }

    /// Compares and counts. Takes a while: not for a thread that others wait for.
    pub(crate) fn judge(&self, case: &Case) {
        let facts = &case.facts;
        let expected = case.expected.answer(facts);
        if let Some(why) = expected.unusable() {
            return self.not_compared(facts, why);
        }
        let actual = case.actual.answer();
        let noise = case.noise.as_ref().map(Side::answer);
        let rules = self.compare.rules.for_request(&facts.method, &facts.path);
        let found = umbra_compare::differences(&expected, &actual, &rules);
        let noisy = noise.map(|noise| umbra_compare::differences(&expected, &noise, &rules));
        let times = times(&expected).zip(times(&actual));

        let mut state = self.state();
        let key = key(facts);
        if !state.fresh.compared(&key, &found, noisy.as_deref()) {
            return;
        }
        if let Some((expected_ns, actual_ns)) = times {
            state.fresh.timed(&key, expected_ns, actual_ns, &rules);
        }
        drop(state);
        self.stats.compared(found.iter().all(|difference| difference.kind.is_note()));
    }

    /// A request whose answers cannot be compared.
    pub(crate) fn not_compared(&self, facts: &Facts, why: &str) {
        if self.state().fresh.not_compared(&key(facts), why) {
            self.stats.not_compared();
        }
    }

    /// What can be said so far.
    pub(crate) fn said(&self) -> ComparedTarget {
        let whole = self.whole();
        let verdict = whole.clone();
        let verdict = match &self.compare.learned {
            Some(learned) => verdict.with_noise(learned.clone()),
            None => verdict,
        };
        let report = verdict.finish();
        self.stats.verdict(&report);
        ComparedTarget { report, verdict: whole }
    }

    /// Everything that was counted.
    fn whole(&self) -> Verdict {
        let state = self.state();
        let mut whole = state.told.clone();
        whole.merge(state.fresh.clone());
        whole
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(facts: &Facts) -> RequestKey<'_> {
    RequestKey { id: &facts.id, method: &facts.method, path: &facts.path }
}

/// Until the end of a whole answer.
fn times(answer: &umbra_compare::Answer) -> Option<u64> {
    let whole = answer.status != 0 && answer.failure.is_none();
    answer.timing.filter(|_| whole).map(|timing| timing.end_ns)
}
