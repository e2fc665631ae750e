//! One agent from start to report: starts its threads, waits for the stop and
//! reckons up. What the threads do is in [`crate::thread`] and
//! [`crate::recorder`].

use std::{
    net::TcpListener,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use umbra_log::Append;
use umbra_record::id::{self, IdGenerator};

use crate::{
    Config, Report, Stats,
    budget::Budget,
    clock::Clock,
    drain::Deadline,
    lane::{Identity, Lane, Losses, Queue},
    recorder::{Lows, Recorder},
    stats::LaneStats,
    thread::CaptureThread,
};

/// The last flush gets at least this long, however much of the drain is used up.
const LAST_FLUSH: Duration = Duration::from_millis(500);

/// Runs an agent on the calling thread until `stop`, then drains it.
///
/// The listening sockets are shared by `config.threads` capture threads. Requests
/// are answered by the upstream whatever becomes of the log.
// The agent owns what it is given: it is what a thread of its own is started with.
#[allow(clippy::needless_pass_by_value)]
pub fn run<A: Append>(
    config: Config,
    listeners: Vec<TcpListener>,
    log: Arc<A>,
    stats: Stats,
    stop: CancellationToken,
) -> Report {
    let queue: Arc<dyn Queue> = Arc::<A>::clone(&log);
    let mut agent = Agent::new(config, listeners, queue, &stats, stop);
    let threads = agent.start();
    let mut lanes: Vec<Lane> = threads.into_iter().filter_map(join).collect();
    flush(&*log, agent.deadline.left());
    for lane in &mut lanes {
        lane.settle();
        lane.give_up_undurable();
    }
    agent.report()
}

/// What the threads have in common.
struct Agent {
    config: Arc<Config>,
    listeners: Arc<Vec<TcpListener>>,
    queue: Arc<dyn Queue>,
    identity: Arc<Identity>,
    budget: Arc<Budget>,
    losses: Arc<Losses>,
    lanes: Vec<Arc<LaneStats>>,
    stop: CancellationToken,
    deadline: Deadline,
}

impl Agent {
    fn new(
        mut config: Config,
        listeners: Vec<TcpListener>,
        queue: Arc<dyn Queue>,
        stats: &Stats,
        stop: CancellationToken,
    ) -> Self {
        config.threads = config.threads.clamp(1, usize::from(u16::MAX));
        let lanes = config.threads as u32 + 1;
        let identity = Identity {
            agent: IdGenerator::new().next(Clock::new().now().wall_ns),
            lanes,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            labels: config.labels.clone(),
        };
        let budget = Budget::new(config.memory, config.threads);
        stats.attach_budget(Arc::clone(&budget));
        Self {
            listeners: Arc::new(listeners),
            queue,
            identity: Arc::new(identity),
            budget,
            losses: Arc::new(Losses::new(lanes)),
            lanes: (0..lanes).map(|_| stats.attach_lane()).collect(),
            stop,
            deadline: Deadline::default(),
            config: Arc::new(config),
        }
    }

    /// Starts all threads; the recorder, whose lane comes last, ends when the
    /// others have.
    fn start(&mut self) -> Vec<JoinHandle<Lane>> {
        let threads = self.config.threads;
        let (jobs, queue) = mpsc::channel();
        let lows = Arc::new(Lows::new(threads));
        // Each waits for as many connections as all together may have.
        let permits = Arc::new(Semaphore::new(self.config.max_connections.max(1)));
        let listeners = std::mem::take(&mut self.listeners);
        let capture = (0..threads).filter_map(|number| {
            let thread = CaptureThread {
                number: number as u16,
                config: Arc::clone(&self.config),
                listeners: Arc::clone(&listeners),
                permits: Arc::clone(&permits),
                lane: self.lane(number),
                budget: Arc::clone(&self.budget),
                recorder: jobs.clone(),
                lows: Arc::clone(&lows),
                stop: self.stop.clone(),
                deadline: self.deadline.clone(),
            };
            spawn(format!("capture-{number}"), move || thread.run())
        });
        let mut handles: Vec<_> = capture.collect();
        drop(jobs);
        let recorder = Recorder::new(
            Arc::clone(&self.config),
            self.lane(threads),
            lows,
            queue,
            self.deadline.clone(),
        );
        handles.extend(spawn("recorder".to_owned(), move || recorder.run()));
        handles
    }

    fn lane(&self, number: usize) -> Lane {
        Lane::new(
            number as u32,
            Arc::clone(&self.identity),
            Arc::clone(&self.queue),
            Arc::clone(&self.lanes[number]),
            Arc::clone(&self.losses),
        )
    }

    fn report(&self) -> Report {
        let mut report = Report { agent: id::text(&self.identity.agent), ..Report::default() };
        for lane in &self.lanes {
            report.requests += lane.requests.get();
            report.recorded += lane.recorded.get();
            report.not_selected += lane.not_selected.get();
            for (reason, n) in lane.lost() {
                *report.lost.entry(reason.to_owned()).or_default() += n;
            }
        }
        report
    }
}

/// Makes durable what the log holds, as far as the time allows.
fn flush<A: Append>(log: &A, left: Option<Duration>) {
    let within = left.unwrap_or_default().max(LAST_FLUSH);
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(log.flush(within)).map_err(|error| error.to_string()));
    if let Err(error) = done {
        tracing::error!(%error, "not all records are durable");
    }
}

fn spawn(name: String, work: impl FnOnce() -> Lane + Send + 'static) -> Option<JoinHandle<Lane>> {
    std::thread::Builder::new()
        .name(name)
        .spawn(work)
        .inspect_err(|error| tracing::error!(%error, "cannot start a thread"))
        .ok()
}

fn join(thread: JoinHandle<Lane>) -> Option<Lane> {
    let lane = thread.join();
    if lane.is_err() {
        tracing::error!("a thread of the agent ended by a fault of ours");
    }
    lane.ok()
}
