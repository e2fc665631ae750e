//! Ends that were asked for, repetition, and looking without sending.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use umbra_replay::{Config, DryTarget, Ended, Pace, Which, dry_run};

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
    let dry = dry_run(&job, &recording.log, CancellationToken::new()).await.unwrap().unwrap();
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

/// What a dry run says of the first target, and what a run then does.
async fn dry_and_real(recording: &Recording, job: Config) -> (DryTarget, u64) {
    recording.flush().await;
    let dry = dry_run(&job, &recording.log, CancellationToken::new()).await.unwrap().unwrap();
    let report = recording.replay(job).await;
    (dry.targets["t0"].clone(), report.targets["t0"].sent)
}

#[tokio::test]
async fn a_dry_run_says_what_the_run_does() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    for i in 0..40 {
        let mut request = recording.make(&format!("{i}"), THEN + i * 10 * MILLI, i * 7, 0);
        if i % 4 == 0 {
            request.method = "POST".into();
            request.path = "/orders".into();
        }
        recording.request(request);
    }
    let recorded = Pace::Recorded { speed: 1.0 };
    let job = |name: &str| Config { pace: recorded.clone(), ..config(name, &[&shadow]) };
    let about = |found: Option<f64>, s: f64| {
        assert!((found.unwrap() - s).abs() < 1e-6, "{found:?} instead of {s}");
    };

    let limited = Config { limit: Some(95), repeat: 3, ..job("dry-limit") };
    let (dry, sent) = dry_and_real(&recording, limited).await;
    assert_eq!((dry.requests, sent), (95, 95));
    assert_eq!(dry.writes["POST /orders"], 10 + 10 + 4);
    about(dry.duration_s, 0.39 + 0.39 + 0.14);

    let safe = Config { writes: false, repeat: 2, pace: Pace::Max, ..job("dry-safe") };
    let (dry, sent) = dry_and_real(&recording, safe).await;
    assert_eq!((dry.requests, sent, dry.skipped["writes"]), (60, 60, 10));
    assert!(dry.writes.is_empty());
    assert_eq!(dry.duration_s, None);

    let mut share = Config { pace: Pace::Rate(200.0), ..job("dry-share") };
    share.targets[0].percent = 50.0;
    let (dry, sent) = dry_and_real(&recording, share).await;
    assert_eq!((dry.requests, dry.skipped["percent"]), (sent, 40 - sent));
    about(dry.duration_s, (sent - 1) as f64 / 200.0);

    let timed =
        Config { duration: Some(Duration::from_millis(155)), repeat: 4, ..job("dry-duration") };
    let dry = dry_run(&timed, &recording.log, CancellationToken::new()).await.unwrap().unwrap();
    assert_eq!((dry.targets["t0"].requests, dry.writes["POST /orders"]), (16, 4));
    about(dry.targets["t0"].duration_s, 0.15);
    let rate = Config { pace: Pace::Rate(100.0), ..timed };
    let dry = dry_run(&rate, &recording.log, CancellationToken::new()).await.unwrap().unwrap();
    assert_eq!(dry.targets["t0"].requests, 16);
}

#[tokio::test]
async fn a_dry_run_can_be_stopped() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(10, THEN, MILLI);
    recording.flush().await;
    let stop = CancellationToken::new();
    stop.cancel();
    let dry = dry_run(&config("dry-stop", &[&shadow]), &recording.log, stop).await.unwrap();
    assert!(dry.is_none());
}
