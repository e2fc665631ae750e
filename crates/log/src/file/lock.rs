//! Who may write: advisory locks that vanish with their holder and say who that
//! is.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::io_error;
use crate::LogError;

/// Whoever only looks whether a lock is held has it for a moment: so long is he
/// waited for.
const MOMENT: Duration = Duration::from_millis(100);
/// Between two attempts meanwhile.
const AGAIN: Duration = Duration::from_millis(2);

/// Held while it lives, and gone with the process that made it.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Who has a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    /// `process PID`, or that it is another one.
    pub(super) process: String,
    /// Its host; empty if it is not known.
    pub(super) host: String,
}

impl Lock {
    /// Takes the lock at `path`; `what` says for which purpose. The error names
    /// the holder.
    pub(super) fn take(path: &Path, what: &str) -> Result<Self, LogError> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(io_error("open", path))?;
        let deadline = Instant::now() + MOMENT;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::park_timeout(AGAIN);
                }
                Err(TryLockError::WouldBlock) => {
                    let holder = match read_holder(&mut file) {
                        Holder { process, host } if host.is_empty() => process,
                        Holder { process, host } => format!("{process} on {host}"),
                    };
                    return Err(LogError::Held(format!("{what} by {holder}")));
                }
                Err(TryLockError::Error(error)) => return Err(io_error("lock", path)(error)),
            }
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = match host.trim() {
            "" => "this host",
            host => host,
        };
        let holder = format!("process {} on {host}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()))
            .map_err(io_error("write", path))?;
        Ok(Self { _file: file })
    }

    /// Who holds the lock at `path`, if anybody does.
    pub(super) fn holder(path: &Path) -> Result<Option<Holder>, LogError> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", path)(error)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(read_holder(&mut file))),
            Err(TryLockError::Error(error)) => Err(io_error("lock", path)(error)),
        }
    }
}

/// Who it is may be unreadable; that somebody holds it is certain.
fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    match text.trim().split_once(" on ") {
        Some((process, host)) => Holder { process: process.to_owned(), host: host.to_owned() },
        None => Holder { process: "another process".to_owned(), host: String::new() },
    }
}
