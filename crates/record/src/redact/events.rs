//! Replaces the data of server-sent events (`text/event-stream`, HTML standard section
//! 9.2.6), leaving every other byte as it is. What becomes of the data is the caller's
//! business; where it was not understood, the stream is cut off.

#[cfg(test)]
mod tests;

use super::json::Edited;

/// A line of a stream, with and without what ends it.
#[derive(Clone, Copy)]
struct Line<'a> {
    all: &'a [u8],
    text: &'a [u8],
}

/// The stream with the data of each event replaced for which `edit` says so; its lines
/// are joined by line feeds, as a client gets them.
pub(super) fn edit(stream: &[u8], mut edit: impl FnMut(&[u8]) -> Option<Edited>) -> Edited {
    let mut out = Vec::with_capacity(stream.len());
    let mut rest = stream;
    let mut event = Vec::new();
    while !rest.is_empty() {
        let line = next(rest);
        rest = &rest[line.all.len()..];
        event.push(line);
        if (line.text.is_empty() || rest.is_empty()) && !dispatch(&event, &mut out, &mut edit) {
            return Edited { text: out, whole: false };
        }
        if line.text.is_empty() {
            event.clear();
        }
    }
    Edited { text: out, whole: true }
}

/// The line that begins here: it ends with CR, LF or both.
fn next(rest: &[u8]) -> Line<'_> {
    let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
    let breaks = match &rest[end..] {
        [b'\r', b'\n', ..] => 2,
        [] => 0,
        _ => 1,
    };
    Line { all: &rest[..end + breaks], text: &rest[..end] }
}

impl<'a> Line<'a> {
    /// What stands before the data, and the data.
    fn data(self) -> Option<(&'a [u8], &'a [u8])> {
        let start = self.text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(self.text);
        let data = start.strip_prefix(b"data:")?;
        let data = data.strip_prefix(b" ").unwrap_or(data);
        Some(self.text.split_at(self.text.len() - data.len()))
    }
}

/// Copies one event. False: its data was not understood to its end, and the rest of it is
/// not there.
fn dispatch(
    event: &[Line<'_>],
    out: &mut Vec<u8>,
    edit: &mut impl FnMut(&[u8]) -> Option<Edited>,
) -> bool {
    let data: Vec<&[u8]> = event.iter().filter_map(|line| line.data()).map(|data| data.1).collect();
    let joined = data.join(&b'\n');
    let edited = if data.is_empty() { None } else { edit(&joined) };
    let Some(Edited { text, whole }) = edited.filter(|one| !one.whole || one.text != joined) else {
        event.iter().for_each(|line| out.extend_from_slice(line.all));
        return true;
    };
    // Its lines stand where they stood; the last has what more there are now, and what are
    // too many are empty.
    let mut parts = text.split(|byte| *byte == b'\n').peekable();
    let mut left = data.len();
    for line in event {
        let Some((before, _)) = line.data() else {
            out.extend_from_slice(line.all);
            continue;
        };
        left -= 1;
        let ends = &line.all[line.text.len()..];
        loop {
            out.extend_from_slice(before);
            out.extend_from_slice(parts.next().unwrap_or_default());
            let is_last = parts.peek().is_none();
            if is_last && !whole {
                return false;
            }
            out.extend_from_slice(if ends.is_empty() && !is_last { b"\n" } else { ends });
            if left > 0 || is_last {
                break;
            }
        }
    }
    true
}
