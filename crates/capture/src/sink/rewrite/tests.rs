use super::*;
use crate::{
    h1::{Limits, Parsed, parse_request},
    record::HeadFields,
    sink::{Profile, Sink, View},
};

const LIMITS: Limits = Limits { max_head: 4096, max_headers: 100 };

fn head(tolerates_suffix: bool) -> RequestHead {
    let mut head = RequestHead::default();
    head.tolerates_suffix = tolerates_suffix;
    head
}

/// What a sink records instead of a head.
fn rewritten(sink: &Sink, received: &str) -> String {
    let bytes = received.as_bytes();
    let mut head = head(true);
    assert!(matches!(parse_request(bytes, &LIMITS, &mut head), Ok(Parsed::Complete { .. })));
    let fields = HeadFields::Http1 { bytes, fields: head.field_places() };
    let restored =
        sink.restore(View { authority: head.authority(bytes).unwrap(), fields: &fields });
    assert!(!restored.is_nothing());
    let mut out = b"left over".to_vec();
    rewrite(&mut out, bytes, &head, &restored);
    // The strict parser takes it.
    let mut again = RequestHead::default();
    let parsed = parse_request(&out, &LIMITS, &mut again);
    assert_eq!(parsed, Ok(Parsed::Complete { len: out.len() }));
    assert_eq!(again.body(), head.body());
    String::from_utf8(out).unwrap()
}

#[test]
fn only_what_the_mesh_changed_is_changed() {
    let sink = Sink::new(Profile::Envoy);
    assert_eq!(
        rewritten(
            &sink,
            "POST /a?b=%20 HTTP/1.1\r\nhost: x-shadow:8000\r\nX-Twice: 1\r\ncontent-length: 3\r\n\
             x-twice:2\r\nx-envoy-internal: true\r\nx-forwarded-for: 1.1.1.1,9.9.9.9\r\n\r\n"
        ),
        "POST /a?b=%20 HTTP/1.1\r\nhost: x:8000\r\nX-Twice: 1\r\ncontent-length: 3\r\n\
         x-twice: 2\r\nx-forwarded-for: 1.1.1.1\r\n\r\n"
    );
    // What only the suffix made invalid.
    assert_eq!(
        rewritten(&sink, "GET / HTTP/1.1\r\nhost: [::1]-shadow:8000\r\n\r\n"),
        "GET / HTTP/1.1\r\nhost: [::1]:8000\r\n\r\n"
    );
    assert_eq!(
        rewritten(&sink, "GET http://x-shadow:1/p?q HTTP/1.1\r\nHost: y-shadow\r\n\r\n"),
        "GET http://x:1/p?q HTTP/1.1\r\nHost: y-shadow\r\n\r\n"
    );
    assert_eq!(
        rewritten(&sink, "OPTIONS * HTTP/1.0\r\nHost: y-shadow\r\n\r\n"),
        "OPTIONS * HTTP/1.0\r\nHost: y\r\n\r\n"
    );
    let sink = Sink { original: true, ..sink };
    assert_eq!(
        rewritten(
            &sink,
            "GET /new HTTP/1.1\r\nhost: n-shadow\r\nx-envoy-original-path: /old?x\r\n\
             x-envoy-original-host: old.example\r\n\r\n"
        ),
        "GET /old?x HTTP/1.1\r\nhost: old.example\r\n\r\n"
    );
}

#[test]
fn a_host_that_is_invalid_without_the_suffix_too_is_refused() {
    let suffixed = b"GET / HTTP/1.1\r\nhost: [::1]-shadow\r\n\r\n";
    assert!(parse_request(suffixed, &LIMITS, &mut head(false)).is_err());
    assert!(parse_request(suffixed, &LIMITS, &mut head(true)).is_ok());
    for host in ["a b-shadow", "[::1-shadow", "[::1]-other", "a@b-shadow"] {
        let bytes = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
        assert!(parse_request(bytes.as_bytes(), &LIMITS, &mut head(true)).is_err(), "{host}");
    }
}
