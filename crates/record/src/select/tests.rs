//! What each rule means, as tables; and that the sample is one.

use super::*;
use crate::id::IdGenerator;

const HEADERS: &[(&str, &[u8])] = &[
    ("Accept", b"*/*"),
    ("X-Env", b"prod"),
    ("x-env", b" blue "),
    ("Cookie", b"sid=s1; tenant=t7"),
    ("X-Raw", b"caf\xe9"),
];

fn view<'a>(method: &'a str, host: &'a str, path: &'a str) -> RequestView<'a> {
    RequestView {
        method: method.as_bytes(),
        authority: host.as_bytes(),
        path: path.as_bytes(),
        query: None,
        headers: &HEADERS,
        peer: "10.0.0.1:5000",
        id: &[7; 16],
        size: Some(0),
    }
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn selected(rules: &Rules, view: &RequestView<'_>) -> bool {
    Selection::new(rules, "test").unwrap().decide(view).is_selected()
}

#[test]
fn the_default_selects_everything() {
    for selection in [Selection::default(), Selection::new(&Rules::default(), "x").unwrap()] {
        assert!(selection.selects_all());
        assert!(selection.decide(&view("GET", "", "")).is_selected());
    }
    let all = Rules { percent: Some("100".into()), ..Rules::default() };
    assert!(Selection::new(&all, "x").unwrap().selects_all());
}

#[test]
fn methods() {
    let rules = Rules { methods: strings(&["GET", "post"]), ..Rules::default() };
    for (method, expected) in [("GET", true), ("POST", true), ("PUT", false), ("", false)] {
        assert_eq!(selected(&rules, &view(method, "h", "/")), expected, "{method}");
    }
    let rules = Rules { skip_methods: strings(&["GET"]), ..Rules::default() };
    assert!(!selected(&rules, &view("GET", "h", "/")));
    assert!(selected(&rules, &view("PUT", "h", "/")));
}

#[test]
fn hosts() {
    for (pattern, host, expected) in [
        ("api.example.com", "API.example.com:8000", true),
        ("API.example.com", "api.example.com", true),
        ("api.example.com", "api.example.com.evil", false),
        ("api.example.com:80", "api.example.com:80", true),
        ("api.example.com:80", "api.example.com:81", false),
        ("api.example.com:80", "api.example.com", false),
        ("api.example.com:*", "api.example.com:81", true),
        ("*.example.com", "a.b.Example.com", true),
        ("*.example.com", "example.com", false),
        ("*", "", true),
        ("api-*.example.*", "api-7.EXAMPLE.org:1", true),
        ("api-*.example.*", "api.example.org", false),
        ("a*b*c", "abc", true),
        ("a*b*c", "acb", false),
        ("ab*ba", "aba", false),
        ("[::1]", "[::1]:80", true),
    ] {
        let rules = Rules { hosts: strings(&[pattern]), ..Rules::default() };
        assert_eq!(selected(&rules, &view("GET", host, "/")), expected, "{pattern} {host}");
    }
}

#[test]
fn paths() {
    for (pattern, path, expected) in [
        ("/x", "/x", true),
        ("/x", "/x/", false),
        ("/x", "/X", false),
        ("/x*", "/x", true),
        ("/x*", "/xyz/1", true),
        ("/x*", "/y", false),
        ("/users/*/orders", "/users/7/orders", true),
        ("/users/*/orders", "/users/7/a/orders", true),
        ("/users/*/orders", "/users/orders", false),
        ("*.png", "/a/b.png", true),
        ("*", "*", true),
        ("~^/v[12]/", "/v2/x", true),
        ("~^/v[12]/", "/v3/x", false),
        ("~orders$", "/x/orders", true),
        ("~", "/", true),
    ] {
        let rules = Rules { paths: strings(&[pattern]), ..Rules::default() };
        assert_eq!(selected(&rules, &view("GET", "h", path)), expected, "{pattern} {path}");
        let rules = Rules { skip_paths: strings(&[pattern]), ..Rules::default() };
        assert_eq!(selected(&rules, &view("GET", "h", path)), !expected, "skip {pattern} {path}");
    }
}

#[test]
fn headers() {
    for (patterns, expected) in [
        (&["accept"][..], true),
        (&["Missing"], false),
        (&["X-Env=prod"], true),
        (&["x-env=blue"], true),
        (&["x-env=Blue"], false),
        (&["x-env=~^pr"], true),
        (&["x-raw=~caf(?-u:\\xe9)"], true),
        (&["accept=*/*"], true),
        (&["accept="], false),
        // One name: alternatives. Different names: all of them.
        (&["x-env=green", "X-Env=blue"], true),
        (&["x-env=blue", "missing"], false),
        (&["x-env=blue", "accept"], true),
    ] {
        let rules = Rules { headers: strings(patterns), ..Rules::default() };
        assert_eq!(selected(&rules, &view("GET", "h", "/")), expected, "{patterns:?}");
    }
}

#[test]
fn decisions_name_the_rule() {
    let rules = Rules {
        methods: strings(&["GET", "HEAD"]),
        skip_paths: strings(&["/health*"]),
        percent: Some("0".into()),
        ..Rules::default()
    };
    let selection = Selection::new(&rules, "test").unwrap();
    let decide = |method, path| selection.decide(&view(method, "h", path)).to_string();
    assert_eq!(decide("GET", "/healthz"), "skipped by --skip-path /health*");
    assert_eq!(decide("PUT", "/"), "does not match --method GET nor its 1 alternatives");
    assert_eq!(decide("GET", "/"), "not in the sample of --percent 0 by id");
    assert_eq!(Decision::Selected.to_string(), "selected");
}

#[test]
fn all_problems_at_once() {
    let rules = Rules {
        methods: strings(&["GE T", "GET"]),
        skip_hosts: strings(&["http://x"]),
        paths: strings(&["x", "/a?b", "~("]),
        headers: strings(&["a b=1", "x=~["]),
        percent: Some("101".into()),
        percent_by: Some("ip".into()),
        ..Rules::default()
    };
    let problems = Selection::new(&rules, "x").unwrap_err();
    assert_eq!(problems.len(), 9, "{problems:#?}");
    assert!(problems.iter().all(|problem| problem.starts_with("--")), "{problems:#?}");
    assert!(problems.iter().all(|problem| !problem.contains('\n')), "{problems:#?}");
    let alone = Rules { percent_by: Some("id".into()), ..Rules::default() };
    assert_eq!(Selection::new(&alone, "x").unwrap_err().len(), 1);
}

#[test]
fn percentages() {
    let share = |text: &str| Sample::parse(Some(text), None, "x");
    for text in ["0", "10", "10%", "10 %", ".5", "0.0001", "99.9999", "010.50000", "100"] {
        assert!(share(text).is_ok(), "{text}");
    }
    for text in ["", "%", ".", "-1", "+1", "1e2", "0.00001", "100.0001", "9999999999", "NaN", "1,5"]
    {
        assert!(share(text).is_err(), "{text}");
    }
}

/// Share of 40,000 ids that `first` and then `second` select.
fn kept(first: &Selection, second: &Selection) -> f64 {
    let mut ids = IdGenerator::new();
    let total = 40_000;
    let kept = (0..total).filter(|at| {
        let id = ids.next(1_790_000_000_000_000_000 + at * 1_000);
        let view = RequestView { id: &id, ..view("GET", "h", "/") };
        first.decide(&view).is_selected() && second.decide(&view).is_selected()
    });
    kept.count() as f64 / total as f64
}

#[test]
fn a_sample_of_a_sample_is_one() {
    let sample = |percent: &str, stage| {
        Selection::new(&Rules { percent: Some(percent.into()), ..Rules::default() }, stage).unwrap()
    };
    // Five standard deviations of these shares are below 1.3 points.
    let near = |share: f64, expected: f64| (share - expected).abs() < 0.013;
    let all = Selection::default();
    assert!(near(kept(&sample("50", "capture"), &all), 0.5));
    assert!(near(kept(&sample("50", "capture"), &sample("50", "replay")), 0.25));
    assert!(near(kept(&sample("50", "replay"), &sample("50", "replay")), 0.5));
    assert!(near(kept(&sample("10", "capture"), &sample("50", "capture")), 0.1));
    assert_eq!(kept(&sample("0", "x"), &all), 0.0);
}

#[test]
fn what_a_sample_is_taken_by() {
    let sample = |by: &str| {
        let rules =
            Rules { percent: Some("50".into()), percent_by: Some(by.into()), ..Rules::default() };
        Selection::new(&rules, "x").unwrap()
    };
    let decide = |by: &str, id: u8, header: &str, cookie: &str, peer: &str| {
        let headers = [("X-User", header), ("Cookie", cookie)];
        let id = [id; 16];
        let base = view("GET", "h", "/");
        let view = RequestView { id: &id, headers: &headers, peer, ..base };
        sample(by).decide(&view).is_selected()
    };
    // Whatever else changes, what the sample is taken by decides.
    for value in 0..50u8 {
        let (header, cookie) = (value.to_string(), format!("sid={value}"));
        let (one, other) = (format!("10.0.0.{value}:1"), format!("10.0.0.{value}:2"));
        assert_eq!(
            decide("header:x-user", 1, &header, "", ""),
            decide("header:x-user", value, &header, &cookie, &one)
        );
        assert_eq!(
            decide("cookie:sid", 1, "", &cookie, ""),
            decide("cookie:sid", value, &header, &cookie, &one)
        );
        assert_eq!(
            decide("client", 1, "", "", &one),
            decide("client", value, &header, &cookie, &other)
        );
        // Without it, the id decides.
        assert_eq!(decide("cookie:no", value, "", "", ""), decide("id", value, "a", "b", "c"));
        assert_eq!(decide("client", value, "", "", ""), decide("id", value, "a", "b", "c"));
    }
    let many = |by| (0..200u8).filter(|v| decide(by, *v, &v.to_string(), "", "")).count();
    assert!((60..140).contains(&many("header:x-user")));
}

#[test]
fn content_types() {
    let rules = Rules {
        content_types: strings(&["application/json", "Text/*"]),
        skip_content_types: strings(&["text/html"]),
        ..Rules::default()
    };
    for (value, expected) in [
        (Some("application/json"), true),
        (Some("Application/JSON; charset=utf-8"), true),
        (Some("text/plain"), true),
        (Some("text/html;x=1"), false),
        (Some("image/png"), false),
        (None, false),
    ] {
        let headers: Vec<(&str, &str)> =
            value.map(|value| ("Content-Type", value)).into_iter().collect();
        let view = RequestView { headers: &headers, ..view("POST", "h", "/") };
        assert_eq!(selected(&rules, &view), expected, "{value:?}");
    }
    for wrong in ["json", "text/html; charset=utf-8", ""] {
        let rules = Rules { content_types: strings(&[wrong]), ..Rules::default() };
        let problems = Selection::new(&rules, "x").unwrap_err();
        assert!(problems[0].contains("--content-type"), "{problems:?}");
    }
}

#[test]
fn sizes() {
    let rules = Rules { min_size: Some(10), max_size: Some(20), ..Rules::default() };
    let selection = Selection::new(&rules, "x").unwrap();
    for (size, expected) in [(9, false), (10, true), (20, true), (21, false)] {
        let view = RequestView { size: Some(size), ..view("POST", "h", "/") };
        assert_eq!(selection.decide(&view).is_selected(), expected, "{size}");
        assert_eq!(selection.sizes().contains(&size), expected, "{size}");
    }
    // What is not known yet is decided later.
    let later = RequestView { size: None, ..view("POST", "h", "/") };
    assert!(selection.decide(&later).is_selected());
    let large = RequestView { size: Some(21), ..view("POST", "h", "/") };
    assert_eq!(selection.decide(&large).to_string(), "does not match --max-size 20");
    assert_eq!(Selection::default().sizes(), 0..=u64::MAX);
    let crossed = Rules { min_size: Some(2), max_size: Some(1), ..Rules::default() };
    assert_eq!(Selection::new(&crossed, "x").unwrap_err().len(), 1);
}
