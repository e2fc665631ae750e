//! Where a value stands in a message, as the user writes it: `header:X`, `cookie:X`,
//! `query:X`, `form:X`, `json:a.b.*.c`, or the preset `tokens`.

#[cfg(test)]
mod tests;

use std::fmt;

use super::json::Step;
use crate::token::is_token_byte;

/// What is called by these names in queries, forms and JSON is a secret nearly
/// everywhere: the preset `tokens`.
const TOKENS: &[&str] = &[
    "access_token",
    "accesstoken",
    "api_key",
    "apikey",
    "auth_token",
    "authtoken",
    "bearer",
    "client_secret",
    "clientsecret",
    "credential",
    "credentials",
    "id_token",
    "idtoken",
    "jwt",
    "otp",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "privatekey",
    "pwd",
    "refresh_token",
    "refreshtoken",
    "secret",
    "session_id",
    "sessionid",
    "session_token",
    "sig",
    "signature",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
];

/// And whatever ends in one of these, such as `new_password`.
const TOKEN_ENDS: &[&str] = &["api_key", "apikey", "passwd", "password", "secret", "token"];

/// All of them, `*` standing for anything.
pub(super) fn token_patterns() -> impl Iterator<Item = String> {
    let ends = TOKEN_ENDS.iter().map(|end| format!("*{end}"));
    TOKENS.iter().map(|name| (*name).to_owned()).chain(ends)
}

/// Bounds the work of matching a path.
const MAX_SEGMENTS: usize = 32;

/// Places that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A header or trailer field.
    Header(String),
    /// A cookie, in Cookie and Set-Cookie.
    Cookie(String),
    /// A parameter of the query.
    Query(String),
    /// A field of a form, urlencoded or multipart.
    Form(String),
    /// Values of a JSON body.
    Json(Path),
    /// `TOKENS`, in query, form and JSON at any depth.
    Tokens,
}

/// A path into JSON, such as `user.password`, `users.*.token` or `**.secret`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// A member of this name, or the element of this number.
    Name(String),
    /// Any member or element.
    Any,
    /// Any number of steps.
    Deep,
}

impl Place {
    /// Reads a place; errors are for the user.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "tokens" {
            return Ok(Self::Tokens);
        }
        let Some((kind, name)) = text.split_once(':') else {
            return Err(format!(
                "`{text}`: expected header:, cookie:, query:, form: or json: with a name, or tokens"
            ));
        };
        if name.is_empty() {
            return Err(format!("`{text}`: the name is missing"));
        }
        let name = name.to_owned();
        match kind {
            "header" if name.bytes().all(is_token_byte) => {
                Ok(Self::Header(name.to_ascii_lowercase()))
            }
            "header" => Err(format!("`{text}`: not the name of a header")),
            "cookie" => Ok(Self::Cookie(name)),
            "query" => Ok(Self::Query(name)),
            "form" => Ok(Self::Form(name)),
            "json" => Path::parse(&name).map(Self::Json),
            _ => Err(format!(
                "`{text}`: `{kind}` is no kind of place; use header:, cookie:, query:, form: or json:"
            )),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Form(name) => write!(f, "form:{name}"),
            Self::Json(path) => write!(f, "json:{path}"),
            Self::Tokens => f.write_str("tokens"),
        }
    }
}

impl Path {
    fn parse(text: &str) -> Result<Self, String> {
        let mut segments = Vec::new();
        for part in text.trim_start_matches('.').split('.') {
            // `users[].name` is how findings call it.
            let (name, list) = match part.strip_suffix("[]") {
                Some(name) => (name, true),
                None => (part, false),
            };
            match name {
                "" if list => {}
                "" => return Err(format!("`json:{text}`: a name is missing between two dots")),
                "*" => segments.push(Segment::Any),
                "**" => segments.push(Segment::Deep),
                name => segments.push(Segment::Name(name.to_owned())),
            }
            if list {
                segments.push(Segment::Any);
            }
        }
        if segments.len() > MAX_SEGMENTS
            || segments.iter().filter(|segment| **segment == Segment::Deep).count() > 1
        {
            return Err(format!(
                "`json:{text}`: at most {MAX_SEGMENTS} names, and `**` at most once"
            ));
        }
        if matches!(segments.last(), Some(Segment::Deep)) {
            return Err(format!("`json:{text}`: `**` must be followed by a name"));
        }
        Ok(Self(segments))
    }

    pub(super) fn matches(&self, steps: &[Step]) -> bool {
        matches(&self.0, steps)
    }
}

fn matches(segments: &[Segment], steps: &[Step]) -> bool {
    match (segments.split_first(), steps.split_first()) {
        (None, None) => true,
        (Some((Segment::Deep, rest)), _) => {
            (0..=steps.len()).any(|skipped| matches(rest, &steps[skipped..]))
        }
        (Some((segment, rest)), Some((step, further))) => {
            is_at(segment, step) && matches(rest, further)
        }
        _ => false,
    }
}

fn is_at(segment: &Segment, step: &Step) -> bool {
    match (segment, step) {
        (Segment::Any, _) => true,
        (Segment::Name(name), Step::Name(actual)) => actual.eq_ignore_ascii_case(name.as_bytes()),
        (Segment::Name(name), Step::Index(index)) => name.parse() == Ok(*index),
        (Segment::Deep, _) => false,
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            match segment {
                Segment::Name(name) => f.write_str(name)?,
                Segment::Any => f.write_str("*")?,
                Segment::Deep => f.write_str("**")?,
            }
        }
        Ok(())
    }
}

/// Whether the preset means this name, also inside another (`user[password]`) or as a
/// list (`password[]`).
pub(super) fn is_token_name(name: &[u8]) -> bool {
    let mut parts = name.split(|byte| matches!(byte, b'[' | b']')).filter(|part| !part.is_empty());
    parts.next_back().is_some_and(is_token)
}

fn is_token(name: &[u8]) -> bool {
    let ends = |end: &&str| {
        name.len() > end.len()
            && name[name.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
    };
    TOKENS.iter().any(|token| name.eq_ignore_ascii_case(token.as_bytes()))
        || TOKEN_ENDS.iter().any(ends)
}
