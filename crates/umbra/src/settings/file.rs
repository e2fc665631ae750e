//! Reads a configuration file: YAML whose keys are the flags' names, at the top
//! level for every command, or below a command's name for it alone. Keeps each
//! value as the text the user wrote, with its line.

use std::{io::Read as _, path::Path};

use saphyr_parser::{Event, Parser, ScanError};

use super::{nearest, values};
use crate::flags::{self, COMMANDS, Flag};

/// Largest file read.
const MAX_BYTES: u64 = 1 << 20;

/// Deepest nesting: what is deeper says nothing to any flag.
const MAX_DEPTH: usize = 32;

/// One key of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The command it stands below; `None` at the top level.
    pub(crate) section: Option<String>,
    /// The flag's name.
    pub(crate) key: String,
    /// Its values, as text.
    pub(crate) values: Vec<String>,
    /// Line of the key, from 1.
    pub(crate) line: usize,
}

/// A YAML node with the line it begins at.
#[derive(Debug)]
struct Node {
    line: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// Reads the file: what can be used of it, and everything that is wrong with it.
/// Entries of sections come after those of the top level, so that they win.
pub(crate) fn read(path: &Path) -> (Vec<Entry>, Vec<String>) {
    let shown = path.display().to_string();
    let mut reader = Reader { shown, entries: Vec::new(), problems: Vec::new() };
    match load(path) {
        Ok(Some(root)) => reader.document(root),
        Ok(None) => {}
        Err(problem) => reader.problems.push(problem),
    }
    reader.entries.sort_by_key(|entry| entry.section.is_some());
    (reader.entries, reader.problems)
}

fn load(path: &Path) -> Result<Option<Node>, String> {
    let shown = path.display();
    // What is no file at all may never end.
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|e| format!("{shown}: {e}"))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("{shown}: larger than 1 MiB"));
    }
    parse(&text).map_err(|e| {
        format!("{shown}:{}:{}: {}", e.marker().line(), e.marker().col() + 1, e.info())
    })
}

struct Reader {
    shown: String,
    entries: Vec<Entry>,
    problems: Vec<String>,
}

impl Reader {
    fn problem(&mut self, line: usize, what: &str) {
        self.problems.push(format!("{}:{line}: {what}", self.shown));
    }

    fn document(&mut self, root: Node) {
        let Kind::Map(pairs) = root.kind else {
            return self.problem(root.line, "expected `key: value` lines");
        };
        for (key, value) in pairs {
            let Kind::Scalar(name) = key.kind else {
                self.problem(key.line, "a key must be a plain word");
                continue;
            };
            match (COMMANDS.iter().find(|c| c.name == name), value.kind) {
                (Some(command), Kind::Map(pairs)) => self.section(command.name, pairs),
                (Some(_), _) => {
                    self.problem(key.line, &format!("`{name}:` takes settings below it"));
                }
                (None, kind) => self.entry(None, &name, key.line, Node { line: value.line, kind }),
            }
        }
    }

    fn section(&mut self, command: &'static str, pairs: Vec<(Node, Node)>) {
        for (key, value) in pairs {
            match key.kind {
                Kind::Scalar(name) => self.entry(Some(command), &name, key.line, value),
                _ => self.problem(key.line, "a key must be a plain word"),
            }
        }
    }

    fn entry(&mut self, section: Option<&'static str>, name: &str, line: usize, value: Node) {
        let spec = COMMANDS.iter().find(|c| Some(c.name) == section);
        let known = match spec {
            Some(command) => command.all_flags().any(|f| f.name == name && !f.positional),
            None => flags::known(name),
        };
        if !known || name == "config" || name == "print-config" {
            let hint =
                nearest(name).map_or(String::new(), |near| format!(": did you mean `{near}`?"));
            let place = section.map_or(String::new(), |s| format!(" of `{s}`"));
            return self.problem(line, &format!("unknown key `{name}`{place}{hint}"));
        }
        let same = |e: &&Entry| e.section.as_deref() == section && e.key == name;
        if let Some(first) = self.entries.iter().find(same).map(|e| e.line) {
            return self.problem(line, &format!("`{name}` was already said at line {first}"));
        }
        let flag = COMMANDS.iter().flat_map(|c| c.all_flags()).find(|f| f.name == name);
        match flatten(value, flag.is_some_and(|f| f.repeat)) {
            Ok(values) => self.entries.push(Entry {
                section: section.map(str::to_owned),
                key: name.to_owned(),
                values,
                line,
            }),
            Err((line, what)) => self.problem(line, &format!("`{name}`: {what}")),
        }
    }
}

/// The texts of a value. A list of maps is written as the flag would be:
/// `{url: X, percent: 10}` becomes `X,percent=10`, and `name` goes in front.
fn flatten(value: Node, repeat: bool) -> Result<Vec<String>, (usize, &'static str)> {
    match value.kind {
        Kind::Scalar(text) => Ok(vec![text]),
        Kind::List(items) if repeat => items.into_iter().map(one).collect(),
        Kind::List(_) => Err((value.line, "takes one value, not a list")),
        Kind::Map(_) if repeat => Ok(vec![one(value)?]),
        Kind::Map(_) => Err((value.line, "takes one value, not a map")),
    }
}

fn one(node: Node) -> Result<String, (usize, &'static str)> {
    let pairs = match node.kind {
        Kind::Scalar(text) => return Ok(text),
        Kind::List(_) => return Err((node.line, "a list within a list")),
        Kind::Map(pairs) => pairs,
    };
    let (mut name, mut url, mut rest) = (None, None, String::new());
    for (key, value) in pairs {
        let (Kind::Scalar(key), Kind::Scalar(value)) = (key.kind, value.kind) else {
            return Err((node.line, "expected `key: value` lines"));
        };
        match key.as_str() {
            "name" => name = Some(value),
            "url" => url = Some(value),
            _ => rest.push_str(&format!(",{key}={value}")),
        }
    }
    match url {
        Some(url) => Ok(format!("{}{url}{rest}", name.map_or(String::new(), |n| n + "="))),
        // Not a target: `key: value` pairs such as labels.
        None => Ok(rest.trim_start_matches(',').to_owned()),
    }
}

/// The values of an environment variable: a YAML list in brackets for a flag that
/// may be repeated, else the text itself.
pub(crate) fn environment_value(text: &str, flag: &Flag) -> Result<Vec<String>, String> {
    if flag.value.is_none() {
        return values::switch(text).map(|on| vec![on.to_string()]);
    }
    if !(flag.repeat && text.trim_start().starts_with('[')) {
        return Ok(vec![text.to_owned()]);
    }
    let node = parse(text).map_err(|e| e.info().to_owned())?.ok_or("is empty")?;
    flatten(node, true).map_err(|(_, what)| what.to_owned())
}

/// The first document of the text as a tree; `None` if it is empty.
fn parse(text: &str) -> Result<Option<Node>, ScanError> {
    let mut open: Vec<(Node, Option<Node>)> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event?;
        let line = span.start.line();
        if open.len() > MAX_DEPTH {
            return Err(ScanError::new_str(span.start, "nested too deeply"));
        }
        let done = match event {
            Event::Scalar(value, ..) => Node { line, kind: Kind::Scalar(value.into_owned()) },
            Event::Alias(_) => Node { line, kind: Kind::Scalar("*".to_owned()) },
            Event::SequenceStart(..) => {
                open.push((Node { line, kind: Kind::List(Vec::new()) }, None));
                continue;
            }
            Event::MappingStart(..) => {
                open.push((Node { line, kind: Kind::Map(Vec::new()) }, None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some((node, _)) => node,
                None => continue,
            },
            _ => continue,
        };
        let Some((parent, key)) = open.last_mut() else { return Ok(Some(done)) };
        match (&mut parent.kind, key.take()) {
            (Kind::List(items), _) => items.push(done),
            (Kind::Map(pairs), Some(key)) => pairs.push((key, done)),
            (Kind::Map(_), None) => *key = Some(done),
            (Kind::Scalar(_), _) => {}
        }
    }
    Ok(None)
}
