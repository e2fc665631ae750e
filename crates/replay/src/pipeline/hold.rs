//! A target that takes no connections: its pipeline holds, probes with a back-off
//! and goes on with the recorded spacing when it is back, so that nothing is lost,
//! reordered or sent as a burst; or, if told so, skips and counts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{End, Pipeline, Stage, course::LATE_NS};
use crate::{config::WhenDown, order::Ticket, outcome::Outcome, send::Sender, tally::Skip};

#[cfg(test)]
mod tests;

/// How long a target of a window may be down unless told otherwise.
const GIVE_UP: Duration = Duration::from_secs(300);

const FIRST_PROBE: Duration = Duration::from_millis(50);
const SLOWEST_PROBE: Duration = Duration::from_secs(1);

/// A target that is down again so soon after it was back is looked for with twice the
/// pause: each time it is back, the clock moves for everybody.
const STEADY: Duration = Duration::from_secs(10);

/// How a target comes and goes.
#[derive(Debug, Default)]
pub(super) struct Flaps {
    back: Option<Instant>,
    times: u32,
}

impl Flaps {
    /// It is down: how long to wait before it is looked for.
    fn pause(&mut self, now: Instant) -> Duration {
        let again = self.back.is_some_and(|back| now.duration_since(back) < STEADY);
        self.times = if again { self.times.saturating_add(1) } else { 0 };
        FIRST_PROBE.saturating_mul(1 << self.times.min(16)).min(SLOWEST_PROBE)
    }
}

/// Since when the target is down, and the task that finds out that it is back.
pub(super) struct Down {
    since: Instant,
    /// What is asked of the one that is down.
    when_down: WhenDown,
    pub(super) why: String,
    /// Of the clock, when it went down.
    epoch: Option<u64>,
    sender: Arc<Sender>,
    probe: JoinSet<()>,
}

impl Down {
    fn new(sender: Arc<Sender>, when_down: WhenDown, why: String, epoch: Option<u64>) -> Self {
        let probe = JoinSet::new();
        Self { since: Instant::now(), when_down, why, epoch, sender, probe }
    }

    /// Begins to look for it anew, after so long.
    fn look(&mut self, first: Duration) {
        let sender = Arc::clone(&self.sender);
        self.probe = JoinSet::new();
        self.probe.spawn(async move {
            let mut pause = first;
            loop {
                tokio::time::sleep(pause).await;
                if sender.probe().await {
                    return;
                }
                pause = (pause * 2).min(SLOWEST_PROBE);
            }
        });
    }

    /// Waits until it is back. Cancel-safe.
    pub(super) async fn back(&mut self) {
        self.probe.join_next().await;
    }

    pub(super) fn lasted(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Pipeline {
    /// Whether requests that are due stay where they are.
    pub(super) fn is_held(&self) -> bool {
        self.is_down_held() || self.course.is_stopped()
    }

    /// Whether they do because the target is down.
    pub(super) fn is_down_held(&self) -> bool {
        self.down.as_ref().is_some_and(|down| matches!(down.when_down, WhenDown::Hold(_)))
    }

    pub(super) fn is_skipping(&self) -> bool {
        self.down.as_ref().is_some_and(|down| down.when_down == WhenDown::Skip)
    }

    /// A send found nobody to connect to. Its request has not left.
    pub(super) fn on_down(&mut self, ticket: Ticket, outcome: &Outcome) {
        let (name, sender) = (self.target.name.clone(), Arc::clone(&self.sender));
        self.found_down(&name, self.target.when_down, sender, &outcome.detail);
        self.note_refused(ticket, outcome);
        if self.is_skipping() {
            self.refused_for_good(ticket);
            self.skip(ticket, Skip::Down);
            return;
        }
        self.wait_again(ticket);
        self.wait_all_again();
    }

    /// Somebody to send to, this target or one beside it, refuses connections.
    pub(super) fn found_down(
        &mut self,
        name: &str,
        when_down: WhenDown,
        sender: Arc<Sender>,
        detail: &str,
    ) {
        if self.down.is_none() {
            tracing::warn!(target_name = name, why = detail, "the target is down");
            let why = format!("the target {name} is down: {detail}");
            let mut down = Down::new(sender, when_down, why, self.epoch());
            down.look(self.flaps.pause(Instant::now()));
            self.down = Some(down);
        }
    }

    /// Some of those that are sent this request have answered it, one is down.
    pub(super) fn answered_in_part(&mut self, ticket: Ticket, outcome: Option<Outcome>) {
        self.keep_outcome(ticket, outcome);
        self.wait_again(ticket);
        self.wait_all_again();
    }

    fn wait_all_again(&mut self) {
        // All that is due goes back in line, so that it leaves in the recorded
        // spacing when the target is back.
        let due: Vec<Ticket> = self
            .flights
            .iter()
            .filter(|(_, flight)| matches!(flight.stage, Stage::Ready | Stage::Blocked { .. }))
            .map(|(ticket, _)| *ticket)
            .collect();
        self.ready.clear();
        for ticket in due {
            self.wait_again(ticket);
        }
    }

    fn wait_again(&mut self, ticket: Ticket) {
        let Some(flight) = self.flights.get_mut(&ticket) else { return };
        if flight.handed_over {
            return self.hand_over(ticket);
        }
        self.going -= 1;
        flight.stage = Stage::Waiting;
        self.merge.insert(flight.place, ticket);
    }

    /// The request came back unsent, and its partition is somebody else's: whoever reads
    /// it next sends it.
    fn hand_over(&mut self, ticket: Ticket) {
        let answered = self.flights.get(&ticket).is_some_and(|one| one.answers.has_own());
        if answered {
            // It was sent to this target, only not to those beside it.
            self.not_judged(ticket, "handed_over");
            return self.settled(ticket);
        }
        if let Some(flight) = self.flights.remove(&ticket) {
            self.give_back(ticket, &flight);
            flight.leave();
        }
    }

    /// The target takes connections again.
    pub(super) fn on_back(&mut self) {
        let (held, then) = (self.is_down_held(), self.down.as_ref().map(|down| down.epoch));
        self.on_down_end();
        if !held || self.merge.first().is_none() {
            return;
        }
        if !self.carry.pacer.is_clocked() {
            self.go_on_from_first();
        } else if then == Some(self.epoch()) || self.waits_for(LATE_NS) {
            // Nobody else has moved the clock in the meantime, or not as far: for whoever
            // did, the target was back earlier.
            self.propose_to_go_on();
        }
    }

    /// Another member goes on: the target is back for it.
    pub(super) fn hurry_probe(&mut self) {
        if let Some(down) = &mut self.down {
            down.look(FIRST_PROBE);
        }
    }

    /// Counts how long it was down, however that ends.
    pub(super) fn on_down_end(&mut self) {
        if let Some(down) = self.down.take() {
            self.flaps.back = Some(Instant::now());
            let lasted = down.lasted();
            self.judge_refused(lasted);
            self.carry.down += lasted;
            tracing::info!(
                target_name = self.target.name,
                ?lasted,
                "no longer waits for the target"
            );
        }
    }

    /// Whether the target has been down for too long.
    pub(super) fn check_patience(&mut self) {
        let patience = match self.down.as_ref().map_or(self.target.when_down, |down| down.when_down)
        {
            WhenDown::Hold(Some(patience)) => patience,
            WhenDown::Hold(None) if !self.job.planned.live => GIVE_UP,
            _ => return,
        };
        if self.down.as_ref().is_some_and(|down| down.lasted() >= patience) {
            tracing::error!(target_name = self.target.name, ?patience, "down for too long");
            self.drain(End::GaveUp, Duration::ZERO);
        }
    }
}
