//! Response heads (RFC 9112 4): the status line, and where the body ends, which
//! depends on the request too (6.3). Every fault is the upstream's: 502.

use super::{
    BodyKind, Field, Fields, Limits, Malformed, MethodKind, Parsed, Span, Version, Window,
    fields::{self, Scan},
    framing::{self, Framing},
};

/// A parsed response head: places in the buffer it was parsed from. To be used
/// again, as `RequestHead`.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) reason: Span,
    pub(crate) fields: Vec<Field>,
    version: Version,
    body: BodyKind,
    keep_alive: bool,
    tunnel: bool,
}

/// Parses the head at the start of `buf`, an answer to a request of that kind.
/// An interim answer (`is_interim`) is followed by another head.
///
/// # Errors
/// The upstream sent something that is not HTTP or cannot be framed: 502, and
/// its connection is of no further use.
pub fn parse_response(
    buf: &[u8],
    limits: &Limits,
    request: MethodKind,
    head: &mut ResponseHead,
) -> Result<Parsed, Malformed> {
    parse(buf, limits, request, head).map_err(Malformed::garbled)
}

fn parse(
    buf: &[u8],
    limits: &Limits,
    request: MethodKind,
    head: &mut ResponseHead,
) -> Result<Parsed, Malformed> {
    let window = Window::new(buf, 0, limits);
    let scan = match status_line(window.buf, head)? {
        Some(fields_start) => fields::scan(window, fields_start, limits, &mut head.fields)?,
        None => Scan::Incomplete,
    };
    match scan {
        Scan::End(len) => {
            head.interpret(buf, request)?;
            Ok(Parsed::Complete { len })
        }
        Scan::Incomplete if window.full => Err(Malformed::bad("head_too_large")),
        Scan::Incomplete => Ok(Parsed::Incomplete),
    }
}

/// `HTTP-version SP status-code SP [ reason-phrase ] CRLF`. The second space is
/// missing in so many answers without a reason that it may.
fn status_line(buf: &[u8], head: &mut ResponseHead) -> Result<Option<usize>, Malformed> {
    const FIXED: &[u8] = b"HTTP/1.v ddd";
    for (&byte, &expected) in buf.iter().zip(FIXED) {
        let fits = match expected {
            b'v' => matches!(byte, b'0' | b'1'),
            b'd' => byte.is_ascii_digit(),
            _ => byte == expected,
        };
        if !fits {
            return Err(Malformed::bad("status_line"));
        }
    }
    if buf.len() < FIXED.len() {
        return Ok(None);
    }
    head.version = if buf[7] == b'0' { Version::Http10 } else { Version::Http11 };
    head.status = buf[9..12].iter().fold(0, |sum, &digit| sum * 10 + u16::from(digit - b'0'));
    if head.status < 100 {
        return Err(Malformed::bad("status"));
    }
    let end = memchr::memchr(b'\n', &buf[FIXED.len()..]).map(|at| FIXED.len() + at);
    let line = &buf[FIXED.len()..end.unwrap_or(buf.len())];
    // While the line is not complete, a last CR may still be followed by LF.
    let reason = line.strip_suffix(b"\r").unwrap_or(line);
    if !matches!(reason, [] | [b' ', ..]) || !reason.iter().all(|&byte| is_text(byte)) {
        return Err(Malformed::bad("status_line"));
    }
    if end.is_some() && reason.len() == line.len() {
        return Err(Malformed::bad("bare_lf"));
    }
    let start = FIXED.len() + usize::from(!reason.is_empty());
    head.reason = Span::new(start, FIXED.len() + reason.len());
    Ok(end.map(|end| end + 1))
}

/// `HTAB / SP / VCHAR / obs-text`
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

impl ResponseHead {
    /// RFC 9112 6.3, in its order. Framing fields are checked also where they do
    /// not count: the next reader might count them.
    fn interpret(&mut self, buf: &[u8], request: MethodKind) -> Result<(), Malformed> {
        // RFC 9110 7.8, 9.3.6.
        self.tunnel = self.status == 101
            || (request == MethodKind::Connect && matches!(self.status, 200..=299));
        let framing = framing::framing(buf, &self.fields, self.version)?;
        let connection = framing::connection(buf, &mut self.fields)?;
        self.body = match framing {
            _ if self.has_no_body(request) => BodyKind::None,
            Framing::Chunked => BodyKind::Chunked,
            Framing::Length(length) => BodyKind::Length(length),
            Framing::Absent => BodyKind::UntilClose,
        };
        self.keep_alive = framing::persists(self.version, connection)
            && self.body != BodyKind::UntilClose
            && !self.tunnel;
        Ok(())
    }

    fn has_no_body(&self, request: MethodKind) -> bool {
        request == MethodKind::Head || self.is_bare() || self.status == 304
    }

    /// The status code, 100 to 999.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase, as received.
    #[must_use]
    pub fn reason<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.reason.of(buf)
    }

    /// The version the upstream speaks.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// All fields as received, in order.
    #[must_use]
    pub fn fields<'a>(&'a self, buf: &'a [u8]) -> Fields<'a> {
        Fields { buf, fields: self.fields.iter() }
    }

    /// The same, as places and with what the codec knows about them.
    #[must_use]
    pub fn field_places(&self) -> &[Field] {
        &self.fields
    }

    /// How the body is delimited.
    #[must_use]
    pub fn body(&self) -> BodyKind {
        self.body
    }

    /// Whether the upstream's connection can be used again after this answer.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// 1xx but 101: the final answer is still to come (RFC 9110 15.2).
    #[must_use]
    pub fn is_interim(&self) -> bool {
        matches!(self.status, 100 | 102..=199)
    }

    /// Whether the connection is a tunnel from here on (RFC 9110 7.8, 9.3.6). A
    /// 101 nobody asked for is for the caller to refuse.
    #[must_use]
    pub fn is_tunnel(&self) -> bool {
        self.tunnel
    }

    /// Whether the chunk framing has to be taken off, because the client would
    /// not understand it (RFC 9112 6.1).
    #[must_use]
    pub fn must_dechunk(&self, client: Version) -> bool {
        client == Version::Http10 && self.body == BodyKind::Chunked
    }

    /// Never has a body nor the fields that frame one (RFC 9112 6.1, 6.3).
    pub(crate) fn is_bare(&self) -> bool {
        matches!(self.status, 100..=199 | 204) || self.tunnel
    }
}
