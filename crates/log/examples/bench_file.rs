//! How fast the embedded log is on this machine and disk: append rate, the first
//! record of a time, the rate of reading everything, how far a reader is behind a
//! writer at several rates; and what compressing the same records and writing them to
//! one file takes that knows nothing of a log. Run it in release mode:
//!
//! `bench_file [DIR [RECORDS [SECONDS]]]`: DIR is new (default: a temporary one), RECORDS
//! are appended (default 1,500,000), a tail is watched for SECONDS at each rate (default
//! 8). Prints one JSON object a line.

#![allow(
    clippy::disallowed_methods,
    reason = "the load is made on a thread of its own, and its lateness is not measured"
)]

use std::{
    error::Error,
    fs::File,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use umbra_log::{
    Append, Entry, Event, LogError, LogOptions, Mode, Rejected, Start, Tail, TailOptions,
    file::FileLog,
};

const RECORD: usize = 1024;
const TAIL_RATE: u64 = 5_000;
/// What is compressed at once, as the log does.
const CHUNK: usize = 1 << 20;

/// What the command line asks for.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    records: u64,
    tail: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench_file: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let temporary = tempfile::tempdir()?;
    let directory = arguments.next().map_or(temporary.path().join("log"), PathBuf::from);
    let records = arguments.next().map_or(Ok(1_500_000), |text| text.parse())?;
    let seconds = arguments.next().map_or(Ok(8), |text| text.parse())?;
    let wanted = Wanted { records, tail: Duration::from_secs(seconds) };
    bare(&directory, wanted)?;
    let log = FileLog::open(&directory, LogOptions::default(), Mode::Create)?;
    let begin = now_ns();
    append(&log, wanted).await?;
    first(&log, begin.midpoint(now_ns())).await?;
    for group in [None, None, Some("bench")] {
        read_all(&log, group, wanted).await?;
    }
    for rate in [TAIL_RATE / 50, TAIL_RATE, TAIL_RATE * 10] {
        behind(&log, rate, wanted).await?;
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

/// The same records, compressed in the same way and written to one file by one thread,
/// then read back: what no log on this machine gets below.
fn bare(directory: &Path, wanted: Wanted) -> Result<(), Box<dyn Error>> {
    let file = directory.with_extension("bare");
    let records = records();
    let begin = Instant::now();
    let (mut out, mut chunk) = (File::create(&file)?, Vec::with_capacity(CHUNK + RECORD));
    let mut sizes = Vec::new();
    for number in 0..wanted.records {
        chunk.extend_from_slice(&records[(number % 4096) as usize]);
        if chunk.len() >= CHUNK || number + 1 == wanted.records {
            let packed = zstd::bulk::compress(&chunk, 1)?;
            out.write_all(&packed)?;
            sizes.push(packed.len());
            chunk.clear();
        }
    }
    let wrote = begin.elapsed();
    let begin = Instant::now();
    let (mut input, mut bytes) = (File::open(&file)?, 0);
    for size in sizes {
        let mut packed = vec![0; size];
        input.read_exact(&mut packed)?;
        bytes += zstd::bulk::decompress(&packed, CHUNK + RECORD)?.len();
    }
    println!(
        r#"{{"bare_append_per_s":{:.0},"bare_read_per_s":{:.0},"bytes":{bytes}}}"#,
        wanted.records as f64 / wrote.as_secs_f64(),
        wanted.records as f64 / begin.elapsed().as_secs_f64(),
    );
    Ok(std::fs::remove_file(&file)?)
}

async fn append(log: &FileLog, wanted: Wanted) -> Result<(), LogError> {
    let records = records();
    let appender = log.appender()?;
    let begin = Instant::now();
    let mut full = 0u64;
    for number in 0..wanted.records {
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
    let whole = begin.elapsed();
    println!(
        r#"{{"append_per_s":{:.0},"record_bytes":{RECORD},"queued_s":{:.3},"flushed_s":{:.3},"full":{full}}}"#,
        wanted.records as f64 / whole.as_secs_f64(),
        queued.as_secs_f64(),
        whole.as_secs_f64(),
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
        r#"{{"first_of_a_time_ms":{:.3},"found_ms":{:.3},"earlier_read":{early}}}"#,
        begin.elapsed().as_secs_f64() * 1e3,
        found.as_secs_f64() * 1e3,
    );
    tail.close(Duration::from_secs(10)).await
}

async fn read_all(log: &FileLog, group: Option<&str>, wanted: Wanted) -> Result<(), LogError> {
    let begin = Instant::now();
    let options = TailOptions { group: group.map(str::to_owned), ..TailOptions::default() };
    let mut tail = log.tail(&options)?;
    let (mut count, mut bytes) = (0u64, 0usize);
    while count < wanted.records {
        if let Event::Delivery(delivery) = tail.next().await? {
            count += 1;
            bytes += delivery.payload.len();
            delivery.done();
        }
    }
    let took = begin.elapsed();
    let rate = count as f64 / took.as_secs_f64();
    println!(
        r#"{{"read_per_s":{rate:.0},"group":{},"bytes":{bytes},"seconds":{:.3}}}"#,
        group.is_some(),
        took.as_secs_f64(),
    );
    tail.close(Duration::from_secs(10)).await
}

async fn behind(log: &FileLog, rate: u64, wanted: Wanted) -> Result<(), LogError> {
    let appender = Arc::new(log.appender()?);
    let options = TailOptions { start: Start::Latest, ..TailOptions::default() };
    let mut tail = log.tail(&options)?;
    let total = rate * wanted.tail.as_secs();
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
        r#"{{"tail_rate":{rate},"p50_ms":{:.3},"p90_ms":{:.3},"p99_ms":{:.3},"max_ms":{:.3}}}"#,
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
    );
    if writing.join().is_err() {
        return Err(LogError::Io("the writer failed".to_owned()));
    }
    tail.close(Duration::from_secs(10)).await
}
