//! The table of an embedded log: a directory beside it, a file a key. Files appear and
//! go whole, so that several processes may write.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::io_error;
use crate::{
    LogError,
    table::{MAX_KEYS, MAX_VALUE, is_key, too_many},
};

/// A table beside an embedded log.
#[derive(Debug, Clone)]
pub struct FileTable {
    directory: Arc<PathBuf>,
    /// Numbers the files that are being written.
    partial: Arc<AtomicU64>,
}

impl FileTable {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory: Arc::new(directory), partial: Arc::default() }
    }

    fn exists(&self) -> bool {
        self.directory.is_dir()
    }

    pub(crate) fn name(&self) -> String {
        self.directory.display().to_string()
    }

    pub(crate) async fn put(&self, key: &str, value: &[u8]) -> Result<(), LogError> {
        let (table, key, value) = (self.clone(), key.to_owned(), value.to_vec());
        blocking(move || table.write(&key, &value)).await
    }

    pub(crate) async fn remove(&self, keys: &[String]) -> Result<(), LogError> {
        let (table, keys) = (self.clone(), keys.to_vec());
        blocking(move || table.unlink(&keys)).await
    }

    pub(crate) async fn read_all(&self) -> Result<BTreeMap<String, Bytes>, LogError> {
        let table = self.clone();
        blocking(move || table.read()).await
    }

    fn write(&self, key: &str, value: &[u8]) -> Result<(), LogError> {
        self.create()?;
        let number = self.partial.fetch_add(1, Ordering::Relaxed);
        let partial = self.directory.join(format!(".{key}.{}.{number}", std::process::id()));
        let path = self.directory.join(key);
        let written = File::create(&partial)
            .and_then(|mut file| file.write_all(value).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&partial, &path))
            .map_err(io_error("write", &path));
        if written.is_err() {
            // Nobody reads it, and it would stay for ever.
            let _ = fs::remove_file(&partial);
        }
        written?;
        sync(&self.directory)
    }

    /// The name of a new directory has to survive as well.
    fn create(&self) -> Result<(), LogError> {
        if self.exists() {
            return Ok(());
        }
        fs::create_dir_all(&*self.directory).map_err(io_error("create", &self.directory))?;
        self.directory.parent().map_or(Ok(()), sync)
    }

    fn unlink(&self, keys: &[String]) -> Result<(), LogError> {
        if !self.exists() {
            return Ok(());
        }
        for key in keys {
            let path = self.directory.join(key);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("remove", &path)(error));
                }
                _ => {}
            }
        }
        sync(&self.directory)
    }

    fn read(&self) -> Result<BTreeMap<String, Bytes>, LogError> {
        let mut all = BTreeMap::new();
        let entries = match fs::read_dir(&*self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
            Err(error) => return Err(io_error("list", &self.directory)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(io_error("list", &self.directory))?;
            // Hidden files are being written, or somebody else's.
            let Some(key) = entry.file_name().to_str().filter(|key| is_key(key)).map(str::to_owned)
            else {
                continue;
            };
            if let Some(value) = read_value(&entry.path())? {
                all.insert(key, value);
            }
            if all.len() > MAX_KEYS {
                return Err(too_many(&self.name()));
            }
        }
        Ok(all)
    }
}

/// The value in a file; `None`: it was removed meanwhile, or is no value.
fn read_value(path: &Path) -> Result<Option<Bytes>, LogError> {
    let read = File::open(path).and_then(|file| {
        let mut value = Vec::new();
        file.take(MAX_VALUE as u64 + 1).read_to_end(&mut value).map(|_| value)
    });
    match read {
        Ok(value) if value.len() > MAX_VALUE => {
            tracing::warn!(file = %path.display(), "is too large to be an entry here: left out");
            Ok(None)
        }
        Ok(value) => Ok(Some(value.into())),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(io_error("read", path)(error)),
    }
}

fn sync(directory: &Path) -> Result<(), LogError> {
    // The parent of a relative name.
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(io_error("sync", directory))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(LogError::Io(format!("the table's thread failed: {error}"))),
    }
}
