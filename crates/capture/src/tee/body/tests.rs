//! Copies of bodies are exact up to their limit, hashed as a whole, and charged.

use super::*;
use crate::budget::{Budget, Credit};

fn copy(budget: usize, limit: u64) -> BodyCopy {
    let credit = Credit::new(Budget::new(budget, 1), 0);
    let mut copy = BodyCopy::new(credit.charge());
    copy.start(limit);
    copy
}

fn bytes(copy: &BodyCopy) -> Vec<u8> {
    copy.body.slices(0, copy.body.len()).concat()
}

#[test]
fn any_mix_of_frames_is_kept_in_order_and_hashed() {
    let whole: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    for sizes in [&[1][..], &[10_000], &[16_384], &[5, 40_000, 16_383, 70_000, 1]] {
        let mut copy = copy(1 << 20, u64::MAX);
        let mut rest = &whole[..];
        for size in sizes.iter().cycle().take(3000) {
            let (frame, next) = rest.split_at((*size).min(rest.len()));
            rest = next;
            let shared = Some(Bytes::copy_from_slice(frame));
            assert_eq!(copy.add(frame, shared), Copied::Yes);
        }
        let taken = whole.len() - rest.len();
        assert_eq!(bytes(&copy), whole[..taken]);
        assert_eq!(copy.digest(), hash::of(&whole[..taken]));
        assert_eq!(copy.body.slices(17, taken.min(90_000)).concat(), whole[17..taken.min(90_000)]);
        assert!(!copy.is_cut());
    }
}

#[test]
fn beyond_the_limit_bytes_are_counted_and_hashed_only() {
    for limit in [0, 5, 16_384, 20_000] {
        let mut copy = copy(1 << 20, limit);
        let frame = vec![7; 9_000];
        for _ in 0..3 {
            assert_eq!(copy.add(&frame, None), Copied::Yes);
        }
        assert_eq!(bytes(&copy).len() as u64, limit);
        assert!(copy.is_cut() && !copy.wants_more());
        assert_eq!((copy.length(), copy.digest()), (27_000, hash::of(&[7; 27_000])));
    }
}

#[test]
fn over_budget_the_length_and_hash_stay_those_of_the_whole() {
    let mut copy = copy(1_000, u64::MAX);
    assert_eq!(copy.add(&[1; 900], None), Copied::Yes);
    assert_eq!(copy.add(&[1; 900], None), Copied::OverBudget);
    copy.cut_here();
    assert_eq!(copy.add(&[1; 50], None), Copied::Yes);
    assert_eq!(bytes(&copy).len(), 900);
    assert_eq!((copy.length(), copy.digest()), (1_850, hash::of(&[1; 1_850])));
    assert!(copy.is_cut());
}

#[test]
fn what_is_taken_out_early_still_counts_for_the_hash() {
    let mut copy = copy(1 << 20, u64::MAX);
    assert_eq!(copy.add(b"first ", None), Copied::Yes);
    let (body, _charge) = copy.take();
    assert_eq!(body.slices(0, 6).concat(), b"first ");
    assert_eq!(copy.add(b"second", None), Copied::Yes);
    assert_eq!((copy.length(), copy.digest()), (12, hash::of(b"first second")));
    assert!(!copy.is_cut());
}
