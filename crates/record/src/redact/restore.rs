//! Puts sealed values back into the request that is sent, and nowhere else.

use std::{borrow::Cow, collections::HashMap};

use bytes::Bytes;

use super::{
    Edit, body, events, head,
    json::{self, Edits, Step},
    multipart,
    pairs::{self, Syntax},
};
use crate::{
    pb,
    seal::{OpenError, Opener, PLACEHOLDER},
};

/// What became of a request's sealed values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restored {
    /// Values put back.
    pub opened: usize,
    /// Values left out, with the place they stood in.
    pub omitted: usize,
}

/// Values by place and occurrence; `None`: it is left out.
type Values = HashMap<(String, u32), Option<Vec<u8>>>;

/// Puts the sealed values back into a request and its whole body. Those that do not
/// open are an error, or with `omit` taken out of the request.
///
/// # Errors
/// The first value that does not open.
pub fn restore(
    request: &mut pb::Request,
    body: &mut Option<Vec<Bytes>>,
    opener: Option<&Opener>,
    omit: bool,
) -> Result<Restored, OpenError> {
    if request.sealed.is_empty() {
        return Ok(Restored::default());
    }
    let mut values = Values::with_capacity(request.sealed.len());
    for sealed in &request.sealed {
        let opened = match opener {
            Some(opener) => opener.open(&request.id, sealed),
            None => Err(OpenError::NoKey(sealed.key_id.clone())),
        };
        let value = match opened {
            Ok(value) => Some(value),
            Err(_) if omit => None,
            Err(error) => return Err(error),
        };
        values.insert((sealed.place.clone(), sealed.occurrence), value);
    }
    let mut restorer = Restorer { values, met: HashMap::new(), restored: Restored::default() };
    restorer.head(request);
    if restorer.has_body() {
        restorer.body(request, body);
    }
    Ok(restorer.restored)
}

struct Restorer {
    values: Values,
    /// Occurrences met so far, by place.
    met: HashMap<String, u32>,
    restored: Restored,
}

impl Restorer {
    fn head(&mut self, request: &mut pb::Request) {
        if let Some(query) = &request.query {
            let new = pairs::edit(query, Syntax::Form, |name, value| {
                self.edit(head::place("query", name), value)
            });
            if let Some(new) = new {
                request.query = Some(new.into());
            }
        }
        let mut lines = std::mem::take(&mut request.headers);
        lines.retain_mut(|line| self.field(line));
        request.headers = lines;
        let mut lines = std::mem::take(&mut request.trailers);
        lines.retain_mut(|line| self.field(line));
        request.trailers = lines;
    }

    /// False: the field goes.
    fn field(&mut self, line: &mut pb::Header) -> bool {
        let edited = if line.value == PLACEHOLDER {
            let name = line.name.to_ascii_lowercase();
            self.edit(head::place("header", &name), &line.value)
        } else if line.name.eq_ignore_ascii_case(b"cookie") {
            let cookies = pairs::edit(&line.value, Syntax::Cookies, |name, value| {
                self.edit(head::place("cookie", name), value)
            });
            match cookies {
                Some(new) if new.is_empty() => Edit::Remove,
                Some(new) => Edit::With(new),
                None => Edit::Keep,
            }
        } else {
            Edit::Keep
        };
        match edited {
            Edit::Keep => true,
            Edit::Remove => false,
            Edit::With(new) => {
                line.value = new.into();
                true
            }
        }
    }

    fn has_body(&self) -> bool {
        self.values
            .keys()
            .any(|(place, _)| place.starts_with("form:") || place.starts_with("json:"))
    }

    fn body(&mut self, request: &mut pb::Request, body: &mut Option<Vec<Bytes>>) {
        let Some(pieces) = body else { return };
        let content: Cow<'_, [u8]> = match &pieces[..] {
            [one] => Cow::Borrowed(one),
            many => Cow::Owned(many.concat()),
        };
        let Some(kind) = body::kind(&request.headers, &content) else { return };
        // What only looks like JSON stays as it is.
        let in_json = self.values.keys().any(|(place, _)| place.starts_with("json:"));
        let text = match kind {
            body::Kind::Json => json::edit(&content, self).text,
            body::Kind::Events => {
                let edit =
                    |data: &[u8]| body::begins_like_json(data).then(|| json::edit(data, self));
                events::edit(&content, edit).text
            }
            body::Kind::Form => {
                let edit = |name: &[u8], value: &[u8]| self.edit(head::place("form", name), value);
                pairs::edit(&content, Syntax::Form, edit).unwrap_or_else(|| content.to_vec())
            }
            body::Kind::Multipart(boundary) => {
                multipart::edit(&content, &boundary, |part, value| {
                    let edited = match part.name() {
                        Some(name) => self.edit(head::place("form", &name), value),
                        None => Edit::Keep,
                    };
                    if edited == Edit::Keep && in_json && body::part_is_json(part, value) {
                        let new = json::edit(value, self);
                        return Some(if new.whole { Edit::With(new.text) } else { Edit::Keep });
                    }
                    Some(edited)
                })
                .text
            }
        };
        let text = Bytes::from(text);
        for line in &mut request.headers {
            if line.name.eq_ignore_ascii_case(b"content-length") {
                line.value = text.len().to_string().into();
            }
        }
        *body = Some(vec![text]);
    }

    /// The next value of a place, if it stands for one.
    fn edit(&mut self, place: String, value: &[u8]) -> Edit {
        if value != PLACEHOLDER {
            return Edit::Keep;
        }
        let occurrence = *self.met.get(&place).unwrap_or(&0);
        match self.values.remove(&(place.clone(), occurrence)) {
            // A client's own words.
            None => Edit::Keep,
            Some(value) => {
                self.met.insert(place, occurrence + 1);
                match value {
                    Some(value) => {
                        self.restored.opened += 1;
                        Edit::With(value)
                    }
                    None => {
                        self.restored.omitted += 1;
                        Edit::Remove
                    }
                }
            }
        }
    }
}

impl Edits for Restorer {
    fn is_meant(&mut self, path: &[Step]) -> bool {
        let place = body::pointer(path);
        let occurrence = *self.met.get(&place).unwrap_or(&0);
        self.values.contains_key(&(place, occurrence))
    }

    fn edit(&mut self, path: &[Step], value: &[u8]) -> Edit {
        // Without the quotes that were put around it.
        let inside = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        Restorer::edit(self, body::pointer(path), inside.unwrap_or(value))
    }
}
