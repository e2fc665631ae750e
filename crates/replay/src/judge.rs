//! Judges outcomes: what a shadow answered against what production, or another target,
//! answered to the same request. Holds the running verdict of each target, for the
//! result, the metrics and whoever asks meanwhile. When an answer is there to be judged
//! is the pipeline's business, what differs and what that means is `umbra_compare`'s.

mod again;
mod case;
mod companion;
mod compared;
mod court;
mod notes;
mod precheck;
mod redacted;

#[cfg(test)]
mod tests;

pub use again::{Again, judge_again};
pub(crate) use case::{Case, Expected, Facts, Side};
pub(crate) use companion::{Asked, Bench, Beside, Companion, Exchanges};
pub use compared::{Compared, ComparedTarget};
pub(crate) use court::Court;
pub(crate) use notes::{Note, Notes};
pub(crate) use precheck::no_answers;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use umbra_compare::{
    RequestKey, Rules, Settings, Verdict,
    report::{Offered, Samples},
};
use umbra_record::pb;

use crate::{report::rfc3339, stats::JudgeStats};
use redacted::{Redacted, strip};

/// The metrics of the verdict are renewed this often.
const SUM_UP: Duration = Duration::from_secs(5);

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
    is_fresh: bool,
    /// Told before, by whomever.
    told: Verdict,
    places: Places,
    redacted: Redacted,
    /// When this was summed up last.
    said: Instant,
    /// Whole exchanges to show, of what was judged here.
    samples: Samples,
}

/// A partition, and an offset in it.
pub(crate) type At = (u32, u64);

/// Which requests of the current run have been judged, so that one that is sent again
/// does not count again.
#[derive(Debug, Default)]
struct Places {
    /// Here, and not settled at the last look, by partition.
    here: BTreeMap<u32, BTreeSet<u64>>,
    /// By others, or by earlier starts: all before the first, and those.
    told: BTreeMap<u32, (u64, BTreeSet<u64>)>,
}

impl Places {
    /// Whether it was not judged before; from now on it is.
    fn is_new(&mut self, (partition, offset): At) -> bool {
        let told = self.told.get(&partition);
        let known = told.is_some_and(|(below, beyond)| offset < *below || beyond.contains(&offset));
        !known && self.here.entry(partition).or_default().insert(offset)
    }

    /// Everything before these offsets is settled, and does not come again.
    fn settled(&mut self, below: &BTreeMap<u32, u64>) {
        for (partition, below) in below {
            if let Some(here) = self.here.get_mut(partition) {
                *here = here.split_off(below);
            }
        }
    }

    fn learn(&mut self, judged: &[pb::JudgedUpTo]) {
        for one in judged {
            let (below, beyond) = self.told.entry(one.partition).or_default();
            *below = (*below).max(one.below);
            beyond.extend(&one.beyond);
            *beyond = beyond.split_off(below);
        }
    }

    fn judged(&self, below: &BTreeMap<u32, u64>) -> Vec<pb::JudgedUpTo> {
        let beyond = |partition| {
            self.here.get(partition).map(|here| here.iter().copied().collect()).unwrap_or_default()
        };
        below
            .iter()
            .map(|(partition, below)| pb::JudgedUpTo {
                partition: *partition,
                below: *below,
                beyond: beyond(partition),
            })
            .collect()
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Judge {
    pub(crate) fn new(target: &str, compare: Arc<Compare>, stats: JudgeStats) -> Self {
        let state = Mutex::new(State {
            fresh: compare.blank.clone(),
            is_fresh: false,
            told: compare.blank.clone(),
            places: Places::default(),
            redacted: Redacted::new(&compare.rules),
            said: Instant::now(),
            samples: Samples::default(),
        });
        Self { target: target.to_owned(), state, compare, stats }
    }

    /// A new run of the job begins: the same requests are others now.
    pub(crate) fn begin_run(&self) {
        self.state().places = Places::default();
    }

    /// Compares and counts. Takes a while: not for a thread that others wait for.
    pub(crate) fn judge(&self, case: &Case) {
        let facts = &case.facts;
        let expected = case.expected.answer(facts);
        if let Some(why) = expected.unusable() {
            return self.not_compared(facts, why);
        }
        let Some(rules) = self.rules(case) else {
            return self.not_compared(facts, "redaction_unknown");
        };
        let taken_out = self.state().redacted.taken_out();
        let strip = |answer| strip(&taken_out, answer);
        let (expected, actual) = (strip(expected), strip(case.actual.answer()));
        let noise = case.noise.as_ref().map(|side| strip(side.answer()));
        let found = umbra_compare::differences(&expected, &actual, &rules);
        let noisy = noise.map(|noise| umbra_compare::differences(&expected, &noise, &rules));
        let mut state = self.state();
        let key = key(facts);
        if !state.places.is_new(facts.at) || !state.fresh.compared(&key, &found, noisy.as_deref()) {
            return;
        }
        state.is_fresh = true;
        state.fresh.answered(&key, &expected, &actual, &rules);
        if !found.is_empty() {
            let at = rfc3339(facts.start_ns);
            let offered = Offered {
                id: &facts.id,
                at: Some(&at),
                method: &facts.method,
                path: &facts.path,
                query: &facts.query,
            };
            state.samples.offer(&offered, &found, &expected, &actual, &rules);
        }
        drop(state);
        self.stats.compared(found.iter().all(|difference| difference.kind.is_note()));
    }

    /// The rules for a request; `None`: what was taken out of it is not known, so that it
    /// cannot be taken out of the other answer.
    fn rules(&self, case: &Case) -> Option<Rules> {
        let mut state = self.state();
        let answer = match &case.expected {
            Expected::Recorded(response) => &response.rule_set[..],
            Expected::Sent(_) => &[],
        };
        state.redacted.recognise(&case.facts.rule_set);
        state.redacted.recognise(answer);
        let known = state.redacted.knows(&case.facts.rule_set) && state.redacted.knows(answer);
        let rules = known.then(|| state.redacted.rules().clone());
        drop(state);
        Some(rules?.for_request(&case.facts.method, &case.facts.path))
    }

    /// What an agent has taken out of the messages it recorded.
    pub(crate) fn learn_redaction(&self, lines: &[String]) {
        if !lines.is_empty() {
            self.state().redacted.learn(lines);
        }
    }

    /// Sums up now and then, for the metrics.
    pub(crate) fn sum_up(&self) {
        let mut state = self.state();
        if state.said.elapsed() >= SUM_UP {
            state.said = Instant::now();
            drop(state);
            self.said();
        }
    }

    /// A request whose answers cannot be compared.
    pub(crate) fn not_compared(&self, facts: &Facts, why: &str) {
        let mut state = self.state();
        if state.places.is_new(facts.at) && state.fresh.not_compared(&key(facts), why) {
            state.is_fresh = true;
            drop(state);
            self.stats.not_compared();
        }
    }

    /// What was judged since this was asked last, to be told. `below`: by partition that
    /// is read here, the first offset that is not settled.
    pub(crate) fn news(&self, below: &BTreeMap<u32, u64>) -> Option<Verdict> {
        let mut state = self.state();
        state.places.settled(below);
        if !std::mem::take(&mut state.is_fresh) {
            return None;
        }
        let fresh = std::mem::replace(&mut state.fresh, self.compare.blank.clone());
        state.told.merge(fresh.clone());
        Some(fresh)
    }

    /// With them, which requests are in all that was told.
    pub(crate) fn judged(&self, below: &BTreeMap<u32, u64>) -> Vec<pb::JudgedUpTo> {
        self.state().places.judged(below)
    }

    /// Everything before these offsets is settled.
    pub(crate) fn settled(&self, below: &BTreeMap<u32, u64>) {
        self.state().places.settled(below);
    }

    /// What another member of the job has told, or an earlier start. `judged`: of this
    /// run.
    pub(crate) fn learn(&self, judged: &[pb::JudgedUpTo], verdict: Verdict) {
        let mut state = self.state();
        state.told.merge(verdict);
        state.places.learn(judged);
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
        let exchanges = self.state().samples.exchanges(&report);
        ComparedTarget { report, verdict: whole, exchanges }
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
    RequestKey { id: &facts.id, method: &facts.method, path: &facts.path, again: facts.again }
}
