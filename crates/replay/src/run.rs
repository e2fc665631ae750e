//! A whole replay: agrees on the plan, runs a pipeline for each target, as often as
//! the window is to be played, and makes the result.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use umbra_log::{Log, TailOptions};
use umbra_record::{
    pb::{self, job_entry::Entry},
    select::{Rules, Selection},
};

use crate::{
    alarm::Alarm,
    clock::TimeBase,
    config::{Config, Target},
    dead::{DeadLetters, Keeper, dead_letters},
    error::ReplayError,
    job::{DONE, JobJournal},
    judge::{Baseline, Bench, Companion, Court, Exchanges, Judge, Note},
    outcomes::OutcomeFile,
    pacer::Pacer,
    pipeline::{Carry, End, Ended as PipelineEnded, Pipeline, Room},
    plan::{Agreed, Planned, Standing, agree},
    report::{AgentMissing, Ended, Gaps, Report, TargetReport, Times, rfc3339},
    seals::Seals,
    send::Sender,
    stats::Stats,
    tally::Tally,
};

/// A run that a limit ended before the last pass over its window.
const LIMITED: &str = "limited";

/// Between looks for new partitions at the end of a window.
const LOOK: Duration = Duration::from_secs(5);

/// Longest wait until the journal has taken what is told at the end.
const TELL: Duration = Duration::from_secs(30);

/// Longest wait for what other members have compared, at the end.
const HEAR: Duration = Duration::from_secs(30);

/// What the pipelines of a job share during one pass over its window.
pub(crate) struct Job {
    pub config: Config,
    pub planned: Planned,
    pub time: TimeBase,
    pub journal: Arc<JobJournal>,
    pub alarm: Arc<Alarm>,
    pub dead: DeadLetters,
    pub outcomes: Option<Arc<OutcomeFile>>,
    pub court: Option<Arc<Court>>,
    pub seals: Arc<Seals>,
    pub stats: Stats,
    /// How many partitions there are, once the window's end has come; absent where that
    /// does not matter.
    pub partitions: Option<watch::Receiver<Option<u32>>>,
}

/// Runs a job, as agreed on by [`plan`](crate::plan), to its end, or until `stop`: then what is in flight is settled (up to
/// the drain deadline), progress committed, and the job can go on from there.
///
/// A window that is played several times is one run of the job for each time, so
/// that a job stopped in between goes on with the time it was at.
pub async fn run(
    config: Config,
    agreed: Agreed,
    log: &Log,
    stats: Stats,
    stop: CancellationToken,
) -> Result<Report, ReplayError> {
    let Agreed { mut planned, journal } = agreed;
    let mut replay = Replay::new(config, journal, log, stats).await?;
    replay.begin_judging(&planned).await?;
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
        replay.begin_judging(&planned).await?;
    }
    if let Some(court) = &replay.court {
        match tokio::time::timeout(HEAR, court.hear_patiently(&planned)).await {
            Ok(heard) => heard?,
            // All that was asked for is done: what is known is better than nothing.
            Err(_) => tracing::error!(
                job = planned.job,
                "what other members have compared cannot be read: the verdict is without it"
            ),
        }
    }
    Ok(replay.report(&planned, result))
}

impl Job {
    /// Tells the other members of the job what was judged here.
    pub(crate) async fn tell_verdict(&self, note: Note) {
        if let Some(court) = &self.court {
            court.tell(&self.config.job, note).await;
        }
    }

    /// Hears what they have judged.
    pub(crate) async fn hear_verdicts(&self) -> Result<(), ReplayError> {
        match &self.court {
            Some(court) => Ok(court.hear_patiently(&self.planned).await?),
            None => Ok(()),
        }
    }
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
    court: Option<Arc<Court>>,
    seals: Arc<Seals>,
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
        if ends.values().any(|end| *end == End::Cancelled) {
            Ended::Cancelled
        } else if !gave_up.is_empty() {
            Ended::GaveUp { targets: gave_up }
        } else if !live && ends.values().any(|end| *end == End::Stopped) {
            Ended::CutShort
        } else {
            Ended::Done
        }
    }
}

impl<'a> Replay<'a> {
    async fn new(
        config: Config,
        journal: JobJournal,
        log: &'a Log,
        stats: Stats,
    ) -> Result<Self, ReplayError> {
        let time = journal.time();
        let seals = Arc::new(Seals::new(log, config.unsealing.clone()).await?);
        let targets = prepare(&config, &seals)?;
        let outcomes = match &config.outcomes {
            Some(path) => {
                let file = OutcomeFile::open(path)
                    .map_err(|error| ReplayError::Io(format!("{}: {error}", path.display())))?;
                Some(Arc::new(file))
            }
            None => None,
        };
        let court = court(&config, &targets, &stats, log, time.now()).await?;
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
            court,
            seals,
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
        let written = !planned.live && planned.to_ns.is_some() && !planned.ends_are_known();
        let looked = written.then(|| watch::Sender::new(None));
        let job = Arc::new(Job {
            config: self.config.clone(),
            planned: planned.clone(),
            time: self.time,
            journal: Arc::clone(&self.journal),
            alarm: Arc::clone(&self.alarm),
            dead: self.dead.clone(),
            outcomes: self.outcomes.clone(),
            court: self.court.clone(),
            seals: Arc::clone(&self.seals),
            stats: self.stats.clone(),
            partitions: looked.as_ref().map(watch::Sender::subscribe),
        });
        let stop = stop.child_token();
        let journal = Arc::clone(&self.journal);
        let kept = journal.keep();
        tokio::pin!(kept);
        let partitions = planned.partitions.len();
        let room = Room::new(self.log, &self.config, partitions);
        let mut pipelines = JoinSet::new();
        for (index, prepared) in self.shadows().enumerate() {
            let name = &prepared.target.name;
            let options = TailOptions {
                group: Some(planned.group(self.log.name(), name)),
                instance: self.config.instance.clone(),
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
                self.bench(name),
                self.carry(name),
            );
            pipelines.spawn(Box::pin(pipeline.run(stop.clone())));
        }
        // The keeper lives as long as `self.dead`: only the pipelines end.
        let ended = tokio::select! {
            ended = join(pipelines, &stop) => ended?,
            () = self.keeper.serve(self.log) => Vec::new(),
            error = &mut kept => return Err(error.into()),
            () = look(self.log, self.time, planned, looked.as_ref()) => Vec::new(),
        };
        // What the pipelines had to tell at their end.
        tokio::select! {
            told = tokio::time::timeout(TELL, journal.written()) => {
                told.map_err(|_| ReplayError::Unreachable("the journal of jobs does not take what is told in time".to_owned()))?;
            }
            error = &mut kept => return Err(error.into()),
        }
        let outcome = self.take(ended);
        self.end_run(planned, &outcome).await?;
        Ok(outcome)
    }

    async fn begin_judging(&self, planned: &Planned) -> Result<(), ReplayError> {
        match &self.court {
            Some(court) => court.begin(planned, self.log).await,
            None => Ok(()),
        }
    }

    /// Targets with a pipeline of their own.
    fn shadows(&self) -> impl Iterator<Item = &Prepared> {
        self.targets.iter().filter(|prepared| self.is_shadow(prepared))
    }

    fn is_shadow(&self, prepared: &Prepared) -> bool {
        let compare = self.config.compare.as_ref();
        compare.is_none_or(|compare| !compare.is_companion(&prepared.target.name))
    }

    /// What the pipeline of this target compares with, and by whom it is judged.
    fn bench(&self, target: &str) -> Option<Bench> {
        let compare = self.config.compare.as_ref()?;
        let companion = |name: &str| {
            let prepared = self.targets.iter().find(|prepared| prepared.target.name == name)?;
            Some(Companion {
                target: prepared.target.clone(),
                sender: Arc::clone(&prepared.sender),
                stats: self.stats.target(name, false),
            })
        };
        let baseline = match &compare.baseline {
            Baseline::Recorded => None,
            Baseline::Target(name) => companion(name),
        };
        Some(Bench {
            judge: self.court.as_ref()?.judge(target)?,
            baseline,
            noise: compare.noise.as_deref().and_then(companion),
        })
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
        for prepared in self.shadows() {
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
        for prepared in self.targets.iter().filter(|one| !self.is_shadow(one)) {
            let name = &prepared.target.name;
            let mut all = Exchanges::new();
            let mine = self.carries.values().filter_map(|carry| carry.beside.get(name));
            mine.for_each(|one| all.add(one));
            let url = prepared.target.url.to_string();
            let report = TargetReport::new(url, &all.tally, &Times::new(), &all.latency);
            targets.insert(name.clone(), report);
        }
        Report {
            compare: self.court.as_ref().map(|court| court.compared()),
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

/// Looks how many partitions there are, from the end of a window on that is being
/// written: every request of it is in one of them then.
async fn look(
    log: &Log,
    time: TimeBase,
    planned: &Planned,
    looked: Option<&watch::Sender<Option<u32>>>,
) {
    let (Some(looked), Some(to_ns)) = (looked, planned.to_ns) else {
        return std::future::pending().await;
    };
    let left = to_ns.saturating_sub(time.now());
    tokio::time::sleep(Duration::from_nanos(left)).await;
    loop {
        match log.spans().await {
            Ok(spans) => {
                looked.send_replace(u32::try_from(spans.len()).ok());
            }
            Err(error) => tracing::warn!(%error, "looking for partitions; looking again"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn prepare(config: &Config, seals: &Arc<Seals>) -> Result<Vec<Prepared>, ReplayError> {
    let mut prepared = Vec::with_capacity(config.targets.len());
    for target in &config.targets {
        let refuse = |reason: String| ReplayError::Target { target: target.name.clone(), reason };
        let sender = Sender::new(target, &config.job).map_err(|error| refuse(error.to_string()))?;
        let sender = sender.with_seals(Arc::clone(seals));
        let share = share_of(target)?;
        prepared.push(Prepared { target: target.clone(), share, sender: Arc::new(sender) });
    }
    Ok(prepared)
}

/// A judge for each shadow, if answers are compared.
async fn court(
    config: &Config,
    targets: &[Prepared],
    stats: &Stats,
    log: &Log,
    now_ns: u64,
) -> Result<Option<Arc<Court>>, ReplayError> {
    let Some(compare) = &config.compare else { return Ok(None) };
    let names = targets.iter().map(|prepared| &prepared.target.name);
    let judges: BTreeMap<String, Arc<Judge>> = names
        .filter(|name| !compare.is_companion(name))
        .map(|name| {
            let judge = Judge::new(name, Arc::clone(compare), stats.judge(name));
            (name.clone(), Arc::new(judge))
        })
        .collect();
    let court = Arc::new(Court::open(Arc::clone(compare), judges, log, now_ns).await?);
    stats.set_court(Arc::clone(&court));
    Ok(Some(court))
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
