//! Patterns of hosts, paths, media types and header values: exact, with `*`, or a regular
//! expression. Matching takes linear time in the text, whatever the pattern.

use regex::bytes::Regex;

use crate::token::is_token;

/// A text that is matched as a whole.
#[derive(Debug)]
pub(super) enum Pattern {
    /// These bytes.
    Exact { text: Vec<u8>, fold: bool },
    /// Pieces with anything, also nothing, between them. There are at least two; the
    /// first is a prefix, the last a suffix.
    Glob { pieces: Vec<Vec<u8>>, fold: bool },
    /// Found anywhere.
    Regex(Regex),
}

impl Pattern {
    /// Of a host: without case.
    pub(super) fn host(typed: &str) -> Result<Self, String> {
        if typed.is_empty() || !typed.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("not a host".to_owned());
        }
        if typed.contains("://") || typed.contains('/') {
            return Err("a host has no scheme and no path".to_owned());
        }
        Ok(Self::literal(typed, true))
    }

    /// Of a path.
    pub(super) fn path(typed: &str) -> Result<Self, String> {
        if let Some(expression) = typed.strip_prefix('~') {
            return regex(expression).map(Self::Regex);
        }
        if !typed.starts_with(['/', '*']) {
            return Err("a path begins with '/' (or '*', or '~' for a regular expression)".into());
        }
        if typed.contains('?') {
            return Err("a path ends before its '?'".to_owned());
        }
        Ok(Self::literal(typed, false))
    }

    /// Of a media type: without case.
    pub(super) fn content_type(typed: &str) -> Result<Self, String> {
        if typed.contains([';', ',']) {
            return Err("a content type without parameters".to_owned());
        }
        if !typed.contains(['/', '*']) || !typed.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("not a content type such as application/json or image/*".to_owned());
        }
        Ok(Self::literal(typed, true))
    }

    fn literal(typed: &str, fold: bool) -> Self {
        let pieces: Vec<Vec<u8>> = typed.split('*').map(|piece| piece.into()).collect();
        match <[Vec<u8>; 1]>::try_from(pieces) {
            Ok([text]) => Self::Exact { text, fold },
            Err(pieces) => Self::Glob { pieces, fold },
        }
    }

    pub(super) fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact { text: wanted, fold } => equal(text, wanted, *fold),
            Self::Glob { pieces, fold } => glob(pieces, text, *fold),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

/// A header that must be there, perhaps with a certain value.
#[derive(Debug)]
pub(super) struct HeaderPattern {
    pub(super) name: String,
    value: Option<Pattern>,
}

impl HeaderPattern {
    pub(super) fn parse(typed: &str) -> Result<Self, String> {
        let (name, value) = match typed.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (typed, None),
        };
        if !is_token(name.as_bytes()) {
            return Err(format!("'{name}' is not the name of a header"));
        }
        let value = match value {
            None => None,
            Some(value) => Some(match value.strip_prefix('~') {
                Some(expression) => Pattern::Regex(regex(expression)?),
                None => Pattern::Exact { text: value.into(), fold: false },
            }),
        };
        Ok(Self { name: name.to_owned(), value })
    }

    /// Whether the value of a line with this name matches.
    pub(super) fn matches(&self, value: &[u8]) -> bool {
        self.value.as_ref().is_none_or(|pattern| pattern.matches(value.trim_ascii()))
    }
}

fn regex(expression: &str) -> Result<Regex, String> {
    // The last line of the library's message says what is wrong; the lines above
    // repeat the expression with a pointer, which does not fit on one line.
    Regex::new(expression).map_err(|error| {
        let message = error.to_string();
        message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

fn equal(one: &[u8], other: &[u8], fold: bool) -> bool {
    if fold { one.eq_ignore_ascii_case(other) } else { one == other }
}

/// First and last piece are anchored; each piece between is taken at its first
/// occurrence after the one before, which leaves most room for the rest.
fn glob(pieces: &[Vec<u8>], text: &[u8], fold: bool) -> bool {
    let [first, middle @ .., last] = pieces else { return false };
    if text.len() < first.len() + last.len() {
        return false;
    }
    let (start, rest) = text.split_at(first.len());
    let (mut rest, end) = rest.split_at(rest.len() - last.len());
    if !equal(start, first, fold) || !equal(end, last, fold) {
        return false;
    }
    for piece in middle.iter().filter(|piece| !piece.is_empty()) {
        let Some(at) = rest.windows(piece.len()).position(|found| equal(found, piece, fold)) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    true
}
