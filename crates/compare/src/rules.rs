//! What the user says about differences: ignore these, tolerate those, match the
//! elements of that array by a key. And what is volatile by nature.

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use prost_reflect::MessageDescriptor;
use regex::bytes::Regex;

use crate::{content::Descriptors, difference::Kind, number, redaction::Redaction};

/// Headers whose values differ between any two good answers. Their values are not
/// compared; that one is missing or added is.
pub const VOLATILE_HEADERS: &[&str] = &[
    "age",
    "cf-ray",
    "date",
    "expires",
    "nel",
    "report-to",
    "request-id",
    "server-timing",
    "traceparent",
    "tracestate",
    "via",
    "x-amz-id-2",
    "x-amz-request-id",
    "x-amzn-requestid",
    "x-amzn-trace-id",
    "x-b3-*",
    "x-cache",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-envoy-upstream-service-time",
    "x-ratelimit-*",
    "x-request-id",
    "x-response-time",
    "x-runtime",
    "x-served-by",
    "x-timer",
    "x-trace-id",
];

/// Rules about differences. The default ignores only what is volatile by nature.
/// Cheap to clone.
///
/// Each is a line `[METHOD PATH] FIELD [WHAT…]`. METHOD may be `*`; `{…}` in PATH
/// stands for a segment, `*` for anything. FIELD is a field as findings show it, with
/// `*` for anything; it covers what is below it. WHAT is nothing (ignore), names of
/// kinds (`value`, `order`, …: ignore these), a tolerance of numbers (`~0.01`, `~1%`)
/// or of times (`~5s`), `s/REGEX/TEXT/` (both values are rewritten so before they are
/// compared), `key=NAME` (elements of this array are matched by that member), or `json`
/// (this string holds JSON, which is compared by structure).
#[derive(Debug, Clone, Default)]
pub struct Rules {
    rules: Arc<[Arc<Rule>]>,
    redaction: Arc<Redaction>,
    descriptors: Option<Descriptors>,
    /// What the answers to this request are made of.
    answer_type: Option<MessageDescriptor>,
}

#[derive(Debug, Clone)]
struct Rule {
    typed: String,
    endpoint: Option<(String, String)>,
    field: String,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Ignore,
    Kinds(Vec<Kind>),
    Absolute(f64),
    Relative(f64),
    Seconds(f64),
    Rewrite(Regex, String),
    Key(String),
    Json,
}

impl Rules {
    /// Parses lines as the user typed them, or tells everything that is wrong.
    pub fn new<S: AsRef<str>>(lines: &[S]) -> Result<Self, Vec<String>> {
        let parse = |line: &S| {
            let line = line.as_ref();
            Rule::parse(line).map_err(|problem| format!("rule '{line}': {problem}"))
        };
        let (mut rules, mut problems) = (Vec::new(), Vec::new());
        for line in lines {
            match parse(line) {
                Ok(rule) => rules.push(Arc::new(rule)),
                Err(problem) => problems.push(problem),
            }
        }
        let rules = Self { rules: rules.into(), ..Self::default() };
        if problems.is_empty() { Ok(rules) } else { Err(problems) }
    }

    /// With the places that were redacted when the baseline's answers were recorded, as
    /// the agent names them: `header:NAME`, `cookie:NAME`, `set-cookie:NAME`,
    /// `query:NAME`, `form:NAME`, `json:PATH`. They are taken out of both answers: neither compared nor shown.
    /// Tells everything that is wrong.
    pub fn redacted<S: AsRef<str>>(mut self, places: &[S]) -> Result<Self, Vec<String>> {
        self.redaction = Arc::new(Redaction::new(places)?);
        Ok(self)
    }

    /// With the types of gRPC's messages: a serialized `FileDescriptorSet`, as `protoc
    /// --include_imports --descriptor_set_out` writes it. Without one, messages are
    /// compared as bytes.
    pub fn with_descriptors(mut self, set: &[u8]) -> Result<Self, String> {
        self.descriptors = Some(Descriptors::decode(set)?);
        Ok(self)
    }

    /// The line for an option `--array-key [METHOD PATH ]FIELD=KEY`: elements of this
    /// array are matched by that member. `body.` may be left out.
    pub fn array_key(option: &str) -> Result<String, String> {
        let problem = || format!("'{option}' is not FIELD=KEY, such as body.items=id");
        let (field, key) = option.rsplit_once('=').ok_or_else(problem)?;
        line(field, &format!("key={key}")).ok_or_else(problem)
    }

    /// The line for an option `--json-strings [METHOD PATH ]FIELD`: this string holds
    /// JSON, which is compared by structure. `body.` may be left out.
    pub fn json_strings(option: &str) -> Result<String, String> {
        line(option, "json").ok_or_else(|| format!("'{option}' is not FIELD, such as body.payload"))
    }

    /// The rules that apply to a request.
    pub fn for_request(&self, method: &str, path: &str) -> Self {
        let applies = |rule: &&Arc<Rule>| match &rule.endpoint {
            None => true,
            Some((on_method, on_path)) => {
                (on_method == "*" || on_method.eq_ignore_ascii_case(method))
                    && path_matches(on_path, path)
            }
        };
        let all = self.rules.iter().all(|rule| rule.endpoint.is_none());
        Self {
            rules: match all {
                true => Arc::clone(&self.rules),
                false => self.rules.iter().filter(applies).cloned().collect(),
            },
            answer_type: self.descriptors.as_ref().and_then(|types| types.answer_of(path)),
            ..self.clone()
        }
    }

    /// The lines, as the user typed them.
    pub fn lines(&self) -> Vec<&str> {
        self.rules.iter().map(|rule| rule.typed.as_str()).collect()
    }

    /// The line that would silence a finding; `None` for what is counted together with
    /// others beyond a bound.
    pub fn silencing(endpoint: &str, field: &str, kind: Kind) -> Option<String> {
        // A space would end the field; an asterisk stands for it.
        let field = field.replace(char::is_whitespace, "*");
        let line = format!("{endpoint} {field} {kind}");
        Rule::parse(&line).ok().map(|_| line)
    }

    /// What was redacted.
    pub(crate) fn redaction(&self) -> &Redaction {
        &self.redaction
    }

    /// What gRPC's answers to this request are made of, if that is known.
    pub(crate) fn answer_type(&self) -> Option<&MessageDescriptor> {
        self.answer_type.as_ref()
    }

    /// The rule that ignores it, if there is one.
    pub(crate) fn ignores(&self, field: &str, kind: Kind) -> Option<&str> {
        if is_passed(field, kind) {
            return Some("volatile by nature");
        }
        let rule = self.rules.iter().find(|rule| match &rule.what {
            What::Ignore => rule.covers(field),
            What::Kinds(kinds) => kinds.contains(&kind) && rule.covers(field),
            _ => false,
        });
        rule.map(|rule| rule.typed.as_str())
    }

    /// The rule that tolerates these two values, if there is one.
    pub(crate) fn tolerates(&self, field: &str, expected: &[u8], actual: &[u8]) -> Option<&str> {
        let mut covering = self.rules.iter().filter(|rule| rule.covers(field));
        let rule = covering.find(|rule| rule.what.tolerates(expected, actual).unwrap_or(false));
        let rewriting = || {
            let mut rules = self
                .rules
                .iter()
                .filter(|rule| matches!(rule.what, What::Rewrite(..)) && rule.covers(field));
            let first = rules.next()?;
            let all = || std::iter::once(first).chain(rules.clone());
            let rewrite = |text: &[u8]| {
                all().fold(text.to_vec(), |text, rule| match &rule.what {
                    What::Rewrite(regex, by) => {
                        regex.replace_all(&text, by.as_bytes()).into_owned()
                    }
                    _ => text,
                })
            };
            (rewrite(expected) == rewrite(actual)).then_some(first)
        };
        rule.or_else(rewriting).map(|rule| rule.typed.as_str())
    }

    /// Whether the string at this field holds JSON.
    pub(crate) fn holds_json(&self, field: impl FnOnce() -> String) -> bool {
        let mut rules = self.rules.iter().filter(|rule| matches!(rule.what, What::Json)).peekable();
        if rules.peek().is_none() {
            return false;
        }
        let field = field();
        rules.any(|rule| wildcard(&rule.field, &field))
    }

    pub(crate) fn key_of(&self, field: impl FnOnce() -> String) -> Option<String> {
        if !self.rules.iter().any(|rule| matches!(rule.what, What::Key(_))) {
            return None;
        }
        let field = field();
        self.rules.iter().find_map(|rule| match &rule.what {
            What::Key(key) if wildcard(&rule.field, &field) => Some(key.clone()),
            _ => None,
        })
    }
}

/// `[METHOD PATH ]FIELD` and what is said about it, as a line.
fn line(option: &str, what: &str) -> Option<String> {
    let (endpoint, field) = match option.trim().rsplit_once(' ') {
        Some((endpoint, field)) => (format!("{endpoint} "), field),
        None => (String::new(), option.trim()),
    };
    let field = match field.strip_prefix('$').unwrap_or(field) {
        "" => "body".to_owned(),
        field if field.starts_with("body") => field.to_owned(),
        field if field.starts_with(['.', '[']) => format!("body{field}"),
        field => format!("body.{field}"),
    };
    let line = format!("{endpoint}{field} {what}");
    Rule::parse(&line).ok().map(|_| line)
}

/// Whether the value of this header differs between any two good answers.
pub(crate) fn is_volatile(name: &str) -> bool {
    VOLATILE_HEADERS.iter().any(|pattern| wildcard(pattern, name))
}

fn is_passed(field: &str, kind: Kind) -> bool {
    if !matches!(kind, Kind::Value | Kind::Shape | Kind::Order) {
        return false;
    }
    if let Some(name) = field.strip_prefix("header:").or_else(|| field.strip_prefix("trailer:")) {
        return is_volatile(name);
    }
    field.starts_with("set-cookie:") && (field.ends_with(";expires") || field.ends_with(";max-age"))
}

impl Rule {
    fn parse(line: &str) -> Result<Self, String> {
        let is_method = |word: &str| word == "*" || word.bytes().all(|b| b.is_ascii_uppercase());
        let (first, after) = word(line);
        let (path, after_path) = word(after);
        let (endpoint, (field, what)) = match is_method(first) && path.starts_with('/') {
            true => (Some((first.to_owned(), path.to_owned())), word(after_path)),
            false => (None, (first, after)),
        };
        if field.is_empty() {
            return Err("names no field".to_owned());
        }
        let known =
            ["status", "failure", "latency", "header:", "trailer:", "set-cookie:", "body", "*"];
        if !known.iter().any(|start| field.starts_with(start)) {
            return Err(format!(
                "'{field}' is not a field: status, failure, header:NAME, …, body.PATH"
            ));
        }
        let field = match field.split_once(':') {
            Some((place @ ("header" | "trailer"), name)) => {
                format!("{place}:{}", name.to_ascii_lowercase())
            }
            _ => field.to_owned(),
        };
        Ok(Self { typed: line.trim().to_owned(), endpoint, field, what: What::parse(what.trim())? })
    }

    /// Whether the field is the rule's, or below it.
    fn covers(&self, field: &str) -> bool {
        let steps: &[char] = match field.split([':', '.', '[']).next() {
            Some("body") => &['.', '['],
            Some("set-cookie") => &[';'],
            _ => &[],
        };
        wildcard(&self.field, field)
            || field.match_indices(steps).any(|(at, _)| wildcard(&self.field, &field[..at]))
    }
}

impl What {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::Ignore);
        }
        if text == "json" {
            return Ok(Self::Json);
        }
        if let Some(tolerance) = text.strip_prefix('~') {
            return Self::tolerance(tolerance)
                .ok_or_else(|| format!("'{text}' is not a tolerance: ~0.01, ~1%, ~5s"));
        }
        if let Some(parts) = text.strip_prefix("s/") {
            return Self::rewrite(parts);
        }
        if let Some(key) = text.strip_prefix("key=").filter(|key| !key.is_empty()) {
            return Ok(Self::Key(key.to_owned()));
        }
        let kind = |word: &str| {
            serde_json::from_value(serde_json::Value::String(word.to_owned())).map_err(|_| {
                format!(
                    "'{word}' is not a kind of difference: missing, added, type, shape, value, \
                     order, count"
                )
            })
        };
        text.split_whitespace().map(kind).collect::<Result<_, _>>().map(Self::Kinds)
    }

    /// What follows `s/`. A slash within is written `\/`.
    fn rewrite(parts: &str) -> Result<Self, String> {
        let end = |text: &str| {
            text.match_indices('/').map(|(at, _)| at).find(|at| !text[..*at].ends_with('\\'))
        };
        let problem = || "not of the form s/REGEX/TEXT/".to_owned();
        let middle = end(parts).ok_or_else(problem)?;
        let (regex, text) = (&parts[..middle], &parts[middle + 1..]);
        let last = end(text).filter(|last| last + 1 == text.len()).ok_or_else(problem)?;
        let regex = Regex::new(&regex.replace("\\/", "/")).map_err(|error| {
            let message = error.to_string();
            message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        })?;
        Ok(Self::Rewrite(regex, text[..last].replace("\\/", "/")))
    }

    fn tolerance(text: &str) -> Option<Self> {
        let number = |text: &str| {
            text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
        };
        if let Some(percent) = text.strip_suffix('%') {
            return number(percent).map(|percent| Self::Relative(percent / 100.0));
        }
        for (unit, seconds) in [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)] {
            if let Some(number) = text.strip_suffix(unit).and_then(number) {
                return Some(Self::Seconds(number * seconds));
            }
        }
        number(text).map(Self::Absolute)
    }

    /// `None`: this is no tolerance, or the values are not of its sort.
    fn tolerates(&self, expected: &[u8], actual: &[u8]) -> Option<bool> {
        if !matches!(self, Self::Absolute(_) | Self::Relative(_) | Self::Seconds(_)) {
            return None;
        }
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let (one, other) = (text(expected)?, text(actual)?);
        if let Self::Seconds(seconds) = self {
            return Some((time(one)? - time(other)?).abs() <= *seconds);
        }
        let (one, other) = (number::approximate(one)?, number::approximate(other)?);
        Some(match self {
            Self::Absolute(most) => (one - other).abs() <= *most * (1.0 + 1e-12),
            Self::Relative(most) => (one - other).abs() <= most * one.abs().max(other.abs()),
            _ => false,
        })
    }
}

/// Seconds since 1970 of RFC 3339 text, a date of HTTP, or a number of seconds or
/// milliseconds.
fn time(text: &str) -> Option<f64> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_nanosecond() as f64 / 1e9);
    }
    if let Ok(time) = jiff::fmt::rfc2822::parse(text) {
        return Some(time.timestamp().as_nanosecond() as f64 / 1e9);
    }
    let number = number::approximate(text)?;
    // Numbers of this size are milliseconds: as seconds they are beyond the year 5000.
    Some(if number.abs() >= 1e11 { number / 1000.0 } else { number })
}

/// The first word, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
}

fn path_matches(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) =
        (pattern.split('/').collect(), path.split('/').collect());
    // A last `*` stands for any number of segments.
    if let [start @ .., "*"] = pattern.as_slice() {
        return path.len() > start.len() && segments_match(start, &path[..start.len()]);
    }
    segments_match(&pattern, &path)
}

fn segments_match(pattern: &[&str], path: &[&str]) -> bool {
    pattern.len() == path.len()
        && pattern.iter().zip(path).all(|(pattern, segment)| {
            (pattern.starts_with('{') && pattern.ends_with('}')) || wildcard(pattern, segment)
        })
}

/// Whether a text matches a pattern in which `*` stands for anything, also nothing.
pub(crate) fn wildcard(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rules and {} volatile headers", self.rules.len(), VOLATILE_HEADERS.len())
    }
}
