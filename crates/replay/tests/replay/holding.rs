//! Targets that are down, slow or broken: held, skipped, given up or counted, and
//! never a matter of the others.

use std::time::Duration;

use umbra_replay::{Config, Ended, Pace, WhenDown, Which};

use crate::{
    recording::{MILLI, Recording, THEN, config, now, until},
    shadow::{Reply, Shadow},
};

/// Requests of five connections, one after the other on each.
fn connections(recording: &mut Recording, from: u64, rounds: u64, apart: u64) {
    for number in 0..rounds {
        for connection in 0..5 {
            let at = from + (number * 5 + connection) * apart;
            recording.get(&format!("{connection}/{number}"), at, connection, number);
        }
    }
}

/// Each connection's requests as they arrived.
fn in_order(paths: &[String], rounds: u64) {
    for connection in 0..5 {
        let prefix = format!("/{connection}/");
        let numbers: Vec<u64> = paths
            .iter()
            .filter_map(|path| path.strip_prefix(&prefix))
            .map(|number| number.parse().unwrap())
            .collect();
        assert_eq!(numbers, (0..rounds).collect::<Vec<_>>(), "connection {connection}");
    }
}

#[tokio::test]
async fn order_is_kept_on_each_connection() {
    let shadow =
        Shadow::start(|seen| Reply::After(Duration::from_millis(seen.path.len() as u64))).await;
    let mut recording = Recording::new().await;
    connections(&mut recording, THEN, 40, 1000);
    let report = recording.replay(config("order", &[&shadow])).await;
    assert_eq!(report.targets["t0"].answered, 200);
    assert!(report.targets["t0"].held_by_order > 0);
    in_order(&shadow.paths(), 40);
}

#[tokio::test]
async fn a_target_that_is_down_is_held_and_the_other_never_notices() {
    let mut down = Shadow::ok().await;
    let other = Shadow::ok().await;
    let mut recording = Recording::new().await;
    connections(&mut recording, THEN, 20, 2 * MILLI);
    down.stop().await;
    let job = Config { pace: Pace::Recorded { speed: 1.0 }, ..config("held", &[&down, &other]) };
    let running = recording.start(job).await;
    other.wait_for(100).await;
    until(|| running.stats.snapshot().get("t0").is_some_and(|state| state.blocked.is_some())).await;
    let (name, blocked) = running.stats.progress().held.unwrap();
    assert_eq!(name, "t0");
    assert!(blocked.why.contains("down"), "{}", blocked.why);
    assert!(blocked.record.is_some());
    assert_eq!(down.seen().len(), 0);
    down.start_again().await;
    let report = running.end().await;
    assert_eq!(report.ended, Ended::Done);
    assert_eq!(report.targets["t0"].answered, 100);
    assert!(report.targets["t0"].down_s > 0.0);
    assert_eq!(report.targets["t1"].answered, 100);
    in_order(&down.paths(), 20);
    // The recorded spacing, not a burst: 99 distances of 2 ms.
    let seen = down.seen();
    let took = seen[99].at - seen[0].at;
    assert!(took >= Duration::from_millis(190), "{took:?}");
}

#[tokio::test]
async fn a_target_that_goes_down_on_the_way_gets_everything_in_order() {
    let mut shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    connections(&mut recording, THEN, 60, MILLI);
    let job = Config { pace: Pace::Recorded { speed: 1.0 }, ..config("middle", &[&shadow]) };
    let running = recording.start(job).await;
    shadow.wait_for(100).await;
    shadow.stop().await;
    until(|| running.stats.progress().held.is_some()).await;
    shadow.start_again().await;
    let report = running.end().await;
    let target = &report.targets["t0"];
    // What was cut off after its bytes were written is an outcome, and passes.
    let failed: u64 = target.failed.values().sum();
    assert_eq!(target.answered + failed, 300);
    assert!(failed <= 32);
    let mut paths = shadow.paths();
    paths.dedup();
    for connection in 0..5 {
        let prefix = format!("/{connection}/");
        let numbers: Vec<u64> = paths
            .iter()
            .filter_map(|path| path.strip_prefix(&prefix))
            .map(|number| number.parse().unwrap())
            .collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
}

#[tokio::test]
async fn a_live_target_comes_back_without_a_burst() {
    let mut shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    let job = Config {
        which: Which::Live,
        pace: Pace::Arrival { delay: None },
        ..config("live-held", &[&shadow])
    };
    shadow.stop().await;
    let running = recording.start(job).await;
    until(|| running.stats.snapshot().contains_key("t0")).await;
    let from = now();
    connections(&mut recording, from, 20, 5 * MILLI);
    recording.flush().await;
    until(|| running.stats.progress().held.is_some()).await;
    shadow.start_again().await;
    shadow.wait_for(100).await;
    let report = running.stop().await;
    assert_eq!(report.targets["t0"].answered, 100);
    in_order(&shadow.paths(), 20);
    // 99 distances of 5 ms, gaining at most a tenth.
    let seen = shadow.seen();
    let took = seen[99].at - seen[0].at;
    assert!(took >= Duration::from_millis(440), "{took:?}");
}

#[tokio::test]
async fn a_target_that_stays_down_is_given_up_and_the_other_done() {
    let mut down = Shadow::ok().await;
    let other = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(20, THEN, MILLI);
    down.stop().await;
    let mut job = config("give-up", &[&down, &other]);
    job.targets[0].when_down = WhenDown::Hold(Some(Duration::from_millis(300)));
    let report = recording.replay(job.clone()).await;
    assert_eq!(report.ended, Ended::GaveUp { targets: vec!["t0".to_owned()] });
    assert_eq!(report.targets["t0"].sent, 0);
    assert_eq!(report.targets["t1"].answered, 20);
    // The same job goes on when the target is back; the other gets nothing twice.
    down.start_again().await;
    let report = recording.replay(job).await;
    assert_eq!(report.ended, Ended::Done);
    assert_eq!(report.targets["t0"].answered, 20);
    assert_eq!(other.seen().len(), 20);
}

#[tokio::test]
async fn told_to_skip_it_counts_what_a_target_that_is_down_misses() {
    let mut shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(20, THEN, MILLI);
    shadow.stop().await;
    let mut job = config("skip", &[&shadow]);
    job.targets[0].when_down = WhenDown::Skip;
    let report = recording.replay(job).await;
    assert_eq!(report.ended, Ended::Done);
    assert_eq!(report.targets["t0"].skipped["down"], 20);
    assert_eq!(report.targets["t0"].sent, 0);
}

#[tokio::test]
async fn broken_answers_are_outcomes_and_pass() {
    let shadow = Shadow::start(|seen| match seen.path.as_str() {
        "/1" => Reply::Reset,
        "/2" => Reply::Garbage,
        "/3" => Reply::After(Duration::from_secs(20)),
        "/4" => Reply::Status(500),
        _ => Reply::Status(204),
    })
    .await;
    let mut recording = Recording::new().await;
    recording.gets(10, THEN, MILLI);
    let mut job = config("broken", &[&shadow]);
    job.targets[0].timeout = Duration::from_millis(300);
    let report = recording.replay(job).await;
    let target = &report.targets["t0"];
    assert_eq!(report.ended, Ended::Done);
    assert_eq!((target.sent, target.answered), (10, 7));
    assert_eq!(target.failed["reset"], 1);
    assert_eq!(target.failed["garbled"], 1);
    assert_eq!(target.failed["timeout"], 1);
    assert_eq!(target.status["500"], 1);
    assert_eq!(shadow.seen().len(), 10, "nothing is sent twice");
}

#[tokio::test]
async fn a_slow_answer_holds_its_connection_and_no_other() {
    let shadow = Shadow::start(|seen| match seen.path.as_str() {
        "/0/0" => Reply::After(Duration::from_millis(400)),
        _ => Reply::Status(200),
    })
    .await;
    let mut recording = Recording::new().await;
    connections(&mut recording, THEN, 4, MILLI);
    let report = recording.replay(config("slow", &[&shadow])).await;
    assert_eq!(report.targets["t0"].answered, 20);
    let paths = shadow.paths();
    in_order(&paths, 4);
    let behind = paths.iter().position(|path| path == "/0/1").unwrap();
    assert_eq!(behind, 17, "all of the others went before: {paths:?}");
}

#[tokio::test]
async fn requests_of_an_http2_connection_do_not_wait_for_each_other() {
    let shadow = Shadow::start(|seen| match seen.path.as_str() {
        "/0" => Reply::After(Duration::from_millis(400)),
        _ => Reply::Status(200),
    })
    .await;
    let mut recording = Recording::new().await;
    for number in 0..10 {
        let mut request = recording.make(&number.to_string(), THEN + number, 3, number);
        request.version = umbra_record::pb::Version::Http2 as i32;
        recording.request(request);
    }
    let report = recording.replay(config("h2", &[&shadow])).await;
    assert_eq!((report.targets["t0"].answered, report.targets["t0"].held_by_order), (10, 0));
}
