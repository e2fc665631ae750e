use std::collections::BTreeMap;

use super::{Group, file_name, parse};
use crate::{LogError, file::segment::Place, progress::Checkpoint};

#[test]
fn names_of_groups_stay_apart_and_inside_the_directory() {
    let names = ["a", "a.b", ".a", "..", "a/b", "a%2fb", "ä", "A"];
    let files: std::collections::BTreeSet<_> = names.iter().map(|name| file_name(name)).collect();
    assert_eq!(files.len(), names.len());
    assert!(files.iter().all(|file| !file.contains('/') && !file.starts_with('.')), "{files:?}");
}

#[test]
fn progress_is_read_as_it_was_committed() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Directory(directory.path().to_owned());
    let (mut group, progress) = Group::join(&place, "umbra.shop.job 1").unwrap();
    assert!(progress.is_empty());
    let told = BTreeMap::from([
        (0, Checkpoint::fresh(7)),
        (
            11,
            Checkpoint {
                committed: 1 << 40,
                reserved: (1 << 40) + 9,
                runs: vec![((1 << 40) + 2, (1 << 40) + 3)],
                note: bytes::Bytes::from_static(b"seen\0"),
            },
        ),
    ]);
    group.commit(&told, false).unwrap();
    group.commit(&told, true).unwrap();
    drop(group);
    let (_group, progress) = Group::join(&place, "umbra.shop.job 1").unwrap();
    assert_eq!(progress, told);
}

#[test]
fn a_second_reader_is_told_who_reads() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Directory(directory.path().to_owned());
    let _first = Group::join(&place, "g").unwrap();
    let Err(LogError::Held(why)) = Group::join(&place, "g") else { panic!("let in twice") };
    let us = format!("process {} on ", std::process::id());
    assert!(why.contains(&us) && why.contains("use Kafka to scale out"), "{why}");
    Group::join(&place, "h").expect("another group is free");
}

#[test]
fn progress_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Directory(directory.path().to_owned());
    drop(Group::join(&place, "g").unwrap());
    let file = directory.path().join("groups/g");
    for text in ["", "umbra progress 2\n", "umbra progress 1\n0\n", "umbra progress 1\n0 x r0\n"] {
        std::fs::write(&file, text).unwrap();
        let Err(LogError::Unusable(why)) = Group::join(&place, "g") else {
            panic!("{text:?} was read")
        };
        assert!(why.contains("groups/g"), "{why}");
    }
}

proptest::proptest! {
    #[test]
    fn any_file_is_refused_or_read(
        damage in proptest::collection::vec(
            (proptest::arbitrary::any::<proptest::sample::Index>(), proptest::char::any()), 0..4,
        ),
        lines in proptest::collection::vec("[0-9]{0,22} [0-9]{0,22}( r[0-9]{0,22})?( n[A-Za-z]{0,9})?( [0-9]{0,3}[+][0-9]{0,22})*", 0..4),
    ) {
        let mut text: Vec<char> =
            format!("umbra progress 1\n0 7 r9 1+1\n{}\n", lines.join("\n")).chars().collect();
        for (place, letter) in damage {
            let place = place.index(text.len());
            text[place] = letter;
        }
        let text: String = text.into_iter().collect();
        for checkpoint in parse(&text).into_iter().flat_map(BTreeMap::into_values) {
            let mut progress = crate::progress::Progress::resume(&checkpoint);
            progress.deliver(progress.next());
            let _ = progress.checkpoint().metadata();
        }
    }
}
