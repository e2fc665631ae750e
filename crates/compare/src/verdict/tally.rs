//! The counts of one endpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    RequestKey,
    example::{Example, rank},
    latency::Latencies,
    recent::{Answered, Outcome},
};
use crate::{Difference, Kind, difference::shorten, endpoint::Count};

/// Most pairs of field and kind of one endpoint; differences in further ones are
/// counted together.
const MAX_FIELDS: usize = 300;
/// Name of what is counted together beyond [`MAX_FIELDS`].
const OTHERS: &str = "(other fields)";
/// Examples kept of each field and kind.
const MAX_EXAMPLES: usize = 3;
/// Reasons for not comparing that are told apart.
const MAX_REASONS: usize = 20;

/// How much more there may be in all endpoints together.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Room {
    /// Pairs of field and kind.
    pub(super) fields: usize,
    /// Bytes of examples.
    pub(super) examples: usize,
}

/// What is counted of one endpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(super) equal: u64,
    pub(super) different: u64,
    /// Of the different: no answer of the candidate, or one that broke off.
    pub(super) failed: u64,
    /// Of the compared: those with a second good answer.
    pub(super) paired: u64,
    pub(super) not_compared: BTreeMap<String, u64>,
    pub(super) fields: BTreeMap<String, BTreeMap<Kind, Counts>>,
    pub(super) latencies: Latencies,
    /// Of streams of events: until the first byte, and between events.
    #[serde(default)]
    pub(super) first_byte: Latencies,
    #[serde(default)]
    pub(super) between: Latencies,
}

/// Counts of one field and kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Only the candidate differs.
    pub(super) b: u64,
    /// Only the second good answer differs.
    pub(super) c: u64,
    /// Both differ.
    pub(super) both: u64,
    /// The candidate differs, and there was no second good answer.
    pub(super) alone: u64,
    pub(super) examples: Vec<Example>,
}

/// One step of one counter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Move {
    field: Box<str>,
    kind: Kind,
    which: Which,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Which {
    B,
    C,
    Both,
    Alone,
}

/// In which direction it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Add,
    TakeOut,
}

impl Sign {
    pub(super) fn step(self, count: &mut u64) {
        *count = match self {
            Self::Add => *count + 1,
            Self::TakeOut => count.saturating_sub(1),
        };
    }
}

/// What a request comes to, and which counters it moves.
pub(super) fn outcome(candidate: &[Difference], noise: Option<&[Difference]>) -> Outcome {
    // A failure that is missing is one of the baseline.
    let failed = |d: &Difference| d.field == "failure" && d.kind != Kind::Missing;
    Outcome::Compared {
        different: candidate.iter().any(|difference| !difference.kind.is_note()),
        failed: candidate.iter().any(failed),
        paired: noise.is_some(),
    }
}

impl Tally {
    /// The counters that a request moves, made where they are not there.
    pub(super) fn moves(
        &mut self,
        candidate: &[Difference],
        noise: Option<&[Difference]>,
        room: &mut Room,
    ) -> Vec<Move> {
        if candidate.is_empty() && noise.is_none_or(<[_]>::is_empty) {
            return Vec::new();
        }
        // By counter, because fields beyond the bound share one, which a request moves
        // once.
        let mut flags: BTreeMap<(String, Kind), (bool, bool)> = BTreeMap::new();
        for difference in candidate {
            let key = self.open(&difference.field, difference.kind, room);
            flags.entry(key).or_default().0 = true;
        }
        for difference in noise.unwrap_or_default() {
            let key = self.open(&difference.field, difference.kind, room);
            flags.entry(key).or_default().1 = true;
        }
        let which = |candidate, noisy| match (candidate, noisy, noise.is_some()) {
            (true, true, _) => Which::Both,
            (true, false, true) => Which::B,
            (true, false, false) => Which::Alone,
            (false, ..) => Which::C,
        };
        let moves = flags.into_iter().map(|((field, kind), (candidate, noisy))| Move {
            field: field.into(),
            kind,
            which: which(candidate, noisy),
        });
        moves.collect()
    }

    /// Counts what became of a request.
    pub(super) fn count(&mut self, outcome: &Outcome, moves: &[Move], sign: Sign) {
        match outcome {
            Outcome::Not(reason) => {
                let known = self.not_compared.contains_key(&**reason);
                let room = known || self.not_compared.len() < MAX_REASONS;
                let reason = if room { &**reason } else { "other" };
                sign.step(self.not_compared.entry(reason.to_owned()).or_default());
                self.not_compared.retain(|_, count| *count > 0);
            }
            Outcome::Compared { different, failed, paired } => {
                sign.step(if *different { &mut self.different } else { &mut self.equal });
                for (holds, count) in [(failed, &mut self.failed), (paired, &mut self.paired)] {
                    if *holds {
                        sign.step(count);
                    }
                }
            }
        }
        for Move { field, kind, which } in moves {
            let Some(kinds) = self.fields.get_mut(&**field) else { continue };
            let Some(counts) = kinds.get_mut(kind) else { continue };
            sign.step(match which {
                Which::B => &mut counts.b,
                Which::C => &mut counts.c,
                Which::Both => &mut counts.both,
                Which::Alone => &mut counts.alone,
            });
        }
        if sign == Sign::TakeOut {
            self.close(moves);
        }
    }

    /// Removes those of these counters that hold nothing.
    pub(super) fn close(&mut self, moves: &[Move]) {
        for Move { field, kind, .. } in moves {
            let Some(kinds) = self.fields.get_mut(&**field) else { continue };
            if kinds.get(kind).is_some_and(Counts::is_zero) {
                kinds.remove(kind);
            }
            if kinds.is_empty() {
                self.fields.remove(&**field);
            }
        }
    }

    /// Counts the times of a request.
    pub(super) fn answered(&mut self, answered: &Answered, sign: Sign) {
        for (times, latencies) in [
            (answered.whole, &mut self.latencies),
            (answered.first, &mut self.first_byte),
            (answered.between, &mut self.between),
        ] {
            if let Some((expected, actual)) = times {
                latencies.count(expected, actual, sign);
            }
        }
    }

    /// Keeps a request as an example of what it shows.
    pub(super) fn examples(
        &mut self,
        request: &RequestKey<'_>,
        moves: &[Move],
        candidate: &[Difference],
        room: &mut Room,
    ) {
        let rank = rank(request.id);
        for Move { field, kind, which } in moves {
            if !matches!(which, Which::B | Which::Alone) {
                continue;
            }
            let shared = &**field == OTHERS;
            let shows = |d: &&Difference| shared || (d.field == **field && d.kind == *kind);
            let counts = self.fields.get_mut(&**field).and_then(|kinds| kinds.get_mut(kind));
            if let (Some(counts), Some(difference)) = (counts, candidate.iter().find(shows)) {
                counts.example(rank, || Example::new(request, difference), room);
            }
        }
    }

    /// Forgets a request as an example.
    pub(super) fn forget(&mut self, rank: u64, moves: &[Move]) {
        for Move { field, kind, .. } in moves {
            let counts = self.fields.get_mut(&**field).and_then(|kinds| kinds.get_mut(kind));
            if let Some(counts) = counts {
                counts.examples.retain(|example| example.rank != rank);
            }
        }
    }

    /// The counter of a field and kind, made if it is not there: its own, or the shared
    /// one if there are too many already, here or in all endpoints together.
    fn open(&mut self, field: &str, kind: Kind, room: &mut Room) -> (String, Kind) {
        let known = self.fields.get(field).is_some_and(|kinds| kinds.contains_key(&kind));
        let key = if known || (self.len() < MAX_FIELDS && room.fields > 0) {
            (field.to_owned(), kind)
        } else {
            (OTHERS.to_owned(), Kind::More)
        };
        if !known {
            self.fields.entry(key.0.clone()).or_default().entry(key.1).or_insert_with(|| {
                room.fields = room.fields.saturating_sub(1);
                Counts::default()
            });
        }
        key
    }

    /// Counters there are.
    pub(super) fn len(&self) -> usize {
        self.fields.values().map(BTreeMap::len).sum()
    }

    /// What the examples take.
    pub(super) fn examples_size(&self) -> usize {
        self.counts().flat_map(|(_, _, counts)| &counts.examples).map(Example::size).sum()
    }

    /// How often each counter was moved.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&str, Kind, &Counts)> {
        self.fields.iter().flat_map(|(field, kinds)| {
            kinds.iter().map(move |(kind, counts)| (field.as_str(), *kind, counts))
        })
    }

    /// Counts together what was moved less often than this.
    pub(super) fn fold(&mut self, least: u64) {
        let mut shared = Counts::default();
        for kinds in self.fields.values_mut() {
            kinds.retain(|_, counts| {
                let kept = counts.total() >= least;
                if !kept {
                    shared.merge(std::mem::take(counts));
                }
                kept
            });
        }
        self.fields.retain(|_, kinds| !kinds.is_empty());
        if shared.total() > 0 {
            let kinds = self.fields.entry(OTHERS.to_owned()).or_default();
            kinds.entry(Kind::More).or_default().merge(shared);
        }
    }

    /// Keeps at most so many examples of each.
    pub(super) fn keep_examples(&mut self, most: usize) {
        let all = self.fields.values_mut().flat_map(BTreeMap::values_mut);
        all.for_each(|counts| counts.examples.truncate(most));
    }
}

impl Count for Tally {
    fn merge(&mut self, other: Self) {
        self.equal += other.equal;
        self.different += other.different;
        self.failed += other.failed;
        self.paired += other.paired;
        self.latencies.merge(other.latencies);
        self.first_byte.merge(other.first_byte);
        self.between.merge(other.between);
        for (reason, count) in other.not_compared {
            let room =
                self.not_compared.contains_key(&reason) || self.not_compared.len() < MAX_REASONS;
            let reason = if room { reason } else { "other".to_owned() };
            *self.not_compared.entry(reason).or_default() += count;
        }
        // The bound of all endpoints together is the caller's.
        let mut room = Room { fields: usize::MAX, examples: usize::MAX };
        for (field, kinds) in other.fields {
            for (kind, counts) in kinds {
                let (field, kind) = self.open(&field, kind, &mut room);
                self.fields.entry(field).or_default().entry(kind).or_default().merge(counts);
            }
        }
    }

    fn weight(&self) -> u64 {
        self.equal + self.different + self.not_compared.values().sum::<u64>()
    }
}

impl Counts {
    fn is_zero(&self) -> bool {
        self.total() == 0
    }

    pub(super) fn total(&self) -> u64 {
        self.b + self.c + self.both + self.alone
    }

    fn merge(&mut self, other: Self) {
        self.b += other.b;
        self.c += other.c;
        self.both += other.both;
        self.alone += other.alone;
        self.examples.extend(other.examples);
        self.sort_examples();
    }

    fn example(&mut self, rank: u64, make: impl FnOnce() -> Example, room: &mut Room) {
        let full = self.examples.len() >= MAX_EXAMPLES;
        if full && self.examples.last().is_some_and(|last| last.rank <= rank) {
            return;
        }
        let example = make();
        if room.examples < example.size() {
            return;
        }
        room.examples -= example.size();
        self.examples.push(example);
        let before: usize = self.examples.iter().map(Example::size).sum();
        self.sort_examples();
        let after: usize = self.examples.iter().map(Example::size).sum();
        room.examples += before.saturating_sub(after);
    }

    fn sort_examples(&mut self) {
        self.examples.sort_by(|one, other| {
            (one.rank, &one.id, &one.note).cmp(&(other.rank, &other.id, &other.note))
        });
        self.examples.dedup_by(|one, other| one.id == other.id);
        self.examples.truncate(MAX_EXAMPLES);
    }
}

/// A reason as it is counted.
pub(super) fn reason(text: &str) -> Box<str> {
    shorten(text, 60).into()
}
