//! A whole replay: agrees on the plan, runs a pipeline for each target, as often as
//! the window is to be played, and makes the result.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use umbra_log::{Log, TailOptions};
use umbra_record::{
    pb::{self, job_entry::Entry},
    select::{Rules, Selection},
};

use crate::{
    alarm::Alarm,
    clock::{JobClock, TimeBase},
    config::{Config, Target},
    dead::{DeadLetters, Keeper, dead_letters},
    error::ReplayError,
    job::{DONE, JobJournal},
    outcomes::OutcomeFile,
    pacer::Pacer,
    pipeline::{Carry, End, Ended as PipelineEnded, Pipeline, Room},
    plan::{Planned, Standing, agree},
    report::{AgentMissing, Ended, Gaps, Report, TargetReport, Times, rfc3339},
    send::Sender,
    stats::Stats,
    tally::Tally,
};

/// A run that a limit ended before the last pass over its window.
const LIMITED: &str = "limited";

/// What the pipelines of a job share during one pass over its window.
pub(crate) struct Job {
    pub config: Config,
    pub planned: Planned,
    pub time: TimeBase,
    pub journal: Arc<JobJournal>,
    pub clock: JobClock,
    pub alarm: Arc<Alarm>,
    pub dead: DeadLetters,
    pub outcomes: Option<Arc<OutcomeFile>>,
    pub stats: Stats,
}

/// Runs a job to its end, or until `stop`: then what is in flight is settled (up to
/// the drain deadline), progress committed, and the job can go on from there.
///
/// A window that is played several times is one run of the job for each time, so
/// that a job stopped in between goes on with the time it was at.
pub async fn run(
    config: Config,
    log: &Log,
    stats: Stats,
    stop: CancellationToken,
) -> Result<Report, ReplayError> {
    let mut replay = Replay::new(config, log, stats).await?;
    let mut planned = replay.agree().await?;
    let mut result = Outcome::already_done();
    while planned.standing != Standing::Finished {
        result = replay.pass(&planned, &stop).await?;
        if !result.all(|end| end == End::Finished) {
            break;
        }
        if planned.pass >= replay.config.repeat {
            break;
        }
        planned = replay.agree().await?;
    }
    Ok(replay.report(&planned, result))
}

/// The job over all passes.
struct Replay<'a> {
    config: Config,
    log: &'a Log,
    stats: Stats,
    time: TimeBase,
    journal: Arc<JobJournal>,
    alarm: Arc<Alarm>,
    dead: DeadLetters,
    keeper: Keeper,
    outcomes: Option<Arc<OutcomeFile>>,
    targets: Vec<Prepared>,
    carries: BTreeMap<String, Carry>,
}

/// A target that can be sent to.
pub(crate) struct Prepared {
    pub target: Target,
    pub share: Selection,
    pub sender: Arc<Sender>,
}

/// How the pipelines ended.
struct Outcome {
    ends: Option<BTreeMap<String, End>>,
    missing: Vec<AgentMissing>,
}

impl Outcome {
    fn already_done() -> Self {
        Self { ends: None, missing: Vec::new() }
    }

    fn all(&self, holds: impl Fn(End) -> bool) -> bool {
        self.ends.iter().flat_map(BTreeMap::values).all(|end| holds(*end))
    }

    fn ended(&self, live: bool) -> Ended {
        let Some(ends) = &self.ends else { return Ended::AlreadyDone };
        let gave_up: Vec<String> = ends
            .iter()
            .filter(|(_, end)| **end == End::GaveUp)
            .map(|(name, _)| name.clone())
            .collect();
        if !gave_up.is_empty() {
            Ended::GaveUp { targets: gave_up }
        } else if !live && ends.values().any(|end| *end == End::Stopped) {
            Ended::CutShort
        } else {
            Ended::Done
        }
    }
}

impl<'a> Replay<'a> {
    async fn new(config: Config, log: &'a Log, stats: Stats) -> Result<Self, ReplayError> {
        let time = TimeBase::new();
        let targets = prepare(&config)?;
        let outcomes = match &config.outcomes {
            Some(path) => {
                let file = OutcomeFile::open(path)
                    .map_err(|error| ReplayError::Io(format!("{}: {error}", path.display())))?;
                Some(Arc::new(file))
            }
            None => None,
        };
        let journal = JobJournal::new(log.journal("jobs").await?, &config.job, time);
        let (dead, keeper) = dead_letters(&config.job);
        let alarm = Alarm::start(time)
            .map_err(|error| ReplayError::Io(format!("the pacer's thread: {error}")))?;
        Ok(Self {
            journal: Arc::new(journal),
            dead,
            keeper,
            alarm: Arc::new(alarm),
            carries: BTreeMap::new(),
            config,
            log,
            stats,
            time,
            outcomes,
            targets,
        })
    }

    async fn agree(&self) -> Result<Planned, ReplayError> {
        agree(&self.config, self.log, &self.journal, self.time.now()).await
    }

    /// Plays the window once into every target.
    async fn pass(
        &mut self,
        planned: &Planned,
        stop: &CancellationToken,
    ) -> Result<Outcome, ReplayError> {
        let job = Arc::new(Job {
            config: self.config.clone(),
            planned: planned.clone(),
            time: self.time,
            journal: Arc::clone(&self.journal),
            clock: JobClock::new(Arc::clone(&self.journal), self.time, planned.run),
            alarm: Arc::clone(&self.alarm),
            dead: self.dead.clone(),
            outcomes: self.outcomes.clone(),
            stats: self.stats.clone(),
        });
        let stop = stop.child_token();
        let partitions = planned.partitions.len();
        let room = Room::new(self.log, self.config.read_ahead_bytes, partitions);
        let mut pipelines = JoinSet::new();
        for (index, prepared) in self.targets.iter().enumerate() {
            let name = &prepared.target.name;
            let options = TailOptions {
                group: Some(planned.group(self.log.name(), name)),
                instance: None,
                start: planned.start(),
                read_ahead_bytes: room.reader_bytes,
                read_ahead_records: room.reader_records,
            };
            let pipeline = Pipeline::new(
                Arc::clone(&job),
                prepared,
                self.log.tail(options).await?,
                room,
                self.stats.target(name, index == 0),
                self.carry(name),
            );
            pipelines.spawn(Box::pin(pipeline.run(stop.clone())));
        }
        // The keeper lives as long as `self.dead`: only the pipelines end.
        let ended = tokio::select! {
            ended = join(pipelines, &stop) => ended?,
            () = self.keeper.serve(self.log) => Vec::new(),
        };
        let outcome = self.take(ended);
        self.end_run(planned, &outcome).await?;
        Ok(outcome)
    }

    /// What a target takes over from the pass before: its counts, and how far a rate
    /// has come. Recorded timing begins anew.
    fn carry(&self, target: &str) -> Carry {
        let fresh = Pacer::new(&self.config.pace);
        match self.carries.get(target) {
            Some(carry) if matches!(fresh, Pacer::Rate(_)) => carry.clone(),
            Some(carry) => Carry { pacer: fresh, ..carry.clone() },
            None => Carry::new(fresh),
        }
    }

    fn take(&mut self, ended: Vec<PipelineEnded>) -> Outcome {
        let mut ends = BTreeMap::new();
        let mut missing: Vec<AgentMissing> = Vec::new();
        for one in ended {
            ends.insert(one.target.clone(), one.end);
            self.carries.insert(one.target, one.carry);
            for agent in one.missing {
                if !missing.contains(&agent) {
                    missing.push(agent);
                }
            }
        }
        Outcome { ends: Some(ends), missing }
    }

    /// Tells the journal that the run is over, if it is.
    async fn end_run(&self, planned: &Planned, outcome: &Outcome) -> Result<(), ReplayError> {
        if !outcome.all(|end| matches!(end, End::Finished | End::Limited)) {
            return Ok(());
        }
        let more = planned.pass < self.config.repeat;
        let cut = more && !outcome.all(|end| end == End::Finished);
        let state = if cut { LIMITED } else { DONE };
        let end = pb::JobEnd { run: planned.run, state: state.to_owned() };
        Ok(self.journal.append(Entry::End(end)).await?)
    }

    fn report(&self, planned: &Planned, outcome: Outcome) -> Report {
        let mut lag = Times::new();
        let (mut first, mut last) = (u64::MAX, 0);
        // Every pipeline reads the same records; the one that came furthest tells
        // how many there were.
        let mut read = Tally::default();
        let mut targets = BTreeMap::new();
        for prepared in &self.targets {
            let target = &prepared.target;
            let none = Carry::new(Pacer::Max);
            let carry = self.carries.get(&target.name).unwrap_or(&none);
            lag.add(&carry.lag);
            first = first.min(carry.first_due_ns.unwrap_or(u64::MAX));
            last = last.max(carry.last_settled_ns.unwrap_or(0));
            if carry.tally.read >= read.read {
                read = carry.tally.clone();
            }
            let mut report =
                TargetReport::new(target.url.to_string(), &carry.tally, &carry.lag, &carry.latency);
            report.down_s = carry.down.as_secs_f64();
            targets.insert(target.name.clone(), report);
        }
        Report {
            job: planned.job.clone(),
            run: planned.run,
            log: self.log.name().to_owned(),
            from: planned.from_ns.map(rfc3339),
            to: planned.to_ns.map(rfc3339),
            mode: if planned.live { "live" } else { "window" },
            ended: outcome.ended(planned.live),
            read: read.read,
            selected: read.selected,
            outside: read.outside,
            duplicates: read.duplicates,
            gaps: Gaps { requests: read.gap_requests, records: read.missing },
            dead: read.dead,
            unknown: read.unknown,
            duration_s: Duration::from_nanos(last.saturating_sub(first)).as_secs_f64(),
            lag_ms: lag.lag(),
            agents_missing: outcome.missing,
            targets,
        }
    }
}

fn prepare(config: &Config) -> Result<Vec<Prepared>, ReplayError> {
    let mut prepared = Vec::with_capacity(config.targets.len());
    for target in &config.targets {
        let refuse = |reason: String| ReplayError::Target { target: target.name.clone(), reason };
        let sender = Sender::new(target, &config.job).map_err(|error| refuse(error.to_string()))?;
        let share = share_of(target)?;
        prepared.push(Prepared { target: target.clone(), share, sender: Arc::new(sender) });
    }
    Ok(prepared)
}

/// A target's share of the selected requests.
pub(crate) fn share_of(target: &Target) -> Result<Selection, ReplayError> {
    let rules = Rules { percent: Some(percent(target.percent)), ..Rules::default() };
    Selection::new(&rules, &format!("target:{}", target.name)).map_err(|problems| {
        ReplayError::Target { target: target.name.clone(), reason: problems.join("; ") }
    })
}

/// In the steps that a sample has.
fn percent(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Waits for all pipelines; the first error stops the others, in order.
async fn join(
    mut pipelines: JoinSet<Result<PipelineEnded, ReplayError>>,
    stop: &CancellationToken,
) -> Result<Vec<PipelineEnded>, ReplayError> {
    let mut ended = Vec::new();
    let mut failed = None;
    while let Some(one) = pipelines.join_next().await {
        let result = one
            .unwrap_or_else(|error| Err(ReplayError::Bug(format!("a pipeline failed: {error}"))));
        match result {
            Ok(one) => ended.push(one),
            Err(error) => {
                stop.cancel();
                failed.get_or_insert(error);
            }
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(ended),
    }
}
