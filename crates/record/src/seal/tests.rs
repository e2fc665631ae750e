use super::*;

fn key(id: &str) -> Arc<DataKey> {
    Arc::new(DataKey::generate(id.to_owned()).unwrap())
}

#[test]
fn a_value_opens_only_where_it_was_sealed() {
    let key = key("k1");
    let mut sealer = Sealer::new(Arc::clone(&key)).unwrap();
    let sealed = sealer.seal(&[7; 16], "header:authorization".to_owned(), 1, b"Basic c2VjcmV0");
    assert!(!sealed.ciphertext.windows(6).any(|part| part == b"c2Vjcm"));

    let mut opener = Opener::default();
    assert_eq!(opener.open(&[7; 16], &sealed), Err(OpenError::NoKey("k1".to_owned())));
    opener.add(&key);
    assert!(opener.has("k1"));
    assert_eq!(opener.open(&[7; 16], &sealed).unwrap(), b"Basic c2VjcmV0");

    let damaged = |sealed: &pb::Sealed, id: &[u8]| {
        assert!(matches!(opener.open(id, sealed), Err(OpenError::Damaged(_))));
    };
    damaged(&sealed, &[8; 16]);
    damaged(&pb::Sealed { place: "header:cookie".to_owned(), ..sealed.clone() }, &[7; 16]);
    damaged(&pb::Sealed { occurrence: 0, ..sealed.clone() }, &[7; 16]);
    damaged(&pb::Sealed { nonce: b"short".to_vec().into(), ..sealed.clone() }, &[7; 16]);
    let mut bytes = sealed.ciphertext.to_vec();
    bytes[0] ^= 1;
    damaged(&pb::Sealed { ciphertext: bytes.into(), ..sealed.clone() }, &[7; 16]);
    damaged(&pb::Sealed { ciphertext: b"x".to_vec().into(), ..sealed }, &[7; 16]);
}

#[test]
fn no_nonce_is_used_twice() {
    let key = key("k");
    let mut sealers = [Sealer::new(Arc::clone(&key)).unwrap(), Sealer::new(key).unwrap()];
    let mut nonces = std::collections::HashSet::new();
    for _ in 0..100 {
        for sealer in &mut sealers {
            assert!(nonces.insert(sealer.seal(b"id", "p".to_owned(), 0, b"v").nonce));
        }
    }
}

#[test]
fn debug_shows_no_secret() {
    let key = DataKey::from_parts("k".to_owned(), [0xAB; 32]);
    assert!(!format!("{key:?}").contains("171"));
}
