//! What is changed on the way to a shadow, and that nothing else is.

use bytes::Bytes;
use proptest::prelude::*;
use umbra_record::{authority::ShadowHost, pb};

use super::{Field, Framing, Rules, Shadow};
use crate::{
    config::{Protocol, Target, WhenDown},
    outcome::Outgoing,
};

const ID: [u8; 16] = [1; 16];
const VIA: &str = "1.1 umbra-shadow (job; 01010101-0101-0101-0101-010101010101)";

fn target(url: &str) -> Target {
    Target {
        name: "v2".to_owned(),
        url: url.parse().expect("a URL"),
        shadow_host: ShadowHost::default(),
        percent: 100.0,
        set_headers: Vec::new(),
        remove_headers: Vec::new(),
        concurrency: 1,
        timeout: std::time::Duration::from_secs(1),
        connect_timeout: std::time::Duration::from_secs(1),
        protocol: Protocol::Http1,
        tls: crate::send::Tls::default(),
        unseal: true,
        when_down: WhenDown::Hold(None),
    }
}

fn header(name: &[u8], value: &[u8]) -> pb::Header {
    pb::Header { name: Bytes::copy_from_slice(name), value: Bytes::copy_from_slice(value) }
}

/// A GET of `/a` to `httpbin:8000` with these fields.
fn request(fields: &[(&str, &str)]) -> pb::Request {
    pb::Request {
        id: Bytes::copy_from_slice(&ID),
        method: Bytes::from_static(b"GET"),
        authority: Bytes::from_static(b"httpbin:8000"),
        path: Bytes::from_static(b"/a"),
        version: pb::Version::Http11.into(),
        headers: fields.iter().map(|(n, v)| header(n.as_bytes(), v.as_bytes())).collect(),
        ..pb::Request::default()
    }
}

fn outgoing(request: pb::Request, body: Option<&[&'static [u8]]>) -> Outgoing {
    let body = body.map(|pieces| pieces.iter().map(|p| Bytes::from_static(p)).collect());
    Outgoing { request: request.into(), body, attempt: 1 }
}

/// A shadow that borrows nothing.
struct Sent {
    target: Vec<u8>,
    fields: Vec<pb::Header>,
    framing: Framing,
    body: Vec<Bytes>,
    trailers: Vec<pb::Header>,
}

fn apply(target: &Target, outgoing: &Outgoing) -> Sent {
    let rules = Rules::new(target, "job").expect("good rules");
    let Shadow { target, fields, framing, body, trailers, .. } =
        rules.apply(outgoing).expect("a request that can be sent");
    let own = |fields: Vec<Field<'_>>| fields.iter().map(|f| header(f.name, &f.value)).collect();
    Sent {
        target: target.into_owned(),
        fields: own(fields),
        framing,
        body: body.to_vec(),
        trailers: own(trailers),
    }
}

fn lines(fields: &[pb::Header]) -> Vec<String> {
    fields
        .iter()
        .map(|f| format!("{}: {}", f.name.escape_ascii(), f.value.escape_ascii()))
        .collect()
}

/// Field lines of the shadow of a request with these, without Via.
fn sent(fields: &[(&str, &str)], body: Option<&[&'static [u8]]>) -> Vec<String> {
    let shadow = apply(&target("http://v2:1"), &outgoing(request(fields), body));
    let mut lines = lines(&shadow.fields);
    assert_eq!(lines.pop(), Some(format!("via: {VIA}")));
    lines
}

#[test]
fn the_host_is_marked_where_it_stands() {
    let sent = sent(&[("X-A", "1"), ("hOst", "httpbin:8000"), ("x-a", "2")], None);
    assert_eq!(sent, ["X-A: 1", "hOst: httpbin-shadow:8000", "x-a: 2"]);
}

#[test]
fn the_host_comes_from_the_authority_and_is_added_first_where_there_is_none() {
    let mut h2 = request(&[("accept", "*/*")]);
    h2.version = pb::Version::Http2.into();
    let shadow = apply(&target("http://v2:1"), &outgoing(h2, None));
    assert_eq!(lines(&shadow.fields)[0], "host: httpbin-shadow:8000");

    let mut old = request(&[]);
    old.authority = Bytes::new();
    let shadow = apply(&target("http://u:p@v2:1/x"), &outgoing(old, None));
    assert_eq!(lines(&shadow.fields)[0], "host: v2:1");
}

#[test]
fn fields_of_the_hop_go_and_so_does_what_they_name() {
    let sent = sent(
        &[
            ("Host", "httpbin:8000"),
            ("Connection", "keep-alive, X-Hop , upgrade, host, content-length"),
            ("Keep-Alive", "timeout=5"),
            ("x-hop", "gone"),
            ("X-Hop", "gone too"),
            ("Proxy-Authorization", "secret"),
            ("Proxy-Connection", "keep-alive"),
            ("Upgrade", "h2c"),
            ("Expect", "100-continue"),
            ("TE", "gzip"),
            ("Content-Length", "2"),
            ("Proxy-Like", "stays"),
        ],
        Some(&[b"ab"]),
    );
    assert_eq!(sent, ["Host: httpbin-shadow:8000", "Content-Length: 2", "Proxy-Like: stays"]);
}

#[test]
fn te_trailers_stays_with_the_connection_field_it_needs() {
    let sent = sent(&[("Host", "h"), ("TE", "gzip, Trailers"), ("Connection", "TE")], None);
    assert_eq!(sent, ["Host: httpbin-shadow:8000", "TE: trailers", "connection: TE"]);
}

#[test]
fn no_body_an_empty_one_and_an_empty_chunked_one_stay_apart() {
    let host = ("Host", "h");
    assert_eq!(sent(&[host], None).len(), 1);
    let zero = ("Content-Length", "0");
    assert_eq!(sent(&[host, zero], Some(&[])), ["Host: httpbin-shadow:8000", "Content-Length: 0"]);
    let chunked = ("Transfer-Encoding", "chunked");
    let shadow = apply(&target("http://v2"), &outgoing(request(&[host, chunked]), Some(&[b""])));
    assert_eq!(shadow.framing, Framing::Chunked);
}

#[test]
fn a_cut_body_gets_its_own_length_where_the_old_one_stood() {
    let cut = sent(&[("CONTENT-length", "9999"), ("Host", "h")], Some(&[b"abc", b"de"]));
    assert_eq!(cut[0], "CONTENT-length: 5");
    let same = sent(&[("Content-Length", "005"), ("Host", "h")], Some(&[b"abcde"]));
    assert_eq!(same[0], "Content-Length: 005");
}

#[test]
fn chunks_stay_and_trailers_need_them() {
    let mut recorded = request(&[("Host", "h"), ("transfer-Encoding", "Chunked")]);
    recorded.trailers = vec![header(b"X-Sum", b"\xff")];
    let shadow = apply(&target("http://v2"), &outgoing(recorded, Some(&[b"abc"])));
    assert_eq!(shadow.framing, Framing::Chunked);
    assert_eq!(lines(&shadow.fields)[1], "transfer-Encoding: Chunked");
    assert_eq!(lines(&shadow.trailers), ["X-Sum: \\xff"]);

    let mut h2 = request(&[("content-length", "3")]);
    h2.version = pb::Version::Http2.into();
    h2.trailers = vec![header(b"x-sum", b"1")];
    let shadow = apply(&target("http://v2"), &outgoing(h2, Some(&[b"abc"])));
    assert_eq!(shadow.framing, Framing::Chunked);
    assert_eq!(lines(&shadow.fields)[1], "transfer-encoding: chunked");
    assert_eq!(shadow.trailers.len(), 1);
}

#[test]
fn cookies_that_http2_split_are_one_again() {
    let fields = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")];
    let mut h2 = request(&fields);
    h2.version = pb::Version::Http2.into();
    let shadow = apply(&target("http://v2"), &outgoing(h2, None));
    assert_eq!(lines(&shadow.fields)[1..3], ["cookie: a=1; b=2; c=3", "x: y"]);
    assert_eq!(sent(&fields, None).len(), 5, "HTTP/1 requests keep their lines");
}

#[test]
fn the_mark_comes_last_and_a_second_attempt_says_so() {
    let recorded = request(&[("Host", "h"), ("Via", "1.1 other"), ("x", "y")]);
    let mut outgoing = outgoing(recorded, None);
    outgoing.attempt = 2;
    let shadow = apply(&target("http://v2"), &outgoing);
    let lines = lines(&shadow.fields);
    let via = format!("via: {VIA}");
    assert_eq!(lines[1..], ["Via: 1.1 other", "x: y", via.as_str(), "x-umbra-attempt: 2"]);
}

#[test]
fn what_the_user_sets_comes_after_everything() {
    let mut target = target("http://v2");
    let set = |name: &'static str, value: &'static str| {
        (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
    };
    target.set_headers =
        vec![set("x-env", "one"), set("x-new", "n"), set("x-env", "two"), set("host", "other")];
    target.remove_headers = vec![http::header::AUTHORIZATION, http::header::VIA];
    let recorded = request(&[
        ("X-Env", "prod"),
        ("Host", "h"),
        ("authorization", "secret"),
        ("x-env", "prod"),
    ]);
    let shadow = apply(&target, &outgoing(recorded, None));
    assert_eq!(lines(&shadow.fields), ["X-Env: one", "X-Env: two", "Host: other", "x-new: n"]);
}

#[test]
fn fields_the_sender_answers_for_cannot_be_set() {
    for name in ["content-length", "transfer-encoding", "connection", "te", "expect"] {
        let name = http::HeaderName::from_static(name);
        let mut target = target("http://v2");
        target.remove_headers = vec![name.clone()];
        assert!(Rules::new(&target, "job").is_err(), "remove {name}");
        target.remove_headers.clear();
        target.set_headers = vec![(name.clone(), http::HeaderValue::from_static("1"))];
        assert!(Rules::new(&target, "job").is_err(), "set {name}");
    }
}

#[test]
fn the_path_of_the_url_is_a_prefix() {
    let path = |url: &str, path: &'static str, query: Option<&'static str>| {
        let mut recorded = request(&[]);
        recorded.path = Bytes::from_static(path.as_bytes());
        recorded.query = query.map(|q| Bytes::from_static(q.as_bytes()));
        let target = apply(&target(url), &outgoing(recorded, None)).target;
        String::from_utf8(target.to_vec()).expect("ASCII here")
    };
    assert_eq!(path("http://v2", "/a//b", None), "/a//b");
    assert_eq!(path("http://v2/", "/", Some("")), "/?");
    assert_eq!(path("http://v2/pre/", "/a", Some("x=1?y")), "/pre/a?x=1?y");
    assert_eq!(path("http://v2/pre", "/", None), "/pre/");
    assert_eq!(path("http://v2", "", Some("q")), "/?q");
    let mut options = request(&[]);
    options.path = Bytes::from_static(b"*");
    options.form = pb::TargetForm::Asterisk.into();
    assert_eq!(apply(&target("http://v2/pre"), &outgoing(options, None)).target, &b"*"[..]);
}

#[test]
fn nothing_recorded_can_begin_another_line_or_request() {
    let rules = Rules::new(&target("http://v2"), "job").expect("good rules");
    type Break = fn(&mut pb::Request);
    let breaks: [Break; 9] = [
        |r| r.method = Bytes::from_static(b"GET /x HTTP/1.1\r\n\r\n"),
        |r| r.method = Bytes::new(),
        |r| r.method = Bytes::from_static(b"CONNECT"),
        |r| r.path = Bytes::from_static(b"/ HTTP/1.1\r\nx: y"),
        |r| r.query = Some(Bytes::from_static(b"a\nb")),
        |r| r.authority = Bytes::from_static(b"h\r\nx: y"),
        |r| r.headers.push(header(b"x", b"a\nb")),
        |r| r.headers.push(header(b"x: y\r\nz", b"a")),
        |r| r.form = pb::TargetForm::Authority.into(),
    ];
    for (at, change) in breaks.iter().enumerate() {
        let mut recorded = request(&[("Host", "h")]);
        change(&mut recorded);
        assert!(rules.apply(&outgoing(recorded, None)).is_err(), "case {at}");
    }
}

fn token() -> impl Strategy<Value = Vec<u8>> {
    proptest::string::string_regex("[!#$%&'*+.^_`|~A-Za-z0-9-]{1,12}")
        .expect("a regex")
        .prop_map(String::into_bytes)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8], 0..20)
}

proptest! {
    /// Whatever the fields, those of no special meaning arrive as they were, in
    /// their order; and so do path and query.
    #[test]
    fn everything_else_is_untouched(
        fields in proptest::collection::vec((token(), value()), 0..20),
        path in proptest::collection::vec(0x21..=0xff_u8, 0..40),
        query in proptest::option::of(proptest::collection::vec(0x21..=0xff_u8, 0..40)),
        body in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
    ) {
        const SPECIAL: [&str; 14] = [
            "host", "via", "te", "connection", "keep-alive", "upgrade", "expect",
            "proxy-connection", "proxy-authenticate", "proxy-authorization",
            "proxy-authentication-info", "content-length", "transfer-encoding", "cookie",
        ];
        let special = |f: &&pb::Header| {
            SPECIAL.iter().any(|s| f.name.eq_ignore_ascii_case(s.as_bytes()))
        };
        let mut recorded = request(&[("Host", "httpbin:8000")]);
        recorded.headers.extend(fields.iter().map(|(n, v)| header(n, v)));
        recorded.path = [&b"/"[..], &path].concat().into();
        recorded.query = query.clone().map(Into::into);
        let named = recorded.headers.iter().any(|h| h.name.eq_ignore_ascii_case(b"connection"));
        prop_assume!(!named);

        let pieces: Option<Vec<Bytes>> =
            body.clone().map(|b| b.chunks(7).map(Bytes::copy_from_slice).collect());
        let outgoing = Outgoing { request: recorded.clone().into(), body: pieces, attempt: 1 };
        let shadow = apply(&target("http://v2"), &outgoing);

        let plain = |fields: &[pb::Header]| -> Vec<pb::Header> {
            fields.iter().filter(|f| !special(f)).cloned().collect()
        };
        prop_assert_eq!(plain(&shadow.fields), plain(&recorded.headers));
        let mut expected = recorded.path.to_vec();
        if let Some(query) = query {
            expected.push(b'?');
            expected.extend(query);
        }
        prop_assert_eq!(&shadow.target[..], &expected[..]);
        prop_assert_eq!(shadow.body.concat(), body.clone().unwrap_or_default());
        prop_assert_eq!(shadow.framing == Framing::None, body.is_none());
        let hosts = shadow.fields.iter().filter(|f| f.name.eq_ignore_ascii_case(b"host"));
        prop_assert_eq!(hosts.count(), 1);
    }

    /// No record whatever makes the sender write two framings, or a wrong length.
    #[test]
    fn framing_is_always_one_and_true(
        fields in proptest::collection::vec(
            (prop_oneof![
                Just("Content-Length"), Just("content-length"), Just("Transfer-Encoding"),
                Just("Connection"), Just("x"),
            ], prop_oneof![
                Just("0"), Just("5"), Just("7"), Just("chunked"), Just("gzip"),
                Just("gzip, chunked"), Just("transfer-encoding"), Just("-1"), Just(""),
            ]), 0..6),
        body in proptest::option::of(Just(&b"hello"[..])),
        trailers in any::<bool>(),
    ) {
        let mut recorded = request(&fields);
        if trailers {
            recorded.trailers.push(header(b"t", b"1"));
        }
        let outgoing = outgoing(recorded, body.as_ref().map(std::slice::from_ref));
        let shadow = apply(&target("http://v2"), &outgoing);
        let all = |name: &str| -> Vec<String> {
            let same = |f: &&pb::Header| f.name.eq_ignore_ascii_case(name.as_bytes());
            let value = |f: &pb::Header| String::from_utf8_lossy(&f.value).into_owned();
            shadow.fields.iter().filter(same).map(value).collect()
        };
        let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
        match shadow.framing {
            Framing::None => {
                prop_assert!(lengths.iter().all(|l| l == "0") && codings.is_empty());
            }
            Framing::Length => prop_assert!(lengths == ["5"] && codings.is_empty()),
            Framing::Chunked => {
                let last = codings.last().expect("a coding");
                prop_assert!(last.ends_with("chunked") && lengths.is_empty());
            }
        }
        prop_assert!(shadow.trailers.is_empty() || shadow.framing == Framing::Chunked);
    }
}
