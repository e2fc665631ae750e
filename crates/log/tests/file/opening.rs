//! What is a log and what is not.

use std::{fs, path::Path};

use umbra_log::{Address, Log, LogError, LogOptions, Mode, file::FileLog};

use crate::bench::{append_lines, create, existing, options, segments};

fn open(path: &Path, mode: Mode) -> Result<FileLog, LogError> {
    FileLog::open(path, options(), mode)
}

#[test]
fn what_is_not_there_is_not_found_and_not_made_by_readers() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("log");
    assert!(matches!(open(&path, Mode::Existing), Err(LogError::NotFound(_))));
    assert!(!path.exists());
    assert!(matches!(open(temporary.path(), Mode::Existing), Err(LogError::NotFound(_))));
    open(&path, Mode::Create).unwrap();
    open(&path, Mode::Existing).expect("an empty log is one");
}

#[test]
fn other_peoples_directories_are_left_alone() {
    let temporary = tempfile::tempdir().unwrap();
    fs::write(temporary.path().join("thesis.tex"), "x").unwrap();
    for mode in [Mode::Create, Mode::Existing] {
        let why = match open(temporary.path(), mode) {
            Err(LogError::Unusable(why)) if mode == Mode::Create => why,
            Err(LogError::NotFound(why)) if mode == Mode::Existing => why,
            other => panic!("a log? {other:?}"),
        };
        assert!(why.contains("thesis.tex"), "{why}");
    }
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
}

#[test]
fn the_directory_around_a_log_is_not_one() {
    let temporary = tempfile::tempdir().unwrap();
    open(&temporary.path().join("umbra-log"), Mode::Create).unwrap();
    assert!(matches!(open(temporary.path(), Mode::Existing), Err(LogError::NotFound(_))));
}

#[test]
fn a_file_that_is_no_recording_is_refused_with_the_place() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("x.mcap");
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"",
        b"\x89MCAP0\r\n",
        b"\x89MCAP0\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    ] {
        fs::write(&path, bytes).unwrap();
        match open(&path, Mode::Existing) {
            Err(LogError::Unusable(why)) => {
                assert!(why.contains("x.mcap") && why.contains("byte "), "{why}");
            }
            other => panic!("{bytes:?}: {other:?}"),
        }
    }
    fs::write(&path, "x").unwrap();
    assert!(matches!(open(&path, Mode::Create), Err(LogError::Unusable(_))));
}

#[test]
fn a_marker_of_another_version_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    fs::write(temporary.path().join("umbra-log"), "umbra log 2\npartitions 3\n").unwrap();
    for mode in [Mode::Create, Mode::Existing] {
        assert!(matches!(open(temporary.path(), mode), Err(LogError::Unusable(_))));
    }
}

#[test]
fn a_log_keeps_its_partitions_also_without_its_marker() {
    let temporary = tempfile::tempdir().unwrap();
    append_lines(&create(temporary.path(), options()).appender().unwrap(), 0..30);
    assert_eq!(segments(temporary.path()).len(), 1);
    fs::remove_file(temporary.path().join("umbra-log")).unwrap();
    assert_eq!(existing(temporary.path()).spans().unwrap().len(), 3);
    let options = LogOptions { partitions: 5, ..options() };
    let log = FileLog::open(temporary.path(), options, Mode::Create).unwrap();
    assert_eq!(log.spans().unwrap().len(), 3);
    log.appender().expect("it can be written");
}

#[test]
fn too_many_partitions_are_refused() {
    let temporary = tempfile::tempdir().unwrap();
    for partitions in [0, 1 << 17] {
        let options = LogOptions { partitions, ..options() };
        let made = FileLog::open(&temporary.path().join("log"), options, Mode::Create);
        assert!(matches!(made, Err(LogError::Refused(_))), "{partitions}");
    }
}

#[tokio::test]
async fn side_logs_are_found_by_every_name_of_the_log() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("log");
    let link = temporary.path().join("link");
    create(&directory, options());
    std::os::unix::fs::symlink(&directory, &link).unwrap();
    let names = [directory.clone(), link, directory.join("."), temporary.path().join("log/")];
    for (number, name) in (0..).zip(names) {
        let log = Log::open(&Address::File(name), options(), Mode::Existing).await.unwrap();
        let journal = log.journal("jobs").await.unwrap();
        assert_eq!(journal.append(b"x").await, Ok(number));
    }
    assert!(temporary.path().join("log.jobs").exists());
    let log = existing(&directory);
    for name in ["", "../x", "a/b"] {
        assert!(matches!(log.journal(name), Err(LogError::Refused(_))), "{name}");
    }
}
