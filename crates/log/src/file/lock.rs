//! Who may write: advisory locks that vanish with their holder and say who that
//! is.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::Path,
};

use super::io_error;
use crate::LogError;

/// Held while it lives, and gone with the process that made it.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
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
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who it is may be unreadable; that somebody holds it is certain.
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process",
                    holder => holder,
                };
                return Err(LogError::Held(format!("{what} by {holder}")));
            }
            Err(TryLockError::Error(error)) => return Err(io_error("lock", path)(error)),
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
}
