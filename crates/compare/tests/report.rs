//! The forms of a report. What they look like is in `tests/report/`: set
//! `UMBRA_REGENERATE=1` to write it anew, and look at the difference.

#![allow(clippy::unwrap_used)] // A test says what it expects; a panic is its failure.

#[path = "../examples/sample_report/shop.rs"]
mod shop;

use std::{collections::BTreeMap, fs, path::PathBuf};

use quick_xml::{Reader, events::Event};
use umbra_compare::report::{Document, Format, Terminal};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/report").join(name)
}

/// A document of two targets, in which hostile text stands wherever traffic puts text.
fn document() -> Document {
    Document::from_json(&fs::read_to_string(file("document.json")).unwrap()).unwrap()
}

#[track_caller]
fn golden(name: &str, text: &str) {
    if std::env::var_os("UMBRA_REGENERATE").is_some() {
        fs::write(file(name), text).unwrap();
    }
    let known = fs::read_to_string(file(name)).unwrap_or_default();
    assert!(known == text, "{name} differs (UMBRA_REGENERATE=1 writes it):\n{text}");
}

#[test]
fn forms_look_as_before() {
    let document = document();
    golden("report.md", &document.render(Format::Markdown));
    golden("report.xml", &document.render(Format::Junit));
    golden("report.txt", &document.render(Format::Text));
    golden("narrow.txt", &document.terminal(&Terminal { width: 56, colour: false }));
}

#[test]
fn the_json_form_is_read_back() {
    let sample = shop::document();
    let again = Document::from_json(&sample.render(Format::Json)).unwrap();
    // All but the last digit of a number.
    for format in [Format::Text, Format::Markdown, Format::Junit] {
        assert_eq!(again.render(format), sample.render(format));
    }
    assert_eq!(again.targets[0].exchanges, sample.targets[0].exchanges);
    // The verdict stands in it as a replay's result has it.
    let json: serde_json::Value = serde_json::from_str(&sample.render(Format::Json)).unwrap();
    let compare = serde_json::to_string(&sample.targets[0].compare).unwrap();
    let compare: serde_json::Value = serde_json::from_str(&compare).unwrap();
    assert!(json["targets"][0]["compare"] == compare);
    assert_eq!(json["format"], "umbra-report/1");
}

#[test]
fn what_is_no_report_is_refused_with_the_reason() {
    let problem = |text: &str| Document::from_json(text).unwrap_err();
    assert!(problem("").contains("not JSON"));
    assert!(problem("{}").contains("not a report"));
    assert!(problem(r#"{"format":"umbra-report/9"}"#).contains("umbra-report/9"));
    assert!(problem(r#"{"format":"umbra-report/1","targets":[{}]}"#).contains("not a whole"));
    assert!(Format::of("a.pdf".as_ref()).unwrap_err().contains(".html"));
    assert_eq!(Format::of("a.b.HTML".as_ref()), Ok(Format::Html));
}

#[test]
fn lines_fit_the_terminal_and_steer_nothing() {
    let document = document();
    for width in [40, 56, 80, 133, 300] {
        let text = document.terminal(&Terminal { width, colour: false });
        for line in text.lines() {
            let wide = unicode_width::UnicodeWidthStr::width(line);
            assert!(wide <= width, "{wide} columns of {width}: {line}");
        }
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert!(!text.contains('\u{202e}'));
    }
    let coloured = document.terminal(&Terminal { width: 100, colour: true });
    assert!(coloured.contains("\u{1b}[1;31mDIFFERENT\u{1b}[0m"));
    assert!(!coloured.contains("\u{1b}[31m"), "an escape of the traffic");
    let plain = document.terminal(&Terminal { width: 100, colour: false });
    let mut bare = coloured;
    for code in ["1;31", "33", "1;32", "2", "1", "0"] {
        bare = bare.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_eq!(bare, plain, "colour changes nothing else");
}

#[test]
fn the_worst_stands_first() {
    let text = shop::document().render(Format::Text);
    let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what} in {text}"));
    let order = [
        "DIFFERENT  v2",
        "failure is added",
        "status has another value",
        "body.items[].price",
        "set-cookie:sid;httponly is missing",
        "header:server has another value",
        "new       GET /users/{id}  header:cache-control",
        "SAME  v2-patched",
        "UNSURE  v3-preview",
    ];
    for pair in order.windows(2) {
        assert!(place(pair[0]) < place(pair[1]), "{} before {}", pair[0], pair[1]);
    }
    assert!(text.contains("silence with --ignore 'GET /orders/{id} status value'"));
}

#[test]
fn markdown_is_bounded_and_says_so() {
    let mut sample = shop::document();
    let long = "GET /`|<b>".repeat(100);
    for number in 0..3000 {
        let mut finding = sample.targets[0].compare.findings[number % 20].clone();
        finding.endpoint = format!("{number}{long}");
        sample.targets[0].compare.findings.push(finding);
    }
    let mut endpoints = sample.targets[0].compare.endpoints.clone();
    for number in 0..500 {
        let mut endpoint = endpoints[number % 3].clone();
        endpoint.endpoint = format!("{number}{long}");
        endpoints.push(endpoint);
    }
    sample.targets[0].compare.endpoints = endpoints;
    for target in 0..60 {
        let mut again = sample.targets[0].clone();
        again.name = format!("target-{target}");
        sample.targets.push(again);
    }
    let text = sample.render(Format::Markdown);
    assert!(text.len() <= 65_536, "{}", text.len());
    assert!(text.contains("**Cut here**"));
    assert!(text.starts_with("## Umbra: \u{274c} different"));
    assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
    // A report of usual size is whole.
    assert!(!shop::document().render(Format::Markdown).contains("**Cut here**"));
}

/// Elements that the schema allows in another, with the attributes they must have.
const SCHEMA: &[(&str, &str, &[&str])] = &[
    ("", "testsuites", &["name", "tests", "failures"]),
    ("testsuites", "testsuite", &["name", "tests", "failures", "errors", "skipped"]),
    ("testsuite", "properties", &[]),
    ("properties", "property", &["name", "value"]),
    ("testsuite", "testcase", &["name", "classname", "time"]),
    ("testcase", "failure", &["message", "type"]),
    ("testcase", "skipped", &["message"]),
    ("testcase", "system-out", &[]),
];

#[test]
fn junit_follows_the_schema() {
    for document in [document(), shop::document(), Document::default()] {
        let xml = document.render(Format::Junit);
        let allowed = |c: char| matches!(c, '\n' | '\t' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
        assert!(xml.chars().all(allowed), "only what XML can carry");
        let mut reader = Reader::from_str(&xml);
        let (mut path, mut seen) = (vec![String::new()], BTreeMap::<String, usize>::new());
        loop {
            let event = reader.read_event().unwrap();
            match &event {
                Event::Eof => break,
                Event::Start(tag) | Event::Empty(tag) => {
                    let name = tag.name().as_ref().to_owned();
                    let within = path.last().unwrap();
                    let (_, _, needed) = SCHEMA
                        .iter()
                        .find(|(parent, child, _)| parent == within && *child == name)
                        .unwrap_or_else(|| panic!("{name} in {within}"));
                    for attribute in *needed {
                        assert!(tag.try_get_attribute(attribute).unwrap().is_some(), "{attribute}");
                    }
                    *seen.entry(name.clone()).or_default() += 1;
                    if matches!(event, Event::Start(_)) {
                        path.push(name);
                    }
                }
                Event::End(_) => drop(path.pop()),
                _ => {}
            }
        }
        let count = |name: &str| seen.get(name).copied().unwrap_or(0);
        assert!(xml.contains(&format!(
            r#"tests="{}" failures="{}" errors"#,
            count("testcase"),
            count("failure")
        )));
        assert_eq!(count("testsuite"), document.targets.len());
    }
}

#[test]
fn the_page_holds_its_data_and_loads_nothing() {
    let document = document();
    let page = document.render(Format::Html);
    let (_, rest) = page.split_once(r#"<script type="application/json" id="data">"#).unwrap();
    let (data, rest) = rest.split_once("</script>").unwrap();
    assert!(data.bytes().all(|b| b.is_ascii() && b != b'<' && b != b'>' && b != b'&'));
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    let hostile = &data["targets"][0]["compare"]["findings"];
    let endpoints: Vec<_> = hostile.as_array().unwrap().iter().map(|f| &f["endpoint"]).collect();
    assert!(endpoints.iter().any(|e| *e == "GET /a|b`c<script>alert(1)</script>"));
    assert_eq!(rest.matches("<script").count(), 1);
    assert!(!page.contains("<script>alert"));
    assert!(page.contains(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    ));
    for outside in ["http-equiv=\"refresh\"", "src=\"", "@import", "url(", "fetch(", "innerHTML"] {
        assert!(!page.replace(data_of(&page), "").contains(outside), "{outside}");
    }
}

fn data_of(page: &str) -> &str {
    let (_, rest) = page.split_once(r#"id="data">"#).unwrap();
    rest.split_once("</script>").unwrap().0
}

#[test]
fn a_report_of_nothing_is_a_report() {
    let document = Document { job: "empty".to_owned(), ..Document::default() };
    for format in [Format::Html, Format::Json, Format::Markdown, Format::Junit, Format::Text] {
        assert!(document.render(format).contains("empty"), "{format:?}");
    }
    assert_eq!(Document::from_json(&document.render(Format::Json)).unwrap(), document);
}
