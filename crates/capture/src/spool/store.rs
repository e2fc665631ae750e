//! A spool's directory: segments of frames that are written at one end and removed
//! at the other, a cursor that says how far they are drained, and a lock that is
//! gone with the process that holds it. What the frames say is left to others.
//!
//! What is written survives the end of the process at once; a power cut may take
//! what was not yet synced, which the spool's thread does each second.

use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Segments begin here, so that some can be put in front of the first.
const FIRST: u64 = 1 << 32;

const LOCK: &str = "lock";
const CURSOR: &str = "cursor";
/// Names the log that the records are for.
const LOG: &str = "log";
const SUFFIX: &str = ".spool";

/// A place between two frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// See the module. Held by one process.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    _lock: File,
    segments: VecDeque<Segment>,
    writer: Option<File>,
    /// Index of the next segment.
    next: u64,
    segment_bytes: u64,
    /// All before is drained and durable …
    cursor: Place,
    /// … as the file says.
    saved: Option<Place>,
    unsynced: bool,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    index: u64,
    len: u64,
}

impl Store {
    /// Makes a directory of this name. It appears under it with its lock taken.
    pub(crate) fn create(
        root: &Path,
        name: &str,
        log: &str,
        segment_bytes: u64,
    ) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let making = root.join(format!(".{name}"));
        DirBuilder::new().mode(0o700).create(&making)?;
        let dir = root.join(name);
        let lock = make(&making, &dir, log).inspect_err(|_| {
            let _ = fs::remove_dir_all(&making);
        })?;
        Ok(Self {
            dir,
            _lock: lock,
            segments: VecDeque::new(),
            writer: None,
            next: FIRST,
            segment_bytes,
            cursor: Place { segment: FIRST, offset: 0 },
            saved: None,
            unsynced: false,
        })
    }

    /// Takes over a directory whose process is gone. None: somebody has it, or it
    /// is for another log.
    pub(crate) fn adopt(dir: &Path, log: &str) -> io::Result<Option<Self>> {
        let lock = OpenOptions::new().read(true).write(true).open(dir.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if fs::read(dir.join(LOG))? != log.as_bytes() {
            return Ok(None);
        }
        let mut segments = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let index = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
            if let Some(index) = index {
                segments.push(Segment { index, len: entry.metadata()?.len() });
            }
        }
        segments.sort_by_key(|segment| segment.index);
        let first = segments.first().map_or(FIRST, |segment| segment.index);
        let saved = read_cursor(&dir.join(CURSOR));
        let cursor = saved
            .filter(|saved| is_of(*saved, first))
            .unwrap_or(Place { segment: first, offset: 0 });
        let mut store = Self {
            dir: dir.to_owned(),
            _lock: lock,
            next: segments.last().map_or(FIRST, |segment| segment.index) + 1,
            segments: segments.into(),
            writer: None,
            segment_bytes: 0,
            cursor,
            saved,
            unsynced: false,
        };
        store.remove_before(cursor.segment)?;
        Ok(Some(store))
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where draining goes on.
    pub(crate) fn cursor(&self) -> Place {
        self.cursor
    }

    /// On the disk now.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Appends whole frames. If that fails, nothing of them is there.
    pub(crate) fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        if self.segments.back().is_some_and(|last| last.len >= self.segment_bytes) {
            self.sync()?;
            self.writer = None;
        }
        if self.writer.is_none() {
            self.writer = Some(open(&self.path(self.next))?);
            self.segments.push_back(Segment { index: self.next, len: 0 });
            self.next += 1;
            self.unsynced = true;
        }
        let (Some(file), Some(last)) = (&self.writer, self.segments.back_mut()) else {
            return Err(io::Error::other("no segment is open"));
        };
        if let Err(error) = file.write_all_at(frames, last.len) {
            // What is torn here would be taken for damage; and the next ones go to
            // a segment of their own, in case this cannot be mended.
            let _ = file.set_len(last.len);
            self.writer = None;
            return Err(error);
        }
        last.len += frames.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    /// Writes whole frames in front of all others. For the end.
    pub(crate) fn write_in_front(&mut self, frames: &[u8]) -> io::Result<()> {
        let first = self.segments.front().map_or(FIRST, |first| first.index.min(FIRST));
        let index = first - 1;
        let file = open(&self.path(index))?;
        if let Err(error) = file.write_all_at(frames, 0).and_then(|()| file.sync_data()) {
            let _ = fs::remove_file(self.path(index));
            return Err(error);
        }
        self.segments.push_front(Segment { index, len: frames.len() as u64 });
        self.cursor = Place { segment: index, offset: 0 };
        // The directory is not synced yet.
        self.unsynced = true;
        self.save()
    }

    /// Makes what is written survive a power cut.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.unsynced) {
            self.writer.iter().try_for_each(File::sync_data)?;
            File::open(&self.dir)?.sync_all()?;
        }
        Ok(())
    }

    /// All before this place is drained and durable: it is removed.
    pub(crate) fn drained(&mut self, to: Place) -> io::Result<()> {
        self.cursor = self.cursor.max(to);
        self.remove_before(self.cursor.segment)
    }

    /// Everything is drained and durable.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.writer = None;
        self.unsynced = false;
        self.cursor = Place { segment: self.next, offset: 0 };
        self.remove_before(self.next)
    }

    /// Writes down how far it is drained.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        if self.saved == Some(self.cursor) || (self.saved.is_none() && self.segments.is_empty()) {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(20);
        bytes.extend_from_slice(&self.cursor.segment.to_le_bytes());
        bytes.extend_from_slice(&self.cursor.offset.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        open(&self.dir.join(CURSOR))?.write_all_at(&bytes, 0)?;
        self.saved = Some(self.cursor);
        Ok(())
    }

    /// Removes the directory, which is drained.
    pub(crate) fn remove(mut self) -> io::Result<()> {
        self.clear()?;
        // The lock goes last: without it nobody adopts the directory.
        for name in [CURSOR, LOG, LOCK] {
            match fs::remove_file(self.dir.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::remove_dir(&self.dir)
    }

    /// Reads at a place, as far as its segment goes. 0: its end.
    pub(super) fn read(
        &self,
        file: &mut Option<(u64, File)>,
        at: Place,
        out: &mut [u8],
    ) -> io::Result<usize> {
        let Some(segment) = self.segments.iter().find(|one| one.index == at.segment) else {
            return Ok(0);
        };
        let left = usize::try_from(segment.len.saturating_sub(at.offset)).unwrap_or(usize::MAX);
        let wanted = left.min(out.len());
        if wanted == 0 {
            return Ok(0);
        }
        let open = match file {
            Some((index, open)) if *index == at.segment => open,
            _ => &mut file.insert((at.segment, File::open(self.path(at.segment))?)).1,
        };
        open.read_at(&mut out[..wanted], at.offset)
    }

    /// The first segment behind this one.
    pub(super) fn after(&self, segment: u64) -> Option<u64> {
        self.segments.iter().map(|one| one.index).find(|index| *index > segment)
    }

    fn remove_before(&mut self, index: u64) -> io::Result<()> {
        while let Some(first) = self.segments.front().filter(|first| first.index < index) {
            match fs::remove_file(self.path(first.index)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => self.segments.pop_front(),
            };
        }
        Ok(())
    }

    fn path(&self, index: u64) -> PathBuf {
        self.dir.join(format!("{index:020}{SUFFIX}"))
    }
}

/// Fills a directory and gives it its name. Its lock, taken.
fn make(making: &Path, dir: &Path, log: &str) -> io::Result<File> {
    let lock = open(&making.join(LOCK))?;
    lock.try_lock().map_err(io::Error::from)?;
    open(&making.join(LOG))?.write_all_at(log.as_bytes(), 0)?;
    fs::rename(making, dir)?;
    Ok(lock)
}

/// For reading and writing, by nobody else.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)
}

/// Whether a cursor was written down for a directory that begins with this segment.
/// One that lies behind a segment in front is of before that was written: the process
/// ended in between, for a segment in front is removed before the cursor leaves it.
fn is_of(saved: Place, first: u64) -> bool {
    saved.segment >= first && (first >= FIRST || saved.segment < FIRST)
}

/// None: there is none, or it was torn; then all that is there is drained again.
fn read_cursor(path: &Path) -> Option<Place> {
    let bytes = fs::read(path).ok()?;
    let (place, sum) = bytes.get(..20)?.split_at(16);
    if crc32fast::hash(place).to_le_bytes() != sum {
        return None;
    }
    let number = |at: usize| Some(u64::from_le_bytes(place.get(at..at + 8)?.try_into().ok()?));
    Some(Place { segment: number(0)?, offset: number(8)? })
}
