//! The authority rule as a table.

use super::*;

/// Recorded, with `-shadow`.
const VECTORS: &[(&str, &str)] = &[
    ("cluster1", "cluster1-shadow"),
    ("cluster1:8000", "cluster1-shadow:8000"),
    ("127.0.0.1", "127.0.0.1-shadow"),
    ("127.0.0.1:9", "127.0.0.1-shadow:9"),
    ("[::1]", "[::1]-shadow"),
    ("[::1]:8000", "[::1]-shadow:8000"),
    ("foo-shadow", "foo-shadow-shadow"),
    ("foo-shadow:80", "foo-shadow-shadow:80"),
    ("CLUSTER1.Example", "CLUSTER1.Example-shadow"),
    ("example.com.:80", "example.com.-shadow:80"),
    ("host:", "host-shadow:"),
    ("user@host:80", "user@host-shadow:80"),
    ("a.b:99999", "a.b-shadow:99999"),
    // Without brackets the last group looks like a port (see `port_start`).
    ("::1", ":-shadow:1"),
    (":80", "-shadow:80"),
    ("[::1", "[:-shadow:1"),
    ("", ""),
];

#[test]
fn the_suffix_goes_before_the_port() {
    let rule = ShadowHost::default();
    for (recorded, shadow) in VECTORS {
        let applied = rule.apply(recorded.as_bytes(), "target:1");
        assert_eq!(String::from_utf8_lossy(&applied), *shadow, "{recorded}");
    }
    let bytes = rule.apply(b"caf\xe9:80", "target:1");
    assert_eq!(&*bytes, b"caf\xe9-shadow:80");
}

#[test]
fn the_suffix_comes_off_again() {
    for (recorded, shadow) in VECTORS {
        // Nothing is left to restore of an authority without a host.
        let host = split_port(recorded.as_bytes()).0;
        let expected = (!host.is_empty()).then(|| recorded.as_bytes().to_vec());
        assert_eq!(strip_suffix(shadow.as_bytes(), SUFFIX), expected, "{shadow}");
    }
    assert_eq!(strip_suffix(b"host:80", SUFFIX), None);
    assert_eq!(strip_suffix(b"-shadow", SUFFIX), None);
    assert_eq!(strip_suffix(b"host-SHADOW", SUFFIX), None);
}

#[test]
fn other_rules() {
    let apply = |rule: &str| {
        let rule: ShadowHost = rule.parse().unwrap();
        String::from_utf8(rule.apply(b"Host:80", "target:9002").into_owned()).unwrap()
    };
    assert_eq!(apply("suffix"), "Host-shadow:80");
    assert_eq!(apply("suffix=.test"), "Host.test:80");
    assert_eq!(apply("keep"), "Host:80");
    assert_eq!(apply("target"), "target:9002");
    assert_eq!(apply("set:other.example:1"), "other.example:1");
    assert_eq!(apply("set:[::1]:80"), "[::1]:80");
}

#[test]
fn texts() {
    for text in ["suffix", "suffix=-x", "keep", "target", "set:name"] {
        assert_eq!(text.parse::<ShadowHost>().unwrap().to_string(), text);
    }
    assert_eq!("suffix=-shadow".parse::<ShadowHost>().unwrap().to_string(), "suffix");
    for text in ["", "off", "suffix=", "suffix=a b", "suffix=:1", "set:", "set:a b", "set:a/b"] {
        assert!(text.parse::<ShadowHost>().is_err(), "{text}");
    }
}

#[test]
fn hosts_and_ports() {
    assert_eq!(split_port(b"a:1"), (&b"a"[..], Some(&b"1"[..])));
    assert_eq!(split_port(b"a:"), (&b"a"[..], Some(&b""[..])));
    assert_eq!(split_port(b"[::1]"), (&b"[::1]"[..], None));
    assert_eq!(split_port(b""), (&b""[..], None));
}
