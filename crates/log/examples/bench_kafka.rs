//! How fast records are appended to a real Kafka, against Kafka's own
//! `ProducerPerformance`: the same records, the same producer settings, turn by turn
//! (the first turn of each only warms up).
//!
//! `scripts/kafka run -- cargo run --release -p umbra-log --example bench_kafka`

use std::{
    error::Error,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use umbra_log::{
    Address, Append, Entry, Event, Log, LogOptions, Mode, Rejected, Tail, TailOptions,
};

const RECORDS: u64 = 500_000;
const SIZE: usize = 1024;
const ROUNDS: usize = 5;
const PARTITIONS: u32 = 12;
/// 90 % of the default `max.message.bytes`, as our producer sets it.
const BATCH: usize = 943_720;
const QUEUE: usize = 16 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let brokers = std::env::var("UMBRA_TEST_KAFKA")
        .map_err(|_| "run it under `scripts/kafka run --`, or set UMBRA_TEST_KAFKA")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let payloads = payloads();
    let file = std::env::temp_dir().join(format!("umbra-bench-{}", std::process::id()));
    std::fs::File::create(&file)?.write_all(&payloads.join(&b'\n'))?;
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let (mut ours, mut theirs, mut reads) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let topic = |who: &str| format!("bench-{who}-{stamp}-{round}");
        let open = |topic: String| {
            let brokers = brokers.split(',').map(str::to_owned).collect();
            let options =
                LogOptions { partitions: PARTITIONS, queue_bytes: QUEUE, ..LogOptions::default() };
            async move { Log::open(&Address::Kafka { brokers, topic }, options, Mode::Create).await }
        };
        let log = runtime.block_on(open(topic("umbra")))?;
        let rate = runtime.block_on(append(&log, &payloads))?;
        let read = runtime.block_on(read(&log))?;
        runtime.block_on(open(topic("java")))?;
        let java = producer_performance(&brokers, &topic("java"), &file)?;
        println!(
            "round {round}: umbra {rate:.0}/s, ProducerPerformance {java:.0}/s, read {read:.0}/s"
        );
        if round > 0 {
            ours.push(rate);
            theirs.push(java);
            reads.push(read);
        }
    }
    std::fs::remove_file(&file)?;
    let (umbra, java) = (median(&mut ours), median(&mut theirs));
    println!(
        "median of {ROUNDS}: umbra {umbra:.0}/s, ProducerPerformance {java:.0}/s, ratio {:.2}; read {:.0}/s",
        umbra / java,
        median(&mut reads)
    );
    Ok(())
}

/// Letters without order: compressible as text is, to about two thirds.
fn payloads() -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'A' + (state % 26) as u8
    };
    (0..2000).map(|_| (0..SIZE).map(|_| letter()).collect()).collect()
}

async fn append(log: &Log, payloads: &[Vec<u8>]) -> Result<f64, Box<dyn Error>> {
    let appender = log.appender().await?;
    let time_ns = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    let cpu = cpu_time()?;
    let started = Instant::now();
    let mut waited = Duration::ZERO;
    for (number, payload) in (0..RECORDS).zip(payloads.iter().cycle()) {
        let partition = (number % u64::from(PARTITIONS)) as u32;
        let entry = Entry { partition, time_ns, key: b"", headers: &[], payload, weight: 1 };
        loop {
            match appender.enqueue(&entry) {
                Ok(_) => break,
                Err(Rejected::Full) => {
                    let since = Instant::now();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    waited += since.elapsed();
                }
                Err(other) => return Err(other.into()),
            }
        }
    }
    let enqueued = started.elapsed();
    appender.flush(Duration::from_secs(60)).await?;
    let whole = started.elapsed();
    println!(
        "  umbra: {:.0} ns per enqueue, {:.2} us of CPU per record until durable",
        (enqueued.saturating_sub(waited)).as_nanos() as f64 / RECORDS as f64,
        (cpu_time()?.saturating_sub(cpu)).as_secs_f64() * 1e6 / RECORDS as f64,
    );
    Ok(RECORDS as f64 / whole.as_secs_f64())
}

async fn read(log: &Log) -> Result<f64, Box<dyn Error>> {
    let group = Some(format!("bench.{}", log.name()));
    let started = Instant::now();
    let mut tail = log.tail(TailOptions { group, ..TailOptions::default() }).await?;
    let mut count = 0;
    while count < RECORDS {
        if let Event::Delivery(delivery) = tail.next().await? {
            count += 1;
            delivery.done();
        }
    }
    let whole = started.elapsed();
    tail.close(Duration::from_secs(10)).await?;
    Ok(RECORDS as f64 / whole.as_secs_f64())
}

fn producer_performance(brokers: &str, topic: &str, file: &Path) -> Result<f64, Box<dyn Error>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka");
    let output = Command::new(script)
        // The JVM may optimise as it likes.
        .env("UMBRA_KAFKA_JAVA", "-Xmx512m -XX:TieredStopAtLevel=4")
        .args(["tool", "ProducerPerformance", "--topic", topic, "--throughput", "-1"])
        .args(["--num-records", &RECORDS.to_string(), "--payload-file"])
        .arg(file)
        .arg("--producer-props")
        .arg(format!("bootstrap.servers={brokers}"))
        .args(["acks=all", "enable.idempotence=true", "compression.type=lz4", "linger.ms=5"])
        .args([format!("batch.size={BATCH}"), format!("buffer.memory={QUEUE}")])
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().rev().find(|line| line.contains("records/sec"));
    let rate = last
        .and_then(|line| {
            line.split(", ").find_map(|part| part.split(" records/sec").next()?.parse().ok())
        })
        .ok_or_else(|| format!("no rate in: {text}"))?;
    Ok(rate)
}

/// Of this process, all threads.
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let behind_name = stat.rsplit_once(") ").ok_or("an unknown format")?.1;
    let fields: Vec<&str> = behind_name.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
