//! What the codec refuses and what it takes, section by section of RFC 9112 and
//! RFC 9110. Each case is read whole, byte by byte and in every split in two, and
//! the verdict and its reason must be the same each time.

mod h1_driver;

use h1_driver::{Event, LIMITS, Reader};
use umbra_capture::h1::{BodyKind, Limits, MethodKind, error_response};

/// What becomes of the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// Refused: status and reason.
    No(u16, &'static str),
    /// This many whole messages, the last with this body.
    Yes(usize, BodyKind),
    /// Valid, and more has to come.
    More,
}
use Verdict::{More, No, Yes};

fn verdict(events: &[Event]) -> Verdict {
    let heads = events.iter().filter(|event| matches!(event, Event::Head { .. })).count();
    let bodies = events.iter().rev().find_map(|event| match event {
        Event::Head { body, .. } => Some(*body),
        _ => None,
    });
    match events.last() {
        Some(Event::Refused(refused)) => No(refused.status, refused.reason),
        Some(Event::Cut(_)) | None => More,
        Some(_) => Yes(heads, bodies.unwrap_or_default()),
    }
}

/// Reads `bytes` in all the ways described above.
fn check(section: &str, bytes: &[u8], expected: &Verdict, reader: impl Fn() -> Reader) {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let case = format!("RFC {section}: {shown:?}");
    let whole = reader().read([bytes]);
    assert_eq!(verdict(&whole), *expected, "{case}");
    let same = |events: &[Event], how: &str| assert_eq!(events, whole, "{how} {case}");
    let step = (bytes.len() / 3000).max(1);
    same(&reader().read(bytes.chunks(step)), "byte by byte");
    for cut in (1..bytes.len()).step_by(step) {
        same(&reader().read([&bytes[..cut], &bytes[cut..]]), &format!("cut at {cut}"));
    }
}

fn requests(section: &str, cases: &[(&str, Verdict)]) {
    for (bytes, expected) in cases {
        check(section, bytes.as_bytes(), expected, || Reader::server(LIMITS));
    }
}

fn responses(section: &str, sent: &[MethodKind], cases: &[(&str, Verdict)]) {
    for (bytes, expected) in cases {
        let expected = match expected {
            No(_, reason) => No(502, reason),
            other => other.clone(),
        };
        check(section, bytes.as_bytes(), &expected, || Reader::client(LIMITS, sent));
    }
}

const GET: MethodKind = MethodKind::Other;
const NONE: BodyKind = BodyKind::None;

#[test]
fn rfc9112_2_1_lines_end_with_crlf() {
    requests(
        "9112 2.1, 2.2",
        &[
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Yes(1, NONE)),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Yes(2, NONE)),
            ("GET / HTTP/1.1\nHost: a\n\n", No(400, "bare_lf")),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", No(400, "bare_lf")),
            ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", No(400, "bare_lf")),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: b\n\r\n", No(400, "bare_lf")),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", No(400, "bare_lf")),
            ("GET / HTTP/1.1\r\nX:\nHost: a\r\n\r\n", No(400, "bare_lf")),
            ("GET / HTTP/1.1\r\nX: \nHost: a\r\n\r\n", No(400, "bare_lf")),
            ("GET / HTTP/1.1\r\n\n", No(400, "bare_lf")),
            ("GET / HTTP/1.1\rHost: a\r\n\r\n", No(400, "request_line")),
            ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", No(400, "bare_cr")),
            ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", No(400, "bare_cr")),
            ("GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n", No(400, "bare_cr")),
            ("GET / HTTP/1.1\r\nHost: a\r\nX\r: b\r\n\r\n", No(400, "field_name")),
            ("GET /\r\n\r\n", No(400, "request_line")),
            ("GET / HTTP/1.1\r\nHost: a\r\n", More),
        ],
    );
}

#[test]
fn rfc9112_2_2_empty_lines_before_a_request() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let lines = |n: usize| format!("{}{get}", "\r\n".repeat(n));
    requests(
        "9112 2.2",
        &[
            (&lines(1), Yes(1, NONE)),
            (&lines(4), Yes(1, NONE)),
            (&lines(5), No(400, "empty_lines")),
            ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", No(400, "bare_lf")),
            ("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", No(400, "bare_lf")),
            ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", No(400, "bare_cr")),
            (" \r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", No(400, "request_line")),
            // What an old client sends behind a body.
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
                Yes(2, NONE),
            ),
            ("\r\n", More),
        ],
    );
    // Whitespace between start line and first field.
    requests(
        "9112 2.2",
        &[
            ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", No(400, "obs_fold")),
            ("GET / HTTP/1.1\r\n\tX: a\r\nHost: a\r\n\r\n", No(400, "obs_fold")),
        ],
    );
}

#[test]
fn rfc9112_2_3_versions() {
    let with = |version: &str| format!("GET / {version}\r\nHost: a\r\n\r\n");
    requests(
        "9112 2.3, 9110 15.6.6",
        &[
            (&with("HTTP/1.0"), Yes(1, NONE)),
            (&with("HTTP/1.2"), No(505, "version")),
            (&with("HTTP/0.9"), No(505, "version")),
            (&with("HTTP/2.0"), No(505, "version")),
            (&with("HTTP/3.0"), No(505, "version")),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", No(505, "version")),
            (&with("http/1.1"), No(400, "request_line")),
            (&with("HTTP/1"), No(400, "request_line")),
            (&with("HTTP/1.1x"), No(400, "request_line")),
            (&with("HTTP/01.1"), No(400, "request_line")),
            (&with("HTTP/1.10"), No(400, "request_line")),
            (&with("ICY"), No(400, "request_line")),
            (&with("HTTP /1.1"), No(400, "request_line")),
        ],
    );
}

#[test]
fn rfc9112_3_request_line() {
    let with = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
    requests(
        "9112 3, 3.1",
        &[
            (&with("M-SEARCH / HTTP/1.1"), Yes(1, NONE)),
            (&with("get / HTTP/1.1"), Yes(1, NONE)),
            (&with("GET  / HTTP/1.1"), No(400, "request_line")),
            (&with("GET /  HTTP/1.1"), No(400, "request_line")),
            (&with("GET\t/ HTTP/1.1"), No(400, "method")),
            (&with("GET /\tHTTP/1.1"), No(400, "target")),
            (&with("GET / HTTP/1.1 "), No(400, "request_line")),
            (&with(" GET / HTTP/1.1"), No(400, "request_line")),
            (&with("GET / a HTTP/1.1"), No(400, "request_line")),
            (&with("GET HTTP/1.1"), No(400, "request_line")),
            (&with("GET"), No(400, "method")),
            (&with("/ HTTP/1.1"), No(400, "request_line")),
            (&with("G(T / HTTP/1.1"), No(400, "method")),
            (&with("G\u{e9}T / HTTP/1.1"), No(400, "method")),
            (&with("G\0T / HTTP/1.1"), No(400, "method")),
            (&with("GET /\0 HTTP/1.1"), No(400, "target")),
            (&with("GET /\u{7f} HTTP/1.1"), No(400, "target")),
            (&with(&format!("{} / HTTP/1.1", "A".repeat(64))), Yes(1, NONE)),
            (&with(&format!("{} / HTTP/1.1", "A".repeat(65))), No(501, "method_too_long")),
            ("\u{16}\u{3}\u{1}\u{2}", No(400, "request_line")),
        ],
    );
}

#[test]
fn rfc9112_3_2_target_forms() {
    let with = |line: &str| format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
    requests(
        "9112 3.2",
        &[
            (&with("GET /"), Yes(1, NONE)),
            (&with("GET //b/../c;d?e?f=%00"), Yes(1, NONE)),
            (&with("GET /\u{e4}|<>^`{}\"\\"), Yes(1, NONE)),
            (&with("GET /%zz"), Yes(1, NONE)),
            (&with("GET /a#b"), No(400, "target_fragment")),
            (&with("GET a"), No(400, "target")),
            (&with("GET ?a"), No(400, "target")),
            (&with("GET http://b:80/c?d"), Yes(1, NONE)),
            (&with("GET HTTPS://b"), Yes(1, NONE)),
            (&with("GET http://b?c"), Yes(1, NONE)),
            (&with("GET http://[::1]:/"), Yes(1, NONE)),
            (&with("GET http:///c"), No(400, "target_authority")),
            (&with("GET http://:80/"), No(400, "target_authority")),
            (&with("GET http://u@b/"), No(400, "target_authority")),
            (&with("GET http://b:8x/"), No(400, "target_authority")),
            (&with("GET http:/b"), No(400, "target")),
            (&with("GET ftp://b/"), No(400, "target")),
            (&with("GET b:80"), No(400, "target")),
            (&with("OPTIONS *"), Yes(1, NONE)),
            (&with("GET *"), No(400, "target")),
            (&with("OPTIONS *a"), No(400, "target")),
            (&with("CONNECT b:443"), Yes(1, NONE)),
            (&with("CONNECT [::1]:443"), Yes(1, NONE)),
            (&with("CONNECT b"), No(400, "target")),
            (&with("CONNECT b:"), No(400, "target")),
            (&with("CONNECT :443"), No(400, "target")),
            (&with("CONNECT /"), No(400, "target")),
            (&with("CONNECT http://b/"), No(400, "target")),
        ],
    );
}

#[test]
fn rfc9112_3_2_host() {
    let with = |value: &str| format!("GET / HTTP/1.1\r\nHost:{value}\r\n\r\n");
    let good = [
        "a",
        " a ",
        "\ta.b-c_d~",
        "",
        " ",
        " a:",
        " a:80",
        " 127.0.0.1:1",
        " [::1]",
        " [::1]:80",
        " [v1.a:b]",
        " a%41",
        " xn--e",
        " a!$&'()*+,;=",
        " a:99999",
    ];
    let bad = [
        " a b",
        " a,b c",
        " a/b",
        " a?b",
        " a#b",
        " u@a",
        " ::1",
        " a:80:90",
        " a:8x",
        " a: 80",
        " [::1",
        " ::1]",
        " []",
        " [::1]a",
        " [g::]",
        " [fe80::1%25e]",
        " [v.a]",
        " [v1.]",
        " a%4",
        " a%zz",
        " :80",
        " a\u{e4}",
        " a\\b",
        " <a>",
        " a\"",
        " http://a",
    ];
    for value in good {
        requests("9112 3.2, 3986 3.2.2", &[(&with(value), Yes(1, NONE))]);
    }
    for value in bad {
        requests("9112 3.2, 3986 3.2.2", &[(&with(value), No(400, "host"))]);
    }
    requests(
        "9112 3.2",
        &[
            ("GET / HTTP/1.1\r\n\r\n", No(400, "host_missing")),
            ("GET http://a/ HTTP/1.1\r\n\r\n", No(400, "host_missing")),
            ("GET / HTTP/1.0\r\n\r\n", Yes(1, NONE)),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", No(400, "host_repeated")),
            ("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", No(400, "host_repeated")),
            ("GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", No(400, "host")),
            ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Yes(1, NONE)),
            ("GET / HTTP/1.1\r\nHos: a\r\n\r\n", No(400, "host_missing")),
        ],
    );
}

#[test]
fn rfc9112_5_field_lines() {
    let with = |line: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
    requests(
        "9112 5, 9110 5",
        &[
            (&with("X:"), Yes(1, NONE)),
            (&with("X: \t "), Yes(1, NONE)),
            (&with("!#$%&'*+-.^_`|~09aZ: b"), Yes(1, NONE)),
            (&with("X: \u{e9}\u{ff}"), Yes(1, NONE)),
            (&with("X: a\tb  c"), Yes(1, NONE)),
            (&with("X: :::"), Yes(1, NONE)),
            (&with("X : a"), No(400, "space_before_colon")),
            (&with("X\t: a"), No(400, "space_before_colon")),
            (&with("Content-Length : 5"), No(400, "space_before_colon")),
            (&with("X"), No(400, "field_name")),
            (&with(": a"), No(400, "field_name")),
            (&with("X Y: a"), No(400, "space_before_colon")),
            (&with("X\0: a"), No(400, "field_name")),
            (&with("X\u{e9}: a"), No(400, "field_name")),
            (&with("X(: a"), No(400, "field_name")),
            (&with("\u{b}X: a"), No(400, "field_name")),
            (&with("X: a\0b"), No(400, "field_value")),
            (&with("X: a\u{1}"), No(400, "field_value")),
            (&with("X: a\u{b}b"), No(400, "field_value")),
            (&with("X: a\u{7f}"), No(400, "field_value")),
            (&with("X: \u{1b}[0m"), No(400, "field_value")),
            // 5.2
            (&with("X: a\r\n b"), No(400, "obs_fold")),
            (&with("X: a\r\n\tb"), No(400, "obs_fold")),
            (&with("X: a\r\n "), No(400, "obs_fold")),
            (&with("Transfer-Encoding:\r\n chunked"), No(400, "obs_fold")),
        ],
    );
}

#[test]
fn rfc9112_6_framing_of_requests() {
    let with =
        |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}");
    let length = |value: &str, body: &str| with(&format!("Content-Length: {value}"), body);
    let coded = |value: &str| with(&format!("Transfer-Encoding: {value}"), "0\r\n\r\n");
    let chunked = || Yes(1, BodyKind::Chunked);
    requests(
        "9112 6.1, 6.2, 6.3, 9110 8.6",
        &[
            (&length("0", ""), Yes(1, BodyKind::Length(0))),
            (&length("3", "abc"), Yes(1, BodyKind::Length(3))),
            (&length("003", "abc"), Yes(1, BodyKind::Length(3))),
            (&length("3", "ab"), More),
            (&length("", ""), No(400, "content_length")),
            (&length("+3", "abc"), No(400, "content_length")),
            (&length("-3", "abc"), No(400, "content_length")),
            (&length("3a", "abc"), No(400, "content_length")),
            (&length("0x3", "abc"), No(400, "content_length")),
            (&length("3 3", "abc"), No(400, "content_length")),
            (&length("3, 3", "abc"), No(400, "content_length")),
            (&length("3,", "abc"), No(400, "content_length")),
            (&length("3.0", "abc"), No(400, "content_length")),
            (&length("\u{663}", "abc"), No(400, "content_length")),
            (&length("18446744073709551615", ""), More),
            (&length("18446744073709551616", ""), No(400, "content_length_overflow")),
            (&length("99999999999999999999999", ""), No(400, "content_length_overflow")),
            (&length("3\r\nContent-Length: 3", "abc"), No(400, "content_length_repeated")),
            (&length("3\r\ncontent-length: 4", "abc"), No(400, "content_length_repeated")),
            (
                &with("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
                No(400, "length_and_transfer_encoding"),
            ),
            (
                &with("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"),
                No(400, "length_and_transfer_encoding"),
            ),
            (
                &with("Transfer-Encoding: identity\r\nContent-Length: 5", "0\r\n\r\n"),
                No(400, "length_and_transfer_encoding"),
            ),
            (&coded("chunked"), chunked()),
            (&coded("cHuNkEd"), chunked()),
            (&coded(" \tchunked \t"), chunked()),
            (&coded("gzip, chunked"), No(501, "transfer_coding_unknown")),
            (&coded("chunked, chunked"), No(400, "transfer_encoding")),
            (&coded("chunked, gzip"), No(400, "transfer_encoding")),
            (&coded("gzip"), No(400, "transfer_encoding")),
            (&coded("identity"), No(400, "transfer_encoding")),
            (&coded(""), No(400, "transfer_encoding")),
            (&coded(",chunked"), No(400, "transfer_encoding")),
            (&coded("chunked,"), No(400, "transfer_encoding")),
            (&coded("chunked;q=1"), No(400, "transfer_encoding")),
            (&coded("\"chunked\""), No(400, "transfer_encoding")),
            (&coded("xchunked"), No(400, "transfer_encoding")),
            (&coded("chunked x"), No(400, "transfer_encoding")),
            (&coded("chunked\u{b}"), No(400, "field_value")),
            (&coded("\u{e7}hunked"), No(400, "transfer_encoding")),
            (
                &coded("chunked\r\nTransfer-Encoding: chunked"),
                No(400, "transfer_encoding_repeated"),
            ),
            (&coded("gzip\r\nTransfer-Encoding: chunked"), No(400, "transfer_encoding_repeated")),
            (&coded("chunked\r\nTransfer-Encoding: x"), No(400, "transfer_encoding_repeated")),
            (
                "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                No(400, "transfer_encoding_in_http10"),
            ),
            // No framing field: no body, what follows is the next request.
            (&with("X: a", "abc"), More),
            (&with("X: a", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Yes(2, NONE)),
            // A body has nothing to do with the method (9110 9.3.1).
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxx",
                Yes(1, BodyKind::Length(2)),
            ),
            (
                "HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                chunked(),
            ),
        ],
    );
}

#[test]
fn rfc9112_7_1_chunks() {
    let with = |body: &str| {
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    };
    let yes = || Yes(1, BodyKind::Chunked);
    let long = |n: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(n));
    requests(
        "9112 7.1",
        &[
            (&with("0\r\n\r\n"), yes()),
            (&with("3\r\nabc\r\n0\r\n\r\n"), yes()),
            (&with("0003\r\nabc\r\n000\r\n\r\n"), yes()),
            (&with("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"), yes()),
            (&with("0000000000000003\r\nabc\r\n0000000000000000\r\n\r\n"), yes()),
            (&with("00000000000000003\r\nabc\r\n0\r\n\r\n"), No(400, "chunk_size_overflow")),
            (&with("10000000000000003\r\nabc\r\n0\r\n\r\n"), No(400, "chunk_size_overflow")),
            (&with("ffffffffffffffff\r\nabc"), More),
            (&with("\r\nabc\r\n0\r\n\r\n"), No(400, "chunk_size")),
            (&with("-1\r\nabc"), No(400, "chunk_size")),
            (&with("+3\r\nabc"), No(400, "chunk_size")),
            (&with("0x3\r\nabc"), No(400, "chunk_size")),
            (&with(" 3\r\nabc"), No(400, "chunk_size")),
            (&with("3 \r\nabc\r\n0\r\n\r\n"), No(400, "chunk_extension")),
            (&with("3g\r\nabc"), No(400, "chunk_size")),
            (&with("3,\r\nabc"), No(400, "chunk_size")),
            (&with("3\nabc\r\n0\r\n\r\n"), No(400, "bare_lf")),
            (&with("3\r\nabc\n0\r\n\r\n"), No(400, "chunk_end")),
            (&with("3\rabc"), No(400, "chunk_size")),
            (&with("3\r\nabcd\r\n0\r\n\r\n"), No(400, "chunk_end")),
            (&with("3\r\nab\r\n0\r\n\r\n"), No(400, "chunk_end")),
            (&with("3\r\nabc\r\n0\r\n"), More),
            (&with("3\r\nabc\r\n0\r\n\r"), More),
            (&with("3\r\nabc"), More),
            (&with("3\r\nabc\r\n\r\n"), No(400, "chunk_size")),
        ],
    );
    requests(
        "9112 7.1.1",
        &[
            (&with("3;a\r\nabc\r\n0;b=c\r\n\r\n"), yes()),
            (&with("3;a=\"b;\\\"\u{e9}\t\"\r\nabc\r\n0\r\n\r\n"), yes()),
            (&with("3 ; a = b ; c\r\nabc\r\n0\r\n\r\n"), yes()),
            (&with("3;\r\nabc\r\n0\r\n\r\n"), No(400, "chunk_extension")),
            (&with("3;a=\r\nabc\r\n0\r\n\r\n"), No(400, "chunk_extension")),
            (&with("3;a \r\nabc\r\n0\r\n\r\n"), No(400, "chunk_extension")),
            (&with("3;=a\r\nabc\r\n0\r\n\r\n"), No(400, "chunk_extension")),
            (&with("3;a=\"b\r\nabc\r\n0\r\n\r\n"), No(400, "chunk_extension")),
            (&with("3;a=\"b\"c\r\nabc\r\n0\r\n\r\n"), No(400, "chunk_extension")),
            (&with("3;a\nabc\r\n0\r\n\r\n"), No(400, "bare_lf")),
            (&with("3;a\rb\r\nabc\r\n0\r\n\r\n"), No(400, "chunk_size")),
            (&with("3;a\0\r\nabc\r\n0\r\n\r\n"), No(400, "chunk_extension")),
            (&with("3;a=\"\n\"\r\nabc\r\n0\r\n\r\n"), No(400, "bare_lf")),
            (&with(&long(1023)), yes()),
            (&with(&long(1024)), No(400, "chunk_extension_too_long")),
            (&with(&format!("1;{}", "a".repeat(5000))), No(400, "chunk_extension_too_long")),
        ],
    );
}

/// A flood of tiny chunks with long extensions is work without a message.
#[test]
fn rfc9112_7_1_1_extensions_are_bounded_by_what_the_message_carries() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let message = |chunk: &str, times: usize| format!("{head}{}0\r\n\r\n", chunk.repeat(times));
    let extension = "a".repeat(99);
    let tiny = message(&format!("1;{extension}\r\nx\r\n"), 200);
    let large = message(&format!("80;{extension}\r\n{}\r\n", "x".repeat(128)), 200);
    let read = |bytes: &str| verdict(&Reader::server(LIMITS).read([bytes.as_bytes()]));
    assert_eq!(read(&tiny), No(400, "chunk_extension_too_long"));
    assert_eq!(read(&large), Yes(1, BodyKind::Chunked));
}

#[test]
fn rfc9112_7_1_2_trailers() {
    let with = |trailers: &str| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{trailers}\r\n"
        )
    };
    let yes = || Yes(1, BodyKind::Chunked);
    let many = |n: usize| "X: a\r\n".repeat(n);
    requests(
        "9112 7.1.2, 9110 6.5.1",
        &[
            (&with("Grpc-Status: 0\r\nX:\r\n"), yes()),
            (&with(&many(100)), yes()),
            (&with(&many(101)), No(431, "too_many_fields")),
            (&with("Content-Length: 5\r\n"), No(400, "trailer_field")),
            (&with("transfer-encoding: chunked\r\n"), No(400, "trailer_field")),
            (&with("Host: b\r\n"), No(400, "trailer_field")),
            (&with("Connection: close\r\n"), No(400, "trailer_field")),
            (&with("Trailer: a\r\n"), No(400, "trailer_field")),
            (&with("X: a\n"), No(400, "bare_lf")),
            (&with("X : a\r\n"), No(400, "space_before_colon")),
            (&with("X: a\r\n b\r\n"), No(400, "obs_fold")),
            (&with("X: a\0\r\n"), No(400, "field_value")),
            (&with("GET / HTTP/1.1\r\n"), No(400, "space_before_colon")),
            (&with("X: a\rb\r\n"), No(400, "bare_cr")),
        ],
    );
    let small = Limits { max_head: 100, ..LIMITS };
    let long = with(&format!("X: {}\r\n", "a".repeat(100)));
    check("9112 7.1.2", long.as_bytes(), &No(431, "trailers_too_large"), || Reader::server(small));
}

#[test]
fn rfc9110_5_4_limits_of_a_head() {
    let limits = Limits { max_head: 8192, max_headers: 40 };
    let cases = |cases: &[(String, Verdict)]| {
        for (bytes, expected) in cases {
            check("9110 5.4, 9112 3", bytes.as_bytes(), expected, || Reader::server(limits));
        }
    };
    let fields = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(n));
    let exact = |size: usize| {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n";
        let value = "a".repeat(size - head.len());
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {value}\r\n\r\n")
    };
    let target = |size: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(size));
    cases(&[
        (fields(39), Yes(1, NONE)),
        (fields(40), No(431, "too_many_fields")),
        (exact(6000), Yes(1, NONE)),
        (exact(8192), Yes(1, NONE)),
        (format!("\r\n{}", exact(8192)), Yes(1, NONE)),
        (exact(8193), No(431, "head_too_large")),
        (exact(8191) + &exact(100), Yes(2, NONE)),
        (target(8000), Yes(1, NONE)),
        (target(9000), No(414, "target_too_long")),
        (format!("{}\0", exact(8193)), No(431, "head_too_large")),
        // A fault within the limit is found before the limit is.
        (
            exact(6000).replacen("aaa\r\n", "a\0a\r\n", 1) + &"a".repeat(4000),
            No(400, "field_value"),
        ),
        (
            format!("GET / HTTP/1.1\r\nX: {}\0{}", "a".repeat(5000), "a".repeat(4000)),
            No(400, "field_value"),
        ),
    ]);
}

#[test]
fn rfc9112_4_status_lines() {
    let with = |line: &str| format!("{line}\r\nContent-Length: 0\r\n\r\n");
    let yes = || Yes(1, BodyKind::Length(0));
    responses(
        "9112 4",
        &[GET],
        &[
            (&with("HTTP/1.1 200 OK"), yes()),
            (&with("HTTP/1.0 200 OK"), yes()),
            (&with("HTTP/1.1 200 "), yes()),
            (&with("HTTP/1.1 200"), yes()),
            (&with("HTTP/1.1 999 \u{e9} \t a"), yes()),
            (&with("HTTP/1.1 099 OK"), No(502, "status")),
            (&with("HTTP/1.1 20 OK"), No(502, "status_line")),
            (&with("HTTP/1.1 2000 OK"), No(502, "status_line")),
            (&with("HTTP/1.1  200 OK"), No(502, "status_line")),
            (&with("HTTP/1.1 2x0 OK"), No(502, "status_line")),
            (&with("HTTP/1.2 200 OK"), No(502, "status_line")),
            (&with("HTTP/2 200 OK"), No(502, "status_line")),
            (&with("http/1.1 200 OK"), No(502, "status_line")),
            (&with("HTTP/1.1 200 O\0K"), No(502, "status_line")),
            (&with("HTTP/1.1 200 O\rK"), No(502, "status_line")),
            (&with("HTTP/1.1 200\tOK"), No(502, "status_line")),
            ("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", No(502, "bare_lf")),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n", No(502, "bare_lf")),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", No(502, "status_line")),
            ("<html>", No(502, "status_line")),
            ("HTTP/1.1 200 OK\r\nX : a\r\n\r\n", No(502, "space_before_colon")),
            ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", No(502, "obs_fold")),
            ("HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n", No(502, "field_value")),
            ("HTTP/1.1 200 OK\r\nX", More),
        ],
    );
    let limits = Limits { max_head: 1000, max_headers: 3 };
    let check = |bytes: String, reason| {
        check("9110 5.4", bytes.as_bytes(), &No(502, reason), || Reader::client(limits, &[GET]));
    };
    check(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(4)), "too_many_fields");
    check(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(1000)), "head_too_large");
    check(format!("HTTP/1.1 200 {}\r\n\r\n", "a".repeat(1000)), "head_too_large");
}

#[test]
fn rfc9112_6_3_framing_of_answers() {
    let with = |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}");
    responses(
        "9112 6.3",
        &[GET],
        &[
            (&with("", ""), Yes(1, BodyKind::UntilClose)),
            (&with("", "abc\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), Yes(1, BodyKind::UntilClose)),
            (&with("Content-Length: 3\r\n", "abc"), Yes(1, BodyKind::Length(3))),
            (&with("Content-Length: 3\r\n", "ab"), More),
            (
                &with("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"),
                No(502, "content_length_repeated"),
            ),
            (&with("Content-Length: 3, 3\r\n", "abc"), No(502, "content_length")),
            (&with("Content-Length: x\r\n", "abc"), No(502, "content_length")),
            (
                &with("Transfer-Encoding: chunked\r\n", "1\r\nx\r\n0\r\nA: b\r\n\r\n"),
                Yes(1, BodyKind::Chunked),
            ),
            (&with("Transfer-Encoding: chunked\r\n", "0\r\n"), More),
            (
                &with("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n"),
                No(502, "length_and_transfer_encoding"),
            ),
            (
                &with("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
                No(502, "transfer_coding_unknown"),
            ),
            (&with("Transfer-Encoding: gzip\r\n", "abc"), No(502, "transfer_encoding")),
            (
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                No(502, "transfer_encoding_in_http10"),
            ),
        ],
    );
    // These end with their heads whatever the fields say; the next answer
    // follows at once.
    let next = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    for status in [204, 304] {
        let first = format!("HTTP/1.1 {status} A\r\nContent-Length: 5\r\n\r\n{next}");
        responses("9112 6.3 (1)", &[GET, GET], &[(&first, Yes(2, BodyKind::Length(1)))]);
    }
    for field in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        let first = with(field, next);
        responses(
            "9112 6.3 (1)",
            &[MethodKind::Head, GET],
            &[(&first, Yes(2, BodyKind::Length(1)))],
        );
        responses("9112 6.3 (2)", &[MethodKind::Connect], &[(&with(field, ""), Yes(1, NONE))]);
    }
    responses(
        "9112 6.3 (2)",
        &[MethodKind::Connect],
        &[("HTTP/1.1 403 No\r\nContent-Length: 1\r\n\r\nx", Yes(1, BodyKind::Length(1)))],
    );
}

#[test]
fn rfc9110_15_2_interim_answers_come_before_the_final_one() {
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    for status in [100, 102, 103, 199] {
        let interim = format!("HTTP/1.1 {status} A\r\nContent-Length: 9\r\nLink: </a>\r\n\r\n");
        let bytes = format!("{interim}{interim}{last}");
        responses(
            "9110 15.2",
            &[GET],
            &[(&bytes, Yes(3, BodyKind::Length(1))), (&interim, Yes(1, NONE))],
        );
    }
    responses("9110 15.2.2", &[GET], &[("HTTP/1.1 101 Go\r\nUpgrade: x\r\n\r\n", Yes(1, NONE))]);
}

#[test]
fn rfc9110_7_6_1_connection_options_are_bounded() {
    let with =
        |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {}x\r\n\r\n", "a,".repeat(n));
    requests(
        "9110 7.6.1",
        &[(&with(63), Yes(1, NONE)), (&with(64), No(400, "connection_options"))],
    );
}

#[test]
fn every_refusal_has_an_answer_that_closes() {
    for status in [400, 405, 408, 413, 414, 417, 431, 500, 501, 502, 503, 504, 505] {
        let answer = String::from_utf8_lossy(error_response(status)).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let events = Reader::client(LIMITS, &[GET]).read([answer.as_bytes()]);
        assert!(
            matches!(
                &events[..],
                [
                    Event::Head { body: BodyKind::Length(0), keep_alive: false, .. },
                    Event::Body { .. }
                ]
            ),
            "{events:?}"
        );
    }
    assert_eq!(error_response(299), error_response(500));
}

#[test]
fn the_table_in_the_documentation_names_tests_that_exist() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(here.join("../../docs/rfc9112.md")).unwrap();
    let mut tests = String::new();
    for dir in ["tests", "tests/agent"] {
        for file in std::fs::read_dir(here.join(dir)).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|end| end == "rs") {
                tests.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let is_name = |word: &&str| {
        word.contains('_')
            && word.bytes().all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b))
    };
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(is_name).collect();
    assert!(named.len() > 50, "{named:?}");
    for name in named {
        assert!(tests.contains(&format!("fn {name}(")), "{name} is no test");
    }
}
