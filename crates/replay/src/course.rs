//! How a member finds its place on the clock of a job: by following the one that is
//! running, or, if nobody follows it any more, by proposing where it goes on. Pure.

use std::time::Duration;

use bytes::Bytes;
use umbra_record::pb;

use crate::{config::Pace, job::Run};

#[cfg(test)]
mod tests;

/// From proposing an epoch to its first request: enough for other members to hear of
/// it, and for all partitions to be read up to it.
pub(crate) const LEAD: Duration = Duration::from_millis(500);

/// The same while everybody has everything at hand.
pub(crate) const LEAD_AGAIN: Duration = Duration::from_millis(250);

/// A journal that is too slow for the lead is given twice the time, so often.
pub(crate) const MAX_TRIES: u32 = 8;

/// An answer to a sign of life is waited for so long. Members answer within a second.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Whether an epoch that has begun less long ago may still be moved for the sake of
/// a request that comes before its first: those who follow it have hardly begun.
pub(crate) const YOUNG_NS: u64 = 2_000_000_000;

/// A request that the clock makes this late is worth moving a young epoch.
pub(crate) const EARLY_NS: u64 = 100_000_000;

/// What a member without a clock does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// The job's first clock, for all targets.
    First,
    /// Nobody follows the clock any more: the target goes on with another epoch.
    GoOn,
    /// Somebody does.
    Follow,
    /// That is not known yet.
    Wait,
}

/// A member that has no clock yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Newcomer<'a> {
    pub member: &'a Bytes,
    /// Every partition that is not finished is its own: nobody else can be sending.
    pub holds_all: bool,
    /// Since its sign of life is in the journal.
    pub waited: Duration,
    /// By the clock there is, its first request would have been due a while ago.
    pub late: bool,
}

/// What a newcomer does about the clock of a target.
pub(crate) fn start(run: &Run, target: &str, me: Newcomer<'_>) -> Start {
    let Some(clock) = run.clock(target) else { return Start::First };
    let mine = run.members.get(&(target.to_owned(), me.member.clone()));
    let Some(joined) = mine.map(|one| one.joined) else { return Start::Wait };
    if me.holds_all && clock.offset < joined {
        return Start::GoOn;
    }
    if clock.what.steered < run.steered {
        // Whoever follows it is about to move it, if anybody does.
        let alone = me.holds_all || me.waited >= PATIENCE;
        return if alone { Start::GoOn } else { Start::Wait };
    }
    if clock.offset > joined {
        return Start::Follow;
    }
    let answered = run.signs.get(target);
    if answered.is_some_and(|sign| sign.offset > joined && sign.member != *me.member) {
        return Start::Follow;
    }
    let others = run.members.iter().any(|((at, member), one)| {
        at == target && member != me.member && !one.left && one.joined < joined
    });
    match (others, me.waited >= PATIENCE, me.late) {
        (false, ..) | (true, true, true) => Start::GoOn,
        (true, true, false) => Start::Follow,
        (true, false, _) => Start::Wait,
    }
}

/// The pace an operator asked for; `None`: that of the plan.
pub(crate) fn pace_of(pace: Option<&pb::Pace>) -> Option<Pace> {
    use pb::pace::Pace as P;
    match pace?.pace? {
        P::Speed(speed) if speed > 0.0 => Some(Pace::Recorded { speed }),
        P::Rate(rate) if rate > 0.0 => Some(Pace::Rate(rate)),
        P::Max(true) => Some(Pace::Max),
        P::Speed(_) | P::Rate(_) | P::Max(false) => None,
    }
}
