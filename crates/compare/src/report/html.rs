//! A page of HTML that needs nothing else: style, script and data are in it, and its
//! policy forbids it to load anything. The data is text for the script, which puts it
//! on the page as text and never as HTML.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Document, Exchange, Terminal, diff, words};

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/page.js");

/// The whole page.
pub(super) fn page(document: &Document) -> String {
    let title = format!(
        "{} \u{b7} {}",
        words::judgement(words::worst(document)).to_lowercase(),
        document.job
    );
    let plain = document.terminal(&Terminal { width: 100, colour: false });
    // The data comes last, so that nothing in it is taken for a place to fill.
    let mut page = String::with_capacity(PAGE.len() + STYLE.len() + SCRIPT.len());
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let Some((name, after)) = after.split_once("}}") else { break };
        match name {
            "title" => page.push_str(&escape(&title)),
            "style" => page.push_str(STYLE),
            "script" => page.push_str(SCRIPT),
            "plain" => page.push_str(&escape(&plain)),
            "data" => page.push_str(&in_script(&data(document))),
            _ => {}
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

/// What the script shows: the document, its exchanges replaced by rows side by side,
/// and the sentences of the other forms.
fn data(document: &Document) -> Value {
    let mut value = json!(document);
    let targets = value.get_mut("targets").and_then(Value::as_array_mut);
    for (shown, target) in targets.into_iter().flatten().zip(&document.targets) {
        let exchanges: BTreeMap<&str, Value> = target
            .exchanges
            .iter()
            .map(|exchange| (exchange.id.as_str(), side_by_side(exchange)))
            .collect();
        shown["exchanges"] = json!(exchanges);
        shown["because"] = json!(words::because(&target.compare));
        shown["advice"] = json!(words::advice(&target.compare));
        let findings = words::worst_first(&target.compare).into_iter().map(|finding| {
            let mut shown = json!(finding);
            shown["what"] = json!(words::what(finding));
            shown["chance"] = json!(words::chance(finding.q));
            let examples = shown["examples"].as_array_mut();
            for (shown, example) in examples.into_iter().flatten().zip(&finding.examples) {
                if let Some((expected, actual)) = words::sides(finding, example) {
                    shown["expected"] = json!(expected);
                    shown["actual"] = json!(actual);
                }
            }
            shown
        });
        shown["compare"]["findings"] = findings.collect();
    }
    value
}

fn side_by_side(exchange: &Exchange) -> Value {
    json!({
        "at": exchange.at,
        "method": exchange.method,
        "path": exchange.path,
        "sections": diff::sections(exchange),
    })
}

/// JSON that can stand in a script element: nothing in it ends the element or opens a
/// comment, and it is ASCII, whatever the page is taken for.
fn in_script(value: &Value) -> String {
    let json = value.to_string();
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // Within JSON these stand in strings only.
            '<' | '>' | '&' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c if c.is_ascii() => out.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out
}

/// For text and attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
