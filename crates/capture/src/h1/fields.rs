//! Field lines (RFC 9112 5, RFC 9110 5) as places in the buffer they came in.
//! Checks their syntax; what fields mean is for others.

use super::{Limits, Malformed, PROBE, Span, Window, is_token_byte};

/// A field line. Its bytes are in the buffer it was parsed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    pub(crate) name: Span,
    /// Without whitespace around it.
    pub(crate) value: Span,
    /// Behind its CRLF.
    pub(crate) end: u32,
    pub(crate) kind: FieldKind,
    /// Belongs to this connection: itself one of the known ones, or named by
    /// the Connection field (RFC 9110 7.6.1).
    pub(crate) hop: bool,
}

/// Fields the codec itself has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// Connection
    Connection,
    /// Content-Length
    ContentLength,
    /// Expect
    Expect,
    /// Host
    Host,
    /// Keep-Alive
    KeepAlive,
    /// Proxy-Connection
    ProxyConnection,
    /// TE
    Te,
    /// Trailer
    Trailer,
    /// Transfer-Encoding
    TransferEncoding,
    /// Upgrade
    Upgrade,
    /// Via
    Via,
    /// X-Forwarded-For
    XForwardedFor,
    /// X-Forwarded-Proto
    XForwardedProto,
    /// Any other
    Other,
}

/// The fields of a head or trailer section in order: name and value as received,
/// the value without whitespace around it.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    pub(crate) buf: &'a [u8],
    pub(crate) fields: std::slice::Iter<'a, Field>,
}

/// What `scan` found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    Incomplete,
    /// The empty line ends here.
    End(usize),
}

/// How many fields fit on the stack at the first attempt, and at the second.
const FEW: usize = 32;
const MANY: usize = 128;

/// Reads field lines from `start` to the empty line that ends them.
pub(crate) fn scan(
    window: Window<'_>,
    start: usize,
    limits: &Limits,
    fields: &mut Vec<Field>,
) -> Result<Scan, Malformed> {
    let Window { mut buf, full, .. } = window;
    let probe = start + PROBE;
    if !full && buf.len() > probe && !holds_end(&buf[start..]) {
        buf = &buf[..probe];
    }
    fields.clear();
    let max = limits.max_headers;
    let few = &mut [httparse::EMPTY_HEADER; FEW][..max.min(FEW)];
    let mut result = scan_into(buf, start, few, fields);
    if result == Err(httparse::Error::TooManyHeaders) && max > FEW {
        result = if max <= MANY {
            scan_into(buf, start, &mut [httparse::EMPTY_HEADER; MANY][..max], fields)
        } else {
            scan_into(buf, start, &mut vec![httparse::EMPTY_HEADER; max], fields)
        };
    }
    result.unwrap_or_else(|error| Err(fault(error, &buf[start..])))
}

/// Whether an empty line is in `buf`, however its lines end.
fn holds_end(buf: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', buf)
        .any(|at| matches!(&buf[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

fn scan_into<'b>(
    buf: &'b [u8],
    start: usize,
    array: &mut [httparse::Header<'b>],
    fields: &mut Vec<Field>,
) -> Result<Result<Scan, Malformed>, httparse::Error> {
    match httparse::parse_headers(&buf[start..], array)? {
        httparse::Status::Partial => Ok(Ok(Scan::Incomplete)),
        httparse::Status::Complete((len, found)) => {
            Ok(locate(buf, start + len, start, found, fields).map(|()| Scan::End(start + len)))
        }
    }
}

/// Turns borrowed fields into places. RFC 9112 2.2: a line ends with CRLF; the
/// parser lets a bare LF pass, so each line's end is looked at here.
fn locate(
    buf: &[u8],
    end: usize,
    start: usize,
    found: &[httparse::Header<'_>],
    fields: &mut Vec<Field>,
) -> Result<(), Malformed> {
    const BARE_LF: Malformed = Malformed::bad("bare_lf");
    let base = buf.as_ptr().addr();
    if !buf[start..end].ends_with(b"\r\n") {
        return Err(BARE_LF);
    }
    for (index, header) in found.iter().enumerate() {
        let name = header.name.as_ptr().addr() - base;
        let value = header.value.as_ptr().addr() - base;
        let line_end = match found.get(index + 1) {
            Some(next) => next.name.as_ptr().addr() - base,
            None => end - 2,
        };
        if !buf[..line_end].ends_with(b"\r\n") {
            return Err(BARE_LF);
        }
        let kind = FieldKind::of(header.name.as_bytes());
        fields.push(Field {
            name: Span::new(name, name + header.name.len()),
            value: Span::new(value, value + header.value.len()),
            end: line_end as u32,
            kind,
            hop: kind.is_hop_by_hop(),
        });
    }
    Ok(())
}

/// Says what the parser did not like. Only for refused messages, so it may take
/// its time.
fn fault(error: httparse::Error, block: &[u8]) -> Malformed {
    if error == httparse::Error::TooManyHeaders {
        return Malformed::with(431, "too_many_fields");
    }
    let reason = block.split_inclusive(|&byte| byte == b'\n').find_map(line_fault);
    Malformed::bad(reason.unwrap_or("field_value"))
}

/// What is wrong with a line, or with what there is of it: the first byte that
/// does not fit decides, so that the reason does not depend on what follows.
fn line_fault(line: &[u8]) -> Option<&'static str> {
    let name = line.iter().position(|&byte| !is_token_byte(byte))?;
    match line[name] {
        b' ' | b'\t' if name == 0 => return Some("obs_fold"),
        b'\r' if name == 0 && matches!(line, b"\r" | b"\r\n") => return None,
        b' ' | b'\t' => return Some("space_before_colon"),
        b'\r' if name == 0 => return Some("bare_cr"),
        b':' if name > 0 => {}
        _ => return Some("field_name"),
    }
    let value = &line[name + 1..];
    let at = value.iter().position(|&byte| byte == 0x7f || (byte < b' ' && byte != b'\t'))?;
    match &value[at..] {
        b"\r" | b"\r\n" => None,
        b"\n" => Some("bare_lf"),
        [b'\r', ..] => Some("bare_cr"),
        _ => Some("field_value"),
    }
}

impl Field {
    /// Its name, as received.
    #[must_use]
    pub fn name<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.name.of(buf)
    }

    /// Its value, without whitespace around it.
    #[must_use]
    pub fn value<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.value.of(buf)
    }

    /// Which it is, if the codec has to know it.
    #[must_use]
    pub fn kind(&self) -> FieldKind {
        self.kind
    }
}

impl FieldKind {
    /// Field names are case-insensitive (RFC 9110 5.1).
    pub(crate) fn of(name: &[u8]) -> Self {
        let (known, kind): (&[u8], Self) = match (name.len(), name[0] | 0x20) {
            (2, _) => (b"te", Self::Te),
            (3, _) => (b"via", Self::Via),
            (4, _) => (b"host", Self::Host),
            (6, b'e') => (b"expect", Self::Expect),
            (7, b'u') => (b"upgrade", Self::Upgrade),
            (7, b't') => (b"trailer", Self::Trailer),
            (10, b'c') => (b"connection", Self::Connection),
            (10, b'k') => (b"keep-alive", Self::KeepAlive),
            (14, b'c') => (b"content-length", Self::ContentLength),
            (15, b'x') => (b"x-forwarded-for", Self::XForwardedFor),
            (16, b'p') => (b"proxy-connection", Self::ProxyConnection),
            (17, b't') => (b"transfer-encoding", Self::TransferEncoding),
            (17, b'x') => (b"x-forwarded-proto", Self::XForwardedProto),
            _ => return Self::Other,
        };
        if name.eq_ignore_ascii_case(known) { kind } else { Self::Other }
    }

    /// RFC 9110 7.6.1: to be removed also when Connection does not name them.
    /// Transfer-Encoding is one too, but goes with the body's framing.
    pub(crate) fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection | Self::KeepAlive | Self::ProxyConnection | Self::Te | Self::Upgrade
        )
    }

    /// Meant for everybody on the way: a Connection field that names them would
    /// change the framing, the target or the trace of the request, so it is not
    /// obeyed (RFC 9110 7.6.1 forbids sending that).
    pub(crate) fn is_protected(self) -> bool {
        matches!(
            self,
            Self::ContentLength
                | Self::Host
                | Self::TransferEncoding
                | Self::Via
                | Self::XForwardedFor
                | Self::XForwardedProto
        )
    }

    /// RFC 9110 6.5.1: must not be in trailers, where a recipient that merges
    /// them into the head would act on them.
    pub(crate) fn is_forbidden_in_trailers(self) -> bool {
        self.is_hop_by_hop()
            || matches!(
                self,
                Self::ContentLength
                    | Self::Expect
                    | Self::Host
                    | Self::Trailer
                    | Self::TransferEncoding
            )
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.fields.next()?;
        Some((field.name(self.buf), field.value(self.buf)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.fields.size_hint()
    }
}

impl ExactSizeIterator for Fields<'_> {}
