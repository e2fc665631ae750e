//! Nothing that passes the checks can be read as something else by our own strict
//! parser; everything it would not take is refused before.

use proptest::prelude::*;

use super::*;
use crate::{
    h1::{Parsed, RequestHead, Version, parse_request},
    origin::Session,
};

const LIMITS: Limits = Limits { max_head: 4096, max_headers: 20 };

/// Of what was received something is added.
const WIDER: Limits = Limits { max_head: 8192, max_headers: 30 };

fn request(method: &str, path: &str) -> Http2Request {
    Http2Request {
        method: method.parse().unwrap(),
        scheme: b"http".to_vec(),
        authority: b"a.test".to_vec(),
        path: path.as_bytes().to_vec(),
        query: None,
        fields: Vec::new(),
        has_body: false,
    }
}

fn with(mut request: Http2Request, fields: &[(&str, &str)]) -> Http2Request {
    for (name, value) in fields {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        request.fields.push((name.parse().unwrap(), value));
    }
    request
}

fn session() -> Session {
    Session::plain("192.0.2.1:1".parse().unwrap())
}

fn written(request: &Http2Request, end: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let framing = framing(request, end).unwrap();
    write_http1(&mut out, request, &session(), "2.0", framing);
    out
}

fn text(request: &Http2Request, end: bool) -> String {
    String::from_utf8(written(request, end)).unwrap()
}

#[test]
fn a_request_is_said_in_http1() {
    let request = with(
        Http2Request { query: Some(b"q=1".to_vec()), ..request("GET", "/p") },
        &[("accept", "*/*"), ("cookie", "a=1"), ("x-forwarded-for", "10.0.0.1"), ("cookie", "b=2")],
    );
    assert_eq!(
        text(&request, true),
        "GET /p?q=1 HTTP/1.1\r\nhost: a.test\r\naccept: */*\r\ncookie: a=1; b=2\r\n\
         x-forwarded-for: 10.0.0.1, 192.0.2.1\r\nx-forwarded-proto: http\r\nvia: 2.0 umbra\r\n\r\n"
    );
}

#[test]
fn a_body_is_framed() {
    let body = |fields: &[(&str, &str)], end| text(&with(request("POST", "/"), fields), end);
    assert!(body(&[], false).contains("\r\ntransfer-encoding: chunked\r\n"));
    assert!(body(&[], true).contains("\r\ncontent-length: 0\r\n"));
    let known = body(&[("content-length", "5")], false);
    assert!(known.contains("\r\ncontent-length: 5\r\n") && !known.contains("transfer-encoding"));
    assert!(!text(&request("GET", "/"), true).contains("content-length"));
    assert!(body(&[("te", "trailers")], false).contains("\r\nte: trailers\r\n"));
    assert!(body(&[("te", "trailers")], false).contains("\r\nconnection: TE\r\n"));
}

#[test]
fn what_would_smuggle_is_refused() {
    let get = || request("GET", "/");
    let cases: [(&str, Http2Request); 24] = [
        ("connection_field", with(get(), &[("connection", "close")])),
        ("connection_field", with(get(), &[("keep-alive", "5")])),
        ("connection_field", with(get(), &[("proxy-connection", "x")])),
        ("connection_field", with(get(), &[("transfer-encoding", "chunked")])),
        ("connection_field", with(get(), &[("upgrade", "websocket")])),
        ("te", with(get(), &[("te", "gzip")])),
        ("te", with(get(), &[("te", "trailers, chunked")])),
        (
            "content_length_repeated",
            with(get(), &[("content-length", "0"), ("content-length", "0")]),
        ),
        ("content_length", with(get(), &[("content-length", "+0")])),
        ("content_length", with(get(), &[("content-length", "0, 0")])),
        ("content_length_overflow", with(get(), &[("content-length", "99999999999999999999")])),
        ("content_length_mismatch", with(get(), &[("content-length", "5")])),
        ("target", request("GET", "/a b")),
        ("target", request("GET", "/a\r\nHost: x")),
        ("target", request("GET", "/a#b")),
        ("target", request("GET", "a")),
        ("target", request("GET", "*")),
        ("target", request("GET", "")),
        ("host", Http2Request { authority: b"user@a".to_vec(), ..get() }),
        ("host", Http2Request { authority: b"a b".to_vec(), ..get() }),
        ("host_missing", Http2Request { authority: Vec::new(), ..get() }),
        ("host_differs", with(get(), &[("host", "b.test")])),
        ("host_repeated", with(get(), &[("host", "a.test"), ("host", "a.test")])),
        ("connect", request("CONNECT", "/")),
    ];
    for (reason, request) in cases {
        let refused = check(&request, true, &LIMITS).unwrap_err();
        assert_eq!(refused.reason, reason, "{request:?}");
    }
    for value in [" a", "a ", "\ta"] {
        let spaced = with(get(), &[("x", value)]);
        assert_eq!(check(&spaced, true, &LIMITS).unwrap_err().reason, "field_value");
    }
}

#[test]
fn limits_hold() {
    let many: Vec<_> = (0..21).map(|_| ("a", "b")).collect();
    let refused = check(&with(request("GET", "/"), &many), true, &LIMITS).unwrap_err();
    assert_eq!((refused.status, refused.reason), (431, "too_many_fields"));
    let long = "x".repeat(5000);
    let refused = check(&with(request("GET", "/"), &[("a", &long)]), true, &LIMITS).unwrap_err();
    assert_eq!((refused.status, refused.reason), (431, "head_too_large"));
    let refused = check(&request("GET", &format!("/{long}")), true, &LIMITS).unwrap_err();
    assert_eq!((refused.status, refused.reason), (414, "target_too_long"));
}

#[test]
fn the_usual_port_makes_no_other_host() {
    for (authority, host) in [("a.test", "A.test:80"), ("a.test:80", "a.test")] {
        let request = Http2Request {
            authority: authority.as_bytes().to_vec(),
            ..with(request("GET", "/"), &[("host", host)])
        };
        check(&request, true, &LIMITS).unwrap();
    }
}

#[test]
fn an_http1_request_is_said_in_http2() {
    let bytes =
        b"OPTIONS http://b.test?x HTTP/1.1\r\nHost: a\r\nConnection: x-hop, TE\r\nX-Hop: 1\r\n\
        TE: trailers\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\nX-Kept: 1\r\n\r\n";
    let mut head = RequestHead::default();
    parse_request(bytes, &LIMITS, &mut head).unwrap();
    let request = from_http1(bytes, &head, b"default").unwrap();
    check(&request, false, &LIMITS).unwrap();
    assert_eq!((&request.authority[..], &request.path[..]), (&b"b.test"[..], &b"/"[..]));
    assert_eq!(request.query.as_deref(), Some(&b"x"[..]));
    let names: Vec<&str> = request.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-kept", "te"]);
    let request = translated(&request);
    assert_eq!(request.uri(), "https://b.test/?x");
    assert_eq!(request.headers()["via"], "1.1 umbra");
    assert!(!request.headers().contains_key("host"));
}

fn translated(request: &Http2Request) -> Request<()> {
    http2(request, &session(), "1.1", "https").unwrap()
}

#[test]
fn a_client_is_added_to_the_last_of_those_forwarded_for() {
    let request = with(
        request("GET", "/"),
        &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2"), ("via", "1.1 x")],
    );
    let request = translated(&request);
    let all = |name| request.headers().get_all(name).iter().map(|v| v.to_str().unwrap()).collect();
    let lines: Vec<&str> = all("x-forwarded-for");
    assert_eq!(lines, ["1.1.1.1", "2.2.2.2, 192.0.2.1"]);
    let lines: Vec<&str> = all("via");
    assert_eq!(lines, ["1.1 x", "1.1 umbra"]);
}

fn nasty() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => proptest::sample::select(b"az09-_.~/:@[]?&=%".to_vec()),
        1 => proptest::sample::select(b" \t\r\n\0;,\"<>\\^`{|}#\x7f\x80\xff".to_vec()),
    ];
    proptest::collection::vec(byte, 0..12)
}

fn name() -> impl Strategy<Value = HeaderName> {
    let known = [
        "host",
        "cookie",
        "te",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "keep-alive",
        "expect",
        "trailer",
        "via",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-a",
    ];
    prop_oneof![
        2 => proptest::sample::select(known.to_vec()).prop_map(HeaderName::from_static),
        1 => "[a-z0-9!#$%&'*+.^_`|~-]{1,8}"
            .prop_map(|name| HeaderName::from_bytes(name.as_bytes()).unwrap()),
    ]
}

fn value() -> impl Strategy<Value = HeaderValue> {
    let known =
        ["", "0", "5", "chunked", "trailers", "a.test", "a=1; b=2", "close", "100-continue"];
    let known = proptest::sample::select(known.to_vec()).prop_map(HeaderValue::from_static);
    prop_oneof![
        2 => known,
        2 => nasty().prop_filter_map("no value", |value| HeaderValue::from_bytes(&value).ok()),
    ]
}

fn any_request() -> impl Strategy<Value = Http2Request> {
    let method = proptest::sample::select(vec!["GET", "POST", "OPTIONS", "HEAD", "M-SEARCH"]);
    let authority = prop_oneof![3 => Just(b"a.test".to_vec()), 1 => nasty()];
    let path = prop_oneof![
        Just(b"/".to_vec()),
        Just(b"*".to_vec()),
        nasty().prop_map(|path| [&b"/"[..], &path].concat()),
        nasty(),
    ];
    let query = proptest::option::of(nasty());
    let fields = proptest::collection::vec((name(), value()), 0..6);
    (method, authority, path, query, fields, any::<bool>()).prop_map(
        |(method, authority, path, query, fields, has_body)| Http2Request {
            method: method.parse().unwrap(),
            scheme: b"http".to_vec(),
            authority,
            path,
            query,
            fields,
            has_body,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, ..ProptestConfig::default() })]

    #[test]
    fn what_passes_is_read_as_what_it_was(request in any_request()) {
        let end = !request.has_body;
        if check(&request, end, &LIMITS).is_err() {
            return Ok(());
        }
        let bytes = written(&request, end);
        let mut head = RequestHead::default();
        let parsed = parse_request(&bytes, &WIDER, &mut head);
        prop_assert_eq!(parsed, Ok(Parsed::Complete { len: bytes.len() }));
        prop_assert_eq!(head.method(&bytes), request.method.as_str().as_bytes());
        prop_assert_eq!(head.path(&bytes), &request.path[..]);
        prop_assert_eq!(head.query(&bytes), request.query.as_deref());
        prop_assert_eq!(head.authority(&bytes), Some(&request.authority[..]));
        prop_assert_eq!(head.version(), Version::Http11);
        let framing = framing(&request, end).unwrap();
        let zero = head.body() == BodyKind::Length(0) && framing == BodyKind::None;
        prop_assert!(zero || head.body() == framing);
        prop_assert!(!head.upgrade() && head.keep_alive());
        let expected = expected_fields(&request);
        let read: Vec<_> = head.fields(&bytes).map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
        for field in &expected {
            prop_assert!(read.contains(field), "{:?} is not in {:?}", field, read);
        }
        // Nothing came with it that was neither there nor is ours.
        let ours = [&b"host"[..], b"x-forwarded-for", b"x-forwarded-proto", b"via", b"connection",
            b"transfer-encoding", b"content-length"];
        for field in &read {
            prop_assert!(expected.contains(field) || ours.contains(&&field.0[..]), "{:?}", field);
        }
        // And in HTTP/2 it is the same, or refused.
        if let Ok(again) = http2(&request, &session(), "2.0", "http") {
            prop_assert_eq!(again.uri().path().as_bytes(), &request.path[..]);
            prop_assert_eq!(again.uri().query().map(str::as_bytes), request.query.as_deref());
            let authority = again.uri().authority().map(|a| a.as_str().as_bytes());
            prop_assert_eq!(authority, Some(&request.authority[..]));
        }
    }
}

/// The fields that must arrive as they are.
fn expected_fields(request: &Http2Request) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut crumbs: Option<Vec<u8>> = None;
    let mut fields = Vec::new();
    let changed = [header::HOST, X_FORWARDED_FOR];
    for (name, value) in request.fields.iter().filter(|(name, _)| !changed.contains(name)) {
        if *name == header::COOKIE {
            let crumbs = crumbs.get_or_insert_default();
            if !crumbs.is_empty() && !value.is_empty() {
                crumbs.extend_from_slice(b"; ");
            }
            crumbs.extend_from_slice(value.as_bytes());
            continue;
        }
        fields.push((name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()));
    }
    fields.extend(crumbs.map(|crumbs| (b"cookie".to_vec(), crumbs)));
    fields
}
