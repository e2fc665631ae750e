//! A shadow may quote what it was sent. Values that were put back are taken out of its
//! answer again before anybody sees it, wherever they stand in it as they were sent.

use bytes::Bytes;
use memchr::memmem::Finder;
use umbra_record::{
    pb,
    seal::{Opener, PLACEHOLDER},
};

use crate::outcome::Answer;

/// What is shorter is found everywhere by chance.
const SHORTEST: usize = 8;

/// The values of one request.
#[derive(Default)]
pub(crate) struct Echo(Vec<Vec<u8>>);

impl Echo {
    /// Of all values that open.
    pub(crate) fn of(request: &pb::Request, opener: &Opener) -> Self {
        let mut values: Vec<Vec<u8>> = Vec::new();
        for sealed in &request.sealed {
            if let Ok(value) = opener.open(&request.id, sealed) {
                parts(&sealed.place, &value, |part| values.push(part.to_vec()));
            }
        }
        values.retain(|value| value.len() >= SHORTEST);
        // A value that contains another is taken out first, as a whole.
        values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        Self(values)
    }

    /// Takes them out of an answer. Length and hash of its body stay those of what came.
    pub(crate) fn remove_from(&self, answer: &mut Answer) {
        for value in &self.0 {
            let finder = Finder::new(value);
            let edit = |bytes: &mut Bytes| {
                if let Some(without) = replaced(bytes, &finder) {
                    *bytes = without;
                }
            };
            edit(&mut answer.reason);
            for field in answer.headers.iter_mut().chain(&mut answer.trailers) {
                edit(&mut field.value);
            }
            if let Some(body) = &mut answer.body {
                edit(body);
            }
        }
    }
}

/// The value, and what of it is a secret of its own: the token behind a scheme, each
/// cookie of a field.
fn parts<'v>(place: &str, value: &'v [u8], mut take: impl FnMut(&'v [u8])) {
    take(value);
    match place {
        "header:authorization" | "header:proxy-authorization" => {
            if let Some(space) = memchr::memchr(b' ', value) {
                take(value[space + 1..].trim_ascii());
            }
        }
        "header:cookie" => {
            for pair in value.split(|byte| *byte == b';') {
                if let Some(equals) = memchr::memchr(b'=', pair) {
                    take(pair[equals + 1..].trim_ascii());
                }
            }
        }
        _ => {}
    }
}

fn replaced(bytes: &Bytes, finder: &Finder<'_>) -> Option<Bytes> {
    let mut found = finder.find_iter(bytes).peekable();
    found.peek()?;
    let mut without = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for at in found {
        without.extend_from_slice(&bytes[from..at]);
        without.extend_from_slice(PLACEHOLDER);
        from = at + finder.needle().len();
    }
    without.extend_from_slice(&bytes[from..]);
    Some(without.into())
}
