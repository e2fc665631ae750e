//! Looks at the files of certificates again and again, on a thread of its own: they may
//! lie on a slow disk. Contents are compared, so that it does not matter how they were
//! replaced; a certificate and its key may come one after the other.

use std::{
    io,
    sync::{
        atomic::Ordering,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{ServerTls, tls::Contents};

/// How often.
const EVERY: Duration = Duration::from_millis(500);

/// The thread; ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is known of the files.
struct Watch {
    tls: ServerTls,
    /// As they were when they were looked at last.
    seen: Vec<Option<[u8; 16]>>,
    /// They have changed, and what they hold now cannot be used: said, or not yet.
    failing: Option<bool>,
}

impl Watcher {
    pub(crate) fn start(tls: ServerTls) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let mut watch = Watch::new(tls);
        let watching = move || {
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                watch.look();
            }
        };
        let thread = std::thread::Builder::new().name("certificates".to_owned()).spawn(watching)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that looks after certificates ended by a fault of ours");
        }
    }
}

impl Watch {
    fn new(tls: ServerTls) -> Self {
        // Compared with what was loaded; a change in between is found the first time.
        let seen = tls.loaded();
        Self { tls, seen, failing: None }
    }

    fn look(&mut self) {
        let contents = Contents::read(self.tls.files());
        let now = contents.fingerprint();
        let changed = now != self.seen;
        self.seen = now;
        if !changed && self.failing != Some(false) {
            return;
        }
        match self.tls.take(&contents) {
            Ok(()) => {
                self.failing = None;
                tracing::info!("TLS certificates were replaced; new connections get the new ones");
            }
            // The other file may be about to come: it is tried once more.
            Err(_) if changed => self.failing = Some(false),
            Err(problems) => {
                self.failing = Some(true);
                self.tls.stats().failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    ?problems,
                    "TLS certificates have changed and cannot be used; the old ones stay in use"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
