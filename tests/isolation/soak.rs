//! The memory of an agent under a mixed load stays where it is. With `UMBRA_TEST_LONG`
//! for three minutes instead of some seconds; the last line printed is the result as
//! JSON, for `bench/results`.

use std::{
    io::Read as _,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    behaviour::{begin_upload, upload},
    service::{LARGE, Service},
};
use crate::support::{
    client::{Client, get},
    logs::TestLog,
    pause,
    process::Umbra,
};

/// What the memory may still grow by in the last third, against the one before.
const GROWTH: f64 = 16.0;

/// What a client does, on its connection, for the so-manieth time.
type Act = fn(SocketAddr, &mut Option<Client>, u64);

/// The load: kinds of clients, and how often a second each of them does what it does.
const LOAD: &[(&str, Act, u32)] = &[
    ("keep-alive", keep_alive, 100),
    ("keep-alive too", keep_alive, 100),
    ("new connections", new_connection, 50),
    ("bodies of all sizes", body, 10),
    ("uploads broken off", upload_broken_off, 5),
    ("downloads broken off", download_broken_off, 5),
];

fn keep_alive(to: SocketAddr, client: &mut Option<Client>, number: u64) {
    let client = client.get_or_insert_with(|| Client::connect(to));
    let request = format!("GET /small/{number} HTTP/1.1\r\nHost: shop\r\n\r\n");
    assert_eq!(client.call(request.as_bytes()).text(), "ok");
}

fn new_connection(to: SocketAddr, _: &mut Option<Client>, _: u64) {
    assert_eq!(get(to, "/small").text(), "ok");
}

fn body(to: SocketAddr, _: &mut Option<Client>, number: u64) {
    upload(to, 1 << (number % 22));
}

fn upload_broken_off(to: SocketAddr, _: &mut Option<Client>, number: u64) {
    drop(begin_upload(to, 1 << 20, (number as usize * 50_021) % (1 << 20)));
}

fn download_broken_off(to: SocketAddr, _: &mut Option<Client>, number: u64) {
    use std::io::Write as _;
    let mut client = std::net::TcpStream::connect(to).unwrap();
    client.write_all(b"GET /download HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
    let some = (number as usize * 500_009) % LARGE;
    std::io::copy(&mut client.take(some as u64), &mut std::io::sink()).unwrap();
}

/// The middle one of these.
fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn memory_stays_flat_under_a_mixed_load() {
    let long = std::env::var_os("UMBRA_TEST_LONG").is_some();
    let time = Duration::from_secs(if long { 180 } else { 12 });
    let service = Service::start();
    let log = TestLog::file();
    let agent = Umbra::agent(&log, service.address)
        .flag("memory", "32MiB")
        .flag("segment-bytes", "16MiB")
        .flag("retain-bytes", "128MiB")
        .flag("output", "json")
        .start();
    let (over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut series = Vec::new();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for (_, act, rate) in LOAD {
            let (over, done, to) = (&over, &done, agent.listen());
            scope.spawn(move || {
                let (mut client, mut due, mut number) = (None, Instant::now(), 0);
                while !over.load(Ordering::Relaxed) {
                    act(to, &mut client, number);
                    number += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                    due += Duration::from_secs(1) / *rate;
                    pause(due.saturating_duration_since(Instant::now()));
                }
            });
        }
        while begun.elapsed() < time {
            pause(time / 60);
            series.push(agent.resident_memory() as f64 / f64::from(1 << 20));
        }
        over.store(true, Ordering::Relaxed);
    });
    let third = series.len() / 3;
    let [warm, before, last] = [0, 1, 2].map(|n| median(&series[n * third..(n + 1) * third]));
    let peak = agent.peak_memory() >> 20;
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let result = ended.json();
    let whole: Vec<u64> = series.iter().map(|mib| mib.round() as u64).collect();
    println!("resident MiB: {whole:?}");
    let load: Vec<_> =
        LOAD.iter().map(|(name, _, rate)| json!({ "what": name, "a_second": rate })).collect();
    println!(
        "{}",
        json!({
            "seconds": time.as_secs(), "load": load, "done": done.load(Ordering::Relaxed),
            "memory": "32MiB", "debug_build": cfg!(debug_assertions),
            "resident_mib": { "thirds": [warm, before, last], "peak": peak, "series": whole },
            "agent": result,
        })
    );
    // What was broken off in its head is no request.
    assert!(result["requests"].as_u64().unwrap() <= done.load(Ordering::Relaxed), "{result}");
    let lost: u64 = result["lost"].as_object().unwrap().values().filter_map(|n| n.as_u64()).sum();
    let recorded = result["recorded"].as_u64().unwrap();
    assert_eq!(result["requests"], recorded + lost, "{result}");
    assert!(last <= before + GROWTH, "it grows: {whole:?}");
}
