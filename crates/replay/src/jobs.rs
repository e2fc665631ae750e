//! The jobs of a log as seen from outside: what each is to do, how far it is, who
//! runs it, what became of its requests, and how an operator steers it.
//!
//! Everything is read: the journal (`book`), the progress and the notes of each
//! target's group, the log's ends. Whoever looks joins no group and disturbs nobody.
//! Steering is an entry in the journal; those who run the job follow it.

mod book;
mod steer;
mod sums;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use umbra_log::{GroupState, Journal, Log, Span};
use umbra_record::pb;

use self::book::{Book, Run};
pub use self::{
    steer::{Change, Done, NotSteered, Speed},
    sums::Sums,
};
use crate::{
    clock::nanos,
    error::ReplayError,
    plan::{group_of, pass_of, settings_of},
    report::rfc3339,
};

/// Groups asked about at a time.
const AT_ONCE: usize = 8;

/// One job, as it is now.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Which run of it: the latest.
    pub run: u32,
    /// Where it stands.
    pub state: State,
    /// Whether it was paused last, also if nobody runs it.
    pub paused: bool,
    /// What it is to do.
    pub plan: Plan,
    /// When requests are due now: as planned, or as it was steered.
    pub pace: String,
    /// Progress of each target.
    pub partitions: Vec<Partition>,
    /// Who runs it.
    pub members: Vec<Member>,
    /// Over all targets, whoever sent.
    pub sums: Sums,
    /// Target by target.
    pub targets: BTreeMap<String, Target>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Somebody runs it.
    Running,
    /// Somebody runs it, and an operator paused it.
    Paused,
    /// All of it was done.
    Done,
    /// It is not over and nobody runs it.
    Abandoned,
    /// An operator ended it.
    Cancelled,
}

/// What a job is to do, as stored.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// `live` or `window`.
    pub mode: &'static str,
    /// First instant of the window, RFC 3339; absent: from the oldest record.
    pub from: Option<String>,
    /// First instant after it; absent: what was in the log when the job was planned.
    pub to: Option<String>,
    /// Which time the window is played, from 1.
    pub pass: u64,
    /// When the plan was made.
    pub made: String,
    /// Everything that was asked for, by the flags' names.
    pub settings: BTreeMap<String, Vec<String>>,
}

/// How far one target is in one partition.
#[derive(Debug, Clone, Serialize)]
pub struct Partition {
    /// Name of the target.
    pub target: String,
    /// Which partition.
    pub partition: u32,
    /// Every offset below is settled.
    pub committed: u64,
    /// First offset that is not meant; as long as it is not known, the log's end.
    pub end: u64,
    /// Records between them that are not settled.
    pub lag: u64,
    /// The same in time: from the first record that is not settled to the last one
    /// meant, or to now for a live job. Absent if it could not be found out in time.
    pub lag_s: Option<f64>,
    /// It is finished.
    pub done: bool,
}

/// A process that runs a job.
#[derive(Debug, Clone, Serialize)]
pub struct Member {
    /// Name of the target whose group it is in.
    pub target: String,
    /// As the log knows it.
    pub id: String,
    /// Its instance id, if it has one.
    pub instance: Option<String>,
    /// What it calls itself.
    pub client: String,
    /// Where it runs.
    pub host: String,
    /// Partitions it holds.
    pub partitions: Vec<u32>,
}

/// One target of a job.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    /// Its consumer group.
    pub group: String,
    /// Records that are not settled.
    pub lag: u64,
    /// Of the partition that is furthest behind.
    pub lag_s: Option<f64>,
    /// What became of its requests.
    pub sums: Sums,
}

/// The jobs of a log.
#[derive(Debug)]
pub struct Jobs<'a> {
    log: &'a Log,
    journal: Option<Journal>,
    book: Book,
    /// First entry of the journal that was not read.
    next: u64,
}

impl<'a> Jobs<'a> {
    /// Reads what is stored about the jobs of this log; creates nothing.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn open(log: &'a Log) -> Result<Self, ReplayError> {
        let journal = log.journal_if_any("jobs").await?;
        let mut jobs = Self { log, journal, book: Book::default(), next: 0 };
        jobs.read().await?;
        Ok(jobs)
    }

    /// Reads what was added meanwhile.
    async fn read(&mut self) -> Result<(), ReplayError> {
        let Some(journal) = &self.journal else { return Ok(()) };
        for (offset, entry) in journal.read_from(self.next).await? {
            self.book.fold(&entry);
            self.next = offset + 1;
        }
        Ok(())
    }

    /// Names of all jobs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.book.jobs().map(|(name, _)| name)
    }

    /// All jobs as they are now, or the one of that name. What takes longer than
    /// `patience` to find out about times is left out.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn look(
        &mut self,
        name: Option<&str>,
        patience: Duration,
    ) -> Result<Vec<Job>, ReplayError> {
        self.read().await?;
        let spans = self.log.spans().await?;
        let wanted = self.book.jobs().filter(|(one, _)| name.is_none_or(|name| name == *one));
        let look = wanted.map(|(name, run)| job(self.log, &spans, name, run, patience));
        stream::iter(look.collect::<Vec<_>>()).buffered(AT_ONCE).try_collect().await
    }
}

/// One target's part of what is known.
struct Known {
    name: String,
    group: String,
    state: GroupState,
}

async fn job(
    log: &Log,
    spans: &[Span],
    name: &str,
    run: &Run,
    patience: Duration,
) -> Result<Job, ReplayError> {
    let plan = &run.plan;
    let mut known = Vec::new();
    for target in targets(plan) {
        let group = group_of(name, plan.run, log.name(), &target);
        let state = log.group(&group).await?;
        known.push(Known { name: target, group, state });
    }
    let mut targets = BTreeMap::new();
    let (mut partitions, mut members) = (Vec::new(), Vec::new());
    let mut total = Sums::default();
    for one in &known {
        let rows = progress(log, spans, run, one, patience).await?;
        let sums = sums::of(run, &one.name, &one.state);
        total.add(&sums);
        let target = Target {
            group: one.group.clone(),
            lag: rows.iter().map(|row| row.lag).sum(),
            lag_s: rows.iter().filter_map(|row| row.lag_s).reduce(f64::max),
            sums,
        };
        targets.insert(one.name.clone(), target);
        partitions.extend(rows);
        members.extend(one.state.members.iter().map(|member| Member {
            target: one.name.clone(),
            id: member.id.clone(),
            instance: member.instance.clone(),
            client: member.client.clone(),
            host: member.host.clone(),
            partitions: member.partitions.clone(),
        }));
    }
    let state = match run.end.as_deref() {
        Some(book::CANCELLED) => State::Cancelled,
        // Done, or as far as a limit allowed.
        Some(_) => State::Done,
        None if members.is_empty() => State::Abandoned,
        None if run.paused => State::Paused,
        None => State::Running,
    };
    Ok(Job {
        name: name.to_owned(),
        run: plan.run,
        state,
        paused: run.paused,
        plan: Plan {
            mode: if plan.live { "live" } else { "window" },
            from: plan.from_ns.map(rfc3339),
            to: plan.to_ns.map(rfc3339),
            pass: pass_of(plan),
            made: rfc3339(run.made_ns),
            settings: settings_of(plan).into_iter().collect(),
        },
        pace: run.pace.as_ref().map_or_else(|| planned_pace(plan), steer::in_words),
        partitions,
        members,
        sums: total,
        targets,
    })
}

/// Names of a plan's targets: each is stored as `name=url,…`.
fn targets(plan: &pb::Plan) -> Vec<String> {
    let stored = plan.settings.iter().filter(|setting| setting.name == "target");
    let name =
        |value: &String| value.split_once('=').map_or(value.as_str(), |(name, _)| name).to_owned();
    stored.flat_map(|setting| setting.values.iter().map(name)).collect()
}

fn planned_pace(plan: &pb::Plan) -> String {
    let setting = |name: &str| {
        let setting = plan.settings.iter().find(|setting| setting.name == name)?;
        setting.values.first().cloned()
    };
    if let Some(speed) = setting("speed") {
        return format!("{speed}x");
    }
    if let Some(rate) = setting("rate") {
        return rate;
    }
    match (setting("stages"), setting("delay")) {
        (Some(stages), _) => format!("stages {stages}"),
        (None, Some(delay)) => format!("captured + {delay}"),
        (None, None) => "on arrival".to_owned(),
    }
}

/// Progress of a target, partition by partition.
async fn progress(
    log: &Log,
    spans: &[Span],
    run: &Run,
    target: &Known,
    patience: Duration,
) -> Result<Vec<Partition>, ReplayError> {
    let mut rows: Vec<Partition> = spans.iter().map(|span| row(run, target, span)).collect();
    let behind: Vec<&Partition> = rows.iter().filter(|row| row.lag > 0).collect();
    if behind.is_empty() || patience.is_zero() {
        return Ok(rows);
    }
    let first = behind.iter().map(|row| (row.partition, row.committed)).collect();
    let first = log.times_at(&first, patience).await?;
    let last = if run.plan.live {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        behind.iter().map(|row| (row.partition, nanos(now))).collect()
    } else {
        let last = behind.iter().map(|row| (row.partition, row.end - 1)).collect();
        log.times_at(&last, patience).await?
    };
    for row in rows.iter_mut().filter(|row| row.lag > 0) {
        let times = (first.get(&row.partition), last.get(&row.partition));
        row.lag_s = match times {
            (Some(first), Some(last)) => Some(last.saturating_sub(*first) as f64 / 1e9),
            _ => None,
        };
    }
    Ok(rows)
}

fn row(run: &Run, target: &Known, span: &Span) -> Partition {
    let planned = run.plan.partitions.iter().find(|one| one.partition == span.partition);
    // One that was born later begins at 0; nothing of a window that was over is in it.
    let start = planned.map_or(0, |one| one.start);
    let past = !run.plan.live && run.plan.partitions.iter().all(|one| one.end.is_some());
    let end = match planned {
        Some(planned) => planned.end.unwrap_or(span.high),
        None if past => 0,
        None => span.high,
    };
    let progress = target.state.partitions.get(&span.partition);
    let committed = progress.map_or(start, |progress| progress.committed);
    let beyond = progress.map_or(0, |progress| progress.settled_beyond);
    // Of one that is empty nobody has to tell.
    let empty = planned.is_some_and(|one| one.end.is_some_and(|end| end <= one.start));
    let done = empty || run.done.contains_key(&(target.name.clone(), span.partition));
    let lag = if done { 0 } else { end.saturating_sub(committed).saturating_sub(beyond) };
    Partition {
        target: target.name.clone(),
        partition: span.partition,
        committed,
        end,
        lag,
        lag_s: (lag == 0).then_some(0.0),
        done,
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::sum_up;
