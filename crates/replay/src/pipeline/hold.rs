//! A target that takes no connections: its pipeline holds, probes with a back-off
//! and goes on with the recorded spacing when it is back, so that nothing is lost,
//! reordered or sent as a burst; or, if told so, skips and counts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{End, Pipeline, Stage};
use crate::{
    clock::Anchor, config::WhenDown, error::ReplayError, order::Ticket, outcome::Outcome,
    pacer::Pacer, send::Sender, tally::Skip,
};

/// How long a target of a window may be down unless told otherwise.
const GIVE_UP: Duration = Duration::from_secs(300);

const FIRST_PROBE: Duration = Duration::from_millis(50);
const SLOWEST_PROBE: Duration = Duration::from_secs(1);

/// Since when the target is down, and the task that finds out that it is back.
#[derive(Debug)]
pub(super) struct Down {
    since: Instant,
    pub(super) why: String,
    probe: JoinSet<()>,
}

impl Down {
    fn new(sender: Arc<Sender>, why: String) -> Self {
        let mut probe = JoinSet::new();
        probe.spawn(async move {
            let mut pause = FIRST_PROBE;
            loop {
                tokio::time::sleep(pause).await;
                if sender.probe().await {
                    return;
                }
                pause = (pause * 2).min(SLOWEST_PROBE);
            }
        });
        Self { since: Instant::now(), why, probe }
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
        self.down.is_some() && matches!(self.target.when_down, WhenDown::Hold(_))
    }

    pub(super) fn is_skipping(&self) -> bool {
        self.down.is_some() && self.target.when_down == WhenDown::Skip
    }

    /// A send found nobody to connect to. Its request has not left.
    pub(super) fn on_down(&mut self, ticket: Ticket, outcome: &Outcome) {
        if self.down.is_none() {
            let name = &self.target.name;
            tracing::warn!(target_name = name, why = outcome.detail, "the target is down");
            let why = format!("the target is down: {}", outcome.detail);
            self.down = Some(Down::new(Arc::clone(&self.sender), why));
        }
        if self.is_skipping() {
            self.skip(ticket, Skip::Down);
            return;
        }
        self.wait_again(ticket);
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
        if let Some(flight) = self.flights.get_mut(&ticket) {
            self.going -= 1;
            self.carry.dispatched -= 1;
            flight.stage = Stage::Waiting;
            self.merge.insert(flight.place, ticket);
        }
    }

    /// The target takes connections again.
    pub(super) async fn on_back(&mut self) -> Result<(), ReplayError> {
        let held = self.is_held();
        self.on_down_end();
        let Some(((t0_ns, ..), _)) = self.merge.first() else { return Ok(()) };
        if !held {
            return Ok(());
        }
        let anchor = match self.carry.pacer {
            Pacer::Max => return Ok(()),
            // Live traffic has no clock to agree on.
            Pacer::Arrival { .. } => Anchor { t0_ns, wall0_ns: self.now() },
            Pacer::Recorded { .. } | Pacer::Rate(_) => {
                let position = self.carry.pacer.position();
                self.job.clock.move_to(&self.target.name, t0_ns, position).await?
            }
        };
        self.carry.pacer.anchor(anchor);
        Ok(())
    }

    /// Counts how long it was down, however that ends.
    pub(super) fn on_down_end(&mut self) {
        if let Some(down) = self.down.take() {
            let lasted = down.lasted();
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
        let patience = match self.target.when_down {
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
