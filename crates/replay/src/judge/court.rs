//! All judges of a job in this process, and what they share: the baseline, and the
//! journal by which the members of the job add up what they have judged.

use std::{collections::BTreeMap, fmt, sync::Arc};

use umbra_log::{Log, LogError};

use super::{Compare, Compared, Judge, Note, Notes};
use crate::plan::Planned;

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

    /// A pass over the window begins: hears what was judged of it before.
    pub(crate) async fn begin(&self, planned: &Planned) -> Result<(), LogError> {
        self.judges.values().for_each(|judge| judge.begin_run());
        self.hear(planned).await
    }

    /// Takes in what other members have told.
    pub(crate) async fn hear(&self, planned: &Planned) -> Result<(), LogError> {
        self.notes.hear(planned, &self.judges).await
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
