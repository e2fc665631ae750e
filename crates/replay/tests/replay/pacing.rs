//! When requests are sent. Judged by the times they were due, which are exact, and
//! by never being early; how late a machine is under load is not judged here.

use std::time::Duration;

use serde_json::Value;
use umbra_replay::{Config, Late, Pace, Stage};

use crate::{
    recording::{MILLI, Recording, SECOND, THEN, config},
    shadow::{Reply, Shadow},
};

/// When each send was due, in order, in milliseconds after the first.
fn dues(path: &std::path::Path) -> Vec<f64> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut dues: Vec<f64> = text
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let sent: jiff::Timestamp = line["sent"].as_str().unwrap().parse().unwrap();
            // Millisecond floats of Unix time would lose the microseconds.
            let since = (sent.as_nanosecond() - i128::from(1_700_000_000 * SECOND)) as f64;
            since / 1e6 - line["lag_ms"].as_f64().unwrap()
        })
        .collect();
    dues.sort_by(f64::total_cmp);
    let first = dues[0];
    dues.iter().map(|due| due - first).collect()
}

async fn replayed(name: &str, pace: Pace, n: u64, apart: u64) -> (Vec<f64>, umbra_replay::Report) {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(n, THEN, apart);
    let file = recording.dir.path().join("outcomes.jsonl");
    let job = Config { pace, outcomes: Some(file.clone()), ..config(name, &[&shadow]) };
    let report = recording.replay(job).await;
    assert_eq!(report.targets["t0"].answered, n);
    assert_eq!(shadow.seen().len() as u64, n);
    (dues(&file), report)
}

#[tokio::test]
async fn recorded_timing_at_a_speed() {
    let (dues, report) = replayed("speed", Pace::Recorded { speed: 20.0 }, 100, 100 * MILLI).await;
    for (i, due) in dues.iter().enumerate() {
        let exact = i as f64 * 5.0;
        assert!((due - exact).abs() < 0.01, "{i}: {due} {exact}");
    }
    assert!(report.duration_s >= 0.495, "{}", report.duration_s);
    assert!(report.lag_ms.p50 <= report.lag_ms.p99 && report.lag_ms.p99 <= report.lag_ms.max);
}

#[tokio::test]
async fn a_rate_is_exact_whatever_the_recorded_timing() {
    let (dues, _) = replayed("rate", Pace::Rate(400.0), 200, 3 * SECOND).await;
    for (i, due) in dues.iter().enumerate() {
        let exact = i as f64 * 2.5;
        assert!((due - exact).abs() < 0.01, "{i}: {due} {exact}");
    }
}

#[tokio::test]
async fn a_rate_sends_in_order_of_capture_over_all_partitions() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(40, THEN, SECOND);
    let mut job = Config { pace: Pace::Rate(2000.0), ..config("merged", &[&shadow]) };
    // One at a time, so that arrival shows the order of sending.
    job.targets[0].concurrency = 1;
    recording.replay(job).await;
    let expected: Vec<String> = (0..40).map(|i| format!("/{i}")).collect();
    assert_eq!(shadow.paths(), expected);
}

#[tokio::test]
async fn stages_ramp_to_their_rates() {
    let stages = vec![
        Stage { duration: Duration::from_millis(400), rate: 200.0 },
        Stage { duration: Duration::from_millis(200), rate: 200.0 },
    ];
    let (dues, _) = replayed("stages", Pace::Stages(stages), 100, MILLI).await;
    // n = 250 t² for 0.4 s: 40 sends; then 200 a second.
    for (i, due) in dues.iter().enumerate() {
        let i = i as f64;
        let exact = if i < 40.0 { (i / 250.0).sqrt() * 1e3 } else { 400.0 + (i - 40.0) * 5.0 };
        assert!((due - exact).abs() < 0.01, "{i}: {due} {exact}");
    }
}

#[tokio::test]
async fn late_requests_are_skipped_beyond_the_bound_and_counted() {
    let shadow = Shadow::start(|_| Reply::After(Duration::from_millis(100))).await;
    let mut recording = Recording::new().await;
    recording.gets(20, THEN, MILLI);
    let mut job = Config {
        pace: Pace::Recorded { speed: 1.0 },
        late: Late::Skip(Duration::from_millis(50)),
        ..config("late", &[&shadow])
    };
    job.targets[0].concurrency = 1;
    let report = recording.replay(job).await;
    let target = &report.targets["t0"];
    assert_eq!(target.sent + target.skipped["late"], 20);
    assert!(target.skipped["late"] >= 15, "{target:?}");
    assert_eq!(shadow.seen().len() as u64, target.sent);
}

#[tokio::test]
async fn max_waits_for_nothing() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    // A year between them.
    recording.gets(50, THEN, 365 * 86_400 * SECOND / 50);
    let report = recording.replay(config("max", &[&shadow])).await;
    assert_eq!(report.targets["t0"].answered, 50);
}

#[tokio::test]
async fn stages_go_on_where_they_stopped() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(200, THEN, MILLI);
    let file = recording.dir.path().join("outcomes.jsonl");
    // Slow at first, then fast: the second start must not be slow again.
    let stages = vec![
        Stage { duration: Duration::ZERO, rate: 50.0 },
        Stage { duration: Duration::from_secs(1), rate: 50.0 },
        Stage { duration: Duration::ZERO, rate: 1000.0 },
    ];
    let job = Config {
        pace: Pace::Stages(stages),
        outcomes: Some(file.clone()),
        ..config("stages-on", &[&shadow])
    };
    let running = recording.start(job.clone()).await;
    shadow.wait_for(60).await;
    running.stop().await;
    let before = std::fs::read_to_string(&file).unwrap().lines().count();
    std::fs::remove_file(&file).unwrap();
    let report = recording.replay(job).await;
    assert_eq!(report.targets["t0"].answered as usize, 200 - before);
    let dues = dues(&file);
    let took = dues[dues.len() - 1];
    assert!((took - (dues.len() - 1) as f64).abs() < 0.1, "{took} ms for {}", dues.len());
}
