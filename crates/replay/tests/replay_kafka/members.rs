//! Several members of one job, which share the partitions of a log, its clock and its
//! rate, while they come, go and die.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use umbra_record::pb::pace::Pace as P;
use umbra_replay::{Config, Ended, Pace, Which};

use crate::{
    recording::{MILLI, Recording, SECOND, THEN, config, now, until},
    shadow::{Reply, Seen, Shadow},
    steering::most_within,
};

/// How often each request came.
fn counted(seen: &[Seen]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for seen in seen {
        *counts.entry(seen.path.clone()).or_default() += 1;
    }
    counts
}

async fn pass(time: Duration) {
    let begun = now();
    until(|| now() > begun + time.as_nanos() as u64).await;
}

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
    let counts = counted(&shadow.seen());
    assert_eq!(counts.len(), 800);
    assert!(counts.values().all(|n| *n == 1), "a member that joins causes no repetition");
    assert_eq!(recording.replay(job).await.ended, Ended::AlreadyDone);
}

#[tokio::test]
async fn members_come_die_and_leave_and_everything_is_sent_at_the_rate_of_the_job() {
    let shadow = Shadow::start(|_| Reply::After(Duration::from_millis(5))).await;
    let mut recording = Recording::new().await;
    recording.gets(2400, THEN, MILLI);
    let job = Config { pace: Pace::Rate(200.0), ..config("churn", &[&shadow]) };
    let first = recording.start(job.clone()).await;
    shadow.wait_for(200).await;
    let second = recording.start(job.clone()).await;
    let third = recording.start(job.clone()).await;
    shadow.wait_for(700).await;
    let killed = Instant::now();
    second.kill().await;
    shadow.wait_for(1200).await;
    let left = third.stop().await;
    assert_eq!(left.ended, Ended::CutShort);
    shadow.wait_for(1500).await;
    let fourth = recording.start(job.clone()).await;
    let (first, fourth) = tokio::join!(first.end(), fourth.end());
    assert_eq!((first.ended, fourth.ended), (Ended::Done, Ended::Done));
    let seen = shadow.seen();
    let counts = counted(&seen);
    assert_eq!(counts.len(), 2400, "each is sent");
    let mut first_at: HashMap<&str, Instant> = HashMap::new();
    for one in &seen {
        let Some(before) = first_at.insert(&one.path, one.at) else { continue };
        // In flight, or settled within the last commit interval, when it was killed.
        assert_eq!(one.header("x-umbra-attempt"), Some(&b"2"[..]), "{} is not marked", one.path);
        assert!(before <= killed + Duration::from_millis(100), "{}", one.path);
        assert!(before + Duration::from_secs(2) > killed, "{}", one.path);
    }
    // The rate of one, whoever is there: three of their own would be 600, and what was
    // not sent while partitions changed hands is not made up for.
    let most = most_within(&seen, Duration::from_secs(1));
    assert!(most <= 400, "{most} within a second");
    let took = seen[seen.len() - 1].at - seen[0].at;
    assert!(took >= Duration::from_millis(11_500), "{took:?}");
}

#[tokio::test]
async fn one_clock_for_members_that_start_one_after_the_other() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(1200, THEN, 10 * MILLI);
    let job = Config { pace: Pace::Recorded { speed: 1.0 }, ..config("clock", &[&shadow]) };
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(recording.start(job.clone()).await);
        pass(Duration::from_millis(900)).await;
    }
    shadow.wait_for(400).await;
    for member in members {
        member.stop().await;
    }
    let before = shadow.seen();
    // By the old clock all of the rest would be due soon.
    pass(Duration::from_secs(4)).await;
    let (one, other) = (recording.start(job.clone()).await, recording.start(job).await);
    let (one, other) = tokio::join!(one.end(), other.end());
    assert_eq!((one.ended, other.ended), (Ended::Done, Ended::Done));
    let seen = shadow.seen();
    assert_eq!(counted(&seen).len(), 1200);
    assert_eq!(seen.len(), 1200, "nobody died");
    for (name, part) in [("start", &seen[..before.len()]), ("again", &seen[before.len()..])] {
        // Beside a rebalance, in which a partition waits for its next reader, 50 in
        // 500 ms are as recorded.
        let most = most_within(part, Duration::from_millis(500));
        assert!(most <= 120, "{name}: {most} within 500 ms");
    }
    let rest = &seen[before.len()..];
    let took = rest[rest.len() - 1].at - rest[0].at;
    let recorded = Duration::from_millis(10 * rest.len() as u64);
    assert!(took >= recorded.mul_f64(0.9), "{took:?} instead of {recorded:?}");
}

#[tokio::test]
async fn all_members_heed_whoever_steers() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(4000, THEN, 10 * MILLI);
    let job = Config { pace: Pace::Recorded { speed: 1.0 }, ..config("steered", &[&shadow]) };
    let first = recording.start(job.clone()).await;
    let second = recording.start(job).await;
    shadow.wait_for(200).await;
    recording.pause("steered", true).await;
    pass(Duration::from_secs(1)).await;
    let paused = shadow.seen().len();
    pass(Duration::from_secs(1)).await;
    assert_eq!(shadow.seen().len(), paused);
    recording.pause("steered", false).await;
    shadow.wait_for(paused + 50).await;
    recording.pace("steered", P::Speed(4.0)).await;
    shadow.wait_for(paused + 400).await;
    recording.cancel("steered").await;
    let (first, second) = tokio::join!(first.end(), second.end());
    assert_eq!((first.ended, second.ended), (Ended::Cancelled, Ended::Cancelled));
    let seen = shadow.seen();
    assert_eq!(counted(&seen).len(), seen.len(), "each once");
    // 80 in 200 ms at four times 100 a second.
    let most = most_within(&seen[paused..], Duration::from_millis(200));
    assert!(most <= 180, "{most} within 200 ms");
}

#[tokio::test]
async fn a_limit_is_that_of_the_job() {
    let shadow = Shadow::start(|_| Reply::After(Duration::from_millis(10))).await;
    let mut recording = Recording::new().await;
    recording.gets(2000, THEN, MILLI);
    let job = Config { pace: Pace::Rate(200.0), limit: Some(900), ..config("limited", &[&shadow]) };
    let first = recording.start(job.clone()).await;
    shadow.wait_for(100).await;
    let second = recording.start(job.clone()).await;
    shadow.wait_for(500).await;
    let (first, second) = tokio::join!(first.end(), second.end());
    assert_eq!((first.ended, second.ended), (Ended::Done, Ended::Done));
    assert_eq!(shadow.seen().len(), 900);
    assert_eq!(recording.replay(job).await.ended, Ended::AlreadyDone);
}

#[tokio::test]
async fn a_shadow_slower_than_the_patience_of_the_group_costs_nothing() {
    let slow = Duration::from_secs(8);
    let shadow = Shadow::start(move |seen| match seen.path.as_str() {
        "/0" | "/1" => Reply::After(slow),
        _ => Reply::Status(200),
    })
    .await;
    let patience = [("session.timeout.ms", "6000"), ("max.poll.interval.ms", "6000")];
    let mut recording = Recording::with(4, &patience).await;
    recording.gets(200, THEN, MILLI);
    let mut job = config("slow", &[&shadow]);
    job.targets[0].concurrency = 1;
    job.targets[0].timeout = Duration::from_secs(30);
    // Hardly anything is read ahead, so that the partitions are paused meanwhile.
    job.read_ahead_bytes = 16 << 10;
    let report = recording.replay(job).await;
    assert_eq!((report.ended, report.targets["t0"].sent), (Ended::Done, 200));
    assert_eq!(counted(&shadow.seen()).len(), 200);
    assert_eq!(shadow.seen().len(), 200, "nobody was thrown out of the group");
}

#[tokio::test]
async fn a_window_that_is_being_written_ends_for_all_members() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    let to = now() + 5 * SECOND;
    let job = Config {
        which: Which::Window { from_ns: Some(to - 60 * SECOND), to_ns: Some(to) },
        grace: Duration::from_secs(600),
        ..config("written", &[&shadow])
    };
    recording.gets(40, to - 20 * SECOND, MILLI);
    let first = recording.start(job.clone()).await;
    let second = recording.start(job).await;
    shadow.wait_for(40).await;
    until(|| now() > to).await;
    // Late, but of the window.
    recording.get("late", to - SECOND, 2, 1);
    recording.marks(to + SECOND, to + SECOND, false);
    recording.flush().await;
    let (first, second) = tokio::join!(first.end(), second.end());
    assert_eq!((&first.ended, &second.ended), (&Ended::Done, &Ended::Done));
    assert_eq!(first.targets["t0"].sent + second.targets["t0"].sent, 41);
    assert_eq!(shadow.seen().len(), 41);
}

#[tokio::test]
async fn a_partition_that_comes_back_is_read_on_from_where_it_was_settled() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    let to = now() + SECOND;
    recording.gets(600, to - 20 * SECOND, MILLI);
    // All of it is read long before it is sent, its end too.
    recording.marks(to + SECOND, to + SECOND, true);
    let job = Config {
        which: Which::Window { from_ns: Some(to - 60 * SECOND), to_ns: Some(to) },
        pace: Pace::Rate(150.0),
        ..config("back", &[&shadow])
    };
    let first = recording.start(job.clone()).await;
    shadow.wait_for(100).await;
    until(|| now() > to).await;
    let second = recording.start(job).await;
    until(|| second.stats.snapshot().get("t0").is_some_and(|state| state.sent > 20)).await;
    let left = second.stop().await;
    assert_eq!(left.ended, Ended::CutShort);
    let first = first.end().await;
    assert_eq!(first.ended, Ended::Done);
    let counts = counted(&shadow.seen());
    assert_eq!(counts.len(), 600, "each is sent");
    assert_eq!(first.targets["t0"].sent + left.targets["t0"].sent, 600);
}
