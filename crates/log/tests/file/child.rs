//! Two processes and one log: this test binary runs itself again as the other one.

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use umbra_log::{LogError, Start, Tail as _};

use crate::bench::{
    DEADLINE, append_lines, create, earliest, existing, flush, group, options, read_to,
    small_segments, try_append,
};

/// Tells the other process what to do: `WHAT DIRECTORY`.
const TASK: &str = "UMBRA_LOG_TEST_TASK";

/// The other process, killed when dropped.
struct Other {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(what: &str, directory: &Path) -> Self {
        Self::run(Command::new(std::env::current_exe().unwrap()), what, directory)
    }

    fn run(mut command: Command, what: &str, directory: &Path) -> Self {
        let mut child = command
            .args(["--exact", "child::other_process", "--ignored", "--nocapture"])
            .env(TASK, format!("{what} {}", directory.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// What it says next that begins so; the rest of the line.
    fn say(&mut self, begin: &str) -> String {
        loop {
            let line = self.lines.next().expect("the other process lives").unwrap();
            if let Some((_, rest)) = line.split_once(begin) {
                return rest.to_owned();
            }
        }
    }

    /// Lets it end by itself.
    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(what: &str) {
    // Not println: a test's output may be held back.
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}").unwrap();
    out.flush().unwrap();
}

/// Not a test: what the other process does.
#[tokio::test]
#[ignore = "the other process of other tests"]
async fn other_process() {
    let task = std::env::var(TASK).unwrap();
    let (what, directory) = task.split_once(' ').unwrap();
    let directory = Path::new(directory);
    match what {
        // Writes and flushes for ever, and tells how far it is safe.
        "write" => {
            let appender = create(directory, small_segments()).appender().unwrap();
            for round in 0u64.. {
                append_lines(&appender, round * 300..round * 300 + 300);
                if round % 3 == 2 {
                    flush(&appender).await;
                    say(&format!("flushed {}", round * 300 + 300));
                }
            }
        }
        // Holds the log until its input ends.
        "hold" => {
            let _appender = create(directory, options()).appender().unwrap();
            say("holding");
            std::io::stdin().lines().for_each(drop);
        }
        // Reads up to 3000 records of each partition.
        "read" => {
            let mut tail = group(&existing(directory), "g", Start::Earliest);
            say("reading");
            let read = read_to(&mut tail, [3000; 3]).await;
            assert!(read.missing.is_empty(), "{:?}", read.missing);
            say(&format!("read {}", read.count()));
            tail.close(DEADLINE).await.unwrap();
            say("closed");
        }
        // Writes more than one file may hold.
        "limited" => {
            let appender = create(directory, options()).appender().unwrap();
            for round in 0..100u64 {
                append_lines(&appender, round * 300..round * 300 + 300);
                flush(&appender).await;
            }
            say("done");
        }
        other => panic!("{other}?"),
    }
}

#[tokio::test]
async fn another_process_reads_what_this_one_writes() {
    let temporary = tempfile::tempdir().unwrap();
    let log = create(temporary.path(), small_segments());
    let appender = log.appender().unwrap();
    append_lines(&appender, 0..300);
    let mut other = Other::start("read", temporary.path());
    other.say("reading");
    for round in 1..30u64 {
        append_lines(&appender, round * 300..round * 300 + 300);
        flush(&appender).await;
    }
    assert!(crate::bench::segments(temporary.path()).len() > 2, "it went over segments");
    let read = tokio::task::spawn_blocking(move || {
        let read = other.say("read ");
        other.say("closed");
        other.end();
        read
    });
    assert_eq!(read.await.unwrap(), "9000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_writer_loses_nothing_that_was_flushed() {
    for round in 0..4 {
        let temporary = tempfile::tempdir().unwrap();
        drop(create(temporary.path(), small_segments()));
        let mut other = Other::start("write", temporary.path());
        // One reads on over its death.
        let mut witness = earliest(&existing(temporary.path()));
        let mut flushed = 0u64;
        while flushed < 9000 + round * 2000 {
            flushed = other.say("flushed ").parse().unwrap();
        }
        other.kill();
        let log = create(temporary.path(), options());
        let appender = log.appender().unwrap();
        let ends: Vec<u64> = log.spans().unwrap().iter().map(|span| span.high).collect();
        assert!(ends.iter().sum::<u64>() >= flushed, "{ends:?} of {flushed}");
        // Whoever writes next goes on there.
        for (partition, &end) in (0..).zip(&ends) {
            let line = crate::bench::line(partition, end);
            try_append(&appender, partition, line.as_bytes()).unwrap();
        }
        flush(&appender).await;
        let ends = [ends[0] + 1, ends[1] + 1, ends[2] + 1];
        for read in [read_to(&mut witness, ends).await, read_to(&mut earliest(&log), ends).await] {
            assert_eq!(read.missing, []);
            for (offsets, end) in read.offsets.iter().zip(ends) {
                assert!(offsets.iter().copied().eq(0..end), "each once, without a hole");
            }
        }
        for segment in crate::bench::segments(temporary.path()).iter().rev().skip(1) {
            let bytes = std::fs::read(segment).unwrap();
            assert!(mcap::Summary::read(&bytes).unwrap().is_some(), "{segment:?} is whole");
        }
    }
}

#[test]
fn a_second_writer_is_told_who_writes() {
    let temporary = tempfile::tempdir().unwrap();
    let mut other = Other::start("hold", temporary.path());
    other.say("holding");
    let log = create(temporary.path(), options());
    let Err(LogError::Held(why)) = log.appender() else { panic!("two write") };
    assert!(why.contains(&format!("process {} on ", other.child.id())), "{why}");
    other.end();
    let appender = log.appender().expect("free again");
    let Err(LogError::Held(why)) = log.appender() else { panic!("two write") };
    assert!(why.contains(&format!("process {} on ", std::process::id())), "{why}");
    drop(appender);
    // Not even a killed one leaves it locked.
    let mut other = Other::start("hold", temporary.path());
    other.say("holding");
    other.kill();
    log.appender().expect("free again");
}

#[tokio::test]
async fn a_write_that_fails_is_repeated_in_a_new_segment() {
    let temporary = tempfile::tempdir().unwrap();
    // No file above 64 KiB (in blocks of 512 bytes), and no signal for it: the write
    // fails instead, in the middle of a chunk.
    let mut shell = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 128; exec \"$0\" \"$@\"";
    shell.args(["-c", script]).arg(std::env::current_exe().unwrap());
    let mut other = Other::run(shell, "limited", temporary.path());
    other.say("done");
    other.end();
    let segments = crate::bench::segments(temporary.path());
    assert!(segments.len() > 3, "{} segments", segments.len());
    let read = read_to(&mut earliest(&existing(temporary.path())), [10_000; 3]).await;
    assert_eq!((read.count(), read.missing), (30_000, vec![]));
}
