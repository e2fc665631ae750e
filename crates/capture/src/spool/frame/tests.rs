use proptest::prelude::*;

use super::*;

fn encoded(key: &[u8], headers: &[(&str, &[u8])], payload: &[u8]) -> Vec<u8> {
    let entry = Entry { partition: 3, time_ns: 17, key, headers, payload, weight: 1 };
    let mut bytes = Vec::new();
    encode(&entry, 2, 99, &mut bytes);
    assert_eq!(bytes.len(), encoded_len(&entry));
    assert_eq!(seal(&mut bytes), 1);
    bytes
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        key in proptest::collection::vec(any::<u8>(), 0..40),
        value in proptest::collection::vec(any::<u8>(), 0..40),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = encoded(&key, &[("umbra-kind", b"request"), ("umbra-id", &value)], &payload);
        let Found::Frame(frame, len) = find(&bytes) else { panic!("no frame") };
        prop_assert_eq!(len, bytes.len());
        prop_assert_eq!((frame.partition, frame.lane, frame.sequence), (3, 2, 99));
        prop_assert_eq!((frame.time_ns, frame.weight), (17, 1));
        prop_assert_eq!((frame.key, frame.payload), (&key[..], &payload[..]));
        prop_assert_eq!(frame.headers, [("umbra-kind", &b"request"[..]), ("umbra-id", &value[..])]);
    }

    #[test]
    fn a_part_of_a_frame_is_no_frame(payload in proptest::collection::vec(any::<u8>(), 0..100), at in 0..1000_usize) {
        let bytes = encoded(b"k", &[], &payload);
        let at = at % bytes.len();
        prop_assert!(matches!(find(&bytes[..at]), Found::Partial(needed) if needed > at));
    }

    #[test]
    fn a_changed_byte_is_noticed(payload in proptest::collection::vec(any::<u8>(), 0..100), at in 0..1000_usize, bits in 1..=255_u8) {
        let mut bytes = encoded(b"k", &[("h", b"v")], &payload);
        let at = at % bytes.len();
        bytes[at] ^= bits;
        // A length that has grown asks for more than there is.
        let noticed = match find(&bytes) {
            Found::Damaged => true,
            Found::Partial(_) => (4..8).contains(&at),
            Found::Frame(..) => false,
        };
        prop_assert!(noticed);
    }
}

#[test]
fn the_next_frame_is_found_behind_damage() {
    let mut bytes = encoded(b"", &[], b"first");
    let first = bytes.len();
    bytes.extend(encoded(b"", &[], b"second"));
    assert_eq!(next_start(&bytes), first);
    assert_eq!(next_start(&bytes[..first]), first);
    // The beginning of a mark at the very end may be one.
    assert_eq!(next_start(&bytes[..first + 2]), first);
}
