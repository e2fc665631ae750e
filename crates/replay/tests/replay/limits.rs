//! Ends that were asked for, repetition, and looking without sending.

use std::time::Duration;

use umbra_replay::{Config, Ended, Pace, Which, dry_run};

use crate::{
    recording::{MILLI, Recording, SECOND, THEN, config, now, until},
    shadow::{Reply, Shadow},
};

#[tokio::test]
async fn a_limit_is_exact_for_each_target() {
    let slow = Shadow::start(|_| Reply::After(Duration::from_millis(2))).await;
    let fast = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(100, THEN, MILLI);
    let job = Config { limit: Some(30), ..config("limit", &[&slow, &fast]) };
    let report = recording.replay(job.clone()).await;
    assert_eq!(report.ended, Ended::Done);
    assert_eq!(report.targets["t0"].answered, 30);
    assert_eq!(report.targets["t1"].answered, 30);
    assert_eq!((slow.seen().len(), fast.seen().len()), (30, 30));
    assert_eq!(recording.replay(job).await.ended, Ended::AlreadyDone);
}

#[tokio::test]
async fn a_duration_ends_it() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(1000, THEN, 20 * MILLI);
    let job = Config {
        duration: Some(Duration::from_millis(500)),
        pace: Pace::Recorded { speed: 1.0 },
        ..config("duration", &[&shadow])
    };
    let report = recording.replay(job).await;
    assert_eq!(report.ended, Ended::Done);
    let sent = report.targets["t0"].sent;
    assert!((1..=25).contains(&sent), "{sent}");
}

#[tokio::test]
async fn a_duration_ends_a_live_replay_also_without_traffic() {
    let shadow = Shadow::ok().await;
    let recording = Recording::new().await;
    let job = Config {
        which: Which::Live,
        duration: Some(Duration::from_millis(200)),
        pace: Pace::Arrival { delay: None },
        ..config("live-duration", &[&shadow])
    };
    let report = recording.replay(job).await;
    assert_eq!((report.ended, report.read), (Ended::Done, 0));
}

#[tokio::test]
async fn a_window_is_played_as_often_as_asked() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(10, THEN, MILLI);
    let job = Config { repeat: 3, ..config("loop", &[&shadow]) };
    let report = recording.replay(job.clone()).await;
    assert_eq!(report.ended, Ended::Done);
    assert_eq!(report.targets["t0"].answered, 30);
    for i in 0..10 {
        let path = format!("/{i}");
        assert_eq!(shadow.paths().iter().filter(|seen| **seen == path).count(), 3);
    }
    assert_eq!(recording.replay(job).await.ended, Ended::AlreadyDone);
    assert_eq!(shadow.seen().len(), 30);
}

#[tokio::test]
async fn a_limit_holds_over_repetitions() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(10, THEN, MILLI);
    let job = Config { repeat: 5, limit: Some(25), ..config("loop-limit", &[&shadow]) };
    let report = recording.replay(job.clone()).await;
    assert_eq!(report.targets["t0"].answered, 25);
    assert_eq!(recording.replay(job).await.ended, Ended::AlreadyDone);
    assert_eq!(shadow.seen().len(), 25);
}

#[tokio::test]
async fn a_limit_holds_over_a_stop() {
    let shadow = Shadow::start(|_| Reply::After(Duration::from_millis(3))).await;
    let mut recording = Recording::new().await;
    recording.gets(400, THEN, MILLI);
    let mut job = Config { limit: Some(200), ..config("limit-stop", &[&shadow]) };
    job.targets[0].concurrency = 4;
    let mut sent = 0;
    for until in [60, 120] {
        let running = recording.start(job.clone()).await;
        shadow.wait_for(until).await;
        let report = running.stop().await;
        assert_eq!(report.ended, Ended::CutShort);
        sent += report.targets["t0"].sent;
    }
    assert!(sent < 200);
    let report = recording.replay(job.clone()).await;
    assert_eq!((report.ended, report.targets["t0"].sent), (Ended::Done, 200 - sent));
    assert_eq!(recording.replay(job).await.ended, Ended::AlreadyDone);
    assert_eq!(shadow.seen().len(), 200);
}

#[tokio::test]
async fn a_limit_holds_over_repetitions_and_a_stop() {
    let shadow = Shadow::start(|_| Reply::After(Duration::from_millis(5))).await;
    let mut recording = Recording::new().await;
    recording.gets(20, THEN, MILLI);
    let mut job = Config { repeat: 5, limit: Some(70), ..config("loop-limit-stop", &[&shadow]) };
    job.targets[0].concurrency = 1;
    let running = recording.start(job.clone()).await;
    shadow.wait_for(25).await;
    assert_eq!(running.stop().await.ended, Ended::CutShort);
    assert_eq!(recording.replay(job).await.ended, Ended::Done);
    assert_eq!(shadow.seen().len(), 70);
}

#[tokio::test]
async fn a_duration_holds_over_a_stop() {
    let shadow = Shadow::ok().await;
    let recording = Recording::new().await;
    let job = Config {
        which: Which::Live,
        duration: Some(Duration::from_secs(4)),
        pace: Pace::Arrival { delay: None },
        ..config("duration-stop", &[&shadow])
    };
    let running = recording.start(job.clone()).await;
    until(|| running.stats.snapshot().contains_key("t0")).await;
    let begun = now();
    until(|| now() > begun + 2500 * MILLI).await;
    running.stop().await;
    let begun = now();
    assert_eq!(recording.replay(job).await.ended, Ended::Done);
    assert!(now() - begun < 3500 * MILLI, "the time before the stop counts");
}

#[tokio::test]
async fn a_dry_run_tells_and_sends_nothing() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(30, THEN, SECOND);
    let mut post = recording.make("orders", THEN + 5 * SECOND, 77, 0);
    post.method = "POST".into();
    post.upstream = shadow.url();
    post.body = Some("12345".into());
    post.body_length = 5;
    recording.request(post);
    recording.flush().await;
    let job = Config { pace: Pace::Rate(10.0), ..config("dry", &[&shadow]) };
    let dry = dry_run(&job, &recording.log).await.unwrap();
    assert_eq!((dry.read, dry.selected), (31, 31));
    assert_eq!(dry.hosts["api.example"], 31);
    assert_eq!(dry.writes["POST /orders"], 1);
    assert_eq!(dry.body_bytes, 5);
    assert!((dry.span_s - 29.0).abs() < 1e-9);
    let target = &dry.targets["t0"];
    assert_eq!((target.requests, target.duration_s), (31, Some(3.0)));
    assert!(target.production);
    assert_eq!(shadow.seen().len(), 0);
    // Nothing was stored: the job is new.
    let planned = umbra_replay::stored("dry", &recording.log).await.unwrap();
    assert_eq!(planned, None);
}
