//! One lane's entries in one partition: which sequences were read, which are not
//! there, and what its Marks say about them.

use super::runs::{Run, Runs};

/// See the module. Every sequence below `next` is read, in `holes` or in `cut`.
#[derive(Debug)]
pub(super) struct Track {
    /// One more than the highest sequence read; 1: nothing was.
    pub(super) next: u64,
    /// Below `next` and not read.
    pub(super) holes: Runs,
    /// The same, but before what this log still keeps: nobody's loss.
    cut: Runs,
    /// Lost after they were numbered, as Gaps tell.
    pub(super) told: Runs,
    /// What is missing before the next entry was cut by retention.
    resumes: bool,
    /// Holes that were given up for want of room.
    pub(super) given_up: u64,
    /// Sequence and time of the last Mark, and sequence of the one before.
    mark: (u64, u64),
    mark_before: u64,
    /// Sequence of the final Mark.
    last: Option<u64>,
    /// A window's bounds by sequence: what is outside is certainly not in it.
    window: (u64, u64),
}

impl Track {
    /// `cut`: entries before the first one read need not be in the log.
    pub(super) fn new(cut: bool) -> Self {
        Self {
            next: 1,
            holes: Runs::default(),
            cut: Runs::default(),
            told: Runs::default(),
            resumes: cut,
            given_up: 0,
            mark: (0, 0),
            mark_before: 0,
            last: None,
            window: (1, u64::MAX),
        }
    }

    /// An entry is there. False: it was there before.
    pub(super) fn see(&mut self, sequence: u64, at_ns: u64) -> bool {
        if sequence < self.next {
            return self.holes.take(sequence) || self.cut.take(sequence);
        }
        if sequence > self.next {
            let run = Run { first: self.next, last: sequence - 1, at_ns };
            if self.resumes {
                self.cut.add(run);
            } else {
                self.holes.add(run);
            }
        }
        self.next = sequence.saturating_add(1);
        self.resumes = false;
        true
    }

    /// Retention took what comes next.
    pub(super) fn cut_here(&mut self) {
        self.resumes = true;
    }

    /// A Mark that was made at `at_ns`. Returns the time since the one before.
    pub(super) fn mark(&mut self, sequence: u64, at_ns: u64, is_final: bool) -> Option<u64> {
        if is_final {
            self.last = self.last.max(Some(sequence));
        }
        let (before, before_ns) = self.mark;
        if sequence <= before {
            return None;
        }
        self.mark = (sequence, at_ns);
        self.mark_before = before;
        (before > 0 && !is_final).then(|| at_ns.saturating_sub(before_ns))
    }

    /// Everything up to this sequence was numbered before the window.
    pub(super) fn window_begins_after(&mut self, sequence: u64) {
        self.window.0 = self.window.0.max(sequence.saturating_add(1));
    }

    /// Everything above this sequence is about what began after the window.
    pub(super) fn window_ends_with(&mut self, sequence: u64) {
        self.window.1 = self.window.1.min(sequence);
    }

    /// Anything was read.
    pub(super) fn seen(&self) -> bool {
        self.next > 1
    }

    /// Its final Mark is the last entry.
    pub(super) fn ended(&self) -> bool {
        self.last.is_some_and(|last| last.saturating_add(1) == self.next)
    }

    /// Sequences neither here nor told, and how many more may still be told: with
    /// a `running` writer those above the last Mark but one. The Gap that tells of
    /// them may be on its way.
    pub(super) fn missing(&self, running: bool) -> (Vec<Run>, u64) {
        let (first, last) = self.window;
        let settled = if running { last.min(self.mark_before) } else { last };
        let missing = self.holes.without(&self.told, first, settled);
        let open = match settled < last {
            true => self.holes.without(&self.told, first.max(settled + 1), last),
            false => Vec::new(),
        };
        (missing, sum(&open))
    }

    /// Sequences that are here although a Gap tells of their loss.
    pub(super) fn told_and_here(&self) -> u64 {
        let Some(highest) = self.next.checked_sub(1).filter(|highest| *highest > 0) else {
            return 0;
        };
        let told = self.told.without(&self.holes, 1, highest);
        let here = Runs::of(&told).without(&self.cut, 1, highest);
        sum(&here)
    }

    /// Runs kept.
    pub(super) fn runs(&self) -> usize {
        self.holes.len() + self.cut.len() + self.told.len()
    }

    /// Makes room: counts the oldest hole as missing for good.
    pub(super) fn give_up(&mut self) -> bool {
        if let Some(run) = self.holes.take_first() {
            self.given_up = self.given_up.saturating_add(run.count());
            return true;
        }
        self.cut.take_first().is_some()
    }
}

/// How many numbers these runs have.
pub(super) fn sum(runs: &[Run]) -> u64 {
    runs.iter().fold(0, |sum, run| sum.saturating_add(run.count()))
}
