//! Known answers, and that pieces make no difference.

use proptest::{collection, prelude::*};

use super::*;

#[test]
fn known_answers() {
    // Of the reference implementation (`xxhsum -H2`).
    let hex = |body: &[u8]| of(body).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(b""), "99aa06d3014798d86001c324468d497f");
    assert_eq!(hex(b"umbra"), "1bcb67887528590353ef6d4d9c15ef4e");
    assert_eq!(BodyHash::new().digest(), of(b""));
}

proptest! {
    #[test]
    fn pieces_make_no_difference(pieces in collection::vec(collection::vec(any::<u8>(), 0..400), 0..8)) {
        let mut hash = BodyHash::new();
        pieces.iter().for_each(|piece| hash.update(piece));
        let whole = pieces.concat();
        prop_assert_eq!(hash.length(), whole.len() as u64);
        prop_assert_eq!(hash.digest(), of(&whole));
    }
}
