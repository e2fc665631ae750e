use umbra_compare::Judgement;

use super::*;
use crate::{
    outcome::{Answer, Class, Outcome},
    stats::Stats,
};

fn compare() -> Arc<Compare> {
    Arc::new(Compare {
        baseline: Baseline::Recorded,
        noise: None,
        rules: Rules::default(),
        settings: Settings::default(),
        blank: Verdict::default(),
        learned: None,
    })
}

fn judge() -> Judge {
    Judge::new("v2", compare(), Stats::new().judge("v2"))
}

fn facts(number: u64, again: bool) -> Facts {
    Facts {
        id: number.to_be_bytes().to_vec().into(),
        at: (0, number),
        method: "GET".to_owned(),
        path: "/users/1".to_owned(),
        query: String::new(),
        start_ns: 0,
        rule_set: bytes::Bytes::new(),
        again,
        authority: bytes::Bytes::from_static(b"shop"),
    }
}

fn case(number: u64, body: &'static str) -> Case {
    let bytes = bytes::Bytes::from_static(b"one");
    let expected = pb::Response {
        status: 200,
        body_length: 3,
        body_hash: umbra_record::hash::of(&bytes).to_vec().into(),
        body: Some(bytes),
        ..pb::Response::default()
    };
    let body = bytes::Bytes::from_static(body.as_bytes());
    let answer = Answer {
        status: 200,
        reason: bytes::Bytes::new(),
        version: pb::Version::Http11,
        headers: Vec::new(),
        body_length: body.len() as u64,
        body_hash: Some(umbra_record::hash::of(&body)),
        body: Some(body),
        trailers: Vec::new(),
        complete: true,
        head_after: Duration::ZERO,
        first_byte_after: None,
        end_after: Duration::ZERO,
    };
    let outcome = Outcome {
        class: Class::Answered,
        detail: String::new(),
        written: true,
        whole: true,
        connect: None,
        latency: Duration::ZERO,
        answer: Some(answer),
        restored: umbra_record::redact::Restored::default(),
        downgraded: false,
    };
    Case {
        ticket: number,
        facts: facts(number, false),
        expected: Expected::Recorded(Box::new(expected)),
        actual: Side { authority: bytes::Bytes::from_static(b"shop"), outcome },
        noise: None,
    }
}

#[test]
fn a_request_counts_once_however_often_it_is_judged() {
    let judge = judge();
    for _ in 0..3 {
        judge.judge(&case(1, "one"));
        judge.judge(&case(2, "two"));
        judge.not_compared(&facts(3, false), "no_answer");
    }
    let said = judge.said().report;
    assert_eq!((said.compared, said.equal, said.different), (2, 1, 1));
    assert_eq!(said.not_compared["no_answer"], 1);
}

#[test]
fn what_was_told_is_not_counted_by_whoever_goes_on() {
    let first = judge();
    for number in 0..10 {
        first.judge(&case(number, "one"));
    }
    // 0 to 6 are settled; 7 to 9 are judged, and may be sent again.
    let below = BTreeMap::from([(0, 7)]);
    let news = first.news(&below).expect("there is news");
    let judged = first.judged(&below);
    assert_eq!((judged[0].below, &judged[0].beyond[..]), (7, &[7, 8, 9][..]));
    assert!(first.news(&below).is_none(), "it was told");

    let second = judge();
    second.learn(&judged, news);
    for number in 5..12 {
        second.judge(&case(number, "one"));
    }
    assert_eq!(second.said().report.compared, 12);
    // Of another run they are other requests.
    second.begin_run();
    second.judge(&case(100, "one"));
    assert_eq!(second.said().report.compared, 13);
}

#[test]
fn what_was_taken_out_is_taken_out_of_both_or_nothing_is_compared() {
    let judge = judge();
    let rules = vec!["header:x-token=drop".to_owned()];
    let mut one = case(1, "one");
    one.facts.rule_set = umbra_record::hash::of(rules.join("\n").as_bytes()).to_vec().into();
    judge.judge(&one);
    assert_eq!(judge.said().report.not_compared["redaction_unknown"], 1);

    judge.learn_redaction(&rules);
    one.facts.at = (0, 2);
    one.facts.id = bytes::Bytes::from_static(b"2");
    let token = pb::Header { name: "X-Token".into(), value: "secret".into() };
    one.actual.outcome.answer.as_mut().expect("it has one").headers.push(token);
    judge.judge(&one);
    let said = judge.said();
    assert_eq!((said.report.compared, said.report.equal), (1, 1));
    assert_ne!(said.report.verdict, Judgement::Different);
}

#[test]
fn secrets_in_bodies_are_compared_by_nobody() {
    let judge = judge();
    let rules = vec!["tokens=seal".to_owned(), "credentials=seal".to_owned()];
    judge.learn_redaction(&rules);
    let set = umbra_record::hash::of(rules.join("\n").as_bytes()).to_vec();
    let mut one = case(1, r#"{"user":{"Password":"other"},"n":1}"#);
    let json = pb::Header { name: "content-type".into(), value: "application/json".into() };
    let recorded = br#"{"user":{"Password":"umbra-sealed"},"n":1}"#;
    let Expected::Recorded(response) = &mut one.expected else { panic!("it is recorded") };
    response.rule_set = set.into();
    response.body = Some(bytes::Bytes::from_static(recorded));
    response.body_length = recorded.len() as u64;
    response.body_hash = umbra_record::hash::of(recorded).to_vec().into();
    response.headers.push(json.clone());
    one.actual.outcome.answer.as_mut().expect("it has one").headers.push(json);
    judge.judge(&one);
    let said = judge.said().report;
    assert_eq!((said.compared, said.equal), (1, 1), "{said:?}");
    // What is no secret is compared.
    let answer = one.actual.outcome.answer.as_mut().expect("it has one");
    let other = br#"{"user":{"Password":"s3cret"},"n":2}"#;
    answer.body = Some(bytes::Bytes::from_static(other));
    answer.body_hash = Some(umbra_record::hash::of(other));
    (one.facts.at, one.facts.id) = ((0, 2), bytes::Bytes::from_static(b"2"));
    judge.judge(&one);
    let said = judge.said();
    assert_eq!((said.report.compared, said.report.different), (2, 1));
    assert!(!format!("{said:?}").contains("s3cret"));
}

#[test]
fn what_agents_do_unless_told_otherwise_needs_no_telling() {
    let judge = judge();
    for (number, action) in ["seal", "hash", "drop"].into_iter().enumerate() {
        let mut one = case(number as u64, "one");
        let line = format!("credentials={action}");
        one.facts.rule_set = umbra_record::hash::of(line.as_bytes()).to_vec().into();
        judge.judge(&one);
    }
    assert_eq!(judge.said().report.compared, 3);
}
