//! Secrets in the head of a message: header fields, cookies, the query.

use std::borrow::Cow;

use super::{
    Action, CREDENTIALS, Compiled, Edit, Redaction, Secrets,
    pairs::{self, Syntax},
    place::{self, Place},
};
use crate::{
    fields::{self, Fields},
    seal,
};

/// A head after its secrets were taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedactedHead<'a> {
    /// Of a request; `None` if it has none.
    pub query: Option<Cow<'a, [u8]>>,
    /// In the order received.
    pub headers: Vec<(&'a [u8], Cow<'a, [u8]>)>,
}

/// Fields whose value is a URL, whose query may hold what the request's own may.
/// The last six are what proxies and servers tell the original target in.
const URLS: &[&str] = &[
    "referer",
    "location",
    "content-location",
    "refresh",
    "x-envoy-original-path",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
    "x-forwarded-uri",
];

impl<'a> RedactedHead<'a> {
    /// A head in which nothing was changed.
    pub fn unchanged(query: Option<&'a [u8]>, headers: &'a dyn Fields) -> Self {
        Self {
            query: query.map(Cow::Borrowed),
            headers: fields::iter(headers)
                .map(|(name, value)| (name, Cow::Borrowed(value)))
                .collect(),
        }
    }
}

impl Redaction {
    /// A head without its secrets; `None` if there are none in it, which costs no more
    /// than looking. Trailer sections are headers without a query.
    pub fn head<'a>(
        &self,
        query: Option<&'a [u8]>,
        headers: &'a dyn Fields,
        secrets: &mut Secrets<'_>,
    ) -> Option<RedactedHead<'a>> {
        let compiled = self.compiled.as_deref()?;
        let in_query = compiled.of.query
            && query.is_some_and(|query| {
                let mut meant = false;
                pairs::edit(query, Syntax::Form, |name, _| {
                    meant |= compiled.query_action(name).is_some();
                    Edit::Keep
                });
                meant
            });
        if !in_query && !fields::iter(headers).any(|(name, _)| compiled.may_concern(name)) {
            return None;
        }
        let query = query.map(|text| match in_query {
            true => compiled.query(text, secrets).map_or(Cow::Borrowed(text), Cow::Owned),
            false => Cow::Borrowed(text),
        });
        let mut kept = Vec::with_capacity(headers.count());
        for (name, value) in fields::iter(headers) {
            match compiled.field(name, value, secrets) {
                Edit::Keep => kept.push((name, Cow::Borrowed(value))),
                Edit::With(new) => kept.push((name, Cow::Owned(new))),
                Edit::Remove => {}
            }
        }
        Some(RedactedHead { query, headers: kept })
    }
}

impl Compiled {
    /// Whether a field of this name may be changed by a rule.
    fn may_concern(&self, name: &[u8]) -> bool {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        (self.credentials != Action::Keep && CREDENTIALS.iter().any(|one| is(one)))
            || (self.of.cookies && (is("cookie") || is("set-cookie")))
            || (self.of.query && URLS.iter().any(|one| is(one)))
            || self.header_action(name).is_some()
    }

    fn header_action(&self, name: &[u8]) -> Option<Action> {
        self.action(|place| {
            matches!(place, Place::Header(wanted) if name.eq_ignore_ascii_case(wanted.as_bytes()))
        })
    }

    pub(super) fn query_action(&self, name: &[u8]) -> Option<Action> {
        self.action(|place| match place {
            Place::Query(wanted) => name.eq_ignore_ascii_case(wanted.as_bytes()),
            Place::Tokens => place::is_token_name(name),
            _ => false,
        })
    }

    fn query(&self, query: &[u8], secrets: &mut Secrets<'_>) -> Option<Vec<u8>> {
        pairs::edit(query, Syntax::Form, |name, value| match self.query_action(name) {
            Some(action) => secrets.edit(action, || place("query", name), value),
            None => Edit::Keep,
        })
    }

    /// What becomes of a field.
    fn field(&self, name: &[u8], value: &[u8], secrets: &mut Secrets<'_>) -> Edit {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if let Some(action) = self.header_action(name) {
            return secrets.edit(action, || header_place(name), value);
        }
        let credential = CREDENTIALS.iter().any(|one| is(one));
        let action = if credential { self.credentials } else { Action::Keep };
        if is("set-cookie") {
            return self.set_cookie(value, action, secrets);
        }
        if is("cookie") && self.of.cookies {
            return changed(pairs::edit(value, Syntax::Cookies, |name, value| {
                let action = self.cookie_action(name).unwrap_or(action);
                secrets.edit(action, || place("cookie", name), value)
            }));
        }
        if self.of.query && URLS.iter().any(|one| is(one)) {
            return self.url(value, secrets);
        }
        secrets.edit(action, || header_place(name), value)
    }

    fn cookie_action(&self, name: &[u8]) -> Option<Action> {
        self.action(|place| {
            matches!(place, Place::Cookie(wanted) if name.eq_ignore_ascii_case(wanted.as_bytes()))
        })
    }

    /// Only the value of the cookie is a secret: its name and attributes tell whether
    /// an answer is the same.
    fn set_cookie(&self, field: &[u8], action: Action, secrets: &mut Secrets<'_>) -> Edit {
        let end = memchr::memchr(b';', field).unwrap_or(field.len());
        // Without a name the whole is the value.
        let value = memchr::memchr(b'=', &field[..end]).map_or(0, |equals| equals + 1);
        let name = field[..value.saturating_sub(1)].trim_ascii();
        let action = self.cookie_action(name).unwrap_or(action);
        match secrets.edit(action, || place("set-cookie", name), &field[value..end]) {
            Edit::With(new) => Edit::With([&field[..value], &new[..], &field[end..]].concat()),
            other => other,
        }
    }

    /// A URL's query, and its fragment, where some put tokens (RFC 6749 section 4.2.2).
    /// Nothing is put back there, so nothing is sealed either.
    fn url(&self, value: &[u8], secrets: &mut Secrets<'_>) -> Edit {
        let mut edit = |name: &[u8], value: &[u8]| match self.query_action(name) {
            Some(Action::Seal) => Edit::With(seal::PLACEHOLDER.to_vec()),
            Some(action) => secrets.edit(action, String::new, value),
            None => Edit::Keep,
        };
        let hash = memchr::memchr(b'#', value).unwrap_or(value.len());
        let (before, fragment) = value.split_at(hash);
        let mark = memchr::memchr(b'?', before).map_or(before.len(), |mark| mark + 1);
        let (path, query) = before.split_at(mark);
        let new_query = pairs::edit(query, Syntax::Form, &mut edit);
        let inside = fragment.get(1..).unwrap_or_default();
        let new_inside = pairs::edit(inside, Syntax::Form, &mut edit);
        if new_query.is_none() && new_inside.is_none() {
            return Edit::Keep;
        }
        let query = new_query.as_deref().unwrap_or(query);
        let inside = new_inside.as_deref().unwrap_or(inside);
        Edit::With([path, query, &fragment[..fragment.len().min(1)], inside].concat())
    }
}

fn changed(new: Option<Vec<u8>>) -> Edit {
    match new {
        // A field whose every pair was dropped says nothing any more.
        Some(new) if new.is_empty() => Edit::Remove,
        Some(new) => Edit::With(new),
        None => Edit::Keep,
    }
}

fn header_place(name: &[u8]) -> String {
    place("header", &name.to_ascii_lowercase())
}

/// How a sealed value says where it was.
pub(super) fn place(kind: &str, name: &[u8]) -> String {
    format!("{kind}:{}", String::from_utf8_lossy(name))
}
