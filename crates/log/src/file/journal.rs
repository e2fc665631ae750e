//! The journal of an embedded log: one file beside it, in which each entry stands
//! with its length and checksum. Several processes may append: they take turns by
//! a lock on the file. Offsets count entries.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::{group::with_suffix, io_error, window::read_at_most};
use crate::LogError;

/// Length and checksum, little-endian.
const HEAD: usize = 8;
/// Largest entry; a length beyond it is damage.
const LIMIT: usize = 16 << 20;
/// Between looks for new entries.
const POLL: Duration = Duration::from_millis(20);

/// A side log beside an embedded log.
#[derive(Debug, Clone)]
pub struct FileJournal {
    path: Arc<PathBuf>,
    /// An entry this far in was seen to begin there: saves reading from the start.
    seen: Arc<Mutex<Mark>>,
}

/// Where an entry begins.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    offset: u64,
    at: u64,
}

/// What stands at a place of the file.
enum Frame {
    Entry(Bytes),
    /// Nothing, or not all of it.
    End,
}

impl FileJournal {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path: Arc::new(path), seen: Arc::default() }
    }

    pub(crate) fn exists(&self) -> bool {
        self.path.exists()
    }

    pub(crate) async fn append(&self, entry: &[u8]) -> Result<u64, LogError> {
        if entry.len() > LIMIT {
            return Err(LogError::Refused(format!(
                "an entry of {} bytes is above the journal's limit of {LIMIT}",
                entry.len()
            )));
        }
        let mut frame = Vec::with_capacity(HEAD + entry.len());
        frame.extend_from_slice(&(entry.len() as u32).to_le_bytes());
        frame.extend_from_slice(&crc32fast::hash(entry).to_le_bytes());
        frame.extend_from_slice(entry);
        let journal = self.clone();
        blocking(move || journal.append_frame(&frame)).await
    }

    pub(crate) async fn read_from(&self, offset: u64) -> Result<Vec<(u64, Bytes)>, LogError> {
        let journal = self.clone();
        blocking(move || journal.read(offset)).await
    }

    pub(crate) async fn follow_from(&self, offset: u64) -> Result<Vec<(u64, Bytes)>, LogError> {
        let mut length = None;
        loop {
            // Only a journal that has grown is read again.
            let now = tokio::fs::metadata(&*self.path).await.map_or(0, |meta| meta.len());
            if length != Some(now) {
                length = Some(now);
                let entries = self.read_from(offset).await?;
                if !entries.is_empty() {
                    return Ok(entries);
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn append_frame(&self, frame: &[u8]) -> Result<u64, LogError> {
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&*self.path)
            .map_err(io_error("open", &self.path))?;
        file.lock().map_err(io_error("lock", &self.path))?;
        let mut end = self.seen();
        while let Frame::Entry(entry) = self.frame(&file, end.at)? {
            end = end.after(&entry);
        }
        self.repair(&file, end.at)?;
        let written = file.write_all(frame).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // Half an entry must not stay, nor one whose append failed.
            let _ = file.set_len(end.at);
            return Err(io_error("write", &self.path)(error));
        }
        self.note(end);
        Ok(end.offset)
    }

    /// Cuts off what a crash left of an entry. It is kept aside: if it is damage
    /// of another kind, entries may be in it.
    fn repair(&self, file: &File, end: u64) -> Result<(), LogError> {
        let length = file.metadata().map_err(io_error("read", &self.path))?.len();
        if length <= end {
            return Ok(());
        }
        let mut torn = vec![0; usize::try_from(length - end).unwrap_or(0)];
        read_at_most(file, end, &mut torn).map_err(io_error("read", &self.path))?;
        let aside = with_suffix(&self.path, ".damaged");
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&aside)
            .and_then(|mut kept| kept.write_all(&torn))
            .map_err(io_error("write", &aside))?;
        tracing::warn!(
            journal = %self.path.display(),
            bytes = torn.len(),
            kept = %aside.display(),
            "cut off an entry that was not written in full"
        );
        file.set_len(end).map_err(io_error("cut", &self.path))
    }

    fn read(&self, offset: u64) -> Result<Vec<(u64, Bytes)>, LogError> {
        let file = match File::open(&*self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error("open", &self.path)(error)),
        };
        // Shared: nobody is in the middle of writing or repairing.
        file.lock_shared().map_err(io_error("lock", &self.path))?;
        let mut mark = self.seen();
        if mark.offset > offset {
            mark = Mark::default();
        }
        let mut entries = Vec::new();
        while let Frame::Entry(entry) = self.frame(&file, mark.at)? {
            if mark.offset >= offset {
                entries.push((mark.offset, entry.clone()));
            }
            mark = mark.after(&entry);
        }
        self.note(mark);
        Ok(entries)
    }

    fn frame(&self, file: &File, at: u64) -> Result<Frame, LogError> {
        let mut head = [0; HEAD];
        let read = read_at_most(file, at, &mut head).map_err(io_error("read", &self.path))?;
        let [a, b, c, d, crc @ ..] = head;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let left = file.metadata().map_err(io_error("read", &self.path))?.len();
        if read < HEAD || length > LIMIT || at + (HEAD + length) as u64 > left {
            return Ok(Frame::End);
        }
        let mut entry = vec![0; length];
        file.read_exact_at(&mut entry, at + HEAD as u64).map_err(io_error("read", &self.path))?;
        if crc32fast::hash(&entry) != u32::from_le_bytes(crc) {
            return Ok(Frame::End);
        }
        Ok(Frame::Entry(Bytes::from(entry)))
    }

    fn seen(&self) -> Mark {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, mark: Mark) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if mark.offset > seen.offset {
            *seen = mark;
        }
    }
}

impl Mark {
    fn after(self, entry: &Bytes) -> Self {
        Self { offset: self.offset + 1, at: self.at + (HEAD + entry.len()) as u64 }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(LogError::Io(format!("the journal's thread failed: {error}"))),
    }
}
