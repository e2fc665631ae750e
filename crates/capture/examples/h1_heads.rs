//! What a message head costs in the HTTP/1 codec: nanoseconds per head parsed and
//! forwarded. Run it with `--release` on an idle machine.

use std::{hint::black_box, time::Instant};

use umbra_capture::h1::{
    BodyDecoder, BodyKind, ForwardChanges, Limits, MethodKind, RequestHead, ResponseChanges,
    ResponseHead, Version, parse_request, parse_response, write_request_head, write_response_head,
};

const LIMITS: Limits = Limits { max_head: 64 * 1024, max_headers: 100 };

/// 400 bytes, as a browser or a service behind a mesh sends.
const REQUEST: &[u8] = b"GET /api/v1/items/4711?fields=name,price&page=2 HTTP/1.1\r\n\
    Host: shop.example.com:8080\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: gzip, deflate\r\n\
    Connection: keep-alive\r\n\
    X-Request-Id: 5f0c8a64-6c1e-4e2b-9c1d-3a1f5e7b9d20\r\n\
    X-Forwarded-For: 10.12.7.31\r\n\
    Cookie: session=6d1f3c9ab2e84c1fa0; theme=dark\r\n\r\n";

/// The head of an answer of 1 KiB in all.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: gunicorn/23.0.0\r\n\
    Date: Sun, 22 Nov 2026 10:00:00 GMT\r\n\
    Connection: keep-alive\r\n\
    Content-Type: application/json; charset=utf-8\r\n\
    Content-Length: 700\r\n\
    Cache-Control: private, max-age=0\r\n\
    Vary: Accept-Encoding\r\n\
    Access-Control-Allow-Origin: *\r\n\
    Access-Control-Allow-Credentials: true\r\n\r\n";

/// The best of several rounds: what disturbs a round only makes it slower.
fn measure(name: &str, mut work: impl FnMut()) {
    const TIMES: u32 = 200_000;
    let round = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        for _ in 0..TIMES {
            work();
        }
        start.elapsed().as_nanos() as f64 / f64::from(TIMES)
    };
    let best = (0..7).map(|_| round(&mut work)).fold(f64::INFINITY, f64::min);
    println!("{name:<44} {best:>8.1} ns");
}

fn main() {
    let changes = ForwardChanges {
        forwarded_for: Some(b"192.0.2.7"),
        forwarded_proto: Some(b"http"),
        via: Some(b"umbra"),
        default_host: b"upstream:8080",
    };
    let mut out = Vec::with_capacity(4096);

    let mut head = RequestHead::default();
    measure(&format!("request, {} bytes: parse", REQUEST.len()), || {
        assert!(parse_request(black_box(REQUEST), &LIMITS, &mut head).is_ok());
    });
    measure("request: write", || {
        out.clear();
        write_request_head(&mut out, REQUEST, black_box(&head), &changes);
    });

    let mut answer = ResponseHead::default();
    measure(&format!("answer, {} bytes: parse", RESPONSE.len()), || {
        let parsed = parse_response(black_box(RESPONSE), &LIMITS, MethodKind::Other, &mut answer);
        assert!(parsed.is_ok());
    });
    let to = ResponseChanges { client: Version::Http11, keep_alive: true };
    measure("answer: write", || {
        out.clear();
        black_box(write_response_head(&mut out, RESPONSE, black_box(&answer), &to));
    });
    measure("httparse alone, request (no checks, no places)", || {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        assert!(httparse::Request::new(&mut fields).parse(black_box(REQUEST)).is_ok());
    });

    let mut body = b"2000\r\n".to_vec();
    body.resize(body.len() + 0x2000, b'x');
    body.extend_from_slice(b"\r\n");
    let body = body.repeat(8);
    let mut decoder = BodyDecoder::new(&LIMITS);
    measure("64 KiB body in 8 chunks: decode", || {
        decoder.start(BodyKind::Chunked);
        let mut rest = black_box(&body[..]);
        while let Ok(step) = decoder.decode(rest)
            && step.len > 0
        {
            rest = &rest[step.len..];
        }
        assert!(rest.is_empty());
    });
}
