//! The progress of a group of readers: one small text file, replaced atomically,
//! with a line per partition: number, committed offset, metadata as in
//! [`crate::progress`]. A lock beside it lets one reader of the group in.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    io_error,
    lock::{Holder, Lock},
    segment::Place,
};
use crate::{GroupState, LogError, Member, progress::Checkpoint};

/// First line.
const TITLE: &str = "umbra progress 1";
/// A crash of the machine (not of the process) may take back what was committed
/// so recently.
const SYNC: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Group {
    path: PathBuf,
    partial: PathBuf,
    synced: Option<Instant>,
    _lock: Lock,
}

impl Group {
    /// Becomes the group's reader and says how far it is.
    pub(super) fn join(
        place: &Place,
        name: &str,
    ) -> Result<(Self, BTreeMap<u32, Checkpoint>), LogError> {
        let files = Files::of(place, name);
        fs::create_dir_all(&files.directory).map_err(io_error("create", &files.directory))?;
        let what = format!(
            "group `{name}` of {} is being read (an embedded log has one reader per group, use Kafka to scale out)",
            place.root().display()
        );
        let lock = Lock::take(&files.lock, &what)?;
        let progress = files.progress()?;
        let Files { path, partial, .. } = files;
        Ok((Self { path, partial, synced: None, _lock: lock }, progress))
    }

    /// How far the group is and who reads it.
    pub(super) fn look(place: &Place, name: &str, partitions: u32) -> Result<GroupState, LogError> {
        let files = Files::of(place, name);
        let member = |Holder { process, host }| Member {
            id: process.clone(),
            instance: None,
            client: process,
            host,
            partitions: (0..partitions).collect(),
        };
        Ok(GroupState {
            partitions: files.progress()?.into_iter().map(|(at, one)| (at, one.into())).collect(),
            members: Lock::holder(&files.lock)?.map(member).into_iter().collect(),
        })
    }

    /// Forgets how far the group is, unless it is being read.
    pub(super) fn delete(place: &Place, name: &str) -> Result<(), LogError> {
        let files = Files::of(place, name);
        if !files.lock.exists() {
            return Ok(());
        }
        let what = format!("group `{name}` of {} is being read", place.root().display());
        // It stays: whoever is about to take it must meet the same file.
        let _lock = Lock::take(&files.lock, &what)?;
        for path in [&files.path, &files.partial] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("remove", path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Replaces the group's progress.
    pub(super) fn commit(
        &mut self,
        progress: &BTreeMap<u32, Checkpoint>,
        last: bool,
    ) -> Result<(), LogError> {
        let mut text = format!("{TITLE}\n");
        for (partition, checkpoint) in progress {
            let metadata = checkpoint.metadata();
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{partition} {} {metadata}", checkpoint.committed);
        }
        let mut file = File::create(&self.partial).map_err(io_error("create", &self.partial))?;
        file.write_all(text.as_bytes()).map_err(io_error("write", &self.partial))?;
        if last || self.synced.is_none_or(|at| at.elapsed() >= SYNC) {
            file.sync_data().map_err(io_error("sync", &self.partial))?;
            self.synced = Some(Instant::now());
        }
        fs::rename(&self.partial, &self.path).map_err(io_error("replace", &self.path))
    }
}

/// Where a group is kept.
struct Files {
    directory: PathBuf,
    path: PathBuf,
    partial: PathBuf,
    lock: PathBuf,
}

impl Files {
    fn of(place: &Place, name: &str) -> Self {
        let directory = match place {
            Place::Directory(directory) => directory.join("groups"),
            Place::Single(file) => with_suffix(file, ".groups"),
        };
        let file = file_name(name);
        Self {
            path: directory.join(&file),
            partial: directory.join(format!("{file}.partial")),
            lock: directory.join(format!("{file}.lock")),
            directory,
        }
    }

    fn progress(&self) -> Result<BTreeMap<u32, Checkpoint>, LogError> {
        match fs::read_to_string(&self.path) {
            Ok(text) => parse(&text).ok_or_else(|| {
                LogError::Unusable(format!(
                    "{} is not the progress of a group; remove it to begin again",
                    self.path.display()
                ))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(io_error("read", &self.path)(error)),
        }
    }
}

fn parse(text: &str) -> Option<BTreeMap<u32, Checkpoint>> {
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return None;
    }
    lines
        .map(|line| {
            let (partition, rest) = line.split_once(' ')?;
            let (committed, metadata) = rest.split_once(' ').unwrap_or((rest, ""));
            let checkpoint = Checkpoint::parse(committed.parse().ok()?, metadata).ok()?;
            Some((partition.parse().ok()?, checkpoint))
        })
        .collect()
}

/// A file name that is different for every group name.
fn file_name(group: &str) -> String {
    let mut name = String::new();
    for byte in group.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        // A dot is plain too, except in front: no hidden files, no `..`.
        if plain || (byte == b'.' && !name.is_empty()) {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02x}");
        }
    }
    name
}

/// The path with this at its end.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
