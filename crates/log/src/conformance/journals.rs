//! Promises of the side logs.

use super::{Bench, DEADLINE, Subject};
use crate::Journal;

/// One order for all who write and read, kept over reopening.
pub async fn a_journal_keeps_every_entry_in_one_order(subject: &dyn Subject) {
    let bench = Bench::new(subject, "journal", 1).await;
    let there = async || {
        let found = bench.again().await.journal_if_any("jobs").await.expect("can be looked for");
        found.is_some()
    };
    assert!(!there().await, "looking makes none");
    let open = async |suffix| bench.again().await.journal(suffix).await.expect("can be opened");
    let one: Journal = open("jobs").await;
    assert_eq!(one.read_from(0).await, Ok(vec![]));
    let two = open("jobs").await;
    let write = async |journal: &Journal, who: &str| {
        let mut offsets = Vec::new();
        for number in 0..20 {
            let entry = format!("{who} {number}");
            let offset = journal.append(entry.as_bytes()).await.expect("can be appended");
            offsets.push((offset, entry));
        }
        offsets
    };
    // Side by side.
    let (mut told, by_two) = tokio::join!(write(&one, "one"), write(&two, "two"));
    told.extend(by_two);
    told.push((one.append(b"").await.expect("an empty entry"), String::new()));
    told.sort_unstable();
    assert!(there().await);
    let three = open("jobs").await;
    for journal in [&one, &two, &three] {
        let entries = journal.read_from(0).await.expect("can be read");
        let entries: Vec<_> = entries
            .into_iter()
            .map(|(offset, entry)| (offset, String::from_utf8_lossy(&entry).into_owned()))
            .collect();
        assert_eq!(entries, told, "offset and entry as they were told");
    }
    let middle = told[told.len() / 2].0;
    let rest = three.read_from(middle).await.expect("can be read");
    assert_eq!(rest.len(), told.len() - told.len() / 2);
    assert_eq!(rest[0].0, middle);
    let end = told[told.len() - 1].0 + 1;
    assert_eq!(three.read_from(end).await, Ok(vec![]));
    assert_eq!(open("dead").await.read_from(0).await, Ok(vec![]), "another name, another journal");
    let big = vec![7; 500_000];
    let offset = three.append(&big).await.expect("half a megabyte");
    assert!(offset >= end, "offsets grow");
    let last = one.read_from(end).await.expect("can be read");
    assert!(last.len() == 1 && last[0].0 == offset && last[0].1 == big, "what another appended");
}

/// Waiting for what others append.
pub async fn a_journal_can_be_followed(subject: &dyn Subject) {
    let bench = Bench::new(subject, "followed", 1).await;
    let writer = bench.log.journal("jobs").await.expect("can be opened");
    let reader = bench.again().await.journal("jobs").await.expect("can be opened");
    let follow = async |from| {
        let entries = tokio::time::timeout(DEADLINE, reader.follow_from(from)).await;
        entries.expect("entries come in time").expect("can be read")
    };
    let mut next = 0;
    for round in ["a", "b", "c"] {
        let (appended, entries) = tokio::join!(writer.append(round.as_bytes()), follow(next));
        let offset = appended.expect("can be appended");
        assert_eq!(entries, [(offset, round.as_bytes().to_vec().into())]);
        next = offset + 1;
    }
    assert_eq!(follow(0).await.len(), 3, "what is there already needs no waiting");
    let wait = tokio::time::timeout(super::SILENCE, reader.follow_from(next)).await;
    assert!(wait.is_err(), "nothing was appended");
}
