//! Which requests are meant: by method, host, path, header, content type and size, and
//! a stable sample of them. The same rules serve capture and replay; what becomes of a
//! request that is not meant is theirs to say.

mod pattern;
mod sample;

#[cfg(test)]
mod tests;

use std::{fmt, ops::RangeInclusive, sync::Arc};

use crate::{
    authority,
    fields::{self, Fields},
    pb,
    token::is_token,
};
use pattern::{HeaderPattern, Pattern};
use sample::Sample;

/// What the user typed, flag by flag. The default selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// `--method GET`.
    pub methods: Vec<String>,
    /// `--skip-method OPTIONS`.
    pub skip_methods: Vec<String>,
    /// `--host api.example.com`, `*.example.com`, any `*`; compared without case, and
    /// without the port unless the pattern has one.
    pub hosts: Vec<String>,
    /// `--skip-host`.
    pub skip_hosts: Vec<String>,
    /// `--path /exact`, `/prefix*`, any `*` (which also passes `/`), `~regex`
    /// (anywhere in the path; `^` and `$` anchor it).
    pub paths: Vec<String>,
    /// `--skip-path`.
    pub skip_paths: Vec<String>,
    /// `--header Name`, `Name=value`, `Name=~regex`.
    pub headers: Vec<String>,
    /// `--skip-header`.
    pub skip_headers: Vec<String>,
    /// `--content-type application/json`, `image/*`; compared without case and without
    /// parameters.
    pub content_types: Vec<String>,
    /// `--skip-content-type`.
    pub skip_content_types: Vec<String>,
    /// `--min-size`: least bytes of a body.
    pub min_size: Option<u64>,
    /// `--max-size`: most bytes of a body.
    pub max_size: Option<u64>,
    /// `--percent`: 0 to 100 in steps of 0.0001.
    pub percent: Option<String>,
    /// `--percent-by id|header:X|cookie:X|client`.
    pub percent_by: Option<String>,
}

/// Rules that say whether a request is selected. The default selects all, at no
/// cost.
///
/// A request is selected if nothing says skip, every flag that was given says yes
/// (several values of one flag are alternatives; `--header` of different names must
/// all hold), and it is in the sample. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    compiled: Option<Arc<Compiled>>,
}

#[derive(Debug, Default)]
struct Compiled {
    skip: Vec<Rule>,
    /// One list per flag or header name: one of each must match.
    among: Vec<Vec<Rule>>,
    sample: Option<Sample>,
}

/// One pattern as typed, and ready to match.
#[derive(Debug)]
struct Rule {
    typed: String,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Method(String),
    Host { pattern: Pattern, with_port: bool },
    Path(Pattern),
    Header(HeaderPattern),
    ContentType(Pattern),
    MinSize(u64),
    MaxSize(u64),
}

/// A request as selection sees it.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    /// As received.
    pub method: &'a [u8],
    /// As received, with its port if it has one.
    pub authority: &'a [u8],
    /// Raw, without the query.
    pub path: &'a [u8],
    /// Raw, without the `?`.
    pub query: Option<&'a [u8]>,
    /// As received.
    pub headers: &'a dyn Fields,
    /// `address:port` of the client, or empty.
    pub peer: &'a str,
    /// The request's id.
    pub id: &'a [u8],
    /// Bytes of its body; `None` while that is not known, which no rule about sizes
    /// minds.
    pub size: Option<u64>,
}

impl<'a> From<&'a pb::Request> for RequestView<'a> {
    fn from(request: &'a pb::Request) -> Self {
        Self {
            method: &request.method,
            authority: &request.authority,
            path: &request.path,
            query: request.query.as_deref(),
            headers: &request.headers,
            peer: &request.peer,
            id: &request.id,
            size: Some(request.body_length),
        }
    }
}

/// Whether a request is selected, and if not, what decided. Shown to the user it is
/// a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision<'a> {
    /// It is.
    Selected,
    /// This rule says skip.
    Skipped {
        /// The flag with its value, as typed.
        rule: &'a str,
    },
    /// This flag was given and none of its values matches.
    NoMatch {
        /// The flag with its first value, as typed.
        rule: &'a str,
        /// How many alternatives there were.
        of: usize,
    },
    /// It is not in the sample.
    NotSampled {
        /// The sample, as typed.
        rule: &'a str,
    },
}

impl Decision<'_> {
    /// Whether the request is selected.
    pub fn is_selected(&self) -> bool {
        *self == Self::Selected
    }
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Selected => f.write_str("selected"),
            Self::Skipped { rule } => write!(f, "skipped by {rule}"),
            Self::NoMatch { rule, of: 1 } => write!(f, "does not match {rule}"),
            Self::NoMatch { rule, of } => {
                write!(f, "does not match {rule} nor its {} alternatives", of - 1)
            }
            Self::NotSampled { rule } => write!(f, "not in the sample of {rule}"),
        }
    }
}

impl Selection {
    /// Compiles what the user typed, or tells *everything* that is wrong with it.
    ///
    /// `stage` salts the sample: the same percentage at two stages of one name keeps
    /// the same requests, at stages of different names an independent part.
    pub fn new(rules: &Rules, stage: &str) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut compiled = Compiled::default();
        for (flag, typed, skipped) in [
            ("method", &rules.methods, &rules.skip_methods),
            ("host", &rules.hosts, &rules.skip_hosts),
            ("path", &rules.paths, &rules.skip_paths),
            ("header", &rules.headers, &rules.skip_headers),
            ("content-type", &rules.content_types, &rules.skip_content_types),
        ] {
            let among = compile(flag, flag, typed, &mut problems);
            compiled.among.extend(alternatives(among));
            let skip_flag = format!("skip-{flag}");
            compiled.skip.extend(compile(flag, &skip_flag, skipped, &mut problems));
        }
        for (flag, size, test) in [
            ("min-size", rules.min_size, Test::MinSize as fn(u64) -> Test),
            ("max-size", rules.max_size, Test::MaxSize),
        ] {
            let rule = |size| Rule { typed: format!("--{flag} {size}"), test: test(size) };
            compiled.among.extend(size.map(|size| vec![rule(size)]));
        }
        if let (Some(min), Some(max)) = (rules.min_size, rules.max_size)
            && min > max
        {
            problems.push(format!("--min-size {min} is more than --max-size {max}"));
        }
        let by = rules.percent_by.as_deref();
        match Sample::parse(rules.percent.as_deref(), by, stage) {
            Ok(sample) => compiled.sample = sample,
            Err(found) => problems.extend(found),
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let all =
            compiled.skip.is_empty() && compiled.among.is_empty() && compiled.sample.is_none();
        Ok(Self { compiled: (!all).then(|| Arc::new(compiled)) })
    }

    /// Whether everything is selected, so that nobody needs to build a view.
    pub fn selects_all(&self) -> bool {
        self.compiled.is_none()
    }

    /// Least and most bytes of a body that the rules about sizes allow.
    pub fn sizes(&self) -> RangeInclusive<u64> {
        let mut sizes = (0, u64::MAX);
        for rule in self.compiled.iter().flat_map(|compiled| compiled.among.iter().flatten()) {
            match rule.test {
                Test::MinSize(least) => sizes.0 = least,
                Test::MaxSize(most) => sizes.1 = most,
                _ => {}
            }
        }
        sizes.0..=sizes.1
    }

    /// Whether this request is selected, or what decided that it is not.
    pub fn decide(&self, view: &RequestView<'_>) -> Decision<'_> {
        let Some(compiled) = &self.compiled else { return Decision::Selected };
        if let Some(rule) = compiled.skip.iter().find(|rule| rule.test.matches(view)) {
            return Decision::Skipped { rule: &rule.typed };
        }
        for among in &compiled.among {
            if !among.iter().any(|rule| rule.test.matches(view)) {
                return Decision::NoMatch { rule: &among[0].typed, of: among.len() };
            }
        }
        match &compiled.sample {
            Some(sample) if !sample.contains(view) => Decision::NotSampled { rule: sample.typed() },
            _ => Decision::Selected,
        }
    }
}

/// Compiles the values of one flag; `kind` is the flag without `skip-`.
fn compile(kind: &str, flag: &str, typed: &[String], problems: &mut Vec<String>) -> Vec<Rule> {
    let mut rules = Vec::with_capacity(typed.len());
    for value in typed {
        match Test::parse(kind, value) {
            Ok(test) => rules.push(Rule { typed: format!("--{flag} {value}"), test }),
            Err(problem) => problems.push(format!("--{flag} '{value}': {problem}")),
        }
    }
    rules
}

/// Groups the rules of one flag: headers by name, all others together.
fn alternatives(rules: Vec<Rule>) -> Vec<Vec<Rule>> {
    let mut groups: Vec<Vec<Rule>> = Vec::new();
    for rule in rules {
        match groups.iter_mut().find(|group| group[0].test.alternative_to(&rule.test)) {
            Some(group) => group.push(rule),
            None => groups.push(vec![rule]),
        }
    }
    groups
}

impl Test {
    fn parse(kind: &str, typed: &str) -> Result<Self, String> {
        match kind {
            "method" if is_token(typed.as_bytes()) => Ok(Self::Method(typed.to_owned())),
            "method" => Err("not a method".to_owned()),
            "host" => {
                let with_port = authority::split_port(typed.as_bytes()).1.is_some();
                Ok(Self::Host { pattern: Pattern::host(typed)?, with_port })
            }
            "path" => Ok(Self::Path(Pattern::path(typed)?)),
            "content-type" => Ok(Self::ContentType(Pattern::content_type(typed)?)),
            _ => Ok(Self::Header(HeaderPattern::parse(typed)?)),
        }
    }

    fn alternative_to(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header(one), Self::Header(other)) => one.name.eq_ignore_ascii_case(&other.name),
            _ => true,
        }
    }

    fn matches(&self, view: &RequestView<'_>) -> bool {
        match self {
            Self::Method(method) => view.method.eq_ignore_ascii_case(method.as_bytes()),
            Self::Host { pattern, with_port: true } => pattern.matches(view.authority),
            Self::Host { pattern, with_port: false } => {
                pattern.matches(authority::split_port(view.authority).0)
            }
            Self::Path(pattern) => pattern.matches(view.path),
            Self::Header(header) => {
                fields::all(view.headers, &header.name).any(|value| header.matches(value))
            }
            Self::ContentType(pattern) => fields::all(view.headers, "content-type").any(|value| {
                let end = memchr::memchr(b';', value).unwrap_or(value.len());
                pattern.matches(value[..end].trim_ascii())
            }),
            Self::MinSize(least) => view.size.is_none_or(|size| size >= *least),
            Self::MaxSize(most) => view.size.is_none_or(|size| size <= *most),
        }
    }
}
