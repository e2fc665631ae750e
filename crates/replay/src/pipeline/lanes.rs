//! The sends of a pipeline. As many tasks as there may be requests in flight stay for as
//! long as the pipeline: handing one of them a request costs a fraction of making a task
//! for it. Decides neither what is sent nor when.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use futures_util::task::AtomicWaker;
use tokio::task::JoinSet;

use crate::{
    error::ReplayError,
    judge::{Asked, Beside},
    order::Ticket,
    outcome::{Outcome, Outgoing},
    send::{Reused, Sender},
};

/// What is to be sent, and to whom.
pub(super) enum Job {
    /// To the target.
    Alone(Outgoing),
    /// To it and those that are asked beside it.
    Beside(Box<Asked>, Outgoing),
}

/// A send that has ended.
pub(super) struct Sent {
    pub(super) ticket: Ticket,
    pub(super) started: Instant,
    /// Absent: only those beside the target were asked, because it had answered before.
    pub(super) outcome: Option<Outcome>,
    /// Absent: nobody beside it was.
    pub(super) beside: Option<Box<Beside>>,
}

/// See the module. Dropped, it gives up what is in flight.
pub(super) struct Lanes {
    sender: Arc<Sender>,
    lanes: Vec<Arc<Lane>>,
    /// Those that wait for a request, the one that did something last at the end.
    idle: Vec<usize>,
    tasks: JoinSet<()>,
    done: Arc<Done>,
    /// Taken from `done` together. Bounded, as that is, by the number of lanes.
    taken: VecDeque<(usize, Sent)>,
}

/// One task's place to be given a request.
#[derive(Default)]
struct Lane {
    job: Mutex<Option<(Ticket, Job)>>,
    given: AtomicWaker,
}

/// Sends that have ended.
#[derive(Default)]
struct Done {
    sent: Mutex<VecDeque<(usize, Sent)>>,
    some: AtomicWaker,
}

impl Lanes {
    pub(super) fn new(sender: Arc<Sender>) -> Self {
        Self {
            sender,
            lanes: Vec::new(),
            idle: Vec::new(),
            tasks: JoinSet::new(),
            done: Arc::default(),
            taken: VecDeque::new(),
        }
    }

    /// Sends it. How many are in flight is bounded by whoever calls.
    pub(super) fn send(&mut self, ticket: Ticket, job: Job) {
        let index = self.idle.pop().unwrap_or_else(|| self.open());
        let lane = &self.lanes[index];
        *lane.job.lock().unwrap_or_else(PoisonError::into_inner) = Some((ticket, job));
        lane.given.wake();
    }

    fn open(&mut self) -> usize {
        let (index, lane) = (self.lanes.len(), Arc::<Lane>::default());
        self.lanes.push(Arc::clone(&lane));
        let (sender, done) = (Arc::clone(&self.sender), Arc::clone(&self.done));
        self.tasks.spawn(async move {
            let mut reused = Reused::default();
            loop {
                let (ticket, job) = lane.next().await;
                let started = Instant::now();
                let (outcome, beside) = match job {
                    Job::Alone(outgoing) => {
                        let outcome = sender.send_again(outgoing, &mut reused).await;
                        (Some(outcome), None)
                    }
                    Job::Beside(asked, outgoing) => {
                        let (outcome, beside) = Box::pin(asked.send(outgoing)).await;
                        (outcome, Some(Box::new(beside)))
                    }
                };
                done.push(index, Sent { ticket, started, outcome, beside });
            }
        });
        index
    }

    /// One that has ended, if there is any.
    pub(super) fn try_next(&mut self) -> Option<Sent> {
        if self.taken.is_empty() {
            std::mem::swap(&mut self.taken, &mut *self.done.lock());
        }
        let (index, sent) = self.taken.pop_front()?;
        self.idle.push(index);
        Some(sent)
    }

    /// The next one that ends. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Sent, ReplayError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Sent, ReplayError>> {
        // A task ends only if it panics; the request it had would never come back.
        if let Poll::Ready(Some(Err(error))) = self.tasks.poll_join_next(cx) {
            return Poll::Ready(Err(ReplayError::Bug(format!("a send failed: {error}"))));
        }
        if let Some(sent) = self.try_next() {
            return Poll::Ready(Ok(sent));
        }
        self.done.some.register(cx.waker());
        self.try_next().map_or(Poll::Pending, |sent| Poll::Ready(Ok(sent)))
    }

    /// Gives up what is in flight.
    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}

impl Lane {
    async fn next(&self) -> (Ticket, Job) {
        let take = || self.job.lock().unwrap_or_else(PoisonError::into_inner).take();
        poll_fn(|cx| {
            if let Some(job) = take() {
                return Poll::Ready(job);
            }
            self.given.register(cx.waker());
            take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl Done {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(usize, Sent)>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, index: usize, one: Sent) {
        let first = {
            let mut sent = self.lock();
            sent.push_back((index, one));
            sent.len() == 1
        };
        if first {
            self.some.wake();
        }
    }
}
