//! A client of HTTP/2 while what is behind the tee stands still: a large upload and many
//! small requests on one connection.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;

use super::{
    service::{LARGE, pattern},
    subject::Subject,
};

/// Small requests of one client, so many of them at a time.
const SMALL: usize = 200;
const AT_A_TIME: usize = 20;

/// How often the time is taken; the shortest counts.
const ROUNDS: usize = 2;

/// What noise may add.
const SLACK: Duration = Duration::from_millis(500);

/// Takes the times of all, in turns; once more if one was late.
pub(super) fn measure(off: &Subject, all: &[&Subject], ratio: f64) {
    let mut best = vec![Duration::MAX; all.len() + 1];
    for round in 0..2 * ROUNDS {
        let subjects = [off].into_iter().chain(all.iter().copied());
        for (subject, best) in subjects.zip(&mut best) {
            subject.count(SMALL + 1);
            *best = run(subject.address()).min(*best);
        }
        let bound = best[0].mul_f64(ratio) + SLACK;
        let late = best.iter().any(|took| *took > bound);
        if round + 1 >= ROUNDS && !late {
            break;
        }
    }
    let names = [off].into_iter().chain(all.iter().copied()).map(|subject| subject.name);
    let shown: Vec<_> = names.zip(&best).collect();
    println!("over HTTP/2: {shown:.1?}");
    let bound = best[0].mul_f64(ratio) + SLACK;
    assert!(best.iter().all(|took| *took <= bound), "over HTTP/2: {shown:?}");
}

fn run(to: SocketAddr) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(30), client(to)).await.expect("it hangs")
    })
}

async fn client(to: SocketAddr) -> Duration {
    let stream = tokio::net::TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let start = Instant::now();
    let upload = async {
        let body = Bytes::from_static(&pattern()[..LARGE]);
        assert_eq!(call(sender.clone(), "POST", "/upload".to_owned(), body).await, "same");
    };
    let small = async {
        for first in (0..SMALL).step_by(AT_A_TIME) {
            let mut some = JoinSet::new();
            for n in first..first + AT_A_TIME {
                some.spawn(call(sender.clone(), "GET", format!("/small/{n}"), Bytes::new()));
            }
            while let Some(answer) = some.join_next().await {
                assert_eq!(answer.unwrap(), "ok");
            }
        }
    };
    tokio::join!(upload, small);
    let took = start.elapsed();
    driver.abort_all();
    took
}

async fn call(
    mut sender: http2::SendRequest<Full<Bytes>>,
    method: &'static str,
    path: String,
    body: Bytes,
) -> Bytes {
    let request = Request::builder().method(method).uri(format!("http://shop{path}"));
    let answer = sender.send_request(request.body(Full::new(body)).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap().to_bytes()
}
