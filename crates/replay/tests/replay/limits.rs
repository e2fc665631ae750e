//! Ends that were asked for, repetition, and looking without sending.

use std::time::Duration;

use umbra_replay::{Config, Ended, Pace, Which, dry_run};

use crate::{
    recording::{MILLI, Recording, SECOND, THEN, config},
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
