//! One clock for all replicas of a job and all its targets.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    metronome::{Metronome, burst, late},
    recording::{Recording, path, record},
    support::{
        logs::TestLog,
        pause,
        process::{Running, Umbra},
        shadow::{Arrival, Manner, Shadow},
        wait_for,
    },
};

/// Recorded at 2,000 requests a second and replayed at a tenth of that speed.
const RECORDED: u32 = 2_000;
const SPEED: f64 = 0.1;
const RATE: usize = 200;

/// What a partition may have to wait while it changes hands.
const HAND_OVER: Duration = Duration::from_secs(5);

/// So many requests a connection, of 24.
fn recording(name: &str, seconds: usize) -> Recording {
    record(name, RECORDED, |_| RATE * seconds / 24)
}

fn replica(log: &TestLog, job: &str, targets: &[String]) -> Running {
    let replay = Umbra::new("replay")
        .flag("log", log.arg())
        .flag("job", job)
        .flag("speed", SPEED.to_string())
        .flag("output", "json");
    targets.iter().fold(replay, |replay, target| replay.flag("target", target)).start()
}

/// How much later than its place on one clock each request arrived, in seconds: the
/// earliest of all sets the clock.
struct Lateness(Vec<(Instant, f64)>);

impl Lateness {
    fn of(arrivals: &[Arrival], captured: &HashMap<String, u128>) -> Self {
        let start = arrivals[0].at;
        let first = captured.values().min().unwrap();
        let place = |arrival: &Arrival| {
            let due = (captured[path(&arrival.message)] - first) as f64 / 1e9 / SPEED;
            (arrival.at, (arrival.at - start).as_secs_f64() - due)
        };
        let mut all: Vec<(Instant, f64)> = arrivals.iter().map(place).collect();
        let least = all.iter().map(|(_, late)| *late).fold(f64::INFINITY, f64::min);
        all.iter_mut().for_each(|(_, late)| *late -= least);
        Self(all)
    }

    /// In milliseconds, of what arrived in between.
    fn quantile(&self, share: f64, within: impl Fn(Instant) -> bool) -> f64 {
        let mut late: Vec<f64> =
            self.0.iter().filter(|(at, _)| within(*at)).map(|(_, late)| *late * 1e3).collect();
        late.sort_by(f64::total_cmp);
        late[((late.len() - 1) as f64 * share) as usize]
    }
}

fn times(arrivals: &[Arrival]) -> Vec<Instant> {
    arrivals.iter().map(|arrival| arrival.at).collect()
}

/// What the machine is off by, however good the product is.
struct Machine(Vec<Instant>);

impl Machine {
    fn of(metronome: Metronome) -> Self {
        let machine = Self(metronome.stop());
        println!(
            "the machine: p99 {:.2} ms late, at most {} in a second",
            machine.late(),
            machine.burst()
        );
        machine
    }

    fn late(&self) -> f64 {
        late(&self.0, RATE as u32, 0.99)
    }

    fn burst(&self) -> usize {
        burst(&self.0).max(RATE)
    }

    /// No more within a second than was recorded, but for what had to wait while its
    /// partition changed hands.
    #[track_caller]
    fn no_burst(&self, what: &str, arrivals: &[Arrival], lateness: &Lateness) {
        let most = burst(&times(arrivals));
        let latest = lateness.quantile(1.0, |_| true) / 1e3;
        println!(
            "{what}: at most {most} within a second ({RATE} are recorded), latest {latest:.2} s late"
        );
        assert!(latest < HAND_OVER.as_secs_f64(), "{what}: {latest} s late");
        // Far less than what a job that was left alone would have to make up for.
        let caught_up = (RATE as f64 * latest.max(3.0)) as usize;
        assert!(most <= self.burst() * 6 / 5 + caught_up, "{what}: a burst of {most}");
    }

    /// On one clock.
    #[track_caller]
    fn punctual(&self, what: &str, p99: f64) {
        println!("{what}: p99 {p99:.2} ms late");
        assert!(p99 < 50.0 + 3.0 * self.late(), "{what}: {p99} ms late");
    }
}

fn lag_of(result: &Value) -> &Value {
    &result["lag_ms"]
}

#[test]
fn replicas_that_come_one_after_the_other_follow_one_clock() {
    let Recording { log, captured } = recording("clock", 27);
    let shadow = Shadow::start(Manner::Answer(200));
    let metronome = Metronome::start(RATE as u32);
    let targets = [shadow.url()];
    let start = || replica(&log, "clock", &targets);
    let mut replicas = vec![start()];
    wait_for("the first one sends", || shadow.count() > 0);
    let mut joins = vec![Instant::now()];
    for _ in 0..2 {
        pause(Duration::from_secs(3));
        joins.push(Instant::now());
        replicas.push(start());
    }
    pause(Duration::from_secs(7));
    for replica in &replicas {
        replica.signal("TERM");
    }
    for replica in replicas {
        let ended = replica.wait();
        assert_eq!(ended.code, Some(75), "{}", ended.stderr);
        println!("lag as told: {}", lag_of(&ended.json()));
    }
    let before = shadow.arrivals();
    // Long enough for every partition to be late: the clock has to be moved.
    pause(Duration::from_secs(8));
    let replicas = [start(), start()];
    for replica in replicas {
        let ended = replica.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        println!("lag as told: {}", lag_of(&ended.json()));
    }
    let all = shadow.arrivals();
    let after = &all[before.len()..];
    assert_eq!(all.len(), captured.len(), "not every request once");

    let machine = Machine::of(metronome);
    let calm = |at: Instant| {
        joins.iter().all(|join| at < *join || at > *join + Duration::from_millis(2_500))
    };
    let (first, second) = (Lateness::of(&before, &captured), Lateness::of(after, &captured));
    machine.no_burst("replicas come one after the other", &before, &first);
    machine.no_burst("two go on after a pause", after, &second);
    let whole = first.quantile(0.99, |_| true);
    println!("p50 {:.2} ms late; p99 with joins {whole:.2} ms", first.quantile(0.5, calm));
    machine.punctual("three replicas, one clock", first.quantile(0.99, calm));
    let begun = after[0].at + Duration::from_millis(2_500);
    let second = second.quantile(0.99, |at| at > begun);
    machine.punctual("two replicas after a pause", second);
}

#[test]
fn a_target_that_is_down_has_a_clock_of_its_own() {
    let Recording { log, captured } = recording("down", 15);
    let (up, down) = (Shadow::start(Manner::Answer(200)), Shadow::start(Manner::Answer(200)));
    let address = down.address();
    let targets = [format!("up={}", up.url()), format!("down={}", down.url())];
    let metronome = Metronome::start(RATE as u32);
    let job = replica(&log, "down", &targets);
    wait_for("both are sent to", || down.count() > 2 * RATE && up.count() > 2 * RATE);
    let mut held = down.end();
    pause(Duration::from_secs(10));
    let down = Shadow::start_at(address, Manner::Answer(200));
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let result = ended.json();
    println!("{result}");

    let schedule = up.arrivals();
    assert_eq!(schedule.len(), captured.len());
    let machine = Machine::of(metronome);
    let lateness = Lateness::of(&schedule, &captured);
    machine.no_burst("the target beside it", &schedule, &lateness);
    machine.punctual("the target beside it", lateness.quantile(0.99, |_| true));
    let again = down.arrivals();
    let lateness = Lateness::of(&again, &captured);
    machine.no_burst("the target that was down", &again, &lateness);
    let p99 = lateness.quantile(0.99, |_| true);
    machine.punctual("the target that was down, on its own clock", p99);
    let first = held.len();
    held.extend(again);
    let mut seen: HashMap<&str, usize> = HashMap::new();
    held.iter().for_each(|one| *seen.entry(path(&one.message)).or_default() += 1);
    let failed: u64 = result["targets"]["down"]["failed"]
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_u64().unwrap())
        .sum();
    println!("{first} before, {} after, {failed} failed as it went down", held.len() - first);
    assert!(seen.len() + failed as usize >= captured.len(), "requests are missing");
    assert!(seen.values().all(|n| *n == 1), "twice at the target that was down");
}
