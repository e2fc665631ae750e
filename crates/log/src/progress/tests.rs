use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{BLOCK, Checkpoint, MAX_NOTE, METADATA_LIMIT, MOST_BLOCK, Progress, base64};

/// A reader that may deliver at once, up to `reserved`.
fn reading(start: u64) -> Progress {
    let mut progress = Progress::resume(&Checkpoint::fresh(start));
    let checkpoint = progress.checkpoint();
    progress.confirmed(&checkpoint);
    progress
}

#[test]
fn only_the_contiguous_prefix_is_committed() {
    let mut progress = reading(10);
    for offset in 10..15 {
        assert_eq!(progress.deliver(offset), 1);
    }
    progress.settle(12);
    progress.settle(14);
    assert_eq!(progress.committed(), 10);
    progress.settle(10);
    assert_eq!(progress.committed(), 11);
    progress.settle(11);
    assert_eq!(progress.committed(), 13);
    let checkpoint = progress.checkpoint();
    assert_eq!(checkpoint.runs, [(14, 15)]);
}

#[test]
fn nothing_is_delivered_beyond_what_is_reserved() {
    let mut progress = Progress::resume(&Checkpoint::fresh(0));
    assert!(!progress.may_deliver(0));
    assert!(progress.wants_reservation());
    let checkpoint = progress.checkpoint();
    assert_eq!(checkpoint.reserved, BLOCK);
    assert!(!progress.may_deliver(0), "not durable yet");
    assert!(!progress.wants_reservation(), "asked for already");
    progress.confirmed(&checkpoint);
    assert!(progress.may_deliver(BLOCK - 1));
    assert!(!progress.may_deliver(BLOCK));
    for offset in 0..=BLOCK / 2 {
        progress.deliver(offset);
    }
    assert!(progress.wants_reservation());
    progress.checkpoint();
    progress.failed();
    assert!(progress.wants_reservation(), "a failed commit reserved nothing");
}

#[test]
fn as_much_is_reserved_as_the_pace_needs() {
    let mut progress = Progress::resume(&Checkpoint::fresh(0));
    let ahead = |progress: &mut Progress, used: u64| {
        let checkpoint = progress.checkpoint();
        progress.confirmed(&checkpoint);
        let next = progress.next();
        (next..(next + used).min(checkpoint.reserved)).for_each(|offset| {
            progress.deliver(offset);
        });
        checkpoint.reserved - next
    };
    // Each block is used up before the next one is there.
    let fast: Vec<u64> = (0..5).map(|_| ahead(&mut progress, u64::MAX / 2)).collect();
    assert_eq!(fast, [1, 2, 4, 8, 8].map(|times| times * BLOCK));
    assert_eq!(fast.last(), Some(&MOST_BLOCK));
    // Hardly any of it is used: the next ones are small again.
    for _ in 0..80 {
        ahead(&mut progress, 400);
    }
    let slow = ahead(&mut progress, 400);
    assert!((BLOCK / 2..=BLOCK).contains(&slow), "{slow}");
}

#[test]
fn a_successor_skips_what_is_settled_and_marks_the_rest_below_reserved() {
    let mut first = reading(0);
    for offset in 0..10 {
        first.deliver(offset);
    }
    for offset in [0, 1, 4, 5, 8] {
        first.settle(offset);
    }
    let checkpoint = first.checkpoint();
    let checkpoint = Checkpoint::parse(checkpoint.committed, &checkpoint.metadata())
        .expect("what was written is read");
    let mut second = Progress::resume(&checkpoint);
    assert_eq!(second.committed(), 2);
    let again: Vec<u64> = (2..10).filter(|&o| !second.is_settled(o)).collect();
    assert_eq!(again, [2, 3, 6, 7, 9]);
    for offset in again {
        assert_eq!(second.deliver(offset), 2);
    }
    assert_eq!(second.deliver(checkpoint.reserved), 1, "never delivered before");
}

#[test]
fn a_clean_end_marks_no_more_than_was_delivered() {
    let mut progress = reading(0);
    progress.deliver(0);
    progress.deliver(1);
    progress.settle(0);
    assert_eq!(progress.last_checkpoint().reserved, 2);
    progress.settle(1);
    assert_eq!(progress.last_checkpoint(), Checkpoint::fresh(2));
}

#[test]
fn a_clean_end_marks_nothing_that_is_untouched() {
    let mut progress = reading(0);
    for offset in 0..100 {
        progress.deliver(offset);
    }
    for offset in [0, 1, 50, 60, 98] {
        progress.settle(offset);
    }
    // 20 and 30 are neither.
    for offset in (2..100).rev().filter(|one| ![20, 30, 50, 60, 98].contains(one)) {
        progress.untouched(offset);
    }
    let last = progress.last_checkpoint();
    assert_eq!((last.committed, last.reserved), (2, 31));
    assert_eq!(last.runs, [(50, 51), (60, 61), (98, 99)]);
    progress.untouched(20);
    progress.untouched(30);
    let last = progress.last_checkpoint();
    assert_eq!((last.committed, last.reserved), (2, 2));
    let mut second = Progress::resume(&last);
    assert_eq!((second.deliver(2), second.deliver(97), second.is_settled(98)), (1, 1, true));
}

#[test]
fn runs_that_are_left_out_are_reserved() {
    let runs: Vec<_> = (0..5000u64).map(|n| (n * 10 + 5, n * 10 + 6)).collect();
    let checkpoint = Checkpoint { runs, ..Checkpoint::fresh(0) };
    let text = checkpoint.metadata();
    assert!(text.len() <= METADATA_LIMIT, "{} bytes", text.len());
    let read = Checkpoint::parse(0, &text).expect("readable");
    assert_eq!(read.reserved, 4999 * 10 + 6);
}

#[test]
fn a_clean_end_keeps_the_mark_of_what_a_predecessor_may_have_done() {
    let crashed =
        Checkpoint { committed: 5, reserved: 100, runs: vec![(7, 9)], ..Checkpoint::fresh(0) };
    let mut progress = Progress::resume(&crashed);
    progress.deliver(5);
    progress.settle(5);
    let last = progress.last_checkpoint();
    assert_eq!((last.committed, last.reserved), (6, 100));
    for offset in (6..200).filter(|&one| !progress.is_settled(one)).collect::<Vec<_>>() {
        progress.deliver(offset);
        progress.untouched(offset);
    }
    assert_eq!(progress.last_checkpoint().reserved, 100);
    (6..100).for_each(|offset| progress.settle(offset));
    assert_eq!(progress.last_checkpoint(), Checkpoint::fresh(100));
}

#[test]
fn offsets_that_do_not_exist_hold_nothing_up() {
    let mut progress = reading(0);
    progress.deliver(3);
    assert_eq!(progress.committed(), 3);
    progress.deliver(7);
    progress.settle(7);
    progress.settle(3);
    assert_eq!(progress.committed(), 8);
    progress.pass_to(20);
    assert_eq!((progress.committed(), progress.next()), (20, 20));
}

#[test]
fn runs_that_do_not_fit_are_left_out_highest_first() {
    let runs: Vec<_> = (0..5000u64).map(|n| (n * 10 + 5, n * 10 + 6)).collect();
    let checkpoint =
        Checkpoint { committed: 0, reserved: 60_000, runs: runs.clone(), ..Checkpoint::fresh(0) };
    let text = checkpoint.metadata();
    assert!(text.len() <= METADATA_LIMIT && text.len() > METADATA_LIMIT - 10);
    let read = Checkpoint::parse(0, &text).expect("readable");
    assert!(read.runs.len() > 500);
    assert_eq!(read.runs[..], runs[..read.runs.len()]);
    assert_eq!(read.reserved, 60_000);
}

#[test]
fn a_note_leaves_room_for_runs() {
    let runs: Vec<_> = (0..5000u64).map(|n| (n * 10 + 5, n * 10 + 6)).collect();
    let note = vec![0xff; MAX_NOTE].into();
    let checkpoint = Checkpoint { committed: 0, reserved: 60_000, runs: runs.clone(), note };
    let text = checkpoint.metadata();
    assert!(text.len() <= METADATA_LIMIT, "{} bytes", text.len());
    let read = Checkpoint::parse(0, &text).expect("readable");
    assert_eq!(read.note, checkpoint.note);
    assert!(read.runs.len() > 400, "{} runs", read.runs.len());
    assert_eq!(read.runs[..], runs[..read.runs.len()]);
}

#[test]
fn a_note_is_a_change_and_stays() {
    let mut progress = reading(3);
    assert!(!progress.changed());
    progress.set_note("seen".into());
    assert!(progress.changed());
    let checkpoint = progress.checkpoint();
    let mut next = Progress::resume(&checkpoint);
    next.set_note("seen".into());
    assert!(!next.changed(), "nothing new");
    assert_eq!(next.last_checkpoint().note, "seen");
}

#[test]
fn text_of_others_is_refused_and_none_is_no_reservation() {
    assert_eq!(Checkpoint::parse(7, ""), Ok(Checkpoint::fresh(7)));
    for text in [
        "x",
        "r",
        "r1 2",
        "r1 2+0",
        "r1 2+x",
        "r99999999999999999999",
        "1",
        "r1 nA",
        "r1 n=",
        "r1 nAB",
    ] {
        assert!(Checkpoint::parse(7, text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn bytes_travel_in_text(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut text = String::new();
        base64::encode(&bytes, &mut text);
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
        prop_assert_eq!(base64::decode(&text), Some(bytes));
    }

    #[test]
    fn settling_in_any_order_is_the_prefix_of_a_set(
        start in 0..1000u64,
        order in prop::collection::vec(0..200u64, 0..400),
    ) {
        let mut progress = reading(start);
        for offset in start..start + 200 {
            progress.deliver(offset);
        }
        let mut model = BTreeSet::new();
        for step in order {
            progress.settle(start + step);
            model.insert(start + step);
            let prefix = (start..).find(|o| !model.contains(o)).expect("endless");
            prop_assert_eq!(progress.committed(), prefix);
        }
        for offset in start..start + 200 {
            let settled = model.contains(&offset) || offset < progress.committed();
            prop_assert_eq!(progress.is_settled(offset), settled);
        }
        let checkpoint = progress.checkpoint();
        for pair in checkpoint.runs.windows(2) {
            prop_assert!(pair[0].1 < pair[1].0, "runs stay apart: {:?}", pair);
        }
        let read = Checkpoint::parse(checkpoint.committed, &checkpoint.metadata());
        prop_assert_eq!(read, Ok(checkpoint));
    }

    #[test]
    fn however_often_readers_crash_nothing_is_lost_and_repeats_are_marked(
        steps in prop::collection::vec((0..5u8, 0..64usize), 1..200),
    ) {
        // A model of readers that crash (state as committed) in between.
        let total = 3000u64;
        let mut durable = Checkpoint::fresh(0);
        let mut progress = Progress::resume(&durable);
        let mut out: Vec<u64> = Vec::new();
        let mut handled = vec![0u32; total as usize];
        for (kind, pick) in steps {
            match kind {
                0 => for _ in 0..=pick {
                    let offset = progress.next();
                    if offset >= total || !progress.may_deliver(offset) { break; }
                    if progress.is_settled(offset) { progress.pass_to(offset + 1); continue; }
                    let attempt = progress.deliver(offset);
                    let count = &mut handled[offset as usize];
                    prop_assert!(attempt == 2 || *count == 0, "a repeat of {offset} is not marked");
                    *count += 1;
                    out.push(offset);
                },
                1 => if !out.is_empty() {
                    let at = pick % out.len();
                    progress.settle(out.swap_remove(at));
                },
                2 => {
                    durable = progress.checkpoint();
                    progress.confirmed(&durable);
                }
                3 => {
                    // A clean end: what is at most half way through is untouched.
                    let next = progress.next();
                    for offset in out.drain(..).filter(|offset| offset + pick as u64 >= next) {
                        handled[offset as usize] -= 1;
                        progress.untouched(offset);
                    }
                    durable = progress.last_checkpoint();
                    durable = Checkpoint::parse(durable.committed, &durable.metadata())
                        .expect("readable");
                    progress = Progress::resume(&durable);
                }
                _ => {
                    durable = Checkpoint::parse(durable.committed, &durable.metadata())
                        .expect("readable");
                    progress = Progress::resume(&durable);
                    out.clear();
                }
            }
            prop_assert!(durable.committed <= progress.committed());
            let unhandled = (0..progress.committed()).find(|&o| handled[o as usize] == 0);
            prop_assert_eq!(unhandled, None, "committed without being handled");
        }
    }
}

proptest! {
    #[test]
    fn any_metadata_is_refused_or_gone_on_from(
        committed in prop_oneof![Just(0), Just(u64::MAX), Just(i64::MAX as u64), any::<u64>()],
        words in prop::collection::vec(
            prop::sample::select(vec![
                "r0", "r7", "r18446744073709551615", "r9223372036854775807", "nAAAA", "n=", "n",
                "0+1", "1+1", "5+0", "18446744073709551615+1", "1+18446744073709551615", "+", "x",
                "9223372036854775807+1", "\u{e9}",
            ]),
            0..6,
        ),
        settled in prop::collection::vec(0..50u64, 0..20),
    ) {
        let Ok(checkpoint) = Checkpoint::parse(committed, &words.join(" ")) else { return Ok(()) };
        let mut progress = Progress::resume(&checkpoint);
        for step in settled {
            let offset = progress.next();
            let _ = (progress.may_deliver(offset), progress.is_settled(offset));
            progress.deliver(offset);
            progress.settle(checkpoint.committed + step);
            let next = progress.checkpoint();
            progress.confirmed(&next);
            let last = progress.last_checkpoint();
            prop_assert!(last.metadata().len() <= METADATA_LIMIT);
            prop_assert_eq!(&Checkpoint::parse(last.committed, &last.metadata()), &Ok(last));
        }
    }
}
