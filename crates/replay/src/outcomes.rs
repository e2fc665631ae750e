//! The file of outcomes: a JSON line for each send, written before its record is
//! settled, so that what is committed is also told.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;
use umbra_record::{id, pb};

use crate::{
    outcome::{Answer, Outcome},
    report::rfc3339,
};

/// The open file, shared by all pipelines of a job.
#[derive(Debug)]
pub(crate) struct OutcomeFile {
    file: Mutex<File>,
}

/// What is told about one send besides its outcome.
pub(crate) struct Sent<'a> {
    pub job: &'a str,
    pub run: u32,
    pub target: &'a str,
    pub agent: &'a [u8],
    pub request: &'a pb::Request,
    /// The authority it was sent with.
    pub sent_as: &'a [u8],
    pub partition: u32,
    pub offset: u64,
    pub attempt: u32,
    pub sent_ns: u64,
    pub lag_ms: f64,
}

#[derive(Serialize)]
struct Line<'a> {
    job: &'a str,
    run: u32,
    target: &'a str,
    id: String,
    agent: String,
    connection: u64,
    number: u64,
    partition: u32,
    offset: u64,
    attempt: u32,
    captured: String,
    sent: String,
    lag_ms: f64,
    method: String,
    authority: String,
    sent_as: String,
    path: String,
    query: Option<String>,
    /// Names what was taken out of it; empty: nothing.
    rule_set: String,
    class: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    latency_ms: f64,
    answer: Option<AnswerLine>,
}

#[derive(Serialize)]
struct AnswerLine {
    status: u16,
    headers: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hex: Option<String>,
    body_length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hash: Option<String>,
    complete: bool,
    trailers: Vec<(String, String)>,
    head_after_ms: f64,
    end_after_ms: f64,
}

impl OutcomeFile {
    /// Goes on at the end of a file that is there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file: Mutex::new(file) })
    }

    pub(crate) fn write(&self, sent: &Sent<'_>, outcome: &Outcome) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line::new(sent, outcome)).map_err(io::Error::other)?;
        line.push(b'\n');
        // One write for one line: a reader never sees half of one, and a crash of
        // this process loses none that was written.
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }
}

impl<'a> Line<'a> {
    fn new(sent: &Sent<'a>, outcome: &'a Outcome) -> Self {
        let request = sent.request;
        Self {
            job: sent.job,
            run: sent.run,
            target: sent.target,
            id: id::text(&request.id),
            agent: id::text(sent.agent),
            connection: request.connection,
            number: request.number,
            partition: sent.partition,
            offset: sent.offset,
            attempt: sent.attempt,
            captured: rfc3339(request.start_ns),
            sent: rfc3339(sent.sent_ns),
            lag_ms: sent.lag_ms,
            method: lossy(&request.method),
            authority: lossy(&request.authority),
            sent_as: lossy(sent.sent_as),
            path: lossy(&request.path),
            query: request.query.as_deref().map(lossy),
            rule_set: hex(&request.rule_set),
            class: outcome.class.label(),
            detail: &outcome.detail,
            latency_ms: outcome.latency.as_secs_f64() * 1000.0,
            answer: outcome.answer.as_ref().map(AnswerLine::new),
        }
    }
}

impl AnswerLine {
    fn new(answer: &Answer) -> Self {
        let text = answer.body.as_deref().map(std::str::from_utf8);
        Self {
            status: answer.status,
            headers: pairs(&answer.headers),
            body: text.and_then(Result::ok).map(ToOwned::to_owned),
            body_hex: match (&answer.body, text) {
                (Some(body), Some(Err(_))) => Some(hex(body)),
                _ => None,
            },
            body_length: answer.body_length,
            body_hash: answer.body_hash.as_ref().map(|hash| hex(hash)),
            complete: answer.complete,
            trailers: pairs(&answer.trailers),
            head_after_ms: answer.head_after.as_secs_f64() * 1000.0,
            end_after_ms: answer.end_after.as_secs_f64() * 1000.0,
        }
    }
}

fn pairs(fields: &[pb::Header]) -> Vec<(String, String)> {
    fields.iter().map(|field| (lossy(&field.name), lossy(&field.value))).collect()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
