//! Exact round trips, and bytes from an enemy.

use proptest::{collection, prelude::*};

use super::*;
use crate::arbitrary;

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(record in arbitrary::record()) {
        let decoded = decode(record.encode_to_vec().into()).unwrap();
        prop_assert_eq!(decoded, record);
    }

    #[test]
    fn random_bytes_never_panic(bytes in collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(bytes.into());
    }

    #[test]
    fn damaged_records_never_panic(
        record in arbitrary::record(),
        damage in collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = record.encode_to_vec();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(record) = decode(bytes.clone().into()) {
            let _ = crate::json::render(&record, None);
        }
        bytes.truncate(cut.index(bytes.len()));
        let _ = decode(bytes.into());
    }
}

#[test]
fn byte_fields_share_the_payload() {
    let payload = Bytes::from(request(|_| {}).encode_to_vec());
    let range = payload.as_ptr_range();
    let record = decode(payload).unwrap();
    let Some(Body::Request(request)) = record.body else { panic!("a request") };
    for field in [&request.id, &request.method, &request.body.unwrap()] {
        assert!(range.contains(&field.as_ptr()));
    }
}

#[test]
fn unknown_kinds_are_told_from_records_without_a_body() {
    let mut record = request(|_| {});
    record.body = None;
    let mut bytes = record.encode_to_vec();
    let without = decode(bytes.clone().into());
    assert_eq!(without, Err(DecodeError::Invalid("a record without a body")));

    // A field of the envelope that is newer than us is not a kind.
    prost::encoding::string::encode(5, &"new".to_owned(), &mut bytes);
    assert_eq!(decode(bytes.clone().into()), without);

    prost::encoding::string::encode(13, &"new".to_owned(), &mut bytes);
    assert_eq!(decode(bytes.into()), Err(DecodeError::UnknownKind(13)));
    assert_eq!(decode(Bytes::new()), without);
}

#[test]
fn unknown_fields_and_enum_values_are_passed() {
    let mut record = request(|request| request.version = 99);
    let mut bytes = record.encode_to_vec();
    prost::encoding::uint64::encode(7, &1, &mut bytes);
    let decoded = decode(bytes.into()).unwrap();
    assert_eq!(decoded, record);
    let Some(Body::Request(request)) = &mut record.body else { panic!("a request") };
    assert_eq!(request.version(), pb::Version::Unspecified);
}

#[test]
fn what_the_schema_demands_is_checked() {
    type Change = fn(&mut pb::Request);
    let cases: [(Change, &str); 2] = [
        (|r| r.id = vec![1; 15].into(), "a request whose id is not 16 bytes"),
        (|r| r.method.clear(), "a request without a method"),
    ];
    for (change, problem) in cases {
        let bytes = request(change).encode_to_vec();
        assert_eq!(decode(bytes.into()), Err(DecodeError::Invalid(problem)));
    }
    let mut record = request(|_| {});
    record.agent.clear();
    let problem = DecodeError::Invalid("a record whose agent is not 16 bytes");
    assert_eq!(decode(record.encode_to_vec().into()), Err(problem));
    for body in [Body::Response(pb::Response::default()), Body::Part(pb::BodyPart::default())] {
        record.body = Some(body);
        assert!(matches!(decode(record.encode_to_vec().into()), Err(DecodeError::Invalid(_))));
    }
    assert!(matches!(decode(Bytes::from_static(b"\xff")), Err(DecodeError::Malformed(_))));
}

fn request(change: impl FnOnce(&mut pb::Request)) -> pb::Record {
    let mut request = pb::Request {
        id: vec![1; 16].into(),
        method: "GET".into(),
        body: Some("body".into()),
        ..Default::default()
    };
    change(&mut request);
    let agent = vec![2; 16].into();
    pb::Record { agent, sequence: 1, body: Some(Body::Request(request)), ..Default::default() }
}

#[test]
fn a_record_cannot_unfold_in_memory() {
    let problem = Err(DecodeError::Invalid("more fields than a message has"));
    let empty = pb::Header::default();
    let many = request(|request| request.headers = vec![empty.clone(); MAX_FIELDS + 1]);
    assert_eq!(decode(many.encode_to_vec().into()), problem);
    // Bodies of one kind are merged, so they count together.
    let half = request(|request| request.headers = vec![empty.clone(); MAX_FIELDS / 2 + 1]);
    assert!(decode(half.encode_to_vec().into()).is_ok());
    let twice = [half.encode_to_vec(), half.encode_to_vec()].concat();
    assert_eq!(decode(twice.into()), problem);
    let large = request(|request| request.body = Some(vec![0; 8 << 20].into()));
    assert_eq!(decode(large.encode_to_vec().into()), Ok(large));
}
