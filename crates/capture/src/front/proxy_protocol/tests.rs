use proptest::prelude::*;

use super::*;

fn address(text: &str) -> Source {
    Source::Address(text.parse().unwrap())
}

fn v2(what: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([what, family]);
    bytes.extend((block.len() as u16).to_be_bytes());
    bytes.extend(block);
    bytes
}

/// Addresses of each family, as section 2.2 lays them out.
fn tcp4() -> Vec<u8> {
    [&[192, 0, 2, 1, 198, 51, 100, 2][..], &40000_u16.to_be_bytes(), &443_u16.to_be_bytes()]
        .concat()
}

fn tcp6() -> Vec<u8> {
    let source: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let destination: Ipv6Addr = "2001:db8::2".parse().unwrap();
    let ports = [40001_u16.to_be_bytes(), 443_u16.to_be_bytes()].concat();
    [&source.octets()[..], &destination.octets(), &ports].concat()
}

fn good() -> Vec<(Vec<u8>, Source)> {
    let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                   ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    let unknown = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_TEXT - 16));
    let text = [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n", address("192.0.2.1:40000")),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n",
            address("255.255.255.255:65535"),
        ),
        ("PROXY TCP6 2001:db8::1 2001:db8::2 40001 443\r\n", address("[2001:db8::1]:40001")),
        (longest, address("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")),
        ("PROXY UNKNOWN\r\n", Source::Connection),
        ("PROXY UNKNOWN ffff::1 whatever 1 2 3\r\n", Source::Connection),
        (&unknown, Source::Connection),
    ];
    let tlv = [&tcp4()[..], &[0x04, 0, 3, 0, 0, 0, 0xe0, 0, 1, b'x']].concat();
    let large = [tcp4(), vec![0; 9000]].concat();
    let binary = [
        (v2(0x21, 0x11, &tcp4()), address("192.0.2.1:40000")),
        (v2(0x21, 0x11, &tlv), address("192.0.2.1:40000")),
        (v2(0x21, 0x11, &large), address("192.0.2.1:40000")),
        (v2(0x21, 0x21, &tcp6()), address("[2001:db8::1]:40001")),
        (v2(0x21, 0x31, &[b'/'; 216]), Source::Unix),
        (v2(0x21, 0x12, &tcp4()), Source::Connection),
        (v2(0x21, 0x00, &[]), Source::Connection),
        (v2(0x21, 0x00, &[1, 2, 3]), Source::Connection),
        (v2(0x20, 0x00, &[]), Source::Connection),
        (v2(0x20, 0x11, &[9; 5]), Source::Connection),
        (v2(0x20, 0x11, &tcp4()), Source::Connection),
    ];
    let text = text.into_iter().map(|(line, source)| (line.as_bytes().to_vec(), source));
    text.chain(binary).collect()
}

#[test]
fn headers_are_found_whatever_follows_and_wherever_they_are_split() {
    for (header, source) in good() {
        let whole = Parsed::Complete { len: header.len(), source };
        for behind in [&b""[..], b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", SIGNATURE, b"PROXY "] {
            let bytes = [&header, behind].concat();
            assert_eq!(parse(&bytes), Ok(whole.clone()), "{}", bytes.escape_ascii());
        }
        for split in 0..header.len() {
            assert_eq!(parse(&header[..split]), Ok(Parsed::Incomplete), "{split} of {header:?}");
        }
    }
}

#[test]
fn what_is_no_header_is_refused() {
    let too_long = format!("PROXY UNKNOWN {}", "x".repeat(200));
    let text = [
        ("GET / HTTP/1.1\r\n", "proxy_missing"),
        ("\u{16}\u{3}\u{1}", "proxy_missing"),
        ("proxy TCP4 192.0.2.1 198.51.100.2 40000 443\r\n", "proxy_missing"),
        ("PROXY\tTCP4", "proxy_missing"),
        ("\r\n\r\nGET", "proxy_missing"),
        (&too_long, "proxy_too_long"),
        ("PROXY \r\n", "proxy_malformed"),
        ("PROXY TCP4\r\n", "proxy_malformed"),
        ("PROXY TCP5 192.0.2.1 198.51.100.2 40000 443\r\n", "proxy_malformed"),
        ("PROXY TCP4 2001:db8::1 2001:db8::2 40000 443\r\n", "proxy_malformed"),
        ("PROXY TCP6 192.0.2.1 198.51.100.2 40000 443\r\n", "proxy_malformed"),
        ("PROXY TCP4 192.0.2.1 198.51.100 40000 443\r\n", "proxy_malformed"),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 40000\r\n", "proxy_malformed"),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 40000 443 1\r\n", "proxy_malformed"),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 040000 443\r\n", "proxy_malformed"),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 00 443\r\n", "proxy_malformed"),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", "proxy_malformed"),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n", "proxy_malformed"),
        ("PROXY TCP4 192.0.2.1  198.51.100.2 40000 443\r\n", "proxy_malformed"),
        ("PROXY TCP4 192.0.2.1 198.51.100.2  443\r\n", "proxy_malformed"),
    ];
    for (bytes, reason) in text {
        assert_eq!(parse(bytes.as_bytes()), Err(reason), "{bytes:?}");
    }
    let binary = [
        (v2(0x11, 0x11, &tcp4()), "proxy_malformed"),
        (v2(0x22, 0x11, &tcp4()), "proxy_malformed"),
        (v2(0x21, 0x13, &tcp4()), "proxy_malformed"),
        (v2(0x21, 0x41, &tcp4()), "proxy_malformed"),
        (v2(0x20, 0xff, &[]), "proxy_malformed"),
        (v2(0x21, 0x11, &tcp4()[..11]), "proxy_malformed"),
        (v2(0x21, 0x21, &tcp6()[..35]), "proxy_malformed"),
        (v2(0x21, 0x31, &[0; 215]), "proxy_malformed"),
        (v2(0x21, 0x11, &[0; 40_000])[..16].to_vec(), "proxy_too_long"),
        ([&SIGNATURE[..], &[0x31]].concat(), "proxy_malformed"),
    ];
    for (bytes, reason) in binary {
        assert_eq!(parse(&bytes), Err(reason), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
    }

    /// Whatever follows the signatures: a header that is complete stays what it is when
    /// more comes, and its length is within what was given.
    #[test]
    fn more_bytes_change_nothing(
        text in any::<bool>(),
        rest in proptest::collection::vec(any::<u8>(), 0..300),
        more in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        let start = if text { WORD } else { &SIGNATURE[..] };
        let bytes = [start, &rest].concat();
        let parsed = parse(&bytes);
        match &parsed {
            Ok(Parsed::Incomplete) => {}
            Ok(Parsed::Complete { len, .. }) => {
                prop_assert!(*len <= bytes.len());
                prop_assert_eq!(parse(&[&bytes[..], &more].concat()), parsed);
            }
            Err(_) => prop_assert_eq!(parse(&[&bytes[..], &more].concat()).is_err(), true),
        }
    }
}
