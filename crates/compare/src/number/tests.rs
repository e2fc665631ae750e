//! Values and notations.

use proptest::prelude::*;

use super::*;

#[test]
fn equal_values() {
    for (one, other, expected) in [
        ("1", "1.0", true),
        ("1", "10e-1", true),
        ("100", "1E+2", true),
        ("-0", "0", true),
        ("0.0", "0e99", true),
        ("123000", "1.23e5", true),
        ("1", "-1", false),
        ("10", "1", false),
        ("0.1", "0.01", false),
        ("12345678901234567890123", "12345678901234567890124", false),
        ("1e400", "1e401", false),
        ("1e400", "10e399", true),
        ("1e99999999999999999999", "1e99999999999999999999", true),
        ("1e99999999999999999999", "1e99999999999999999998", false),
    ] {
        assert_eq!(equal(one, other), expected, "{one} {other}");
        assert_eq!(equal(other, one), expected, "{other} {one}");
    }
    assert_eq!(Decimal::parse("1x"), None);
    assert_eq!(Decimal::parse(""), None);
    assert_eq!(Decimal::parse("-"), None);
}

proptest! {
    #[test]
    fn agrees_with_integers(one in any::<i64>(), other in any::<i64>(), zeros in 0..20usize) {
        prop_assert_eq!(equal(&one.to_string(), &other.to_string()), one == other);
        let scaled = format!("{one}{}e-{zeros}", "0".repeat(zeros));
        prop_assert!(equal(&one.to_string(), &scaled));
        let shifted = format!("{one}.{}", "0".repeat(zeros + 1));
        prop_assert!(equal(&one.to_string(), &shifted));
    }
}
