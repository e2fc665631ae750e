//! The sentences and numbers that several forms of a report share.

use crate::{
    Class, Example, Finding, Judgement, Kind, Report,
    report::{Document, TargetReport},
};

/// In capitals.
pub(super) fn judgement(verdict: Judgement) -> &'static str {
    match verdict {
        Judgement::Same => "SAME",
        Judgement::Different => "DIFFERENT",
        Judgement::Unsure => "UNSURE",
    }
}

/// The worst verdict of all targets.
pub(super) fn worst(document: &Document) -> Judgement {
    let verdicts = || document.targets.iter().map(|target| target.compare.verdict);
    if verdicts().any(|verdict| verdict == Judgement::Different) {
        Judgement::Different
    } else if document.targets.is_empty() || verdicts().any(|v| v == Judgement::Unsure) {
        Judgement::Unsure
    } else {
        Judgement::Same
    }
}

/// The word for people.
pub(super) fn class(class: Class) -> &'static str {
    match class {
        Class::Confirmed => "confirmed",
        Class::Shape => "shape",
        Class::New => "new",
        Class::Noise => "noise",
        Class::Note => "note",
    }
}

/// Whether a finding says that the versions differ.
pub(super) fn is_sure(finding: &Finding) -> bool {
    matches!(finding.class, Class::Confirmed | Class::Shape)
}

/// Findings that ask for somebody's attention; the others are told on request.
pub(super) fn matters(finding: &Finding) -> bool {
    is_sure(finding) || finding.class == Class::New
}

/// `field is missing`, `field has another value`.
pub(super) fn what(finding: &Finding) -> String {
    let field = &finding.field;
    match finding.kind {
        Kind::Missing => format!("{field} is missing"),
        Kind::Added => format!("{field} is added"),
        Kind::Type => format!("{field} has another type"),
        Kind::Shape => format!("{field} is another kind of value"),
        Kind::Value => format!("{field} has another value"),
        Kind::Order => format!("{field} is in another order"),
        Kind::Count => format!("{field} has another number of elements"),
        Kind::Slower => "answers are slower".to_owned(),
        Kind::More => format!("{field}: more differences than are listed"),
        Kind::Notation => format!("{field} is written in another way"),
        Kind::Coding => format!("{field} has another content coding"),
        Kind::Authority => format!("{field} quotes the name it was asked under"),
    }
}

/// One sentence: what the verdict rests on.
pub(super) fn because(report: &Report) -> String {
    let sure = report.findings.iter().filter(|finding| is_sure(finding)).count();
    let new = report.findings.iter().filter(|finding| finding.class == Class::New).count();
    let compared = count(report.compared, "compared answer");
    match report.verdict {
        Judgement::Different => {
            let mut endpoints: Vec<&str> = report
                .findings
                .iter()
                .filter(|finding| is_sure(finding))
                .map(|finding| finding.endpoint.as_str())
                .collect();
            endpoints.sort_unstable();
            endpoints.dedup();
            format!(
                "{} in {}; {} of {compared} differ{}",
                count(sure as u64, "confirmed difference"),
                count(endpoints.len() as u64, "endpoint"),
                number(report.different),
                if report.noise_measured { ", noise included" } else { "" },
            )
        }
        Judgement::Same => format!("no difference beyond noise in {compared}"),
        Judgement::Unsure if report.compared == 0 => "nothing was compared".to_owned(),
        Judgement::Unsure if new > 0 => {
            format!("{} not confirmed, in {compared}", count(new as u64, "difference"))
        }
        Judgement::Unsure => format!("no difference in {compared}, which are too few"),
    }
}

/// What would make an unsure verdict sure, or a sure one surer.
pub(super) fn advice(report: &Report) -> Option<String> {
    let measure = "the noise was not measured: a second instance of the old version \
                   (--noise TARGET) or a learned profile (--noise-profile FILE) tells \
                   what changes by itself";
    match (report.verdict, report.requests_needed) {
        (Judgement::Unsure, Some(more)) => {
            let more = count(more, "more request");
            let settle = format!("about {more} like these would settle it");
            Some(match report.noise_measured {
                true => settle,
                false => format!("{settle}; {measure}"),
            })
        }
        (_, _) if !report.noise_measured && report.compared > 0 => Some(measure.to_owned()),
        _ => None,
    }
}

/// How often a finding was seen, `52 of 1,000 (5.2 %)`.
pub(super) fn seen(finding: &Finding) -> String {
    let often = finding.b + finding.both;
    format!("{} of {} ({})", number(often), number(finding.n), percent(often, finding.n))
}

/// A corrected p, as short as is honest.
pub(super) fn chance(q: f64) -> String {
    if q >= 0.995 {
        "1".to_owned()
    } else if q >= 0.001 {
        format!("{q:.3}")
    } else if q < 1e-12 {
        "<1e-12".to_owned()
    } else {
        format!("{q:.0e}")
    }
}

/// The first example's note.
pub(super) fn note(finding: &Finding) -> &str {
    finding.example.as_ref().map(|example| example.note.as_str()).unwrap_or_default()
}

/// What the target did with the requests, in one line.
pub(super) fn course(target: &TargetReport) -> String {
    let mut parts = Vec::new();
    if target.sent > 0 {
        parts.push(format!("sent {}", number(target.sent)));
        parts.push(format!("answered {}", number(target.answered)));
    }
    for (title, counts) in [("failed", &target.failed), ("skipped", &target.skipped)] {
        let each = counts.iter().map(|(name, n)| format!("{name} {}", number(*n)));
        let each = each.collect::<Vec<_>>().join(", ");
        if !each.is_empty() {
            parts.push(format!("{title}: {each}"));
        }
    }
    let not = &target.compare.not_compared;
    if !not.is_empty() {
        let each = not.iter().map(|(reason, n)| format!("{reason} {}", number(*n)));
        parts.push(format!("not compared: {}", each.collect::<Vec<_>>().join(", ")));
    }
    parts.join(" · ")
}

/// Milliseconds, with as many digits as mean something.
pub(super) fn ms(ms: f64) -> String {
    let size = ms.abs();
    if size >= 10_000.0 {
        format!("{:.1} s", ms / 1000.0)
    } else if size >= 100.0 {
        format!("{ms:.0} ms")
    } else if size >= 1.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{ms:.2} ms")
    }
}

/// `1,234,567`.
pub(super) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 thing`, `2 things`.
pub(super) fn count(n: u64, thing: &str) -> String {
    format!("{} {thing}{}", number(n), if n == 1 { "" } else { "s" })
}

/// Of a whole; never 0 % or 100 % unless it is.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    let share = part as f64 * 100.0 / whole as f64;
    if part == 0 || part == whole {
        format!("{share:.0} %")
    } else if share < 0.01 {
        "<0.01 %".to_owned()
    } else if !(1.0..=99.0).contains(&share) {
        format!("{:.2} %", share.min(99.99))
    } else {
        format!("{share:.1} %")
    }
}

/// Findings as they are shown: what is sure first, in it what hurts most, in it what is
/// seen most often.
pub(super) fn worst_first(report: &Report) -> Vec<&Finding> {
    let mut findings: Vec<&Finding> = report.findings.iter().collect();
    findings.sort_by_cached_key(|finding| {
        let share = (finding.b + finding.both) as f64 / finding.n.max(1) as f64;
        (doubt(finding), harm(finding), std::cmp::Reverse((share * 1e6) as u64))
    });
    findings
}

fn doubt(finding: &Finding) -> u8 {
    match finding.class {
        Class::Confirmed | Class::Shape => 0,
        Class::New => 1,
        Class::Noise => 2,
        Class::Note => 3,
    }
}

/// How near to the user's answer the field is: no answer at all hurts more than other
/// content, and that more than a header.
fn harm(finding: &Finding) -> u8 {
    let field = finding.field.as_str();
    match field.split([':', '.', '[']).next().unwrap_or(field) {
        "failure" => 0,
        "status" => 1,
        "header" | "trailer" if field.ends_with(":grpc-status") => 1,
        "body" => 2,
        "header" if field == "header:location" => 2,
        "latency" => 3,
        "set-cookie" => 4,
        "header" | "trailer" => 5,
        _ => 6,
    }
}

/// Requests that show it, or what is said about all of them.
pub(super) fn examples(finding: &Finding) -> Vec<&Example> {
    match &finding.examples[..] {
        [] => finding.example.iter().collect(),
        examples => examples.iter().collect(),
    }
}

/// What both sides have where they differ: the baseline's, the target's.
pub(super) type Sides = (Option<String>, Option<String>);

/// The two values of an example, if they can be told apart.
pub(super) fn sides(finding: &Finding, example: &Example) -> Option<Sides> {
    if example.expected.is_some() || example.actual.is_some() {
        return Some((example.expected.clone(), example.actual.clone()));
    }
    let note = || Some(example.note.clone()).filter(|note| !note.is_empty());
    match (finding.kind, finding.field.as_str()) {
        (Kind::Missing, _) => note().map(|note| (Some(note), None)),
        (Kind::Added, _) => note().map(|note| (None, Some(note))),
        (_, "status" | "failure") | (Kind::Type, _) => {
            let (expected, actual) = example.note.split_once(" \u{2192} ")?;
            Some((Some(expected.to_owned()), Some(actual.to_owned())))
        }
        _ => None,
    }
}

/// The same of the first example, for people.
pub(super) fn values(finding: &Finding) -> Option<(String, String)> {
    let (expected, actual) = sides(finding, finding.example.as_ref()?)?;
    let side = |value: Option<String>| match value {
        Some(value) if value.is_empty() => "(empty)".to_owned(),
        Some(value) => value,
        None => "(absent)".to_owned(),
    };
    Some((side(expected), side(actual)))
}
