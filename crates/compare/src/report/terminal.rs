//! The report as text: the verdict first, then the gravest, no wider than it may be.

use std::fmt::Write;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Document, TargetReport, words};
use crate::{Class, Coverage, Finding, Judgement};

/// Findings told one by one; the others are counted.
const MAX_FINDINGS: usize = 30;
/// Endpoints told one by one.
const MAX_ENDPOINTS: usize = 30;
/// Least width that tables fit in.
const MIN_WIDTH: usize = 40;

/// Where the text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Columns.
    pub width: usize,
    /// Whether it shows colours, and may (`NO_COLOR`).
    pub colour: bool,
}

/// What colour means.
#[derive(Debug, Clone, Copy)]
enum Tone {
    Bad,
    Warn,
    Good,
    Quiet,
    Strong,
}

/// The whole text.
pub(super) fn render(document: &Document, terminal: &Terminal) -> String {
    let width = terminal.width.max(MIN_WIDTH);
    let mut page = Page { out: String::new(), width, colour: terminal.colour };
    page.head(document);
    for target in &document.targets {
        page.target(document, target);
    }
    page.out
}

struct Page {
    out: String,
    width: usize,
    colour: bool,
}

impl Page {
    fn head(&mut self, document: &Document) {
        let mut facts = vec![format!("job {}", document.job)];
        facts.extend(document.run.map(|run| format!("run {run}")));
        if !document.log.is_empty() {
            facts.push(document.log.clone());
        }
        facts.extend(span(document));
        facts.extend(document.window.mode.clone());
        facts.push(format!("baseline {}", document.baseline));
        facts.extend(document.noise.as_ref().map(|noise| format!("noise {noise}")));
        self.wrapped(0, &facts.join(" · "), Some(Tone::Quiet));
        for note in &document.notes {
            self.wrapped(2, note, Some(Tone::Warn));
        }
    }

    fn target(&mut self, document: &Document, target: &TargetReport) {
        let report = &target.compare;
        self.out.push('\n');
        let tone = match report.verdict {
            Judgement::Different => Tone::Bad,
            Judgement::Unsure => Tone::Warn,
            Judgement::Same => Tone::Good,
        };
        let word = words::judgement(report.verdict);
        let rest = format!("  {}: {}", target.name, words::because(report));
        let line = wrap(&printable(&format!("{word}{rest}")), self.width, 4);
        let line = line.replacen(word, &self.tone(word, tone), 1);
        let _ = writeln!(self.out, "{line}");
        if let Some(advice) = words::advice(report) {
            self.wrapped(2, &advice, Some(Tone::Warn));
        }
        let course = [target.url.clone(), words::course(target)];
        let course: Vec<String> = course.into_iter().filter(|part| !part.is_empty()).collect();
        if !course.is_empty() {
            self.wrapped(2, &course.join(" · "), Some(Tone::Quiet));
        }
        self.gate(target);
        self.findings(document, target);
        self.endpoints(target);
    }

    fn gate(&mut self, target: &TargetReport) {
        let Some(gate) = &target.gate else { return };
        if gate.held.is_empty() {
            self.wrapped(2, &format!("--fail-on {}: passed", gate.asked), Some(Tone::Good));
        }
        for held in &gate.held {
            self.wrapped(2, &format!("--fail-on: {held}"), Some(Tone::Bad));
        }
    }

    fn findings(&mut self, document: &Document, target: &TargetReport) {
        let report = &target.compare;
        let mut shown = words::worst_first(report);
        shown.retain(|finding| words::matters(finding));
        if !shown.is_empty() {
            self.title("Findings");
        }
        for finding in shown.iter().take(MAX_FINDINGS) {
            self.finding(document, target, finding);
        }
        let of = |class| report.findings.iter().filter(|f| f.class == class).count() as u64;
        let more = shown.len().saturating_sub(MAX_FINDINGS) + report.findings_omitted;
        let mut rest = Vec::new();
        if more > 0 {
            rest.push(format!("{} not listed here", words::count(more as u64, "more finding")));
        }
        if of(Class::Noise) > 0 {
            rest.push(format!(
                "{} that good answers show too",
                words::count(of(Class::Noise), "difference")
            ));
        }
        if of(Class::Note) > 0 {
            rest.push(format!("{} not in content", words::count(of(Class::Note), "difference")));
        }
        if !rest.is_empty() {
            self.out.push('\n');
            self.wrapped(2, &format!("and {}", rest.join(", ")), Some(Tone::Quiet));
        }
    }

    fn finding(&mut self, document: &Document, target: &TargetReport, finding: &Finding) {
        let tone = if words::is_sure(finding) { Tone::Bad } else { Tone::Warn };
        let class = format!("{:<9}", words::class(finding.class));
        let rest = format!(" {}  {}", finding.endpoint, words::what(finding));
        let line = wrap(&printable(&format!("  {class}{rest}")), self.width, 12);
        let line = line.replacen(&class, &self.tone(&class, tone), 1);
        let _ = writeln!(self.out, "\n{line}");
        let numbers = format!("{} · q {}", words::seen(finding), words::chance(finding.q));
        self.wrapped(12, &numbers, Some(Tone::Quiet));
        match words::values(finding) {
            Some((expected, actual)) => {
                let names = [document.baseline.as_str(), target.name.as_str()];
                let longest = names.iter().map(|name| name.width()).max().unwrap_or(0).min(20);
                for (name, value) in names.iter().zip([expected, actual]) {
                    let name = pad(&fit(&printable(name), longest), longest, false);
                    self.one_line(12, &format!("{name}  {value}"), None);
                }
            }
            None if !words::note(finding).is_empty() => {
                self.one_line(12, words::note(finding), None);
            }
            None => {}
        }
        if let Some(rule) = &finding.ignore {
            self.wrapped(12, &format!("silence with --ignore '{rule}'"), Some(Tone::Quiet));
        }
    }

    fn endpoints(&mut self, target: &TargetReport) {
        let mut endpoints: Vec<&Coverage> = target.compare.endpoints.iter().collect();
        if endpoints.is_empty() {
            return;
        }
        endpoints.sort_by_key(|e| std::cmp::Reverse((e.failed, e.different, e.compared)));
        self.title("Endpoints");
        let timed = endpoints.iter().any(|endpoint| endpoint.latency.is_some());
        let mut heads = vec!["compared", "different", "failed", "not compared"];
        if timed {
            heads.extend(["p50", "p99"]);
        }
        let rows: Vec<(String, Vec<String>)> = endpoints
            .iter()
            .take(MAX_ENDPOINTS)
            .map(|endpoint| (printable(&endpoint.endpoint), cells(endpoint, timed)))
            .collect();
        self.table("endpoint", &heads, &rows);
        if let Some(more) = endpoints.len().checked_sub(MAX_ENDPOINTS).filter(|more| *more > 0) {
            self.wrapped(2, &format!("and {more} more"), Some(Tone::Quiet));
        }
        let uneven = |e: &&Coverage| e.latency.is_some_and(|latency| !latency.same_load);
        if timed && endpoints.iter().any(uneven) {
            let caution = "times were not taken under the same load: they compare the places as \
                           much as the versions";
            self.wrapped(2, caution, Some(Tone::Quiet));
        }
    }

    /// A name and right-aligned cells. What does not fit the width: the last columns go.
    fn table(&mut self, head: &str, heads: &[&str], rows: &[(String, Vec<String>)]) {
        let widths: Vec<usize> = (0..heads.len())
            .map(|at| rows.iter().map(|row| row.1[at].width()).chain([heads[at].width()]).max())
            .map(|width| width.unwrap_or(0) + 2)
            .collect();
        let mut columns = widths.len();
        let used = |columns: usize| widths[..columns].iter().sum::<usize>() + 2;
        while columns > 1 && used(columns) + 20 > self.width {
            columns -= 1;
        }
        let names = rows.iter().map(|row| row.0.width()).chain([head.width()]).max().unwrap_or(0);
        let names = names.min(self.width.saturating_sub(used(columns)).max(10));
        let mut line = |name: &str, cells: Vec<&str>, tone: Option<Tone>| {
            let mut text = format!("  {}", pad(&fit(name, names), names, false));
            for (cell, width) in cells.iter().zip(&widths).take(columns) {
                text.push_str(&pad(cell, *width, true));
            }
            let text = match tone {
                Some(tone) => self.tone(&text, tone),
                None => text,
            };
            let _ = writeln!(self.out, "{text}");
        };
        line(head, heads.to_vec(), Some(Tone::Quiet));
        for (name, cells) in rows {
            line(name, cells.iter().map(String::as_str).collect(), None);
        }
    }

    fn title(&mut self, title: &str) {
        let title = self.tone(title, Tone::Strong);
        let _ = writeln!(self.out, "\n  {title}");
    }

    /// A paragraph, indented, each line within the width.
    fn wrapped(&mut self, indent: usize, text: &str, tone: Option<Tone>) {
        let text = format!("{}{}", " ".repeat(indent), printable(text));
        for line in wrap(&text, self.width, indent.max(2)).lines() {
            let line = match tone {
                Some(tone) => self.tone(line, tone),
                None => line.to_owned(),
            };
            let _ = writeln!(self.out, "{line}");
        }
    }

    /// One line, cut at the width.
    fn one_line(&mut self, indent: usize, text: &str, tone: Option<Tone>) {
        let text = format!("{}{}", " ".repeat(indent), printable(text));
        let text = fit(&text, self.width);
        let text = match tone {
            Some(tone) => self.tone(&text, tone),
            None => text,
        };
        let _ = writeln!(self.out, "{text}");
    }

    fn tone(&self, text: &str, tone: Tone) -> String {
        let code = match tone {
            _ if !self.colour => return text.to_owned(),
            Tone::Bad => "1;31",
            Tone::Warn => "33",
            Tone::Good => "1;32",
            Tone::Quiet => "2",
            Tone::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

fn span(document: &Document) -> Option<String> {
    match (&document.window.from, &document.window.to) {
        (None, None) => None,
        (Some(from), Some(to)) => Some(format!("from {from} to {to}")),
        (Some(from), None) => Some(format!("from {from}")),
        (None, Some(to)) => Some(format!("to {to}")),
    }
}

fn cells(endpoint: &Coverage, timed: bool) -> Vec<String> {
    let some = |n: u64| if n == 0 { "\u{b7}".to_owned() } else { words::number(n) };
    let not_compared = endpoint.not_compared.values().sum();
    let mut cells = vec![
        words::number(endpoint.compared),
        some(endpoint.different),
        some(endpoint.failed),
        some(not_compared),
    ];
    if timed {
        let pair =
            |one: f64, other: f64| format!("{} \u{2192} {}", words::ms(one), words::ms(other));
        match &endpoint.latency {
            None => cells.extend(["\u{b7}".to_owned(), "\u{b7}".to_owned()]),
            Some(l) => cells.extend([
                pair(l.expected_p50_ms, l.actual_p50_ms),
                pair(l.expected_p99_ms, l.actual_p99_ms),
            ]),
        }
    }
    cells
}

/// Without what would steer a terminal or turn the direction of the text.
pub(super) fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if !text.chars().any(steers) {
        return text.to_owned();
    }
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// At most so wide.
fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut out, mut used) = (String::new(), 0);
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used + 1 > width {
            break;
        }
        out.push(c);
    }
    out.push('\u{2026}');
    out
}

fn pad(text: &str, width: usize, right: bool) -> String {
    let space = " ".repeat(width.saturating_sub(text.width()));
    if right { format!("{space}{text}") } else { format!("{text}{space}") }
}

/// Breaks at spaces, and within words that are too long. Further lines are indented.
fn wrap(text: &str, width: usize, indent: usize) -> String {
    let (mut out, mut used) = (String::new(), 0);
    let mut first = true;
    for word in text.split(' ') {
        let space = usize::from(!first);
        if !first && used + space + word.width() > width && used > indent {
            while out.ends_with(' ') {
                out.pop();
            }
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            used = indent;
            if word.is_empty() {
                continue;
            }
        } else if !first {
            out.push(' ');
            used += 1;
        }
        for c in word.chars() {
            let wide = c.width().unwrap_or(0);
            if used + wide > width {
                out.push('\n');
                out.push_str(&" ".repeat(indent));
                used = indent;
            }
            out.push(c);
            used += wide;
        }
        first = false;
    }
    out
}
