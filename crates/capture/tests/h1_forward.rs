//! Heads on their way through the codec: what is forwarded is what came, but for
//! what RFC 9110 7.6 asks an intermediary to change.

use umbra_capture::h1::{
    BodyKind, ForwardChanges, Limits, MethodKind, Parsed, RequestHead, ResponseChanges,
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
    String::from_utf8(out).unwrap()
}

fn answered(response: &str, to: MethodKind, client: Version, keep_alive: bool) -> (String, bool) {
    let mut head = ResponseHead::default();
    let result = parse_response(response.as_bytes(), &LIMITS, to, &mut head);
    assert_eq!(result, Ok(Parsed::Complete { len: response.len() }), "{response:?}");
    let mut out = Vec::new();
    let changes = ResponseChanges { client, keep_alive };
    let persists = write_response_head(&mut out, response.as_bytes(), &head, &changes);
    (String::from_utf8(out).unwrap(), persists)
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
