//! What is accepted, and when it holds.

use super::*;
use crate::{Difference, Kind, RequestKey, Rules, Settings, Verdict};

fn held(gate: &str, report: &Report) -> Vec<String> {
    gate.parse::<Gate>().unwrap().held(report)
}

fn report(requests: u32, failing: u32, slow_ns: u64) -> Report {
    let mut verdict = Verdict::new(Settings::default());
    let failure =
        ["status", "failure"].map(|field| Difference::new(field, Kind::Value, String::new()));
    for id in 0..requests {
        let id_bytes = id.to_be_bytes();
        let request = RequestKey { id: &id_bytes, method: "GET", path: "/x", again: false };
        let found = if id < failing { &failure[..] } else { &[] };
        verdict.compared(&request, found, Some(&[]));
        verdict.timed(&request, 10_000_000, 10_000_000 + slow_ns, &Rules::default());
    }
    verdict.finish()
}

#[test]
fn texts() {
    for text in ["different", "different,unsure", "failed>1%", "p99>+20%", "p50 > +5.5%, unsure"] {
        assert!(text.parse::<Gate>().is_ok(), "{text}");
    }
    for text in ["", "same", "failed", "failed>1", "failed>-1%", "p99>20%", "p99>+x%", "a,unsure"] {
        assert!(text.parse::<Gate>().is_err(), "{text}");
    }
}

#[test]
fn a_good_run_fails_nothing() {
    let good = report(200, 0, 0);
    assert_eq!(held("different,unsure,failed>0%,p50>+10%,p99>+10%", &good), [""; 0]);
}

#[test]
fn conditions_hold() {
    let few = report(10, 0, 0);
    assert_eq!(held("unsure", &few), ["the verdict is unsure; about 49 more requests"]);
    let failing = report(200, 20, 0);
    assert_eq!(held("different", &failing), ["the answers are different"]);
    assert_eq!(held("failed>10%", &failing), [""; 0]);
    assert_eq!(held("failed>9%,unsure", &failing), ["10.00 % failed, above 9 %"]);
    let slow = report(200, 0, 10_000_000);
    assert_eq!(held("p99>+50%", &slow).len(), 1);
    assert_eq!(held("p99>+150%", &slow), [""; 0]);
    assert_eq!(held("p50>+50%", &report(99, 0, 10_000_000)), [""; 0]);
}
