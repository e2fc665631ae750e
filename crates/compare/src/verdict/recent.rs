//! What single requests have contributed to the counts, as long as they may come again:
//! a request that is sent twice, here or by another replica, is to count once.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::{rank, tally::Move};

/// Requests of which is remembered that they were counted.
const MAX_SEEN: usize = 50_000;
/// The latest of them, whose contribution could still be taken out again: what a
/// replica counted and did not commit is among its last.
const MAX_LATEST: usize = 2_000;
/// Requests that were known to be sent again, whose contribution is kept too.
const MAX_AGAIN: usize = 10_000;

/// What one request moved. Ordered, so that of two the same one wins everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Contribution {
    pub(super) outcome: Outcome,
    pub(super) moves: Vec<Move>,
    pub(super) method: Box<str>,
    /// As a template.
    pub(super) path: Box<str>,
    /// Counted together with other endpoints, beyond the bound.
    pub(super) beyond: bool,
    pub(super) answered: Option<Answered>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Outcome {
    Compared { different: bool, failed: bool, paired: bool },
    Not(Box<str>),
}

/// What was told of the two answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Answered {
    pub(super) statuses: Option<(Box<str>, Box<str>)>,
    /// Nanoseconds until the end, baseline's first.
    pub(super) whole: Option<(u64, u64)>,
    /// Of streams: until the first byte, and between events.
    pub(super) first: Option<(u64, u64)>,
    pub(super) between: Option<(u64, u64)>,
}

/// The latest requests, by a hash of their ids.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Recent {
    #[serde(skip)]
    seen: HashSet<u64>,
    #[serde(skip)]
    order: VecDeque<u64>,
    latest: VecDeque<u64>,
    again: VecDeque<u64>,
    kept: HashMap<u64, Contribution>,
    /// Counted last; what is told next is of it.
    #[serde(skip)]
    current: Option<u64>,
}

/// Whether a request is new.
pub(super) enum Known {
    /// Never seen.
    No,
    /// Counted, and its contribution is not known any more.
    Counted,
    /// Counted, like this.
    As(Contribution),
}

impl Recent {
    pub(super) fn known(&self, id: &[u8]) -> Known {
        let hash = rank(id);
        match self.kept.get(&hash) {
            Some(contribution) => Known::As(contribution.clone()),
            None if self.seen.contains(&hash) => Known::Counted,
            None => Known::No,
        }
    }

    /// Remembers what a request contributed, in place of what it did before.
    pub(super) fn put(&mut self, id: &[u8], again: bool, contribution: Contribution) {
        let hash = rank(id);
        self.current = Some(hash);
        self.keep(hash, again, contribution);
    }

    /// Nothing that is told next is counted.
    pub(super) fn pass(&mut self) {
        self.current = None;
    }

    /// The contribution of the request that was counted last, if it is this one.
    pub(super) fn current(&mut self, id: &[u8]) -> Option<&mut Contribution> {
        let hash = self.current.filter(|hash| *hash == rank(id))?;
        self.kept.get_mut(&hash)
    }

    /// Contributions of requests that the other has too, of this one and of the other.
    pub(super) fn shared(&self, other: &Self) -> Vec<(u64, Contribution, Contribution)> {
        let both = self.kept.iter().filter_map(|(hash, one)| {
            let other = other.kept.get(hash)?;
            Some((*hash, one.clone(), other.clone()))
        });
        // Sorted, so that nothing depends on the order of a map.
        let sorted: BTreeMap<u64, _> =
            both.map(|(hash, one, other)| (hash, (one, other))).collect();
        sorted.into_iter().map(|(hash, (one, other))| (hash, one, other)).collect()
    }

    /// Puts another contribution in the place of one.
    pub(super) fn replace(&mut self, hash: u64, contribution: Contribution) {
        self.kept.insert(hash, contribution);
    }

    /// Adds what another remembers, its contributions in place of this one's.
    pub(super) fn merge(&mut self, mut other: Self) {
        let again: HashSet<u64> = other.again.iter().copied().collect();
        for hash in other.again.into_iter().chain(other.latest) {
            if let Some(contribution) = other.kept.remove(&hash) {
                self.keep(hash, again.contains(&hash), contribution);
            }
        }
        other.order.into_iter().for_each(|hash| self.see(hash));
    }

    fn keep(&mut self, hash: u64, again: bool, contribution: Contribution) {
        self.see(hash);
        if self.kept.insert(hash, contribution).is_some() {
            return;
        }
        let (queue, limit) = match again {
            true => (&mut self.again, MAX_AGAIN),
            false => (&mut self.latest, MAX_LATEST),
        };
        queue.push_back(hash);
        if queue.len() > limit
            && let Some(oldest) = queue.pop_front()
        {
            self.kept.remove(&oldest);
        }
    }

    fn see(&mut self, hash: u64) {
        if !self.seen.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > MAX_SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
    }
}
