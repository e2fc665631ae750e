//! Several members of one job, which share the partitions of a log.

use std::time::Duration;

use umbra_replay::{Config, Ended};

use crate::{
    recording::{MILLI, Recording, THEN, config},
    shadow::{Reply, Shadow},
};

#[tokio::test]
async fn two_members_share_a_window_and_both_end() {
    let shadow = Shadow::start(|_| Reply::After(Duration::from_millis(40))).await;
    let mut recording = Recording::new().await;
    recording.gets(800, THEN, MILLI);
    let mut job = Config { grace: Duration::from_secs(1), ..config("members", &[&shadow]) };
    job.targets[0].concurrency = 2;
    let first = recording.start(job.clone()).await;
    shadow.wait_for(20).await;
    let second = recording.start(job.clone()).await;
    let (first, second) = tokio::join!(first.end(), second.end());
    assert_eq!((&first.ended, &second.ended), (&Ended::Done, &Ended::Done));
    let (one, other) = (first.targets["t0"].sent, second.targets["t0"].sent);
    assert!(one > 0 && other > 0, "{one} and {other}");
    let mut paths = shadow.sorted_paths();
    paths.dedup();
    assert_eq!(paths.len(), 800);
    assert_eq!(recording.replay(job).await.ended, Ended::AlreadyDone);
}
