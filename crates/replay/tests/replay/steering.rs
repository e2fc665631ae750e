//! A job that is paused, sped up, cancelled or deleted while it runs.

use std::time::{Duration, Instant};

use umbra_record::pb::{self, pace::Pace as P};
use umbra_replay::{Config, Ended, Pace};

use crate::{
    recording::{MILLI, Recording, THEN, Told, config, now, until},
    shadow::{Seen, Shadow},
};

/// The most requests that arrived within any span of this length.
pub(crate) fn most_within(seen: &[Seen], span: Duration) -> usize {
    let mut times: Vec<Instant> = seen.iter().map(|seen| seen.at).collect();
    times.sort_unstable();
    let within = |from: &Instant| times.partition_point(|at| *at < *from + span);
    times.iter().enumerate().map(|(i, from)| within(from) - i).max().unwrap_or(0)
}

async fn pass(time: Duration) {
    let begun = now();
    until(|| now() > begun + time.as_nanos() as u64).await;
}

#[tokio::test]
async fn a_pause_does_not_make_anything_late() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(400, THEN, 5 * MILLI);
    let job = Config { pace: Pace::Recorded { speed: 1.0 }, ..config("pause", &[&shadow]) };
    let running = recording.start(job).await;
    shadow.wait_for(60).await;
    recording.pause("pause", true).await;
    pass(Duration::from_millis(700)).await;
    let paused = shadow.seen().len();
    pass(Duration::from_millis(500)).await;
    assert_eq!(shadow.seen().len(), paused, "nothing is sent");
    recording.pause("pause", false).await;
    let report = running.end().await;
    assert_eq!((report.ended, report.targets["t0"].answered), (Ended::Done, 400));
    // 20 in 100 ms are as recorded; a burst would be hundreds.
    let most = most_within(&shadow.seen()[paused..], Duration::from_millis(100));
    assert!(most <= 60, "{most} within 100 ms");
}

#[tokio::test]
async fn a_job_that_is_paused_before_its_first_request_waits() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(20, THEN, MILLI);
    let job = Config { pace: Pace::Recorded { speed: 1.0 }, ..config("before", &[&shadow]) };
    recording.flush().await;
    umbra_replay::plan(&job, &recording.log).await.unwrap();
    recording.pause("before", true).await;
    let running = recording.start(job).await;
    pass(Duration::from_millis(1500)).await;
    assert_eq!(shadow.seen().len(), 0);
    recording.pause("before", false).await;
    assert_eq!(running.end().await.targets["t0"].answered, 20);
}

#[tokio::test]
async fn a_changed_speed_is_neither_a_burst_nor_a_gap() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(600, THEN, 20 * MILLI);
    let job = Config { pace: Pace::Recorded { speed: 1.0 }, ..config("faster", &[&shadow]) };
    let running = recording.start(job).await;
    shadow.wait_for(40).await;
    recording.pace("faster", P::Speed(8.0)).await;
    let report = running.end().await;
    assert_eq!(report.targets["t0"].answered, 600);
    // 40 in 100 ms at 8 times 50 a second.
    let seen = shadow.seen();
    let most = most_within(&seen, Duration::from_millis(100));
    assert!(most <= 100, "{most} within 100 ms");
    let took = seen[599].at - seen[0].at;
    assert!(took < Duration::from_secs(6), "{took:?} instead of 12 s");
    assert!(took > Duration::from_millis(1700), "{took:?}: 0.8 s and 560 at 400 a second");
}

#[tokio::test]
async fn a_rate_can_be_changed_and_let_go() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(2000, THEN, MILLI);
    let job = Config { pace: Pace::Rate(100.0), ..config("rates", &[&shadow]) };
    let running = recording.start(job).await;
    shadow.wait_for(50).await;
    recording.pace("rates", P::Rate(500.0)).await;
    shadow.wait_for(500).await;
    let most = most_within(&shadow.seen(), Duration::from_millis(200));
    assert!(most <= 200, "{most} within 200 ms at 500 a second");
    recording.pace("rates", P::Max(true)).await;
    let begun = Instant::now();
    assert_eq!(running.end().await.targets["t0"].answered, 2000);
    assert!(begun.elapsed() < Duration::from_millis(2900), "1500 at 500 a second take 3 s");
}

#[tokio::test]
async fn a_cancelled_job_settles_and_ends() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(1000, THEN, 10 * MILLI);
    let job = Config { pace: Pace::Recorded { speed: 1.0 }, ..config("cancel", &[&shadow]) };
    let running = recording.start(job.clone()).await;
    shadow.wait_for(30).await;
    recording.cancel("cancel").await;
    let report = running.end().await;
    assert_eq!(report.ended, Ended::Cancelled);
    assert_eq!(report.targets["t0"].answered as usize, shadow.seen().len());
    assert!(shadow.seen().len() < 1000);
    assert_eq!(recording.replay(job).await.targets["t0"].sent, 0, "it does not go on");
}

#[tokio::test]
async fn a_deleted_job_ends_and_its_name_is_free() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(200, THEN, 10 * MILLI);
    let job = Config { pace: Pace::Recorded { speed: 1.0 }, ..config("delete", &[&shadow]) };
    let running = recording.start(job.clone()).await;
    shadow.wait_for(30).await;
    recording.tell("delete", Told::Deleted(pb::JobDeleted {})).await;
    assert_eq!(running.end().await.ended, Ended::Cancelled);
    let before = shadow.seen().len();
    let other = Config {
        pace: Pace::Max,
        settings: vec![("rate".to_owned(), vec!["max".to_owned()])],
        ..job
    };
    let report = recording.replay(other).await;
    assert_eq!((report.ended, report.targets["t0"].answered), (Ended::Done, 200));
    assert_eq!(shadow.seen().len(), before + 200);
}

#[tokio::test]
async fn a_speed_that_is_changed_while_the_target_is_down_is_no_burst() {
    let mut shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(600, THEN, 5 * MILLI);
    let job = Config { pace: Pace::Recorded { speed: 1.0 }, ..config("down", &[&shadow]) };
    let running = recording.start(job).await;
    shadow.wait_for(60).await;
    shadow.stop().await;
    until(|| running.stats.progress().held.is_some()).await;
    let before = shadow.seen().len();
    recording.pace("down", P::Speed(2.0)).await;
    // By the clock that goes on, 300 are due meanwhile.
    pass(Duration::from_millis(1500)).await;
    shadow.start_again().await;
    assert_eq!(running.end().await.ended, Ended::Done);
    let seen = shadow.seen();
    assert!(seen.len() >= 590, "{}", seen.len());
    // 40 in 100 ms at twice 200 a second.
    let most = most_within(&seen[before..], Duration::from_millis(100));
    assert!(most <= 120, "{most} within 100 ms");
}
