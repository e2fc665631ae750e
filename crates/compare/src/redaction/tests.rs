//! Places, and what they cover.

use super::*;
use crate::{json, node};

#[test]
fn places() {
    let problems = Redaction::new(&["header:", "body:a", "x", "json:a", "cookie:*"]).unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:?}");
}

#[test]
fn fields_of_the_head() {
    let redaction = Redaction::new(&["header:X-Auth*", "cookie:sid"]).unwrap();
    for (field, expected) in [
        ("header:x-auth-token", true),
        ("trailer:x-auth", true),
        ("header:x-other", false),
        ("set-cookie:sid", true),
        ("set-cookie:sid;secure", false),
        ("set-cookie:other", false),
        ("body.x", false),
        ("status", false),
    ] {
        assert_eq!(redaction.covers(field), expected, "{field}");
    }
    let values = Redaction::new(&["set-cookie:*"]).unwrap();
    assert!(values.covers("set-cookie:sid") && !values.covers("set-cookie:sid;secure"));
    let all = Redaction::new(&["header:Set-Cookie"]).unwrap();
    assert!(all.covers("set-cookie:sid;secure"));
}

#[test]
fn paths() {
    for (path, text, expected) in [
        ("a", r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
        ("$.a.b", r#"{"a":{"b":1,"c":2}}"#, r#"{"a":{"c":2}}"#),
        ("a[].b", r#"{"a":[{"b":1},{"c":2},[{"b":3}]]}"#, r#"{"a":[{},{"c":2},[{}]]}"#),
        ("a[*].b", r#"{"a":[{"b":1}]}"#, r#"{"a":[{}]}"#),
        ("a[1].b", r#"{"a":[{"b":1}]}"#, r#"{"a":[{}]}"#),
        ("a.0.b", r#"{"a":{"0":{"b":1}}}"#, r#"{"a":{"0":{}}}"#),
        ("*.b", r#"{"a":{"b":1},"b":{"b":2},"c":3}"#, r#"{"a":{},"b":{},"c":3}"#),
        ("**.b", r#"{"b":1,"a":{"b":2,"c":[{"b":3,"d":4}]}}"#, r#"{"a":{"c":[{"d":4}]}}"#),
        ("['x y']", r#"{"x y":1}"#, "{}"),
        ("a", r#"{"a":1,"a":2}"#, "{}"),
        ("/a/b", r#"{"a":{"b":1,"c":2}}"#, r#"{"a":{"c":2}}"#),
        ("/a/0/b", r#"{"a":[{"b":1},{"b":2}]}"#, r#"{"a":[{},{}]}"#),
        ("/a.b~1c~0", r#"{"a.b/c~":1,"d":2}"#, r#"{"d":2}"#),
    ] {
        let redaction = Redaction::new(&[format!("json:{path}")]).unwrap();
        let mut node = json::parse(text.as_bytes()).unwrap();
        redaction.json().iter().for_each(|steps| node::redact(&mut node, steps));
        assert_eq!(node, json::parse(expected.as_bytes()).unwrap(), "{path} in {text}");
    }
}

#[test]
fn parameters() {
    let redaction = Redaction::new(&["query:code"]).unwrap();
    assert_eq!(&*redaction.url(b"/x?a=1&code=2&b=3"), b"/x?a=1&b=3");
    assert_eq!(&*redaction.url(b"/x?code"), b"/x?");
    assert_eq!(&*redaction.url(b"/code=1"), b"/code=1");
}
