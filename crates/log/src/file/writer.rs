//! The writing side of the embedded log: a bounded batch that any thread may add
//! to, and the one thread that makes chunks of it. How a chunk gets onto the disk
//! is `disk`'s.
//!
//! When is it safe? `durable` is reached when the chunk was written to the file:
//! from then on it survives `kill -9` of every process. A crash of the machine is
//! another matter: the file is synced once a second while it is written, and by
//! `flush`, which returns only when the disk has it.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    disk::{Batch, Disk},
    format::{MESSAGE_HEAD, put_message},
    lock::Lock,
};
use crate::{Append, AppendTimes, Entry, LogError, Loss, Position, Rejected, times::Times};

/// Largest payload; what is larger belongs in parts.
pub const MAX_PAYLOAD: usize = 8 << 20;
/// A chunk is closed at this many bytes of records …
const CHUNK: usize = 512 << 10;
/// … or at this many if its oldest record is as old as `LINGER` …
const WORTH_IT: usize = 16 << 10;
/// … (so a busy log is a few milliseconds behind) …
const LINGER: Duration = Duration::from_millis(3);
/// … or at this age: few records a second still compress together.
const IDLE_LINGER: Duration = Duration::from_millis(50);
/// How often age, retention and sync are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Between attempts to write while the disk says no.
const RETRY: Duration = Duration::from_millis(100);
/// How often that is logged.
const COMPLAIN: Duration = Duration::from_secs(10);

/// Writes to an embedded log; the only one that does while it lives. Dropping it
/// writes what was accepted and finishes the segment.
#[derive(Debug)]
pub struct FileAppender {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    partitions: u32,
    limit: usize,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// The writer waits here.
    work: Condvar,
    /// Per partition: how many accepted entries are written.
    written: Vec<AtomicU64>,
    /// The last flush request that is fulfilled.
    flushed: watch::Sender<u64>,
    /// Of the first record of each chunk.
    times: Times,
    queue_bytes: usize,
}

#[derive(Debug)]
struct Queue {
    open: Batch,
    /// Full ones.
    ready: VecDeque<Batch>,
    /// Allocations to be used again.
    spare: Vec<Vec<u8>>,
    /// Bytes accepted and not written.
    bytes: usize,
    /// Next offset of each partition.
    next: Vec<u64>,
    /// Entries accepted of each partition.
    accepted: Vec<u64>,
    /// Flushes asked for.
    flush: u64,
    closing: bool,
    /// Why nothing gets written now.
    trouble: Option<String>,
}

impl Batch {
    fn new(partitions: usize, records: Vec<u8>) -> Self {
        Self {
            records,
            counts: vec![0; partitions],
            start_ns: u64::MAX,
            end_ns: 0,
            since: Instant::now(),
        }
    }
}

impl FileAppender {
    /// Starts writing. `lock` is the writer's, kept until the last chunk is written.
    pub(super) fn start(disk: Disk, lock: Lock, queue_bytes: usize) -> Result<Self, LogError> {
        let partitions = disk.next().len();
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                open: Batch::new(partitions, Vec::new()),
                ready: VecDeque::new(),
                spare: Vec::new(),
                bytes: 0,
                next: disk.next().to_vec(),
                accepted: vec![0; partitions],
                flush: 0,
                closing: false,
                trouble: None,
            }),
            work: Condvar::new(),
            written: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
            flushed: watch::Sender::new(0),
            times: Times::default(),
            queue_bytes,
        });
        let cannot = |error| LogError::Io(format!("cannot start a thread: {error}"));
        let syncer = Syncer::start().map_err(cannot)?;
        let writer = Writer { shared: Arc::clone(&shared), disk, syncer, lock };
        let writer = thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || {
                let _gone = Gone(Arc::clone(&writer.shared));
                writer.run();
            })
            .map_err(cannot)?;
        Ok(Self {
            shared,
            writer: Some(writer),
            partitions: partitions as u32,
            limit: MAX_PAYLOAD.min(queue_bytes),
        })
    }
}

impl Append for FileAppender {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn enqueue(&self, entry: &Entry<'_>) -> Result<Position, Rejected> {
        let size = entry.payload.len();
        if size > self.limit {
            return Err(Rejected::TooLarge { size, limit: self.limit });
        }
        let partition = entry.partition as usize;
        if entry.partition >= self.partitions {
            return Err(Rejected::Closed(format!("it has no partition {partition}")));
        }
        let mut queue = self.shared.queue();
        if queue.closing {
            return Err(Rejected::Closed("it was closed".to_owned()));
        }
        // Heads count too: entries without payload must not be endless.
        if queue.bytes > 0 && queue.bytes + MESSAGE_HEAD + size > self.shared.queue_bytes {
            return Err(Rejected::Full);
        }
        let wake = queue.push(partition, entry);
        let number = queue.accepted[partition];
        drop(queue);
        if wake {
            self.shared.work.notify_one();
        }
        Ok(Position { partition: entry.partition, number })
    }

    fn durable(&self, partition: u32) -> u64 {
        let written = self.shared.written.get(partition as usize);
        written.map_or(0, |written| written.load(Ordering::Acquire))
    }

    fn losses(&self) -> Vec<Loss> {
        // What is accepted stays in memory until it is written, however often the
        // disk says no.
        Vec::new()
    }

    fn times(&self) -> Option<AppendTimes> {
        Some(self.shared.times.read())
    }

    async fn flush(&self, deadline: Duration) -> Result<(), LogError> {
        let mut flushed = self.shared.flushed.subscribe();
        let asked = {
            let mut queue = self.shared.queue();
            queue.flush += 1;
            queue.flush
        };
        self.shared.work.notify_one();
        match tokio::time::timeout(deadline, flushed.wait_for(|done| *done >= asked)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(LogError::Io("the writer of the log is gone".to_owned())),
            Err(_) => Err(match self.shared.queue().trouble.clone() {
                Some(trouble) => LogError::Io(trouble),
                None => LogError::Deadline(format!("not flushed within {deadline:?}")),
            }),
        }
    }
}

impl Drop for FileAppender {
    fn drop(&mut self) {
        self.shared.queue().closing = true;
        self.shared.work.notify_one();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Adds the entry to the open batch; true if the writer should look.
    fn push(&mut self, partition: usize, entry: &Entry<'_>) -> bool {
        let before = self.open.records.len();
        if before == 0 {
            self.open.since = Instant::now();
        }
        let sequence = self.next[partition] as u32;
        let channel = partition as u16;
        put_message(&mut self.open.records, channel, sequence, entry.time_ns, entry.payload);
        self.open.counts[partition] += 1;
        self.open.start_ns = self.open.start_ns.min(entry.time_ns);
        self.open.end_ns = self.open.end_ns.max(entry.time_ns);
        self.next[partition] += 1;
        self.accepted[partition] += 1;
        self.bytes += MESSAGE_HEAD + entry.payload.len();
        let after = self.open.records.len();
        if after >= CHUNK {
            let batch = self.cut();
            self.ready.push_back(batch);
        }
        before == 0 || after >= CHUNK || (before < WORTH_IT && after >= WORTH_IT)
    }

    /// Takes the open batch and begins another.
    fn cut(&mut self) -> Batch {
        let records = self.spare.pop().unwrap_or_default();
        let empty = Batch::new(self.next.len(), records);
        std::mem::replace(&mut self.open, empty)
    }

    /// The next batch to write, or how long to wait for one.
    fn due(&mut self) -> Result<Batch, Duration> {
        if let Some(batch) = self.ready.pop_front() {
            return Ok(batch);
        }
        let len = self.open.records.len();
        if len == 0 {
            return Err(TICK);
        }
        let linger = if len >= WORTH_IT { LINGER } else { IDLE_LINGER };
        let age = self.open.since.elapsed();
        if self.closing || age >= linger { Ok(self.cut()) } else { Err(linger - age) }
    }
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    disk: Disk,
    syncer: Syncer,
    lock: Lock,
}

/// However the writer's thread ends, nothing is accepted any more and no flush
/// says that it was done.
struct Gone(Arc<Shared>);

impl Drop for Gone {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.closing = true;
        queue.trouble.get_or_insert_with(|| "the writer of the log is gone".to_owned());
    }
}

/// What the writer is to do next.
enum Work {
    Write(Batch),
    /// Everything up to this request is written.
    Flush(u64),
    Tick,
    End,
}

impl Writer {
    fn run(mut self) {
        let mut flushed = 0;
        let mut ticked = Instant::now();
        loop {
            match self.wait(flushed, ticked) {
                Work::Write(batch) => {
                    if !self.write(batch) {
                        break;
                    }
                }
                Work::Flush(asked) => {
                    if self.sync() {
                        flushed = asked;
                        self.shared.flushed.send_replace(asked);
                    }
                }
                Work::Tick => {}
                Work::End => break,
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.disk.tick();
                if let Some(file) = self.disk.file() {
                    self.syncer.sync(file);
                }
            }
        }
        self.disk.close();
        self.syncer.stop();
        drop(self.lock);
    }

    fn wait(&self, flushed: u64, ticked: Instant) -> Work {
        let mut queue = self.shared.queue();
        loop {
            // A flush cuts the open batch short, and is fulfilled when nothing
            // that was accepted before it is left.
            let flush = queue.flush;
            let wait = match queue.due() {
                Ok(batch) => return Work::Write(batch),
                Err(_) if flush > flushed && !queue.open.records.is_empty() => {
                    return Work::Write(queue.cut());
                }
                Err(_) if flush > flushed => return Work::Flush(flush),
                Err(_) if queue.closing => return Work::End,
                Err(wait) => wait,
            };
            let Some(tick) = TICK.checked_sub(ticked.elapsed()).filter(|tick| !tick.is_zero())
            else {
                return Work::Tick;
            };
            let waited = self.shared.work.wait_timeout(queue, wait.min(tick));
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes until it is written. False: the log is closing and the disk says no.
    fn write(&mut self, batch: Batch) -> bool {
        let mut complained: Option<Instant> = None;
        while let Err(error) = self.disk.write(&batch) {
            self.disk.after_error(&error);
            if complained.is_none_or(|at| at.elapsed() >= COMPLAIN) {
                complained = Some(Instant::now());
                tracing::error!(%error, "cannot write to the log; keeping what is queued and trying again");
            }
            if !self.hold(&error) {
                let left = self.shared.queue().left() + batch.counts.iter().sum::<u64>();
                tracing::error!(%error, entries = left, "closing a log that cannot be written: its queue is lost");
                return false;
            }
            // Meanwhile retention may have made room.
            self.disk.tick();
        }
        if complained.is_some() {
            self.shared.queue().trouble = None;
            tracing::info!("the log is written again");
        }
        self.written(batch);
        true
    }

    /// Waits before the next attempt; false if the log is closing.
    fn hold(&self, error: &io::Error) -> bool {
        let mut queue = self.shared.queue();
        queue.trouble = Some(format!("the log cannot be written: {error}"));
        let until = Instant::now() + RETRY;
        loop {
            if queue.closing {
                return false;
            }
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                return true;
            };
            let waited = self.shared.work.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Tells that this batch is written.
    fn written(&self, batch: Batch) {
        let bytes = batch.records.len();
        self.shared.times.observe(batch.since.elapsed());
        for (written, count) in self.shared.written.iter().zip(&batch.counts) {
            if *count > 0 {
                written.fetch_add(*count, Ordering::Release);
            }
        }
        let mut records = batch.records;
        records.clear();
        let mut queue = self.shared.queue();
        queue.bytes -= bytes;
        // One buffer being filled, one being written; a giant's is not kept.
        if queue.spare.len() < 2 && records.capacity() <= 2 * CHUNK {
            queue.spare.push(records);
        }
    }

    /// Makes what is written safe from a crash of the machine.
    fn sync(&self) -> bool {
        let Some(file) = self.disk.file() else {
            return true;
        };
        match file.sync_data() {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "cannot sync the log");
                self.hold(&error)
            }
        }
    }
}

impl Queue {
    /// Entries accepted and not written, apart from a batch taken out.
    fn left(&self) -> u64 {
        let ready = self.ready.iter().flat_map(|batch| &batch.counts).sum::<u64>();
        ready + self.open.counts.iter().sum::<u64>()
    }
}

/// Syncs on a thread of its own: a slow disk must not hold up the writing.
struct Syncer {
    files: mpsc::SyncSender<Arc<File>>,
    thread: JoinHandle<()>,
}

impl Syncer {
    fn start() -> io::Result<Self> {
        let (files, todo) = mpsc::sync_channel::<Arc<File>>(1);
        let thread = thread::Builder::new().name("log-sync".to_owned()).spawn(move || {
            for file in todo {
                if let Err(error) = file.sync_data() {
                    tracing::error!(%error, "cannot sync the log");
                }
            }
        })?;
        Ok(Self { files, thread })
    }

    /// If the last sync is still under way, this one is left out: the next does.
    fn sync(&self, file: Arc<File>) {
        let _ = self.files.try_send(file);
    }

    fn stop(self) {
        drop(self.files);
        let _ = self.thread.join();
    }
}
