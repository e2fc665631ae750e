//! A disk that is full.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use umbra_log::{
    Append as _, Event, LogError, LogOptions, Rejected, Start, Tail as _, TailOptions, progress,
};

use crate::bench::{
    DEADLINE, append_lines, check, create, earliest, existing, flush, group, line, options,
    read_to, try_append, until,
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

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Uses up all but so many bytes.
    fn fill(&self, but: usize) {
        let mut free = 0;
        while fs::write(self.ballast(), vec![0u8; free + 4096]).is_ok() {
            free += 4096;
        }
        fs::write(self.ballast(), vec![0u8; free - but]).unwrap();
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
    let directory = disk.path().join("log");
    let log = create(&directory, LogOptions { queue_bytes: 256 << 10, ..options() });
    let appender = log.appender().unwrap();
    append_lines(&appender, 0..300);
    flush(&appender).await;
    // Leave a little room, which is not a whole chunk.
    disk.fill(8192);
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

    fs::remove_file(disk.ballast()).unwrap();
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

#[tokio::test]
async fn without_room_for_progress_reading_waits_and_goes_on() {
    let Some(disk) = SmallDisk::mount(4 << 20) else { return };
    let log = create(&disk.path().join("log"), options());
    let appender = log.appender().unwrap();
    let total = progress::BLOCK * 3 * 2;
    append_lines(&appender, 0..total);
    drop(appender);
    let options = TailOptions {
        group: Some("g".to_owned()),
        read_ahead_records: 1000,
        ..TailOptions::default()
    };
    let mut tail = log.tail(&options).unwrap();
    let mut count = 0;
    let mut filled = false;
    let mut freed = false;
    while count < total {
        let next = tokio::time::timeout(Duration::from_secs(2), tail.next());
        match next.await {
            Ok(Ok(Event::Delivery(delivery))) => {
                if !filled {
                    filled = true;
                    disk.fill(0);
                }
                check(&delivery);
                assert_eq!(delivery.attempt, 1);
                delivery.done();
                count += 1;
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => {
                assert!(!freed, "it does not go on");
                assert!(count <= progress::BLOCK * 3, "{count} were delivered, unreserved");
                freed = true;
                fs::remove_file(disk.ballast()).unwrap();
            }
        }
    }
    assert!(freed, "it never waited");
    tail.close(DEADLINE).await.unwrap();
    let mut again = group(&log, "g", Start::Earliest);
    assert_eq!(read_to(&mut again, [total / 3; 3]).await.count(), 0);
}
