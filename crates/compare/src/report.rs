//! A report of compared answers: one document, written as JSON, text, Markdown, JUnit
//! XML or a page of HTML. Pure: whoever builds the document gives the time and writes
//! the file. What the answers mean is decided in [`crate::Verdict`]; this is how it is
//! told.

mod diff;
mod html;
mod junit;
mod markdown;
mod samples;
mod terminal;
mod words;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

pub use samples::{Offered, Samples};
pub use terminal::Terminal;

/// Everything a report says. Keys of the JSON form are stable: they are only added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Document {
    /// What this is: [`Document::FORMAT`].
    pub format: String,
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// Version of the program that made it.
    pub umbra: Option<String>,
    /// Name of the replay job.
    pub job: String,
    /// Which run of it.
    pub run: Option<u64>,
    /// Where the requests come from.
    pub log: String,
    /// Which of its requests.
    pub window: Window,
    /// What the answers are compared with: `recorded`, or the name of a target.
    pub baseline: String,
    /// What tells noise: a target's name, or a file it was learned into.
    pub noise: Option<String>,
    /// What a reader must know, in sentences: losses, what was cut short.
    pub notes: Vec<String>,
    /// One comparison each.
    pub targets: Vec<TargetReport>,
}

/// Which requests of a log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    /// First instant, RFC 3339.
    pub from: Option<String>,
    /// First instant not meant.
    pub to: Option<String>,
    /// How they were sent: `live`, `speed 1`, `rate 100/s`.
    pub mode: Option<String>,
}

/// One target compared with the baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetReport {
    /// Its name.
    pub name: String,
    /// Where it is.
    #[serde(default)]
    pub url: String,
    /// Requests sent to it.
    #[serde(default)]
    pub sent: u64,
    /// Of these, answered.
    #[serde(default)]
    pub answered: u64,
    /// Of these, without a whole answer, by class.
    #[serde(default)]
    pub failed: BTreeMap<String, u64>,
    /// Requests not sent, by reason.
    #[serde(default)]
    pub skipped: BTreeMap<String, u64>,
    /// What was asked of the answers, and what became of it.
    #[serde(default)]
    pub gate: Option<GateResult>,
    /// The verdict, as the result of a replay has it.
    pub compare: crate::Report,
    /// Some of the requests that findings give as examples, with both answers.
    #[serde(default)]
    pub exchanges: Vec<Exchange>,
}

/// `--fail-on`, and what of it held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GateResult {
    /// As the user wrote it.
    pub asked: String,
    /// The conditions that held, in sentences; none: passed.
    pub held: Vec<String>,
}

/// A request with both of its answers, shortened, as they were compared: what was
/// redacted is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exchange {
    /// Id of the request, as examples name it.
    pub id: String,
    /// When it was captured, RFC 3339.
    pub at: Option<String>,
    /// Its method.
    pub method: String,
    /// Its path, with the query.
    pub path: String,
    /// The baseline's answer.
    pub expected: Side,
    /// The target's.
    pub actual: Side,
}

/// One answer as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Side {
    /// HTTP status; 0: no answer.
    pub status: u16,
    /// What went wrong.
    pub failure: Option<String>,
    /// In the order received.
    pub headers: Vec<(String, String)>,
    /// In the order received.
    pub trailers: Vec<(String, String)>,
    /// The beginning of the body, content codings removed, if it is text; JSON laid out
    /// with a line for each member.
    pub body: Option<String>,
    /// Length of the whole body as it was sent.
    pub length: u64,
    /// Whether `body` is not all of it.
    pub cut: bool,
    /// Whether there is no `body` because it may hold what was redacted.
    pub withheld: bool,
    /// Until its end, in microseconds.
    pub took_us: Option<u64>,
}

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A page that needs nothing else.
    Html,
    /// The document itself.
    Json,
    /// For a pull request.
    Markdown,
    /// JUnit XML, for CI.
    Junit,
    /// As on a terminal, without colour.
    Text,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            format: Self::FORMAT.to_owned(),
            created: None,
            umbra: None,
            job: String::new(),
            run: None,
            log: String::new(),
            window: Window::default(),
            baseline: "recorded".to_owned(),
            noise: None,
            notes: Vec::new(),
            targets: Vec::new(),
        }
    }
}

impl Document {
    /// What the JSON form calls itself.
    pub const FORMAT: &'static str = "umbra-report/1";

    /// Reads the JSON form, or says why it is none.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        match value.get("format").and_then(serde_json::Value::as_str) {
            Some(Self::FORMAT) => {}
            Some(other) => {
                return Err(format!("its format is '{other}', not '{}'", Self::FORMAT));
            }
            None => return Err(format!("not a report: no \"format\": \"{}\"", Self::FORMAT)),
        }
        serde_json::from_value(value).map_err(|error| format!("not a whole report: {error}"))
    }

    /// The document in this form.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Html => html::page(self),
            Format::Json => self.json(),
            Format::Markdown => markdown::render(self),
            Format::Junit => junit::render(self),
            Format::Text => self.terminal(&Terminal { width: 100, colour: false }),
        }
    }

    /// The document as text for a terminal.
    pub fn terminal(&self, terminal: &Terminal) -> String {
        terminal::render(self, terminal)
    }

    fn json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("maps of a document have text as keys");
        text.push('\n');
        text
    }
}

impl Format {
    /// By the ending of a file's name.
    pub fn of(path: &Path) -> Result<Self, String> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending.to_ascii_lowercase().as_str() {
            "html" | "htm" => Ok(Self::Html),
            "json" => Ok(Self::Json),
            "md" | "markdown" => Ok(Self::Markdown),
            "xml" => Ok(Self::Junit),
            "txt" => Ok(Self::Text),
            _ => {
                Err(format!("'{}' does not end in .html, .json, .md, .xml or .txt", path.display()))
            }
        }
    }
}
