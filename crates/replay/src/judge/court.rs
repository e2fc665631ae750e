//! All judges of a job in this process, and what they share: the baseline, and the
//! journal by which the members of the job add up what they have judged.

use std::{collections::BTreeMap, fmt, sync::Arc};

use umbra_log::{Log, LogError};

use super::notes::AGAIN;
use super::{Baseline, Compare, Compared, Judge, Note, Notes, precheck};
use crate::{
    error::ReplayError,
    plan::{Planned, Standing},
};

/// The judges of a job.
pub(crate) struct Court {
    compare: Arc<Compare>,
    judges: BTreeMap<String, Arc<Judge>>,
    notes: Notes,
}

impl fmt::Debug for Court {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Court").field("judges", &self.judges).finish_non_exhaustive()
    }
}

impl Court {
    pub(crate) async fn open(
        compare: Arc<Compare>,
        judges: BTreeMap<String, Arc<Judge>>,
        log: &Log,
        now_ns: u64,
    ) -> Result<Self, LogError> {
        Ok(Self { compare, judges, notes: Notes::open(log, now_ns).await? })
    }

    /// Whoever judges this target.
    pub(crate) fn judge(&self, target: &str) -> Option<Arc<Judge>> {
        self.judges.get(target).map(Arc::clone)
    }

    /// A pass over the window begins: hears what was judged of it before, and looks
    /// whether there is anything to compare with.
    pub(crate) async fn begin(&self, planned: &Planned, log: &Log) -> Result<(), ReplayError> {
        self.judges.values().for_each(|judge| judge.begin_run());
        self.hear(planned).await?;
        if planned.live || planned.standing == Standing::Finished {
            return Ok(());
        }
        let highs = log.spans().await?;
        let high = |partition| {
            let span = highs.iter().find(|span| span.partition == partition);
            span.map_or(0, |span| span.high)
        };
        let spans = planned
            .partitions
            .iter()
            .map(|(partition, (start, end))| {
                let high = high(*partition);
                (*partition, (*start, end.map_or(high, |end| end.min(high))))
            })
            .collect();
        let recorded = self.compare.baseline == Baseline::Recorded;
        let found = precheck::look(log, &spans, &planned.window(), recorded).await?;
        for judge in self.judges.values() {
            found.rules.iter().for_each(|rules| judge.learn_redaction(rules));
        }
        if recorded { precheck::check(&found) } else { Ok(()) }
    }

    /// Takes in what other members have told.
    pub(crate) async fn hear(&self, planned: &Planned) -> Result<(), LogError> {
        self.notes.hear(planned, &self.judges).await
    }

    /// The same, whenever the journal can be reached again.
    pub(crate) async fn hear_patiently(&self, planned: &Planned) -> Result<(), LogError> {
        loop {
            match self.hear(planned).await {
                Err(error) if error.retryable() => {
                    tracing::warn!(%error, "the journal of verdicts; reading again");
                    tokio::time::sleep(AGAIN).await;
                }
                heard => return heard,
            }
        }
    }

    /// Tells the other members.
    pub(crate) async fn tell(&self, job: &str, note: Note) {
        self.notes.tell(job, note).await;
    }

    /// What the judges say now, of all that they know. Takes a while.
    pub(crate) fn compared(&self) -> Compared {
        let said = self.judges.iter().map(|(name, judge)| (name.clone(), judge.said()));
        Compared {
            baseline: self.compare.baseline.name().to_owned(),
            noise: self.compare.noise.clone(),
            targets: said.collect(),
        }
    }
}
