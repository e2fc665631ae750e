//! The client's bytes through the agent equal those straight from the upstream.

use std::net::SocketAddr;

use crate::support::{
    client::Client, httpbin::Httpbin, logs::TestLog, process::Umbra, wire::Message,
};

/// httpbin's catalogue, as far as an answer is the same twice.
const CATALOGUE: &[&str] = &[
    "/status/200",
    "/status/204",
    "/status/304",
    "/status/404",
    "/status/418",
    "/status/503",
    "/stream/20",
    "/stream-bytes/5000?seed=1",
    "/drip?numbytes=5&duration=1&delay=0",
    "/gzip",
    "/deflate",
    "/brotli",
    "/redirect/3",
    "/relative-redirect/2",
    "/cookies",
    "/cookies/set?a=b",
    "/delay/1",
    "/anything",
    "/anything/a%20b//c?x=%zz&&=",
    "/headers",
    "/get?a=1&a=2",
    "/user-agent",
    "/image/png",
    "/image/jpeg",
    "/html",
    "/xml",
    "/json",
    "/encoding/utf8",
    "/robots.txt",
    "/bytes/70000?seed=2",
    "/range/2000",
    "/etag/abc",
    "/cache/60",
    "/response-headers?X-Many=1&X-Many=2",
    "/base64/aGVsbG8%3D",
];

/// What both legs must have in common: everything but the date, and the fields
/// that concern one connection only (RFC 9110 section 7.6.1).
fn end_to_end(mut message: Message) -> Message {
    let own = ["date", "connection", "keep-alive"];
    message.headers.retain(|(name, _)| !own.contains(&name.to_ascii_lowercase().as_str()));
    if message.body.starts_with(&[0x1f, 0x8b]) {
        // The time of compression, within gzip's header (RFC 1952 section 2.3).
        message.body[4..8].fill(0);
    }
    message
}

fn ask(to: SocketAddr, method: &str, path: &str) -> Message {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: httpbin:8000\r\nUser-Agent: test\r\nAccept-Encoding: gzip\r\n\r\n"
    );
    end_to_end(Client::connect(to).call(request.as_bytes()))
}

#[test]
fn answers_are_those_of_the_upstream() {
    let httpbin = Httpbin::start();
    let log = TestLog::file();
    let agent = Umbra::agent(&log, httpbin.address).start();
    for method in ["GET", "HEAD"] {
        for path in CATALOGUE {
            let direct = ask(httpbin.address, method, path);
            let through = ask(agent.listen(), method, path);
            assert_eq!(through, direct, "{method} {path}");
        }
    }
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let info = Umbra::new("log info").arg(log.arg()).result();
    assert_eq!(info["requests"], 2 * CATALOGUE.len());
    assert_eq!(info["responses"], 2 * CATALOGUE.len());
    assert!(httpbin.logged("GET /image/png") >= 2);
}
