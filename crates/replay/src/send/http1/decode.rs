//! Reads HTTP/1 answers (RFC 9112) from bytes in any pieces. Keeps no bytes of its
//! own and touches no socket. Lenient where a user agent may be: what a shadow
//! answers is evidence, and is recorded as it came.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use umbra_record::pb;

use super::super::{
    Fault,
    answer::{Collector, Head},
    value::{elements, parse_length},
};
use crate::outcome::Class;

/// Largest head or trailer section taken.
const MAX_HEAD: usize = 256 * 1024;
/// Most fields in one.
const MAX_FIELDS: usize = 1024;
/// Longest chunk-size line, extensions included.
const MAX_CHUNK_LINE: usize = 4096;
/// Interim answers (1xx) before the final one.
const MAX_INTERIM: u32 = 100;

/// Decodes one answer.
pub(super) struct Decoder {
    state: State,
    /// A HEAD request: its answer has no body whatever its fields say.
    head_request: bool,
    /// Bytes of the buffer in which no end of the head was found.
    scanned: usize,
    interim: u32,
    /// The connection can carry another request after this answer.
    persistent: bool,
    /// Seconds of the answer's `Keep-Alive: timeout=`.
    keep_alive: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// Content-Length: so much to come.
    Length(u64),
    /// Neither length nor chunks: until the connection ends.
    UntilClose,
    ChunkSize,
    ChunkData(u64),
    /// The CRLF after a chunk's data.
    ChunkEnd,
    Trailers,
    Done,
}

enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

impl Decoder {
    pub(super) fn new(head_request: bool) -> Self {
        Self {
            state: State::Head,
            head_request,
            scanned: 0,
            interim: 0,
            persistent: false,
            keep_alive: None,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub(super) fn is_persistent(&self) -> bool {
        self.persistent && self.is_done()
    }

    pub(super) fn keep_alive(&self) -> Option<u64> {
        self.keep_alive
    }

    /// Takes as much of the buffer as can be understood now.
    pub(super) fn advance(
        &mut self,
        buffer: &mut BytesMut,
        answer: &mut Collector,
    ) -> Result<(), Fault> {
        loop {
            let progressed = match self.state {
                State::Head => self.head(buffer, answer)?,
                State::Length(left) => {
                    let left = take(buffer, left, answer);
                    self.state = State::Length(left);
                    left == 0
                }
                State::UntilClose => {
                    take(buffer, u64::MAX, answer);
                    false
                }
                State::ChunkSize => self.chunk_size(buffer)?,
                State::ChunkData(left) => {
                    let left = take(buffer, left, answer);
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                    left == 0
                }
                State::ChunkEnd => self.chunk_end(buffer)?,
                State::Trailers => self.trailers(buffer, answer)?,
                State::Done => false,
            };
            if self.state == State::Length(0) {
                self.state = State::Done;
            }
            if self.is_done() && !answer.is_complete() {
                answer.end();
            }
            if !progressed {
                return Ok(());
            }
        }
    }

    /// The connection has ended. That is an answer's end only where nothing else
    /// marks it.
    pub(super) fn end_of_input(&mut self, answer: &mut Collector) -> Result<(), Fault> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                answer.end();
                Ok(())
            }
            State::Head if self.scanned == 0 => {
                Err(Fault::new(Class::Reset, "the connection ended before an answer"))
            }
            State::Head => Err(Fault::new(Class::Reset, "the connection ended within the head")),
            _ => Err(Fault::new(Class::Reset, "the connection ended within the body")),
        }
    }

    /// One head, interim or final, if it is all there.
    fn head(&mut self, buffer: &mut BytesMut, answer: &mut Collector) -> Result<bool, Fault> {
        // A head that trickles in is parsed again only when another line is there;
        // its first bytes at once, since they tell whether this is HTTP at all.
        let seen = std::mem::replace(&mut self.scanned, buffer.len());
        if buffer.is_empty() || (seen > 0 && !buffer[seen..].contains(&b'\n')) {
            return too_large(buffer.len(), MAX_HEAD, "head").map(|()| false);
        }
        let Some((length, parsed)) = parse_head(buffer)? else {
            return too_large(buffer.len(), MAX_HEAD, "head").map(|()| false);
        };
        buffer.advance(length);
        self.scanned = 0;
        if (100..200).contains(&parsed.status) && parsed.status != 101 {
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                let detail = format!("more than {MAX_INTERIM} interim answers");
                return Err(Fault::new(Class::Garbled, detail));
            }
            return Ok(true);
        }
        self.final_head(parsed, answer)?;
        Ok(true)
    }

    fn final_head(&mut self, mut head: Head, answer: &mut Collector) -> Result<(), Fault> {
        let said = Said::by(&head.headers);
        let framing = framing(&said, head.status, self.head_request)?;
        let keep = head.version != pb::Version::Http10 || said.keep;
        self.persistent = keep && !said.close && head.status != 101;
        self.keep_alive = said.keep_alive.and_then(parse_length);
        self.state = match framing {
            Framing::None => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => {
                self.persistent = false;
                State::UntilClose
            }
        };
        head.has_body = !matches!(framing, Framing::None);
        answer.head(head);
        Ok(())
    }

    fn chunk_size(&mut self, buffer: &mut BytesMut) -> Result<bool, Fault> {
        match httparse::parse_chunk_size(buffer) {
            Ok(httparse::Status::Complete((length, size))) => {
                buffer.advance(length);
                self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
                Ok(true)
            }
            Ok(httparse::Status::Partial) if buffer.len() <= MAX_CHUNK_LINE => Ok(false),
            _ => Err(Fault::new(Class::Garbled, "bad chunk size")),
        }
    }

    fn chunk_end(&mut self, buffer: &mut BytesMut) -> Result<bool, Fault> {
        let length = match buffer.as_ref() {
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            [] | [b'\r'] => return Ok(false),
            _ => return Err(Fault::new(Class::Garbled, "no line end after a chunk")),
        };
        buffer.advance(length);
        self.state = State::ChunkSize;
        Ok(true)
    }

    fn trailers(&mut self, buffer: &mut BytesMut, answer: &mut Collector) -> Result<bool, Fault> {
        let mut fields = vec![httparse::EMPTY_HEADER; MAX_FIELDS];
        let (length, trailers) = match httparse::parse_headers(buffer, &mut fields) {
            Ok(httparse::Status::Complete((length, parsed))) => (length, copy_fields(parsed)),
            Ok(httparse::Status::Partial) => {
                return too_large(buffer.len(), MAX_HEAD, "trailers").map(|()| false);
            }
            Err(e) => return Err(parse_fault("trailers", e)),
        };
        buffer.advance(length);
        answer.trailers(trailers);
        self.state = State::Done;
        Ok(true)
    }
}

/// Moves up to `left` bytes of body; returns what is still to come.
fn take(buffer: &mut BytesMut, left: u64, answer: &mut Collector) -> u64 {
    let now = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
    answer.body(&buffer[..now]);
    buffer.advance(now);
    left - now as u64
}

fn too_large(size: usize, limit: usize, what: &str) -> Result<(), Fault> {
    if size <= limit {
        return Ok(());
    }
    Err(Fault::new(Class::TooLarge, format!("{what} above {limit} bytes")))
}

fn parse_fault(what: &str, error: httparse::Error) -> Fault {
    match error {
        httparse::Error::TooManyHeaders => {
            Fault::new(Class::TooLarge, format!("{what} of more than {MAX_FIELDS} fields"))
        }
        other => Fault::new(Class::Garbled, format!("{what}: {other}")),
    }
}

fn parse_head(buffer: &[u8]) -> Result<Option<(usize, Head)>, Fault> {
    let mut few = [const { MaybeUninit::uninit() }; 64];
    match parse_head_into(buffer, &mut few) {
        Err(httparse::Error::TooManyHeaders) => {
            let mut many = vec![MaybeUninit::uninit(); MAX_FIELDS];
            parse_head_into(buffer, &mut many)
        }
        result => result,
    }
    .map_err(|e| match is_http2(buffer) {
        true => Fault::new(Class::Garbled, "the target speaks HTTP/2 alone: --http2 sends so"),
        false => parse_fault("head", e),
    })
}

/// A frame with which a server begins or refuses an HTTP/2 connection: SETTINGS or
/// GOAWAY, of no stream.
fn is_http2(buffer: &[u8]) -> bool {
    matches!(buffer, [0, 0..=0x40, _, 4 | 7, 0, 0, 0, 0, 0, ..])
}

fn parse_head_into<'b>(
    buffer: &'b [u8],
    fields: &mut [MaybeUninit<httparse::Header<'b>>],
) -> Result<Option<(usize, Head)>, httparse::Error> {
    let mut config = httparse::ParserConfig::default();
    config
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true);
    let mut parsed = httparse::Response::new(&mut []);
    let whole = config.parse_response_with_uninit_headers(&mut parsed, buffer, fields)?;
    let httparse::Status::Complete(length) = whole else {
        return Ok(None);
    };
    let head = Head {
        status: parsed.code.unwrap_or(0),
        reason: Bytes::copy_from_slice(parsed.reason.unwrap_or("").as_bytes()),
        version: if parsed.version == Some(0) { pb::Version::Http10 } else { pb::Version::Http11 },
        headers: copy_fields(parsed.headers),
        has_body: false,
    };
    Ok(Some((length, head)))
}

/// One allocation for all of them.
fn copy_fields(fields: &[httparse::Header<'_>]) -> Vec<pb::Header> {
    let size = fields.iter().map(|f| f.name.len() + f.value.len()).sum();
    let mut all = BytesMut::with_capacity(size);
    for field in fields {
        all.extend_from_slice(field.name.as_bytes());
        all.extend_from_slice(field.value);
    }
    let mut all = all.freeze();
    let split = |field: &httparse::Header<'_>| pb::Header {
        name: all.split_to(field.name.len()),
        value: all.split_to(field.value.len()),
    };
    fields.iter().map(split).collect()
}

/// What the fields of a head say of the body and of the connection.
#[derive(Default)]
struct Said<'h> {
    /// Connection, of all its lines.
    close: bool,
    keep: bool,
    /// The last transfer coding.
    coding: Option<&'h [u8]>,
    length: Option<u64>,
    /// Not a number, or not the same everywhere.
    bad_length: bool,
    /// Of `Keep-Alive: timeout=`.
    keep_alive: Option<&'h [u8]>,
}

impl<'h> Said<'h> {
    /// Looks at each field once; most are none of these by their length alone.
    fn by(headers: &'h [pb::Header]) -> Self {
        let mut said = Self::default();
        for header in headers {
            let is = |name: &[u8]| header.name.eq_ignore_ascii_case(name);
            match header.name.len() {
                10 if is(b"connection") => {
                    for option in elements(&header.value) {
                        said.close |= option.eq_ignore_ascii_case(b"close");
                        said.keep |= option.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                10 if is(b"keep-alive") && said.keep_alive.is_none() => {
                    said.keep_alive =
                        elements(&header.value).find_map(|one| one.strip_prefix(b"timeout="));
                }
                14 if is(b"content-length") => {
                    for value in elements(&header.value) {
                        let length = parse_length(value);
                        said.bad_length |= length.is_none()
                            || said.length.is_some_and(|before| Some(before) != length);
                        said.length = length;
                    }
                }
                17 if is(b"transfer-encoding") => {
                    said.coding = elements(&header.value).last().or(said.coding);
                }
                _ => {}
            }
        }
        said
    }
}

/// Length of the body (RFC 9112 section 6.3).
fn framing(said: &Said<'_>, status: u16, head_request: bool) -> Result<Framing, Fault> {
    if head_request || matches!(status, 101 | 204 | 304) {
        return Ok(Framing::None);
    }
    if let Some(last) = said.coding {
        let chunked = last.eq_ignore_ascii_case(b"chunked");
        return Ok(if chunked { Framing::Chunked } else { Framing::UntilClose });
    }
    if said.bad_length {
        return Err(Fault::new(Class::Garbled, "bad Content-Length"));
    }
    Ok(said.length.map_or(Framing::UntilClose, Framing::Length))
}

#[cfg(test)]
mod tests;
