//! Pairs of answers and what is said about them.

use std::io::Write;

use proptest::{collection, prelude::*};
use umbra_record::pb;

use super::*;
use crate::{Body, node::MAX_NODES};

fn header(name: &str, value: &str) -> pb::Header {
    pb::Header { name: name.to_owned().into(), value: value.to_owned().into() }
}

fn answer(headers: &[(&str, &str)], body: &str) -> Answer {
    Answer {
        status: 200,
        headers: headers.iter().map(|(name, value)| header(name, value)).collect(),
        body: Body::whole(body.to_owned()),
        ..Default::default()
    }
}

fn json(body: &str) -> Answer {
    answer(&[("Content-Type", "application/json")], body)
}

/// `field kind` of each difference.
fn list(expected: &Answer, actual: &Answer) -> Vec<String> {
    with(expected, actual, &[])
}

fn with(expected: &Answer, actual: &Answer, rules: &[&str]) -> Vec<String> {
    let rules = Rules::new(rules).unwrap();
    let found = differences(expected, actual, &rules);
    found.iter().map(|d| format!("{} {}", d.field, d.kind)).collect()
}

fn headers(expected: &[(&str, &str)], actual: &[(&str, &str)]) -> Vec<String> {
    list(&answer(expected, ""), &answer(actual, ""))
}

#[test]
fn status_and_failure() {
    let ok = answer(&[("X-A", "1")], "body");
    assert_eq!(list(&ok, &ok), [""; 0]);
    let found = differences(&ok, &Answer { status: 500, ..ok.clone() }, &Rules::default());
    assert_eq!((found[0].field.as_str(), found[0].note.as_str()), ("status", "200 \u{2192} 500"));
    // What never came has no fields that could be missing.
    let refused = Answer { failure: Some("refused".into()), ..Answer::default() };
    assert_eq!(list(&ok, &refused), ["status value", "failure added"]);
    assert_eq!(list(&refused, &ok), ["status value", "failure missing"]);
    let late = Answer { failure: Some("timeout".into()), ..Answer::default() };
    assert_eq!(list(&refused, &late), ["failure value"]);
    let broken = Answer { failure: Some("reset".into()), ..ok.clone() };
    assert_eq!(list(&ok, &broken), ["failure added"]);
    assert_eq!(list(&refused, &refused), [""; 0]);
}

#[test]
fn header_names_have_no_case_and_lines_are_a_list() {
    assert_eq!(headers(&[("X-A", "1")], &[("x-a", "1")]), [""; 0]);
    assert_eq!(headers(&[("Vary", "a, b")], &[("Vary", "a"), ("vary", "b")]), [""; 0]);
    assert_eq!(headers(&[("Vary", "a, b")], &[("Vary", "b, a")]), ["header:vary order"]);
    assert_eq!(headers(&[("Vary", "a, b")], &[("Vary", "a, c")]), ["header:vary value"]);
    assert_eq!(headers(&[("X-A", "1")], &[]), ["header:x-a missing"]);
    assert_eq!(headers(&[], &[("X-A", "1")]), ["header:x-a added"]);
    assert_eq!(headers(&[("X", "\"a, b\", c")], &[("X", "\"a\", \"b, c\"")]), ["header:x value"]);
    assert_eq!(headers(&[("X-A", "")], &[("X-A", "7")]), ["header:x-a value", "header:x-a shape"]);
}

#[test]
fn what_belongs_to_one_hop_is_not_compared() {
    let hop = [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("Content-Length", "0")];
    assert_eq!(headers(&hop, &[("Keep-Alive", "5")]), [""; 0]);
}

#[test]
fn volatile_values_are_passed_but_not_their_absence() {
    let one = [("Date", "Sun, 22 Nov 2026 10:00:00 GMT"), ("X-Request-Id", "a")];
    let other = [("Date", "Sun, 22 Nov 2026 10:00:01 GMT"), ("X-Request-Id", "")];
    assert_eq!(headers(&one, &other), [""; 0]);
    assert_eq!(headers(&one, &one[..1]), ["header:x-request-id missing"]);
}

#[test]
fn media_types() {
    let of = |media| [("Content-Type", media)];
    assert_eq!(headers(&of("text/html; charset=UTF-8"), &of("Text/HTML;charset=utf-8")), [""; 0]);
    let found = headers(&of("text/html; charset=utf-8"), &of("text/html; charset=latin1"));
    assert_eq!(found, ["header:content-type value"]);
}

#[test]
fn cookies_by_name_and_attribute() {
    let one = [("Set-Cookie", "sid=1; Path=/; Secure; HttpOnly; Expires=x"), ("Set-Cookie", "b=2")];
    let other = [("set-cookie", "b=2"), ("set-cookie", "sid=1; path=/; httponly; expires=y")];
    assert_eq!(headers(&one, &other), ["set-cookie:sid;secure missing"]);
    let other = [("Set-Cookie", "sid=9; Path=/x; Secure; HttpOnly; Expires=x")];
    let expected = ["set-cookie:b missing", "set-cookie:sid value", "set-cookie:sid;path value"];
    assert_eq!(headers(&one, &other), expected);
}

#[test]
fn trailers() {
    let with =
        |status: &str| Answer { trailers: vec![header("Grpc-Status", status)], ..answer(&[], "") };
    assert_eq!(list(&with("0"), &with("13")), ["trailer:grpc-status value"]);
}

#[test]
fn json_by_structure() {
    for (one, other, expected) in [
        (r#"{"a":1,"b":2}"#, r#" { "b" : 2, "a" : 1 } "#, &[][..]),
        (r#"{"a":1}"#, r#"{"a":2}"#, &["body.a value"]),
        (r#"{"a":1}"#, r#"{}"#, &["body.a missing"]),
        (r#"{}"#, r#"{"a":{"b":1}}"#, &["body.a added"]),
        (r#"{"a":1}"#, r#"{"a":"1"}"#, &["body.a type"]),
        (r#"{"a":null}"#, r#"{}"#, &["body.a missing"]),
        (r#"{"a":true}"#, r#"{"a":false}"#, &["body.a value"]),
        (r#"{"a":1}"#, r#"{"a":1.0}"#, &["body.a notation"]),
        (r#"{"a":100}"#, r#"{"a":1e2}"#, &["body.a notation"]),
        (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#, &["body.a value"]),
        (r#"{"a":0.1}"#, r#"{"a":0.10000000000000000001}"#, &["body.a value"]),
        (r#"[1,2,3]"#, r#"[3,1,2]"#, &["body order"]),
        (r#"[1,2,3]"#, r#"[1,2]"#, &["body count"]),
        (r#"[1,2,3]"#, r#"[1,9,3]"#, &["body[] value"]),
        (r#"[{"a":1,"b":2},{"a":3}]"#, r#"[{"a":3},{"b":2,"a":1}]"#, &["body order"]),
        (r#"[{"a":1},{"a":2}]"#, r#"[{"a":1},{"a":2,"b":1}]"#, &["body[].b added"]),
        (r#"{"a":"\u00e9\n"}"#, "{\"a\":\"\u{e9}\\n\"}", &[]),
        (r#"{"a b":1,"":2}"#, r#"{"a b":2,"":3}"#, &["body[\"a b\"] value", "body[\"\"] value"]),
        (r#"{"a":1,"a":2}"#, r#"{"a":1,"a":3}"#, &["body.a value"]),
        (r#"{"a":1,"a":2}"#, r#"{"a":1}"#, &["body.a missing"]),
        (r#"{"17":1,"18":2}"#, r#"{"17":2,"18":3}"#, &["body.{} value"]),
    ] {
        assert_eq!(list(&json(one), &json(other)), expected, "{one} {other}");
    }
}

#[test]
fn shapes_are_found_where_values_always_differ() {
    let uuid = r#"{"id":"550e8400-e29b-41d4-a716-446655440000"}"#;
    let other = r#"{"id":"650e8400-e29b-41d4-a716-446655440000"}"#;
    assert_eq!(list(&json(uuid), &json(other)), ["body.id value"]);
    let empty = list(&json(uuid), &json(r#"{"id":""}"#));
    assert_eq!(empty, ["body.id value", "body.id shape"]);
}

#[test]
fn broken_json_is_another_type() {
    let whole = r#"{"a":[1,2]}"#;
    assert_eq!(list(&json(whole), &json(&whole[..8])), ["body type"]);
    assert_eq!(list(&json(whole), &json("")), ["body type"]);
    let page = answer(&[("Content-Type", "text/plain")], "Internal Server Error");
    assert_eq!(list(&json(whole), &page), ["header:content-type value", "body type"]);
}

#[test]
fn notes_show_the_place() {
    let one = json(r#"{"items":[{"p":1},{"p":2},{"p":3}]}"#);
    let other = json(r#"{"items":[{"p":1},{"p":2},{"p":4}]}"#);
    let found = differences(&one, &other, &Rules::default());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].field, "body.items[].p");
    assert_eq!(found[0].note, "body.items[2].p: 3 \u{2192} 4");
}

#[test]
fn array_keys() {
    let one = json(r#"{"items":[{"id":1,"n":"a"},{"id":2,"n":"b"},{"id":3,"n":"c"}]}"#);
    let other = json(r#"{"items":[{"id":1,"n":"a"},{"id":3,"n":"x"},{"id":4,"n":"d"}]}"#);
    let rules = ["body.items key=id"];
    let expected = ["body.items[] missing", "body.items[].n value", "body.items[] added"];
    let mut found = with(&one, &other, &rules);
    found.sort();
    let mut expected = expected.map(str::to_owned);
    expected.sort();
    assert_eq!(found, expected);
    let turned = json(r#"{"items":[{"id":2,"n":"b"},{"id":1,"n":"a"},{"id":3,"n":"c"}]}"#);
    assert_eq!(with(&one, &turned, &rules), ["body.items order"]);
}

#[test]
fn lines_of_json() {
    let of = |body| answer(&[("Content-Type", "application/x-ndjson")], body);
    assert_eq!(list(&of("{\"a\":1}\n{\"a\":2}\n"), &of("{\"a\":1}\n\n{\"a\":2}")), [""; 0]);
    assert_eq!(
        list(&of("{\"a\":1}\n{\"a\":2}\n"), &of("{\"a\":1}\n{\"a\":3}\n")),
        ["body[].a value"]
    );
}

#[test]
fn forms() {
    let of = |body| answer(&[("Content-Type", "application/x-www-form-urlencoded")], body);
    assert_eq!(list(&of("a=1&b=%41+c"), &of("b=A%20c&a=1")), [""; 0]);
    assert_eq!(list(&of("a=1&b=2"), &of("a=3")), ["body.a value", "body.b missing"]);
    assert_eq!(list(&of("a=%zz"), &of("a=%zz&c")), ["body.c added"]);
}

#[test]
fn text_by_line() {
    let of = |body| answer(&[("Content-Type", "text/plain")], body);
    let found = differences(&of("a\nb\nc"), &of("a\nX\nc"), &Rules::default());
    assert_eq!(found[0].note, "line 2: \"b\" \u{2192} \"X\"");
    assert_eq!(list(&of("a\nb"), &of("a\nb\nc")), ["body count"]);
    assert_eq!(list(&of("a\nb"), &of("a\r\nb")), ["body notation"]);
    assert_eq!(list(&of("a"), &of("")), ["body value", "body shape"]);
}

#[test]
fn bytes_by_offset() {
    let of = |body: &[u8]| Answer { body: Body::whole(body.to_vec()), ..answer(&[], "") };
    let found = differences(&of(b"\x89PNG\0\x01"), &of(b"\x89PNG\0\x02\x03"), &Rules::default());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].note, "from byte 5 on; 6 \u{2192} 7 bytes");
}

#[test]
fn cut_bodies_are_judged_by_length_and_hash_of_the_whole() {
    let cut = |length, hash: u8| Answer {
        body: Body { bytes: "start".into(), length, hash: Some([hash; 16]) },
        ..answer(&[], "")
    };
    assert_eq!(list(&cut(100, 1), &cut(100, 1)), [""; 0]);
    assert_eq!(list(&cut(100, 1), &cut(100, 2)), ["body value"]);
    assert_eq!(list(&cut(100, 1), &cut(101, 1)), ["body value"]);
    // One cut, the other whole: the hash of the whole is computed.
    let whole = answer(&[], "start and more");
    let same = Body {
        bytes: "start".into(),
        length: 14,
        hash: Some(umbra_record::hash::of(b"start and more")),
    };
    assert_eq!(list(&Answer { body: same, ..whole.clone() }, &whole), [""; 0]);
}

fn coded(coding: &str, bytes: Vec<u8>) -> Answer {
    let headers = [("Content-Type", "application/json"), ("Content-Encoding", coding)];
    Answer { body: Body::whole(bytes), ..answer(&headers, "") }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn codings_are_removed_and_noted() {
    let text = br#"{"a":1,"b":"xxxxxxxxxxxxxxxxxxxxxxxxxxxx"}"#;
    let plain = json(std::str::from_utf8(text).unwrap());
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(text).unwrap();
    let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    raw.write_all(text).unwrap();
    let coded_all = [
        coded("gzip", gzip(text)),
        coded("deflate", zlib.finish().unwrap()),
        coded("deflate", raw.finish().unwrap()),
        coded("zstd", zstd::encode_all(&text[..], 1).unwrap()),
        coded("zstd, gzip", gzip(&zstd::encode_all(&text[..], 1).unwrap())),
    ];
    for coded in coded_all {
        assert_eq!(list(&plain, &coded), ["header:content-encoding coding"], "{coded:?}");
        assert_eq!(list(&coded, &coded), [""; 0]);
    }
    let changed = gzip(br#"{"a":2,"b":"xxxxxxxxxxxxxxxxxxxxxxxxxxxx"}"#);
    assert_eq!(list(&coded("gzip", gzip(text)), &coded("gzip", changed)), ["body.a value"]);
}

#[test]
fn brotli() {
    // `{"a":1}` by Google's encoder, quality 5.
    let bytes = b"\x0b\x03\x80{\"a\":1}\x03".to_vec();
    assert_eq!(list(&json(r#"{"a":1}"#), &coded("br", bytes)), ["header:content-encoding coding"]);
}

#[test]
fn broken_and_huge_codings_end_soon() {
    let text = br#"{"a":1}"#;
    let mut broken = gzip(text);
    broken.truncate(12);
    assert_eq!(list(&coded("gzip", gzip(text)), &coded("gzip", broken)), ["body type"]);
    let bomb = |byte| gzip(&vec![byte; 12 << 20]);
    assert_eq!(list(&coded("gzip", bomb(b'a')), &coded("gzip", bomb(b'b'))), ["body value"]);
}

#[test]
fn a_cut_body_in_another_coding_is_not_called_equal() {
    let cut = |coding| Answer {
        body: Body { bytes: "start".into(), length: 100, hash: Some([1; 16]) },
        ..coded(coding, Vec::new())
    };
    assert_eq!(list(&cut("gzip"), &cut("gzip")), [""; 0]);
    let whole = json(r#"{"a":1}"#);
    let expected = ["header:content-encoding coding", "body more"];
    assert_eq!(list(&cut("gzip"), &whole), expected);
}

#[test]
fn an_answer_may_quote_the_name_it_was_asked_under() {
    let echo = |authority: &str, body: &str| Answer {
        authority: authority.to_owned().into(),
        ..json(body)
    };
    let one = echo("httpbin:8000", r#"{"Host":"httpbin:8000","url":"http://httpbin:8000/x"}"#);
    let body = r#"{"Host":"httpbin-shadow:8000","url":"http://httpbin-shadow:8000/x"}"#;
    let other = echo("httpbin-shadow:8000", body);
    assert_eq!(list(&one, &other), ["body.Host authority", "body.url authority"]);
    assert!(differences(&one, &other, &Rules::default()).iter().all(|d| d.kind.is_note()));
    let wrong = echo("httpbin-shadow:8000", &body.replace("/x", "/y"));
    assert_eq!(list(&one, &wrong), ["body.Host authority", "body.url value"]);
}

#[test]
fn rules_are_obeyed() {
    let one = json(r#"{"a":{"b":1},"t":"2026-11-22T10:00:00Z","p":10.00,"l":[1,2]}"#);
    let other = json(r#"{"a":{"b":2},"t":"2026-11-22T10:00:03Z","p":10.05,"l":[2,1]}"#);
    assert_eq!(with(&one, &other, &[]).len(), 4);
    let rules = ["body.a", "body.t ~5s", "body.p ~1%", "body.l order"];
    assert_eq!(with(&one, &other, &rules), [""; 0]);
    let rules = ["body.a added", "body.t ~1s", "body.p ~0.01", "body.l value"];
    assert_eq!(with(&one, &other, &rules).len(), 4);
}

#[test]
fn the_list_is_bounded() {
    let many = |value: u32| {
        let members: Vec<String> = (0..5000).map(|at| format!("\"k{at}x\":{value}")).collect();
        json(&format!("{{{}}}", members.join(",")))
    };
    let found = differences(&many(1), &many(2), &Rules::default());
    assert_eq!(found.len(), MAX_DIFFERENCES);
    assert_eq!(found.last().unwrap().kind, Kind::More);
}

#[test]
fn many_members_of_one_name_end_soon() {
    let many = |count: usize| json(&format!("{{{}\"b\":1}}", "\"a\":1,".repeat(count)));
    assert_eq!(list(&many(200_000), &many(0)), ["body.a missing"]);
    assert_eq!(list(&many(0), &many(200_000)), ["body.a added"]);
    assert_eq!(list(&many(200_000), &many(200_000)), [""; 0]);
}

#[test]
fn json_in_strings_on_request() {
    let one = json(r#"{"p":"{\"a\":1,\"b\":2}","q":"x"}"#);
    let other = json(r#"{"p":"{\"b\":2, \"a\":3}","q":"x"}"#);
    assert_eq!(list(&one, &other), ["body.p value"]);
    assert_eq!(with(&one, &other, &["body.p json"]), ["body.p.a value"]);
    let broken = json(r#"{"p":"{\"b\":2","q":"x"}"#);
    assert_eq!(with(&one, &broken, &["body.p json"]), ["body.p value"]);
}

#[test]
fn explanations_name_the_rule() {
    let one = json(r#"{"a":1,"b":10,"c":1}"#);
    let mut other = json(r#"{"a":2,"b":11,"c":2}"#);
    other.headers.push(header("Date", "x"));
    let mut one_dated = one;
    one_dated.headers.push(header("Date", "y"));
    let rules = Rules::new(&["body.a", "body.b ~2"]).unwrap();
    let (found, passed) = explain(&one_dated, &other, &rules);
    assert_eq!(found.iter().map(|d| d.field.as_str()).collect::<Vec<_>>(), ["body.c"]);
    let passed: Vec<_> = passed.iter().map(|(d, rule)| (d.field.as_str(), rule.as_str())).collect();
    let expected =
        [("header:date", "volatile by nature"), ("body.a", "body.a"), ("body.b", "body.b ~2")];
    assert_eq!(passed, expected);
}

#[test]
fn events() {
    let of = |body| answer(&[("Content-Type", "text/event-stream")], body);
    let one = of("id: 1\ndata: {\"a\":1}\n\n: ping\n\nevent: end\ndata: bye\n\n");
    let same = of("id: 1\r\ndata: {\"a\": 1}\r\n\r\nevent:end\r\ndata:bye");
    assert_eq!(list(&one, &same), [""; 0]);
    let other = of("id: 1\ndata: {\"a\":2}\n\nevent: end\ndata: bye\n\n");
    assert_eq!(list(&one, &other), ["body[].data.a value"]);
    assert_eq!(list(&one, &of("id: 1\ndata: {\"a\":1}\n\n")), ["body count"]);
}

#[test]
fn bodies_that_would_unfold_in_memory_are_text() {
    for (media, piece) in [
        ("application/json", "1,"),
        ("application/x-ndjson", "1\n"),
        ("text/event-stream", "a:\n"),
        ("application/x-www-form-urlencoded", "a=1&"),
    ] {
        let of = |last: &str| {
            let many = piece.repeat(MAX_NODES + 1);
            let body =
                if media.ends_with("/json") { format!("[{many}{last}]") } else { many + last };
            answer(&[("Content-Type", media)], &body)
        };
        assert_eq!(list(&of("1"), &of("2")), ["body value"], "{media}");
        assert_eq!(list(&of("1"), &of("1")), [""; 0], "{media}");
    }
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        (0..5i64).prop_map(Into::into),
        "[ab]{0,2}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            collection::btree_map("[abc]", inner, 0..3)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_answer() -> impl Strategy<Value = Answer> {
    let media = prop_oneof![
        Just("application/json"),
        Just("application/x-ndjson"),
        Just("application/x-www-form-urlencoded"),
        Just("text/event-stream"),
        Just("text/plain; charset=x"),
        Just("image/png"),
    ];
    let coding = prop_oneof![Just(""), Just("gzip"), Just("br"), Just("zstd, deflate"), Just("x")];
    let body = prop_oneof![
        collection::vec(any::<u8>(), 0..60),
        value().prop_map(|value| value.to_string().into_bytes()),
        "[a-c=&%:\\n\\r{}\\[\\]\",]{0,40}".prop_map(String::into_bytes),
    ];
    let wire = || collection::vec(any::<u8>(), 0..20);
    (media, coding, body, wire(), 0..600u16, any::<Option<[u8; 16]>>(), 0..3u64).prop_map(
        |(media, coding, body, wire, status, hash, more)| Answer {
            status,
            headers: vec![
                header("Content-Type", media),
                header("Content-Encoding", coding),
                pb::Header { name: "Set-Cookie".into(), value: wire.clone().into() },
                pb::Header { name: wire.clone().into(), value: wire.clone().into() },
            ],
            authority: wire.into(),
            body: Body { length: body.len() as u64 + more, bytes: body.into(), hash },
            ..Default::default()
        },
    )
}

proptest! {
    #[test]
    fn an_answer_never_differs_from_itself(answer in any_answer()) {
        // Of what is cut and has no hash nobody knows the rest.
        // Where no answer came there is no body either.
        let known = answer.body.is_whole() || answer.body.hash.is_some() || answer.status == 0;
        prop_assert_eq!(list(&answer, &answer), if known { vec![] } else { vec!["body more"] });
    }

    #[test]
    fn nothing_panics_and_both_directions_agree(one in any_answer(), other in any_answer()) {
        let differ = |one: &Answer, other: &Answer| {
            differences(one, other, &Rules::default()).iter().any(|d| !d.kind.is_note())
        };
        prop_assert_eq!(differ(&one, &other), differ(&other, &one));
    }

    #[test]
    fn different_json_is_always_found(one in value(), other in value()) {
        let found = list(&json(&one.to_string()), &json(&other.to_string()));
        prop_assert_eq!(found.is_empty(), one == other, "{:?}", found);
    }

    #[test]
    fn whatever_is_found_can_be_silenced(one in value(), other in value()) {
        let (one, other) = (json(&one.to_string()), json(&other.to_string()));
        let found = differences(&one, &other, &Rules::default());
        let lines: Vec<String> =
            found.iter().filter_map(|d| Rules::silencing("GET /x", &d.field, d.kind)).collect();
        let rules = Rules::new(&lines).unwrap().for_request("GET", "/x");
        prop_assert_eq!(differences(&one, &other, &rules), []);
    }
}
