//! The sender over HTTP/1.1, against shadows that see and answer raw bytes.
// A shadow's tasks end with the test's runtime, and what fails panics.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod send_shadow;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use send_shadow::{OK, Peer, Shadow, VIA, answer_all, get, header, noise, post, request, target};
use tokio::{net::TcpListener, sync::Notify};
use umbra_record::{hash, pb};
use umbra_replay::{Class, Outgoing, Sender};

fn sender(shadow: &Shadow) -> Sender {
    Sender::new(&shadow.target(), "job").unwrap()
}

async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

async fn ok_shadow() -> Shadow {
    Shadow::start(|peer| answer_all(peer, OK)).await
}

#[tokio::test]
async fn every_byte_arrives_as_it_was_recorded() {
    let mut shadow = ok_shadow().await;
    let every: Vec<u8> = (0x21..=0xff).collect();
    let mut recorded = request("m-SEARCH", "/");
    recorded.path = [&b"//a/../"[..], &every, b"%2f%zz"].concat().into();
    recorded.query = Some([&every[..], b"??"].concat().into());
    recorded.headers = vec![
        header(b"x-LOWER-upper", b"1"),
        header(b"HOST", b"httpbin:8000"),
        header(b"Accept", b"a"),
        header(b"x-Lower-Upper", b"\x80\xff caf\xe9 \t\x01"),
        header(b"accept", b"b"),
        header(b"Empty", b""),
    ];
    let outcome = sender(&shadow)
        .send(Outgoing { request: recorded.clone().into(), body: None, attempt: 2 })
        .await;
    assert_eq!((outcome.class, outcome.whole), (Class::Answered, true), "{}", outcome.detail);

    let mut expected = b"m-SEARCH ".to_vec();
    expected.extend(&recorded.path[..]);
    expected.push(b'?');
    expected.extend(&recorded.query.unwrap()[..]);
    expected.extend(b" HTTP/1.1\r\nx-LOWER-upper: 1\r\nHOST: httpbin-shadow:8000\r\nAccept: a\r\n");
    expected.extend(b"x-Lower-Upper: \x80\xff caf\xe9 \t\x01\r\naccept: b\r\nEmpty: \r\n");
    expected.extend(VIA.as_bytes());
    expected.extend(b"x-umbra-attempt: 2\r\n\r\n");
    let received = shadow.received().await.head;
    assert_eq!(received.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

#[tokio::test]
async fn chunks_stay_chunks_and_trailers_come_behind() {
    let mut shadow = ok_shadow().await;
    let sender = sender(&shadow);
    for pieces in
        [vec![], vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")], noise(700_000)]
    {
        let mut recorded = request("POST", "/post");
        recorded.headers.push(header(b"Transfer-Encoding", b"chunked"));
        recorded.trailers = vec![header(b"X-Sum", b"\xfe"), header(b"x-sum", b"2")];
        let outgoing =
            Outgoing { request: recorded.into(), body: Some(pieces.clone()), attempt: 1 };
        let outcome = sender.send(outgoing).await;
        assert_eq!((outcome.class, outcome.whole), (Class::Answered, true), "{}", outcome.detail);
        let received = shadow.received().await;
        assert_eq!(hash::of(&received.body), hash::of(&pieces.concat()));
        assert_eq!(received.trailers, b"X-Sum: \xfe\r\nx-sum: 2\r\n");
        let head = String::from_utf8(received.head).unwrap();
        assert!(head.contains("Transfer-Encoding: chunked") && !head.contains("ontent-"), "{head}");
    }
    assert_eq!(shadow.accepted(), 1, "one connection served all");
}

#[tokio::test]
async fn no_body_and_an_empty_body_are_told_apart() {
    let mut shadow = ok_shadow().await;
    let sender = sender(&shadow);
    sender.send(Outgoing { body: None, request: request("POST", "/").into(), attempt: 1 }).await;
    assert!(!String::from_utf8(shadow.received().await.head).unwrap().contains("Content-Length"));
    sender.send(post("/", vec![])).await;
    let head = String::from_utf8(shadow.received().await.head).unwrap();
    assert!(head.contains("\r\nContent-Length: 0\r\n"), "{head}");
}

#[tokio::test]
async fn thirty_megabytes_to_a_shadow_that_reads_slowly_at_first() {
    let mut shadow = Shadow::start(|mut peer: Peer| async move {
        let head = peer.head().await.unwrap();
        // The kernel's buffers are full and the sender waits by then.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (body, _) = peer.body(&head).await.unwrap();
        let text = hash::of(&body).escape_ascii().to_string();
        peer.answer(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()))
            .await;
        peer.request().await;
    })
    .await;
    let body = noise(30_000_000);
    let expected = hash::of(&body.concat()).escape_ascii().to_string();
    let outcome = sender(&shadow).send(post("/", body)).await;
    assert_eq!((outcome.class, outcome.whole), (Class::Answered, true), "{}", outcome.detail);
    assert_eq!(outcome.answer.unwrap().body.unwrap(), expected);
    assert_eq!((shadow.accepted(), shadow.more()), (1, 0));
}

#[tokio::test]
async fn connections_are_used_again() {
    let mut shadow = ok_shadow().await;
    let sender = sender(&shadow);
    for turn in 0..5 {
        let outcome = sender.send(get("/")).await;
        assert_eq!(outcome.class, Class::Answered);
        assert_eq!(outcome.connect.is_some(), turn == 0);
        assert!(outcome.written && outcome.whole);
    }
    assert_eq!((shadow.accepted(), shadow.more()), (1, 5));
}

#[tokio::test]
async fn many_at_once_take_a_connection_each_and_leave_them_for_later() {
    let mut shadow = ok_shadow().await;
    let sender = Arc::new(sender(&shadow));
    for _ in 0..3 {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..40 {
            let sender = Arc::clone(&sender);
            tasks.spawn(async move { sender.send(get(&format!("/{n}"))).await.class });
        }
        while let Some(class) = tasks.join_next().await {
            assert_eq!(class.unwrap(), Class::Answered);
        }
    }
    assert!(shadow.accepted() <= 40, "{} connections", shadow.accepted());
    assert_eq!(shadow.more(), 120);
}

#[tokio::test]
async fn a_connection_that_went_stale_is_replaced_and_nothing_is_sent_twice() {
    let closed = Arc::new(Notify::new());
    let signal = Arc::clone(&closed);
    let mut shadow = Shadow::start(move |mut peer: Peer| {
        let closed = Arc::clone(&signal);
        async move {
            peer.request().await;
            peer.answer(OK).await;
            // By turns an orderly end, a reset, and bytes nobody asked for.
            match peer.number % 3 {
                0 => drop(peer),
                1 => peer.reset(),
                _ => peer.answer("HTTP/1.1 408 Request Timeout\r\n\r\n").await,
            }
            closed.notify_one();
        }
    })
    .await;
    let sender = sender(&shadow);
    for turn in 1..=6 {
        let outcome = sender.send(get("/")).await;
        assert_eq!(outcome.class, Class::Answered, "{turn}: {}", outcome.detail);
        assert!(outcome.connect.is_some());
        in_time(closed.notified()).await;
        assert_eq!((shadow.accepted(), shadow.more()), (turn, 1));
    }
}

#[tokio::test]
async fn a_shadow_that_will_close_soon_is_not_surprised() {
    let mut shadow = Shadow::start(|peer| {
        answer_all(
            peer,
            b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1, max=9\r\ncontent-length: 0\r\n\r\n",
        )
    })
    .await;
    let sender = sender(&shadow);
    for _ in 0..2 {
        assert_eq!(sender.send(get("/")).await.class, Class::Answered);
    }
    assert_eq!((shadow.accepted(), shadow.more()), (2, 2));
}

#[tokio::test]
async fn refusing_is_told_before_anything_is_written() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let sender = Sender::new(&target(&format!("http://{address}")), "job").unwrap();
    let outcome = sender.send(get("/")).await;
    assert_eq!((outcome.class, outcome.written), (Class::Refused, false));
    assert!(outcome.class.is_down() && outcome.answer.is_none());
    assert!(outcome.detail.contains(&address.to_string()), "{}", outcome.detail);
    assert!(!sender.probe().await);

    let mut back = Shadow::on(TcpListener::bind(address).await.unwrap(), |p| answer_all(p, OK));
    assert!(sender.probe().await);
    assert_eq!(sender.send(get("/")).await.class, Class::Answered);
    back.received().await;
    assert_eq!(back.more(), 0);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_its_own_case() {
    let sender = Sender::new(&target("http://does-not-exist.invalid:9"), "job").unwrap();
    let outcome = sender.send(get("/")).await;
    assert_eq!((outcome.class, outcome.written), (Class::Unresolved, false));
}

#[tokio::test]
async fn resets_pass_as_outcomes_and_are_not_sent_again() {
    // 0: at once; 1: after the head; 2: after the request; 3: within the answer.
    for stage in 0..4 {
        let mut shadow = Shadow::start(move |mut peer: Peer| async move {
            match stage {
                0 => {}
                1 => drop(peer.head().await),
                2 => drop(peer.request().await),
                _ => {
                    peer.request().await;
                    peer.answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc").await;
                    // Orderly, because a reset may overtake what was answered.
                    return;
                }
            }
            peer.reset();
        })
        .await;
        let outcome = sender(&shadow).send(post("/", noise(5))).await;
        assert_eq!(outcome.class, Class::Reset, "{stage}: {}", outcome.detail);
        assert!(!outcome.detail.is_empty());
        assert_eq!(shadow.accepted(), 1, "{stage}");
        assert_eq!(shadow.more(), usize::from(stage >= 2), "{stage}");
        if stage > 0 {
            assert!(outcome.written, "{stage}");
        }
        if stage == 3 {
            let answer = outcome.answer.expect("its beginning came");
            assert_eq!((answer.complete, answer.body_length, answer.status), (false, 3, 200));
        }
    }
}

#[tokio::test]
async fn garbage_is_an_outcome() {
    let shadow = Shadow::start(|peer| answer_all(peer, b"NOT HTTP AT ALL\r\n\r\n")).await;
    let outcome = sender(&shadow).send(get("/")).await;
    assert_eq!((outcome.class, outcome.written), (Class::Garbled, true));
    assert!(outcome.answer.is_none());
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_a_timeout() {
    for beginning in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"] {
        let shadow = Shadow::start(move |mut peer: Peer| async move {
            peer.request().await;
            peer.answer(beginning).await;
            // Holds the connection until the sender lets go.
            peer.request().await;
        })
        .await;
        let mut target = shadow.target();
        target.timeout = Duration::from_millis(300);
        let outcome = Sender::new(&target, "job").unwrap().send(get("/")).await;
        assert_eq!((outcome.class, outcome.written), (Class::Timeout, true));
        assert!(outcome.latency >= target.timeout);
        assert_eq!(outcome.answer.map(|a| a.body_length), (!beginning.is_empty()).then_some(2));
        assert_eq!(shadow.accepted(), 1);
    }
}

#[tokio::test]
async fn an_early_answer_does_not_stop_the_body() {
    let mut shadow = Shadow::start(|mut peer: Peer| async move {
        while let Some(head) = peer.head().await {
            peer.answer(OK).await;
            let (body, _) = peer.body(&head).await.unwrap();
            assert_eq!(body.len(), 20_000_000);
            // Told only when all has come, through the request log.
            peer.buffer.splice(0..0, head.iter().copied().chain(body));
            peer.request().await.unwrap();
        }
    })
    .await;
    let sender = sender(&shadow);
    for turn in 0..2 {
        let outcome = sender.send(post("/", noise(20_000_000))).await;
        assert_eq!((outcome.class, outcome.whole), (Class::Answered, true), "{}", outcome.detail);
        assert_eq!(outcome.connect.is_none(), turn == 1);
        assert_eq!(hash::of(&shadow.received().await.body), hash::of(&noise(20_000_000).concat()));
    }
}

#[tokio::test]
async fn a_shadow_that_answers_and_will_not_read_is_answered_not_whole() {
    let shadow = Shadow::start(|mut peer: Peer| async move {
        peer.head().await;
        peer.answer("HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            .await;
        tokio::io::AsyncWriteExt::shutdown(&mut peer.stream).await.unwrap();
        // Unread, until the sender has closed.
        peer.stream.readable().await.unwrap();
        tokio::time::sleep(Duration::from_secs(3600)).await;
    })
    .await;
    let outcome = sender(&shadow).send(post("/", noise(30_000_000))).await;
    assert_eq!((outcome.class, outcome.whole), (Class::Answered, false), "{}", outcome.detail);
    assert_eq!(outcome.answer.unwrap().status, 413);
}

#[tokio::test]
async fn an_early_answer_counts_although_the_body_never_gets_through() {
    let shadow = Shadow::start(|mut peer: Peer| async move {
        peer.head().await;
        peer.answer(OK).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
    })
    .await;
    let mut target = shadow.target();
    target.timeout = Duration::from_millis(400);
    let outcome = Sender::new(&target, "job").unwrap().send(post("/", noise(30_000_000))).await;
    assert_eq!((outcome.class, outcome.whole), (Class::Answered, false), "{}", outcome.detail);
    assert!(outcome.latency < target.timeout, "the wait for the body is not latency");
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_whole() {
    let shadow = Shadow::start(|mut peer: Peer| async move {
        while let Some(received) = peer.request().await {
            let status = match &received.head[..6] {
                b"GET /2" => "204 No Content",
                b"GET /3" => "304 Not Modified",
                _ => "200 OK",
            };
            peer.answer(format!("HTTP/1.1 {status}\r\ncontent-length: 7\r\n\r\n")).await;
        }
    })
    .await;
    let sender = sender(&shadow);
    let head = Outgoing { request: request("HEAD", "/").into(), body: None, attempt: 1 };
    for (outgoing, status) in [(head, 200), (get("/2"), 204), (get("/3"), 304)] {
        let outcome = sender.send(outgoing).await;
        assert_eq!(outcome.class, Class::Answered, "{}", outcome.detail);
        let answer = outcome.answer.unwrap();
        assert_eq!((answer.status, answer.body, answer.complete), (status, None, true));
    }
    assert_eq!(shadow.accepted(), 1);
}

#[tokio::test]
async fn interim_answers_come_before_the_answer() {
    let shadow = Shadow::start(|peer| {
        answer_all(
            peer,
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n\
              HTTP/1.1 200 OK\r\nX-Last: yes\r\ntransfer-encoding: chunked\r\n\r\n\
              3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n",
        )
    })
    .await;
    let sender = sender(&shadow);
    for _ in 0..2 {
        let answer = sender.send(get("/")).await.answer.unwrap();
        assert_eq!((answer.status, &answer.body.unwrap()[..]), (200, &b"abc"[..]));
        assert_eq!(answer.headers[0], header(b"X-Last", b"yes"));
        assert_eq!(answer.trailers, [header(b"X-Sum", b"9")]);
        assert_eq!(answer.version, pb::Version::Http11);
    }
    assert_eq!(shadow.accepted(), 1);
}

#[tokio::test]
async fn large_answers_are_drained_and_known_by_length_and_hash() {
    let shadow = Shadow::start(|mut peer: Peer| async move {
        while let Some(received) = peer.request().await {
            let body = noise(5_000_000).concat();
            if received.head.starts_with(b"GET /close") {
                peer.answer("HTTP/1.0 200 OK\r\n\r\n").await;
                peer.answer(body).await;
                return;
            }
            peer.answer(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len())).await;
            peer.answer(body).await;
        }
    })
    .await;
    let sender = sender(&shadow);
    let expected = noise(5_000_000).concat();
    for path in ["/", "/close"] {
        let answer = sender.send(get(path)).await.answer.unwrap();
        assert!(answer.complete, "{path}");
        assert_eq!(answer.body_length, 5_000_000);
        assert_eq!(answer.body_hash, Some(hash::of(&expected)));
        assert_eq!(answer.body.unwrap(), &expected[..umbra_replay::MAX_ANSWER_BODY]);
        assert!(answer.head_after <= answer.first_byte_after.unwrap());
        assert!(answer.first_byte_after.unwrap() <= answer.end_after);
    }
    assert_eq!(shadow.accepted(), 1);
}

#[tokio::test]
async fn what_cannot_be_sent_is_said_and_nothing_is_sent() {
    let shadow = ok_shadow().await;
    let mut recorded = request("GET", "/");
    recorded.headers.push(header(b"x", b"a\r\nGET / HTTP/1.1"));
    let outcome =
        sender(&shadow).send(Outgoing { request: recorded.into(), body: None, attempt: 1 }).await;
    assert_eq!((outcome.class, outcome.written), (Class::Unsendable, false));
    assert_eq!(shadow.accepted(), 0);
}

#[tokio::test]
async fn giving_up_closes_the_connection() {
    let gone = Arc::new(Notify::new());
    let signal = Arc::clone(&gone);
    let mut shadow = Shadow::start(move |mut peer: Peer| {
        let gone = Arc::clone(&signal);
        async move {
            peer.request().await;
            assert!(peer.request().await.is_none());
            gone.notify_one();
        }
    })
    .await;
    let sender = Arc::new(sender(&shadow));
    let task = tokio::spawn(async move { sender.send(get("/")).await });
    shadow.received().await;
    task.abort();
    in_time(gone.notified()).await;
}
