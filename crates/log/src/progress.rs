//! How far a reader has come in one partition: pure bookkeeping, no I/O.
//!
//! Deliveries are settled in any order; what may be committed is the contiguous
//! prefix. Two things travel with it so that a successor neither repeats nor
//! conceals anything: the **runs** settled beyond the prefix, which it skips, and
//! **reserved**, the offset up to which delivering was allowed before it died.
//! Whatever lies below `reserved` and is not settled may have been handled, so it
//! is delivered as attempt 2. `reserved` must therefore be durable *before* a
//! delivery beyond the old one is made: it is moved ahead in blocks, renewed when
//! half of one is used, so that delivering rarely waits for a commit. A clean end
//! takes it back to the last offset that may really have been handled: what was
//! delivered and is known to be **untouched** needs no mark.
//!
//! A third thing is the user's own: a **note**, opaque bytes that he wants to find
//! again where the partition goes on.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Offsets reserved ahead at a time: at most so many records are marked as
/// attempt 2 by mistake after a crash.
pub const BLOCK: u64 = 4096;

/// The same while they are used up faster than a commit becomes durable.
pub const MOST_BLOCK: u64 = 8 * BLOCK;

/// No offset is larger: where there are so many, somebody made them up, and nothing is
/// reckoned with them.
const MOST_OFFSETS: u64 = i64::MAX as u64 / 2;

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
    /// What is below this and not settled may have been handled.
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
    /// Delivered, and given back before anybody began to handle it: the same.
    untouched: BTreeMap<u64, u64>,
    /// Next offset that was not delivered yet.
    next: u64,
    /// Delivering is allowed below this: durable.
    reserved: u64,
    /// The same, of the checkpoint last handed out.
    asked: u64,
    /// So many are asked for at a time.
    block: u64,
    /// The next offset at the checkpoint before.
    before: u64,
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
    /// attempt 2, for all of them are reserved then.
    #[must_use]
    pub fn metadata(&self) -> String {
        self.text(self.reserved).unwrap_or_else(|cut| {
            let end = self.runs.last().map_or(0, |&(_, end)| end);
            if end <= self.reserved { cut } else { self.text(end).unwrap_or_else(|cut| cut) }
        })
    }

    /// The metadata with this reserved; an error if it was cut.
    fn text(&self, reserved: u64) -> Result<String, String> {
        use std::fmt::Write as _;
        let mut text = format!("r{}", reserved.saturating_sub(self.committed));
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
                return Err(text);
            }
            at = end;
        }
        Ok(text)
    }

    /// Reads what [`Checkpoint::metadata`] wrote. Empty text is a commit by
    /// another tool: nothing reserved, no runs.
    ///
    /// # Errors
    /// If the text is not ours.
    pub fn parse(committed: u64, metadata: &str) -> Result<Self, String> {
        let mut checkpoint = Self::fresh(committed);
        let wrong = || format!("`{metadata}` is not the progress of an Umbra reader");
        let possible = |offset: &u64| *offset <= MOST_OFFSETS;
        if !possible(&committed) {
            return Err(format!("{committed} is not the progress of an Umbra reader"));
        }
        let mut words = metadata.split_ascii_whitespace().peekable();
        let Some(reserved) = words.next() else {
            return Ok(checkpoint);
        };
        checkpoint.reserved = reserved
            .strip_prefix('r')
            .and_then(|ahead| ahead.parse::<u64>().ok())
            .and_then(|ahead| committed.checked_add(ahead))
            .filter(possible)
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
                Some((start, start.checked_add(length).filter(possible)?))
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
            untouched: BTreeMap::new(),
            next: from.committed,
            reserved: from.reserved.max(from.committed),
            asked: from.reserved.max(from.committed),
            block: BLOCK,
            before: from.committed,
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

    /// Tells that `offset` was delivered and came back, that nobody has begun to
    /// handle it, and that it will not be delivered again here.
    pub fn untouched(&mut self, offset: u64) {
        insert(&mut self.untouched, offset, offset + 1);
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
        self.asked < self.next + self.block / 2
    }

    /// What to commit now. Tell [`Progress::confirmed`] when it is durable.
    pub fn checkpoint(&mut self) -> Checkpoint {
        if self.next >= self.reserved && self.before < self.next {
            // Delivering waits.
            self.block = (self.block * 2).min(MOST_BLOCK);
        } else if self.next - self.before < self.block / 8 {
            self.block = (self.block / 2).max(BLOCK);
        }
        self.before = self.next;
        if self.wants_reservation() {
            self.asked = self.next + self.block;
        }
        self.changed = false;
        self.snapshot(self.asked)
    }

    /// What to commit as the last thing. `reserved` falls back to what may really
    /// have been handled, so that a successor marks no more than that.
    #[must_use]
    pub fn last_checkpoint(&self) -> Checkpoint {
        // What a predecessor may have handled stays marked until it is settled.
        let before = if self.committed < self.inherited { self.inherited } else { 0 };
        self.snapshot(self.touched().max(before))
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

    /// Nothing from here on was delivered without being settled, or untouched.
    fn touched(&self) -> u64 {
        let mut end = self.next;
        // Both are apart from themselves, so each turn passes a run of one of them.
        while let Some(start) = run_at_end(&self.runs, end).or(run_at_end(&self.untouched, end)) {
            end = start;
        }
        end
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
            insert(&mut self.runs, start, end);
        }
        // The prefix swallows the runs it has reached.
        while let Some(entry) = self.runs.first_entry() {
            if *entry.key() > self.committed {
                break;
            }
            self.committed = self.committed.max(entry.remove());
        }
    }
}

/// Adds a run to others, which stay apart from each other.
fn insert(runs: &mut BTreeMap<u64, u64>, mut start: u64, mut end: u64) {
    if let Some((&before, &before_end)) = runs.range(..=start).next_back()
        && before_end >= start
    {
        start = before;
        end = end.max(before_end);
        runs.remove(&before);
    }
    while let Some((&after, &after_end)) = runs.range(start..=end).next() {
        end = end.max(after_end);
        runs.remove(&after);
    }
    runs.insert(start, end);
}

/// Where the run begins that covers the offset before `end`.
fn run_at_end(runs: &BTreeMap<u64, u64>, end: u64) -> Option<u64> {
    let (&start, &run_end) = runs.range(..end).next_back()?;
    (run_end >= end).then_some(start)
}

mod base64;
#[cfg(test)]
mod tests;
