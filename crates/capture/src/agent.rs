//! One agent from start to report: starts its threads, waits for the stop and
//! reckons up. What the threads do is in [`crate::thread`] and
//! [`crate::recorder`].

use std::{
    io,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{runtime, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use umbra_log::Append;
use umbra_record::id::{self, IdGenerator};

use crate::{
    Config, Report, Stats,
    budget::Budget,
    clock::Clock,
    descriptors::Descriptors,
    drain::Deadline,
    front::Watcher,
    lane::{Identity, Lane, Losses, Outlet, Queue},
    listener::{Acceptor, Listener},
    recorder::{Lows, Recorder},
    redactor::Redactor,
    spool::{Spool, Worker as SpoolWorker},
    stats::LaneStats,
    thread::CaptureThread,
};

/// The last flush gets at least this long, however much of the drain is used up.
const LAST_FLUSH: Duration = Duration::from_millis(500);

/// What the log has not made durable then, is taken back within this: its thread may
/// be asking brokers that do not answer.
const TAKE_BACK: Duration = Duration::from_secs(6);

/// Why an agent could not start, or ended before it was told to. No request and
/// no state of the log is the cause.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The system refuses what a thread needs. No request has been taken.
    #[error("cannot start {thread}: {error}")]
    Start {
        /// Its name.
        thread: String,
        /// What the system says.
        error: io::Error,
    },
    /// The spool's directory cannot be used, and is required. No request has been
    /// taken.
    #[error("the spool in {dir} cannot be used: {error}")]
    Spool {
        /// As configured.
        dir: String,
        /// What the system says.
        error: io::Error,
    },
    /// A thread panicked, so the others were drained. What it had in hand may be
    /// neither recorded nor counted; the report says what is known.
    #[error("{thread} ended by a fault of ours")]
    Panicked {
        /// Its name.
        thread: String,
        /// As far as the others know.
        report: Report,
    },
}

/// A name for a process that captures, unlike any other: see [`Config::agent`].
pub fn new_agent() -> [u8; 16] {
    IdGenerator::new().next(Clock::new().now().wall_ns)
}

/// Runs an agent on the calling thread until `stop`, then drains it.
///
/// The listening sockets are shared by `config.threads` capture threads. Requests
/// are answered by the upstream whatever becomes of the log.
///
/// # Errors
/// A thread cannot start, or has panicked.
// The agent owns what it is given: it is what a thread of its own is started with.
#[allow(clippy::needless_pass_by_value)]
pub fn run<A: Append>(
    config: Config,
    listeners: Vec<Listener>,
    log: Arc<A>,
    stats: Stats,
    stop: CancellationToken,
) -> Result<Report, AgentError> {
    let queue: Arc<dyn Queue> = Arc::<A>::clone(&log);
    // A thread that panics stops the others, but nothing of the caller's.
    let mut agent = Agent::new(config, listeners, queue, &stats, stop.child_token());
    let spool = agent.start_spool(&stats).inspect_err(|_| stats.detach())?;
    let certificates = agent.watch_certificates(&stats).inspect_err(|_| stats.detach())?;
    let mut panicked = None;
    let mut lanes = Vec::new();
    for worker in agent.start()? {
        match worker.join() {
            Ok(lane) => lanes.extend(lane),
            Err(thread) => panicked = panicked.or(Some(thread)),
        }
    }
    let spool = spool.and_then(|spool| spool.end().map_err(|thread| panicked = Some(thread)).ok());
    let left = agent.deadline.left().unwrap_or_default().max(LAST_FLUSH);
    let spooled = match spool {
        None => flush(&*log, left, &mut lanes),
        Some(spool) => keep(&*log, spool, left, &mut lanes),
    };
    // The files may lie on a disk that hangs.
    drop(certificates);
    let report = Report { spooled, ..agent.report() };
    stats.detach();
    match panicked {
        Some(thread) => Err(AgentError::Panicked { thread, report }),
        None => Ok(report),
    }
}

/// What the threads have in common.
struct Agent {
    config: Arc<Config>,
    listeners: Vec<Listener>,
    outlet: Outlet,
    identity: Arc<Identity>,
    budget: Arc<Budget>,
    lanes: Vec<Arc<LaneStats>>,
    stop: CancellationToken,
    deadline: Deadline,
}

/// What a capture thread stands on, made before any of them begins.
struct Ground {
    runtime: runtime::Runtime,
    acceptor: Acceptor,
}

/// A thread, waiting for its work or doing it.
struct Worker {
    name: String,
    give: mpsc::Sender<Work>,
    handle: JoinHandle<Option<Lane>>,
}

type Work = Box<dyn FnOnce() -> Lane + Send>;

/// The thread's last act if it panics: the others are drained.
struct StopOnPanic(CancellationToken);

impl Agent {
    fn new(
        mut config: Config,
        listeners: Vec<Listener>,
        queue: Arc<dyn Queue>,
        stats: &Stats,
        stop: CancellationToken,
    ) -> Self {
        config.threads = config.threads.clamp(1, usize::from(u16::MAX));
        let lanes = config.threads as u32 + 1;
        let identity = Identity {
            agent: config.agent,
            lanes,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            labels: config.labels.clone(),
        };
        let budget = Budget::new(config.memory, config.threads);
        stats.attach_budget(Arc::clone(&budget));
        stats.attach_log(Arc::clone(&queue));
        stats.attach_keys(config.privacy.seal_keys.clone());
        let spool = config.spool.as_ref().map(|spool| Spool::new(spool, lanes));
        // The spool's thread finds what the log has lost beside the lanes.
        let losses = Arc::new(Losses::new(lanes + u32::from(spool.is_some())));
        Self {
            listeners,
            outlet: Outlet { log: queue, spool, losses },
            identity: Arc::new(identity),
            budget,
            lanes: (0..lanes).map(|_| stats.attach_lane()).collect(),
            stop,
            deadline: Deadline::default(),
            config: Arc::new(config),
        }
    }

    /// Starts the spool's thread, if there is to be one. Where it cannot be and need
    /// not, the agent goes on without.
    fn start_spool(&mut self, stats: &Stats) -> Result<Option<SpoolThread>, AgentError> {
        let (Some(config), Some(spool)) = (&self.config.spool, self.outlet.spool.take()) else {
            return Ok(None);
        };
        let worker = SpoolWorker::new(
            config.clone(),
            Arc::clone(&spool),
            Arc::clone(&self.outlet.log),
            (Arc::clone(&self.outlet.losses), self.lanes.len() as u32),
            self.identity.agent,
            self.deadline.clone(),
        );
        let dir = config.dir.display().to_string();
        let worker = match worker {
            Ok(worker) => worker,
            Err(error) if config.required => return Err(AgentError::Spool { dir, error }),
            Err(error) => {
                tracing::warn!(%error, dir, "there can be no spool: what the log does not take is kept in memory only");
                self.outlet.losses = Arc::new(Losses::new(self.lanes.len() as u32));
                return Ok(None);
            }
        };
        self.outlet.spool = Some(Arc::clone(&spool));
        stats.attach_spool(Arc::clone(&spool));
        tracing::info!(dir = %worker.dir().display(), "records go there while the log does not take them");
        let guard = StopOnPanic(self.stop.clone());
        let name = "spool".to_owned();
        let handle = std::thread::Builder::new().name(name.clone()).spawn(move || {
            let _guard = guard;
            worker.run()
        });
        let handle = handle.map_err(|error| AgentError::Start { thread: name, error })?;
        Ok(Some(SpoolThread { spool, handle: Some(handle) }))
    }

    /// Starts the thread that looks after certificates, if there are any.
    fn watch_certificates(&self, stats: &Stats) -> Result<Option<Watcher>, AgentError> {
        let Some(tls) = &self.config.tls else { return Ok(None) };
        stats.attach_tls(tls.clone());
        Watcher::start(tls.clone())
            .map(Some)
            .map_err(|error| AgentError::Start { thread: "certificates".to_owned(), error })
    }

    /// Starts all threads; the recorder, whose lane comes last, ends when the
    /// others have. First whatever may fail is done for all of them, then they get
    /// their work: none takes a request unless all can.
    fn start(&mut self) -> Result<Vec<Worker>, AgentError> {
        let threads = self.config.threads;
        // Each waits for as many connections as all together may have.
        let permits = Arc::new(Semaphore::new(self.config.max_connections.max(1)));
        let listeners = Arc::new(std::mem::take(&mut self.listeners));
        let descriptors = Descriptors::new()
            .map_err(|error| AgentError::Start { thread: "the agent".to_owned(), error })?;
        let descriptors = Arc::new(descriptors);
        let mut workers = Vec::with_capacity(threads + 1);
        let mut grounds = Vec::with_capacity(threads);
        for number in 0..threads {
            let worker = self.worker(format!("capture-{number}"))?;
            let ground = Ground::new(&listeners, &permits)
                .map_err(|error| AgentError::Start { thread: worker.name.clone(), error })?;
            workers.push(worker);
            grounds.push(ground);
        }
        workers.push(self.worker("recorder".to_owned())?);

        let (jobs, queue) = mpsc::channel();
        let lows = Arc::new(Lows::new(threads));
        for (number, Ground { runtime, acceptor }) in grounds.into_iter().enumerate() {
            let thread = CaptureThread {
                number: number as u16,
                config: Arc::clone(&self.config),
                acceptor,
                descriptors: Arc::clone(&descriptors),
                lane: self.lane(number),
                budget: Arc::clone(&self.budget),
                recorder: jobs.clone(),
                lows: Arc::clone(&lows),
                stop: self.stop.clone(),
                deadline: self.deadline.clone(),
            };
            workers[number].give(move || thread.run(runtime));
        }
        drop(jobs);
        let recorder = Recorder::new(
            Arc::clone(&self.config),
            self.lane(threads),
            lows,
            queue,
            self.deadline.clone(),
        );
        workers[threads].give(move || recorder.run());
        Ok(workers)
    }

    fn worker(&self, name: String) -> Result<Worker, AgentError> {
        Worker::spawn(name.clone(), self.stop.clone())
            .map_err(|error| AgentError::Start { thread: name, error })
    }

    fn lane(&self, number: usize) -> Lane {
        Lane::new(
            number as u32,
            Arc::clone(&self.identity),
            self.outlet.clone(),
            Arc::clone(&self.lanes[number]),
            Redactor::new(&self.config.privacy),
        )
    }

    fn report(&self) -> Report {
        let mut report = Report { agent: id::text(&self.identity.agent), ..Report::default() };
        for lane in &self.lanes {
            report.requests += lane.requests.get();
            report.recorded += lane.recorded_total();
            report.not_selected += lane.not_selected.get();
            for (reason, n) in lane.lost() {
                *report.lost.entry(reason.to_owned()).or_default() += n;
            }
        }
        report
    }
}

impl Ground {
    fn new(listeners: &Arc<Vec<Listener>>, permits: &Arc<Semaphore>) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let acceptor = {
            let _entered = runtime.enter();
            Acceptor::new(Arc::clone(listeners), Arc::clone(permits))?
        };
        Ok(Self { runtime, acceptor })
    }
}

impl Worker {
    /// `stop` is given if it panics.
    fn spawn(name: String, stop: CancellationToken) -> io::Result<Self> {
        let (give, work) = mpsc::channel::<Work>();
        let handle = std::thread::Builder::new().name(name.clone()).spawn(move || {
            let _guard = StopOnPanic(stop);
            // Without work another thread could not start.
            work.recv().ok().map(|work| work())
        })?;
        Ok(Self { name, give, handle })
    }

    fn give(&self, work: impl FnOnce() -> Lane + Send + 'static) {
        // It waits for work and for nothing else, so it is there.
        let _ = self.give.send(Box::new(work));
    }

    /// Waits for its end: its lane, or the name of a thread that panicked.
    fn join(self) -> Result<Option<Lane>, String> {
        drop(self.give);
        self.handle.join().map_err(|_| {
            tracing::error!(thread = self.name, "a thread of the agent ended by a fault of ours");
            self.name
        })
    }
}

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.cancel();
        }
    }
}

/// The spool's thread; ended when this is dropped.
struct SpoolThread {
    spool: Arc<Spool>,
    handle: Option<JoinHandle<SpoolWorker>>,
}

impl SpoolThread {
    /// Waits until it has drained what it could.
    fn end(mut self) -> Result<SpoolWorker, String> {
        self.spool.close();
        let ended = self.handle.take().map(JoinHandle::join);
        ended.and_then(Result::ok).ok_or_else(|| {
            tracing::error!("the spool's thread ended by a fault of ours");
            "spool".to_owned()
        })
    }
}

impl Drop for SpoolThread {
    fn drop(&mut self) {
        self.spool.close();
        // The agent did not begin: there is nothing to keep but the directory to remove.
        if let Some(Ok(worker)) = self.handle.take().map(JoinHandle::join) {
            worker.keep(&[]);
        }
    }
}

/// Makes durable what the log holds, as far as the time allows, and settles the
/// lanes. Leaves nothing in a spool.
fn flush<A: Append>(log: &A, left: Duration, lanes: &mut [Lane]) -> u64 {
    if let Err(error) = flushed(log, left) {
        tracing::error!(%error, "not all records are durable");
    }
    for lane in lanes {
        lane.settle();
        lane.give_up_undurable();
    }
    0
}

/// The same, with a spool for what the log does not make durable. Says how many
/// records are there.
fn keep<A: Append>(log: &A, mut spool: SpoolWorker, left: Duration, lanes: &mut [Lane]) -> u64 {
    let stalled = log.waiting() >= spool.stall();
    let flushed = flushed(log, if stalled { LAST_FLUSH } else { left });
    // What is taken back then counts as settled to the log.
    lanes.iter_mut().for_each(Lane::settle);
    spool.settle();
    let returned = match &flushed {
        Ok(()) => Vec::new(),
        Err(_) => log.take_back(TAKE_BACK),
    };
    let kept = spool.keep(&returned);
    let all = match (&flushed, &kept.error) {
        (Ok(()), None) => true,
        (Err(error), None) => {
            tracing::warn!(%error, "what the log has not made durable is kept in the spool");
            !returned.is_empty()
        }
        (_, Some(error)) => {
            tracing::error!(%error, "the spool cannot keep what the log has not made durable");
            false
        }
    };
    for lane in lanes {
        if kept.error.is_none() {
            // What was lost meanwhile is found.
            lane.settle();
        }
        match all {
            true => lane.all_is_kept(),
            false => lane.give_up_undurable(),
        }
    }
    kept.records
}

fn flushed<A: Append>(log: &A, within: Duration) -> Result<(), String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(log.flush(within)).map_err(|error| error.to_string()))
}
