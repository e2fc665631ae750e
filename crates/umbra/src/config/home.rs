//! What Umbra keeps for a user between runs, in the configuration directory: the
//! identity that opens what was sealed on this machine, and the key of its hashes.
//! Both are made once, at the first need, readable by the user alone. Who needs
//! them is decided elsewhere.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use umbra_record::seal::wrap::Identities;

use crate::exit::{Code, Failure};

/// Largest file that is read: some hundred keys with comments.
const MAX_FILE: u64 = 64 << 10;

/// Bytes of a key of hashes.
const HASH_KEY: usize = 32;

/// Something that was made at the first need.
#[derive(Debug)]
pub(crate) struct Own<T> {
    /// What it is.
    pub(crate) value: T,
    /// Where it is kept.
    pub(crate) path: PathBuf,
    /// It was not there before.
    pub(crate) created: bool,
}

/// `$XDG_CONFIG_HOME/umbra`, or `~/.config/umbra`.
pub(crate) fn directory() -> Option<PathBuf> {
    directory_of(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME"))
}

fn directory_of(config: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |dir: Option<OsString>| dir.map(PathBuf::from).filter(|dir| dir.is_absolute());
    let base = absolute(config).or_else(|| absolute(home).map(|home| home.join(".config")));
    base.map(|base| base.join("umbra"))
}

/// Where the user's own identity is, or would be.
pub(crate) fn identity_path() -> Option<PathBuf> {
    directory().map(|dir| dir.join("identity"))
}

/// The user's own identity, made if there is none.
///
/// # Errors
/// There is no place for it, or what is there is none.
pub(crate) fn own_identity() -> Result<Own<Identities>, Failure> {
    own(
        identity_path(),
        "identity",
        || Ok(Identities::generate().to_file()),
        |text| Identities::parse(text).map_err(|problems| problems.join("; ")),
    )
}

/// The key of this user's hashes, made if there is none: values that are equal have
/// equal hashes on this machine, today and tomorrow.
///
/// # Errors
/// There is no place for it, or what is there is none.
pub(crate) fn own_hash_key() -> Result<Own<Vec<u8>>, Failure> {
    let path = directory().map(|dir| dir.join("hash-key"));
    own(path, "key of hashes", new_hash_key, |text| hash_key(text.as_bytes()))
}

/// The key of hashes in a file of the user's.
///
/// # Errors
/// In words, without what is in it.
pub(crate) fn read_hash_key(path: &Path) -> Result<Vec<u8>, String> {
    hash_key(&read(path).map_err(|error| error.to_string())?)
}

/// Any text of some length is a key; what ends its last line is not part of it.
fn hash_key(text: &[u8]) -> Result<Vec<u8>, String> {
    let key = text.trim_ascii();
    match key.len() {
        16.. => Ok(key.to_vec()),
        len => Err(format!("{len} bytes are too few for a key: at least 16")),
    }
}

fn new_hash_key() -> io::Result<String> {
    let mut random = [0; HASH_KEY];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
}

/// Reads what is kept at `path`, after making it if there is nothing.
fn own<T>(
    path: Option<PathBuf>,
    what: &str,
    make: impl FnOnce() -> io::Result<String>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Own<T>, Failure> {
    let Some(path) = path else {
        let why = format!("there is no place to keep an {what}: neither HOME nor XDG_CONFIG_HOME");
        return Err(Failure::new(Code::Usage, why));
    };
    let failed = |error: io::Error| {
        Failure::new(Code::Disk, format!("cannot keep an {what} in {}: {error}", path.display()))
    };
    let created = create_once(&path, make).map_err(failed)?;
    let text = read(&path).map_err(failed)?;
    let value = parse(&String::from_utf8_lossy(&text)).map_err(|why| {
        Failure::new(Code::Data, format!("{} is no {what}: {why}", path.display()))
    })?;
    Ok(Own { value, path, created })
}

/// Puts a file there that only the user may read, unless there is one; whole or not
/// at all, whoever else does the same at this moment.
fn create_once(path: &Path, make: impl FnOnce() -> io::Result<String>) -> io::Result<bool> {
    if path.exists() {
        return Ok(false);
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let thread = std::thread::current().id();
    let draft = directory.join(format!(".{name}.{}.{thread:?}.{now}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = make()
        .and_then(|text| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&draft, path));
    let _ = fs::remove_file(&draft);
    match written {
        Ok(()) => File::open(directory)?.sync_all().map(|()| true),
        // Somebody else was faster; theirs is as good.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other("larger than 64 KiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn identity(path: &Path) -> Result<Own<Identities>, Failure> {
        own(
            Some(path.to_owned()),
            "identity",
            || Ok(Identities::generate().to_file()),
            |text| Identities::parse(text).map_err(|problems| problems.join("; ")),
        )
    }

    #[test]
    fn an_identity_is_made_once_for_the_user_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config/umbra/identity");
        let first = identity(&path).expect("made");
        assert!(first.created);
        let again = identity(&path).expect("found");
        assert!(!again.created);
        assert_eq!(first.value.recipients().names(), again.value.recipients().names());
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().expect("one"))), (0o600, 0o700));
        let kept: Vec<_> = fs::read_dir(path.parent().expect("one")).expect("read").collect();
        assert_eq!(kept.len(), 1, "{kept:?}");
    }

    #[test]
    fn many_at_once_agree_on_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        let made =
            || own(Some(path.clone()), "key", new_hash_key, |text| hash_key(text.as_bytes()));
        let keys: Vec<Own<Vec<u8>>> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(made)).collect();
            starts.into_iter().map(|one| one.join().expect("ended").expect("a key")).collect()
        });
        assert!(keys.windows(2).all(|pair| pair[0].value == pair[1].value));
        assert_eq!(keys.iter().filter(|key| key.created).count(), 1);
        assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 1);
    }

    #[test]
    fn what_is_no_identity_is_told_without_what_is_in_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("identity");
        fs::write(&path, "s3cret\n").expect("written");
        let failure = identity(&path).expect_err("no identity");
        assert_eq!(failure.code, Code::Data);
        assert!(failure.message.contains("identity") && !failure.message.contains("s3cret"));
        fs::write(&path, "short").expect("written");
        assert!(read_hash_key(&path).expect_err("short").contains("too few"));
    }

    #[test]
    fn the_directory_is_the_users() {
        let at = |config: Option<&str>, home: Option<&str>| {
            directory_of(config.map(OsString::from), home.map(OsString::from))
        };
        assert_eq!(at(Some("/c"), Some("/h")), Some(PathBuf::from("/c/umbra")));
        assert_eq!(at(Some("relative"), Some("/h")), Some(PathBuf::from("/h/.config/umbra")));
        assert_eq!(at(None, None), None);
    }
}
