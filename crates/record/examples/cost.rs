//! Prints what a record costs: `cargo run --release -p umbra-record --example cost`.

use std::{hint::black_box, time::Instant};

use umbra_record::{
    decode::decode,
    encode::{Envelope, RequestParts},
    hash,
    id::IdGenerator,
    select::{RequestView, Rules, Selection},
};

const ROUNDS: u32 = 200_000;
const NOW: u64 = 1_790_000_000_000_000_000;

fn main() {
    let headers: Vec<(&[u8], &[u8])> = vec![
        (b"Host", b"httpbin.example:8000"),
        (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
        (b"Accept", b"text/html,application/xhtml+xml,application/xml;q=0.9"),
        (b"Accept-Language", b"en-US,en;q=0.5"),
        (b"Accept-Encoding", b"gzip, deflate, br, zstd"),
        (b"Cookie", b"sid=0123456789abcdef0123456789abcdef; theme=dark"),
        (b"X-Request-Id", b"550e8400-e29b-41d4-a716-446655440000"),
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"1024"),
    ];
    let body = vec![b'x'; 1024];
    let pieces = [&body[..512], &body[512..]];
    let request = RequestParts {
        id: [7; 16],
        start_ns: NOW,
        peer: "10.0.0.1:50000",
        scheme: "http",
        method: b"POST",
        authority: b"httpbin.example:8000",
        path: b"/api/v1/orders",
        query: Some(b"page=1"),
        headers: &headers,
        body: Some(&pieces),
        body_length: 1024,
        body_hash: Some(hash::of(&body)),
        upstream: "http://127.0.0.1:9001",
        ..Default::default()
    };
    let envelope = Envelope { agent: [1; 16], lane: 1, key: b"0123456789", sequence: 99 };
    let mut out = Vec::new();
    time("encode request, 9 headers, 1 KiB body", || {
        out.clear();
        request.encode(&mut out);
        envelope.encode(&mut out);
        black_box(&out);
    });
    let payload = bytes::Bytes::from(out);
    time("decode and check it", || {
        black_box(decode(payload.clone())).expect("it was encoded right");
    });
    time("hash 1 KiB", || {
        black_box(hash::of(black_box(&body)));
    });
    let mut ids = IdGenerator::new();
    time("id", || {
        black_box(ids.next(NOW));
    });

    let rules = Rules {
        hosts: vec!["*.example".to_owned()],
        skip_paths: vec!["/health*".to_owned()],
        percent: Some("10".to_owned()),
        ..Rules::default()
    };
    let selection = Selection::new(&rules, "capture").expect("the rules are right");
    let view = RequestView {
        method: b"POST",
        authority: b"httpbin.example:8000",
        path: b"/api/v1/orders",
        query: None,
        headers: &headers,
        peer: "10.0.0.1:50000",
        id: &[7; 16],
        size: None,
    };
    time("select by host, path and sample", || {
        black_box(selection.decide(black_box(&view)).is_selected());
    });
}

fn time(what: &str, mut work: impl FnMut()) {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        work();
    }
    let nanoseconds = start.elapsed().as_nanos() as f64 / f64::from(ROUNDS);
    println!("{nanoseconds:>9.1} ns  {what}");
}
