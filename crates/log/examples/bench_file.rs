//! How fast the embedded log is on this machine and disk: append rate, the first
//! record of a time, the rate of reading everything, and how far a reader is behind
//! a writer at several rates. Run it in release mode; a directory may be named
//! (default: a temporary one).

#![allow(
    clippy::disallowed_methods,
    reason = "the load is made on a thread of its own, and its lateness is not measured"
)]

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use umbra_log::{
    Append, Entry, Event, LogError, LogOptions, Mode, Rejected, Start, Tail, TailOptions,
    file::FileLog,
};

const RECORD: usize = 1024;
const APPEND: u64 = 1_500_000;
const TAIL_RATE: u64 = 5_000;
const TAIL_TIME: Duration = Duration::from_secs(8);

#[tokio::main]
async fn main() -> ExitCode {
    let temporary = tempfile::tempdir();
    let directory = match (std::env::args_os().nth(1), &temporary) {
        (Some(directory), _) => PathBuf::from(directory),
        (None, Ok(temporary)) => temporary.path().join("log"),
        (None, Err(error)) => {
            eprintln!("no temporary directory: {error}");
            return ExitCode::FAILURE;
        }
    };
    match run(&directory).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(directory: &std::path::Path) -> Result<(), LogError> {
    let log = FileLog::open(directory, LogOptions::default(), Mode::Create)?;
    let begin = now_ns();
    append(&log).await?;
    first(&log, begin.midpoint(now_ns())).await?;
    for _ in 0..3 {
        read_all(&log, None).await?;
    }
    read_all(&log, Some("bench")).await?;
    for rate in [TAIL_RATE / 50, TAIL_RATE, TAIL_RATE * 10] {
        behind(&log, rate).await?;
    }
    Ok(())
}

/// What traffic looks like: a head that repeats, values that do not.
fn records() -> Vec<Vec<u8>> {
    let head = "POST /api/v1/orders?page=2&size=50 HTTP/1.1\r\nhost: shop.example.com\r\n\
        user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\naccept: */*\r\n\
        content-type: application/json\r\nx-request-id: ";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..4096)
        .map(|_| {
            let mut text = format!("{head}{:016x}{:016x}\r\n\r\n{{", next(), next());
            while text.len() < RECORD {
                let (id, price) = (next() % 100_000, next() % 10_000);
                text.push_str(&format!(
                    "\"sku\":\"A-{id:05}\",\"price\":{price},\"qty\":{},",
                    id % 7
                ));
            }
            text.truncate(RECORD);
            text.into_bytes()
        })
        .collect()
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

fn entry(partition: u64, payload: &[u8]) -> Entry<'_> {
    let partition = (partition % 12) as u32;
    Entry { partition, time_ns: now_ns(), key: b"", headers: &[], payload, weight: 1 }
}

async fn append(log: &FileLog) -> Result<(), LogError> {
    let records = records();
    let appender = log.appender()?;
    let begin = Instant::now();
    let mut full = 0u64;
    for number in 0..APPEND {
        let payload = &records[(number % 4096) as usize];
        while let Err(rejected) = appender.enqueue(&entry(number, payload)) {
            match rejected {
                Rejected::Full => full += 1,
                other => return Err(LogError::Io(other.to_string())),
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    let queued = begin.elapsed();
    appender.flush(Duration::from_secs(60)).await?;
    let rate = APPEND as f64 / begin.elapsed().as_secs_f64();
    println!(
        "append: {rate:.0} records/s of {RECORD} B (queued in {queued:.2?}, flushed in {:.2?}, full {full} times)",
        begin.elapsed()
    );
    drop(appender);
    Ok(())
}

/// How long until the first record of a time is there, without reading what is
/// before it.
async fn first(log: &FileLog, time_ns: u64) -> Result<(), LogError> {
    let begin = Instant::now();
    let start = Start::At(log.offsets_for_time(time_ns)?);
    let found = begin.elapsed();
    let mut tail = log.tail(&TailOptions { start, ..TailOptions::default() })?;
    let mut early = 0u64;
    loop {
        if let Event::Delivery(delivery) = tail.next().await? {
            let reached = delivery.time_ns >= time_ns;
            delivery.done();
            if reached {
                break;
            }
            early += 1;
        }
    }
    println!(
        "first record of a time in the middle: {:.2?} (found in {found:.2?}, {early} earlier ones read)",
        begin.elapsed()
    );
    tail.close(Duration::from_secs(10)).await
}

async fn read_all(log: &FileLog, group: Option<&str>) -> Result<(), LogError> {
    let begin = Instant::now();
    let options = TailOptions { group: group.map(str::to_owned), ..TailOptions::default() };
    let mut tail = log.tail(&options)?;
    let (mut count, mut bytes) = (0u64, 0usize);
    while count < APPEND {
        if let Event::Delivery(delivery) = tail.next().await? {
            count += 1;
            bytes += delivery.payload.len();
            delivery.done();
        }
    }
    let took = begin.elapsed();
    let rate = count as f64 / took.as_secs_f64();
    let kind = if group.is_some() { "with a group" } else { "without a group" };
    println!("read-all {kind}: {rate:.0} records/s ({bytes} B in {took:.2?})");
    tail.close(Duration::from_secs(10)).await
}

async fn behind(log: &FileLog, rate: u64) -> Result<(), LogError> {
    let appender = Arc::new(log.appender()?);
    let options = TailOptions { start: Start::Latest, ..TailOptions::default() };
    let mut tail = log.tail(&options)?;
    let total = rate * TAIL_TIME.as_secs();
    let writer = Arc::clone(&appender);
    let writing = std::thread::spawn(move || {
        let records = records();
        let begin = Instant::now();
        for number in 0..total {
            let due = begin + Duration::from_nanos(number * 1_000_000_000 / rate);
            // Sleeping is precise enough: lateness is not measured from here.
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let payload = &records[(number % 4096) as usize];
            while writer.enqueue(&entry(number, payload)).is_err() {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    });
    let mut late = Vec::with_capacity(total as usize);
    while (late.len() as u64) < total {
        if let Event::Delivery(delivery) = tail.next().await? {
            late.push(now_ns().saturating_sub(delivery.time_ns));
            delivery.done();
        }
    }
    late.sort_unstable();
    let at = |part: f64| late[((late.len() - 1) as f64 * part) as usize] as f64 / 1e6;
    println!(
        "behind at {rate}/s: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    if writing.join().is_err() {
        return Err(LogError::Io("the writer failed".to_owned()));
    }
    tail.close(Duration::from_secs(10)).await
}
