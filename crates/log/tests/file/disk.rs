//! A disk that is full.

use std::{fs, path::Path, process::Command, time::Duration};

use umbra_log::{Append as _, LogError, LogOptions, Rejected};

use crate::bench::{
    append_lines, create, earliest, existing, flush, line, options, read_to, try_append, until,
};

/// A file system of so many bytes; `None` where we may not make one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(bytes: usize) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(directory.path())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("skipped: a small file system cannot be mounted here (needs root)");
            return None;
        }
        Some(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let Some(disk) = SmallDisk::mount(2 << 20) else { return };
    let ballast = disk.path().join("ballast");
    let directory = disk.path().join("log");
    let log = create(&directory, LogOptions { queue_bytes: 256 << 10, ..options() });
    let appender = log.appender().unwrap();
    append_lines(&appender, 0..300);
    flush(&appender).await;
    // Leave a little room, which is not a whole chunk.
    let mut free = 0;
    while fs::write(&ballast, vec![0u8; free + 4096]).is_ok() {
        free += 4096;
    }
    fs::write(&ballast, vec![0u8; free - 8192]).unwrap();
    let mut number = 300u64;
    let mut full = 0;
    until("the queue stays full", || {
        loop {
            let partition = (number % 3) as u32;
            match try_append(&appender, partition, line(partition, number / 3).as_bytes()) {
                Ok(_) => (number, full) = (number + 1, 0),
                Err(Rejected::Full) => break,
                Err(other) => panic!("{other}"),
            }
        }
        // Not only for a moment: it is asked every few milliseconds.
        full += 1;
        full == 100
    })
    .await;
    match appender.flush(Duration::from_millis(500)).await {
        Err(LogError::Io(why)) => assert!(why.contains("No space"), "{why}"),
        other => panic!("{other:?}"),
    }
    let durable: u64 = (0..3).map(|partition| appender.durable(partition)).sum();
    assert!(durable >= 300 && durable < number, "{durable} of {number}");
    // What was written can be read meanwhile.
    let ends: Vec<u64> = log.spans().unwrap().iter().map(|span| span.high).collect();
    let read = read_to(&mut earliest(&log), [ends[0], ends[1], ends[2]]).await;
    assert_eq!(read.count() as u64, durable);

    fs::remove_file(&ballast).unwrap();
    flush(&appender).await;
    append_lines(&appender, number..number + 300);
    drop(appender);
    number += 300;
    let log = existing(&directory);
    let ends: Vec<u64> = log.spans().unwrap().iter().map(|span| span.high).collect();
    assert_eq!(ends.iter().sum::<u64>(), number, "everything accepted is there");
    let read = read_to(&mut earliest(&log), [ends[0], ends[1], ends[2]]).await;
    assert_eq!((read.count() as u64, read.missing), (number, vec![]));
}
