//! Records that cannot be read, or are there twice.

use prost::Message;
use umbra_record::pb::record::Body;
use umbra_replay::{DeadLetter, Ended, ReplayError};

use crate::{
    recording::{MILLI, Recording, THEN, config},
    shadow::Shadow,
};

#[tokio::test]
async fn what_does_not_decode_is_kept_aside_and_passed() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    recording.gets(10, THEN, MILLI);
    recording.raw(1, THEN, b"\xff\xff\xffno record");
    recording.raw(2, THEN, b"");
    // A record of a kind of the future: passed, not kept.
    let mut future =
        umbra_record::pb::Record { agent: vec![1; 16].into(), sequence: 1, ..Default::default() }
            .encode_to_vec();
    future.extend([0xfa, 0x01, 0x02, 0x08, 0x01]);
    recording.raw(3, THEN, &future);
    for i in 10..20 {
        recording.get(&format!("{i}"), THEN, i, 0);
    }
    let job = config("poison", &[&shadow]);
    let report = recording.replay(job.clone()).await;
    assert_eq!((report.ended, report.dead, report.unknown), (Ended::Done, 2, 1));
    assert_eq!(report.targets["t0"].answered, 20);
    let dead = recording.log.journal("dead").await.unwrap().read_from(0).await.unwrap();
    let mut letters: Vec<DeadLetter> =
        dead.iter().map(|(_, bytes)| DeadLetter::decode(bytes.clone()).unwrap()).collect();
    letters.sort_by_key(|letter| letter.partition);
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0].partition, 1);
    assert_eq!(&letters[0].payload[..], b"\xff\xff\xffno record");
    assert_eq!((letters[0].job.as_str(), letters[0].target.as_str()), ("poison", "t0"));
    assert!(!letters[0].reason.is_empty() && !letters[1].reason.is_empty());
}

#[tokio::test]
async fn what_an_agent_wrote_twice_is_sent_once() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    let requests: Vec<_> = (0..5).map(|i| recording.make(&i.to_string(), THEN + i, 4, i)).collect();
    for again in [0..5, 2..5] {
        for i in again {
            let body = Body::Request(requests[i].clone());
            recording.append_as(0, THEN, body, i as u64 + 1);
        }
    }
    let report = recording.replay(config("twice", &[&shadow])).await;
    assert_eq!((report.read, report.duplicates), (5, 3));
    assert_eq!(shadow.sorted_paths(), ["/0", "/1", "/2", "/3", "/4"]);
}

#[tokio::test]
async fn somebody_elses_log_is_refused_before_it_is_copied() {
    let shadow = Shadow::ok().await;
    let mut recording = Recording::new().await;
    for n in 0..3000_u32 {
        recording.raw(n % 3, THEN + u64::from(n), b"\xff\xff not one of ours");
    }
    recording.flush().await;
    let refused = recording.try_replay(config("foreign", &[&shadow])).await;
    assert!(matches!(refused, Err(ReplayError::Unusable(_))), "{refused:?}");
}
