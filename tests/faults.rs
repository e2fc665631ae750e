//! Shadows that misbehave: the client notices nothing, the replayer counts and
//! goes on, or holds.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::support::{
    client::{Client, get},
    logs::TestLog,
    nginx::Nginx,
    pause,
    process::{Running, Umbra},
    shadow::{Manner, Shadow},
    wait_for,
};

fn agent(log: &TestLog, upstream: &Nginx) -> Running {
    Umbra::agent(log, upstream.address).start()
}

fn paths(shadow: &Shadow, prefix: &str) -> Vec<String> {
    let arrivals = shadow.arrivals();
    let paths = arrivals.iter().map(|a| a.message.start.split(' ').nth(1).unwrap().to_owned());
    paths.filter(|path| path.starts_with(prefix)).collect()
}

/// Waits until live pipelines to all of these take part, and are idle again: they
/// begin with what is recorded after they have joined.
fn take_part(agent: &Running, shadows: &[&Shadow]) {
    wait_for("all pipelines take part", || {
        get(agent.listen(), "/warm-up");
        pause(Duration::from_millis(100));
        shadows.iter().all(|shadow| shadow.count() > 0)
    });
    let counts = || shadows.iter().map(|shadow| shadow.count()).collect::<Vec<_>>();
    let mut before = Vec::new();
    wait_for("all pipelines are idle", || {
        pause(Duration::from_secs(1));
        let now = counts();
        let idle = now == before;
        before = now;
        idle
    });
}

fn misbehaving(log: &TestLog) {
    let upstream = Nginx::start("location / { return 200 ok; }");
    let agent = agent(log, &upstream);
    let slow = Shadow::start(Manner::Slow(Duration::from_secs(10)));
    let reset = Shadow::start(Manner::Reset);
    let garbage = Shadow::start(Manner::Garbage);
    let good = Shadow::start(Manner::Answer(200));
    let replay = Umbra::new("replay")
        .flag("log", log.arg())
        .flag("live", "")
        .flag("target", format!("slow={},timeout=2s", slow.url()))
        .flag("target", format!("reset={}", reset.url()))
        .flag("target", format!("garbage={}", garbage.url()))
        .flag("target", format!("good={}", good.url()))
        .flag("output", "json")
        .start();
    let all = [&slow, &reset, &garbage, &good];
    take_part(&agent, &all);
    let start = Instant::now();
    for number in 0..50 {
        assert_eq!(get(agent.listen(), &format!("/f/{number}")).status(), 200);
    }
    let live = start.elapsed();
    wait_for("every shadow has seen all", || {
        all.iter().all(|shadow| paths(shadow, "/f/").len() == 50)
    });
    println!("50 live requests beside four shadows took {live:?}");
    let ended = replay.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let result = ended.json();
    let failed =
        |name: &str, class: &str| result["targets"][name]["failed"][class].as_u64().unwrap_or(0);
    assert!(failed("slow", "timeout") >= 50, "{result}");
    assert!(failed("reset", "reset") >= 50, "{result}");
    assert!(failed("garbage", "garbled") >= 50, "{result}");
    assert_eq!(result["targets"]["good"]["failed"], serde_json::json!({}), "{result}");
}

#[test]
fn misbehaving_shadows_are_counted_and_passed_on_the_embedded_log() {
    misbehaving(&TestLog::file());
}

#[test]
fn misbehaving_shadows_are_counted_and_passed_on_kafka() {
    misbehaving(&TestLog::kafka("misbehaving"));
}

/// Down for 20 s of a live replay.
fn held_while_down(log: &TestLog) {
    let upstream = Nginx::start("location / { return 200 ok; }");
    let agent = agent(log, &upstream);
    let held = Shadow::start(Manner::Answer(200));
    let beside = Shadow::start(Manner::Answer(200));
    let replay = Umbra::new("replay")
        .flag("log", log.arg())
        .flag("live", "")
        .flag("target", format!("held={}", held.url()))
        .flag("target", format!("beside={}", beside.url()))
        .flag("output", "json")
        .start();
    take_part(&agent, &[&held, &beside]);
    let address = held.address();
    drop(held);

    // One request each 50 ms, on four connections, for 20 s.
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(agent.listen())).collect();
    let start = Instant::now();
    let mut number = 0_usize;
    let mut late = Duration::ZERO;
    while start.elapsed() < Duration::from_secs(20) {
        let request = format!("GET /d/{}/{number} HTTP/1.1\r\nHost: h\r\n\r\n", number % 4);
        let before = Instant::now();
        assert_eq!(clients[number % 4].call(request.as_bytes()).status(), 200);
        late = late.max(before.elapsed());
        number += 1;
        pause(Duration::from_millis(50));
    }
    wait_for("the target beside it never notices", || paths(&beside, "/d/").len() == number);
    println!("{number} requests while one target was down; slowest live answer {late:?}");

    let held = Shadow::start_at(address, Manner::Answer(200));
    wait_for("everything arrives", || paths(&held, "/d/").len() == number);
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for path in paths(&held, "/d/") {
        let (connection, number) = path[3..].split_once('/').unwrap();
        let number: usize = number.parse().unwrap();
        let before = last.insert(connection.to_owned(), number);
        assert!(before < Some(number), "connection {connection}: {number} after {before:?}");
    }
    // No burst: in no second more than a few times what was captured in one.
    let mut arrivals = held.arrivals();
    arrivals.retain(|arrival| arrival.message.start.contains("/d/"));
    for (index, first) in arrivals.iter().enumerate() {
        let within =
            arrivals[index..].iter().take_while(|a| a.at - first.at < Duration::from_secs(1));
        let count = within.count();
        assert!(count <= 60, "{count} requests within a second; captured were about 19");
    }
    let ended = replay.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let result = ended.json();
    for target in ["held", "beside"] {
        assert_eq!(result["targets"][target]["failed"], serde_json::json!({}), "{result}");
        assert_eq!(result["targets"][target]["skipped"], serde_json::json!({}), "{result}");
    }
}

#[test]
fn held_while_down_on_the_embedded_log() {
    held_while_down(&TestLog::file());
}

#[test]
fn held_while_down_on_kafka() {
    held_while_down(&TestLog::kafka("down"));
}

#[test]
fn a_window_gives_up_on_a_target_that_stays_down() {
    let upstream = Nginx::start("location / { return 200 ok; }");
    let log = TestLog::file();
    let agent = agent(&log, &upstream);
    get(agent.listen(), "/one");
    agent.stop();
    let gone = Shadow::start(Manner::Answer(200));
    let url = gone.url();
    drop(gone);
    let command =
        || Umbra::new("replay").flag("log", log.arg()).flag("job", "give-up").flag("rate", "max");
    let ended = command().flag("target", format!("{url},when-down=hold:1s")).run();
    assert_eq!(ended.code, Some(69), "{}", ended.stderr);
    let skipped = Umbra::new("replay")
        .flag("log", log.arg())
        .flag("rate", "max")
        .flag("target", format!("{url},when-down=skip"))
        .result();
    assert_eq!(skipped["targets"]["shadow"]["skipped"]["down"], 1, "{skipped}");
}
