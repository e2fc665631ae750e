use super::{assignment, instance};

/// Version 1: two of `t`, one of `other`, no user data.
fn told() -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, 0, 0, 2];
    bytes.extend(b"\0\x01t\0\0\0\x02\0\0\0\x05\0\0\0\x01");
    bytes.extend(b"\0\x05other\0\0\0\x01\0\0\0\x07");
    bytes.extend([0xff; 4]);
    bytes
}

#[test]
fn what_a_member_holds_is_read() {
    assert_eq!(assignment(&told(), "t"), Ok(vec![1, 5]));
    assert_eq!(assignment(&told(), "other"), Ok(vec![7]));
    assert_eq!(assignment(&told(), "none"), Ok(vec![]));
    assert_eq!(assignment(b"", "t"), Ok(vec![]));
}

#[test]
fn what_is_cut_off_or_absurd_is_an_error() {
    let told = told();
    // Without its last four bytes, the user data, it is whole.
    for length in 1..told.len() - 4 {
        assert!(assignment(&told[..length], "t").is_err(), "{length} bytes");
    }
    for absurd in [&b"\0\0\x7f\xff\xff\xff"[..], b"\0\0\0\0\0\x01\xff\xff", &[0xff; 64][..6]] {
        let read = assignment(absurd, "t");
        assert!(read.is_err() || read == Ok(vec![]), "{read:?}");
    }
}

#[test]
fn a_static_member_is_known_by_its_id() {
    let uuid = "0d5c6d3f-6b0b-4b39-9f4a-1d5ad2d1c5b1";
    assert_eq!(instance(&format!("umbra-{uuid}"), "umbra"), None);
    assert_eq!(instance(&format!("pod-3-{uuid}"), "umbra").as_deref(), Some("pod-3"));
    for short in ["", "umbra", uuid] {
        assert_eq!(instance(short, "umbra"), None);
    }
}
