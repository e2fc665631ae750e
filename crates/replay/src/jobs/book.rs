//! What the journal says about every job: the first plan of a run holds, of pauses
//! and paces the last. Knows no log and no group.

use std::collections::BTreeMap;

use umbra_record::pb::{self, job_entry::Entry, job_steer::Action};

use crate::job::entry;

/// State of a run that an operator ended.
pub(super) const CANCELLED: &str = "cancelled";

/// All jobs by name.
#[derive(Debug, Default)]
pub(super) struct Book {
    jobs: BTreeMap<String, Runs>,
}

#[derive(Debug, Default)]
struct Runs {
    runs: BTreeMap<u32, Run>,
    /// Runs below were forgotten; their numbers are not given again.
    forgotten_below: u32,
}

/// One run of a job.
#[derive(Debug, Default, Clone)]
pub(super) struct Run {
    pub(super) plan: pb::Plan,
    /// Whether the plan was met.
    planned: bool,
    pub(super) made_ns: u64,
    pub(super) paused: bool,
    /// Instead of the pace of the plan.
    pub(super) pace: Option<pb::Pace>,
    /// How often it was steered.
    pub(super) steered: u32,
    /// Finished partitions by target, with what became of their requests.
    pub(super) done: BTreeMap<(String, u32), pb::Counts>,
    /// What processes told that stopped before the end, by target.
    pub(super) left: BTreeMap<String, Vec<pb::Counts>>,
    /// How much of the steering each target's clock takes into account.
    pub(super) followed: BTreeMap<String, u32>,
    pub(super) end: Option<String>,
}

impl Book {
    /// Takes one entry of the journal, in its order.
    pub(super) fn fold(&mut self, entry: &[u8]) {
        // An entry that does not decode is of another version.
        let Some(entry) = entry::decode(entry) else { return };
        let Some(what) = entry.entry else { return };
        let runs = self.jobs.entry(entry.job).or_default();
        let number = match &what {
            Entry::Plan(plan) => plan.run,
            Entry::Clock(clock) => clock.run,
            Entry::Done(done) => done.run,
            Entry::End(end) => end.run,
            Entry::Left(left) => left.run,
            Entry::Steer(steer) => steer.run,
            Entry::Deleted(_) => return runs.forget(),
            _ => return,
        };
        if number >= runs.forgotten_below {
            runs.runs.entry(number).or_default().take(entry.at_ns, what);
        }
    }

    /// Every job that is not forgotten, with its latest run.
    pub(super) fn jobs(&self) -> impl Iterator<Item = (&str, &Run)> {
        self.jobs.iter().filter_map(|(name, runs)| {
            let latest = runs.runs.values().rev().find(|run| run.planned)?;
            Some((name.as_str(), latest))
        })
    }

    /// The latest run of a job.
    pub(super) fn job(&self, name: &str) -> Option<&Run> {
        self.jobs.get(name)?.runs.values().rev().find(|run| run.planned)
    }

    /// All runs of a job.
    pub(super) fn runs(&self, name: &str) -> impl Iterator<Item = &Run> {
        let runs = self.jobs.get(name).into_iter();
        runs.flat_map(|runs| runs.runs.values()).filter(|run| run.planned)
    }
}

impl Runs {
    fn forget(&mut self) {
        let next = self.runs.last_key_value().map_or(0, |(number, _)| number + 1);
        self.forgotten_below = self.forgotten_below.max(next);
        self.runs.clear();
    }
}

impl Run {
    fn take(&mut self, at_ns: u64, entry: Entry) {
        match entry {
            Entry::Plan(plan) if !self.planned => {
                (self.plan, self.planned, self.made_ns) = (plan, true, at_ns);
            }
            Entry::Done(done) => {
                let counts = done.counts.unwrap_or_default();
                self.done.entry((done.target, done.partition)).or_insert(counts);
            }
            Entry::Left(left) => {
                let counts = left.counts.unwrap_or_default();
                self.left.entry(left.target).or_default().push(counts);
            }
            Entry::Clock(clock) => {
                let followed = self.followed.entry(clock.target).or_default();
                *followed = (*followed).max(clock.steered);
            }
            Entry::End(end) => {
                self.end.get_or_insert(end.state);
            }
            Entry::Steer(steer) => {
                match steer.action {
                    Some(Action::Paused(paused)) => self.paused = paused,
                    Some(Action::Pace(pace)) => self.pace = Some(pace),
                    None => return,
                }
                self.steered += 1;
            }
            _ => {}
        }
    }
}
