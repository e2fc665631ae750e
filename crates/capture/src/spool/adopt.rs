//! Spools that were left behind: found by their free lock, drained one at a time,
//! removed. Their records keep the names and numbers they have.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use umbra_log::{Loss, Position};
use umbra_record::id;

use super::{
    Spool, SpoolConfig,
    drain::{Drain, Fed},
    store::Store,
};
use crate::lane::Queue;

/// How often directories are looked for.
const EVERY: Duration = Duration::from_secs(10);
/// What is handed to the log at a time: the agent's own records come first.
const FEED: usize = 256 << 10;

/// Looks after the spools of others.
#[derive(Debug)]
pub(super) struct Adopter {
    dir: PathBuf,
    log: String,
    window_bytes: usize,
    current: Option<Drain>,
    looked: Option<Instant>,
    /// Directories that cannot be used, told once.
    passed: Vec<PathBuf>,
}

/// Most directories remembered as unusable.
const MAX_PASSED: usize = 1000;

impl Adopter {
    pub(super) fn new(config: &SpoolConfig) -> Self {
        Self {
            dir: config.dir.clone(),
            log: config.log.clone(),
            // Leaves most of the queue before the log to the agent's own records.
            window_bytes: config.window_bytes / 2,
            current: None,
            looked: None,
            passed: Vec::new(),
        }
    }

    /// Drains what was found, or looks for more.
    pub(super) fn step(&mut self, log: &dyn Queue, spool: &Spool) -> Fed {
        if self.current.is_none() && !self.find() {
            return Fed::All;
        }
        let Some(drain) = &mut self.current else { return Fed::All };
        let fed = drain.feed(log, self.window_bytes, FEED);
        let dir = drain.store.dir().to_owned();
        let damaged = drain.take_damaged();
        if damaged > 0 {
            spool.stats.damage(&dir, damaged);
        }
        match fed {
            Ok(Fed::All) if drain.flying() == 0 => {
                self.finish();
                Fed::More
            }
            Ok(fed) => fed,
            Err(error) => {
                tracing::error!(%error, dir = %dir.display(), "a spool left behind cannot be read");
                self.current = None;
                self.pass(dir);
                Fed::All
            }
        }
    }

    /// See [`Drain::settle`].
    pub(super) fn settle(&mut self, log: &dyn Queue, durable: &[u64], losses: &[Loss]) -> bool {
        self.current.as_mut().is_some_and(|drain| drain.settle(log, durable, losses))
    }

    pub(super) fn upkeep(&mut self, spool: &Spool) {
        let Some(drain) = &mut self.current else { return };
        for (reason, requests) in drain.refused.drain(..) {
            spool.stats.refuse(reason, requests);
        }
        if let Err(error) = drain.store.save() {
            tracing::warn!(%error, "it is not written down how far a spool is drained");
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.current.as_ref().map_or(0, |drain| drain.store.bytes())
    }

    pub(super) fn flying(&self) -> usize {
        self.current.as_ref().map_or(0, Drain::flying)
    }

    pub(super) fn has(&self, at: Position) -> bool {
        self.current.as_ref().is_some_and(|drain| drain.has(at))
    }

    /// The rest is for others.
    pub(super) fn end(&mut self) {
        if let Some(mut drain) = self.current.take() {
            tracing::warn!(dir = %drain.store.dir().display(), "a spool left behind is not drained yet");
            let _ = drain.store.save();
        }
    }

    /// Takes over the next directory, if it is time to look. Says whether it has one.
    fn find(&mut self) -> bool {
        if self.looked.is_some_and(|looked| looked.elapsed() < EVERY) {
            return false;
        }
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut dirs: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        // The oldest first: names begin with the time of their agent's start.
        dirs.sort();
        for dir in dirs {
            let agent = dir.file_name().and_then(|name| id::parse(name.to_str()?));
            let Some(agent) = agent.filter(|_| !self.passed.contains(&dir)) else { continue };
            match Store::adopt(&dir, &self.log) {
                Ok(Some(store)) => {
                    tracing::info!(dir = %dir.display(), bytes = store.bytes(), "draining a spool left behind");
                    self.current = Some(Drain::new(store, agent));
                    return true;
                }
                Ok(None) => {}
                // Somebody else was faster, or is just making it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::error!(%error, dir = %dir.display(), "a spool left behind cannot be used");
                    self.pass(dir);
                }
            }
        }
        self.looked = Some(Instant::now());
        false
    }

    /// All is in the log: the directory goes, and the next one is looked for at once.
    fn finish(&mut self) {
        let Some(drain) = self.current.take() else { return };
        let dir = drain.store.dir().to_owned();
        if drain.torn() > 0 {
            tracing::warn!(bytes = drain.torn(), dir = %dir.display(), "a spool's last record was torn and is lost");
        }
        tracing::info!(dir = %dir.display(), records = drain.drained, "a spool left behind is drained");
        if let Err(error) = drain.store.remove() {
            tracing::warn!(%error, dir = %dir.display(), "a drained spool cannot be removed");
            self.pass(dir);
        }
    }

    fn pass(&mut self, dir: PathBuf) {
        if self.passed.len() < MAX_PASSED {
            self.passed.push(dir);
        }
    }
}
