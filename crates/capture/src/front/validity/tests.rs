use super::*;

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn certificates_of_another_maker_are_read() {
    // Both forms of a time: until 2049 two digits of the year, from 2050 on four.
    for (from, to, from_s, to_s) in [
        ((1999, 12, 31), (2000, 2, 29), 946_598_400, 951_782_400),
        ((2024, 2, 29), (2024, 3, 1), 1_709_164_800, 1_709_251_200),
        ((2049, 12, 31), (2050, 1, 1), 2_524_521_600, 2_524_608_000),
        ((1970, 1, 1), (2400, 3, 1), 0, 13_574_649_600),
    ] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        params.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
        let certificate = params.self_signed(&key).unwrap();
        let found = validity(certificate.der()).unwrap();
        assert_eq!((seconds(found.from), seconds(found.to)), (from_s, to_s), "{from:?}");
        for cut in 0..certificate.der().len() {
            // Whatever is found in a part of it, nothing panics.
            let _ = validity(&certificate.der()[..cut]);
        }
    }
}

#[test]
fn garbage_is_no_certificate() {
    for bytes in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x80", b"garbage"] {
        assert_eq!(validity(bytes), None);
    }
}
