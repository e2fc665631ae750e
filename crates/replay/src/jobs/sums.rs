//! What became of a job's requests, whoever sent them: of each partition what its
//! reader noted with its progress, which survives him.

use std::collections::BTreeMap;

use serde::Serialize;
use umbra_log::GroupState;
use umbra_record::pb;

use super::book::Run;
use crate::job::entry::decode_note;

/// Counts of settled requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Requests of the window that were read.
    pub read: u64,
    /// Those that the job's rules select.
    pub selected: u64,
    /// Requests of which at least the sending was tried: answered and failed.
    pub sent: u64,
    /// Whole answers, whatever their status.
    pub answered: u64,
    /// By class.
    pub failed: BTreeMap<String, u64>,
    /// By reason.
    pub skipped: BTreeMap<String, u64>,
    /// Answers by status.
    pub status: BTreeMap<String, u64>,
    /// Records that were set aside.
    pub dead: u64,
}

impl Sums {
    /// Adds others to these.
    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.read, other.read),
            (&mut self.selected, other.selected),
            (&mut self.sent, other.sent),
            (&mut self.answered, other.answered),
            (&mut self.dead, other.dead),
        ] {
            *mine = mine.saturating_add(theirs);
        }
        for (mine, theirs) in [
            (&mut self.failed, &other.failed),
            (&mut self.skipped, &other.skipped),
            (&mut self.status, &other.status),
        ] {
            for (name, count) in theirs {
                let mine = mine.entry(name.clone()).or_default();
                *mine = mine.saturating_add(*count);
            }
        }
    }
}

impl From<&pb::Counts> for Sums {
    fn from(counts: &pb::Counts) -> Self {
        Self {
            read: counts.read,
            selected: counts.selected,
            sent: counts.sent,
            answered: counts.answered,
            failed: counts.failed.clone(),
            skipped: counts.skipped.clone(),
            status: counts.status.clone(),
            dead: counts.dead,
        }
    }
}

/// Of one target: each partition's note, or what was told when it was finished. If
/// no reader noted anything, what those told who stopped in order.
pub(super) fn of(run: &Run, target: &str, group: &GroupState) -> Sums {
    let done = run.done.iter().filter(|((one, _), _)| one == target);
    let mut partitions: BTreeMap<u32, Sums> =
        done.map(|((_, partition), counts)| (*partition, Sums::from(counts))).collect();
    let mut noted = false;
    for (partition, progress) in &group.partitions {
        let note = decode_note(progress.note.clone()).unwrap_or_default();
        let Some(counts) = &note.counts else { continue };
        noted = true;
        let sums = Sums::from(counts);
        let known = partitions.entry(*partition).or_default();
        // Both count from the beginning of the run: the one that says more is newer.
        if sums.read >= known.read {
            *known = sums;
        }
    }
    let mut total = Sums::default();
    partitions.values().for_each(|sums| total.add(sums));
    if !noted {
        let left = run.left.get(target).into_iter().flatten();
        left.for_each(|counts| total.add(&Sums::from(counts)));
    }
    total
}
