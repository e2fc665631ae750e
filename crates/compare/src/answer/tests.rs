//! From records.

use super::*;

#[test]
fn from_a_recorded_response() {
    let response = pb::Response {
        status: 200,
        body: Some("0123".into()),
        body_length: 9,
        body_hash: vec![7; 16].into(),
        head_after_ns: 1,
        first_byte_after_ns: 2,
        end_after_ns: 3,
        ..Default::default()
    };
    let answer = Answer::from(&response);
    assert_eq!((answer.status, &answer.failure, answer.unusable()), (200, &None, None));
    assert!(!answer.body.is_whole());
    assert_eq!(answer.body.digest(), Some([7; 16]));
    assert_eq!(answer.timing, Some(Timing { head_ns: 1, first_byte_ns: 2, end_ns: 3 }));
}

#[test]
fn failures_have_one_word() {
    let failed = |failure: pb::Failure| {
        Answer::from(&pb::Response { failure: failure.into(), ..Default::default() })
    };
    assert_eq!(failed(pb::Failure::Refused).failure.as_deref(), Some("refused"));
    assert_eq!(failed(pb::Failure::Refused).unusable(), None);
    assert_eq!(failed(pb::Failure::ClientGone).unusable(), Some("client_gone"));
    assert_eq!(Answer::default().unusable(), Some("no_answer"));
}

#[test]
fn digests() {
    let whole = Body::whole("abc");
    assert_eq!(whole.digest(), Some(umbra_record::hash::of(b"abc")));
    let cut = Body { length: 9, ..whole };
    assert_eq!(cut.digest(), None);
}
