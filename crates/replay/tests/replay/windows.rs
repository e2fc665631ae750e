//! Which requests are sent: exactly those of the window, whatever their order in the
//! log, and the end of a window that is still being written.

use std::time::Duration;

use umbra_record::pb::{self, record::Body};
use umbra_replay::{Config, Ended, ReplayError, Which};

use crate::{
    recording::{AGENT, MILLI, Recording, SECOND, THEN, config, now, until},
    shadow::Shadow,
};

fn window(from: u64, to: u64) -> Which {
    Which::Window { from_ns: Some(from), to_ns: Some(to) }
}

#[tokio::test]
async fn both_edges_are_exact_also_out_of_order() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    let (from, to) = (THEN + 10 * SECOND, THEN + 20 * SECOND);
    // In the log: late ones first, early ones last, in several partitions.
    let times = [
        ("after", to + 1),
        ("last", to - 1),
        ("end", to),
        ("long-after", to + 30 * SECOND),
        ("middle", from + SECOND),
        ("first", from),
        ("before", from - 1),
        ("second", from + 1),
        ("long-before", from - 5 * SECOND),
    ];
    for (i, (name, at)) in times.iter().enumerate() {
        recording.get(name, *at, i as u64 * 7, 0);
    }
    let job = Config {
        which: window(from, to),
        grace: Duration::from_secs(60),
        ..config("edges", &[&shadow])
    };
    let report = recording.replay(job).await;
    assert_eq!(shadow.sorted_paths(), ["/last", "/first", "/middle", "/second"]);
    assert_eq!((report.read, report.selected), (4, 4));
    assert_eq!(report.ended, Ended::Done);
    assert_eq!(report.targets["t0"].answered, 4);
    assert_eq!(report.targets["t0"].status["200"], 4);
}

#[tokio::test]
async fn by_default_all_that_is_in_the_log_and_nothing_later() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(20, THEN, SECOND);
    recording.flush().await;
    let job = config("all", &[&shadow]);
    umbra_replay::plan(&job, &recording.log).await.unwrap();
    recording.get("later", THEN + 5 * SECOND, 3, 9);
    let report = recording.replay(job).await;
    assert_eq!(report.targets["t0"].sent, 20);
    assert!(!shadow.paths().contains(&"/later".to_owned()));
}

#[tokio::test]
async fn a_window_being_written_ends_when_every_agent_has_delivered() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    let to = now() + 300 * MILLI;
    let job = Config {
        which: window(to - 60 * SECOND, to),
        grace: Duration::from_secs(600),
        ..config("marks", &[&shadow])
    };
    recording.gets(8, to - SECOND, MILLI);
    recording.marks(to - SECOND, to - MILLI, false);
    let mut replay = recording.start(job).await;
    shadow.wait_for(8).await;
    until(|| now() > to + 200 * MILLI).await;
    assert!(!replay.has_ended());
    // One that comes late, one that is not meant, then the word that no more will.
    recording.get("late", to - 1, 5, 1);
    recording.get("beyond", to, 6, 1);
    recording.marks(to, to + SECOND, false);
    recording.flush().await;
    let report = replay.end().await;
    assert_eq!((report.selected, report.ended), (9, Ended::Done));
    assert_eq!(report.agents_missing, []);
    assert!(shadow.paths().contains(&"/late".to_owned()));
    assert!(!shadow.paths().contains(&"/beyond".to_owned()));
}

#[tokio::test]
async fn an_agent_that_fell_silent_is_given_up_and_named() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    let to = now() + 100 * MILLI;
    let job = Config {
        which: window(to - 60 * SECOND, to),
        grace: Duration::from_millis(400),
        ..config("silent", &[&shadow])
    };
    recording.gets(8, to - SECOND, MILLI);
    recording.marks(to - 20 * MILLI, to - 20 * MILLI, false);
    let report = recording.replay(job).await;
    assert_eq!((report.selected, report.ended), (8, Ended::Done));
    assert_eq!(report.agents_missing.len(), 1);
    assert_eq!(report.agents_missing[0].agent, umbra_record::id::text(&AGENT));
    assert_eq!(report.agents_missing[0].host, "web-1");
}

#[tokio::test]
async fn losses_of_capture_are_told() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(4, THEN, SECOND);
    let gap = |from_ns, to_ns, requests| {
        Body::Gap(pb::Gap { requests, from_ns, to_ns, ..pb::Gap::default() })
    };
    recording.append(1, THEN, gap(THEN - 2 * SECOND, THEN - SECOND, 100));
    recording.append(1, THEN, gap(THEN, THEN + SECOND, 7));
    recording.append(2, THEN, gap(THEN + SECOND, THEN + 20 * SECOND, 5));
    let job = Config { which: window(THEN, THEN + 10 * SECOND), ..config("gaps", &[&shadow]) };
    let report = recording.replay(job).await;
    assert_eq!(report.gaps.requests, 12);
}

#[tokio::test]
async fn selection_writes_and_share_are_counted() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(100, THEN, MILLI);
    for i in 0..10 {
        let mut post = recording.make("w", THEN, 200 + i, 0);
        post.method = "POST".into();
        recording.request(post);
    }
    let rules =
        umbra_record::select::Rules { skip_paths: vec!["/7*".to_owned()], ..Default::default() };
    let mut job = Config {
        writes: false,
        selection: umbra_record::select::Selection::new(&rules, "replay").unwrap(),
        ..config("select", &[&shadow])
    };
    job.targets[0].percent = 50.0;
    let report = recording.replay(job).await;
    let target = &report.targets["t0"];
    // 7 and 70 to 79 are not selected.
    assert_eq!((report.read, report.selected), (110, 99));
    assert_eq!(target.skipped["writes"], 10);
    assert_eq!(target.sent + target.skipped["percent"], 89);
    assert!(target.sent > 20 && target.sent < 70, "{}", target.sent);
    assert_eq!(shadow.seen().len() as u64, target.sent);
}

#[tokio::test]
async fn the_upstream_of_the_recording_is_not_sent_to() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    let mut request = recording.make("x", THEN, 1, 0);
    request.upstream = shadow.url().replace("127.0.0.1", "localhost");
    recording.request(request);
    let job = config("production", &[&shadow]);
    let error = recording.try_replay(job.clone()).await.unwrap_err();
    assert!(matches!(error, ReplayError::WouldHitProduction { .. }), "{error}");
    assert_eq!(shadow.seen().len(), 0);
    recording.replay(Config { allow_production: true, ..job }).await;
    assert_eq!(shadow.seen().len(), 1);
}
