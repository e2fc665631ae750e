//! Appends records to a topic as fast as it takes them, as Kafka's own
//! `ProducerPerformance` does, for benches that run both in turns:
//!
//! `bench_kafka kafka://BROKER/TOPIC PAYLOADS RECORDS [PARTITIONS [KEY=VALUE…]]`
//!
//! PAYLOADS is a text file with a record in each line, used one after the other and again
//! from the start. KEY is a property of librdkafka, or `producers`, or `queue` (in bytes).
//! Prints, as JSON, how many were durable at which time, the CPU that the process used, and
//! how fast a reader with a group then reads them all.

use std::{
    error::Error,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use umbra_log::{
    Address, Append, Appender, Entry, Event, Log, LogOptions, Mode, Rejected, Tail, TailOptions,
};

/// The allocator of the binary: what librdkafka costs depends on it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often it is looked how many records are durable.
const LOOK: Duration = Duration::from_millis(250);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("which {what}?"));
    let address = Address::parse(&next("topic")?)?;
    let payloads = std::fs::read_to_string(next("file of payloads")?)?;
    let records: u64 = next("number of records")?.parse()?;
    let partitions = arguments.next().map(|count| count.parse()).transpose()?;
    let mut options = LogOptions::default();
    options.partitions = partitions.unwrap_or(options.partitions);
    for property in arguments {
        let (key, value) = property.split_once('=').ok_or("KEY=VALUE is wanted")?;
        match key {
            "producers" => options.producers = value.parse()?,
            "queue" => options.queue_bytes = value.parse()?,
            _ => drop(options.kafka.insert(key.to_owned(), value.to_owned())),
        }
    }
    let payloads: Vec<&[u8]> = payloads.lines().map(str::as_bytes).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let log = Log::open(&address, options, Mode::Create).await?;
        append(&log, &payloads, records).await?;
        read(&log, records).await
    })
}

async fn append(log: &Log, payloads: &[&[u8]], records: u64) -> Result<(), Box<dyn Error>> {
    let appender = log.appender().await?;
    let partitions = u64::from(appender.partitions());
    let cpu = cpu_time()?;
    let started = Instant::now();
    let (mut looked, mut durable) = (started, Vec::new());
    for (number, payload) in (0..records).zip(payloads.iter().cycle()) {
        let partition = (number % partitions) as u32;
        if number % 64 == 0 && looked.elapsed() >= LOOK {
            looked = Instant::now();
            durable.push((started.elapsed(), count(&appender)));
        }
        let time_ns = unix_ns();
        let entry = Entry { partition, time_ns, key: b"", headers: &[], payload, weight: 1 };
        loop {
            match appender.enqueue(&entry) {
                Ok(_) => break,
                Err(Rejected::Full) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(other) => return Err(other.into()),
            }
        }
    }
    appender.flush(Duration::from_secs(60)).await?;
    let whole = started.elapsed();
    durable.push((whole, count(&appender)));
    let seen: Vec<String> =
        durable.iter().map(|(at, n)| format!("[{:.3},{n}]", at.as_secs_f64())).collect();
    println!(
        r#"{{"records":{records},"seconds":{:.4},"cpu_s":{:.3},"partitions":{partitions},"durable":[{}]}}"#,
        whole.as_secs_f64(),
        (cpu_time()?.saturating_sub(cpu)).as_secs_f64(),
        seen.join(","),
    );
    Ok(())
}

/// Records that are durable by now.
fn count(appender: &Appender) -> u64 {
    (0..appender.partitions()).map(|partition| appender.durable(partition)).sum()
}

async fn read(log: &Log, records: u64) -> Result<(), Box<dyn Error>> {
    let group = Some(format!("bench.{}", log.name()));
    let cpu = cpu_time()?;
    let started = Instant::now();
    let mut tail = log.tail(TailOptions { group, ..TailOptions::default() }).await?;
    let mut count = 0;
    while count < records {
        if let Event::Delivery(delivery) = tail.next().await? {
            count += 1;
            delivery.done();
        }
    }
    let whole = started.elapsed();
    println!(
        r#"{{"read":{count},"seconds":{:.4},"cpu_s":{:.3}}}"#,
        whole.as_secs_f64(),
        (cpu_time()?.saturating_sub(cpu)).as_secs_f64(),
    );
    tail.close(Duration::from_secs(10)).await?;
    Ok(())
}

fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Of this process, all threads.
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let behind_name = stat.rsplit_once(") ").ok_or("an unknown format")?.1;
    let fields: Vec<&str> = behind_name.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}
