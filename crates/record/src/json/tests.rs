//! The object that scripts rely on.

use proptest::prelude::*;

use super::*;
use crate::arbitrary;

fn request() -> pb::Request {
    pb::Request {
        id: vec![1; 16].into(),
        connection: 3,
        number: 4,
        start_ns: 1_790_000_000_000_000_005,
        end_after_ns: 7,
        peer: "10.0.0.1:5".into(),
        scheme: "http".into(),
        method: "POST".into(),
        authority: "httpbin:8000".into(),
        path: "/caf\u{e9}".into(),
        query: Some("".into()),
        version: pb::Version::Http11.into(),
        headers: vec![
            header(b"Host", b"httpbin:8000"),
            header(b"X-A", b"1"),
            header(b"x-a", b"caf\xe9"),
        ],
        body: Some(vec![0xff, 0, 1].into()),
        body_length: 3,
        upstream: "http://127.0.0.1:9001".into(),
        ..Default::default()
    }
}

fn response() -> pb::Response {
    pb::Response {
        id: vec![1; 16].into(),
        status: 200,
        reason: "OK".into(),
        version: pb::Version::Http11.into(),
        headers: vec![header(b"Content-Type", b"text/plain")],
        body: Some("hi".into()),
        body_length: 2,
        head_after_ns: 10,
        first_byte_after_ns: 11,
        end_after_ns: 12,
        completeness: pb::Completeness::Truncated.into(),
        ..Default::default()
    }
}

#[test]
fn a_request_with_its_response() {
    let record = pb::Record {
        agent: vec![2; 16].into(),
        lane: 1,
        sequence: 9,
        body: Some(Body::Request(request())),
        ..Default::default()
    };
    assert_eq!(
        render(&record, Some(&response())).unwrap(),
        json!({
            "kind": "request",
            "id": "01010101-0101-0101-0101-010101010101",
            "agent": "02020202-0202-0202-0202-020202020202",
            "lane": 1,
            "seq": 9,
            "connection": 3,
            "number": 4,
            "at": "2026-09-21T14:13:20.000000005Z",
            "duration_ns": 7,
            "peer": "10.0.0.1:5",
            "scheme": "http",
            "method": "POST",
            "authority": "httpbin:8000",
            "path": "/caf\u{e9}",
            "query": "",
            "version": "HTTP/1.1",
            "headers": [["Host", "httpbin:8000"], ["X-A", "1"], ["x-a", {"base64": "Y2Fm6Q=="}]],
            "body_base64": "/wAB",
            "body_length": 3,
            "trailers": [],
            "upstream": "http://127.0.0.1:9001",
            "response": {
                "status": 200,
                "reason": "OK",
                "version": "HTTP/1.1",
                "headers": [["Content-Type", "text/plain"]],
                "body": "hi",
                "body_length": 2,
                "trailers": [],
                "head_after_ns": 10,
                "first_byte_after_ns": 11,
                "end_after_ns": 12,
                "complete": false,
                "completeness": "truncated",
            },
            "complete": true,
        })
    );
}

#[test]
fn absent_is_not_empty() {
    let mut request = pb::Request::default();
    let render = |request: &pb::Request| Value::Object(of_request(request, None));
    assert_eq!(render(&request)["query"], Value::Null);
    assert!(render(&request).get("body").is_none());
    request.body = Some("".into());
    assert_eq!(render(&request)["body"], "");
}

#[test]
fn an_answer_that_never_came() {
    let response = pb::Response {
        failure: pb::Failure::Refused.into(),
        failure_detail: "connection refused".into(),
        ..Default::default()
    };
    let shown = of_response(&response);
    assert_eq!(shown["failure"], "refused");
    assert!(!shown.contains_key("status"));
}

#[test]
fn base64_vectors() {
    // RFC 4648 section 10.
    for (plain, encoded) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(base64(plain.as_bytes()), encoded);
    }
    assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
}

proptest! {
    #[test]
    fn every_record_is_an_object_of_one_line(record in arbitrary::record()) {
        let text = render(&record, None).unwrap().to_string();
        let one_line = !text.contains('\n');
        let has_kind = text.starts_with("{\"kind\":");
        prop_assert!(one_line && has_kind);
    }
}

fn header(name: &[u8], value: &[u8]) -> pb::Header {
    pb::Header { name: name.to_vec().into(), value: value.to_vec().into() }
}
