//! Another implementation reads what the codec forwards: hyper must find the same
//! message in it that we found in what came, wherever it takes the message at all.

mod h1_driver;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use h1_driver::{
    LIMITS, Pairs,
    messages::{Body, Message, config, request, response, write_fields},
};
use http_body_util::{BodyExt, Empty};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use proptest::{collection::vec, prelude::*};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use umbra_capture::h1::{
    ForwardChanges, MethodKind, RequestHead, ResponseChanges, ResponseHead, Version, parse_request,
    parse_response, write_request_head, write_response_head,
};

/// A message as hyper found it, or as we expect it: fields by lower-case name in a
/// stable order, because hyper keeps none between names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    start: Vec<String>,
    fields: Pairs,
    body: Vec<u8>,
    trailers: Pairs,
}

fn normal(fields: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Pairs {
    let mut fields: Pairs =
        fields.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    // Stable: values of one name keep their order.
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}

fn of_map(map: &HeaderMap) -> Pairs {
    normal(map.iter().map(|(name, value)| (name.as_str().into(), value.as_bytes().to_vec())))
}

async fn of_body(body: Incoming) -> Option<(Vec<u8>, Pairs)> {
    let collected = body.collect().await.ok()?;
    let trailers = collected.trailers().map(of_map).unwrap_or_default();
    Some((collected.to_bytes().to_vec(), trailers))
}

fn expected(message: &Message, sent: &Pairs) -> (Pairs, Vec<u8>, Pairs) {
    let trailers = match &message.body {
        Body::Chunked { trailers, .. } => normal(trailers.iter().cloned()),
        _ => Pairs::new(),
    };
    (normal(sent.iter().cloned()), message.body.data(), trailers)
}

/// What hyper's server finds in these bytes.
async fn serve(bytes: Vec<u8>) -> Vec<Found> {
    let found = Arc::new(Mutex::new(Vec::new()));
    let (mut ours, theirs) = tokio::io::duplex(1 << 20);
    let service = service_fn(|request: Request<Incoming>| {
        let found = Arc::clone(&found);
        async move {
            let start = vec![request.method().to_string(), request.uri().to_string()];
            let fields = of_map(request.headers());
            if let Some((body, trailers)) = of_body(request.into_body()).await {
                let message = Found { start, fields, body, trailers };
                found.lock().expect("not poisoned").push(message);
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    let serving = server.half_close(true).serve_connection(TokioIo::new(theirs), service);
    let talk = async {
        ours.write_all(&bytes).await.expect("fits the pipe");
        ours.shutdown().await.expect("open");
        let mut answers = Vec::new();
        ours.read_to_end(&mut answers).await.expect("open");
    };
    // How it ends is for hyper; what it found is compared.
    let (_, ()) = tokio::join!(serving, talk);
    std::mem::take(&mut *found.lock().expect("not poisoned"))
}

/// What hyper's client finds in these bytes.
async fn ask(bytes: Vec<u8>, method: &str) -> Option<Found> {
    let (mut ours, theirs) = tokio::io::duplex(1 << 20);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(theirs)).await.ok()?;
    let request = Request::builder().method(method).uri("/").header("host", "a");
    let request = request.body(Empty::<Bytes>::new()).ok()?;
    let asking = async move {
        let response = sender.send_request(request).await.ok()?;
        let start = vec![response.status().as_u16().to_string()];
        let fields = of_map(response.headers());
        let (body, trailers) = of_body(response.into_body()).await?;
        Some(Found { start, fields, body, trailers })
    };
    let talk = async {
        // hyper takes no answer before it has asked.
        let mut head = [0; 1];
        ours.read_exact(&mut head).await.expect("a request");
        ours.write_all(&bytes).await.expect("fits the pipe");
        ours.shutdown().await.expect("open");
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).await.expect("open");
    };
    let (found, _, ()) = tokio::join!(asking, connection, talk);
    found
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

/// hyper refuses targets that the `http` crate does not like.
fn is_known_to_hyper(message: &Message) -> bool {
    let target = &message.start[1];
    target.iter().all(|byte| byte.is_ascii() && !b"<>|{}".contains(byte))
        && !target.starts_with(b"//")
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn hyper_finds_the_same_requests(messages in vec(request(), 1..4)) {
        let messages: Vec<Message> = messages.into_iter().filter(is_known_to_hyper).collect();
        let (mut wire, mut expect) = (Vec::new(), Vec::new());
        for message in &messages {
            let sent = message.sent(&[("Host", "a"), ("Connection", "keep-alive, x-gone"), ("X-Gone", "1")]);
            let mut bytes = [&message.start[0], &b" "[..], &message.start[1], b" HTTP/1.1\r\n"].concat();
            write_fields(&sent, &mut bytes);
            let mut head = RequestHead::default();
            prop_assert!(parse_request(&bytes, &LIMITS, &mut head).is_ok());
            write_request_head(&mut wire, &bytes, &head, &ForwardChanges::default());
            wire.extend_from_slice(&message.body.raw());

            let (fields, body, trailers) = expected(message, &message.sent(&[("Host", "a")]));
            let start = message.start.iter().map(|part| String::from_utf8_lossy(part).into()).collect();
            expect.push(Found { start, fields, body, trailers });
        }
        prop_assert_eq!(block_on(serve(wire)), expect);
    }

    #[test]
    fn hyper_finds_the_same_answers(message in response()) {
        let (message, is_head) = message;
        let (kind, method) = if is_head { (MethodKind::Head, "HEAD") } else { (MethodKind::Other, "GET") };
        let sent = message.sent(&[]);
        let mut bytes = [b"HTTP/1.1 ", &message.start[0][..], b" ", &message.start[1], b"\r\n"].concat();
        write_fields(&sent, &mut bytes);
        let mut head = ResponseHead::default();
        prop_assert!(parse_response(&bytes, &LIMITS, kind, &mut head).is_ok());
        let changes = ResponseChanges { client: Version::Http11, keep_alive: true };
        let mut wire = Vec::new();
        write_response_head(&mut wire, &bytes, &head, &changes);
        wire.extend_from_slice(&message.body.raw());

        let (fields, body, trailers) = expected(&message, &sent);
        let start = vec![String::from_utf8_lossy(&message.start[0]).into_owned()];
        prop_assert_eq!(block_on(ask(wire, method)), Some(Found { start, fields, body, trailers }));
    }
}
