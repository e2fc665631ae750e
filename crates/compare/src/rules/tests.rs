//! What a rule covers.

use super::*;

fn rules(lines: &[&str]) -> Rules {
    Rules::new(lines).unwrap()
}

#[test]
fn fields() {
    for (rule, field, expected) in [
        ("body", "body", true),
        ("body", "body.a[].b", true),
        ("body.a", "body.a", true),
        ("body.a", "body.a.b", true),
        ("body.a", "body.a[]", true),
        ("body.a", "body.ab", false),
        ("body.*.b", "body.a.b", true),
        ("body.*.b", "body.a.c", false),
        ("body.*id", "body.user_id", true),
        ("header:ETag", "header:etag", true),
        ("header:x-*", "header:x-a", true),
        ("header:etag", "header:etag2", false),
        ("set-cookie:sid", "set-cookie:sid;secure", true),
        ("header:x", "header:x.y", false),
        ("set-cookie:a", "set-cookie:a.b", false),
        ("status", "status", true),
        ("*", "status", true),
    ] {
        assert_eq!(
            rules(&[rule]).ignores(field, Kind::Value).is_some(),
            expected,
            "{rule} {field}"
        );
    }
}

#[test]
fn endpoints() {
    for (rule, method, path, expected) in [
        ("GET /users/{id} body", "GET", "/users/7", true),
        ("GET /users/{id} body", "PUT", "/users/7", false),
        ("GET /users/{id} body", "GET", "/users/7/x", false),
        ("* /users/* body", "PUT", "/users/7/x", true),
        ("* /users/*/x body", "PUT", "/users/7/x", true),
        ("* /* body", "PUT", "/", true),
        ("GET /users body", "GET", "/users", true),
        ("body", "GET", "/x", true),
    ] {
        let rules = rules(&[rule, "status"]).for_request(method, path);
        assert_eq!(
            rules.ignores("body", Kind::Value).is_some(),
            expected,
            "{rule} {method} {path}"
        );
        assert_eq!(rules.ignores("status", Kind::Value), Some("status"));
    }
}

#[test]
fn kinds() {
    let rules = rules(&["body.l order count"]);
    assert!(rules.ignores("body.l", Kind::Order).is_some());
    assert!(rules.ignores("body.l", Kind::Count).is_some());
    assert_eq!(rules.ignores("body.l", Kind::Value), None);
}

#[test]
fn tolerances() {
    for (rule, one, other, expected) in [
        ("body ~0.01", "1.00", "1.01", true),
        ("body ~0.01", "1.00", "1.02", false),
        ("body ~1%", "200", "201", true),
        ("body ~1%", "200", "210", false),
        ("body ~1%", "-200", "200", false),
        ("body ~1", "a", "b", false),
        ("body ~5s", "2026-11-22T10:00:00Z", "2026-11-22T11:00:04+01:00", true),
        ("body ~5s", "2026-11-22T10:00:00Z", "2026-11-22T10:00:06Z", false),
        ("body ~5s", "Sun, 22 Nov 2026 10:00:00 GMT", "Sun, 22 Nov 2026 10:00:05 GMT", true),
        ("body ~500ms", "1790000000123", "1790000000600", true),
        ("body ~1m", "1790000000", "1790000100", false),
    ] {
        let rules = rules(&[rule]);
        let found = rules.tolerates("body", one.as_bytes(), other.as_bytes());
        assert_eq!(found, expected.then_some(rule), "{rule} {one} {other}");
    }
}

#[test]
fn all_problems_at_once() {
    let lines = [
        "",
        "boddy.a",
        "GET /x",
        "body ~",
        "body ~x",
        "body colour",
        "body key=",
        "body s/a",
        "body s/a/b",
        "body s/(/b/",
        "body s/a/b/c",
        "body",
    ];
    let problems = Rules::new(&lines).unwrap_err();
    assert_eq!(problems.len(), lines.len() - 1, "{problems:#?}");
}

#[test]
fn a_silencing_line_silences() {
    for (field, kind) in [
        ("body.items[].price", Kind::Value),
        ("header:x-a", Kind::Missing),
        ("set-cookie:sid;secure", Kind::Missing),
        ("body[\"a b\"]", Kind::Shape),
        ("body.{}", Kind::Order),
        ("latency", Kind::Slower),
    ] {
        let line = Rules::silencing("GET /users/{id}", field, kind).unwrap();
        let rules = rules(&[&line]).for_request("GET", "/users/7");
        assert_eq!(rules.ignores(field, kind), Some(line.as_str()));
        assert_eq!(rules.ignores(field, Kind::Count), None, "{line}");
    }
}

#[test]
fn wildcards() {
    for (pattern, text, expected) in [
        ("a*b", "ab", true),
        ("a*b", "axxb", true),
        ("a*b", "a", false),
        ("ab*ba", "aba", false),
        ("*", "", true),
        ("a*a*a", "aa", false),
        ("", "", true),
    ] {
        assert_eq!(wildcard(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn rewriting() {
    for (rule, one, other, expected) in [
        ("body s/v[0-9]+/v/", "api v1 x", "api v22 x", true),
        ("body s/v[0-9]+/v/", "api v1 x", "api w1 x", false),
        ("body s/a b/-/", "a b", "-", true),
        ("body s/http:\\/\\/(\\w+)/$1/", "http://x/y", "x/y", true),
        ("body s/x//", "axb", "ab", true),
    ] {
        let rules = rules(&[rule]);
        let found = rules.tolerates("body", one.as_bytes(), other.as_bytes());
        assert_eq!(found, expected.then_some(rule), "{rule} {one} {other}");
    }
    // One after the other.
    let rules = rules(&["body s/a/b/", "body s/b/c/"]);
    assert!(rules.tolerates("body", b"a", b"c").is_some());
}

#[test]
fn the_guide_lists_what_is_volatile() {
    let guide = include_str!("../../../../docs/rules.md");
    for name in VOLATILE_HEADERS {
        assert!(guide.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn lines_of_options() {
    for (option, expected) in [
        ("body.items=id", "body.items key=id"),
        ("items=id", "body.items key=id"),
        ("$.items=id", "body.items key=id"),
        ("[]=id", "body[] key=id"),
        ("GET /x/{y} items=id", "GET /x/{y} body.items key=id"),
    ] {
        assert_eq!(Rules::array_key(option).as_deref(), Ok(expected), "{option}");
    }
    assert_eq!(Rules::json_strings("payload").as_deref(), Ok("body.payload json"));
    for option in ["items", "items=", "GET items=id"] {
        assert!(Rules::array_key(option).is_err(), "{option}");
    }
}
