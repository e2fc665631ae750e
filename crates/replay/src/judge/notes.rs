//! What the members of a job tell each other of their verdicts: each notes what it has
//! judged since it told last in the journal `verdicts` beside the log, and the whole is
//! the sum. Counts that were not told when a process was killed are lost, and only they.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use prost::Message;
use tokio::sync::Mutex;
use umbra_compare::Verdict;
use umbra_log::{Journal, Log, LogError};
use umbra_record::pb;

use super::Judge;
use crate::plan::Planned;

/// Name of the journal.
pub(crate) const JOURNAL: &str = "verdicts";
/// Largest piece: entries of a journal are small.
const PIECE: usize = 512 << 10;
/// Most bytes of states that are being put together: what a writer left behind that died
/// meanwhile goes first.
const MAX_STATE: usize = 256 << 20;
/// Most of them.
const MAX_OPEN: usize = 1000;

/// Pause after the journal could not be read or written.
pub(super) const AGAIN: Duration = Duration::from_millis(300);
/// A note that cannot be written for so long is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The journal, as one job uses it.
pub(crate) struct Notes {
    journal: Journal,
    member: Bytes,
    heard: Mutex<Heard>,
    written: std::sync::Mutex<u32>,
}

/// How far the journal was read.
#[derive(Default)]
struct Heard {
    next: u64,
    /// Notes of which not all pieces have come.
    open: BTreeMap<(Bytes, u32), pb::VerdictNote>,
    /// Notes that were taken in: one may have been written twice, if it was not known
    /// whether it was written.
    whole: BTreeSet<(Bytes, u32)>,
}

/// What is to be told.
pub(crate) struct Note {
    pub run: u32,
    pub target: String,
    pub judged: Vec<pb::JudgedUpTo>,
    pub verdict: Verdict,
}

impl Notes {
    pub(crate) async fn open(log: &Log, now_ns: u64) -> Result<Self, LogError> {
        let member = umbra_record::id::IdGenerator::new().next(now_ns).to_vec();
        Ok(Self {
            journal: log.journal(JOURNAL).await?,
            member: member.into(),
            heard: Mutex::default(),
            written: std::sync::Mutex::default(),
        })
    }

    /// Tells it. A note that cannot be written costs the whole its counts, not the job
    /// its run.
    pub(crate) async fn tell(&self, job: &str, note: Note) {
        let target = note.target.clone();
        if let Err(error) = self.append(self.pieces(job, note)).await {
            tracing::error!(
                target_name = target,
                %error,
                "what was compared could not be noted: it is missing in the verdict of other members of the job"
            );
        }
    }

    fn pieces(&self, job: &str, note: Note) -> Vec<pb::VerdictNote> {
        let state = note.verdict.to_bytes();
        let number = {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            *written += 1;
            *written
        };
        let pieces: Vec<&[u8]> = state.chunks(PIECE).collect();
        let count = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
        let mut judged = Some(note.judged);
        let pieces = (0..count).zip(pieces).map(|(piece, state)| pb::VerdictNote {
            job: job.to_owned(),
            run: note.run,
            target: note.target.clone(),
            member: self.member.clone(),
            number,
            piece,
            pieces: count,
            judged: judged.take().unwrap_or_default(),
            state: Bytes::copy_from_slice(state),
        });
        pieces.collect()
    }

    async fn append(&self, pieces: Vec<pb::VerdictNote>) -> Result<(), LogError> {
        let begun = Instant::now();
        for piece in pieces {
            let piece = piece.encode_to_vec();
            while let Err(error) = self.journal.append(&piece).await {
                if !error.retryable() || begun.elapsed() >= PATIENCE {
                    return Err(error);
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
        Ok(())
    }

    /// Takes in what others have told since this was called last, and what was told of
    /// the same passes before this process began.
    pub(crate) async fn hear(
        &self,
        planned: &Planned,
        judges: &BTreeMap<String, Arc<Judge>>,
    ) -> Result<(), LogError> {
        // The passes over a window are runs one after the other.
        let passes = u32::try_from(planned.pass - 1).unwrap_or(u32::MAX);
        let runs = planned.run.saturating_sub(passes)..=planned.run;
        let mut heard = self.heard.lock().await;
        for (offset, entry) in self.journal.read_from(heard.next).await? {
            heard.next = offset + 1;
            let Ok(piece) = pb::VerdictNote::decode(entry) else { continue };
            if piece.job != planned.job || piece.member == self.member {
                continue;
            }
            if !runs.contains(&piece.run) {
                continue;
            }
            let Some(note) = heard.take(piece) else { continue };
            let Some(judge) = judges.get(&note.target) else { continue };
            match Verdict::from_bytes(&note.state) {
                Ok(verdict) => {
                    let same_run = note.run == planned.run;
                    judge.learn(if same_run { &note.judged } else { &[] }, verdict);
                }
                Err(error) => tracing::warn!(offset, error, "a note of a verdict cannot be read"),
            }
        }
        Ok(())
    }
}

impl Heard {
    /// The whole note, once its last piece is here.
    fn take(&mut self, piece: pb::VerdictNote) -> Option<pb::VerdictNote> {
        let key = (piece.member.clone(), piece.number);
        let (index, pieces) = (piece.piece, piece.pieces);
        if self.whole.contains(&key) {
            return None;
        }
        let whole = match self.open.remove(&key) {
            None if index == 0 => piece,
            Some(begun) if begun.piece == index => {
                self.open.insert(key, begun);
                return None;
            }
            Some(mut begun) if begun.piece + 1 == index => {
                let mut state = Vec::from(std::mem::take(&mut begun.state));
                state.extend_from_slice(&piece.state);
                begun.piece = index;
                begun.state = state.into();
                begun
            }
            // A piece is missing: what its writer has judged is not known.
            _ => return None,
        };
        if index + 1 == pieces {
            self.whole.insert(key);
            return Some(whole);
        }
        self.open.insert(key, whole);
        let bytes = |open: &BTreeMap<_, pb::VerdictNote>| -> usize {
            open.values().map(|note| note.state.len()).sum()
        };
        // Ids of members begin with the time of their start.
        while self.open.len() > MAX_OPEN || bytes(&self.open) > MAX_STATE {
            self.open.pop_first();
        }
        None
    }
}
