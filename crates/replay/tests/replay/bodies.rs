//! Bodies that are in several records, and those that never become whole.

use bytes::Bytes;
use umbra_record::pb::{self, Completeness, record::Body};
use umbra_replay::Ended;

use crate::{
    recording::{Recording, SECOND, THEN, config, until},
    shadow::Shadow,
};

fn part(request: &pb::Request, index: u32, data: &[u8]) -> pb::BodyPart {
    pb::BodyPart {
        id: request.id.clone(),
        index,
        data: Bytes::copy_from_slice(data),
        ..pb::BodyPart::default()
    }
}

#[tokio::test]
async fn parts_are_joined_although_others_come_between() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    let mut large = recording.make("large", THEN, 1, 0);
    large.method = "POST".into();
    let body: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    large.headers.push(pb::Header { name: "Content-Length".into(), value: "3000000".into() });
    large.body = Some(Bytes::copy_from_slice(&body[..500_000]));
    large.body_length = body.len() as u64;
    large.parts = 5;
    recording.request(large.clone());
    for (index, piece) in body[500_000..].chunks(500_000).enumerate() {
        recording.get(&format!("between{index}"), THEN + SECOND, 5 + 4 * index as u64, 0);
        recording.append(1, THEN, Body::Part(part(&large, index as u32, piece)));
    }
    let report = recording.replay(config("parts", &[&shadow])).await;
    assert_eq!(report.targets["t0"].answered, 6);
    let seen = shadow.seen();
    let got = seen.iter().find(|seen| seen.path == "/large").unwrap();
    assert_eq!(got.body.len(), body.len());
    assert!(got.body == body);
}

#[tokio::test]
async fn an_open_request_gets_its_rest_and_trailers_after_the_windows_end() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    let mut open = recording.make("open", THEN, 1, 0);
    open.method = "POST".into();
    open.headers.push(pb::Header { name: "Transfer-Encoding".into(), value: "chunked".into() });
    open.body = Some("abc".into());
    open.completeness = Completeness::Open as i32;
    recording.request(open.clone());
    recording.flush().await;
    let job = config("open", &[&shadow]);
    umbra_replay::plan(&job, &recording.log).await.unwrap();
    // Beyond the stored end.
    recording.get("not-meant", THEN, 5, 0);
    let mut last = part(&open, 0, b"def");
    last.last = true;
    recording.append(1, THEN, Body::Part(last));
    let report = recording.replay(job).await;
    assert_eq!((report.ended, report.targets["t0"].answered), (Ended::Done, 1));
    assert_eq!(shadow.paths(), ["/open"]);
    assert_eq!(shadow.seen()[0].body, b"abcdef");
}

#[tokio::test]
async fn what_is_not_whole_is_skipped_with_its_reason() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    let mut sent = 0;
    for (i, completeness) in
        [Completeness::Complete, Completeness::Truncated, Completeness::Aborted].iter().enumerate()
    {
        let mut request = recording.make("x", THEN, i as u64, 0);
        request.completeness = *completeness as i32;
        recording.request(request);
        sent += u64::from(*completeness != Completeness::Aborted);
    }
    let mut tunnel = recording.make("ws", THEN, 7, 0);
    tunnel.tunnel = true;
    recording.request(tunnel);
    let mut aborted = recording.make("aborted", THEN, 8, 0);
    aborted.completeness = Completeness::Open as i32;
    recording.request(aborted.clone());
    let mut end = part(&aborted, 0, b"x");
    end.aborted = true;
    end.completeness = Completeness::Aborted as i32;
    recording.append(0, THEN, Body::Part(end));
    // The agent ended; the rest of this one never came.
    let mut lost = recording.make("lost", THEN, 9, 0);
    lost.parts = 3;
    lost.body_length = 100;
    recording.request(lost.clone());
    recording.append(1, THEN, Body::Part(part(&lost, 0, b"x")));
    recording.marks(THEN + SECOND, THEN + SECOND, true);
    let mut huge = recording.make("huge", THEN, 10, 0);
    huge.parts = 3;
    huge.body_length = 1 << 30;
    recording.request(huge);
    // Behind the lost one on its connection: it must not wait for ever.
    recording.get("behind", THEN + 1, 9, 1);
    let report = recording.replay(config("whole", &[&shadow])).await;
    let target = &report.targets["t0"];
    assert_eq!(target.sent, sent + 1);
    assert_eq!(target.skipped["aborted"], 2);
    assert_eq!(target.skipped["tunnel"], 1);
    assert_eq!(target.skipped["incomplete"], 1);
    assert_eq!(target.skipped["too_large"], 1);
    assert_eq!(target.selected, target.sent + target.skipped.values().sum::<u64>());
    assert_eq!(shadow.sorted_paths(), ["/x", "/x", "/behind"]);
}

#[tokio::test]
async fn large_bodies_fit_beside_a_full_read_ahead() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    let piece = vec![b'x'; 100_000];
    let mut large = 0;
    for i in 0..120u64 {
        let mut small = recording.make(&format!("small{i}"), THEN + i, i, 0);
        small.method = "POST".into();
        small.body = Some(piece[..50_000].to_vec().into());
        small.body_length = 50_000;
        recording.request(small);
        if i % 20 == 0 {
            let mut request = recording.make(&format!("large{i}"), THEN + i, 1000 + i, 0);
            request.method = "POST".into();
            request.parts = 9;
            request.body_length = 900_000;
            recording.request(request.clone());
            for index in 0..9 {
                let partition = request.connection as u32 % 4;
                recording.append(partition, THEN, Body::Part(part(&request, index, &piece)));
            }
            large += 1;
        }
    }
    let mut job = config("room", &[&shadow]);
    // A Kafka reader takes bodies up to half of it.
    job.read_ahead_bytes = 2 << 20;
    let report = recording.replay(job).await;
    assert_eq!(report.targets["t0"].answered, 120 + large, "{:?}", report.targets["t0"].skipped);
    assert_eq!(shadow.seen().iter().filter(|seen| seen.body.len() == 900_000).count(), 6);
}

#[tokio::test]
async fn thirty_megabytes_arrive_among_others() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    let piece = vec![b'x'; 800_000];
    // All in one partition, so that its share of the read-ahead fills.
    for i in 0..60u64 {
        let mut request = recording.make(&format!("m{i}"), THEN + i, 4 * i, 0);
        request.method = "POST".into();
        request.body = Some(piece.clone().into());
        request.body_length = 800_000;
        recording.request(request);
        if i % 20 == 10 {
            let mut request = recording.make(&format!("large{i}"), THEN + i, 4000 + 4 * i, 0);
            request.method = "POST".into();
            request.parts = 38;
            request.body_length = 38 * 800_000;
            recording.request(request.clone());
            for index in 0..38 {
                recording.append(0, THEN, Body::Part(part(&request, index, &piece)));
                recording.flush().await;
            }
        }
        recording.flush().await;
    }
    let mut job = config("thirty", &[&shadow]);
    job.targets[0].concurrency = 2;
    let report = recording.replay(job).await;
    assert_eq!(report.targets["t0"].answered, 63, "{:?}", report.targets["t0"].skipped);
    assert_eq!(shadow.seen().iter().filter(|seen| seen.body.len() == 38 * 800_000).count(), 3);
}

/// Bodies in several records, all at once in each of these partitions, with small
/// requests between their parts.
async fn interleave(recording: &mut Recording, partitions: &[u32], bodies: u32, parts: u32) {
    let piece = 900_000;
    let mut larges = Vec::new();
    for body in 0..bodies {
        for &partition in partitions {
            let fill = u8::try_from(partition * bodies + body).unwrap();
            let at = THEN + u64::from(body);
            let mut large = recording.make(&format!("large{fill}"), at, u64::from(fill), 0);
            large.method = "POST".into();
            large.parts = parts;
            large.body_length = u64::from(parts * piece);
            larges.push((partition, fill, large));
        }
    }
    for index in 0..=parts {
        for (i, (partition, fill, large)) in larges.iter().enumerate() {
            if index == 0 {
                recording.append(*partition, THEN, Body::Request(large.clone()));
            } else {
                let piece = vec![*fill; piece as usize];
                recording.append(*partition, THEN, Body::Part(part(large, index - 1, &piece)));
            }
            let connection = 1000 + u64::from(*fill);
            let small = recording.make("small", THEN + 9, connection, u64::from(index));
            recording.append(*partition, THEN, Body::Request(small));
            // The writer's queue takes 16 MiB.
            if i == 0 && index % 4 == 0 {
                recording.flush().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interleaved_large_bodies_arrive_within_the_bound() {
    const BOUND: usize = 64 << 20;
    let shadow = Shadow::forgetful().await;
    let mut recording = Recording::of(12).await;
    // On Kafka all partitions come side by side, whatever the order they were written
    // in: 36 bodies, 778 MB.
    for partition in 0..12 {
        interleave(&mut recording, &[partition], 3, 24).await;
    }
    let running = recording.start(config("interleaved", &[&shadow])).await;
    let mut most = 0;
    until(|| {
        let state = running.stats.snapshot().remove("t0").unwrap_or_default();
        most = most.max(state.held_bytes);
        state.finished
    })
    .await;
    let report = running.end().await;
    let target = &report.targets["t0"];
    assert_eq!(target.answered, 36 + 36 * 25, "{:?}", target.skipped);
    let seen = shadow.seen();
    let large: Vec<_> = seen.iter().filter(|seen| seen.length > 0).collect();
    assert_eq!(large.len(), 36);
    for seen in large {
        assert_eq!(seen.length, 21_600_000, "{}", seen.path);
        assert_eq!(seen.path, format!("/large{}", seen.body[0]));
        assert_eq!(seen.body.len(), 1, "all bytes are the same");
    }
    // Half as much again for bodies that would block each other, the reader's quarter,
    // and a record of each partition.
    let constant = BOUND / 2 + BOUND / 4 + 12 * (1 << 20);
    assert!(most > 0 && most <= BOUND + constant, "{most} were held");
}
