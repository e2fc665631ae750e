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

/// A newcomer is answered at once by whoever holds the first partition, and by the
/// others only if that one does not.
const SECOND_ANSWER: Duration = Duration::from_millis(300);

/// The others take so long one after the other.
const ALL_ANSWERS: Duration = Duration::from_secs(1);

/// What one member is to do for all is done by whoever sees that it is needed; where
/// there are more than these few, by one after the other, so long at most.
const FEW: usize = 8;
const ALL_PROPOSALS: Duration = Duration::from_millis(400);

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

/// After so long a member answers a newcomer that nobody has answered.
pub(crate) fn answers_after(holds_first: bool, member: &[u8], members: usize) -> Duration {
    match holds_first {
        true => Duration::ZERO,
        false => SECOND_ANSWER + turn_of(member, members, ALL_ANSWERS),
    }
}

/// After so long a member proposes the epoch that a new or steered job needs.
pub(crate) fn proposes_after(member: &[u8], members: usize) -> Duration {
    if members <= FEW { Duration::ZERO } else { turn_of(member, members, ALL_PROPOSALS) }
}

/// When it is a member's turn to do what one of them has to, all knowing nothing of each
/// other: of n about n^(t/all) have had theirs at t. So one comes soon, and few more until
/// everybody has heard of the first, however many there are.
fn turn_of(member: &[u8], members: usize, all: Duration) -> Duration {
    // The end of a member's name is random.
    let random = member.iter().rev().take(2).fold(0, |sum, byte| sum * 256 + u32::from(*byte));
    let below = f64::from(random + 1) / 65_536.0;
    all.mul_f64((1.0 + below.ln() / (members.max(2) as f64).ln()).clamp(0.0, 1.0))
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
