//! How far a reader has come in one partition: pure bookkeeping, no I/O.
//!
//! Deliveries are settled in any order; what may be committed is the contiguous
//! prefix. Two things travel with it so that a successor neither repeats nor
//! conceals anything: the **runs** settled beyond the prefix, which it skips, and
//! **reserved**, the offset up to which delivering was allowed before it died.
//! Whatever lies below `reserved` and is not settled may have been handled, so it
//! is delivered as attempt 2. `reserved` must therefore be durable *before* a
//! delivery beyond the old one is made: it is moved ahead in blocks, renewed when
//! half of one is used, so that delivering rarely waits for a commit.
//!
//! A third thing is the user's own: a **note**, opaque bytes that he wants to find
//! again where the partition goes on.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Offsets reserved ahead at a time: at most so many records are marked as
/// attempt 2 by mistake after a crash.
pub const BLOCK: u64 = 4096;

/// Largest encoded metadata (the limit of Kafka's offset commits).
pub const METADATA_LIMIT: usize = 4096;

/// Longest note: half of the metadata once it is text, so that there is always
/// room for some hundred runs.
pub const MAX_NOTE: usize = 1536;

/// What is committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Every offset below is settled.
    pub committed: u64,
    /// Deliveries below this may have been made.
    pub reserved: u64,
    /// Settled runs beyond `committed`, ascending, apart from each other, end
    /// excluded.
    pub runs: Vec<(u64, u64)>,
    /// What the user noted, at most [`MAX_NOTE`] bytes.
    pub note: Bytes,
}

/// The state of one partition of one reader.
#[derive(Debug, Clone)]
pub struct Progress {
    committed: u64,
    /// Settled runs beyond `committed`: start to end (excluded).
    runs: BTreeMap<u64, u64>,
    /// Next offset that was not delivered yet.
    next: u64,
    /// Delivering is allowed below this: durable.
    reserved: u64,
    /// The same, of the checkpoint last handed out.
    asked: u64,
    /// Below this a predecessor may have delivered.
    inherited: u64,
    /// See [`Checkpoint::note`].
    note: Bytes,
    /// Something changed since the checkpoint last handed out.
    changed: bool,
}

impl Checkpoint {
    /// A partition nobody has read: begins at `start`.
    #[must_use]
    pub fn fresh(start: u64) -> Self {
        Self { committed: start, reserved: start, runs: Vec::new(), note: Bytes::new() }
    }

    /// The same note at another place: the partition begins anew at `start`.
    #[must_use]
    pub fn anew(&self, start: u64) -> Self {
        Self { note: self.note.clone(), ..Self::fresh(start) }
    }

    /// All but `committed`, as text of at most [`METADATA_LIMIT`] bytes: `r` and
    /// the reserved offsets ahead, `n` and the note in base64 if there is one, then
    /// each run as `gap+length`. Runs that do not
    /// fit are left out, the highest first: a successor delivers them again, as
    /// attempt 2, for they lie below `reserved`.
    #[must_use]
    pub fn metadata(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!("r{}", self.reserved.saturating_sub(self.committed));
        if !self.note.is_empty() {
            text.push_str(" n");
            base64::encode(&self.note, &mut text);
        }
        let mut at = self.committed;
        for &(start, end) in &self.runs {
            let before = text.len();
            // Writing into a String cannot fail.
            let _ = write!(text, " {}+{}", start - at, end - start);
            if text.len() > METADATA_LIMIT {
                text.truncate(before);
                break;
            }
            at = end;
        }
        text
    }

    /// Reads what [`Checkpoint::metadata`] wrote. Empty text is a commit by
    /// another tool: nothing reserved, no runs.
    ///
    /// # Errors
    /// If the text is not ours.
    pub fn parse(committed: u64, metadata: &str) -> Result<Self, String> {
        let mut checkpoint = Self::fresh(committed);
        let wrong = || format!("`{metadata}` is not the progress of an Umbra reader");
        let mut words = metadata.split_ascii_whitespace().peekable();
        let Some(reserved) = words.next() else {
            return Ok(checkpoint);
        };
        checkpoint.reserved = reserved
            .strip_prefix('r')
            .and_then(|ahead| ahead.parse::<u64>().ok())
            .and_then(|ahead| committed.checked_add(ahead))
            .ok_or_else(wrong)?;
        if let Some(note) = words.next_if(|word| word.starts_with('n')) {
            let note = base64::decode(&note[1..]).filter(|note| note.len() <= MAX_NOTE);
            checkpoint.note = note.ok_or_else(wrong)?.into();
        }
        let mut at = committed;
        for word in words {
            let run = word.split_once('+').and_then(|(gap, length)| {
                let start = at.checked_add(gap.parse().ok()?)?;
                let length: u64 = length.parse().ok()?;
                (length > 0).then_some(())?;
                Some((start, start.checked_add(length)?))
            });
            let run = run.ok_or_else(wrong)?;
            at = run.1;
            checkpoint.runs.push(run);
        }
        Ok(checkpoint)
    }
}

impl Progress {
    /// Goes on from what a predecessor committed.
    #[must_use]
    pub fn resume(from: &Checkpoint) -> Self {
        let mut progress = Self {
            committed: from.committed,
            runs: BTreeMap::new(),
            next: from.committed,
            reserved: from.reserved.max(from.committed),
            asked: from.reserved.max(from.committed),
            inherited: from.reserved,
            note: from.note.clone(),
            changed: false,
        };
        for &(start, end) in &from.runs {
            progress.settle_run(start, end);
        }
        progress.changed = false;
        progress
    }

    /// Every offset below is settled.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// The first offset that has not been delivered (nor passed).
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether it needs no delivery: settled, by us or a predecessor.
    #[must_use]
    pub fn is_settled(&self, offset: u64) -> bool {
        offset < self.committed
            || self.runs.range(..=offset).next_back().is_some_and(|(_, &end)| offset < end)
    }

    /// Whether it may be delivered now, or a commit of a new
    /// [`Progress::checkpoint`] must be confirmed first.
    #[must_use]
    pub fn may_deliver(&self, offset: u64) -> bool {
        offset < self.reserved
    }

    /// Tells that `offset` is delivered now and which attempt it is. Offsets that
    /// were jumped over do not exist and count as settled.
    pub fn deliver(&mut self, offset: u64) -> u32 {
        self.pass_to(offset);
        self.next = self.next.max(offset + 1);
        if offset < self.inherited { 2 } else { 1 }
    }

    /// Tells that there is nothing to deliver from the next offset up to `offset`:
    /// those are missing, or were settled before.
    pub fn pass_to(&mut self, offset: u64) {
        if offset > self.next {
            self.settle_run(self.next, offset);
            self.next = offset;
        }
    }

    /// Tells that deliveries from `offset` on were taken back before anybody saw
    /// them.
    pub fn take_back(&mut self, offset: u64) {
        self.next = self.next.min(offset.max(self.committed));
    }

    /// Tells that `offset` is settled.
    pub fn settle(&mut self, offset: u64) {
        self.settle_run(offset, offset + 1);
    }

    /// What the user last noted, or a predecessor.
    #[must_use]
    pub fn note(&self) -> &Bytes {
        &self.note
    }

    /// Notes this from now on.
    pub fn set_note(&mut self, note: Bytes) {
        if self.note != note {
            self.note = note;
            self.changed = true;
        }
    }

    /// Whether a new checkpoint should be committed at the next interval.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// Whether a new checkpoint should be committed at once: half of the reserved
    /// block is used and no renewal is on its way.
    #[must_use]
    pub fn wants_reservation(&self) -> bool {
        self.asked < self.next + BLOCK / 2
    }

    /// What to commit now. Tell [`Progress::confirmed`] when it is durable.
    pub fn checkpoint(&mut self) -> Checkpoint {
        if self.wants_reservation() {
            self.asked = self.next + BLOCK;
        }
        self.changed = false;
        self.snapshot(self.asked)
    }

    /// What to commit as the last thing. `reserved` falls back to what was really
    /// delivered, so that a successor marks no more than that.
    #[must_use]
    pub fn last_checkpoint(&self) -> Checkpoint {
        // What a predecessor may have handled and we did not come to stays marked,
        // unless there is nothing of that kind.
        let delivered = if self.next < self.inherited { self.inherited } else { self.next };
        let all_settled = self.committed >= delivered;
        self.snapshot(if all_settled { self.committed } else { delivered })
    }

    /// Tells that this checkpoint is durable.
    pub fn confirmed(&mut self, checkpoint: &Checkpoint) {
        self.reserved = self.reserved.max(checkpoint.reserved);
    }

    /// Tells that the commit of a checkpoint failed: the next one says it again.
    pub fn failed(&mut self) {
        self.asked = self.reserved;
        self.changed = true;
    }

    fn snapshot(&self, reserved: u64) -> Checkpoint {
        Checkpoint {
            committed: self.committed,
            reserved: reserved.max(self.committed),
            runs: self.runs.iter().map(|(&start, &end)| (start, end)).collect(),
            note: self.note.clone(),
        }
    }

    fn settle_run(&mut self, start: u64, end: u64) {
        let start = start.max(self.committed);
        if start >= end {
            return;
        }
        self.changed = true;
        if start == self.committed {
            self.committed = end;
        } else {
            self.insert(start, end);
        }
        // The prefix swallows the runs it has reached.
        while let Some(entry) = self.runs.first_entry() {
            if *entry.key() > self.committed {
                break;
            }
            self.committed = self.committed.max(entry.remove());
        }
    }

    fn insert(&mut self, mut start: u64, mut end: u64) {
        if let Some((&before, &before_end)) = self.runs.range(..=start).next_back()
            && before_end >= start
        {
            start = before;
            end = end.max(before_end);
            self.runs.remove(&before);
        }
        while let Some((&after, &after_end)) = self.runs.range(start..=end).next() {
            end = end.max(after_end);
            self.runs.remove(&after);
        }
        self.runs.insert(start, end);
    }
}

mod base64;
#[cfg(test)]
mod tests;
