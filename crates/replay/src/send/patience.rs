//! A deadline for one request after the other. Knows nothing of what is waited for.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that is moved far more often than it passes. Its timer is not set for each
/// request: it fires when an earlier one would have been out of time, and is moved then.
#[derive(Debug, Default)]
pub(super) struct Patience {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Ready once this time has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    #[tokio::test]
    async fn it_ends_at_the_deadline_that_was_asked_for_last() {
        let mut patience = Patience::default();
        let begun = Instant::now();
        let (hour, short) = (Duration::from_secs(3600), Duration::from_millis(20));
        // Later, sooner, and later again, without waiting.
        for until in [begun + hour, begun + short, begun + 2 * hour] {
            let first = poll_fn(|cx| Poll::Ready(patience.poll(cx, until))).await;
            assert!(first.is_pending(), "{until:?}");
        }
        // Its timer fires for the sooner one first.
        let later = begun + 2 * short;
        poll_fn(|cx| patience.poll(cx, begun + short)).await;
        assert!(begun.elapsed() >= short);
        poll_fn(|cx| patience.poll(cx, later)).await;
        assert!(begun.elapsed() >= 2 * short);
        // What has passed is over at once.
        let past = poll_fn(|cx| Poll::Ready(patience.poll(cx, begun))).await;
        assert!(past.is_ready());
    }
}
