//! The sender over HTTP/2 and over TLS, against servers of hyper and rustls.
// A shadow's tasks end with the test's runtime, and what fails panics.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "send_http2/recorded.rs"]
mod recorded;
mod send_shadow;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use send_shadow::{OK, Shadow, answer_all, get, header, noise, post, request, target};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::PrivateKeyDer},
};
use tokio_util::task::AbortOnDropHandle;
use umbra_record::{hash, pb};
use umbra_replay::{Class, Outgoing, Protocol, Sender, Target};

/// An HTTP/2 server that notes what it is asked.
struct Http2Shadow {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Debug, Clone)]
struct Seen {
    method: String,
    uri: String,
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

impl Http2Shadow {
    /// Each connection serves `limit` requests, then says goodbye in good order.
    async fn start(limit: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let connections = Arc::new(AtomicUsize::new(0));
        let (log, count) = (Arc::clone(&seen), Arc::clone(&connections));
        let accepting = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                tasks.spawn(serve(stream, Arc::clone(&log), limit));
            }
        });
        let _accepting = AbortOnDropHandle::new(accepting);
        Self { address, seen, connections, _accepting }
    }

    fn target(&self) -> Target {
        let mut target = target(&format!("http://{}", self.address));
        target.protocol = Protocol::Http2;
        target
    }

    fn sender(&self) -> Sender {
        Sender::new(&self.target(), "job").unwrap()
    }

    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn serve(stream: tokio::net::TcpStream, log: Arc<Mutex<Vec<Seen>>>, limit: usize) {
    let served = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(tokio::sync::Notify::new());
    let (count, signal) = (Arc::clone(&served), Arc::clone(&done));
    let service = service_fn(move |request| {
        if count.fetch_add(1, Ordering::SeqCst) + 1 == limit {
            signal.notify_one();
        }
        answer(request, Arc::clone(&log))
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).max_concurrent_streams(100);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = done.notified() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

type Answered = Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>>;

async fn answer(
    request: hyper::Request<Incoming>,
    log: Arc<Mutex<Vec<Seen>>>,
) -> Result<Answered, std::io::Error> {
    let (parts, body) = request.into_parts();
    let early = parts.uri.path() == "/early";
    let mut seen = Seen {
        method: parts.method.to_string(),
        uri: parts.uri.to_string(),
        headers: parts.headers,
        body: Bytes::new(),
        trailers: None,
    };
    if parts.uri.path() == "/reset" {
        log.lock().unwrap().push(seen);
        return Err(std::io::Error::other("as asked"));
    }
    if parts.uri.path() == "/slow" {
        std::future::pending::<()>().await;
    }
    let collect = async move {
        let body = body.collect().await.unwrap();
        seen.trailers = body.trailers().cloned();
        seen.body = body.to_bytes();
        log.lock().unwrap().push(seen);
    };
    if early {
        // Ends with the test's runtime.
        tokio::spawn(collect);
    } else {
        collect.await;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "9".parse().unwrap());
    let answer = Response::builder().header("x-a", "1").header("x-a", "2");
    Ok(if parts.uri.path() == "/large" {
        let frames =
            noise(5_000_000).into_iter().map(Frame::data).chain([Frame::trailers(trailers)]);
        let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, Infallible>)));
        answer.body(body.boxed_unsync()).unwrap()
    } else {
        answer.body(Full::new(Bytes::from_static(b"ok")).boxed_unsync()).unwrap()
    })
}

#[tokio::test]
async fn a_recorded_request_becomes_an_http2_one() {
    let shadow = Http2Shadow::start(usize::MAX).await;
    let mut recorded = request("PATCH", "/a//b/%2F%7e");
    recorded.query = Some(Bytes::from_static(b"x=1?&y"));
    recorded.headers = vec![
        header(b"X-Lower", b"\xff"),
        header(b"Host", b"httpbin:8000"),
        header(b"Connection", b"x-hop, close"),
        header(b"X-Hop", b"gone"),
        header(b"TE", b"trailers"),
        header(b"x-lower", b"2"),
        header(b"Transfer-Encoding", b"chunked"),
    ];
    recorded.trailers = vec![header(b"X-Sum", b"7")];
    let body = vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    let outgoing = Outgoing { request: recorded.into(), body: Some(body), attempt: 2 };
    let outcome = shadow.sender().send(outgoing).await;
    assert_eq!((outcome.class, outcome.whole), (Class::Answered, true), "{}", outcome.detail);
    let answer = outcome.answer.unwrap();
    assert_eq!((answer.status, answer.version), (200, pb::Version::Http2));
    assert_eq!(answer.headers[..2], [header(b"x-a", b"1"), header(b"x-a", b"2")]);
    assert_eq!(answer.body.unwrap(), "ok");

    let seen = shadow.take().remove(0);
    assert_eq!(seen.method, "PATCH");
    assert_eq!(seen.uri, "http://httpbin-shadow:8000/a//b/%2F%7e?x=1?&y");
    assert_eq!(seen.body, "onetwo");
    assert_eq!(seen.trailers.unwrap()["x-sum"], "7");
    let names: Vec<&str> = seen.headers.keys().map(http::HeaderName::as_str).collect();
    assert_eq!(names, ["x-lower", "te", "via", "x-umbra-attempt"]);
    let lower: Vec<&[u8]> =
        seen.headers.get_all("x-lower").iter().map(http::HeaderValue::as_bytes).collect();
    assert_eq!(lower, [&b"\xff"[..], b"2"]);
}

#[tokio::test]
async fn bodies_keep_their_length_and_their_absence() {
    let shadow = Http2Shadow::start(usize::MAX).await;
    let sender = shadow.sender();
    sender.send(get("/")).await;
    sender.send(post("/", vec![])).await;
    let outcome = sender.send(post("/", noise(30_000_000))).await;
    assert_eq!((outcome.class, outcome.whole), (Class::Answered, true), "{}", outcome.detail);
    let lengths: Vec<Option<String>> = shadow
        .take()
        .iter()
        .map(|s| s.headers.get("content-length").map(|v| v.to_str().unwrap().to_owned()))
        .collect();
    assert_eq!(lengths, [None, Some("0".to_owned()), Some("30000000".to_owned())]);
    assert_eq!(shadow.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn large_answers_are_drained_with_their_trailers() {
    let shadow = Http2Shadow::start(usize::MAX).await;
    let answer = shadow.sender().send(get("/large")).await.answer.unwrap();
    assert_eq!((answer.body_length, answer.complete), (5_000_000, true));
    assert_eq!(answer.body_hash, Some(hash::of(&noise(5_000_000).concat())));
    assert_eq!(answer.trailers, [header(b"x-sum", b"9")]);
    let head = Outgoing { request: request("HEAD", "/").into(), body: None, attempt: 1 };
    assert_eq!(shadow.sender().send(head).await.answer.unwrap().body, None);
}

#[tokio::test]
async fn an_early_answer_does_not_stop_the_body() {
    let shadow = Http2Shadow::start(usize::MAX).await;
    let sender = shadow.sender();
    let outcome = sender.send(post("/early", noise(20_000_000))).await;
    assert_eq!((outcome.class, outcome.whole), (Class::Answered, true), "{}", outcome.detail);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while shadow.seen.lock().unwrap().is_empty() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    assert_eq!(hash::of(&shadow.take()[0].body), hash::of(&noise(20_000_000).concat()));
}

/// Servers end connections after so many requests; none may be lost or sent twice.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_goodbye_lose_nothing() {
    let shadow = Http2Shadow::start(7).await;
    let mut target = shadow.target();
    target.concurrency = 300;
    let sender = Arc::new(Sender::new(&target, "job").unwrap());
    let mut tasks = JoinSet::new();
    for lane in 0..30 {
        let sender = Arc::clone(&sender);
        tasks.spawn(async move {
            for n in 0..20 {
                let outcome = sender.send(get(&format!("/{lane}/{n}"))).await;
                assert_eq!(outcome.class, Class::Answered, "{lane}/{n}: {}", outcome.detail);
            }
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    let mut times = BTreeMap::<String, usize>::new();
    for seen in shadow.take() {
        *times.entry(seen.uri).or_default() += 1;
    }
    assert_eq!(times.len(), 600);
    assert!(times.values().all(|count| *count == 1));
    assert!(shadow.connections.load(Ordering::SeqCst) > 3);
}

#[tokio::test]
async fn failures_have_their_classes() {
    let shadow = Http2Shadow::start(usize::MAX).await;
    let mut target = shadow.target();
    target.timeout = Duration::from_millis(300);
    let sender = Sender::new(&target, "job").unwrap();
    let reset = sender.send(get("/reset")).await;
    assert_eq!((reset.class, reset.written), (Class::Reset, true), "{}", reset.detail);
    let slow = sender.send(get("/slow")).await;
    assert_eq!((slow.class, slow.written), (Class::Timeout, true));
    assert_eq!(sender.send(get("/")).await.class, Class::Answered);
    assert_eq!(shadow.take().len(), 2);
    // Nothing came while the slow one was waited for: it got a successor.
    assert_eq!(shadow.connections.load(Ordering::SeqCst), 2);

    let http1 = Shadow::start(|peer| answer_all(peer, OK)).await;
    let mut target = http1.target();
    target.protocol = Protocol::Http2;
    let outcome = Sender::new(&target, "job").unwrap().send(get("/")).await;
    assert_eq!(outcome.class, Class::Garbled, "{}", outcome.detail);

    target.url = "http://127.0.0.1:1".parse().unwrap();
    let sender = Sender::new(&target, "job").unwrap();
    let outcome = sender.send(get("/")).await;
    assert_eq!((outcome.class, outcome.written), (Class::Refused, false));
    assert!(!sender.probe().await);
}

/// Which bytes of a path hyper's types carry: those of RFC 3986 and some more. The
/// others are said to be unsendable, rather than sent as something else.
#[tokio::test]
async fn a_path_byte_is_sent_as_it_is_or_not_at_all() {
    let shadow = Http2Shadow::start(usize::MAX).await;
    let sender = shadow.sender();
    let mut refused = Vec::new();
    for byte in 0x21..=0xff_u8 {
        let mut recorded = request("GET", "/");
        recorded.path = Bytes::copy_from_slice(&[b'/', b'a', byte, b'b']);
        let outcome = sender
            .send(Outgoing { request: recorded.clone().into(), body: None, attempt: 1 })
            .await;
        match outcome.class {
            Class::Answered => {
                let uri = shadow.take().remove(0).uri;
                let path = uri.strip_prefix("http://httpbin-shadow:8000").unwrap();
                if byte != b'?' {
                    assert_eq!(path.as_bytes(), recorded.path, "{byte:#x}");
                }
            }
            Class::Unsendable => refused.push(byte),
            other => panic!("{byte:#x}: {other:?} {}", outcome.detail),
        }
    }
    println!("refused in a path: {}", refused.escape_ascii());
    assert!(refused.iter().all(|byte| !byte.is_ascii_alphanumeric()));
    assert!(refused.contains(&b'#') && refused.contains(&b'<'));
}

/// A certificate for `localhost`, a server with it, and clients that trust it.
fn certificate() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let chain = vec![made.cert.der().clone()];
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.clone(), key)
        .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// Answers one request per connection over TLS, HTTP/2 or HTTP/1.1 as agreed;
/// returns the names the clients asked for.
fn tls_shadow(
    listener: TcpListener,
    config: Arc<ServerConfig>,
) -> (Arc<Mutex<Vec<String>>>, AbortOnDropHandle<()>) {
    let names = Arc::<Mutex<Vec<String>>>::default();
    let log = Arc::clone(&names);
    let task = tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(config);
        let mut tasks = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let session = stream.get_ref().1;
            let protocol = String::from_utf8_lossy(session.alpn_protocol().unwrap()).into_owned();
            log.lock().unwrap().push(format!("{protocol} {}", session.server_name().unwrap()));
            let seen = Arc::default();
            tasks.spawn(async move {
                let service = service_fn(|request| answer(request, Arc::clone(&seen)));
                if protocol == "h2" {
                    let builder = http2::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                } else {
                    let builder = hyper::server::conn::http1::Builder::new();
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                }
            });
        }
    });
    (names, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn tls_asks_for_the_targets_own_name_and_checks_it() {
    let (server, client) = certificate();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (names, _task) = tls_shadow(listener, server);
    let mut target = target(&format!("https://localhost:{port}"));
    for protocol in [Protocol::Http1, Protocol::Http2] {
        target.protocol = protocol;
        let sender = Sender::with_tls(&target, "job", Arc::clone(&client)).unwrap();
        for outgoing in [get("/"), post("/", noise(3_000_000)), get("/large")] {
            let outcome = sender.send(outgoing).await;
            assert_eq!(outcome.class, Class::Answered, "{protocol:?}: {}", outcome.detail);
            assert!(outcome.whole);
        }
    }
    assert_eq!(*names.lock().unwrap(), ["http/1.1 localhost", "h2 localhost"]);

    // Trusted by nobody, or for another name.
    let stranger = Sender::with_tls(&target, "job", certificate().1).unwrap();
    let outcome = stranger.send(get("/")).await;
    assert_eq!((outcome.class, outcome.written), (Class::Tls, false), "{}", outcome.detail);
    assert!(!stranger.probe().await);
    target.url = format!("https://127.0.0.1:{port}").parse().unwrap();
    let sender = Sender::with_tls(&target, "job", client).unwrap();
    assert_eq!(sender.send(get("/")).await.class, Class::Tls);
}

#[tokio::test]
async fn a_plain_server_behind_https_is_a_tls_failure() {
    let plain = Shadow::start(|mut peer| async move {
        peer.answer("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        peer.request().await;
    })
    .await;
    let target = target(&format!("https://{}", plain.address));
    let sender = Sender::with_tls(&target, "job", certificate().1).unwrap();
    let outcome = sender.send(get("/")).await;
    assert_eq!((outcome.class, outcome.written), (Class::Tls, false), "{}", outcome.detail);
}
