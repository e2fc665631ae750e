//! JUnit XML: a suite for each target, a case for each endpoint, a failure for what is
//! confirmed there. Follows the schema that Jenkins and GitLab read.

use std::fmt::Write;

use super::{Document, TargetReport, words};
use crate::{Coverage, Finding, Judgement};

/// Findings told of one endpoint.
const MAX_FINDINGS: usize = 50;

/// The whole file.
pub(super) fn render(document: &Document) -> String {
    let suites: Vec<Suite<'_>> = document.targets.iter().map(Suite::new).collect();
    let sum = |of: fn(&Suite<'_>) -> usize| suites.iter().map(of).sum::<usize>();
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    let _ = writeln!(
        out,
        r#"<testsuites name="{}" tests="{}" failures="{}" errors="0">"#,
        escape(&format!("umbra {}", document.job)),
        sum(|suite| suite.cases.len()),
        sum(|suite| suite.failures),
    );
    for (at, suite) in suites.iter().enumerate() {
        suite.write(&mut out, document, at);
    }
    out.push_str("</testsuites>\n");
    out
}

/// The cases of one target.
struct Suite<'a> {
    target: &'a TargetReport,
    cases: Vec<Case<'a>>,
    failures: usize,
    skipped: usize,
}

/// One endpoint, or the gate.
struct Case<'a> {
    name: &'a str,
    time_s: f64,
    state: State,
    output: String,
}

enum State {
    Passed,
    Failed { message: String, kind: &'static str, body: String },
    Skipped(String),
}

impl<'a> Suite<'a> {
    fn new(target: &'a TargetReport) -> Self {
        let endpoints = target.compare.endpoints.iter();
        let mut cases: Vec<Case<'a>> = endpoints.map(|e| case(target, e)).collect();
        cases.extend(gate(target));
        cases.extend(nothing_compared(target));
        let failures = cases.iter().filter(|c| matches!(c.state, State::Failed { .. })).count();
        let skipped = cases.iter().filter(|c| matches!(c.state, State::Skipped(_))).count();
        Self { target, cases, failures, skipped }
    }

    fn write(&self, out: &mut String, document: &Document, at: usize) {
        let name = escape(&self.target.name);
        let _ = write!(
            out,
            r#"  <testsuite name="{name}" id="{at}" tests="{}" failures="{}" errors="0" skipped="{}" time="0""#,
            self.cases.len(),
            self.failures,
            self.skipped,
        );
        // The schema's time has no zone.
        if let Some(created) = document.created.as_deref().and_then(|text| text.get(..19)) {
            let _ = write!(out, r#" timestamp="{}""#, escape(created));
        }
        out.push_str(">\n    <properties>\n");
        for (key, value) in properties(document, self.target) {
            let (key, value) = (escape(key), escape(&value));
            let _ = writeln!(out, r#"      <property name="{key}" value="{value}"/>"#);
        }
        out.push_str("    </properties>\n");
        for case in &self.cases {
            case.write(out, &name);
        }
        out.push_str("  </testsuite>\n");
    }
}

fn properties(document: &Document, target: &TargetReport) -> Vec<(&'static str, String)> {
    let mut list = vec![
        ("job", document.job.clone()),
        ("log", document.log.clone()),
        ("target", target.url.clone()),
        ("baseline", document.baseline.clone()),
        ("verdict", words::judgement(target.compare.verdict).to_ascii_lowercase()),
        ("compared", target.compare.compared.to_string()),
        ("different", target.compare.different.to_string()),
        ("noise_measured", target.compare.noise_measured.to_string()),
    ];
    if let Some(advice) = words::advice(&target.compare) {
        list.push(("advice", advice));
    }
    list.retain(|(_, value)| !value.is_empty());
    list
}

fn case<'a>(target: &'a TargetReport, endpoint: &'a Coverage) -> Case<'a> {
    let worst_first = words::worst_first(&target.compare);
    let findings = || worst_first.iter().copied().filter(|f| f.endpoint == endpoint.endpoint);
    let sure: Vec<&Finding> = findings().filter(|finding| words::is_sure(finding)).collect();
    let state = match sure.first() {
        Some(first) => State::Failed {
            message: match sure.len() {
                1 => words::what(first),
                n => format!("{}; and {} more", words::what(first), n - 1),
            },
            kind: words::class(first.class),
            body: list(&sure),
        },
        None if endpoint.compared == 0 => {
            let each = endpoint.not_compared.iter().map(|(reason, n)| format!("{reason} {n}"));
            State::Skipped(format!("not compared: {}", each.collect::<Vec<_>>().join(", ")))
        }
        None => State::Passed,
    };
    let rest: Vec<&Finding> = findings().filter(|finding| !words::is_sure(finding)).collect();
    let mut output = format!(
        "{} compared, {} equal, {} different, {} failed\n",
        endpoint.compared, endpoint.equal, endpoint.different, endpoint.failed
    );
    output.push_str(&list(&rest));
    let time_s = endpoint.latency.as_ref().map_or(0.0, |latency| latency.actual_p50_ms / 1e3);
    Case { name: &endpoint.endpoint, time_s, state, output }
}

/// What `--fail-on` asked is a case of its own: it may fail where no endpoint does.
fn gate(target: &TargetReport) -> Option<Case<'_>> {
    let gate = target.gate.as_ref()?;
    let state = match gate.held.first() {
        None => State::Passed,
        Some(first) => {
            State::Failed { message: first.clone(), kind: "fail-on", body: gate.held.join("\n") }
        }
    };
    let output = format!("--fail-on {}\n", gate.asked);
    Some(Case { name: "--fail-on", time_s: 0.0, state, output })
}

/// A suite without cases would look as if all were well.
fn nothing_compared(target: &TargetReport) -> Option<Case<'_>> {
    let unsure = target.compare.verdict == Judgement::Unsure;
    (unsure && target.compare.endpoints.is_empty()).then(|| Case {
        name: "comparison",
        time_s: 0.0,
        state: State::Skipped(words::because(&target.compare)),
        output: String::new(),
    })
}

fn list(findings: &[&Finding]) -> String {
    let mut text = String::new();
    for finding in findings.iter().take(MAX_FINDINGS) {
        let _ = writeln!(
            text,
            "[{}] {}: {}, q {}",
            words::class(finding.class),
            words::what(finding),
            words::seen(finding),
            words::chance(finding.q)
        );
        for example in words::examples(finding) {
            let line = format!("{} {}", example.id, example.note);
            let _ = writeln!(text, "    {}", line.trim());
        }
        if let Some(rule) = &finding.ignore {
            let _ = writeln!(text, "    silence with --ignore '{rule}'");
        }
    }
    if let Some(more) = findings.len().checked_sub(MAX_FINDINGS).filter(|more| *more > 0) {
        let _ = writeln!(text, "and {more} more");
    }
    text
}

impl Case<'_> {
    fn write(&self, out: &mut String, suite: &str) {
        let _ = writeln!(
            out,
            r#"    <testcase classname="{suite}" name="{}" time="{:.6}">"#,
            escape(self.name),
            self.time_s
        );
        match &self.state {
            State::Passed => {}
            State::Failed { message, kind, body } => {
                let (message, body) = (escape(message), escape_content(body));
                let _ = writeln!(
                    out,
                    r#"      <failure message="{message}" type="{kind}">{body}</failure>"#
                );
            }
            State::Skipped(reason) => {
                let _ = writeln!(out, r#"      <skipped message="{}"/>"#, escape(reason));
            }
        }
        if !self.output.is_empty() {
            let _ =
                writeln!(out, "      <system-out>{}</system-out>", escape_content(&self.output));
        }
        out.push_str("    </testcase>\n");
    }
}

/// For the content of an element, lines kept.
fn escape_content(text: &str) -> String {
    text.split('\n').map(escape).collect::<Vec<_>>().join("\n")
}

/// For text and for attributes in double quotes. What XML 1.0 cannot carry becomes a
/// replacement character.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // As they are, they would be spaces in an attribute.
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\r' => out.push_str("&#13;"),
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
    out
}
