//! Heads on their way through the codec: what is forwarded is what came, but for
//! what RFC 9110 7.6 asks an intermediary to change.

use umbra_capture::h1::{
    BodyKind, Form, ForwardChanges, Limits, MethodKind, Parsed, RequestHead, ResponseChanges,
    ResponseHead, Version, parse_request, parse_response, write_request_head, write_response_head,
};

const LIMITS: Limits = Limits { max_head: 64 * 1024, max_headers: 100 };

const CHANGES: ForwardChanges<'static> = ForwardChanges {
    forwarded_for: Some(b"192.0.2.7"),
    forwarded_proto: Some(b"http"),
    via: Some(b"umbra"),
    default_host: b"upstream:8080",
};

/// What is appended to every HTTP/1.1 request that has none of it.
const TAIL: &str =
    "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nVia: 1.1 umbra\r\n\r\n";

fn parsed(request: &str) -> RequestHead {
    let mut head = RequestHead::default();
    let result = parse_request(request.as_bytes(), &LIMITS, &mut head);
    assert_eq!(result, Ok(Parsed::Complete { len: request.len() }), "{request:?}");
    head
}

fn forwarded(request: &str) -> String {
    let mut out = Vec::new();
    write_request_head(&mut out, request.as_bytes(), &parsed(request), &CHANGES);
    String::from_utf8(out).expect("UTF-8, as the input")
}

fn answered(response: &str, to: MethodKind, client: Version, keep_alive: bool) -> (String, bool) {
    let mut head = ResponseHead::default();
    let result = parse_response(response.as_bytes(), &LIMITS, to, &mut head);
    assert_eq!(result, Ok(Parsed::Complete { len: response.len() }), "{response:?}");
    let mut out = Vec::new();
    let changes = ResponseChanges { client, keep_alive };
    let persists = write_response_head(&mut out, response.as_bytes(), &head, &changes);
    (String::from_utf8(out).expect("UTF-8, as the input"), persists)
}

#[test]
fn a_plain_request_is_forwarded_as_it_came() {
    let request = "GET /a|b<c>?q=%41 HTTP/1.1\r\nhOsT: A.example:80\r\nX-A:1\r\nx-a:\t 2 \r\nEmpty:\r\nCookie: \u{e9}\r\n";
    assert_eq!(forwarded(&format!("{request}\r\n")), format!("{request}{TAIL}"));
}

#[test]
fn fields_of_the_connection_stay_behind() {
    let request = "POST / HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive, x-One, Content-Length\r\nX-one: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\nUpgrade: foo\r\nContent-Length: 3\r\nconnection: x-two\r\nX-TWO: 2\r\nX-Three: 3\r\n\r\n";
    assert_eq!(
        forwarded(request),
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX-Three: 3\r\n{TAIL}")
    );
    let head = parsed(request);
    assert_eq!(head.body(), BodyKind::Length(3));
    assert!(head.keep_alive());
}

#[test]
fn rfc9112_3_2_targets_on_their_way() {
    let cases = [
        (
            "GET http://b:81/c?d HTTP/1.1\r\nX: 1\r\nhost: a\r\n\r\n",
            "GET /c?d HTTP/1.1\r\nX: 1\r\nhost: b:81\r\n",
        ),
        ("GET https://b HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: b\r\n"),
        ("GET http://b?c HTTP/1.1\r\nHost:\r\n\r\n", "GET /?c HTTP/1.1\r\nHost: b\r\n"),
        ("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: b\r\n"),
        ("OPTIONS http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS / HTTP/1.1\r\nHost: b\r\n"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n"),
        ("CONNECT b:1 HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT b:1 HTTP/1.1\r\nHost: a\r\n"),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / HTTP/1.1\r\nHost:\r\n"),
    ];
    for (request, expected) in cases {
        assert_eq!(forwarded(request), format!("{expected}{TAIL}"), "{request:?}");
    }
}

#[test]
fn an_http10_request_becomes_http11() {
    let tail = TAIL.replace("Via: 1.1", "Via: 1.0");
    let cases = [
        ("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: upstream:8080\r\n"),
        ("GET http://b/c HTTP/1.0\r\nX: 1\r\n\r\n", "GET /c HTTP/1.1\r\nHost: b\r\nX: 1\r\n"),
        (
            "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n",
        ),
        // RFC 9110 7.8, 10.1.1, 10.1.4: HTTP/1.0 has none of these.
        (
            "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nConnection: upgrade, te\r\nUpgrade: websocket\r\nTE: trailers\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n",
        ),
    ];
    for (request, expected) in cases {
        assert_eq!(forwarded(request), format!("{expected}{tail}"), "{request:?}");
    }
    let old = parsed(cases[3].0);
    assert!(!old.upgrade() && !old.expect_continue() && !old.takes_trailers());
}

#[test]
fn rfc9110_7_8_upgrades() {
    let with = |upgrade: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: {upgrade}\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\n\r\n"
        )
    };
    for tunnel in ["websocket", "WebSocket, foo/1.0", "h2xyz"] {
        let request = with(tunnel);
        assert!(parsed(&request).upgrade(), "{tunnel}");
        let tail = TAIL.strip_suffix("\r\n").unwrap_or_default();
        let expected = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: {tunnel}\r\nConnection: upgrade\r\n{tail}\r\n"
        );
        assert_eq!(forwarded(&request), expected);
    }
    // Requests in another HTTP would pass unseen: the upgrade is ignored.
    for http in ["h2c", "H2C", "websocket, h2c", "HTTP/2.0", "h2", ""] {
        let request = with(http);
        assert!(!parsed(&request).upgrade(), "{http}");
        assert_eq!(forwarded(&request), format!("GET / HTTP/1.1\r\nHost: a\r\n{TAIL}"));
    }
    // Without the option it is not meant for us.
    assert!(!parsed("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n").upgrade());
    let both = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, TE\r\nTE: trailers\r\nUpgrade: x\r\n\r\n";
    let expected = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nUpgrade: x\r\nConnection: upgrade, TE\r\n{TAIL}"
    );
    assert_eq!(forwarded(both), expected);
}

#[test]
fn what_an_intermediary_adds_follows_what_others_added() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nVia: 1.0 b\r\nx-forwarded-for: 2.2.2.2 \r\nx-forwarded-proto: https\r\nX: 1\r\nConnection: x-forwarded-for, via, host\r\n\r\n";
    assert_eq!(
        forwarded(request),
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nVia: 1.0 b\r\nx-forwarded-for: 2.2.2.2, 192.0.2.7\r\nx-forwarded-proto: https\r\nX: 1\r\nVia: 1.1 umbra\r\n\r\n"
    );
    assert_eq!(
        forwarded("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For:\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nVia: 1.1 umbra\r\n\r\n"
    );
    let mut out = Vec::new();
    write_request_head(&mut out, request.as_bytes(), &parsed(request), &ForwardChanges::default());
    assert!(!String::from_utf8_lossy(&out).contains("umbra"));
}

/// A hop that knows only one spelling must not see another framing than we did.
#[test]
fn the_transfer_coding_is_forwarded_in_its_usual_spelling() {
    let request = "POST / HTTP/1.1\r\nHost: a\r\ntransfer-ENCODING: cHunked\r\nX: 1\r\n\r\n";
    assert_eq!(
        forwarded(request),
        format!("POST / HTTP/1.1\r\nHost: a\r\ntransfer-ENCODING: chunked\r\nX: 1\r\n{TAIL}")
    );
    assert_eq!(parsed(request).body(), BodyKind::Chunked);
}

#[test]
fn a_head_says_what_the_connection_does_next() {
    let head = |fields: &str| parsed(&format!("GET / {fields}\r\n\r\n"));
    let cases = [
        ("HTTP/1.1\r\nHost: a", true),
        ("HTTP/1.1\r\nHost: a\r\nConnection: close", false),
        ("HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE", false),
        ("HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close", false),
        ("HTTP/1.1\r\nHost: a\r\nConnection: closed", true),
        ("HTTP/1.0", false),
        ("HTTP/1.0\r\nConnection: Keep-Alive", true),
        ("HTTP/1.0\r\nConnection: Keep-Alive, close", false),
        ("HTTP/1.0\r\nKeep-Alive: 5", false),
    ];
    for (fields, keep_alive) in cases {
        assert_eq!(head(fields).keep_alive(), keep_alive, "{fields:?}");
    }
    assert!(head("HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue").expect_continue());
    assert!(!head("HTTP/1.1\r\nHost: a\r\nExpect: 200-ok").expect_continue());
    assert!(head("HTTP/1.1\r\nHost: a\r\nTE: deflate;q=1, Trailers").takes_trailers());
}

#[test]
fn a_head_takes_its_target_apart() {
    let request = "\r\nGET HTTP://B:81/c/?d?e HTTP/1.1\r\nHost: a\r\n\r\n";
    let (head, buf) = (parsed(request), request.as_bytes());
    assert_eq!(head.form(), Form::Absolute);
    assert_eq!(head.target(buf), b"HTTP://B:81/c/?d?e");
    assert_eq!(head.scheme(buf), Some(&b"HTTP"[..]));
    assert_eq!(head.authority(buf), Some(&b"B:81"[..]));
    assert_eq!(head.host(buf), Some(&b"a"[..]));
    assert_eq!((head.path(buf), head.query(buf)), (&b"/c/"[..], Some(&b"d?e"[..])));

    let request = "GET /c? HTTP/1.0\r\n\r\n";
    let (head, buf) = (parsed(request), request.as_bytes());
    assert_eq!((head.form(), head.version()), (Form::Origin, Version::Http10));
    assert_eq!((head.authority(buf), head.scheme(buf)), (None, None));
    assert_eq!((head.path(buf), head.query(buf)), (&b"/c"[..], Some(&b""[..])));

    let request = "CONNECT b:1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let (head, buf) = (parsed(request), request.as_bytes());
    assert_eq!(head.authority(buf), Some(&b"b:1"[..]));
    assert_eq!((head.path(buf), head.query(buf)), (&b""[..], None));
    assert!(head.is_connect() && !head.is_idempotent());

    let request = "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
    let (head, buf) = (parsed(request), request.as_bytes());
    assert_eq!((head.form(), head.path(buf)), (Form::Asterisk, &b"*"[..]));
    assert_eq!(head.authority(buf), Some(&b"a"[..]));
    assert!(head.is_idempotent());
}

/// A head is used again for the next request: nothing of the last one is left.
#[test]
fn a_head_forgets() {
    let mut head = parsed(
        "HEAD http://b/c?d HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nExpect: 100-continue\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 4\r\n\r\n",
    );
    let plain = "POST / HTTP/1.0\r\n\r\n";
    assert!(parse_request(plain.as_bytes(), &LIMITS, &mut head).is_ok());
    assert_eq!(format!("{head:?}"), format!("{:?}", parsed(plain)));
}

#[test]
fn answers_to_clients_of_either_version() {
    let (old, new) = (Version::Http10, Version::Http11);
    let get = MethodKind::Other;
    let length = "HTTP/1.0 200 Fine\r\nX-a:  1\r\nConnection: close, x-b\r\nX-B: 2\r\nKeep-Alive: 1\r\nContent-Length: 1\r\n\r\n";
    let kept = "HTTP/1.1 200 Fine\r\nX-a:  1\r\nContent-Length: 1\r\n";
    assert_eq!(answered(length, get, new, true), (format!("{kept}\r\n"), true));
    assert_eq!(
        answered(length, get, new, false),
        (format!("{kept}Connection: close\r\n\r\n"), false)
    );
    assert_eq!(
        answered(length, get, old, true),
        (format!("{kept}Connection: keep-alive\r\n\r\n"), true)
    );

    let chunked = "HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\nTrailer: a\r\n\r\n";
    assert_eq!(
        answered(chunked, get, new, true),
        ("HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n".into(), true)
    );
    assert_eq!(
        answered(chunked, get, old, true),
        ("HTTP/1.1 200 \r\nConnection: close\r\n\r\n".into(), false)
    );
    assert_eq!(
        answered(chunked, MethodKind::Head, old, true),
        ("HTTP/1.1 200 \r\nConnection: keep-alive\r\n\r\n".into(), true)
    );

    let open = "HTTP/1.1 200 OK\r\nX: 1\r\n\r\n";
    assert_eq!(
        answered(open, get, new, true),
        ("HTTP/1.1 200 OK\r\nX: 1\r\nConnection: close\r\n\r\n".into(), false)
    );
    assert_eq!(answered(open, MethodKind::Head, new, true), (open.into(), true));
}

/// RFC 9112 6.1, 6.2: neither framing field where there cannot be a body; where
/// there could have been one they tell of it and stay.
#[test]
fn framing_fields_of_answers_without_body() {
    let with = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\nX: 1\r\n\r\n");
    let plain = |request, status: &str| answered(&with(status), request, Version::Http11, true).0;
    let bare = |status: &str, more: &str| format!("HTTP/1.1 {status}\r\nX: 1\r\n{more}\r\n");
    assert_eq!(plain(MethodKind::Other, "204 No"), bare("204 No", ""));
    assert_eq!(plain(MethodKind::Other, "103 Early"), bare("103 Early", ""));
    assert_eq!(plain(MethodKind::Connect, "200 Go"), bare("200 Go", ""));
    assert_eq!(plain(MethodKind::Other, "304 Same"), with("304 Same"));
    let coded = "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\nX: 1\r\n\r\n";
    assert_eq!(answered(coded, MethodKind::Other, Version::Http11, true).0, bare("204 No", ""));
    assert_eq!(plain(MethodKind::Head, "200 OK"), with("200 OK"));
}

#[test]
fn interim_answers_say_nothing_of_the_connection() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nlink: </b>\r\n\r\n";
    assert_eq!(answered(hints, MethodKind::Other, Version::Http11, false).0, hints);
    let go = "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
    assert_eq!(
        answered(go, MethodKind::Other, Version::Http11, true),
        ("HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nConnection: upgrade\r\n\r\n".into(), false)
    );
    // An offer nobody asked for is not ours to make, but 426 must name one.
    let offer = |status: &str| {
        format!(
            "HTTP/1.1 {status}\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n"
        )
    };
    assert_eq!(
        answered(&offer("200 OK"), MethodKind::Other, Version::Http11, true).0,
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(
        answered(&offer("426 Up"), MethodKind::Other, Version::Http11, false).0,
        "HTTP/1.1 426 Up\r\nUpgrade: h2c\r\nContent-Length: 0\r\nConnection: upgrade\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn an_upstream_connection_is_used_again_only_when_the_answer_has_an_end() {
    let keeps = |response: &str, request| {
        let mut head = ResponseHead::default();
        let parsed = parse_response(response.as_bytes(), &LIMITS, request, &mut head);
        assert_eq!(parsed, Ok(Parsed::Complete { len: response.len() }));
        (head.keep_alive(), head.is_tunnel())
    };
    let (get, connect) = (MethodKind::Other, MethodKind::Connect);
    assert_eq!(keeps("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", get), (true, false));
    assert_eq!(keeps("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", get), (false, false));
    assert_eq!(keeps("HTTP/1.1 200 OK\r\n\r\n", get), (false, false));
    assert_eq!(keeps("HTTP/1.1 101 Go\r\n\r\n", get), (false, true));
    assert_eq!(keeps("HTTP/1.1 200 OK\r\n\r\n", connect), (false, true));
    assert_eq!(keeps("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", connect), (true, false));
    assert_eq!(keeps("HTTP/1.1 204 No\r\nConnection: close\r\n\r\n", get), (false, false));
    assert_eq!(keeps("HTTP/1.1 100 Go on\r\n\r\n", get), (true, false));
}
