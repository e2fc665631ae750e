use proptest::{collection, prelude::*, sample::select, test_runner::RngSeed};

use super::*;

fn piece(member: u32, number: u32, piece: u32, pieces: u32, bytes: usize) -> pb::VerdictNote {
    pb::VerdictNote {
        member: member.to_be_bytes().to_vec().into(),
        number,
        piece,
        pieces,
        state: vec![number as u8; bytes].into(),
        ..pb::VerdictNote::default()
    }
}

#[test]
fn notes_that_nobody_ends_are_given_up() {
    let mut heard = Heard::default();
    for member in 0..MAX_OPEN as u32 + 10 {
        assert_eq!(heard.take(piece(member, 1, 0, 2, 10)), None);
    }
    assert_eq!(heard.open.len(), MAX_OPEN);
    assert_eq!(heard.take(piece(0, 1, 1, 2, 10)), None, "given up");
    let whole = heard.take(piece(1009, 1, 1, 2, 10)).expect("both of its pieces came");
    assert_eq!(whole.state.len(), 20);
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(9), ..ProptestConfig::with_cases(300) })]

    /// Whatever the journal says, a note is taken at most once, and only whole.
    #[test]
    fn any_pieces_can_be_heard(
        told in collection::vec(
            (0..2u32, 0..2u32, select(vec![0, 0, 1, 2, u32::MAX]), select(vec![0, 1, 2, 3, u32::MAX])),
            0..60,
        ),
    ) {
        let mut heard = Heard::default();
        let mut taken = BTreeSet::new();
        for (member, number, index, pieces) in told {
            if let Some(whole) = heard.take(piece(member, number, index, pieces, 3)) {
                prop_assert_eq!(whole.state.len(), 3 * pieces as usize);
                prop_assert!(taken.insert((member, number)));
            }
        }
        prop_assert!(heard.open.len() <= 4);
    }
}
