//! A pipeline on the job's clock: it follows the journal, agrees with the other
//! members on where the clock stands, and heeds whoever steers the job.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use umbra_record::pb::{self, job_entry::Entry};

use super::{End, Pipeline};
use crate::{
    clock::{Anchor, nanos},
    config::Pace,
    course::{
        EARLY_NS, LEAD, LEAD_AGAIN, MAX_TRIES, Newcomer, Start, YOUNG_NS, answers_after, pace_of,
        proposes_after, start,
    },
    job::{CANCELLED, Run, Stored, Told},
    pacer::Pacer,
    share::Roster,
};

/// A proposal that is not agreed on after so long is made again.
const LOST: Duration = Duration::from_secs(5);

/// Later than this by the clock, a newcomer's first request makes it ask.
pub(super) const LATE_NS: u64 = 1_000_000_000;

/// How the pipeline stands to the job's clock.
#[derive(Debug)]
pub(super) struct Course {
    journal: watch::Receiver<Arc<Stored>>,
    /// The epoch that the pacer follows, by its place in the journal.
    follows: Option<u64>,
    /// Whoever steers has been heeded so often.
    steered: u32,
    /// How often it was steered when it was seen to need a clock, and since when it does.
    steer_seen: Option<(u32, Instant)>,
    /// The pace that was asked for instead of the plan's.
    pace: Option<pb::Pace>,
    /// When the sign of life was seen in the journal.
    joined: Option<Instant>,
    pub(super) paused: bool,
    /// Since when nothing has been sent, while an epoch is missing to go on.
    stopped_ns: Option<u64>,
    proposed: Option<Proposed>,
    /// Until then an earlier request may move the epoch.
    young_until: u64,
    /// When to give the sign of life somebody waits for, unless somebody else does.
    answer: Option<Instant>,
    /// The roster goes on from what the journal told before.
    reckons: bool,
    /// Who takes a share of a rate.
    pub(super) roster: Arc<Roster>,
}

/// An epoch that was proposed by this member and not agreed on yet.
#[derive(Debug, Clone, Copy)]
struct Proposed {
    /// Absent: it is to be proposed.
    at: Option<Instant>,
    lead: Duration,
    tries: u32,
}

/// Why another epoch is proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    First,
    /// From the first request that is there.
    GoOn,
    /// The target was down.
    Back,
    /// From where the clock stands, or was stopped.
    Steered,
    /// A request comes before the first of the epoch.
    Earlier,
}

impl Course {
    pub(super) fn new(journal: watch::Receiver<Arc<Stored>>) -> Self {
        Self {
            journal,
            follows: None,
            steered: 0,
            steer_seen: None,
            pace: None,
            joined: None,
            paused: false,
            stopped_ns: None,
            proposed: None,
            young_until: 0,
            answer: None,
            reckons: false,
            roster: Arc::default(),
        }
    }

    /// Resolves when the journal says more. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        if self.journal.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether requests that are due stay where they are.
    pub(super) fn is_stopped(&self) -> bool {
        self.paused || self.stopped_ns.is_some()
    }
}

impl Pipeline {
    /// Gives a sign of life, which asks whoever is there for one.
    pub(super) async fn join(&mut self) {
        self.sign(true).await;
        self.heed().await;
    }

    async fn sign(&self, joined: bool) {
        let sign = pb::MemberSign {
            target: self.target.name.clone(),
            run: self.job.planned.run,
            joined,
            rate_position: if joined { 0 } else { self.carry.pacer.position() },
        };
        self.job.journal.tell(Entry::Sign(sign)).await;
    }

    /// Takes in what the journal says by now.
    pub(super) async fn heed(&mut self) {
        let stored = Arc::clone(&self.course.journal.borrow_and_update());
        let number = self.job.planned.run;
        let Some(run) = stored.runs.get(&number) else {
            if number < stored.first_run {
                tracing::warn!(job = self.job.config.job, "the job was deleted");
                self.cancel();
            }
            return;
        };
        if run.end.as_deref() == Some(CANCELLED) {
            tracing::warn!(job = self.job.config.job, "the job was cancelled");
            self.cancel();
        }
        let me = (self.target.name.clone(), self.job.journal.member().clone());
        if self.course.joined.is_none() && run.members.contains_key(&me) {
            self.course.joined = Some(Instant::now());
        }
        self.hear_of_partitions(run).await;
        self.heed_steering(run);
        self.heed_shares(run);
        self.heed_clock(run);
        self.note_newcomers(run);
    }

    fn cancel(&mut self) {
        let patience = self.target.timeout + self.target.connect_timeout;
        self.drain(End::Cancelled, patience.min(self.job.config.drain));
    }

    // --- steering ---

    fn heed_steering(&mut self, run: &Run) {
        if run.paused != self.course.paused {
            tracing::info!(target_name = self.target.name, paused = run.paused, "steered");
            self.course.paused = run.paused;
            if run.paused {
                let now = self.now();
                self.course.stopped_ns.get_or_insert(now);
            }
        }
        if self.course.paused {
            return;
        }
        let wanted = pace_of(run.pace.as_ref()).unwrap_or_else(|| self.job.config.pace.clone());
        let wanted = Pacer::new(&wanted);
        if !wanted.is_clocked() {
            self.course.steered = run.steered;
            if run.pace != self.course.pace {
                self.course.pace = run.pace;
                self.course.follows = None;
                self.carry.pacer = wanted;
            }
            if self.course.stopped_ns.take().is_some() {
                self.go_on_from_first();
            }
        } else if !self.carry.pacer.is_clocked() {
            self.course.pace = run.pace;
            self.course.follows = None;
            self.carry.pacer = wanted;
        }
        if self.course.follows.is_none() {
            // There is no clock yet that would have to be moved.
            self.course.stopped_ns = None;
        }
    }

    /// Live traffic has no clock to agree on: what piled up leaves at the recorded
    /// spacing.
    pub(super) fn go_on_from_first(&mut self) {
        if let (Pacer::Arrival { .. }, Some(((t0_ns, ..), _))) =
            (&self.carry.pacer, self.merge.first())
        {
            let wall0_ns = self.now();
            self.carry.pacer.anchor(Anchor { t0_ns, wall0_ns });
        }
    }

    // --- the clock ---

    /// Follows the clock where the others go.
    fn heed_clock(&mut self, run: &Run) {
        let Some(clock) = run.clock(&self.target.name) else { return };
        if self.course.follows.is_some_and(|offset| offset < clock.offset) {
            self.adopt(clock);
        }
    }

    fn adopt(&mut self, clock: &Told<pb::ClockEpoch>) {
        let now = self.now();
        let epoch = &clock.what;
        tracing::debug!(target_name = self.target.name, ?epoch, "follows the clock");
        if epoch.pace != self.course.pace || !self.carry.pacer.is_clocked() {
            let pace = pace_of(epoch.pace.as_ref());
            self.carry.pacer = Pacer::new(&pace.unwrap_or_else(|| self.job.config.pace.clone()));
            self.course.pace = epoch.pace;
        }
        self.carry.pacer.follow(Anchor::from(epoch), epoch.rate_position, now);
        self.share_out();
        self.course.follows = Some(clock.offset);
        self.course.steered = epoch.steered;
        self.course.young_until = epoch.wall0_ns.saturating_add(YOUNG_NS);
        if !self.course.paused {
            self.course.stopped_ns = None;
        }
        self.hurry_probe();
        let proposed = self.course.proposed.take();
        // An epoch that had begun before it was agreed on would begin with a burst.
        if let Some(Proposed { lead, tries, .. }) = proposed
            && clock.member == *self.job.journal.member()
            && now > epoch.wall0_ns
            && tries < MAX_TRIES
        {
            self.course.proposed = Some(Proposed { at: None, lead: lead * 2, tries });
            self.course.stopped_ns.get_or_insert(now);
        }
    }

    fn heed_shares(&mut self, run: &Run) {
        let (now, target) = (self.now(), &self.target.name);
        let roster = &self.course.roster;
        if !self.course.reckons {
            self.course.roster = Arc::new(Roster::new(run, target, now));
            self.course.reckons = run.plan.is_some();
        } else if !roster.knows_all(run, target) {
            self.course.roster = Arc::new(roster.went_on(run, target, now));
        }
        self.share_out();
    }

    /// Who takes a share of the rate, and which of them are ours.
    pub(super) fn share_out(&mut self) {
        if matches!(self.carry.pacer, Pacer::Rate(_)) {
            let held = self.held_partitions();
            // While nothing is sent the rate stands where it was.
            let now = if self.is_held() { 0 } else { self.now() };
            self.carry.pacer.share(Arc::clone(&self.course.roster), held, now);
        }
    }

    /// Whether nobody else can be sending what is left.
    pub(super) fn holds_all(&self) -> bool {
        self.partitions.values().all(|partition| partition.finished || partition.is_held())
    }

    pub(super) fn held_partitions(&self) -> BTreeSet<u32> {
        let held = self.partitions.iter().filter(|(_, partition)| partition.is_held());
        held.map(|(number, _)| *number).collect()
    }

    /// Finds the clock, or another place on it, if that is needed. `false`: nothing may
    /// be sent yet.
    pub(super) async fn keep_course(&mut self) -> bool {
        if !self.carry.pacer.is_clocked() {
            return !self.course.is_stopped();
        }
        if self.course.paused {
            return false;
        }
        let now = self.now();
        let first = match self.merge.sure_at(now) {
            None => self.merge.first().map(|((t0_ns, ..), _)| t0_ns),
            Some(_) => None,
        };
        let stored = Arc::clone(&self.course.journal.borrow());
        let Some(run) = stored.runs.get(&self.job.planned.run) else { return false };
        if self.course.follows.is_none() {
            let Some(t0_ns) = first else { return false };
            match self.place(run, t0_ns, now) {
                Start::First if self.is_turn(run) => {
                    Box::pin(self.propose(run, Why::First, first)).await;
                }
                Start::GoOn => Box::pin(self.propose(run, Why::GoOn, first)).await,
                Start::Follow => {
                    if let Some(clock) = run.clock(&self.target.name) {
                        self.adopt(clock);
                    }
                }
                Start::First | Start::Wait => {}
            }
            return self.course.follows.is_some() && !self.course.is_stopped();
        }
        if self.course.steered < run.steered {
            // If something is late, as soon as it is sure what comes first.
            if self.is_turn(run) && (first.is_some() || !self.waits_for(EARLY_NS)) {
                Box::pin(self.propose(run, Why::Steered, first)).await;
            }
        } else if self.course.proposed.is_some() {
            Box::pin(self.propose(run, Why::Back, first)).await;
        } else if self.course.young_until > now
            && let (Some(t0_ns), Pacer::Recorded { anchor: Some(anchor), speed }) =
                (first, &self.carry.pacer)
            && anchor.due(t0_ns, *speed).saturating_add(EARLY_NS) < anchor.wall0_ns.min(now)
        {
            self.course.young_until = 0;
            // By the clock there is, what is early goes at once.
            self.course.stopped_ns.get_or_insert(now);
            Box::pin(self.propose(run, Why::Earlier, first)).await;
        }
        !self.course.is_stopped()
    }

    /// Whether nobody else has given a new or steered job its clock in good time.
    fn is_turn(&mut self, run: &Run) -> bool {
        let (seen, since) = self.course.steer_seen.unwrap_or((run.steered, Instant::now()));
        let since = if seen == run.steered { since } else { Instant::now() };
        self.course.steer_seen = Some((run.steered, since));
        let members = run.members_at(&self.target.name);
        since.elapsed() >= proposes_after(self.job.journal.member(), members)
    }

    /// Whether the first request that waits would have left so long ago by the clock, or
    /// before it was stopped.
    pub(super) fn waits_for(&self, late_ns: u64) -> bool {
        let (Pacer::Recorded { anchor: Some(anchor), speed }, Some(((t0_ns, ..), _))) =
            (&self.carry.pacer, self.merge.first())
        else {
            return false;
        };
        let until = self.course.stopped_ns.unwrap_or_else(|| self.now());
        anchor.due(t0_ns, *speed).saturating_add(late_ns) < until
    }

    fn place(&self, run: &Run, t0_ns: u64, now: u64) -> Start {
        let late = match (&self.carry.pacer, run.clock(&self.target.name)) {
            (Pacer::Recorded { speed, .. }, Some(clock)) => {
                let due = Anchor::from(&clock.what).due(t0_ns, *speed);
                due.saturating_add(LATE_NS) < now
            }
            _ => true,
        };
        let newcomer = Newcomer {
            member: self.job.journal.member(),
            holds_all: self.holds_all(),
            waited: self.course.joined.map_or(Duration::ZERO, |at| at.elapsed()),
            late,
        };
        start(run, &self.target.name, newcomer)
    }

    /// The target is back: everybody goes on from the first request that waits.
    pub(super) fn propose_to_go_on(&mut self) {
        let now = self.now();
        self.course.stopped_ns.get_or_insert(now);
        self.course.proposed = Some(Proposed { at: None, lead: LEAD_AGAIN, tries: 0 });
    }

    /// The epoch that the pacer follows.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.course.follows
    }

    async fn propose(&mut self, run: &Run, why: Why, first: Option<u64>) {
        let before = self.course.proposed;
        if before.and_then(|before| before.at).is_some_and(|at| at.elapsed() < LOST) {
            return;
        }
        let lead = before.map_or(if why == Why::Steered { LEAD_AGAIN } else { LEAD }, |b| b.lead);
        let tries = before.map_or(0, |before| before.tries) + 1;
        let now = self.now();
        let wall0_ns = now.saturating_add(nanos(lead));
        let name = &self.target.name;
        let scope = match (why, run.clock(name)) {
            (Why::First, _) => String::new(),
            (Why::Steered | Why::Earlier, Some(clock)) => clock.what.target.clone(),
            _ => name.clone(),
        };
        let told = run.position(name).max(self.carry.pacer.position()).max(self.sent_so_far());
        let (t0_ns, rate_position) = match why {
            Why::First | Why::GoOn => (first, told),
            Why::Back | Why::Earlier => (first, self.carry.pacer.position()),
            Why::Steered => {
                let (captured, position) =
                    self.carry.pacer.stands(self.course.stopped_ns.unwrap_or(wall0_ns));
                // What waits from before, because the target was down, would be a burst.
                let late = self.waits_for(EARLY_NS);
                (if late { first } else { captured.or(first) }, position)
            }
        };
        let wanted = pace_of(run.pace.as_ref());
        let wanted = wanted.as_ref().unwrap_or(&self.job.config.pace);
        if matches!(wanted, Pace::Recorded { .. }) && t0_ns.is_none() {
            return;
        }
        let epoch = pb::ClockEpoch {
            epoch: run.next_epoch(&scope),
            target: scope,
            run: self.job.planned.run,
            t0_ns: t0_ns.unwrap_or(now),
            wall0_ns,
            rate_position,
            steered: run.steered,
            pace: run.pace,
        };
        tracing::debug!(target_name = name, ?why, ?epoch, "proposes a clock");
        self.course.proposed = Some(Proposed { at: Some(Instant::now()), lead, tries });
        self.job.journal.tell(Entry::Clock(epoch)).await;
    }

    // --- signs of life ---

    /// Somebody asks whether anybody follows the clock.
    fn note_newcomers(&mut self, run: &Run) {
        let name = &self.target.name;
        let me = self.job.journal.member();
        let answered = run.signs.get(name).map(|sign| sign.offset);
        let asked = run.members.iter().any(|((target, member), one)| {
            target == name && member != me && !one.left && Some(one.joined) > answered
        });
        if !asked {
            self.course.answer = None;
        }
        // One answer is for all who have asked before it.
        if !asked || self.course.follows.is_none() || self.course.answer.is_some() {
            return;
        }
        let first = self.partitions.iter().find(|(_, partition)| !partition.finished);
        let holds_first = first.is_some_and(|(_, partition)| partition.is_held());
        let delay = answers_after(holds_first, me, run.members_at(name));
        self.course.answer = Some(Instant::now() + delay);
    }

    /// Gives the sign of life that somebody waits for.
    pub(super) async fn answer_newcomers(&mut self) {
        if self.course.answer.is_some_and(|at| Instant::now() >= at) {
            self.sign(false).await;
            self.course.answer = None;
        }
    }
}
