//! Many large bodies to redact: that is done beside the live requests, not before them.

use std::{
    io::Write as _,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::{
    behaviour::{connect, expect},
    service::Service,
};
use crate::support::{client::Client, logs::TestLog, process::Umbra, wait_for};

/// A JSON document of about so many bytes, with something to take out in each part.
fn document(bytes: usize) -> String {
    let part = r#"{"user":{"name":"ann","password":"secret"},"list":[1,2.5e3,null,true]}"#;
    let parts = vec![part; bytes / (part.len() + 1)];
    format!("[{}]", parts.join(","))
}

fn send(to: SocketAddr, body: &str) {
    let mut client = connect(to);
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).unwrap();
    client.write_all(body.as_bytes()).unwrap();
    // The service knows another body.
    expect(&mut client, "differs");
}

/// Half of so many small requests on a connection took no longer.
fn p50(to: SocketAddr) -> Duration {
    let mut client = Client::connect(to);
    let one = |_| {
        let start = Instant::now();
        assert_eq!(client.call(b"GET /small HTTP/1.1\r\nHost: shop\r\n\r\n").text(), "ok");
        start.elapsed()
    };
    let mut took: Vec<Duration> = (0..500).map(one).collect();
    took.sort_unstable();
    took[took.len() / 2]
}

#[test]
fn bodies_to_redact_do_not_move_live_requests() {
    let service = Service::start();
    let log = TestLog::file();
    let agent = Umbra::agent(&log, service.address)
        .flag("redact", "tokens=drop")
        .flag("redact", "json:**.name=drop")
        .flag("admin", "127.0.0.1:0")
        .flag("max-body", "16MiB")
        .flag("output", "json")
        .start();
    let body = document(10 << 20);
    let over = AtomicBool::new(false);
    let idle = p50(agent.listen());
    let held = || agent.metric("umbra_capture_tee_bytes");
    let busy = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // As much as the recorder can be behind, within the memory.
                if held() < f64::from(64 << 20) {
                    send(agent.listen(), &body);
                }
            }
        });
        wait_for("bodies wait to be redacted", || held() > f64::from(16 << 20));
        let busy = p50(agent.listen());
        let still = held() > 0.0;
        over.store(true, Ordering::Relaxed);
        assert!(still, "there was nothing to redact meanwhile");
        busy
    });
    println!("p50 of small requests: {idle:.0?}, with 10 MiB documents to redact {busy:.0?}");
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // On two cores it shares them with the redacting; it does not wait for it.
    assert!(busy < idle.mul_f64(1.5) + Duration::from_millis(5), "{idle:?} {busy:?}");
}
