//! The embedded log: a directory of MCAP segments, written by one process and read
//! by any, while it is being written or later.
//!
//! ```text
//! DIR/umbra-log               marks the directory, says how many partitions
//! DIR/writer.lock             held by the writer, names it
//! DIR/0000000000000001.mcap   a segment: see `format`; the last one grows
//! DIR/groups/NAME             progress of a group of readers; NAME.lock: its reader
//! DIR.jobs  DIR.dead          journals
//! DIR.keys/                   a table: a file a key
//! ```
//!
//! A single `.mcap` file, copied out of such a directory or made by a tool, is a
//! log too: one that can only be read.
//!
//! How safe is a record? `durable`: it is in the file, and survives the death of
//! every process. `flush`: the disk has it. In between the open segment is synced
//! once a second, so that a machine that loses power loses at most about that.
//! Progress of groups is replaced atomically and synced as often; what a crash of
//! the machine takes back of it is delivered again.
//!
//! Writing: `writer` (the queue) and `disk` (segments). Reading: `tail` (what the
//! user sees), `follow` (read-ahead and progress), `cursor` (log order), `seek`
//! (places). Beneath: `segment`, `window`, `format`.

mod cursor;
mod disk;
mod follow;
mod format;
mod group;
mod journal;
mod lock;
mod seek;
mod segment;
mod table;
mod tail;
mod window;
mod writer;

use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    cursor::{Cursor, Found},
    disk::Disk,
    group::{Group, with_suffix},
    lock::Lock,
    segment::Place,
};
pub use self::{
    journal::FileJournal,
    table::FileTable,
    tail::FileTail,
    writer::{FileAppender, MAX_PAYLOAD},
};
use crate::{GroupState, LogError, LogOptions, Mode, Span, TailOptions};

/// Marks a directory as a log.
const MARKER: &str = "umbra-log";
/// First line of the marker.
const TITLE: &str = "umbra log 1";

/// An embedded log.
#[derive(Debug, Clone)]
pub struct FileLog {
    name: String,
    place: Place,
    partitions: u32,
    options: Arc<LogOptions>,
}

impl FileLog {
    /// Opens the log at `path`, or makes it.
    ///
    /// # Errors
    /// [`LogError::NotFound`] if there is nothing, [`LogError::Unusable`] if there
    /// is something else.
    pub fn open(path: &Path, options: LogOptions, mode: Mode) -> Result<Self, LogError> {
        let (place, partitions) = match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => open_directory(path, &options, mode)?,
            Ok(_) => open_single(path, mode)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && mode == Mode::Create => {
                fs::create_dir_all(path).map_err(io_error("create", path))?;
                open_directory(path, &options, mode)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LogError::NotFound(format!("there is no log at {}", path.display())));
            }
            Err(error) => return Err(io_error("open", path)(error)),
        };
        Ok(Self { name: path.display().to_string(), place, partitions, options: Arc::new(options) })
    }

    /// Becomes the log's writer. Blocks while a segment that a crash left open is
    /// finished.
    ///
    /// # Errors
    /// [`LogError::Held`] names the other writer.
    pub fn appender(&self) -> Result<FileAppender, LogError> {
        let Place::Directory(directory) = &self.place else {
            return Err(LogError::Refused(format!(
                "{} is a recording: it can only be read",
                self.name
            )));
        };
        let what = format!("the log {} is being written", self.name);
        let lock = Lock::take(&directory.join("writer.lock"), &what)?;
        let disk = Disk::open(self.place.clone(), self.partitions, &self.options)?;
        FileAppender::start(disk, lock, self.options.queue_bytes)
    }

    /// A reader.
    ///
    /// # Errors
    /// [`LogError::Held`] names the group's other reader.
    pub fn tail(&self, options: &TailOptions) -> Result<FileTail, LogError> {
        FileTail::open(&self.place, self.partitions, options)
    }

    /// What each partition holds now.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn spans(&self) -> Result<Vec<Span>, LogError> {
        seek::spans(&self.place, self.partitions)
    }

    /// Where reading from a time on must begin; see
    /// [`crate::Log::offsets_for_time`].
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn offsets_for_time(&self, time_ns: u64) -> Result<BTreeMap<u32, u64>, LogError> {
        // The ends first: what is appended meanwhile may be as new.
        let ends = self.spans()?;
        let found = seek::by_time(&self.place, time_ns)?;
        let offset = |span: &Span| {
            let found = found.as_ref().and_then(|found| found.get(span.partition as usize));
            (span.partition, found.copied().unwrap_or(span.high))
        };
        Ok(ends.iter().map(offset).collect())
    }

    /// See [`crate::Log::group`].
    ///
    /// # Errors
    /// If its progress cannot be read.
    pub fn group(&self, group: &str) -> Result<GroupState, LogError> {
        Group::look(&self.place, group, self.partitions)
    }

    /// See [`crate::Log::delete_group`].
    ///
    /// # Errors
    /// [`LogError::Held`] names its reader.
    pub fn delete_group(&self, group: &str) -> Result<(), LogError> {
        Group::delete(&self.place, group)
    }

    /// See [`crate::Log::times_at`].
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn times_at(
        &self,
        offsets: &BTreeMap<u32, u64>,
        deadline: Duration,
    ) -> Result<BTreeMap<u32, u64>, LogError> {
        let deadline = Instant::now() + deadline;
        let mut times = BTreeMap::new();
        for (&partition, &offset) in offsets {
            if Instant::now() >= deadline {
                break;
            }
            if let Some(time) = self.time_at(partition, offset, deadline)? {
                times.insert(partition, time);
            }
        }
        Ok(times)
    }

    /// The time of the first record of the partition at this offset or after it.
    fn time_at(
        &self,
        partition: u32,
        offset: u64,
        deadline: Instant,
    ) -> Result<Option<u64>, LogError> {
        // Of the other partitions nothing is wanted.
        let mut floor = vec![u64::MAX; self.partitions as usize];
        let Some(at) = floor.get_mut(partition as usize) else { return Ok(None) };
        *at = offset;
        let spot = seek::by_offsets(&self.place, &floor)?;
        let mut cursor = Cursor::new(self.place.clone(), spot, floor)
            .map_err(|error| LogError::Io(format!("zstd: {error}")))?;
        let mut found = VecDeque::new();
        let mut wanted = |one: u32, at: u64| one == partition && at >= offset;
        while Instant::now() < deadline {
            let more = cursor.read(&mut wanted, &mut found)?;
            let time = found.drain(..).find_map(|one| match one {
                Found::Record { time_ns, .. } => Some(time_ns),
                Found::Missing { .. } => None,
            });
            if time.is_some() || !more {
                return Ok(time);
            }
        }
        Ok(None)
    }

    /// The journal of that name beside the log.
    ///
    /// # Errors
    /// If the name cannot be one.
    pub fn journal(&self, suffix: &str) -> Result<FileJournal, LogError> {
        Ok(FileJournal::new(self.beside(suffix)?))
    }

    /// The table of that name beside the log.
    ///
    /// # Errors
    /// If the name cannot be one.
    pub fn table(&self, suffix: &str) -> Result<FileTable, LogError> {
        Ok(FileTable::new(self.beside(suffix)?))
    }

    fn beside(&self, suffix: &str) -> Result<PathBuf, LogError> {
        if suffix.is_empty() || !suffix.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(LogError::Refused(format!("`{suffix}` is no name of a journal or table")));
        }
        Ok(with_suffix(self.place.root(), &format!(".{suffix}")))
    }

    /// The path it was opened by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn open_directory(path: &Path, options: &LogOptions, mode: Mode) -> Result<(Place, u32), LogError> {
    // Files beside it are found by whatever name it is opened.
    let path = path.canonicalize().map_err(io_error("open", path))?;
    let place = Place::Directory(path.clone());
    if let Some(partitions) = read_marker(&path)? {
        return Ok((place, partitions));
    }
    let partitions = match seek::partitions(&place)? {
        Some(partitions) => partitions,
        None => may_become_log(&path, options, mode)?,
    };
    if mode == Mode::Create {
        write_marker(&path, partitions)?;
    }
    Ok((place, partitions))
}

/// Partitions of the log that a directory without one may become.
fn may_become_log(path: &Path, options: &LogOptions, mode: Mode) -> Result<u32, LogError> {
    let mut others = Vec::new();
    for entry in fs::read_dir(path).map_err(io_error("list", path))? {
        let name = entry.map_err(io_error("list", path))?.file_name();
        let name = name.to_string_lossy();
        // What the root of a file system holds anyway.
        if !name.starts_with('.') && name != "lost+found" {
            others.push(name.into_owned());
        }
    }
    if let Some(other) = others.first() {
        let why =
            format!("{} is not a log: it holds other files, such as `{other}`", path.display());
        return Err(match mode {
            Mode::Create => LogError::Unusable(why),
            Mode::Existing => LogError::NotFound(why),
        });
    }
    if mode == Mode::Existing {
        return Err(LogError::NotFound(format!(
            "there is no log in {}: it is empty",
            path.display()
        )));
    }
    if options.partitions == 0 || options.partitions > 1 << 16 {
        return Err(LogError::Refused(format!(
            "a log cannot have {} partitions (1 to 65536)",
            options.partitions
        )));
    }
    Ok(options.partitions)
}

fn open_single(path: &Path, mode: Mode) -> Result<(Place, u32), LogError> {
    if mode == Mode::Create {
        return Err(LogError::Unusable(format!(
            "{} is a file: a log that can be written is a directory",
            path.display()
        )));
    }
    let path = path.canonicalize().map_err(io_error("open", path))?;
    let place = Place::Single(path.clone());
    match seek::partitions(&place)? {
        Some(partitions) => Ok((place, partitions)),
        None => Err(segment::unusable(&path, 0, "it ends before its first record")),
    }
}

fn read_marker(path: &Path) -> Result<Option<u32>, LogError> {
    let marker = path.join(MARKER);
    let text = match fs::read_to_string(&marker) {
        Ok(text) => text,
        // A directory of that name, such as the one around a log, marks nothing.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(io_error("read", &marker)(error)),
    };
    let partitions = text
        .strip_prefix(TITLE)
        .and_then(|rest| rest.trim().strip_prefix("partitions "))
        .and_then(|number| number.parse::<u32>().ok())
        .filter(|number| (1..=1 << 16).contains(number));
    match partitions {
        Some(partitions) => Ok(Some(partitions)),
        None => Err(LogError::Unusable(format!(
            "{} is not a log this version can read: {} says something else",
            path.display(),
            marker.display()
        ))),
    }
}

fn write_marker(path: &Path, partitions: u32) -> Result<(), LogError> {
    // Appears with its contents, or not at all.
    let partial: PathBuf = path.join(format!(".{MARKER}.{}", std::process::id()));
    fs::write(&partial, format!("{TITLE}\npartitions {partitions}\n"))
        .and_then(|()| fs::rename(&partial, path.join(MARKER)))
        .map_err(io_error("create", path))
}

/// Puts an I/O error into words: what was being done, to which file.
fn io_error<'a>(doing: &'a str, path: &'a Path) -> impl Fn(io::Error) -> LogError + 'a {
    move |error| {
        let text = format!("cannot {doing} {}: {error}", path.display());
        match error.kind() {
            io::ErrorKind::PermissionDenied => LogError::Refused(text),
            _ => LogError::Io(text),
        }
    }
}
