//! A capture thread: its runtime, its connections, its lane's upkeep, its drain.

use std::{
    rc::Rc,
    sync::{Arc, mpsc::Sender},
    time::{Duration, Instant},
};

use tokio::{
    runtime::Runtime,
    task::{JoinError, JoinSet, LocalSet},
    time::{Interval, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    budget::{Budget, Credit},
    descriptors::{Descriptors, Reserve},
    drain::{Deadline, Stop},
    front::{Front, Unwelcome},
    lane::Lane,
    listener::{Accepted, Acceptor},
    proxy::Proxy,
    recorder::{Job, Lows},
    tap::Tap,
};

/// How often a lane looks after losses, Gaps, Marks and idle connections.
const TICK: Duration = Duration::from_millis(200);

/// Pause before a full log is asked again to take the last records.
const PAUSE: Duration = Duration::from_millis(2);

/// Everything a capture thread starts with.
pub(crate) struct CaptureThread {
    /// Counts from 0; also the number of its lane.
    pub(crate) number: u16,
    pub(crate) config: Arc<Config>,
    pub(crate) acceptor: Acceptor,
    pub(crate) descriptors: Arc<Descriptors>,
    pub(crate) lane: Lane,
    pub(crate) budget: Arc<Budget>,
    pub(crate) recorder: Sender<Job>,
    pub(crate) lows: Arc<Lows>,
    pub(crate) stop: CancellationToken,
    pub(crate) deadline: Deadline,
}

/// However a thread ends, it begins no further request.
struct Over {
    lows: Arc<Lows>,
    thread: usize,
}

impl CaptureThread {
    /// Captures until stopped and drained. Gives the lane back, ended.
    pub(crate) fn run(self, runtime: Runtime) -> Lane {
        let deadline = self.deadline.clone();
        let over = Over { lows: Arc::clone(&self.lows), thread: usize::from(self.number) };
        let local = LocalSet::new();
        let mut lane = local.block_on(&runtime, self.capture());
        drop(local);
        // A name look-up that hangs must not hold up the end.
        runtime.shutdown_background();
        drop(over);
        end(&mut lane, &deadline);
        lane
    }

    async fn capture(self) -> Lane {
        let Self { number, config, mut acceptor, lane, .. } = self;
        let credit = Credit::new(self.budget, usize::from(number));
        let tap = Rc::new(Tap::new(Arc::clone(&config), lane, credit, self.recorder));
        let stop = Rc::new(Stop::default());
        let reserve = Rc::new(Reserve::new(self.descriptors));
        let proxy = Rc::new(Proxy::new(Rc::clone(&tap), Rc::clone(&stop), reserve, number));
        let front = Rc::new(Front::new(&config, Rc::clone(&stop)));
        let mut upkeep = Upkeep::new(Rc::clone(&proxy), self.lows, usize::from(number));
        let mut connections = JoinSet::new();
        accept(&mut acceptor, &front, &proxy, &mut connections, &mut upkeep, &self.stop).await;
        // What the system has accepted already would be reset otherwise.
        while let Some(accepted) = acceptor.accept_waiting() {
            spawn(&front, &proxy, &mut connections, accepted);
        }
        drop(acceptor);
        stop.stop();
        let end = self.deadline.set(config.drain);
        drain(&mut connections, &mut upkeep, end - config.drain / 4).await;
        proxy.routes.end().await;
        drop((upkeep, proxy));
        let tap = Rc::into_inner(tap).expect("all connections have ended, nobody else has it");
        tap.into_lane()
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        self.lows.publish(self.thread, u64::MAX);
    }
}

/// Accepts connections until the stop.
async fn accept(
    acceptor: &mut Acceptor,
    front: &Rc<Front>,
    proxy: &Rc<Proxy>,
    connections: &mut JoinSet<()>,
    upkeep: &mut Upkeep,
    stop: &CancellationToken,
) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = upkeep.due() => {}
            Some(ended) = connections.join_next() => upkeep.ended(ended),
            accepted = acceptor.accept(&proxy.reserve) => {
                spawn(front, proxy, connections, accepted);
                upkeep.connections(connections.len());
                // The next one may go to another thread.
                tokio::task::yield_now().await;
            }
        }
    }
}

fn spawn(front: &Rc<Front>, proxy: &Rc<Proxy>, connections: &mut JoinSet<()>, accepted: Accepted) {
    let Accepted { incoming, permit } = accepted;
    let (front, proxy) = (Rc::clone(front), Rc::clone(proxy));
    let counted = proxy.reserve.client();
    connections.spawn_local(async move {
        match front.welcome(incoming).await {
            Ok(client) => proxy.serve(client).await,
            Err(Unwelcome::Silent) => {}
            Err(Unwelcome::Because(reason)) => {
                proxy.tap.lane.borrow().stats().refuse(reason);
            }
        }
        drop((counted, permit));
    });
}

/// Waits for the connections to end, and ends them at the deadline.
async fn drain(connections: &mut JoinSet<()>, upkeep: &mut Upkeep, deadline: Instant) {
    loop {
        tokio::select! {
            ended = connections.join_next() => match ended {
                Some(ended) => upkeep.ended(ended),
                None => return,
            },
            () = upkeep.due() => {}
            () = tokio::time::sleep_until(deadline.into()) => break,
        }
    }
    tracing::warn!(connections = connections.len(), "requests cut off at the end of the drain");
    connections.shutdown().await;
}

/// Ends a lane: its last Gaps and Marks.
fn end(lane: &mut Lane, deadline: &Deadline) {
    let clock = crate::clock::Clock::new();
    while !lane.end(clock.now().wall_ns, deadline.is_near()) && !deadline.is_over() {
        std::thread::park_timeout(PAUSE);
    }
}

/// What has to be done from time to time.
struct Upkeep {
    proxy: Rc<Proxy>,
    lows: Arc<Lows>,
    thread: usize,
    interval: Interval,
}

impl Upkeep {
    fn new(proxy: Rc<Proxy>, lows: Arc<Lows>, thread: usize) -> Self {
        let mut interval = interval(TICK.min(proxy.tap.config.mark_every));
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { proxy, lows, thread, interval }
    }

    /// Waits until it is time, and does it. Cancel-safe.
    async fn due(&mut self) {
        let now = self.interval.tick().await;
        let tap = &self.proxy.tap;
        let now_ns = tap.now().wall_ns;
        let low_ns = tap.flights.oldest().map_or(now_ns, |oldest| oldest.min(now_ns));
        self.lows.publish(self.thread, low_ns);
        let mut lane = tap.lane.borrow_mut();
        lane.settle();
        lane.write_gaps(now_ns);
        lane.write_marks(now_ns, low_ns, tap.config.mark_every);
        drop(lane);
        self.proxy.routes.prune(now.into_std());
        self.proxy.routes.close(self.proxy.reserve.spare_upstreams());
    }

    fn connections(&self, open: usize) {
        self.proxy.tap.lane.borrow().stats().connections.set(open as u64);
    }

    fn ended(&self, ended: Result<(), JoinError>) {
        let lane = self.proxy.tap.lane.borrow();
        let open = &lane.stats().connections;
        open.set(open.get().saturating_sub(1));
        if let Err(error) = ended
            && error.is_panic()
        {
            lane.stats().refuse("fault");
            tracing::error!(%error, "a connection ended by a fault of ours");
        }
    }
}
