//! A rate is the rate of the job, whoever of its replicas dies, joins or leaves.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::{
    metronome::{Metronome, worst},
    recording::{PARTITIONS, Recording, path, record},
    support::{
        jobs::job,
        logs::TestLog,
        pause,
        process::{Ended, Running, Umbra},
        shadow::{Arrival, Manner, Shadow},
        wait_for,
    },
};

const RATE: f64 = 400.0;

/// A member that died is missed after this.
const SESSION: Duration = Duration::from_secs(6);

/// A rebalance takes this long at most, once somebody has come or gone.
const REBALANCE: Duration = Duration::from_secs(4);

fn replica(log: &TestLog, shadow: &Shadow) -> Running {
    Umbra::new("replay")
        .flag("log", log.arg())
        .flag("job", "rate")
        .flag("rate", "400/s")
        .flag("kafka", format!("session.timeout.ms={}", SESSION.as_millis()))
        .flag("kafka", "heartbeat.interval.ms=1000")
        .flag("target", shadow.url())
        .flag("output", "json")
        .start()
}

/// When each request arrived, by its path.
fn by_path(arrivals: &[Arrival]) -> HashMap<&str, Vec<&Arrival>> {
    let mut all: HashMap<&str, Vec<&Arrival>> = HashMap::new();
    for arrival in arrivals {
        all.entry(path(&arrival.message)).or_default().push(arrival);
    }
    all
}

/// Only what was in flight at the kill, or settled since the last commit before it, is
/// there twice, and says so.
fn check_duplicates(arrivals: &[Arrival], killed: Instant) {
    let mut twice = 0;
    for (path, times) in by_path(arrivals) {
        if times.len() == 1 {
            continue;
        }
        twice += 1;
        assert_eq!(times.len(), 2, "{path}");
        let before = killed.saturating_duration_since(times[0].at);
        assert!(times[0].at <= killed + Duration::from_millis(100), "{path} was sent twice");
        assert!(before < Duration::from_secs(1), "{path} was settled {before:?} before the kill");
        let attempt = times[1].message.header_text("x-umbra-attempt");
        assert_eq!(attempt.as_deref(), Some("2"), "{path}");
    }
    let second = |a: &&Arrival| a.message.header("x-umbra-attempt").is_some();
    let marked = arrivals.iter().filter(second).count();
    println!("{twice} requests were sent twice, {marked} marked as attempt 2");
}

fn succeeded(replica: Running) -> Ended {
    let ended = replica.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

#[test]
fn the_rate_of_a_job_survives_its_replicas() {
    // The first four partitions hold half as much as the others and end early.
    let Recording { log, captured } =
        record("rate", 4_000, |connection| if connection % PARTITIONS < 4 { 550 } else { 1_100 });
    let shadow = Shadow::start(Manner::Answer(200));
    let metronome = Metronome::start(RATE as u32);
    let mut replicas: Vec<Running> = (0..4).map(|_| replica(&log, &shadow)).collect();
    let begun = Instant::now();
    wait_for("it is sent", || shadow.count() > 0);
    pause(REBALANCE + Duration::from_secs(7));
    let killed = Instant::now();
    replicas.remove(0).kill();
    pause(SESSION + REBALANCE + Duration::from_secs(6));
    let joined = Instant::now();
    replicas.extend([replica(&log, &shadow), replica(&log, &shadow)]);
    pause(REBALANCE + Duration::from_secs(6));
    let stopped = Instant::now();
    let left = replicas.remove(0).stop();
    assert_eq!(left.code, Some(75), "{}", left.stderr);
    assert!(shadow.count() < captured.len(), "over before the last event");
    let ended: Vec<Ended> = replicas.into_iter().map(succeeded).collect();

    let arrivals = shadow.arrivals();
    let all = by_path(&arrivals);
    assert_eq!(all.len(), captured.len(), "requests are missing");
    check_duplicates(&arrivals, killed);
    let beats = metronome.stop();
    let times: Vec<Instant> = arrivals.iter().map(|arrival| arrival.at).collect();
    let last = times[times.len() - 1];
    let quiet = [
        ("four replicas", begun + REBALANCE, killed),
        ("three are left", killed + SESSION + REBALANCE, joined),
        ("two have joined", joined + REBALANCE, stopped),
        ("one has left", stopped + REBALANCE, last - Duration::from_secs(2)),
    ];
    for (name, from, to) in quiet {
        let (off, machine) = (worst(&times, RATE, from, to), worst(&beats, RATE, from, to));
        println!(
            "{name}: rate off by {:.2} % at most over any 5 s of {:.1} s (the machine: {:.2} %)",
            off * 100.0,
            (to - from).as_secs_f64(),
            machine * 100.0
        );
        assert!(off <= 0.02 + machine, "{name}: off by {:.2} %", off * 100.0);
    }
    println!("over all: {:.1} s", (last - times[0]).as_secs_f64());
    let job = job(&log, "rate");
    println!("{job}");
    assert_eq!(job["state"], "done", "{job}");
    for one in ended {
        assert_eq!(one.json()["targets"]["shadow"]["failed"], serde_json::json!({}));
    }
}
