//! The journal of jobs: what the replicas of a job have agreed on, and how they do.
//! Entries are in one total order and the first of a kind wins, so proposing is
//! appending and reading back. What the entries mean is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use tokio::sync::Mutex;
use umbra_log::{Journal, LogError};
use umbra_record::pb::{self, job_entry::Entry};

use crate::clock::TimeBase;

#[cfg(test)]
mod tests;

/// State of a run that was done to its end.
pub(crate) const DONE: &str = "done";

/// One job's part of the journal.
#[derive(Debug)]
pub(crate) struct JobJournal {
    journal: Journal,
    job: String,
    member: Vec<u8>,
    time: TimeBase,
    /// What has been read so far: entries are never taken back.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// First offset not read.
    next: u64,
    stored: Stored,
}

/// What is stored under a job's name.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Stored {
    pub runs: BTreeMap<u32, Run>,
}

/// What is stored of one run of a job.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Run {
    pub plan: Option<pb::Plan>,
    /// By target (empty: all of them) and number.
    pub epochs: BTreeMap<(String, u32), pb::ClockEpoch>,
    /// Finished partitions by target.
    pub done: BTreeSet<(String, u32)>,
    /// Sends by target, as far as was told.
    pub sent: BTreeMap<String, u64>,
    /// From when to when processes were sending that stopped before its end, by
    /// target.
    pub spans: BTreeMap<String, Vec<(u64, u64)>>,
    pub end: Option<String>,
}

impl Stored {
    /// Takes one entry of the journal, in its order.
    pub(crate) fn fold(&mut self, job: &str, entry: &[u8]) {
        // An entry that does not decode is of another version or kind; what it says
        // cannot matter to this one.
        if let Ok(entry) = pb::JobEntry::decode(entry)
            && entry.job == job
        {
            self.take(entry);
        }
    }

    fn take(&mut self, entry: pb::JobEntry) {
        match entry.entry {
            Some(Entry::Plan(plan)) => {
                self.runs.entry(plan.run).or_default().plan.get_or_insert(plan);
            }
            Some(Entry::Clock(clock)) => {
                let run = self.runs.entry(clock.run).or_default();
                run.epochs.entry((clock.target.clone(), clock.epoch)).or_insert(clock);
            }
            Some(Entry::Done(done)) => {
                let run = self.runs.entry(done.run).or_default();
                if run.done.insert((done.target.clone(), done.partition)) {
                    run.count(done.target, done.counts.as_ref());
                }
            }
            Some(Entry::Left(left)) => {
                let run = self.runs.entry(left.run).or_default();
                run.spans.entry(left.target.clone()).or_default().push((left.from_ns, left.to_ns));
                run.count(left.target, left.counts.as_ref());
            }
            Some(Entry::End(end)) => {
                self.runs.entry(end.run).or_default().end.get_or_insert(end.state);
            }
            Some(Entry::Steer(_) | Entry::Deleted(_)) | None => {}
        }
    }

    /// The latest run that has a plan.
    pub(crate) fn latest(&self) -> Option<(u32, &Run, &pb::Plan)> {
        self.runs.iter().rev().find_map(|(n, run)| Some((*n, run, run.plan.as_ref()?)))
    }
}

impl Run {
    /// Whether anything was done of it, as far as was told.
    pub(crate) fn has_begun(&self) -> bool {
        !(self.epochs.is_empty() && self.done.is_empty() && self.spans.is_empty())
    }

    fn count(&mut self, target: String, counts: Option<&pb::Counts>) {
        *self.sent.entry(target).or_default() += counts.map_or(0, |counts| counts.sent);
    }

    /// How many sends of its rate the target has behind it, as far as was told.
    pub(crate) fn position(&self, target: &str) -> u64 {
        let of_target = self.epochs.iter().filter(|((name, _), _)| name == target);
        of_target.map(|(_, epoch)| epoch.rate_position).max().unwrap_or(0)
    }

    /// Number of the next clock epoch of a target.
    pub(crate) fn next_epoch(&self, target: &str) -> u32 {
        let of_target = (target.to_owned(), 0)..=(target.to_owned(), u32::MAX);
        self.epochs.range(of_target).next_back().map_or(0, |((_, epoch), _)| epoch + 1)
    }
}

impl JobJournal {
    pub(crate) fn new(journal: Journal, job: &str, time: TimeBase) -> Self {
        let member = umbra_record::id::IdGenerator::new().next(time.now()).to_vec();
        Self { journal, job: job.to_owned(), member, time, known: Mutex::default() }
    }

    /// Everything stored about the job so far.
    pub(crate) async fn read(&self) -> Result<Stored, LogError> {
        let mut known = self.known.lock().await;
        for (offset, entry) in self.journal.read_from(known.next).await? {
            known.stored.fold(&self.job, &entry);
            known.next = offset + 1;
        }
        Ok(known.stored.clone())
    }

    /// Appends an entry and tells what is stored then, whoever won.
    pub(crate) async fn propose(&self, entry: Entry) -> Result<Stored, LogError> {
        self.append(entry).await?;
        self.read().await
    }

    pub(crate) async fn append(&self, entry: Entry) -> Result<(), LogError> {
        let entry = pb::JobEntry {
            job: self.job.clone(),
            at_ns: self.time.now(),
            member: self.member.clone().into(),
            entry: Some(entry),
        };
        self.journal.append(&entry.encode_to_vec()).await.map(|_| ())
    }
}
