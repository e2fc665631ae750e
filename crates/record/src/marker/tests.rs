//! Via values of ours and of others.

use super::*;

#[test]
fn our_own_value_is_recognised() {
    let id = [0x01; 16];
    let via = via_shadow("nightly, (a) \\ job", &id);
    assert_eq!(via, "1.1 umbra-shadow (nightly,ajob; 01010101-0101-0101-0101-010101010101)");
    assert!(is_shadow(via.as_bytes()));
    let proxied = format!("HTTP/2 edge (a (nested), b\\)), {via}, 1.1 other");
    assert!(is_shadow(proxied.as_bytes()));
}

#[test]
fn values() {
    for (via, expected) in [
        ("1.1 umbra-shadow", true),
        ("1.1 UMBRA-Shadow", true),
        ("1.1\tumbra-shadow(x)", true),
        ("1.1 umbra-shadow (unclosed", true),
        (",, 1.1 umbra-shadow", true),
        ("1.1 umbra", false),
        ("1.1 umbra-shadow2", false),
        ("1.1 edge (umbra-shadow)", false),
        ("1.1 edge (a, 1.1 umbra-shadow)", false),
        ("umbra-shadow", false),
        ("umbra-shadow 1.1", false),
        ("", false),
    ] {
        assert_eq!(is_shadow(via.as_bytes()), expected, "{via}");
    }
}
