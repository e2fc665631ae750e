//! A job that goes on where it stopped, however it stopped; and one that is done.

use std::{collections::HashMap, time::Duration};

use prost::Message;
use umbra_record::pb;
use umbra_replay::{Config, Ended, Pace, ReplayError, Which};

use crate::{
    recording::{MILLI, Recording, THEN, Told, config, now, until},
    shadow::{Reply, Shadow},
};

fn counted(paths: Vec<String>) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for path in paths {
        *counts.entry(path).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn stopped_in_the_middle_it_sends_the_rest_and_nothing_twice() {
    let shadow = Shadow::start(|_| Reply::After(Duration::from_millis(3))).await;
    let mut recording = Recording::new().await;
    recording.gets(300, THEN, MILLI);
    let job = config("rest", &[&shadow]);
    let running = recording.start(job.clone()).await;
    shadow.wait_for(60).await;
    let first = running.stop().await;
    assert_eq!(first.ended, Ended::CutShort);
    let before = shadow.seen().len() as u64;
    assert_eq!(first.targets["t0"].answered, before);
    assert!(before < 300);
    let second = recording.replay(job).await;
    assert_eq!(second.ended, Ended::Done);
    assert_eq!(second.targets["t0"].answered, 300 - before);
    let counts = counted(shadow.paths());
    assert_eq!(counts.len(), 300);
    assert!(counts.values().all(|n| *n == 1));
}

#[tokio::test]
async fn after_a_stop_it_goes_on_at_the_recorded_spacing() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(100, THEN, 5 * MILLI);
    let job = Config { pace: Pace::Recorded { speed: 1.0 }, ..config("spacing", &[&shadow]) };
    let running = recording.start(job.clone()).await;
    shadow.wait_for(20).await;
    running.stop().await;
    let before = shadow.seen().len();
    // By the old clock all of the rest would be due by now.
    let stopped = now();
    until(|| now() > stopped + 600 * MILLI).await;
    recording.replay(job).await;
    let seen = &shadow.seen()[before..];
    assert_eq!(before + seen.len(), 100);
    let took = seen[seen.len() - 1].at - seen[0].at;
    let recorded = Duration::from_millis(5 * (seen.len() as u64 - 1));
    // The first may be late on a busy machine, which makes the rest look shorter.
    assert!(took >= recorded / 2, "{took:?} instead of {recorded:?}");
}

#[tokio::test]
async fn killed_in_the_middle_nothing_is_missing() {
    let shadow = Shadow::start(|_| Reply::After(Duration::from_millis(3))).await;
    let mut recording = Recording::new().await;
    recording.gets(600, THEN, MILLI);
    let mut job = config("killed", &[&shadow]);
    job.targets[0].concurrency = 4;
    let running = recording.start(job.clone()).await;
    shadow.wait_for(300).await;
    running.kill().await;
    let before = shadow.seen().len();
    let report = recording.replay(job).await;
    assert_eq!(report.ended, Ended::Done);
    let counts = counted(shadow.paths());
    assert_eq!(counts.len(), 600);
    // What was in flight or settled within the last commit interval may come twice,
    // and says so.
    assert!(report.targets["t0"].sent < 600, "went on, not again");
    let again = shadow.seen()[before..]
        .iter()
        .filter(|seen| seen.header("x-umbra-attempt").is_some())
        .count();
    let twice = counts.values().filter(|n| **n == 2).count();
    assert!(counts.values().all(|n| *n <= 2));
    assert!(twice <= again, "{twice} came twice, {again} say so");
}

#[tokio::test]
async fn killed_again_and_again_each_request_is_counted_once() {
    let shadow = Shadow::start(|_| Reply::After(Duration::from_millis(1))).await;
    let mut recording = Recording::new().await;
    recording.gets(1600, THEN, MILLI);
    let job = Config { pace: Pace::Rate(500.0), ..config("counts", &[&shadow]) };
    for sent in [150, 420, 700, 1000] {
        let running = recording.start(job.clone()).await;
        shadow.wait_for(sent).await;
        running.kill().await;
    }
    assert_eq!(recording.replay(job).await.ended, Ended::Done);
    let mut sums = [0; 4];
    for (_, entry) in recording.log.journal("jobs").await.unwrap().read_from(0).await.unwrap() {
        if let Some(Told::Done(done)) = pb::JobEntry::decode(entry).unwrap().entry {
            let counts = done.counts.unwrap();
            let told = [counts.read, counts.selected, counts.sent, counts.answered];
            sums.iter_mut().zip(told).for_each(|(sum, count)| *sum += count);
        }
    }
    assert_eq!(sums, [1600; 4], "read, selected, sent, answered");
}

#[tokio::test]
async fn what_is_done_stays_done_until_asked_again() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(20, THEN, MILLI);
    let job = config("done", &[&shadow]);
    assert_eq!(recording.replay(job.clone()).await.ended, Ended::Done);
    let report = recording.replay(job.clone()).await;
    assert_eq!(report.ended, Ended::AlreadyDone);
    assert_eq!(report.targets["t0"].sent, 0);
    let report = recording.replay(Config { again: true, ..job.clone() }).await;
    assert_eq!((report.ended, report.run), (Ended::Done, 1));
    assert_eq!(shadow.seen().len(), 40);
    assert_eq!(recording.replay(job).await.ended, Ended::AlreadyDone);
    assert_eq!(shadow.seen().len(), 40);
}

#[tokio::test]
async fn other_settings_than_the_stored_ones_are_refused() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(5, THEN, MILLI);
    recording.flush().await;
    let with = |speed: &str| Config {
        settings: vec![("speed".to_owned(), vec![speed.to_owned()])],
        ..config("differs", &[&shadow])
    };
    umbra_replay::plan(&with("1"), &recording.log).await.unwrap();
    let error = recording.try_replay(with("2")).await.unwrap_err();
    let ReplayError::PlanDiffers { differences, .. } = error else { panic!("{error}") };
    assert_eq!(differences[0].to_string(), "speed: stored 1, now 2");
    assert_eq!(shadow.seen().len(), 0);
    recording.replay(Config { adopt: true, ..with("2") }).await;
    assert_eq!(shadow.seen().len(), 5);
}

#[tokio::test]
async fn a_live_replay_sends_what_comes_and_goes_on_later() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(5, THEN, MILLI);
    let job = Config {
        which: Which::Live,
        pace: Pace::Arrival { delay: None },
        ..config("live", &[&shadow])
    };
    let running = recording.start(job.clone()).await;
    until(|| running.stats.snapshot().contains_key("t0")).await;
    for i in 0..10 {
        recording.get(&format!("live{i}"), now(), i, 0);
    }
    recording.flush().await;
    shadow.wait_for(10).await;
    let report = running.stop().await;
    assert_eq!((report.ended, report.mode), (Ended::Done, "live"));
    assert_eq!(shadow.seen().len(), 10);

    // What came while it was stopped is not lost.
    for i in 0..10 {
        recording.get(&format!("between{i}"), now(), 20 + i, 0);
    }
    let running = recording.start(job).await;
    shadow.wait_for(20).await;
    running.stop().await;
    let counts = counted(shadow.paths());
    assert_eq!(counts.len(), 20);
    assert!(counts.keys().all(|path| path.starts_with("/live") || path.starts_with("/between")));
}
