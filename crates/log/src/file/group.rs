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

use super::{io_error, lock::Lock, segment::Place};
use crate::{LogError, progress::Checkpoint};

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
        let directory = match place {
            Place::Directory(directory) => directory.join("groups"),
            Place::Single(file) => with_suffix(file, ".groups"),
        };
        fs::create_dir_all(&directory).map_err(io_error("create", &directory))?;
        let file = file_name(name);
        let path = directory.join(&file);
        let what = format!(
            "group `{name}` of {} is being read (an embedded log has one reader per group, use Kafka to scale out)",
            place.root().display()
        );
        let lock = Lock::take(&directory.join(format!("{file}.lock")), &what)?;
        let progress = match fs::read_to_string(&path) {
            Ok(text) => parse(&text).ok_or_else(|| {
                LogError::Unusable(format!(
                    "{} is not the progress of a group; remove it to begin again",
                    path.display()
                ))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        let partial = directory.join(format!("{file}.partial"));
        Ok((Self { path, partial, synced: None, _lock: lock }, progress))
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
