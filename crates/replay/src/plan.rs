//! What a job is to do, in absolute terms: resolved once, stored under the job's
//! name, and taken from there by every replica and every later start.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use umbra_log::{Log, Start};
use umbra_record::pb::{self, job_entry::Entry};

use crate::{
    clock::{TimeBase, nanos},
    config::{Config, Which},
    error::{Difference, ReplayError},
    job::{JobJournal, Stored},
    window::Window,
};

#[cfg(test)]
mod tests;

/// Which time a looped window is played, among the stored settings. Not the user's.
const PASS: &str = "pass";

/// Where the outcomes are written, among the stored settings. It does not decide what is
/// sent, and may be another one at the next start.
const OUTCOMES: &str = "outcomes";

/// The stored plan of a job, as agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The job.
    pub job: String,
    /// Which run of it.
    pub run: u32,
    /// Which time its window is played, from 1.
    pub pass: u64,
    /// First instant; absent: from the oldest record.
    pub from_ns: Option<u64>,
    /// First instant not meant; absent: what was in the log then.
    pub to_ns: Option<u64>,
    /// What is appended from then on, until stopped.
    pub live: bool,
    /// How long late records and silent agents are waited for.
    pub grace: Duration,
    /// The settings it was stored with.
    pub settings: Vec<(String, Vec<String>)>,
    /// The file that its outcomes were to be written to, at its first start.
    pub outcomes: Option<std::path::PathBuf>,
    /// Whether this start made it, goes on with it, or has nothing left to do.
    pub standing: Standing,
    pub(crate) partitions: BTreeMap<u32, (u64, Option<u64>)>,
    /// Partitions that were finished before, by target.
    pub(crate) done: BTreeSet<(String, u32)>,
    /// What was used up of the job's limits in all its passes so far, by target.
    pub(crate) used: BTreeMap<String, Used>,
}

/// A plan that was agreed on just now, with what it was agreed on by: opening that again
/// would take longer than all the rest of a start.
#[derive(Debug)]
pub struct Agreed {
    /// What is to be done.
    pub planned: Planned,
    pub(crate) journal: JobJournal,
}

/// What earlier starts have used up of a job's limits, as far as they could tell:
/// one that was killed could not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Used {
    /// Sends.
    pub sent: u64,
    /// Time in which requests were due.
    pub time_ns: u64,
}

/// Where a job stands when it is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its plan was made just now.
    New,
    /// It goes on where it stopped.
    Resumed,
    /// It was done before; there is nothing left to send.
    Finished,
}

impl Planned {
    pub(crate) fn window(&self) -> Window {
        Window { from_ns: self.from_ns, to_ns: self.to_ns }
    }

    /// Where a group of this job without progress begins.
    pub(crate) fn start(&self) -> Start {
        Start::At(
            self.partitions.iter().map(|(partition, (start, _))| (*partition, *start)).collect(),
        )
    }

    /// The consumer group of a target's pipeline.
    pub(crate) fn group(&self, log: &str, target: &str) -> String {
        group_of(&self.job, self.run, log, target)
    }

    pub(crate) fn new(job: &str, plan: &pb::Plan, stored: &Stored, standing: Standing) -> Self {
        let run = stored.runs.get(&plan.run);
        Self {
            job: job.to_owned(),
            run: plan.run,
            pass: pass_of(plan),
            from_ns: plan.from_ns,
            to_ns: plan.to_ns,
            live: plan.live,
            grace: Duration::from_nanos(plan.grace_ns),
            settings: settings_of(plan),
            outcomes: outcomes_of(plan),
            standing,
            partitions: plan
                .partitions
                .iter()
                .map(|partition| (partition.partition, (partition.start, partition.end)))
                .collect(),
            done: run.map(|run| run.done.clone()).unwrap_or_default(),
            used: used(stored, plan),
        }
    }

    /// Whether it is known of every partition where its part of the window ends.
    pub(crate) fn ends_are_known(&self) -> bool {
        self.partitions.values().all(|(_, end)| end.is_some())
    }

    pub(crate) fn used_by(&self, target: &str) -> Used {
        self.used.get(target).copied().unwrap_or_default()
    }
}

/// The consumer group of a target's pipeline in a run of a job.
pub(crate) fn group_of(job: &str, run: u32, log: &str, target: &str) -> String {
    let topic = log.trim_end_matches('/').rsplit('/').next().unwrap_or(log);
    let run = if run == 0 { String::new() } else { format!(".{run}") };
    let name = format!("umbra.{topic}.{job}{run}.{target}");
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.chars().map(|c| if legal(c) { c } else { '-' }).collect()
}

/// Agrees on the plan of a job: stores this one under its name, or takes the one
/// that is stored.
pub async fn plan(config: &Config, log: &Log) -> Result<Agreed, ReplayError> {
    let time = TimeBase::new();
    let journal = JobJournal::new(log.journal("jobs").await?, &config.job, time);
    let planned = agree(config, log, &journal, time.now()).await?;
    Ok(Agreed { planned, journal })
}

/// The plan that is stored under a job's name, if there is one: for `--adopt`, which
/// takes its settings instead of the flags.
pub async fn stored(job: &str, log: &Log) -> Result<Option<Planned>, ReplayError> {
    let journal = JobJournal::new(log.journal("jobs").await?, job, TimeBase::new());
    let stored = journal.read().await?;
    Ok(stored.latest().map(|(_, run, plan)| {
        let standing = if run.end.is_some() { Standing::Finished } else { Standing::Resumed };
        Planned::new(job, plan, &stored, standing)
    }))
}

/// A request is in the log this long after its start at the latest: an agent writes
/// it as it stands after 30 s, unless told otherwise.
const IN_FLIGHT: Duration = Duration::from_secs(60);

pub(crate) async fn agree(
    config: &Config,
    log: &Log,
    journal: &JobJournal,
    now: u64,
) -> Result<Planned, ReplayError> {
    let stored = journal.read().await?;
    match next(config, &stored)? {
        Next::Finished(planned) | Next::Resume(planned) => Ok(planned),
        Next::Propose { run, pass, window_of } => {
            let proposal = match window_of {
                Some(plan) => again(&plan, run, pass),
                None => resolve(config, log, run, pass, now).await?,
            };
            let stored = journal.propose(Entry::Plan(proposal)).await?;
            won(config, &stored, run)
        }
    }
}

/// What is to be done, given what is stored.
enum Next {
    Finished(Planned),
    Resume(Planned),
    Propose {
        run: u32,
        pass: u64,
        /// The window is that of an earlier pass.
        window_of: Option<pb::Plan>,
    },
}

fn next(config: &Config, stored: &Stored) -> Result<Next, ReplayError> {
    let Some((number, run, plan)) = stored.latest() else {
        let run = stored.first_run;
        return Ok(Next::Propose { run, pass: 1, window_of: None });
    };
    let resumed = Planned::new(&config.job, plan, stored, Standing::Resumed);
    let Some(end) = &run.end else {
        // A run that was planned and not begun is the new one that was asked for.
        if config.again && run.has_begun() {
            tracing::warn!(job = config.job, "not finished yet: going on with it");
        }
        compare(config, plan)?;
        return Ok(Next::Resume(resumed));
    };
    if end == crate::job::DONE && pass_of(plan) < config.repeat {
        compare(config, plan)?;
        let pass = pass_of(plan) + 1;
        return Ok(Next::Propose { run: number + 1, pass, window_of: Some(plan.clone()) });
    }
    if config.again {
        return Ok(Next::Propose { run: number + 1, pass: 1, window_of: None });
    }
    compare(config, plan)?;
    Ok(Next::Finished(Planned { standing: Standing::Finished, ..resumed }))
}

/// The plan that is stored after a proposal: this one, or another replica's.
fn won(config: &Config, stored: &Stored, run: u32) -> Result<Planned, ReplayError> {
    let missing = || ReplayError::Bug(format!("the plan of job {} was not stored", config.job));
    let found = stored.runs.get(&run).ok_or_else(missing)?;
    let plan = found.plan.as_ref().ok_or_else(missing)?;
    compare(config, plan)?;
    Ok(Planned::new(&config.job, plan, stored, Standing::New))
}

/// The same window once more.
fn again(plan: &pb::Plan, run: u32, pass: u64) -> pb::Plan {
    let mut plan = plan.clone();
    plan.run = run;
    plan.settings.retain(|setting| setting.name != PASS);
    plan.settings.push(pb::Setting { name: PASS.to_owned(), values: vec![pass.to_string()] });
    plan
}

/// The plan in absolute terms, as things stand now. Stores nothing.
pub(crate) async fn resolve(
    config: &Config,
    log: &Log,
    run: u32,
    pass: u64,
    now: u64,
) -> Result<pb::Plan, ReplayError> {
    // The watermarks come first: what is appended while the times are looked up
    // belongs to the window of a later job.
    let spans = log.spans().await?;
    let grace_ns = nanos(config.grace);
    let (from_ns, to_ns, live) = match config.which {
        Which::Live => (None, None, true),
        Which::Window { from_ns, to_ns } => (from_ns, to_ns, false),
    };
    let starts = match from_ns {
        Some(from) => log.offsets_for_time(from).await?,
        None => BTreeMap::new(),
    };
    // Requests are recorded when they end, those before `to` at times behind it:
    // however short the grace, the end leaves room for them.
    let over = to_ns
        .filter(|to| to.saturating_add(grace_ns) < now)
        .map(|to| to.saturating_add(grace_ns.max(nanos(IN_FLIGHT))));
    let ends = match over {
        Some(over) => Some(log.offsets_for_time(over).await?),
        None => None,
    };
    let partitions = spans
        .iter()
        .map(|span| {
            let start = match starts.get(&span.partition) {
                _ if live => span.high,
                Some(start) => (*start).clamp(span.low, span.high.max(span.low)),
                None => span.low,
            };
            let end = match (&ends, to_ns) {
                _ if live => None,
                (Some(ends), _) => Some(ends.get(&span.partition).copied().unwrap_or(span.high)),
                (None, None) => Some(span.high),
                (None, Some(_)) => None,
            };
            pb::PartitionPlan { partition: span.partition, start, end }
        })
        .collect();
    let mut settings: Vec<pb::Setting> = config
        .settings
        .iter()
        .map(|(name, values)| pb::Setting { name: name.clone(), values: values.clone() })
        .collect();
    settings.push(pb::Setting { name: PASS.to_owned(), values: vec![pass.to_string()] });
    if let Some(path) = &config.outcomes {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let values = vec![path.to_string_lossy().into_owned()];
        settings.push(pb::Setting { name: OUTCOMES.to_owned(), values });
    }
    Ok(pb::Plan { run, from_ns, to_ns, partitions, live, settings, grace_ns })
}

/// The limits of a job count over all passes over its window, which are runs one
/// after the other.
fn used(stored: &Stored, plan: &pb::Plan) -> BTreeMap<String, Used> {
    let earlier = u32::try_from(pass_of(plan) - 1).unwrap_or(u32::MAX);
    let first = plan.run.saturating_sub(earlier);
    let mut used: BTreeMap<String, Used> = BTreeMap::new();
    let mut spans: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    for run in stored.runs.range(first..=plan.run).map(|(_, run)| run) {
        for (target, more) in &run.spans {
            spans.entry(target).or_default().extend(more);
        }
    }
    // Of this run the pipelines keep account themselves.
    for run in stored.runs.range(first..plan.run).map(|(_, run)| run) {
        for ((target, _), counts) in &run.counts {
            let used = used.entry(target.clone()).or_default();
            used.sent = used.sent.saturating_add(counts.sent);
        }
    }
    for (target, spans) in spans {
        used.entry(target.to_owned()).or_default().time_ns = covered(spans);
    }
    used
}

/// The time that the spans cover; what several replicas did at once counts once.
fn covered(mut spans: Vec<(u64, u64)>) -> u64 {
    spans.sort_unstable();
    let (mut covered, mut until) = (0, 0);
    for (from, to) in spans {
        covered += to.saturating_sub(from.max(until));
        until = until.max(to);
    }
    covered
}

pub(crate) fn pass_of(plan: &pb::Plan) -> u64 {
    let setting = plan.settings.iter().find(|setting| setting.name == PASS);
    setting.and_then(|setting| setting.values.first()?.parse().ok()).unwrap_or(1).max(1)
}

fn outcomes_of(plan: &pb::Plan) -> Option<std::path::PathBuf> {
    let setting = plan.settings.iter().find(|setting| setting.name == OUTCOMES)?;
    setting.values.first().map(Into::into)
}

pub(crate) fn settings_of(plan: &pb::Plan) -> Vec<(String, Vec<String>)> {
    plan.settings
        .iter()
        .filter(|setting| setting.name != PASS && setting.name != OUTCOMES)
        .map(|setting| (setting.name.clone(), setting.values.clone()))
        .collect()
}

/// Whether the job may go on with these settings.
fn compare(config: &Config, plan: &pb::Plan) -> Result<(), ReplayError> {
    if config.adopt {
        return Ok(());
    }
    let differences = differences(&settings_of(plan), &config.settings);
    if differences.is_empty() {
        return Ok(());
    }
    Err(ReplayError::PlanDiffers { job: config.job.clone(), differences })
}

fn differences(
    stored: &[(String, Vec<String>)],
    given: &[(String, Vec<String>)],
) -> Vec<Difference> {
    let stored: BTreeMap<&str, &Vec<String>> =
        stored.iter().map(|(name, values)| (name.as_str(), values)).collect();
    let given: BTreeMap<&str, &Vec<String>> =
        given.iter().map(|(name, values)| (name.as_str(), values)).collect();
    let names: BTreeSet<&str> = stored.keys().chain(given.keys()).copied().collect();
    names
        .into_iter()
        .filter(|name| stored.get(name) != given.get(name))
        .map(|name| Difference {
            setting: name.to_owned(),
            stored: stored.get(name).copied().cloned().unwrap_or_default(),
            given: given.get(name).copied().cloned().unwrap_or_default(),
        })
        .collect()
}
