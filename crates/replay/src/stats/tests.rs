use umbra_record::redact::Restored;

use super::*;

#[test]
fn metrics_have_the_names_of_the_manual() {
    let stats = Stats::new();
    let mut registry = Registry::default();
    stats.register(&mut registry);
    let target = stats.target("v2", true);
    target.read();
    target.sent.inc();
    target.outcome(&Outcome {
        class: Class::Answered,
        detail: String::new(),
        written: true,
        whole: true,
        connect: None,
        latency: Duration::from_millis(3),
        answer: None,
        restored: Restored { opened: 3, omitted: 2 },
        downgraded: true,
    });
    target.skipped(Skip::Late);
    target.lag(Duration::from_micros(70));
    target.log_lag(4, Duration::from_secs(2));
    target.in_flight.set(5);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "umbra_replay_read_total 1",
        "umbra_replay_sent_total{target=\"v2\"} 1",
        "umbra_replay_outcomes_total{target=\"v2\",class=\"answered\"} 1",
        "umbra_replay_skipped_total{target=\"v2\",reason=\"late\"} 1",
        "umbra_replay_unsealed_total{target=\"v2\"} 3",
        "umbra_replay_sealed_omitted_total{target=\"v2\"} 2",
        "umbra_replay_downgraded_total{target=\"v2\"} 1",
        "umbra_replay_send_lag_seconds_count 1",
        "umbra_replay_response_seconds_count{target=\"v2\"} 1",
        "umbra_replay_log_lag_seconds{partition=\"4\",target=\"v2\"} 2.0",
        "umbra_replay_in_flight{target=\"v2\"} 5",
    ] {
        assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
    }
}

#[test]
fn progress_is_that_of_the_slowest_and_names_what_is_held() {
    let stats = Stats::new();
    let state = |passed, rate, blocked| TargetState {
        passed,
        rate,
        blocked,
        total: Some(100),
        sent: passed,
        ..TargetState::default()
    };
    let blocked =
        Blocked { why: "down".to_owned(), record: Some((1, 2)), since: Duration::from_secs(3) };
    stats.set_state("a", state(90, 10.0, None));
    stats.set_state("b", state(40, 0.0, Some(blocked.clone())));
    let progress = stats.progress();
    assert_eq!((progress.done, progress.total, progress.sent), (40, Some(100), 130));
    assert_eq!(progress.held, Some(("b".to_owned(), blocked)));
}
