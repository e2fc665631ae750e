//! How long the rest of a body is waited for: as long as its agent lives.

use std::time::Duration;

use umbra_record::pb::{self, Completeness, record::Body};
use umbra_replay::{Config, Pace, Which};

use crate::{
    recording::{MILLI, Recording, SECOND, config, now, until},
    shadow::Shadow,
};

/// `POST /upload`, written while it was still going on.
fn open(recording: &mut Recording, at: u64) -> pb::Request {
    let mut open = recording.make("upload", at, 1, 0);
    open.method = "POST".into();
    open.headers.push(pb::Header { name: "Transfer-Encoding".into(), value: "chunked".into() });
    open.body = Some("abc".into());
    open.completeness = Completeness::Open as i32;
    recording.request(open.clone());
    open
}

#[tokio::test]
async fn a_slow_upload_is_waited_for_while_its_agent_lives() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    let grace = 1500 * MILLI;
    let job = Config {
        which: Which::Live,
        pace: Pace::Arrival { delay: None },
        grace: Duration::from_nanos(grace),
        ..config("slow-upload", &[&shadow])
    };
    let running = recording.start(job).await;
    until(|| running.stats.snapshot().contains_key("t0")).await;
    let begun = now();
    let upload = open(&mut recording, begun);
    while now() < begun + 2 * grace {
        recording.marks(begun, now(), false);
        recording.flush().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let rest =
        pb::BodyPart { id: upload.id, data: "def".into(), last: true, ..pb::BodyPart::default() };
    recording.append(1, now(), Body::Part(rest));
    recording.flush().await;
    until(|| {
        let state = &running.stats.snapshot()["t0"];
        state.sent + state.skipped > 0
    })
    .await;
    let report = running.stop().await;
    assert!(report.targets["t0"].skipped.is_empty(), "{:?}", report.targets["t0"].skipped);
    assert_eq!(shadow.seen()[0].body, b"abcdef");
}

#[tokio::test]
async fn an_upload_of_an_agent_that_fell_silent_is_given_up() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    let begun = now();
    open(&mut recording, begun - SECOND);
    recording.get("behind", begun - SECOND + 1, 1, 1);
    recording.marks(begun - SECOND, begun, false);
    let job = Config { grace: Duration::from_millis(500), ..config("silent-upload", &[&shadow]) };
    let report = recording.replay(job).await;
    assert_eq!(report.targets["t0"].skipped["incomplete"], 1);
    assert_eq!(shadow.paths(), ["/behind"]);
}
