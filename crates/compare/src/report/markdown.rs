//! Markdown for a pull request: what was found in a table, the rest folded. Everything
//! that comes from requests and answers is escaped, and the whole is bounded.

use super::{Document, Exchange, TargetReport, diff, words};
use crate::{Class, Coverage, Finding, Judgement, report::terminal::printable};

/// What a comment on GitHub may have, in characters; bytes are counted, which are not
/// fewer.
pub(super) const MAX_LENGTH: usize = 65_536;
/// Room for the note that something was cut.
const NOTE: usize = 200;
/// Findings in the table of a target.
const MAX_FINDINGS: usize = 50;
/// Of these, with details.
const MAX_DETAILS: usize = 15;
/// Endpoints in the table.
const MAX_ENDPOINTS: usize = 100;
/// Longest text from outside in one place.
const MAX_TEXT: usize = 160;
/// Rows of one diff.
const MAX_ROWS: usize = 60;

/// The whole text.
pub(super) fn render(document: &Document) -> String {
    let mut page = Page::default();
    page.add(&format!("## Umbra: {}\n\n", headline(document)));
    for target in &document.targets {
        page.add(&summary(document, target));
        page.add(&table(target));
    }
    for note in &document.notes {
        page.add(&format!("> {}\n\n", text(note)));
    }
    for target in &document.targets {
        page.details(document, target);
    }
    page.add(&about(document));
    page.end()
}

/// Text that takes whole blocks as long as there is room.
#[derive(Default)]
struct Page {
    out: String,
    cut: bool,
}

impl Page {
    fn add(&mut self, block: &str) {
        // After something was left out nothing follows, or it would seem whole.
        if self.cut || self.out.len() + block.len() > MAX_LENGTH - NOTE {
            self.cut = true;
            return;
        }
        self.out.push_str(block);
    }

    fn details(&mut self, document: &Document, target: &TargetReport) {
        let findings = words::worst_first(&target.compare).into_iter();
        for finding in findings.filter(|f| words::matters(f)).take(MAX_DETAILS) {
            self.add(&detail(document, target, finding));
        }
        self.add(&quiet(target));
        self.add(&endpoints(target));
    }

    fn end(mut self) -> String {
        if self.cut {
            self.out.push_str("\n> **Cut here**: the report is longer than a comment may be. The HTML and JSON forms are whole.\n");
        }
        self.out
    }
}

fn mark(verdict: Judgement) -> &'static str {
    match verdict {
        Judgement::Same => "\u{2705} same",
        Judgement::Different => "\u{274c} different",
        Judgement::Unsure => "\u{2754} unsure",
    }
}

fn headline(document: &Document) -> String {
    match &document.targets[..] {
        [target] => {
            format!("{}, {}", mark(target.compare.verdict), words::because(&target.compare))
        }
        targets => {
            let differ = targets.iter().filter(|t| t.compare.verdict == Judgement::Different);
            let all = words::count(targets.len() as u64, "target");
            format!("{}, {} of {all} differ", mark(words::worst(document)), differ.count())
        }
    }
}

fn summary(document: &Document, target: &TargetReport) -> String {
    let report = &target.compare;
    let mut out = String::new();
    if document.targets.len() > 1 {
        out.push_str(&format!(
            "### {}: {}\n\n{}\n\n",
            code(&target.name, false),
            mark(report.verdict),
            capital(&words::because(report))
        ));
    }
    let equal = words::percent(report.equal, report.compared);
    out.push_str(&format!(
        "{} compared with {}: **{}** equal ({equal}), **{}** different, **{}** failed.",
        code(&target.name, false),
        code(&document.baseline, false),
        words::number(report.equal),
        words::number(report.different),
        words::number(report.failed),
    ));
    let not: u64 = report.not_compared.values().sum();
    if not > 0 {
        out.push_str(&format!(" Not compared: {}.", words::number(not)));
    }
    out.push_str("\n\n");
    if let Some(advice) = words::advice(report) {
        out.push_str(&format!("{}.\n\n", capital(&advice)));
    }
    if let Some(gate) = &target.gate {
        if gate.held.is_empty() {
            out.push_str(&format!(
                "{}: passed\n\n",
                code(&format!("--fail-on {}", gate.asked), false)
            ));
        }
        for held in &gate.held {
            out.push_str(&format!("- **--fail-on**: {}\n", text(held)));
        }
        if !gate.held.is_empty() {
            out.push('\n');
        }
    }
    out
}

fn table(target: &TargetReport) -> String {
    let mut findings = words::worst_first(&target.compare);
    findings.retain(|finding| words::matters(finding));
    if findings.is_empty() {
        return String::new();
    }
    let mut out =
        "| | Endpoint | Field | What | Seen | q |\n|---|---|---|---|--:|--:|\n".to_owned();
    for finding in findings.iter().take(MAX_FINDINGS) {
        out.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            class(finding.class),
            code(&finding.endpoint, true),
            code(&finding.field, true),
            finding.kind,
            words::seen(finding),
            words::chance(finding.q).replace('<', "&lt;"),
        ));
    }
    let more = findings.len().saturating_sub(MAX_FINDINGS) + target.compare.findings_omitted;
    if more > 0 {
        out.push_str(&format!("\nAnd {}.\n", words::count(more as u64, "more finding")));
    }
    out.push('\n');
    out
}

fn class(class: Class) -> String {
    match class {
        Class::Confirmed | Class::Shape => format!("**{}**", words::class(class)),
        _ => words::class(class).to_owned(),
    }
}

fn detail(document: &Document, target: &TargetReport, finding: &Finding) -> String {
    let mut body = String::new();
    for example in words::examples(finding).into_iter().take(3) {
        let id = if example.id.is_empty() { String::new() } else { code(&example.id, false) };
        let note = if example.note.is_empty() { String::new() } else { code(&example.note, false) };
        let line = format!("{id} {note}");
        body.push_str(&format!("- {}\n", line.trim()));
    }
    body.push('\n');
    let ids = || finding.examples.iter().map(|example| example.id.as_str());
    let exchange = target.exchanges.iter().find(|exchange| ids().any(|id| id == exchange.id));
    if let Some(exchange) = exchange {
        body.push_str(&side_by_side(document, target, exchange));
    }
    if let Some(rule) = &finding.ignore {
        body.push_str(&format!("Silence it with {}\n", code(&format!("--ignore '{rule}'"), false)));
    }
    fold(&format!("{}: {}", finding.endpoint, words::what(finding)), &body)
}

/// Both answers as one diff: `-` the baseline's lines, `+` the target's.
fn side_by_side(document: &Document, target: &TargetReport, exchange: &Exchange) -> String {
    let mut lines = vec![
        format!("# {} {}", exchange.method, exchange.path),
        format!("--- {}", document.baseline),
        format!("+++ {}", target.name),
    ];
    let rows = diff::sections(exchange).into_iter().flat_map(|section| section.rows);
    let mut rows = rows.peekable();
    while let Some(row) = rows.next_if(|_| lines.len() < MAX_ROWS) {
        let join = |parts: &Option<[String; 3]>| parts.as_ref().map(|parts| parts.concat());
        let (left, right) = (join(&row.left), join(&row.right));
        match row.kind {
            diff::RowKind::Same => lines.extend(left.map(|line| format!("  {line}"))),
            diff::RowKind::Quiet => lines.extend(right.or(left).map(|line| format!("  {line}"))),
            diff::RowKind::Fold | diff::RowKind::More => {
                lines.push(format!("@@ {} @@", words::count(row.folded as u64, "more line")));
            }
            _ => {
                lines.extend(left.map(|line| format!("- {line}")));
                lines.extend(right.map(|line| format!("+ {line}")));
            }
        }
    }
    if rows.peek().is_some() {
        lines.push("@@ cut @@".to_owned());
    }
    fenced("diff", &lines.join("\n"))
}

/// What needs no attention, and can be looked up.
fn quiet(target: &TargetReport) -> String {
    let mut rest = words::worst_first(&target.compare);
    rest.retain(|finding| !words::matters(finding));
    if rest.is_empty() {
        return String::new();
    }
    let mut body = "| | Endpoint | Field | What | Seen |\n|---|---|---|---|--:|\n".to_owned();
    for finding in rest.iter().take(MAX_FINDINGS) {
        body.push_str(&format!(
            "| {} | {} | {} | {} | {} |\n",
            words::class(finding.class),
            code(&finding.endpoint, true),
            code(&finding.field, true),
            finding.kind,
            words::seen(finding),
        ));
    }
    let more = rest.len().saturating_sub(MAX_FINDINGS);
    if more > 0 {
        body.push_str(&format!("\nAnd {more} more.\n"));
    }
    fold(
        &format!(
            "{} that are noise or no change of content",
            words::count(rest.len() as u64, "difference")
        ),
        &body,
    )
}

fn endpoints(target: &TargetReport) -> String {
    let endpoints = &target.compare.endpoints;
    if endpoints.is_empty() {
        return String::new();
    }
    let mut body = "| Endpoint | Compared | Different | Failed | Not compared | p50 | p99 |\n\
                    |---|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for endpoint in endpoints.iter().take(MAX_ENDPOINTS) {
        body.push_str(&endpoint_row(endpoint));
    }
    let more = endpoints.len().saturating_sub(MAX_ENDPOINTS);
    if more > 0 {
        body.push_str(&format!("\nAnd {more} more.\n"));
    }
    fold(&words::count(endpoints.len() as u64, "endpoint"), &body)
}

fn endpoint_row(endpoint: &Coverage) -> String {
    let pair = |one: f64, other: f64| format!("{} \u{2192} {}", words::ms(one), words::ms(other));
    let (p50, p99) = endpoint.latency.map_or_else(Default::default, |l| {
        (pair(l.expected_p50_ms, l.actual_p50_ms), pair(l.expected_p99_ms, l.actual_p99_ms))
    });
    format!(
        "| {} | {} | {} | {} | {} | {p50} | {p99} |\n",
        code(&endpoint.endpoint, true),
        words::number(endpoint.compared),
        words::number(endpoint.different),
        words::number(endpoint.failed),
        words::number(endpoint.not_compared.values().sum()),
    )
}

fn about(document: &Document) -> String {
    let mut facts = vec![format!("job {}", code(&document.job, false))];
    if !document.log.is_empty() {
        facts.push(format!("log {}", code(&document.log, false)));
    }
    for (name, value) in [
        ("from", &document.window.from),
        ("to", &document.window.to),
        ("noise", &document.noise),
        ("made", &document.created),
    ] {
        facts.extend(value.as_ref().map(|value| format!("{name} {}", code(value, false))));
    }
    format!("<sub>{}</sub>\n", facts.join(" \u{b7} "))
}

fn fold(title: &str, body: &str) -> String {
    format!("<details><summary>{}</summary>\n\n{}\n</details>\n\n", html(title), body.trim_end())
}

fn capital(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Text from outside as a code span: nothing in it means anything to Markdown, nobody
/// is mentioned, nothing is linked.
pub(super) fn code(outside: &str, in_table: bool) -> String {
    let mut text = printable(&crate::difference::shorten(outside, MAX_TEXT));
    if text.trim().is_empty() {
        return String::new();
    }
    if in_table {
        // A table is cut into cells before code spans are seen.
        text = text.replace('|', "\\|");
    }
    let fence = "`".repeat(longest_run(&text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// A block whose fence the text cannot close.
pub(super) fn fenced(language: &str, outside: &str) -> String {
    let lines: Vec<String> = outside.lines().map(printable).collect();
    let text = lines.join("\n");
    let fence = "`".repeat((longest_run(&text) + 1).max(3));
    format!("{fence}{language}\n{text}\n{fence}\n\n")
}

/// Text from outside within a sentence.
pub(super) fn text(outside: &str) -> String {
    let mut out = String::new();
    for c in printable(&crate::difference::shorten(outside, 500)).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // No mention, no reference.
            '@' => out.push_str("&#64;"),
            '#' => out.push_str("&#35;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '(' | ')' | '!' | '|' | '~' | '+' | ':' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// The same within an element of HTML, where Markdown may or may not be looked for.
fn html(outside: &str) -> String {
    let mut out = String::new();
    for c in printable(&crate::difference::shorten(outside, MAX_TEXT)).chars() {
        if c.is_alphanumeric() || " ,./{}:-".contains(c) {
            out.push(c);
        } else {
            out.push_str(&format!("&#{};", c as u32));
        }
    }
    out
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}
