//! The grammar, beside `serde_json` as a second opinion.

use proptest::{collection, prelude::*};

use super::*;

#[test]
fn accepted() {
    for text in [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "0.5",
        "1e5",
        "1E-5",
        "-12.5e+10",
        "\"\"",
        "[]",
        "{}",
        " [ 1 , 2 ] ",
        "{\"a\":{\"b\":[null]}}",
        "\"\\u0041\\ud83d\\ude00\"",
        "\u{feff}1",
        "\"\\ud800\"",
        "\"\u{7f}\"",
    ] {
        assert!(parse(text.as_bytes()).is_some(), "{text}");
    }
}

#[test]
fn rejected() {
    for text in [
        "",
        " ",
        "nul",
        "True",
        "01",
        "+1",
        ".5",
        "1.",
        "1e",
        "-",
        "'a'",
        "\"a",
        "\"\n\"",
        "\"\\x\"",
        "\"\\u12\"",
        "[1,]",
        "[,]",
        "[1 2]",
        "{a:1}",
        "{\"a\"}",
        "{\"a\":1,}",
        "1 1",
        "[1]]",
        "NaN",
        "\"\\u00g0\"",
        "{\"a\":1 \"b\":2}",
        "//x\n1",
    ] {
        assert_eq!(parse(text.as_bytes()), None, "{text}");
    }
    assert_eq!(parse(b"\"\xff\""), None);
}

#[test]
fn depth_is_bounded() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(nested(MAX_DEPTH).as_bytes()).is_some());
    assert!(parse(nested(MAX_DEPTH + 1).as_bytes()).is_none());
    assert!(parse("[".repeat(1_000_000).as_bytes()).is_none());
}

#[test]
fn strings() {
    let text = |json: &str| match parse(json.as_bytes()) {
        Some(Node::Text(text)) => text.into_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(text(r#""a\"\\\/\b\f\n\r\t\u00e9""#), "a\"\\/\u{8}\u{c}\n\r\t\u{e9}".as_bytes());
    assert_eq!(text(r#""\ud83d\ude00""#), "\u{1f600}".as_bytes());
    assert_eq!(text(r#""\ud83dx""#), b"\xed\xa0\xbdx");
    assert_eq!(text(r#""\ud83d\u0041""#), b"\xed\xa0\xbdA");
    assert!(matches!(parse(b"\"plain\""), Some(Node::Text(Cow::Borrowed(b"plain")))));
}

fn from_serde(value: &serde_json::Value) -> String {
    value.to_string()
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            collection::btree_map(".{0,4}", inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn reads_what_others_write(value in value()) {
        prop_assert!(parse(from_serde(&value).as_bytes()).is_some());
        prop_assert!(parse(serde_json::to_string_pretty(&value).unwrap().as_bytes()).is_some());
    }

    #[test]
    fn agrees_on_damaged_text(value in value(), place in any::<prop::sample::Index>(), byte in 0x20..0x7fu8) {
        let mut text = from_serde(&value).into_bytes();
        let place = place.index(text.len());
        text[place] = byte;
        let theirs = std::str::from_utf8(&text)
            .is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
        // They refuse lone surrogates, which we keep.
        let ours = parse(&text).is_some();
        let escapes = text.contains(&b'\\');
        prop_assert!(ours == theirs || escapes, "{}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn random_bytes_never_panic(bytes in collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }
}
