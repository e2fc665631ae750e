//! Rows side by side, escaping, which exchanges are kept and what is taken out of them.

use proptest::prelude::*;
use umbra_record::pb;

use super::{
    Exchange, Offered, Samples, Side,
    diff::{self, Row, RowKind},
    junit, markdown,
    terminal::printable,
};
use crate::{Answer, Body, Difference, RequestKey, Rules, Verdict, differences};

fn side(body: &str) -> Side {
    Side { status: 200, body: Some(body.to_owned()), ..Side::default() }
}

fn rows(title: &str, exchange: &Exchange) -> Vec<Row> {
    let section = diff::sections(exchange).into_iter().find(|section| section.title == title);
    section.unwrap().rows
}

fn bodies(one: &str, other: &str) -> Vec<Row> {
    rows("body", &Exchange { expected: side(one), actual: side(other), ..Exchange::default() })
}

/// Kind and text of each row, what differs in brackets.
fn shown(rows: &[Row]) -> Vec<String> {
    let text = |parts: &Option<[String; 3]>| match parts {
        None => String::new(),
        Some([before, differs, after]) if differs.is_empty() => format!("{before}{after}"),
        Some([before, differs, after]) => format!("{before}[{differs}]{after}"),
    };
    let line = |row: &Row| match row.kind {
        RowKind::Fold => format!("fold {}", row.folded),
        kind => format!("{kind:?} {} | {}", text(&row.left).trim(), text(&row.right).trim()),
    };
    rows.iter().map(line).collect()
}

#[test]
fn members_are_compared_in_one_order() {
    let rows = bodies(r#"{"a":1,"b":[1,2],"c":"x"}"#, r#"{"c":"y","a":1,"b":[1,2],"d":0}"#);
    assert_eq!(
        shown(&rows),
        [
            "fold 3",
            "Same 1, | 1,",
            "Same 2 | 2",
            "Same ], | ],",
            "Changed \"c\": \"[x]\" | \"c\": \"[y]\",",
            "Added  | [\"d\": 0]",
            "Same } | }",
        ][..]
            .iter()
            .map(|line| line.to_string())
            .collect::<Vec<_>>()
    );
}

#[test]
fn lines_of_text_are_aligned() {
    let one: String = (0..30).map(|n| format!("line {n}\n")).collect();
    let other = one.replace("line 4\n", "").replace("line 20\n", "line 20 and more\n");
    let shown = shown(&bodies(&one, &other));
    assert!(shown.contains(&"Missing [line 4] | ".to_owned()), "{shown:?}");
    assert!(shown.contains(&"Changed line 20 | line 20[ and more]".to_owned()), "{shown:?}");
    assert_eq!(shown.iter().filter(|line| line.starts_with("fold")).count(), 2, "{shown:?}");
}

#[test]
fn headers_go_by_name_and_the_volatile_ones_are_quiet() {
    let fields = |list: &[(&str, &str)]| {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let exchange = Exchange {
        expected: Side {
            headers: fields(&[("Date", "1"), ("X-A", "1"), ("Etag", "a"), ("Vary", "b")]),
            ..side("")
        },
        actual: Side { headers: fields(&[("x-a", "1"), ("vary", "b"), ("date", "2")]), ..side("") },
        ..Exchange::default()
    };
    let kinds: Vec<RowKind> = rows("headers", &exchange).iter().map(|row| row.kind).collect();
    assert_eq!(kinds, [RowKind::Quiet, RowKind::Same, RowKind::Missing, RowKind::Same]);
}

#[test]
fn what_cannot_be_aligned_is_bounded() {
    let many = |start: usize| (start..start + 9000).map(|n| format!("{n}\n")).collect::<String>();
    let rows = bodies(&many(0), &many(100_000));
    assert_eq!(rows.len(), 401);
    assert_eq!(rows.last().unwrap().kind, RowKind::More);
    let exchange = Exchange { expected: side(""), ..Exchange::default() };
    let none = Exchange {
        actual: Side { failure: Some("refused".to_owned()), ..Side::default() },
        ..exchange
    };
    assert_eq!(shown(&rows_of_status(&none)), ["Changed [200] | [refused]"]);
}

fn rows_of_status(exchange: &Exchange) -> Vec<Row> {
    rows("status", exchange)
}

fn answer(headers: &[(&str, &str)], body: &str) -> Answer {
    let header = |(name, value): &(&str, &str)| pb::Header {
        name: (*name).to_owned().into(),
        value: (*value).to_owned().into(),
    };
    Answer {
        status: 200,
        headers: headers.iter().map(header).collect(),
        body: Body::whole(body.to_owned()),
        ..Answer::default()
    }
}

fn offered<'a>(id: &'a [u8], path: &'a str) -> Offered<'a> {
    Offered { id, at: None, method: "GET", path, query: "key=k3y&page=2" }
}

#[test]
fn what_was_redacted_is_shown_on_neither_side() {
    let places =
        ["json:$.user.token", "header:authorization", "cookie:sid", "query:key"].map(str::to_owned);
    let mut old = answer(
        &[("Authorization", "umbra-hash:aa"), ("Set-Cookie", "sid=umbra-hash:bb; Secure")],
        r#"{"user":{"token":"umbra-hash:cc","name":"Ann"},"n":1}"#,
    );
    old.redacted = places.to_vec();
    let new = answer(
        &[
            ("authorization", "s3cret-1"),
            ("set-cookie", "sid=s3cret-2; Secure"),
            ("Location", "/next?key=s3cret-3&page=3"),
        ],
        r#"{"user":{"token":"s3cret-4","name":"Ann"},"n":2}"#,
    );
    let rules = Rules::default();
    let found = differences(&old, &new, &rules);
    let exchange = kept(&found, &old, &new, &rules);
    let text = serde_json::to_string(&exchange).unwrap();
    assert!(!text.contains("s3cret") && !text.contains("k3y"), "{text}");
    assert!(!text.contains("umbra-hash"), "{text}");
    assert!(text.contains("sid=(redacted); Secure") && text.contains("page=3"), "{text}");
    assert!(exchange.actual.body.as_deref().unwrap().contains("Ann"));

    // Where the structure is not found, the whole is held back.
    let (mut old, new) = (answer(&[], "token=a"), answer(&[], "token=s3cret {"));
    old.redacted = places.to_vec();
    let found = [Difference::new("body", crate::Kind::Value, "")];
    let exchange = kept(&found, &old, &new, &rules);
    assert!(exchange.actual.withheld && exchange.actual.body.is_none());
    let rows = rows("body", &exchange);
    assert_eq!(
        shown(&rows),
        [
            "Same not shown: it may hold what was redacted | not shown: it may hold what was redacted"
        ]
    );
}

fn kept(found: &[Difference], old: &Answer, new: &Answer, rules: &Rules) -> Exchange {
    let mut samples = Samples::default();
    samples.offer(&offered(b"one", "/a"), found, old, new, rules);
    let mut verdict = Verdict::default();
    let request = RequestKey { id: b"one", method: "GET", path: "/a", again: false };
    verdict.compared(&request, found, None);
    samples.exchanges(&verdict.finish()).remove(0)
}

#[test]
fn the_exchanges_kept_are_those_of_the_first_examples() {
    let rules = Rules::default();
    let old = answer(&[], r#"{"a":1}"#);
    let (mut samples, mut half) = (Samples::default(), Samples::default());
    let mut verdict = Verdict::default();
    for number in 0..500u32 {
        let body = if number % 2 == 0 { r#"{"a":2}"# } else { r#"{"a":1,"b":1}"# };
        let new = answer(&[("content-type", "application/json")], body);
        let found = differences(&old, &new, &rules);
        let (id, path) = (number.to_be_bytes(), format!("/users/{number}"));
        let request = RequestKey { id: &id, method: "GET", path: &path, again: false };
        verdict.compared(&request, &found, None);
        let samples = if number < 300 { &mut samples } else { &mut half };
        samples.offer(&offered(&id, &path), &found, &old, &new, &rules);
    }
    samples.merge(half);
    let report = verdict.finish();
    let ids: Vec<String> = samples.exchanges(&report).into_iter().map(|one| one.id).collect();
    assert!(report.findings.len() >= 3);
    for finding in &report.findings {
        assert!(ids.contains(&finding.example.as_ref().unwrap().id), "{}", finding.field);
    }
}

#[test]
fn samples_are_bounded() {
    let rules = Rules::default();
    let old = answer(&[], "");
    let new = answer(&[], &"x".repeat(100_000));
    let mut samples = Samples::default();
    for number in 0..6000u32 {
        let field = format!("body.{number}");
        let found = [Difference::new(field, crate::Kind::Value, "")];
        samples.offer(&offered(&number.to_be_bytes(), "/a"), &found, &old, &new, &rules);
    }
    assert!(samples.len() <= 2000 && samples.bytes() <= 32 << 20);
}

/// Text with much of what means something somewhere.
fn hostile() -> impl Strategy<Value = String> {
    let parts = prop_oneof![
        Just("</script>".to_owned()),
        Just("<!--".to_owned()),
        Just("]]>".to_owned()),
        Just("```".to_owned()),
        Just("|".to_owned()),
        Just("\\".to_owned()),
        Just("</details>".to_owned()),
        Just("@all".to_owned()),
        Just("\n\n# ".to_owned()),
        any::<char>().prop_map(String::from),
        "[ -~]{0,8}",
    ];
    proptest::collection::vec(parts, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn xml_gives_the_text_back(text in hostile()) {
        let xml = format!("<a b=\"{0}\">{0}</a>", junit::escape(&text));
        let mut reader = quick_xml::Reader::from_str(&xml);
        let quick_xml::events::Event::Start(tag) = reader.read_event().unwrap() else {
            panic!("{xml}")
        };
        let value = tag.try_get_attribute("b").unwrap().unwrap().normalized_value(quick_xml::XmlVersion::Implicit1_0).unwrap();
        let carried = |c: char| {
            matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
        };
        let expected: String =
            text.chars().map(|c| if carried(c) { c } else { '\u{fffd}' }).collect();
        prop_assert_eq!(value.as_ref(), expected);
    }

    #[test]
    fn a_code_span_cannot_be_left(text in hostile()) {
        let code = markdown::code(&text, false);
        let fence = code.len() - code.trim_start_matches('`').len();
        if code.is_empty() {
            return Ok(());
        }
        let inner = &code[fence..code.len() - fence];
        let longest = inner.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        prop_assert!(longest < fence && !code.contains('\n'), "{}", code);
        let cell = markdown::code(&text, true);
        let bare = cell.replace("\\|", "");
        prop_assert!(!bare.contains('|'), "{}", cell);
    }

    #[test]
    fn a_fenced_block_cannot_be_left(text in hostile()) {
        let block = markdown::fenced("diff", &text);
        let fence = &block[..block.len() - block.trim_start_matches('`').len()];
        let closing = block.lines().skip(1).filter(|line| line.trim_start().starts_with(fence));
        prop_assert_eq!(closing.count(), 1);
    }

    #[test]
    fn sentences_hold_no_markup(text in hostile()) {
        let shown = markdown::text(&text);
        prop_assert!(!shown.contains(['<', '>', '@', '\n']), "{}", shown);
    }

    #[test]
    fn printable_steers_nothing(text in hostile()) {
        let shown = printable(&text);
        let steers = shown.chars().any(|c| c.is_control() || c == '\u{202e}');
        prop_assert!(!steers);
    }
}
