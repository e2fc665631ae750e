//! The counts of one endpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use umbra_record::{hash, id};

use super::latency::Latencies;
use crate::{Difference, Kind, difference::shorten, endpoint::Merge};

/// Most pairs of field and kind of one endpoint; differences in further ones are
/// counted together.
const MAX_FIELDS: usize = 300;
/// Name of what is counted together beyond [`MAX_FIELDS`].
const OTHERS: &str = "(other fields)";
/// Examples kept of each field and kind.
const MAX_EXAMPLES: usize = 3;
/// Reasons for not comparing that are told apart.
const MAX_REASONS: usize = 20;

/// One request that shows a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Its id; empty if the note is about all requests.
    pub id: String,
    /// Both sides, shortened.
    pub note: String,
    /// Decides which examples are kept: a hash of the id, so that each request has the
    /// same chance and the order of requests has no part in it.
    #[serde(skip_serializing_if = "is_zero", default)]
    rank: u64,
}

fn is_zero(rank: &u64) -> bool {
    *rank == 0
}

impl Example {
    /// About all requests, not one.
    pub(super) fn general(note: String) -> Self {
        Self { id: String::new(), note, rank: 0 }
    }

    /// As it is shown.
    pub(super) fn unranked(&self) -> Self {
        Self { rank: 0, ..self.clone() }
    }
}

/// The same for the same id, otherwise as good as random, and not 0.
pub(super) fn rank(id: &[u8]) -> u64 {
    let [half @ .., _, _, _, _, _, _, _, _] = hash::of(id);
    u64::from_be_bytes(half).max(1)
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

impl Tally {
    pub(super) fn compared(
        &mut self,
        id: &[u8],
        candidate: &[Difference],
        noise: Option<&[Difference]>,
        room: &mut usize,
    ) {
        if candidate.iter().all(|difference| difference.kind.is_note()) {
            self.equal += 1;
        } else {
            self.different += 1;
        }
        // A failure that is missing is one of the baseline.
        let failed = |d: &Difference| d.field == "failure" && d.kind != Kind::Missing;
        self.failed += u64::from(candidate.iter().any(failed));
        self.paired += u64::from(noise.is_some());

        // By counter, because fields beyond the bound share one, which a request moves
        // once.
        let mut flags: BTreeMap<(String, Kind), (Option<&str>, bool)> = BTreeMap::new();
        for difference in candidate {
            let key = self.open(&difference.field, difference.kind, room);
            flags.entry(key).or_default().0.get_or_insert(&difference.note);
        }
        for difference in noise.unwrap_or_default() {
            let key = self.open(&difference.field, difference.kind, room);
            flags.entry(key).or_default().1 = true;
        }
        for ((field, kind), (candidate, noisy)) in flags {
            let counts = self.fields.entry(field).or_default().entry(kind).or_default();
            match (candidate, noisy, noise.is_some()) {
                (Some(_), true, _) => counts.both += 1,
                (Some(_), false, true) => counts.b += 1,
                (Some(_), false, false) => counts.alone += 1,
                (None, _, _) => counts.c += 1,
            }
            if let (Some(note), false) = (candidate, noisy) {
                counts.example(id, note);
            }
        }
    }

    pub(super) fn not_compared(&mut self, reason: &str) {
        let known = self.not_compared.contains_key(reason);
        let reason = if known || self.not_compared.len() < MAX_REASONS { reason } else { "other" };
        *self.not_compared.entry(shorten(reason, 60)).or_default() += 1;
    }

    /// The counter of a field and kind, made if it is not there: its own, or the shared
    /// one if there are too many already, here or (`room`) in all endpoints together.
    fn open(&mut self, field: &str, kind: Kind, room: &mut usize) -> (String, Kind) {
        let known = self.fields.get(field).is_some_and(|kinds| kinds.contains_key(&kind));
        let key = if known || (self.len() < MAX_FIELDS && *room > 0) {
            (field.to_owned(), kind)
        } else {
            (OTHERS.to_owned(), Kind::More)
        };
        if !known {
            self.fields.entry(key.0.clone()).or_default().entry(key.1).or_insert_with(|| {
                *room = room.saturating_sub(1);
                Counts::default()
            });
        }
        key
    }

    /// Counters there are.
    pub(super) fn len(&self) -> usize {
        self.fields.values().map(BTreeMap::len).sum()
    }
}

impl Merge for Tally {
    fn merge(&mut self, other: Self) {
        self.equal += other.equal;
        self.different += other.different;
        self.failed += other.failed;
        self.paired += other.paired;
        self.latencies.merge(other.latencies);
        for (reason, count) in other.not_compared {
            let room =
                self.not_compared.contains_key(&reason) || self.not_compared.len() < MAX_REASONS;
            let reason = if room { reason } else { "other".to_owned() };
            *self.not_compared.entry(reason).or_default() += count;
        }
        // Both sides are within the bound of all endpoints, so their sum is bounded too.
        let mut room = usize::MAX;
        for (field, kinds) in other.fields {
            for (kind, counts) in kinds {
                let (field, kind) = self.open(&field, kind, &mut room);
                self.fields.entry(field).or_default().entry(kind).or_default().merge(counts);
            }
        }
    }
}

impl Counts {
    fn merge(&mut self, other: Self) {
        self.b += other.b;
        self.c += other.c;
        self.both += other.both;
        self.alone += other.alone;
        self.examples.extend(other.examples);
        self.keep_examples();
    }

    fn example(&mut self, id: &[u8], note: &str) {
        let rank = rank(id);
        let full = self.examples.len() >= MAX_EXAMPLES;
        if full && self.examples.last().is_some_and(|last| last.rank <= rank) {
            return;
        }
        self.examples.push(Example { id: id::text(id), note: note.to_owned(), rank });
        self.keep_examples();
    }

    fn keep_examples(&mut self) {
        self.examples.sort_by(|one, other| (one.rank, &one.id).cmp(&(other.rank, &other.id)));
        self.examples.dedup_by(|one, other| one.id == other.id);
        self.examples.truncate(MAX_EXAMPLES);
    }
}
