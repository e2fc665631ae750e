//! The clock of a job: one time axis for due times, and its epochs, which map the
//! capture times of records onto it, as agreed in the job's journal.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::OnceCell;
use umbra_log::LogError;
use umbra_record::pb::{self, job_entry::Entry};

use crate::job::JobJournal;

/// A pipeline that would be this much off the job's clock from its first request on
/// gets a clock of its own: it goes on where it stopped, at the recorded spacing.
const APART: Duration = Duration::from_secs(5);

/// Unix nanoseconds that never jump: the wall clock is read once and monotonic time
/// added to it, so that setting the system's clock neither stops nor bursts a
/// replay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeBase {
    origin: Instant,
    origin_ns: u64,
}

impl TimeBase {
    pub(crate) fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin: Instant::now(), origin_ns: nanos(since) }
    }

    pub(crate) fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    pub(crate) fn at(&self, instant: Instant) -> u64 {
        self.origin_ns.saturating_add(nanos(instant.saturating_duration_since(self.origin)))
    }
}

/// A duration in whole nanoseconds, 584 years at most.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How capture times are mapped: `due = wall0 + (captured - t0) / speed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub t0_ns: u64,
    pub wall0_ns: u64,
}

impl Anchor {
    pub(crate) fn due(&self, captured_ns: u64, speed: f64) -> u64 {
        let recorded = i128::from(captured_ns) - i128::from(self.t0_ns);
        // An f64 holds the nanoseconds of 104 days exactly; beyond, the error is
        // below one part in 10^15.
        let scaled = if speed == 1.0 { recorded } else { (recorded as f64 / speed) as i128 };
        let due = i128::from(self.wall0_ns) + scaled;
        u64::try_from(due.max(0)).unwrap_or(u64::MAX)
    }
}

impl From<&pb::ClockEpoch> for Anchor {
    fn from(epoch: &pb::ClockEpoch) -> Self {
        Self { t0_ns: epoch.t0_ns, wall0_ns: epoch.wall0_ns }
    }
}

/// From proposing an epoch to its first request: enough for other replicas to hear
/// of it, and for all partitions to be read up to it.
const LEAD: Duration = Duration::from_millis(500);

/// The same for a target that was held: it has everything at hand.
const LEAD_AGAIN: Duration = Duration::from_millis(50);

/// A journal that is too slow for the lead is given twice the time, so often.
const MAX_TRIES: u32 = 8;

/// The one clock of a job, shared by the pipelines of this process.
#[derive(Debug)]
pub(crate) struct JobClock {
    journal: Arc<JobJournal>,
    time: TimeBase,
    run: u32,
    first: OnceCell<Anchor>,
}

impl JobClock {
    pub(crate) fn new(journal: Arc<JobJournal>, time: TimeBase, run: u32) -> Self {
        Self { journal, time, run, first: OnceCell::new() }
    }

    /// The job's clock, which begins with the request captured at `t0_ns` unless it
    /// has begun already, and how many sends of its rate the target has had. Each
    /// start of a job begins an epoch, so that one that was stopped goes on without
    /// a burst. `speed`: of recorded timing; a rate has no capture times to be off.
    pub(crate) async fn start(
        &self,
        target: &str,
        t0_ns: u64,
        speed: Option<f64>,
    ) -> Result<(Anchor, u64), LogError> {
        let stored = self.journal.read().await?;
        let position = stored.runs.get(&self.run).map_or(0, |run| run.position(target));
        let first = self.first.get_or_try_init(|| self.propose("", t0_ns, 0, LEAD)).await?;
        let apart = first.t0_ns.abs_diff(t0_ns) as f64 / speed.unwrap_or(f64::INFINITY);
        if apart <= nanos(APART) as f64 {
            return Ok((*first, position));
        }
        Ok((self.propose(target, t0_ns, position, LEAD).await?, position))
    }

    /// Keeps how far the rate of a target has come, for whoever goes on.
    pub(crate) async fn stopped_at(&self, target: &str, position: u64) -> Result<(), LogError> {
        let now = self.time.now();
        self.propose(target, now, position, LEAD_AGAIN).await.map(|_| ())
    }

    /// Moves the clock of one target, which was held: the request captured at
    /// `t0_ns` is the next.
    pub(crate) async fn move_to(
        &self,
        target: &str,
        t0_ns: u64,
        position: u64,
    ) -> Result<Anchor, LogError> {
        self.propose(target, t0_ns, position, LEAD_AGAIN).await
    }

    /// The first proposal of an epoch wins. An epoch that had begun before it was
    /// agreed on would begin with a burst: then the next one is proposed.
    async fn propose(
        &self,
        target: &str,
        t0_ns: u64,
        position: u64,
        mut lead: Duration,
    ) -> Result<Anchor, LogError> {
        let mut tries = 0;
        loop {
            let stored = self.journal.read().await?;
            let epoch = stored.runs.get(&self.run).map_or(0, |run| run.next_epoch(target));
            let wall0_ns = self.time.now().saturating_add(nanos(lead));
            let entry = pb::ClockEpoch {
                target: target.to_owned(),
                run: self.run,
                epoch,
                t0_ns,
                wall0_ns,
                rate_position: position,
            };
            let stored = self.journal.propose(Entry::Clock(entry)).await?;
            let key = (target.to_owned(), epoch);
            let won = stored.runs.get(&self.run).and_then(|run| run.epochs.get(&key));
            let anchor = won.map_or(Anchor { t0_ns, wall0_ns }, Anchor::from);
            tries += 1;
            if self.time.now() <= anchor.wall0_ns || tries == MAX_TRIES {
                return Ok(anchor);
            }
            lead *= 2;
        }
    }
}
