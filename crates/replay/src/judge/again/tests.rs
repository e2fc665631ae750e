use std::time::Duration;

use umbra_compare::{Rules, Settings, Verdict};
use umbra_log::{Address, Append as _, Entry, LogOptions, Mode};
use umbra_record::{encode, hash};

use super::*;
use crate::plan::Standing;

const RULES: [&str; 2] = ["tokens=drop", "credentials=seal"];
const REQUESTS: u64 = 5;

/// A log of one partition: requests of an agent that redacts, and then its mark.
async fn recorded(dir: &Path) -> Log {
    let options = LogOptions { partitions: 1, ..LogOptions::default() };
    let log = Log::open(&Address::File(dir.join("log")), options, Mode::Create).await.unwrap();
    let appender = log.appender().await.unwrap();
    for number in 0..=REQUESTS {
        let body = if number < REQUESTS {
            let id = vec![number as u8; 16].into();
            Body::Request(pb::Request { id, ..pb::Request::default() })
        } else {
            let rules = RULES.map(str::to_owned).to_vec();
            Body::Mark(pb::Mark { rules, ..pb::Mark::default() })
        };
        let record = pb::Record {
            agent: vec![1; 16].into(),
            sequence: number + 1,
            body: Some(body),
            ..pb::Record::default()
        };
        let mut payload = Vec::new();
        encode::record(&record, &mut payload);
        let (partition, time_ns) = (0, 1_000 + number);
        let entry =
            Entry { partition, time_ns, key: b"k", headers: &[], payload: &payload, weight: 1 };
        appender.enqueue(&entry).unwrap();
    }
    appender.flush(Duration::from_secs(10)).await.unwrap();
    log
}

/// What two targets answered, each with secrets of its own.
fn outcomes(path: &Path, rule_set: Option<&str>) {
    let mut lines = String::new();
    for number in 0..REQUESTS {
        for target in ["old", "new"] {
            let secret = format!("s3cret-{target}-{number}");
            let body = format!("{{\"password\":\"{secret}\",\"who\":\"{target}\"}}");
            let mut line = serde_json::json!({
                "job": "j", "run": 0, "target": target, "partition": 0, "offset": number,
                "id": id::text(&[number as u8; 16]), "captured": "2026-11-22T10:00:00Z",
                "method": "GET", "authority": "a", "path": "/users", "query": null,
                "class": "answered",
                "answer": {
                    "status": 200,
                    "headers": [
                        ["content-type", "application/json"],
                        ["set-cookie", format!("sid={secret}; Path=/")],
                    ],
                    "body": body, "body_length": body.len(), "complete": true, "trailers": [],
                    "head_after_ms": 1.0,
                },
            });
            if let Some(set) = rule_set {
                line["rule_set"] = set.into();
            }
            lines.push_str(&format!("{line}\n"));
        }
    }
    std::fs::write(path, lines).unwrap();
}

async fn judged(log: &Log, outcomes: &Path) -> Compared {
    let planned = Planned {
        job: "j".to_owned(),
        run: 0,
        pass: 1,
        from_ns: None,
        to_ns: None,
        live: false,
        grace: Duration::ZERO,
        settings: Vec::new(),
        outcomes: None,
        standing: Standing::Finished,
        partitions: BTreeMap::new(),
        done: std::collections::BTreeSet::new(),
        used: BTreeMap::new(),
    };
    let compare = Compare {
        baseline: Baseline::Target("old".to_owned()),
        noise: None,
        rules: Rules::default(),
        settings: Settings::default(),
        blank: Verdict::default(),
        learned: None,
    };
    let again = Again { planned, outcomes: outcomes.to_owned(), compare: Arc::new(compare) };
    judge_again(&again, log).await.unwrap()
}

#[tokio::test]
async fn what_was_redacted_is_shown_of_no_target() {
    let dir = tempfile::tempdir().unwrap();
    let log = recorded(dir.path()).await;
    let file = dir.path().join("outcomes");
    let set: String = hash::of(RULES.join("\n").as_bytes()).map(|b| format!("{b:02x}")).concat();
    // As it is written now, and as it was.
    for rule_set in [Some(&set[..]), None] {
        outcomes(&file, rule_set);
        let compared = judged(&log, &file).await;
        let new = &compared.targets["new"];
        assert_eq!((new.report.compared, new.report.different), (REQUESTS, REQUESTS));
        assert!(new.report.findings.iter().any(|one| one.field == "body.who"), "{new:?}");
        assert!(!new.exchanges.is_empty());
        let told = format!("{:?} {}", compared, compared.to_json().unwrap());
        assert!(!told.contains("s3cret"), "{told}");
    }
    // Rules that nobody tells of.
    outcomes(&file, Some(&"ab".repeat(16)));
    let compared = judged(&log, &file).await;
    let report = &compared.targets["new"].report;
    assert_eq!((report.compared, report.not_compared["redaction_unknown"]), (0, REQUESTS));
}
