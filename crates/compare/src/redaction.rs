//! What was redacted when the baseline's answer was recorded. It is redacted in both
//! answers before they are compared: a value that is gone, hashed or sealed on one side
//! says nothing, and what must not be seen must not turn up in a note either.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::rules::wildcard;

/// Places as the agent names them: `header:NAME`, `cookie:NAME`, `set-cookie:NAME`,
/// `query:NAME`, `form:NAME`, `json:PATH` (with dots, or a pointer of RFC 6901). `*` in
/// a name stands for anything.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Redaction {
    headers: Vec<String>,
    cookies: Vec<String>,
    query: Vec<String>,
    form: Vec<String>,
    json: Vec<Vec<String>>,
}

impl Redaction {
    /// Parses places, or tells everything that is wrong.
    pub(crate) fn new<S: AsRef<str>>(places: &[S]) -> Result<Self, Vec<String>> {
        let mut redaction = Self::default();
        let problems: Vec<String> =
            places.iter().filter_map(|place| redaction.add(place.as_ref()).err()).collect();
        if problems.is_empty() { Ok(redaction) } else { Err(problems) }
    }

    /// Adds a place.
    pub(crate) fn add(&mut self, place: &str) -> Result<(), String> {
        let problem = || {
            format!(
                "'{place}' is not a place: header:NAME, cookie:NAME, set-cookie:NAME, \
                 query:NAME, form:NAME, json:PATH"
            )
        };
        let (kind, name) = place.split_once(':').ok_or_else(problem)?;
        if name.is_empty() {
            return Err(problem());
        }
        match kind {
            "header" => self.headers.push(name.to_ascii_lowercase()),
            "cookie" | "set-cookie" => self.cookies.push(name.to_owned()),
            "query" => self.query.push(name.to_owned()),
            "form" => self.form.push(name.to_owned()),
            "json" => self.json.push(json_steps(name)),
            _ => return Err(problem()),
        }
        Ok(())
    }

    /// With what one answer says was taken out of it. A place that is not known there is
    /// one of the request.
    pub(crate) fn with<'a>(&'a self, one: &[String], other: &[String]) -> Cow<'a, Self> {
        if one.is_empty() && other.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut all = self.clone();
        for place in one.iter().chain(other) {
            let _ = all.add(place);
        }
        Cow::Owned(all)
    }

    /// Whether a body may hold something redacted, so that it is not shown unless its
    /// structure was found and the places are taken out.
    pub(crate) fn is_in_bodies(&self) -> bool {
        !self.form.is_empty() || !self.json.is_empty()
    }

    /// Whether this field of the head is not compared.
    pub(crate) fn covers(&self, field: &str) -> bool {
        let any = |patterns: &[String], name: &str| {
            patterns.iter().any(|pattern| wildcard(pattern, name))
        };
        match field.split_once(':') {
            Some(("header" | "trailer", name)) => any(&self.headers, name),
            // Attributes stay: only the value is a secret, unless the whole field is.
            Some(("set-cookie", name)) => {
                let value = !name.contains(';');
                any(&self.headers, "set-cookie") || (value && any(&self.cookies, name))
            }
            _ => false,
        }
    }

    /// Places in JSON, as steps from the top.
    pub(crate) fn json(&self) -> &[Vec<String>] {
        &self.json
    }

    /// Whether this pair of a form is not compared.
    pub(crate) fn covers_form(&self, name: &str) -> bool {
        self.form.iter().any(|pattern| wildcard(pattern, name))
    }

    /// A value of a header that holds a URL, without the redacted parameters.
    pub(crate) fn url<'a>(&self, value: &'a [u8]) -> Cow<'a, [u8]> {
        if self.query.is_empty() || !value.contains(&b'?') {
            return value.into();
        }
        let (path, query) = value.split_at(value.iter().position(|b| *b == b'?').unwrap_or(0) + 1);
        let covered = |pair: &&[u8]| {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
            let name = String::from_utf8_lossy(name);
            !self.query.iter().any(|pattern| wildcard(pattern, &name))
        };
        let kept: Vec<&[u8]> = query.split(|byte| *byte == b'&').filter(covered).collect();
        [path, &kept.join(&b'&')].concat().into()
    }
}

/// `$.user.tokens[].value` and the like, where arrays are no steps; or
/// `/user/tokens/0/value`.
fn json_steps(path: &str) -> Vec<String> {
    if let Some(pointer) = path.strip_prefix('/') {
        let unescaped = |step: &str| step.replace("~1", "/").replace("~0", "~");
        return pointer.split('/').map(unescaped).collect();
    }
    let path = path.strip_prefix('$').unwrap_or(path).replace("[*]", "").replace("[]", "");
    let steps = path.split(['.', '[', ']']).map(|step| step.trim_matches(['"', '\'']));
    steps.filter(|step| !step.is_empty()).map(str::to_owned).collect()
}
