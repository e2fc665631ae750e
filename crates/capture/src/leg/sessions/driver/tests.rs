//! Who is asked whether he lives, and who is given up. The peer is at the other end of
//! a pipe within the process.

use std::rc::Rc;

use tokio::{io::DuplexStream, runtime, task::LocalSet, time::Instant};

use super::*;

const TIMES: Times = Times {
    silence: Duration::from_millis(40),
    pong: Duration::from_millis(40),
    again: Duration::from_millis(200),
};

fn block_on(test: impl Future<Output = ()>) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// A session, its driver's task, and its peer, which has accepted it and does nothing.
async fn session() -> (
    h2::client::SendRequest<Bytes>,
    Rc<Pulse>,
    tokio::task::JoinHandle<()>,
    h2::server::Connection<DuplexStream, Bytes>,
) {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let accepting = h2::server::handshake(theirs);
    let (made, accepted) = tokio::join!(h2::client::Builder::new().handshake(ours), accepting);
    let (requests, connection) = made.unwrap();
    let pulse = Rc::new(Pulse::new(100));
    let theirs = Rc::clone(&pulse);
    let driver = tokio::task::spawn_local(async move {
        drive(connection, &theirs, &Notify::new(), TIMES).await;
    });
    (requests, pulse, driver, accepted.unwrap())
}

async fn ends(driver: tokio::task::JoinHandle<()>) {
    timeout(Duration::from_secs(10), driver).await.expect("the driver goes on").unwrap();
}

#[test]
fn a_peer_that_answers_nothing_is_given_up() {
    block_on(async {
        let (mut requests, pulse, driver, _frozen) = session().await;
        pulse.begin();
        let request = http::Request::get("http://a/").body(()).unwrap();
        let (response, _) = requests.send_request(request, true).unwrap();
        assert!(response.await.unwrap_err().is_io());
        ends(driver).await;
        assert!(pulse.is_silent() && pulse.is_over());
    });
}

#[test]
fn a_peer_that_answers_pings_lives() {
    block_on(async {
        let (_requests, pulse, driver, mut peer) = session().await;
        pulse.begin();
        let until = Instant::now() + 8 * TIMES.silence;
        let serving = poll_fn(|cx| peer.poll_closed(cx));
        assert!(tokio::time::timeout_at(until, serving).await.is_err());
        assert!(!driver.is_finished() && !pulse.is_silent());
        driver.abort();
    });
}

#[test]
fn without_a_stream_nobody_is_asked() {
    block_on(async {
        let (_requests, pulse, driver, _frozen) = session().await;
        tokio::time::sleep(6 * TIMES.silence).await;
        assert!(!driver.is_finished() && !pulse.is_silent());
        driver.abort();
    });
}

#[test]
fn a_session_nobody_needs_ends() {
    block_on(async {
        let (requests, pulse, driver, mut peer) = session().await;
        drop(requests);
        let serving = poll_fn(|cx| peer.poll_closed(cx));
        // However the pipe's other end sees it.
        let (_, ()) = tokio::join!(serving, ends(driver));
        assert!(pulse.is_over() && !pulse.is_silent());
    });
}

#[test]
fn the_peers_limit_is_known_once_it_was_said() {
    block_on(async {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let mut builder = h2::server::Builder::new();
        let accepting = builder.max_concurrent_streams(7).handshake::<_, Bytes>(theirs);
        let (made, accepted) = tokio::join!(h2::client::Builder::new().handshake(ours), accepting);
        let (_requests, connection): (h2::client::SendRequest<Bytes>, _) = made.unwrap();
        let mut peer = accepted.unwrap();
        let pulse = Pulse::new(100);
        let room = Notify::new();
        tokio::select! {
            () = drive(connection, &pulse, &room, TIMES) => panic!("it ended"),
            _ = poll_fn(|cx| peer.poll_closed(cx)) => panic!("it ended"),
            () = room.notified() => {}
        }
        assert_eq!(pulse.limit(), 7);
    });
}
