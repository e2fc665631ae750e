//! The journal of jobs: what the replicas of a job have agreed on, and how they do.
//! Entries are in one total order and the first of a kind wins, so proposing is
//! appending and following the journal. What the entries mean is decided elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use prost::Message;
use tokio::sync::{Mutex, mpsc, watch};
use umbra_log::{Journal, LogError};
use umbra_record::pb::{self, job_entry::Entry};

use crate::clock::TimeBase;

pub(crate) mod entry;
#[cfg(test)]
mod tests;

/// State of a run that was done to its end.
pub(crate) const DONE: &str = "done";

/// State of a run that was cancelled.
pub(crate) const CANCELLED: &str = "cancelled";

/// A partition that is told as finished takes no share of a rate from so long after
/// on: everybody has heard of it by then.
pub(crate) const HEARD_NS: u64 = 500_000_000;

/// Entries that wait to be written; whoever tells more waits.
const OUTBOX: usize = 256;

/// After having taken in what the journal says, that many times as long is rested; but
/// not so long that a change is not heard of in time.
const REST: u32 = 10;
const LONGEST_REST: Duration = Duration::from_millis(100);

/// Pause after the journal could not be read or written.
const AGAIN: Duration = Duration::from_millis(300);

/// One job's part of the journal.
#[derive(Debug)]
pub(crate) struct JobJournal {
    journal: Journal,
    job: String,
    member: Bytes,
    time: TimeBase,
    /// What has been read so far: entries are never taken back.
    known: Mutex<Known>,
    /// The same, for whoever follows.
    stored: watch::Sender<Arc<Stored>>,
    outbox: mpsc::Sender<Vec<u8>>,
    /// The other end, for whoever keeps the journal.
    waiting: Mutex<mpsc::Receiver<Vec<u8>>>,
    /// Entries that were told and are not written.
    unwritten: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Known {
    /// First offset not read.
    next: u64,
    stored: Arc<Stored>,
}

/// What is stored under a job's name.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Stored {
    pub runs: BTreeMap<u32, Run>,
    /// Runs below were forgotten; their numbers are not used again.
    pub first_run: u32,
}

/// What is stored of one run of a job.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Run {
    pub plan: Option<pb::Plan>,
    /// By target (empty: all of them) and number.
    pub epochs: BTreeMap<(String, u32), pb::ClockEpoch>,
    /// The last of them by target.
    pub clocks: BTreeMap<String, Told<pb::ClockEpoch>>,
    /// Finished partitions by target.
    pub done: BTreeSet<(String, u32)>,
    /// What became of their requests.
    pub counts: BTreeMap<(String, u32), pb::Counts>,
    /// Sends by target, as far as was told.
    pub sent: BTreeMap<String, u64>,
    /// From when to when processes were sending that stopped before its end, by
    /// target.
    pub spans: BTreeMap<String, Vec<(u64, u64)>>,
    /// Which partitions take a share of a target's rate, change by change.
    pub shares: BTreeMap<String, Vec<ShareChange>>,
    /// Who has started, by target, and where that stands.
    pub members: BTreeMap<(String, Bytes), Membership>,
    /// The last sign of somebody who follows the clock, by target.
    pub signs: BTreeMap<String, Told<()>>,
    /// How far a rate has come, as far as was told.
    pub positions: BTreeMap<String, u64>,
    pub paused: bool,
    /// Instead of the pace of the plan.
    pub pace: Option<pb::Pace>,
    /// How often it was steered.
    pub steered: u32,
    pub end: Option<String>,
}

/// An entry, with where it stands and who wrote it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told<T> {
    pub offset: u64,
    pub member: Bytes,
    pub what: T,
}

/// From some time on a partition takes a share, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShareChange {
    pub partition: u32,
    pub from_ns: u64,
    pub takes: bool,
}

/// A member of a run, at one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Membership {
    /// Offset of its first sign.
    pub joined: u64,
    pub left: bool,
}

impl Stored {
    /// Takes one entry of the journal, in its order.
    pub(crate) fn fold(&mut self, job: &str, offset: u64, entry: &[u8]) {
        // An entry that does not decode is of another version or kind; what it says
        // cannot matter to this one.
        if let Some(entry) = entry::decode(entry)
            && entry.job == job
        {
            self.take(offset, entry);
        }
    }

    fn take(&mut self, offset: u64, entry: pb::JobEntry) {
        let (at_ns, member) = (entry.at_ns, entry.member);
        let Some(entry) = entry.entry else { return };
        let number = match &entry {
            Entry::Plan(plan) => plan.run,
            Entry::Clock(clock) => clock.run,
            Entry::Done(done) => done.run,
            Entry::End(end) => end.run,
            Entry::Left(left) => left.run,
            Entry::Steer(steer) => steer.run,
            Entry::Share(share) => share.run,
            Entry::Sign(sign) => sign.run,
            Entry::Deleted(_) => {
                let next = self.runs.last_key_value().map_or(0, |(number, _)| number + 1);
                self.first_run = self.first_run.max(next);
                self.runs.clear();
                return;
            }
        };
        // Somebody did not know yet that it was forgotten.
        if number >= self.first_run {
            self.runs.entry(number).or_default().take(offset, at_ns, member, entry);
        }
    }

    /// The latest run that has a plan.
    pub(crate) fn latest(&self) -> Option<(u32, &Run, &pb::Plan)> {
        self.runs.iter().rev().find_map(|(n, run)| Some((*n, run, run.plan.as_ref()?)))
    }
}

impl Run {
    fn take(&mut self, offset: u64, at_ns: u64, member: Bytes, entry: Entry) {
        match entry {
            Entry::Plan(plan) => {
                self.plan.get_or_insert(plan);
            }
            Entry::Clock(clock) => self.take_clock(offset, member, clock),
            Entry::Done(done) => {
                if self.done.insert((done.target.clone(), done.partition)) {
                    self.count(done.target.clone(), done.counts.as_ref());
                    let (partition, from_ns) = (done.partition, at_ns.saturating_add(HEARD_NS));
                    let change = ShareChange { partition, from_ns, takes: false };
                    self.shares.entry(done.target.clone()).or_default().push(change);
                    let counts = done.counts.unwrap_or_default();
                    self.counts.insert((done.target, done.partition), counts);
                }
            }
            Entry::Left(left) => {
                // Told twice, if it was not known whether it was written.
                if let Some(one) = self.members.get_mut(&(left.target.clone(), member))
                    && std::mem::replace(&mut one.left, true)
                {
                    return;
                }
                if left.to_ns > 0 {
                    let span = (left.from_ns, left.to_ns);
                    self.spans.entry(left.target.clone()).or_default().push(span);
                }
                self.came_to(&left.target, left.rate_position);
                self.count(left.target, left.counts.as_ref());
            }
            Entry::End(end) => {
                self.end.get_or_insert(end.state);
            }
            Entry::Steer(steer) => self.take_steer(steer),
            Entry::Share(share) => {
                let pb::PartitionShare { partition, from_ns, takes, .. } = share;
                let change = ShareChange { partition, from_ns, takes };
                self.shares.entry(share.target).or_default().push(change);
            }
            Entry::Sign(sign) => {
                let key = (sign.target.clone(), member.clone());
                self.members.entry(key).or_insert(Membership { joined: offset, left: false });
                if !sign.joined {
                    self.came_to(&sign.target, sign.rate_position);
                    self.signs.insert(sign.target, Told { offset, member, what: () });
                }
            }
            Entry::Deleted(_) => {}
        }
    }

    fn take_clock(&mut self, offset: u64, member: Bytes, clock: pb::ClockEpoch) {
        let key = (clock.target.clone(), clock.epoch);
        if self.epochs.contains_key(&key) {
            return;
        }
        self.epochs.insert(key, clock.clone());
        self.clocks.insert(clock.target.clone(), Told { offset, member, what: clock });
    }

    fn take_steer(&mut self, steer: pb::JobSteer) {
        match steer.action {
            Some(pb::job_steer::Action::Paused(paused)) => self.paused = paused,
            Some(pb::job_steer::Action::Pace(pace)) => self.pace = Some(pace),
            None => return,
        }
        self.steered += 1;
    }

    /// Whether anything was done of it, as far as was told.
    pub(crate) fn has_begun(&self) -> bool {
        !(self.epochs.is_empty() && self.done.is_empty() && self.spans.is_empty())
    }

    fn count(&mut self, target: String, counts: Option<&pb::Counts>) {
        let sent = self.sent.entry(target).or_default();
        *sent = sent.saturating_add(counts.map_or(0, |counts| counts.sent));
    }

    fn came_to(&mut self, target: &str, position: u64) {
        let best = self.positions.entry(target.to_owned()).or_default();
        *best = (*best).max(position);
    }

    /// How many sends of its rate the target has behind it, as far as was told.
    pub(crate) fn position(&self, target: &str) -> u64 {
        let clock = self.clock(target).map_or(0, |clock| clock.what.rate_position);
        self.positions.get(target).map_or(clock, |told| clock.max(*told))
    }

    /// The clock of a target: its own or the common one, whichever is newer.
    pub(crate) fn clock(&self, target: &str) -> Option<&Told<pb::ClockEpoch>> {
        let clocks = ["", target].into_iter().filter_map(|name| self.clocks.get(name));
        clocks.max_by_key(|clock| clock.offset)
    }

    /// How many have started for a target and not left, as far as was told.
    pub(crate) fn members_at(&self, target: &str) -> usize {
        self.members.iter().filter(|((at, _), one)| at == target && !one.left).count()
    }

    /// Number of the next clock epoch of a target.
    pub(crate) fn next_epoch(&self, target: &str) -> u32 {
        self.clocks.get(target).map_or(0, |clock| clock.what.epoch + 1)
    }
}

impl JobJournal {
    pub(crate) fn new(journal: Journal, job: &str, time: TimeBase) -> Self {
        let member = umbra_record::id::IdGenerator::new().next(time.now()).to_vec().into();
        let (outbox, waiting) = mpsc::channel(OUTBOX);
        Self {
            journal,
            job: job.to_owned(),
            member,
            time,
            known: Mutex::default(),
            stored: watch::Sender::default(),
            outbox,
            waiting: Mutex::new(waiting),
            unwritten: watch::Sender::new(0),
        }
    }

    /// This process, in what it writes.
    pub(crate) fn member(&self) -> &Bytes {
        &self.member
    }

    /// The axis of the times it writes.
    pub(crate) fn time(&self) -> TimeBase {
        self.time
    }

    /// Everything stored about the job so far.
    pub(crate) async fn read(&self) -> Result<Arc<Stored>, LogError> {
        let mut known = self.known.lock().await;
        let more = self.journal.read_from(known.next).await?;
        Ok(self.learn(&mut known, more))
    }

    /// What is known of the job, and becomes known as long as somebody keeps the
    /// journal.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Stored>> {
        self.stored.subscribe()
    }

    /// Follows the journal and writes what it is told, until dropped. A journal that
    /// cannot be reached for a while is an annoyance, not an end: everybody goes on
    /// with what is known. Returns what cannot pass.
    pub(crate) async fn keep(&self) -> LogError {
        tokio::select! {
            error = self.keep_reading() => error,
            error = self.keep_writing() => error,
        }
    }

    async fn keep_reading(&self) -> LogError {
        loop {
            let next = self.known.lock().await.next;
            match self.journal.follow_from(next).await {
                Ok(more) => {
                    let begun = Instant::now();
                    {
                        let mut known = self.known.lock().await;
                        self.learn(&mut known, more);
                    }
                    // All that is known is copied each time, and looked through: of a job
                    // with thousands of partitions that is a lot. What comes meanwhile is
                    // taken together.
                    tokio::time::sleep((begun.elapsed() * REST).min(LONGEST_REST)).await;
                }
                Err(error) if error.retryable() => {
                    tracing::warn!(job = self.job, %error, "the journal of jobs; reading again");
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return error,
            }
        }
    }

    async fn keep_writing(&self) -> LogError {
        let mut waiting = self.waiting.lock().await;
        let mut entry = None;
        loop {
            let next = match entry.take() {
                Some(again) => again,
                // This end keeps the other open.
                None => match waiting.recv().await {
                    Some(next) => next,
                    None => std::future::pending().await,
                },
            };
            match self.journal.append(&next).await {
                Ok(_) => self.unwritten.send_modify(|left| *left -= 1),
                Err(error) if error.retryable() => {
                    tracing::warn!(job = self.job, %error, "the journal of jobs; writing again");
                    tokio::time::sleep(AGAIN).await;
                    entry = Some(next);
                }
                Err(error) => return error,
            }
        }
    }

    /// Has an entry written soon, in the order of being told.
    pub(crate) async fn tell(&self, entry: Entry) {
        self.unwritten.send_modify(|left| *left += 1);
        // The receiver lives as long as this.
        let _ = self.outbox.send(self.encode(entry)).await;
    }

    /// Waits until everything that was told is written, which somebody has to keep
    /// the journal for.
    pub(crate) async fn written(&self) {
        // The sender lives as long as this.
        let _ = self.unwritten.subscribe().wait_for(|left| *left == 0).await;
    }

    /// Appends an entry and tells what is stored then, whoever won.
    pub(crate) async fn propose(&self, entry: Entry) -> Result<Arc<Stored>, LogError> {
        let own = self.journal.append(&self.encode(entry)).await?;
        let mut known = self.known.lock().await;
        let more = self.journal.read_to(known.next, own).await?;
        Ok(self.learn(&mut known, more))
    }

    pub(crate) async fn append(&self, entry: Entry) -> Result<(), LogError> {
        self.journal.append(&self.encode(entry)).await.map(|_| ())
    }

    fn encode(&self, entry: Entry) -> Vec<u8> {
        let entry = pb::JobEntry {
            job: self.job.clone(),
            at_ns: self.time.now(),
            member: self.member.clone(),
            entry: Some(entry),
        };
        entry.encode_to_vec()
    }

    fn learn(&self, known: &mut Known, more: Vec<(u64, Bytes)>) -> Arc<Stored> {
        let mut stored = Stored::clone(&known.stored);
        for (offset, entry) in more {
            // Both a reader and a follower may bring it.
            if offset >= known.next {
                stored.fold(&self.job, offset, &entry);
                known.next = offset + 1;
            }
        }
        if stored != *known.stored {
            known.stored = Arc::new(stored);
            self.stored.send_replace(Arc::clone(&known.stored));
        }
        Arc::clone(&known.stored)
    }
}
