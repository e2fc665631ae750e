//! Targets that are asked beside a shadow: the old version as the baseline, and a second
//! instance of it as the measure of noise. They get each request when the shadow does.

use std::sync::Arc;

use crate::{
    config::Target,
    judge::Judge,
    outcome::{Class, Outcome, Outgoing},
    report::Times,
    send::Sender,
    stats::TargetStats,
    tally::Tally,
};

/// A target that is asked beside the shadow.
#[derive(Clone)]
pub(crate) struct Companion {
    pub target: Target,
    pub sender: Arc<Sender>,
    pub stats: TargetStats,
}

/// What a pipeline needs for judging.
pub(crate) struct Bench {
    pub judge: Arc<Judge>,
    /// Absent: production's recorded answer is the baseline.
    pub baseline: Option<Companion>,
    pub noise: Option<Companion>,
}

/// What the companions said in one send.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    pub baseline: Option<Outcome>,
    pub noise: Option<Outcome>,
}

/// Who is to be asked in one send.
#[derive(Default)]
pub(crate) struct Asked {
    pub own: Option<Arc<Sender>>,
    pub baseline: Option<Arc<Sender>>,
    pub noise: Option<Arc<Sender>>,
}

/// What a companion was sent, and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Exchanges {
    pub tally: Tally,
    pub latency: Times,
}

impl Exchanges {
    pub(crate) fn new() -> Self {
        Self { tally: Tally::default(), latency: Times::new() }
    }

    pub(crate) fn count(&mut self, outcome: &Outcome) {
        self.tally.selected += 1;
        self.tally.sent += 1;
        self.tally.made(outcome);
        if outcome.class == Class::Answered {
            self.tally.answered += 1;
            let status = outcome.answer.as_ref().map_or(0, |answer| answer.status);
            *self.tally.status.entry(status).or_default() += 1;
            self.latency.record(outcome.latency);
        } else {
            self.tally.fail(outcome.class);
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.tally.add(&other.tally);
        self.latency.add(&other.latency);
    }
}

impl Asked {
    /// Sends a request to all of them at once. Which of them is first depends on the
    /// request, as if by chance: in a fixed order one would always find warm what the
    /// other had to fetch.
    pub(crate) async fn send(self, outgoing: Outgoing) -> (Option<Outcome>, Beside) {
        let mut senders = [self.own, self.baseline, self.noise]
            .map(|sender| sender.map(|sender| (sender, outgoing.clone())));
        let turns = turns(&outgoing.request.id);
        let sends = turns.map(|turn| {
            let sender = senders[turn].take();
            Box::pin(async move {
                let (sender, outgoing) = sender?;
                Some(sender.send(outgoing).await)
            })
        });
        let mut outcomes = [None, None, None];
        let sent = futures_util::future::join_all(sends).await;
        for (turn, outcome) in turns.into_iter().zip(sent) {
            outcomes[turn] = outcome;
        }
        let [own, baseline, noise] = outcomes;
        (own, Beside { baseline, noise })
    }
}

/// An order of three that follows from the request's id, each as likely.
fn turns(id: &[u8]) -> [usize; 3] {
    const ORDERS: [[usize; 3]; 6] =
        [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let hash = u128::from_be_bytes(umbra_record::hash::of(id));
    ORDERS[(hash % ORDERS.len() as u128) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_follows_from_the_id_and_each_is_as_likely() {
        let mut first = [0u32; 3];
        for number in 0..6000u32 {
            let id = number.to_be_bytes();
            assert_eq!(turns(&id), turns(&id));
            first[turns(&id)[0]] += 1;
        }
        assert!(first.iter().all(|count| (1800..2200).contains(count)), "{first:?}");
    }
}
