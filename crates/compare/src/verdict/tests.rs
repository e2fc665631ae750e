//! Counting, merging, judging.

use proptest::{collection, option, prelude::*};

use super::*;
use crate::Rules;

fn difference(field: &str, kind: Kind) -> Difference {
    Difference::new(field, kind, format!("note of {field}"))
}

fn key(id: &[u8]) -> RequestKey<'_> {
    RequestKey { id, method: "GET", path: "/x", again: false }
}

/// Counts requests `from..to`, each with these differences.
fn count(
    verdict: &mut Verdict,
    range: std::ops::Range<u32>,
    candidate: &[Difference],
    noise: Option<&[Difference]>,
) {
    for id in range {
        assert!(verdict.compared(&key(&id.to_be_bytes()), candidate, noise));
    }
}

fn classes(report: &Report) -> Vec<(String, Class)> {
    report.findings.iter().map(|f| (format!("{} {}", f.field, f.kind), f.class)).collect()
}

fn one(name: &str, class: Class) -> Vec<(String, Class)> {
    vec![(name.to_owned(), class)]
}

#[test]
fn nothing_is_unsure() {
    let report = Verdict::default().finish();
    assert_eq!((report.verdict, report.requests_needed), (Judgement::Unsure, Some(59)));
}

#[test]
fn enough_equal_answers_are_the_same() {
    let mut verdict = Verdict::default();
    count(&mut verdict, 0..58, &[], Some(&[]));
    let report = verdict.finish();
    assert_eq!((report.verdict, report.requests_needed), (Judgement::Unsure, Some(1)));
    count(&mut verdict, 58..59, &[difference("body.a", Kind::Notation)], Some(&[]));
    let report = verdict.finish();
    assert_eq!((report.verdict, report.requests_needed), (Judgement::Same, None));
    assert_eq!((report.compared, report.equal, report.different), (59, 59, 0));
    assert_eq!(classes(&report), one("body.a notation", Class::Note));
}

#[test]
fn seven_of_seven_confirm() {
    let changed = [difference("body.a", Kind::Value)];
    let mut verdict = Verdict::default();
    count(&mut verdict, 0..6, &changed, Some(&[]));
    count(&mut verdict, 100..194, &[], Some(&[]));
    let report = verdict.finish();
    assert_eq!(classes(&report), one("body.a value", Class::New));
    // 6 in 100 so far, one more is needed.
    assert_eq!((report.verdict, report.requests_needed), (Judgement::Unsure, Some(17)));
    count(&mut verdict, 6..7, &changed, Some(&[]));
    let report = verdict.finish();
    assert_eq!(classes(&report), one("body.a value", Class::Confirmed));
    assert_eq!(report.verdict, Judgement::Different);
    assert_eq!(report.findings[0].ignore.as_deref(), Some("GET /x body.a value"));
    assert_eq!(report.findings[0].example.as_ref().unwrap().note, "note of body.a");
}

#[test]
fn what_good_answers_do_too_is_noise() {
    let changed = [difference("body.t", Kind::Value)];
    let mut verdict = Verdict::default();
    count(&mut verdict, 0..100, &changed, Some(&changed));
    count(&mut verdict, 100..120, &changed, Some(&[]));
    count(&mut verdict, 120..140, &[], Some(&changed));
    let report = verdict.finish();
    assert_eq!(classes(&report), one("body.t value", Class::Noise));
    let finding = &report.findings[0];
    assert_eq!((finding.b, finding.c, finding.both, finding.n), (20, 20, 100, 140));
    assert_eq!(report.verdict, Judgement::Same);
}

#[test]
fn a_changed_shape_is_found_under_values_that_always_differ() {
    let value = difference("body.id", Kind::Value);
    let both = [value.clone(), difference("body.id", Kind::Shape)];
    let mut verdict = Verdict::default();
    count(&mut verdict, 0..20, &both, Some(std::slice::from_ref(&value)));
    let report = verdict.finish();
    assert_eq!(report.findings[0].class, Class::Shape);
    assert_eq!(report.findings[1].class, Class::Noise);
    assert_eq!(report.verdict, Judgement::Different);
}

#[test]
fn without_a_measured_noise_values_stay_new() {
    let changed = [difference("body.t", Kind::Value), difference("status", Kind::Value)];
    let mut verdict = Verdict::default();
    count(&mut verdict, 0..100, &changed[..1], None);
    let report = verdict.finish();
    assert!(!report.noise_measured);
    assert_eq!(classes(&report), one("body.t value", Class::New));
    assert_eq!(report.verdict, Judgement::Unsure);
    // A status never differs by itself.
    count(&mut verdict, 100..120, &changed, None);
    assert_eq!(verdict.finish().verdict, Judgement::Different);
}

#[test]
fn single_requests_without_a_second_answer_do_not_spoil_the_rest() {
    let changed = [difference("body.a", Kind::Value)];
    let mut verdict = Verdict::default();
    count(&mut verdict, 0..20, &changed, Some(&[]));
    count(&mut verdict, 20..21, &changed, None);
    assert_eq!(verdict.finish().findings[0].class, Class::Confirmed);
    // And they are no evidence themselves.
    let mut verdict = Verdict::default();
    count(&mut verdict, 0..1, &[], Some(&[]));
    count(&mut verdict, 1..100, &changed, None);
    assert_eq!(verdict.finish().findings[0].class, Class::New);
}

#[test]
fn what_was_not_compared_is_never_equal() {
    let mut verdict = Verdict::default();
    for id in 0..100u32 {
        verdict.not_compared(&key(&id.to_be_bytes()), "client_gone");
    }
    let report = verdict.finish();
    assert_eq!((report.compared, report.equal), (0, 0));
    assert_eq!(report.not_compared["client_gone"], 100);
    assert_eq!(report.verdict, Judgement::Unsure);
}

#[test]
fn failures_are_counted() {
    let refused = [difference("status", Kind::Value), difference("failure", Kind::Added)];
    let recovered = [difference("status", Kind::Value), difference("failure", Kind::Missing)];
    let mut verdict = Verdict::default();
    count(&mut verdict, 0..10, &refused, Some(&[]));
    count(&mut verdict, 10..15, &recovered, Some(&[]));
    let report = verdict.finish();
    assert_eq!((report.failed, report.different), (10, 15));
    assert_eq!(report.verdict, Judgement::Different);
}

#[test]
fn a_request_counts_once() {
    let mut verdict = Verdict::default();
    assert!(verdict.compared(&key(b"1"), &[], None));
    assert!(!verdict.compared(&key(b"1"), &[], None));
    assert!(!verdict.not_compared(&key(b"1"), "x"));
    assert_eq!(verdict.finish().compared, 1);
}

#[test]
fn the_report_has_the_keys_of_the_interface() {
    let mut verdict = Verdict::default();
    count(&mut verdict, 0..10, &[difference("status", Kind::Value)], Some(&[]));
    let report = serde_json::to_value(verdict.finish()).unwrap();
    for (key, expected) in [
        ("compared", serde_json::json!(10)),
        ("equal", serde_json::json!(0)),
        ("different", serde_json::json!(10)),
        ("failed", serde_json::json!(0)),
        ("verdict", serde_json::json!("different")),
    ] {
        assert_eq!(report[key], expected, "{key}");
    }
    let finding = &report["findings"][0];
    assert_eq!(finding["class"], "confirmed");
    assert_eq!(finding["kind"], "value");
    assert_eq!(finding["endpoint"], "GET /x");
    for key in ["field", "b", "c", "p", "q", "example"] {
        assert!(!finding[key].is_null(), "{key}");
    }
}

#[test]
fn an_enemy_cannot_make_it_grow() {
    let mut verdict = Verdict::default();
    let mut fields = 0u32;
    for id in 0..8_000u32 {
        let differences: Vec<Difference> = (0..10)
            .map(|_| {
                fields += 1;
                difference(&format!("body.k{fields}x"), Kind::Value)
            })
            .collect();
        let path = format!("/a{}z/b{}z/c{}z", id % 97, id % 89, id % 83);
        let id = id.to_be_bytes();
        let request = RequestKey { id: &id, method: "GET", path: &path, again: false };
        verdict.compared(&request, &differences, Some(&[]));
    }
    let report = verdict.finish();
    assert_eq!(report.different, 8_000);
    // One shared counter for each endpoint comes on top.
    assert!(report.endpoints.len() <= 2_001, "{}", report.endpoints.len());
    assert_eq!(report.findings.len(), 1000);
    assert!(report.findings_omitted <= MAX_FIELDS + 1_001, "{}", report.findings_omitted);
    // What is beyond the bound is still counted, together.
    assert_eq!(report.verdict, Judgement::Different);
    assert_eq!(report.findings[0].field, "(other fields)");
    assert_eq!(report.findings[0].ignore, None);
    let size = serde_json::to_vec(&verdict).unwrap().len();
    assert!(size < 16 << 20, "{size} bytes");
}

/// What one request contributes in the property test.
#[derive(Debug, Clone)]
struct Request {
    path: u8,
    candidate: Vec<u8>,
    noise: Option<Vec<u8>>,
    /// It is sent twice, perhaps by two replicas, and then perhaps answered otherwise.
    twice: Option<Vec<u8>>,
    owners: (usize, usize),
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let fields = || collection::vec(0..6u8, 0..4);
    let owners = (0..3usize, 0..3usize);
    let request = (0..4u8, fields(), option::of(fields()), option::of(fields()), owners);
    let request = request.prop_map(|(path, candidate, noise, twice, owners)| Request {
        path,
        candidate,
        noise,
        twice,
        owners,
    });
    collection::vec(request, 0..60)
}

fn add(verdict: &mut Verdict, number: usize, request: &Request, fields: &[u8]) {
    let list = |fields: &[u8]| -> Vec<Difference> {
        let kind = |field| if field % 2 == 0 { Kind::Value } else { Kind::Missing };
        fields.iter().map(|field| difference(&format!("body.f{field}x"), kind(*field))).collect()
    };
    let noise = request.noise.as_ref().map(|fields| list(fields));
    let path = format!("/p{}/{number}", request.path);
    let id = number.to_be_bytes();
    let key = RequestKey { id: &id, method: "GET", path: &path, again: request.twice.is_some() };
    match fields {
        // One of the outcomes is none.
        [5, 5, ..] => verdict.not_compared(&key, "client_gone"),
        fields => verdict.compared(&key, &list(fields), noise.as_deref()),
    };
    verdict.timed(&key, 1_000_000 * (number as u64 % 7), 3_000_000, &Rules::default());
}

proptest! {
    #[test]
    fn order_and_parts_and_resends_make_no_difference(requests in requests(), seed in any::<u64>()) {
        let mut whole = Verdict::default();
        for (number, request) in requests.iter().enumerate() {
            add(&mut whole, number, request, &request.candidate);
            if let Some(fields) = &request.twice {
                add(&mut whole, number, request, fields);
            }
        }
        let mut sends: Vec<(usize, usize, &Request, &[u8])> = Vec::new();
        for (number, request) in requests.iter().enumerate() {
            sends.push((request.owners.0, number, request, &request.candidate));
            if let Some(fields) = &request.twice {
                sends.push((request.owners.1, number, request, fields));
            }
        }
        sends.sort_by_key(|(_, number, _, fields)| {
            rank(&[&seed.to_be_bytes()[..], &number.to_be_bytes(), fields].concat())
        });
        let mut parts = vec![Verdict::default(); 3];
        for (owner, number, request, fields) in sends {
            add(&mut parts[owner], number, request, fields);
        }
        // A part may have been stored in between.
        parts[1] = Verdict::from_bytes(&parts[1].to_bytes()).unwrap();
        let mut merged = Verdict::default();
        parts.rotate_left((seed % 3) as usize);
        parts.into_iter().for_each(|part| merged.merge(part));
        let (mut merged, mut whole) = (merged.finish(), whole.finish());
        let differs = |request: &Request| {
            request.twice.as_ref().is_some_and(|fields| *fields != request.candidate)
        };
        if requests.iter().any(differs) {
            // An example that was crowded out does not come back.
            for finding in merged.findings.iter_mut().chain(&mut whole.findings) {
                (finding.example, finding.examples) = (None, Vec::new());
            }
        }
        prop_assert_eq!(merged, whole);
    }
}

#[test]
fn merging_keeps_the_bounds() {
    let mut whole = Verdict::default();
    for part in 0..4u32 {
        let mut verdict = Verdict::default();
        for id in 0..4_000u32 {
            let key = part * 1_000_000 + id * 10;
            // Long names, long values, all of them new.
            let long = "x".repeat(150);
            let differences: Vec<Difference> = (0..10)
                .map(|at| Difference {
                    expected: Some("\u{1f600}".repeat(200)),
                    ..difference(&format!("body.k{}{long}", key + at), Kind::Value)
                })
                .collect();
            let path = format!("/a{}z/b{}z/c{}z", id % 97, part * 100 + id % 89, id % 83);
            let id = key.to_be_bytes();
            let request = RequestKey { id: &id, method: "GET", path: &path, again: true };
            verdict.compared(&request, &differences, Some(&[]));
        }
        whole.merge(verdict);
    }
    let report = whole.finish();
    assert_eq!(report.different, 16_000);
    assert!(report.endpoints.len() <= 2_001, "{}", report.endpoints.len());
    assert!(report.findings.len() + report.findings_omitted <= MAX_FIELDS + 2_001);
    assert_eq!(report.findings[0].field, "(other fields)");
    let (json, packed) = (serde_json::to_vec(&whole).unwrap().len(), whole.to_bytes().len());
    println!("a hostile stream's state: {json} bytes as JSON, {packed} packed");
    assert!(json < 64 << 20, "{json}");
}

#[test]
fn what_is_stored_is_checked() {
    let mut verdict = Verdict::default();
    count(&mut verdict, 0..10, &[difference("body.a", Kind::Value)], None);
    let bytes = verdict.to_bytes();
    assert_eq!(Verdict::from_bytes(&bytes).unwrap().finish(), verdict.finish());
    let problem = |bytes: &[u8]| Verdict::from_bytes(bytes).unwrap_err();
    assert_eq!(problem(b"{}"), "not a noise profile or verdict of Umbra");
    let mut newer = bytes.clone();
    newer[7] = 9;
    assert!(problem(&newer).starts_with("of version 9"), "{}", problem(&newer));
    assert!(problem(&bytes[..bytes.len() - 3]).starts_with("damaged"));
}

#[test]
fn statuses_and_times_of_streams() {
    let rules = Rules::default();
    let answer = |status: u16, first_ms: u64, events: u64| Answer {
        status,
        headers: vec![umbra_record::pb::Header {
            name: "Content-Type".into(),
            value: "text/event-stream".into(),
        }],
        body: crate::Body::whole("data: x\n\n".repeat(events as usize)),
        timing: Some(crate::Timing {
            head_ns: first_ms * 1_000_000,
            first_byte_ns: first_ms * 1_000_000,
            end_ns: (first_ms + (events - 1) * 100) * 1_000_000,
        }),
        ..Answer::default()
    };
    let mut verdict = Verdict::default();
    for id in 0..20u32 {
        let id = id.to_be_bytes();
        assert!(verdict.compared(&key(&id), &[], None));
        verdict.answered(&key(&id), &answer(200, 10, 5), &answer(200, 30, 5), &rules);
        // Told again, it counts no more.
        verdict.answered(&key(&id), &answer(200, 10, 5), &answer(200, 30, 5), &rules);
    }
    let refused = Answer { failure: Some("refused".to_owned()), ..Answer::default() };
    verdict.not_compared(&key(b"r"), "refused");
    verdict.answered(&key(b"r"), &answer(200, 10, 5), &refused, &rules);
    let report = verdict.finish();
    let pair = |actual: &str, requests| StatusPair {
        expected: "200".to_owned(),
        actual: actual.to_owned(),
        requests,
    };
    assert_eq!(report.statuses, [pair("200", 20), pair("refused", 1)]);
    let streams = report.endpoints[0].streams.unwrap();
    assert_eq!(streams.first_byte.pairs, 20);
    assert!((streams.first_byte.difference_ms - 20.0).abs() < 1.5, "{streams:?}");
    let between = streams.between_events.unwrap();
    assert!((between.actual_p50_ms - 100.0).abs() < 6.0, "{streams:?}");
    let text = serde_json::to_string(&report).unwrap();
    let back: Report = serde_json::from_str(&text).unwrap();
    assert_eq!((back.statuses, back.not_compared), (report.statuses, report.not_compared));
}

#[test]
fn times_are_findings_only_under_the_same_load() {
    let rules = Rules::default();
    for same_load in [false, true] {
        let mut verdict = Verdict::new(Settings { same_load, ..Settings::default() });
        for id in 0..100u32 {
            let id = id.to_be_bytes();
            verdict.compared(&key(&id), &[], Some(&[]));
            verdict.timed(&key(&id), 10_000_000, 60_000_000, &rules);
        }
        let report = verdict.finish();
        let latency = report.endpoints[0].latency.unwrap();
        assert_eq!((latency.pairs, latency.same_load), (100, same_load));
        match same_load {
            true => assert_eq!(classes(&report), one("latency slower", Class::Confirmed)),
            false => assert_eq!(classes(&report), []),
        }
    }
}

#[test]
fn endpoints_can_be_named() {
    let named = ["GET /files/{name}", "* /x/{a}/{b}"];
    let mut verdict = Verdict::default().with_endpoints(&named).unwrap();
    let requests =
        [("GET", "/files/a"), ("GET", "/files/b"), ("PUT", "/files/a"), ("PUT", "/x/1/y")];
    for (id, (method, path)) in requests.into_iter().enumerate() {
        let request = RequestKey { id: &id.to_be_bytes(), method, path, again: false };
        assert!(verdict.compared(&request, &[], None));
    }
    let names: Vec<String> =
        verdict.finish().endpoints.into_iter().map(|coverage| coverage.endpoint).collect();
    assert_eq!(names, ["GET /files/{name}", "PUT /files/a", "PUT /x/{a}/{b}"]);
    let wrong = ["files", "GET files", "GET /a b", "GET /ok"];
    assert_eq!(Verdict::default().with_endpoints(&wrong).unwrap_err().len(), 3);
}

#[test]
fn noise_can_be_learned_before() {
    let time = [difference("body.t", Kind::Value)];
    let both = [difference("body.t", Kind::Value), difference("body.a", Kind::Value)];
    let mut learned = Verdict::default();
    count(&mut learned, 0..500, &time, None);
    count(&mut learned, 500..1000, &[], None);
    let stored = serde_json::to_string(&learned).unwrap();
    let with_noise = || Verdict::default().with_noise(serde_json::from_str(&stored).unwrap());

    let mut same = with_noise();
    count(&mut same, 0..50, &time, None);
    count(&mut same, 50..100, &[], None);
    let report = same.finish();
    assert!(report.noise_measured);
    assert_eq!(classes(&report), one("body.t value", Class::Noise));
    assert_eq!((report.verdict, report.findings[0].c), (Judgement::Same, 500));

    let mut changed = with_noise();
    count(&mut changed, 0..20, &both, None);
    count(&mut changed, 20..100, &time, None);
    let expected = [("body.a value", Class::Confirmed), ("body.t value", Class::Confirmed)];
    let expected = expected.map(|(name, class)| (name.to_owned(), class));
    let mut found = classes(&changed.finish());
    found.sort();
    assert_eq!(found, expected);

    // Where nothing was learned nothing is known.
    let mut elsewhere = with_noise();
    for id in 0..100u32 {
        let id = id.to_be_bytes();
        let request = RequestKey { id: &id, method: "GET", path: "/other", again: false };
        elsewhere.compared(&request, &time, None);
    }
    assert_eq!(classes(&elsewhere.finish()), one("body.t value", Class::New));
}

#[test]
fn a_silenced_time_is_not_counted() {
    let rules = Rules::new(&["GET /x latency"]).unwrap();
    let mut verdict = Verdict::default();
    verdict.compared(&key(b"1"), &[], Some(&[]));
    verdict.timed(&key(b"1"), 1, 2, &rules.for_request("GET", "/x"));
    assert_eq!(verdict.finish().endpoints[0].latency, None);
}

#[test]
fn deep_paths_can_be_stored() {
    let path = "/a".repeat(1000);
    let mut verdict = Verdict::default();
    verdict.compared(&RequestKey { id: b"1", method: "GET", path: &path, again: false }, &[], None);
    let stored = serde_json::to_string(&verdict).unwrap();
    let back: Verdict = serde_json::from_str(&stored).unwrap();
    assert_eq!(back.finish(), verdict.finish());
}
