//! What users type, and what they get.

use super::*;

#[test]
fn sizes() {
    assert_eq!(size("64KiB"), Ok(65536));
    assert_eq!(size("10MB"), Ok(10_000_000));
    assert_eq!(size("1.5k"), Ok(1536));
    assert_eq!(size("4096"), Ok(4096));
    for bad in ["", "x", "-1", "1 parsec", "1e30GiB", "99999999TiB"] {
        assert!(size(bad).is_err(), "{bad}");
    }
}

#[test]
fn durations() {
    assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
    assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
    assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
    assert_eq!(duration("0"), Ok(Duration::ZERO));
    for bad in ["", "5", "s", "-1s", "1x", "1.2.3s", "9e9d"] {
        assert!(duration(bad).is_err(), "{bad}");
    }
}

#[test]
fn rates_and_speeds_are_above_zero() {
    assert_eq!(rate("100"), Ok(100.0));
    assert_eq!(rate("6000/m"), Ok(100.0));
    assert_eq!(speed("0.1x"), Ok(0.1));
    for bad in ["0", "-1", "nan", "inf", "1/y", ""] {
        assert!(rate(bad).is_err(), "{bad}");
        assert!(speed(bad).is_err(), "{bad}");
    }
}

#[test]
fn instants_are_exact() {
    assert_eq!(instant("@1.000000001"), Ok(1_000_000_001));
    assert_eq!(instant("2026-11-22T10:00:00.123456789Z"), Ok(1_795_341_600_123_456_789));
    assert_eq!(instant("2026-11-22T12:00:00+02:00"), Ok(1_795_341_600_000_000_000));
    assert!(instant("2026-11-22 10:00").is_ok());
    assert!(instant("2026-11-22").is_ok());
    let now = instant("now").unwrap();
    let before = instant("-2h").unwrap();
    assert!((7_199..=7_201).contains(&((now - before) / 1_000_000_000)));
    for bad in ["yesterday", "", "2026-13-01", "@x", "@1.0000000001", "-"] {
        assert!(instant(bad).is_err(), "{bad}");
    }
}

#[test]
fn secrets_are_masked() {
    assert_eq!(mask("sasl.password=hunter2"), "sasl.password=***");
    assert_eq!(mask("Authorization: Bearer x=y"), "Authorization:***");
    assert_eq!(
        mask_target("a=http://b,set-header=X: s,percent=1"),
        "a=http://b,set-header=X:***,percent=1"
    );
}
