//! Records of version 1, as they were written when the format was fixed. Every later
//! version must read these bytes as the same records; a failure here means that
//! recordings of users became unreadable or changed their meaning. The files are
//! written only by `UMBRA_REGENERATE=golden cargo test -p umbra-record --test golden`,
//! which is right only before version 1 is released.

use std::{collections::BTreeMap, path::PathBuf};

use bytes::{Buf, Bytes};
use prost::Message;
use umbra_record::{
    decode::decode,
    json,
    pb::{self, record::Body},
};

#[test]
fn records_of_version_1_are_read_as_ever() {
    if std::env::var("UMBRA_REGENERATE").is_ok_and(|what| what == "golden") {
        regenerate();
    }
    let records = read("v1.records");
    let expected = String::from_utf8(read("v1.jsonl")).expect("JSON is UTF-8");
    let records = split(records.into());
    assert_eq!(records.len(), expected.lines().count());
    for (bytes, expected) in records.into_iter().zip(expected.lines()) {
        let record = decode(bytes.clone()).expect("a golden record is readable");
        let shown: serde_json::Value =
            json::render(&record, None).expect("a golden record has a body");
        let expected: serde_json::Value = serde_json::from_str(expected).expect("expected JSON");
        // Members may be added to the JSON, none may change or go.
        assert_contains(&shown, &expected, "");
        assert_eq!(record.encode_to_vec(), bytes, "nothing is lost on the way through");
    }
}

#[test]
fn the_golden_records_cover_the_schema() {
    let records = split(read("v1.records").into());
    let mut bodies = [0; 5];
    for record in records {
        match decode(record).expect("a golden record is readable").body {
            Some(Body::Request(_)) => bodies[0] += 1,
            Some(Body::Response(_)) => bodies[1] += 1,
            Some(Body::Part(_)) => bodies[2] += 1,
            Some(Body::Gap(_)) => bodies[3] += 1,
            Some(Body::Mark(_)) => bodies[4] += 1,
            None => {}
        }
    }
    assert!(bodies.iter().all(|count| *count > 0), "{bodies:?}");
}

fn assert_contains(shown: &serde_json::Value, expected: &serde_json::Value, place: &str) {
    match expected {
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                assert_contains(&shown[name], value, &format!("{place}.{name}"));
            }
        }
        _ => assert_eq!(shown, expected, "at {place}"),
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).expect("the golden file is there")
}

fn split(mut bytes: Bytes) -> Vec<Bytes> {
    let mut records = Vec::new();
    while bytes.has_remaining() {
        let length = prost::decode_length_delimiter(&mut bytes).expect("a length");
        records.push(bytes.split_to(length));
    }
    records
}

fn regenerate() {
    let (mut records, mut lines) = (Vec::new(), String::new());
    for (sequence, body) in bodies().into_iter().enumerate() {
        let record = pb::Record {
            agent: id(0xa9).into(),
            lane: 2,
            key: "c17".into(),
            sequence: sequence as u64 + 1,
            body: Some(body),
        };
        record.encode_length_delimited(&mut records).expect("a Vec takes any number of bytes");
        let shown = json::render(&record, None).expect("it has a body");
        lines.push_str(&shown.to_string());
        lines.push('\n');
    }
    std::fs::write(path("v1.records"), records).expect("the golden file can be written");
    std::fs::write(path("v1.jsonl"), lines).expect("the golden file can be written");
}

fn id(last: u8) -> Vec<u8> {
    let mut id =
        umbra_record::id::parse("01996d3c-1a7b-7000-8000-0000000000ff").expect("a UUID").to_vec();
    id[15] = last;
    id
}

fn header(name: &[u8], value: &[u8]) -> pb::Header {
    pb::Header { name: name.to_vec().into(), value: value.to_vec().into() }
}

const START: u64 = 1_790_000_000_123_456_789;

fn bodies() -> Vec<Body> {
    let bare = bare_request();
    let open = pb::Request {
        query: Some("".into()),
        body: Some("".into()),
        completeness: pb::Completeness::Open.into(),
        version: pb::Version::Http2.into(),
        tunnel: true,
        parts: 1,
        ..bare.clone()
    };
    let part = pb::BodyPart {
        id: id(2).into(),
        index: 1,
        data: "rest".into(),
        last: true,
        aborted: true,
        completeness: pb::Completeness::Aborted.into(),
        trailers: vec![header(b"T", b"1")],
        body_length: 9,
        body_hash: vec![7; 16].into(),
        sealed: Vec::new(),
    };
    let unanswered = pb::Response {
        id: id(2).into(),
        request_start_ns: START + 1,
        failure: pb::Failure::Timeout.into(),
        failure_detail: "no answer within 60 s".into(),
        completeness: pb::Completeness::Aborted.into(),
        ..Default::default()
    };
    vec![
        Body::Request(full_request()),
        Body::Request(bare),
        Body::Request(open),
        Body::Part(part),
        Body::Response(response()),
        Body::Response(unanswered),
        Body::Gap(gap()),
        Body::Mark(mark()),
    ]
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("zone".to_owned(), "b".to_owned())])
}

fn sealed() -> pb::Sealed {
    pb::Sealed {
        place: "header:authorization".into(),
        occurrence: 1,
        key_id: "2026-11-22.7".into(),
        nonce: vec![9; 24].into(),
        ciphertext: vec![0xee; 40].into(),
    }
}

fn full_request() -> pb::Request {
    pb::Request {
        id: id(1).into(),
        connection: 17,
        number: 3,
        start_ns: START,
        end_after_ns: 1_500_000,
        peer: "192.0.2.7:50123".into(),
        scheme: "https".into(),
        method: "POST".into(),
        authority: "Shop.Example:8443".into(),
        path: "/a%2Fb//c;v=1".into(),
        query: Some("q=%C3%A9&q=".into()),
        form: pb::TargetForm::Absolute.into(),
        version: pb::Version::Http11.into(),
        headers: vec![
            header(b"Host", b"Shop.Example:8443"),
            header(b"X-A", b"1"),
            header(b"x-a", b""),
            header(b"X-Raw", b"caf\xe9"),
            header(b"Transfer-Encoding", b"chunked"),
        ],
        body: Some(vec![0, 1, 2, 0xff].into()),
        trailers: vec![header(b"X-Checksum", b"42")],
        body_length: 4,
        body_hash: umbra_record::hash::of(&[0, 1, 2, 0xff]).to_vec().into(),
        completeness: pb::Completeness::Complete.into(),
        parts: 0,
        upstream: "http://127.0.0.1:9001".into(),
        labels: labels(),
        rule_set: vec![1, 2, 3, 4].into(),
        sealed: vec![sealed()],
        tls_server_name: "shop.example".into(),
        alpn: "http/1.1".into(),
        tunnel: false,
        received_authority: Bytes::new(),
    }
}

fn bare_request() -> pb::Request {
    pb::Request {
        id: id(2).into(),
        start_ns: START + 1,
        scheme: "http".into(),
        method: "OPTIONS".into(),
        path: "*".into(),
        form: pb::TargetForm::Asterisk.into(),
        version: pb::Version::Http10.into(),
        ..Default::default()
    }
}

fn gap() -> pb::Gap {
    pb::Gap {
        requests: 12,
        reason: "tee_full".into(),
        from_ns: START,
        to_ns: START + 9,
        ranges: vec![pb::LaneRange { lane: 2, partition: 5, first: 8, last: 19 }],
    }
}

fn mark() -> pb::Mark {
    pb::Mark {
        low_ns: START,
        last_sequence: 7,
        r#final: true,
        at_ns: START + 5,
        requests: 30,
        recorded: 17,
        not_selected: 1,
        lost: BTreeMap::from([("tee_full".to_owned(), 12)]),
        lanes: 4,
        host: "node-1".into(),
        labels: labels(),
        rules: vec!["credentials=seal".into()],
    }
}

fn response() -> pb::Response {
    pb::Response {
        id: id(1).into(),
        request_start_ns: START,
        status: 207,
        reason: "Multi-Status".into(),
        version: pb::Version::Http11.into(),
        headers: vec![header(b"Set-Cookie", b"a=1"), header(b"Set-Cookie", b"b=2")],
        body: Some("<ok/>".into()),
        trailers: vec![header(b"Grpc-Status", b"0")],
        body_length: 70_000,
        body_hash: vec![3; 16].into(),
        completeness: pb::Completeness::Truncated.into(),
        head_after_ns: 2_000_000,
        first_byte_after_ns: 2_000_001,
        end_after_ns: 3_000_000,
        failure: pb::Failure::None.into(),
        failure_detail: String::new(),
        sealed: vec![sealed()],
        rule_set: vec![1, 2, 3, 4].into(),
    }
}
