//! When each request is due: a pure calculation on absolute times, so that errors
//! never add up. Who waits for those times, and what happens to requests that
//! cannot be sent then, is decided elsewhere (`alarm`, `pipeline`).

use std::{borrow::Cow, collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    clock::{Anchor, nanos},
    config::{Pace, Stage},
    share::{Roster, Turns},
};

#[cfg(test)]
mod tests;

/// Sends of a rate that nothing was there for by so long after their time are left
/// out: a limit on traffic is not saved up while there is none.
const STARVED_NS: u64 = 250_000_000;

/// Sends of an epoch that were due longer ago than this when it was heard of are left out.
const JOINED_NS: u64 = 50_000_000;

/// What a live replay that has fallen behind by a stop or a held target gains on
/// the recorded spacing, until it is level with arrival again.
const CATCH_UP: f64 = 1.1;

/// What is left of a longer pause in the recording while it catches up.
const LONGEST_PAUSE_NS: u64 = 1_000_000_000;

/// The pace of one target.
#[derive(Debug, Clone)]
pub(crate) enum Pacer {
    /// As captured; without an anchor nothing is due yet.
    Recorded { speed: f64, anchor: Option<Anchor> },
    /// On arrival, or a fixed time after capture; behind an anchor while it catches
    /// up.
    Arrival { delay_ns: Option<u64>, anchor: Option<Anchor> },
    /// By count.
    Rate(RateClock),
    /// At once.
    Max,
}

impl Pacer {
    pub(crate) fn new(pace: &Pace) -> Self {
        match pace {
            Pace::Recorded { speed } => Self::Recorded { speed: *speed, anchor: None },
            Pace::Arrival { delay } => Self::Arrival { delay_ns: delay.map(nanos), anchor: None },
            Pace::Rate(rate) => Self::Rate(RateClock::new(Profile::constant(*rate))),
            Pace::Stages(stages) => Self::Rate(RateClock::new(Profile::stages(stages))),
            Pace::Max => Self::Max,
        }
    }

    /// Whether this pace is tied to a clock that has not been started.
    #[cfg(test)]
    pub(crate) fn needs_start(&self) -> bool {
        match self {
            Self::Recorded { anchor, .. } => anchor.is_none(),
            Self::Rate(clock) => clock.origin_ns.is_none(),
            Self::Arrival { .. } | Self::Max => false,
        }
    }

    /// Starts or moves the clock: the request captured at `anchor.t0_ns`, or the
    /// next one of a rate, is due at `anchor.wall0_ns`.
    pub(crate) fn anchor(&mut self, to: Anchor) {
        match self {
            Self::Recorded { anchor, .. } | Self::Arrival { anchor, .. } => *anchor = Some(to),
            Self::Rate(clock) => clock.start(to.wall0_ns),
            Self::Max => {}
        }
    }

    /// Goes on where an epoch of the job's clock begins: with this position of a rate. One
    /// heard of after it began is joined where it is by now: a rate that was cut short for
    /// a moment is not made up for.
    pub(crate) fn follow(&mut self, to: Anchor, position: u64, now: u64) {
        if let Self::Rate(clock) = self {
            clock.position = position;
        }
        self.anchor(to);
        if to.wall0_ns.saturating_add(JOINED_NS) < now {
            self.pass_to(now.saturating_sub(JOINED_NS));
        }
    }

    /// Whether it is tied to the job's clock.
    pub(crate) fn is_clocked(&self) -> bool {
        matches!(self, Self::Recorded { .. } | Self::Rate(_))
    }

    /// When the next request is due, which was captured and arrived at these times;
    /// `None`: never (the stages end at a rate of 0), or not as long as no send is
    /// ours. Does not go backwards while capture times do not.
    pub(crate) fn due(&self, captured_ns: u64, arrived_ns: u64) -> Option<u64> {
        match self {
            Self::Recorded { speed, anchor } => {
                anchor.map(|anchor| anchor.due(captured_ns, *speed))
            }
            Self::Arrival { delay_ns, anchor } => {
                let live = match delay_ns {
                    Some(delay) => captured_ns.saturating_add(*delay),
                    None => arrived_ns,
                };
                let behind = anchor.map_or(0, |anchor| anchor.due(captured_ns, CATCH_UP));
                Some(live.max(behind))
            }
            Self::Rate(clock) => clock.due(),
            Self::Max => Some(arrived_ns),
        }
    }

    /// The request that `due` spoke of is on its way.
    pub(crate) fn took(&mut self, due_ns: u64, arrived_ns: u64) {
        match self {
            Self::Rate(clock) => clock.took(),
            // Level with the live traffic again.
            Self::Arrival { anchor, delay_ns: None } if due_ns <= arrived_ns => *anchor = None,
            _ => {}
        }
    }

    /// Like `due`, for a request that is there to be sent: moves the clock on where
    /// nothing was there in time, or where a pause would only be waited for.
    pub(crate) fn next(&mut self, captured_ns: u64, arrived_ns: u64, now: u64) -> Option<u64> {
        match self {
            Self::Rate(clock) => {
                let due = clock.due();
                if due.is_some_and(|due| arrived_ns > due.saturating_add(STARVED_NS)) {
                    clock.pass_to(arrived_ns);
                } else if due.is_none() {
                    // What is not ours now may be later.
                    clock.pass_to(now);
                }
            }
            Self::Arrival { delay_ns, anchor: Some(anchor) } => {
                // While it is behind, long pauses help it to catch up.
                let live = delay_ns.map_or(arrived_ns, |delay| captured_ns.saturating_add(delay));
                let latest = live.max(now.saturating_add(LONGEST_PAUSE_NS));
                if anchor.due(captured_ns, CATCH_UP) > latest {
                    *anchor = Anchor { t0_ns: captured_ns, wall0_ns: latest };
                }
            }
            Self::Max => return Some(now),
            Self::Recorded { .. } | Self::Arrival { .. } => {}
        }
        self.due(captured_ns, arrived_ns)
    }

    /// How many sends a rate has behind it; 0 for every other pace.
    pub(crate) fn position(&self) -> u64 {
        match self {
            Self::Rate(clock) => clock.position,
            _ => 0,
        }
    }

    /// Whether the stages have ended at a rate of nothing.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Rate(clock) => clock.profile.time_of(clock.position).is_none(),
            _ => false,
        }
    }

    /// Sends that were due before are left to themselves.
    pub(crate) fn pass_to(&mut self, time_ns: u64) {
        if let Self::Rate(clock) = self {
            clock.pass_to(time_ns);
        }
    }

    /// Who takes a share of a rate, and which of them are ours from now on. What was due
    /// before and was not ours does not become ours in hindsight: others have sent it.
    pub(crate) fn share(&mut self, roster: Arc<Roster>, held: BTreeSet<u32>, now: u64) {
        if let Self::Rate(clock) = self {
            clock.pass_others(now);
            let turns = roster.turns(&held, clock.due_of(clock.position).unwrap_or(0));
            clock.share = Some(Share { roster, held, turns });
        }
    }

    /// When so many sends of ours from the next on will have been due; `None`: later
    /// than that, or never.
    pub(crate) fn due_after(&self, sends: u64, until_ns: u64) -> Option<u64> {
        match self {
            Self::Rate(clock) => clock.due_after(sends, until_ns),
            _ => None,
        }
    }

    /// Where the clock stands at a time: up to which capture time requests are due, and
    /// how far a rate has come.
    pub(crate) fn stands(&self, time_ns: u64) -> (Option<u64>, u64) {
        match self {
            Self::Recorded { speed, anchor } => {
                (anchor.map(|anchor| anchor.captured(time_ns, *speed)), 0)
            }
            Self::Rate(clock) => (None, clock.first_from(clock.position, time_ns)),
            Self::Arrival { .. } | Self::Max => (None, 0),
        }
    }
}

/// A rate, constant or in stages, and how far it has come.
#[derive(Debug, Clone)]
pub(crate) struct RateClock {
    profile: Profile,
    /// When position 0 would have been due.
    origin_ns: Option<i128>,
    /// Sends before this one are behind us, whoever they belonged to.
    position: u64,
    /// Whose sends are whose; absent: all are ours.
    share: Option<Share>,
}

/// Our part of a rate.
#[derive(Debug, Clone)]
struct Share {
    roster: Arc<Roster>,
    /// The partitions that are ours.
    held: BTreeSet<u32>,
    /// Those of the position.
    turns: Turns,
}

impl RateClock {
    fn new(profile: Profile) -> Self {
        Self { profile, origin_ns: None, position: 0, share: None }
    }

    fn start(&mut self, wall0_ns: u64) {
        let offset = self.profile.time_of(self.position).unwrap_or(0);
        self.origin_ns = Some(i128::from(wall0_ns) - i128::from(offset));
        self.find_turns();
    }

    /// The time of the position has changed.
    fn find_turns(&mut self) {
        let due = self.due_of(self.position).unwrap_or(0);
        if let Some(share) = &mut self.share {
            share.turns = share.roster.turns(&share.held, due);
        }
    }

    /// The position has moved on.
    fn move_to(&mut self, position: u64) {
        self.position = position;
        let Some(due) = self.due_of(position) else { return };
        let Some(Share { roster, held, turns }) = &mut self.share else { return };
        while turns.until_ns <= due && turns.until_ns < u64::MAX {
            roster.advance(turns, held);
        }
    }

    /// Sends of others that were due before that time are behind us.
    fn pass_others(&mut self, time_ns: u64) {
        if self.share.is_some() {
            match self.own(self.position) {
                Some((number, due)) if due <= time_ns => self.move_to(number),
                _ => self.pass_to(time_ns),
            }
        }
    }

    /// Of the next send that is ours.
    fn due(&self) -> Option<u64> {
        self.own(self.position).map(|(_, due)| due)
    }

    fn due_of(&self, number: u64) -> Option<u64> {
        let due = self.origin_ns? + i128::from(self.profile.time_of(number)?);
        Some(u64::try_from(due.max(0)).unwrap_or(u64::MAX))
    }

    /// The first send of ours from that number on, and when it is due; `None`: there
    /// is none, as far as is known.
    fn own(&self, from: u64) -> Option<(u64, u64)> {
        let Some(Share { roster, held, turns }) = &self.share else {
            return Some((from, self.due_of(from)?));
        };
        let mut turns = Cow::Borrowed(turns);
        let mut number = from;
        loop {
            // By whose turns a send goes is decided by when it is due.
            if self.due_of(number)? < turns.until_ns {
                let ours = turns.first_from(number);
                if let Some(ours) = ours {
                    let due = self.due_of(ours)?;
                    if due < turns.until_ns {
                        return Some((ours, due));
                    }
                }
                if turns.until_ns == u64::MAX {
                    return None;
                }
                number = self.first_from(number, turns.until_ns);
            }
            if turns.until_ns == u64::MAX {
                return None;
            }
            roster.advance(turns.to_mut(), held);
        }
    }

    fn took(&mut self) {
        let number = self.own(self.position).map_or(self.position, |(number, _)| number);
        self.move_to(number.saturating_add(1));
    }

    fn due_after(&self, sends: u64, until_ns: u64) -> Option<u64> {
        let (mut at, mut last) = (self.position, None);
        for _ in 0..sends {
            let (number, due) = self.own(at).filter(|(_, due)| *due <= until_ns)?;
            (at, last) = (number.saturating_add(1), Some(due));
        }
        last.or_else(|| self.due_of(at))
    }

    fn pass_to(&mut self, time_ns: u64) {
        self.move_to(self.first_from(self.position, time_ns));
    }

    /// The first send from that number on that is due at that time or later.
    fn first_from(&self, number: u64, time_ns: u64) -> u64 {
        let behind = |number: u64| self.due_of(number).is_some_and(|due| due < time_ns);
        if !behind(number) {
            return number;
        }
        // `low` is behind, `high` is not. Begins just before where it has to be.
        let since = self.origin_ns.map_or(0, |origin| i128::from(time_ns) - origin);
        let near = (self.profile.sends_by(since as f64 / 1e9) as u64).saturating_sub(2);
        let low = if near > number && behind(near) { near } else { number };
        let (mut low, mut step) = (low, 1);
        while behind(low.saturating_add(step)) {
            low = low.saturating_add(step);
            if low == u64::MAX {
                return low;
            }
            step = step.saturating_mul(2);
        }
        let mut high = low.saturating_add(step);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if behind(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }
}

/// A rate over time: linear pieces, the last rate kept for ever.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Profile {
    pieces: Vec<Piece>,
    last: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    seconds: f64,
    from: f64,
    to: f64,
}

impl Piece {
    /// Sends within the whole piece: the area under the line.
    fn sends(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.seconds
    }

    /// Sends made after so long within the piece.
    fn sends_by(&self, seconds: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        (self.from + slope / 2.0 * seconds) * seconds
    }

    /// When within the piece `n` sends have been made.
    ///
    /// Solves `from·t + (to-from)/(2·seconds)·t² = n` in the form that does not
    /// subtract nearly equal numbers.
    fn time_of(&self, n: f64) -> f64 {
        if n <= 0.0 {
            return 0.0;
        }
        let slope = (self.to - self.from) / self.seconds;
        let root = (self.from * self.from + 2.0 * slope * n).max(0.0).sqrt();
        2.0 * n / (self.from + root)
    }
}

impl Profile {
    pub(crate) fn constant(rate: f64) -> Self {
        Self { pieces: Vec::new(), last: rate }
    }

    /// The first stage ramps up from 0.
    pub(crate) fn stages(stages: &[Stage]) -> Self {
        let mut from = 0.0;
        let mut pieces = Vec::with_capacity(stages.len());
        for stage in stages {
            if stage.duration > Duration::ZERO {
                pieces.push(Piece { seconds: stage.duration.as_secs_f64(), from, to: stage.rate });
            }
            from = stage.rate;
        }
        Self { pieces, last: from }
    }

    /// Sends made so long after the start.
    fn sends_by(&self, seconds: f64) -> f64 {
        let (mut left, mut sends) = (seconds.max(0.0), 0.0);
        for piece in &self.pieces {
            sends += piece.sends_by(left.min(piece.seconds));
            left = (left - piece.seconds).max(0.0);
        }
        sends + left * self.last
    }

    /// When the `position`th send (from 0) is due, in nanoseconds after the start;
    /// `None`: never.
    pub(crate) fn time_of(&self, position: u64) -> Option<u64> {
        let mut left = position as f64;
        let mut passed = 0.0;
        for piece in &self.pieces {
            let sends = piece.sends();
            if left < sends {
                return Some(to_ns(passed + piece.time_of(left)));
            }
            left -= sends;
            passed += piece.seconds;
        }
        (self.last > 0.0).then(|| to_ns(passed + left / self.last))
    }
}

fn to_ns(seconds: f64) -> u64 {
    // Rounds to the nearest, as it is never negative.
    (seconds * 1e9 + 0.5) as u64
}
