//! Promises about what is kept beside progress, and what is known of a group from
//! outside.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use super::{Bench, DEADLINE, NOTHING, Reader, Subject, offsets, settle};
use crate::{Assigned, Event, LogError, MAX_NOTE, Start, Tail};

/// Partition, offset and note of what a reader is assigned, of so many partitions.
async fn assigned(reader: &mut Reader, partitions: usize) -> BTreeMap<u32, (u64, Bytes)> {
    let mut met = BTreeMap::new();
    while met.len() < partitions {
        match reader.event().await {
            Event::Assigned(list) => {
                met.extend(list.into_iter().map(|one| (one.partition, (one.offset, one.note))));
            }
            other => panic!("{other:?} before the partitions were assigned"),
        }
    }
    met
}

/// Whatever it holds, with progress, whether it goes or crashes.
pub async fn a_note_is_handed_to_the_next_reader(subject: &dyn Subject) {
    let bench = Bench::new(subject, "notes", 2).await;
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..10);
    writer.append_numbers(1, 0..10);
    writer.flush().await;
    let mut first = bench.reader(Some("g"), Start::Earliest).await;
    let begun = assigned(&mut first, 2).await;
    assert_eq!(begun, [(0, (0, Bytes::new())), (1, (0, Bytes::new()))].into());
    let longest: Bytes = (0..MAX_NOTE).map(|at| at as u8).collect();
    first.0.note(1, longest.clone());
    for delivery in first.up_to(&[(0, 10), (1, 10)]).await {
        if delivery.partition == 0 {
            // The note first: what is committed of the delivery has it.
            first.0.note(0, Bytes::from(format!("{} settled", delivery.offset + 1)));
        }
        delivery.done();
    }
    first.close().await;
    let expected: BTreeMap<_, _> =
        [(0, (10, Bytes::from("10 settled"))), (1, (10, longest))].into();
    // A reader that notes nothing keeps what was noted.
    for _ in 0..2 {
        let mut next = bench.reader(Some("g"), Start::Earliest).await;
        assert_eq!(assigned(&mut next, 2).await, expected);
        assert_eq!(offsets(&next.up_to(&[(0, 10), (1, 10)]).await), NOTHING);
        next.close().await;
    }
    let mut other = bench.reader(Some("h"), Start::Earliest).await;
    let others = assigned(&mut other, 2).await;
    assert!(others.values().all(|(_, note)| note.is_empty()), "notes are of a group");
    other.close().await;
}

/// Without anything done, and without `close`.
pub async fn a_note_alone_is_committed(subject: &dyn Subject) {
    let bench = Bench::new(subject, "alone", 1).await;
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..3);
    writer.flush().await;
    let log = bench.again().await;
    let mut reader = bench.reader(Some("g"), Start::Earliest).await;
    let held = reader.deliveries(3).await;
    reader.0.note(0, Bytes::from("seen"));
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let state = log.group(&format!("{}.g", bench.name)).await.expect("a state");
        if let Some(progress) = state.partitions.get(&0).filter(|one| one.note == "seen") {
            assert_eq!((progress.committed, progress.settled_beyond), (0, 0));
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the note is not committed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(reader);
    drop(held);
    let mut next = bench.reader(Some("g"), Start::Earliest).await;
    assert_eq!(assigned(&mut next, 1).await, [(0, (0, Bytes::from("seen")))].into());
    next.close().await;
}

/// And the one before it stays.
pub async fn a_note_that_is_too_long_is_refused(subject: &dyn Subject) {
    let bench = Bench::new(subject, "long", 1).await;
    let mut reader = bench.reader(Some("g"), Start::Earliest).await;
    assigned(&mut reader, 1).await;
    reader.0.note(0, Bytes::from("short"));
    reader.0.note(0, Bytes::from(vec![0; MAX_NOTE + 1]));
    reader.0.note(9, Bytes::from("of no partition"));
    reader.close().await;
    let mut next = bench.reader(Some("g"), Start::Earliest).await;
    assert_eq!(assigned(&mut next, 1).await, [(0, (0, Bytes::from("short")))].into());
    next.close().await;
}

/// Its progress, what is settled beyond, and who reads.
pub async fn a_group_is_seen_from_outside(subject: &dyn Subject) {
    let bench = Bench::new(subject, "outside", 2).await;
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..20);
    writer.flush().await;
    let log = bench.again().await;
    let group = format!("{}.g", bench.name);
    let nobody = log.group(&group).await.expect("a group that never was");
    assert_eq!((nobody.partitions.len(), nobody.members.len()), (0, 0));
    let mut reader = bench.reader(Some("g"), Start::Earliest).await;
    let (done, undone) =
        reader.up_to(&[(0, 20), (1, 0)]).await.into_iter().partition(|one| one.offset != 4);
    settle(done);
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let state = log.group(&group).await.expect("a state");
        let [member] = &state.members[..] else { panic!("{:?}", state.members) };
        let progress = state.partitions.get(&0);
        if let Some(progress) = progress.filter(|one| one.committed == 4) {
            assert_eq!(progress.settled_beyond, 15);
            assert_eq!(member.partitions, [0, 1]);
            assert!(!member.id.is_empty() && !member.host.is_empty(), "{member:?}");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{state:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    reader.close().await;
    drop::<Vec<_>>(undone);
    let state = log.group(&group).await.expect("a state");
    assert_eq!(state.members, []);
    assert_eq!(state.partitions[&0].committed, 4);
}

/// Not while there are members; then everything, and only of this group.
pub async fn a_group_is_forgotten_when_nobody_reads(subject: &dyn Subject) {
    let bench = Bench::new(subject, "forgotten", 1).await;
    let writer = bench.writer().await;
    writer.append_numbers(0, 0..5);
    writer.flush().await;
    let log = bench.again().await;
    for group in ["g", "h"] {
        let mut reader = bench.reader(Some(group), Start::Earliest).await;
        reader.up_to(&[(0, 5)]).await.into_iter().for_each(crate::Delivery::done);
        reader.0.note(0, Bytes::from("noted"));
        let group = format!("{}.{group}", bench.name);
        let held = log.delete_group(&group).await;
        assert!(matches!(held, Err(LogError::Held(_))), "{held:?}");
        reader.close().await;
    }
    let group = format!("{}.g", bench.name);
    log.delete_group(&group).await.expect("nobody reads");
    assert_eq!(log.group(&group).await.expect("a state"), crate::GroupState::default());
    log.delete_group(&group).await.expect("it is forgotten already");
    log.delete_group("never-was").await.expect("there is nothing to forget");
    let mut anew = bench.reader(Some("g"), Start::Earliest).await;
    assert_eq!(assigned(&mut anew, 1).await, [(0, (0, Bytes::new()))].into());
    anew.close().await;
    let mut other = bench.reader(Some("h"), Start::Earliest).await;
    let kept = Assigned { partition: 0, offset: 5, note: Bytes::from("noted") };
    assert_eq!(assigned(&mut other, 1).await, [(0, (kept.offset, kept.note))].into());
    other.close().await;
}

/// Of any record, not of the one at the end.
pub async fn the_time_of_a_record_is_found(subject: &dyn Subject) {
    let bench = Bench::new(subject, "times", 3).await;
    let writer = bench.writer().await;
    let begin = super::now_ns() - 3_600_000_000_000;
    let at = |second: u64| begin + second * 1_000_000_000;
    for second in 0..100 {
        writer.try_append(0, at(second), b"zero").expect("there is room");
        writer.try_append(1, at(1000 + second), b"one").expect("there is room");
    }
    writer.flush().await;
    let log = bench.again().await;
    let times = log.times_at(&[(0, 70), (1, 3), (2, 0)].into(), DEADLINE).await.expect("times");
    assert_eq!(times, [(0, at(70)), (1, at(1003))].into());
    let ends = log.times_at(&[(0, 100), (1, 99)].into(), DEADLINE).await.expect("times");
    assert_eq!(ends, [(1, at(1099))].into());
}
