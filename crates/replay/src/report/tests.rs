use std::time::Duration;

use super::*;
use crate::{outcome::Class, tally::Skip};

#[test]
fn has_the_keys_of_the_manual() {
    let mut tally = Tally::default();
    (tally.selected, tally.sent, tally.answered) = (3, 2, 1);
    tally.fail(Class::Reset);
    tally.skip(Skip::Late);
    tally.status.insert(200, 1);
    let mut times = Times::new();
    times.record(Duration::from_millis(4));
    let target = TargetReport::new("http://v2".to_owned(), &tally, &times, &times);
    let report = Report {
        job: "j".to_owned(),
        run: 0,
        log: "l".to_owned(),
        from: Some(rfc3339(1_700_000_000_000_000_001)),
        to: None,
        mode: "window",
        ended: Ended::GaveUp { targets: vec!["v2".to_owned()] },
        read: 4,
        selected: 3,
        outside: 0,
        duplicates: 0,
        gaps: Gaps::default(),
        dead: 0,
        unknown: 0,
        duration_s: 1.5,
        lag_ms: times.lag(),
        agents_missing: Vec::new(),
        targets: [("v2".to_owned(), target)].into(),
        compare: None,
    };
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["from"], "2023-11-14T22:13:20.000000001Z");
    assert_eq!(json["ended"]["gave_up"]["targets"][0], "v2");
    assert_eq!(json["gaps"]["requests"], 0);
    let target = &json["targets"]["v2"];
    assert_eq!(target["failed"]["reset"], 1);
    assert_eq!(target["skipped"]["late"], 1);
    assert_eq!(target["status"]["200"], 1);
    assert!((target["latency_ms"]["p90"].as_f64().unwrap() - 4.0).abs() < 0.01);
    for key in ["job", "log", "to", "mode", "read", "selected", "dead", "duration_s", "lag_ms"] {
        assert!(json.get(key).is_some(), "{key}");
    }
}
