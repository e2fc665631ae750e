//! Steering a job: an operator's entry in its journal, after it was checked that it
//! makes sense, and a look whether those who run the job follow.

use std::time::Duration;

use prost::Message as _;
use tokio::time::Instant;
use umbra_log::{Log, LogError};
use umbra_record::pb::{self, job_entry::Entry, job_steer::Action};

use super::{Job, Jobs, State, book::CANCELLED, targets};
use crate::{clock::TimeBase, error::ReplayError, plan::group_of};

/// Between two looks whether a replica follows.
const LOOK: Duration = Duration::from_millis(200);

/// What is to change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// Nothing is sent from now on.
    Pause,
    /// It goes on.
    Resume,
    /// When requests are due from now on.
    Pace(Speed),
    /// It ends where it is.
    Cancel,
    /// It is forgotten with all its progress.
    Delete,
}

/// A pace that can be set while a job runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// Times recorded timing.
    Recorded(f64),
    /// Requests a second, of the whole job.
    Rate(f64),
    /// As fast as the targets answer.
    Max,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It is so, and whoever runs the job showed that he follows.
    Followed,
    /// It is stored; nobody runs the job now.
    Stored,
    /// It is stored; whether those who run the job follow was not seen (in time).
    Unseen,
    /// It was so already: nothing was written.
    Already,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum NotSteered {
    /// There is no such job; these there are.
    #[error("there is no job {name}: {}", those(known))]
    Unknown {
        /// What was asked for.
        name: String,
        /// Names of all jobs.
        known: Vec<String>,
    },
    /// It cannot be done with the job as it is; says why, and the remedy.
    #[error("{0}")]
    Senseless(String),
    /// The log or the journal could not be used.
    #[error(transparent)]
    Failed(#[from] ReplayError),
}

fn those(known: &[String]) -> String {
    match known {
        [] => "this log has no jobs".to_owned(),
        known => format!("this log has {}", known.join(", ")),
    }
}

impl From<LogError> for NotSteered {
    fn from(error: LogError) -> Self {
        Self::Failed(error.into())
    }
}

impl Jobs<'_> {
    /// Changes a job, and waits until it is seen that those who run it follow, if
    /// that can be seen, but not beyond `patience`.
    ///
    /// # Errors
    /// See [`NotSteered`].
    pub async fn steer(
        &mut self,
        name: &str,
        change: Change,
        patience: Duration,
    ) -> Result<Done, NotSteered> {
        let until = Instant::now() + patience;
        let job = self.find(name).await?;
        if let Some(done) = sensible(&job, change)? {
            return Ok(done);
        }
        self.write(name, job.run, change).await?;
        match change {
            Change::Delete => self.forget_progress(name).await,
            _ if job.members.is_empty() => Ok(Done::Stored),
            _ => self.watch(&job, change, until).await,
        }
    }

    async fn find(&mut self, name: &str) -> Result<Job, NotSteered> {
        match self.look(Some(name), Duration::ZERO).await?.pop() {
            Some(job) => Ok(job),
            None => {
                let known = self.names().map(str::to_owned).collect();
                Err(NotSteered::Unknown { name: name.to_owned(), known })
            }
        }
    }

    async fn write(&mut self, name: &str, run: u32, change: Change) -> Result<(), NotSteered> {
        let steer = |action| Entry::Steer(pb::JobSteer { run, action: Some(action) });
        let entry = match change {
            Change::Pause => steer(Action::Paused(true)),
            Change::Resume => steer(Action::Paused(false)),
            Change::Pace(speed) => steer(Action::Pace(speed.into())),
            Change::Cancel => Entry::End(pb::JobEnd { run, state: CANCELLED.to_owned() }),
            Change::Delete => Entry::Deleted(pb::JobDeleted {}),
        };
        let time = TimeBase::new();
        let entry = pb::JobEntry {
            job: name.to_owned(),
            at_ns: time.now(),
            member: umbra_record::id::IdGenerator::new().next(time.now()).to_vec().into(),
            entry: Some(entry),
        };
        // The job was read from it.
        let Some(journal) = &self.journal else { return Ok(()) };
        journal.append(&entry.encode_to_vec()).await?;
        Ok(())
    }

    /// Forgets how far every run of a job was. The book still knows them: it was not
    /// read since.
    async fn forget_progress(&mut self, name: &str) -> Result<Done, NotSteered> {
        for run in self.book.runs(name) {
            for target in targets(&run.plan) {
                let group = group_of(name, run.plan.run, self.log.name(), &target);
                match self.log.delete_group(&group).await {
                    Ok(()) => {}
                    // Its number is not given to another run: nothing begins with it.
                    Err(LogError::Held(why)) => {
                        tracing::warn!("{why}: somebody joined it meanwhile; its progress stays");
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        self.read().await?;
        Ok(Done::Followed)
    }

    /// Looks for signs that a change is followed.
    async fn watch(
        &mut self,
        job: &Job,
        change: Change,
        until: Instant,
    ) -> Result<Done, NotSteered> {
        loop {
            self.read().await?;
            let seen = match change {
                // A clock that takes it into account is the sign.
                Change::Resume | Change::Pace(_) => self.is_followed(&job.name),
                Change::Cancel => is_left(self.log, job).await?,
                // That nothing happens any more is no sign of anything.
                Change::Pause | Change::Delete => return Ok(Done::Unseen),
            };
            if seen {
                return Ok(Done::Followed);
            }
            if Instant::now() + LOOK >= until {
                return Ok(Done::Unseen);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn is_followed(&self, name: &str) -> bool {
        let Some(run) = self.book.job(name) else { return false };
        run.end.is_some() || run.followed.values().any(|followed| *followed >= run.steered)
    }
}

/// Whether all groups of a job are without members.
async fn is_left(log: &Log, job: &Job) -> Result<bool, LogError> {
    for target in job.targets.values() {
        if !log.group(&target.group).await?.members.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a change makes sense as the job is now; `Some`: nothing needs to be done.
fn sensible(job: &Job, change: Change) -> Result<Option<Done>, NotSteered> {
    let name = &job.name;
    if change == Change::Delete {
        return match job.members.len() {
            0 => Ok(None),
            count => Err(NotSteered::Senseless(format!(
                "job {name} is being run by {count} {}: cancel it first (umbra jobs LOG cancel \
                 {name}), or stop them",
                if count == 1 { "process" } else { "processes" }
            ))),
        };
    }
    let over = match job.state {
        State::Done => "is done",
        State::Cancelled if change == Change::Cancel => return Ok(Some(Done::Already)),
        State::Cancelled => "was cancelled",
        State::Running | State::Paused | State::Abandoned => {
            let already = (change == Change::Pause && job.paused)
                || (change == Change::Resume && !job.paused);
            return Ok(already.then_some(Done::Already));
        }
    };
    Err(NotSteered::Senseless(format!(
        "job {name} {over}: there is nothing left to steer (umbra replay --job {name} --again runs \
         it once more)"
    )))
}

impl From<Speed> for pb::Pace {
    fn from(speed: Speed) -> Self {
        let pace = match speed {
            Speed::Recorded(speed) => pb::pace::Pace::Speed(speed),
            Speed::Rate(rate) => pb::pace::Pace::Rate(rate),
            Speed::Max => pb::pace::Pace::Max(true),
        };
        Self { pace: Some(pace) }
    }
}

/// As users write it.
pub(super) fn in_words(pace: &pb::Pace) -> String {
    match pace.pace {
        Some(pb::pace::Pace::Speed(speed)) => format!("{speed}x"),
        Some(pb::pace::Pace::Rate(rate)) => format!("{rate}/s"),
        Some(pb::pace::Pace::Max(_)) | None => "max".to_owned(),
    }
}
