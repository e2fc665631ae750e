//! Writes a log of synthetic requests, for benches that need one of a known size and
//! with known capture times without recording it in real time:
//!
//! `make_log LOG [--requests N] [--size BYTES] [--rate R | --times FILE] [--connections N]
//! [--partitions N] [--host NAME]`
//!
//! Request `n` is `POST /p/n` with a body that does not compress, `--size` bytes as a
//! whole (default 1024; below that of its head: a GET without a body). It was captured
//! 1/R seconds after the one before (default 10,000 a second), or at the nanoseconds of
//! line `n` of FILE; the last one some seconds before now. Prints what it wrote as JSON.

#![allow(
    clippy::disallowed_methods,
    reason = "a full queue is waited for on a thread that does nothing else"
)]

use std::{
    collections::HashMap,
    error::Error,
    process::ExitCode,
    str::FromStr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use umbra_log::{Address, Append, Appender, Entry, Log, LogOptions, Mode, Rejected, Schema};
use umbra_record::{
    SCHEMA, SCHEMA_NAME,
    encode::{Envelope, RequestParts},
    hash,
    id::IdGenerator,
    pb,
};

/// The last request was captured so long ago, that the window is over.
const AGO_NS: u64 = 10_000_000_000;
/// Bodies are cut out of so many random bytes: more than any compressor looks back.
const POOL: usize = 8 << 20;

fn main() -> ExitCode {
    match run() {
        Ok(told) => {
            println!("{told}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("make_log: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, Box<dyn Error>> {
    let wanted = Wanted::read()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(write(&wanted))
}

/// What the command line asks for.
struct Wanted {
    log: Address,
    size: usize,
    /// Nanoseconds of each request after the first.
    times: Times,
    connections: u64,
    partitions: u32,
    host: String,
}

enum Times {
    Even { requests: u64, rate: f64 },
    Told(Vec<u64>),
}

impl Times {
    fn len(&self) -> u64 {
        match self {
            Self::Even { requests, .. } => *requests,
            Self::Told(times) => times.len() as u64,
        }
    }

    fn of(&self, number: u64) -> u64 {
        match self {
            Self::Even { rate, .. } => (number as f64 * 1e9 / rate) as u64,
            Self::Told(times) => times[number as usize],
        }
    }
}

impl Wanted {
    fn read() -> Result<Self, Box<dyn Error>> {
        let mut arguments = std::env::args().skip(1);
        let log = Address::parse(&arguments.next().ok_or("which log?")?)?;
        let mut options = HashMap::new();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            options.insert(name, value);
        }
        let times = match options.remove("--times") {
            Some(file) => {
                let text = std::fs::read_to_string(file)?;
                Times::Told(text.lines().map(str::parse).collect::<Result<_, _>>()?)
            }
            None => Times::Even {
                requests: take(&mut options, "--requests", 100_000)?,
                rate: take(&mut options, "--rate", 10_000.0)?,
            },
        };
        let wanted = Self {
            log,
            size: take(&mut options, "--size", 1024)?,
            times,
            connections: take(&mut options, "--connections", 64)?,
            partitions: take(&mut options, "--partitions", 12)?,
            host: take(&mut options, "--host", "bench.example".to_owned())?,
        };
        match options.keys().next() {
            Some(unknown) => Err(format!("what is {unknown}?").into()),
            None if wanted.times.len() == 0 => Err("no requests".into()),
            None if wanted.connections == 0 => Err("no connections".into()),
            None => Ok(wanted),
        }
    }
}

fn take<T: FromStr>(
    options: &mut HashMap<String, String>,
    name: &str,
    default: T,
) -> Result<T, String> {
    match options.remove(name) {
        Some(text) => text.parse().map_err(|_| format!("{name}: what is `{text}`?")),
        None => Ok(default),
    }
}

async fn write(wanted: &Wanted) -> Result<String, Box<dyn Error>> {
    let options = LogOptions {
        partitions: wanted.partitions,
        schema: Some(Schema {
            name: SCHEMA_NAME.to_owned(),
            encoding: "protobuf".to_owned(),
            data: SCHEMA.to_vec(),
        }),
        ..LogOptions::default()
    };
    let log = Log::open(&wanted.log, options, Mode::Create).await?;
    let appender = log.appender().await?;
    let mut writer = Writer::new(wanted, appender.partitions());
    let started = Instant::now();
    for number in 0..wanted.times.len() {
        writer.encode(number);
        writer.append(number, &appender).await?;
    }
    appender.flush(Duration::from_secs(120)).await?;
    if let Some(loss) = appender.losses().first() {
        return Err(format!("lost: {loss:?}").into());
    }
    Ok(format!(
        r#"{{"requests":{},"bytes":{},"first_ns":{},"last_ns":{},"partitions":{},"took_s":{:.3}}}"#,
        wanted.times.len(),
        writer.bytes,
        writer.first_ns,
        writer.first_ns + wanted.times.of(wanted.times.len() - 1),
        appender.partitions(),
        started.elapsed().as_secs_f64(),
    ))
}

/// Makes one record after the other in a buffer that is used again.
struct Writer<'a> {
    wanted: &'a Wanted,
    agent: [u8; 16],
    ids: IdGenerator,
    pool: Vec<u8>,
    /// Where the next body begins.
    random: u64,
    first_ns: u64,
    /// By partition, what was written last.
    sequences: Vec<u64>,
    payload: Vec<u8>,
    bytes: u64,
    id: [u8; 16],
}

impl<'a> Writer<'a> {
    fn new(wanted: &'a Wanted, partitions: u32) -> Self {
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let first_ns = now - AGO_NS - wanted.times.of(wanted.times.len() - 1);
        let mut ids = IdGenerator::new();
        let agent = ids.next(first_ns);
        let mut random = 0x9e37_79b9_7f4a_7c15;
        let pool = (0..POOL / 8).flat_map(|_| step(&mut random).to_le_bytes()).collect();
        let sequences = vec![0; partitions as usize];
        let payload = Vec::new();
        Self { wanted, agent, ids, pool, random, first_ns, sequences, payload, bytes: 0, id: agent }
    }

    fn start_ns(&self, number: u64) -> u64 {
        self.first_ns + self.wanted.times.of(number)
    }

    fn partition(&self, number: u64) -> u32 {
        (number % self.wanted.connections % self.sequences.len() as u64) as u32
    }

    fn encode(&mut self, number: u64) {
        let start_ns = self.start_ns(number);
        self.id = self.ids.next(start_ns);
        let path = format!("/p/{number}");
        let host = self.wanted.host.as_bytes();
        let head = "POST  HTTP/1.1\r\nHost: \r\nUser-Agent: bench/1\r\nAccept: */*\r\n\
            Content-Type: application/octet-stream\r\nContent-Length: 1000\r\n\r\n";
        let length = self.wanted.size.saturating_sub(head.len() + host.len() + path.len());
        let length = length.min(POOL / 2);
        let at = step(&mut self.random) as usize % (POOL - length);
        let body = [&self.pool[at..at + length]];
        let digits = length.to_string();
        let headers: [(&[u8], &[u8]); 5] = [
            (b"Host", host),
            (b"User-Agent", b"bench/1"),
            (b"Accept", b"*/*"),
            (b"Content-Type", b"application/octet-stream"),
            (b"Content-Length", digits.as_bytes()),
        ];
        let headers = if length > 0 { &headers[..] } else { &headers[..3] };
        self.payload.clear();
        RequestParts {
            id: self.id,
            connection: number % self.wanted.connections,
            number: number / self.wanted.connections,
            start_ns,
            end_after_ns: 50_000,
            peer: "127.0.0.1:40000",
            scheme: "http",
            method: if length > 0 { b"POST" } else { b"GET" },
            authority: host,
            path: path.as_bytes(),
            version: pb::Version::Http11,
            headers: &headers,
            body: (length > 0).then_some(&body),
            body_length: length as u64,
            body_hash: (length > 0).then(|| hash::of(body[0])),
            upstream: "http://127.0.0.1:1",
            ..RequestParts::default()
        }
        .encode(&mut self.payload);
        let key = (number % self.wanted.connections).to_be_bytes();
        let partition = self.partition(number) as usize;
        self.sequences[partition] += 1;
        let sequence = self.sequences[partition];
        Envelope { agent: self.agent, lane: 0, key: &key, sequence }.encode(&mut self.payload);
    }

    /// Appends what was encoded, waiting for room.
    async fn append(&mut self, number: u64, appender: &Appender) -> Result<(), Rejected> {
        let headers: [(&str, &[u8]); 2] = [("umbra-kind", b"request"), ("umbra-id", &self.id)];
        let entry = Entry {
            partition: self.partition(number),
            time_ns: self.start_ns(number),
            key: &(number % self.wanted.connections).to_be_bytes(),
            headers: &headers,
            payload: &self.payload,
            weight: 1,
        };
        self.bytes += self.payload.len() as u64;
        loop {
            match appender.enqueue(&entry) {
                Ok(_) => return Ok(()),
                Err(Rejected::Full) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(other) => return Err(other),
            }
        }
    }
}

/// Marsaglia's xorshift.
fn step(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
