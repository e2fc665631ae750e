//! Where a message's body ends (RFC 9112 6) and whether its connection goes on
//! (9.3), from the fields of its head. Nothing here guesses.

use super::{Field, FieldKind, Malformed, Span, Version, trim_ows};

/// How a body is delimited (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyKind {
    /// There is none: the message ends with its head.
    #[default]
    None,
    /// This many bytes.
    Length(u64),
    /// Chunks, up to the one of size zero and the trailers after it.
    Chunked,
    /// All bytes until the connection closes. Answers only.
    UntilClose,
}

/// What the framing fields say, before method and status are considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Absent,
    Length(u64),
    Chunked,
}

/// What the Connection fields say (RFC 9110 7.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Connection {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
}

/// A Connection field with more options than this is an attack: each is looked
/// for among all fields.
const MAX_OPTIONS: usize = 64;

/// Content-Length and Transfer-Encoding, of which at most one may be there, once
/// (RFC 9112 6.1, 6.2, 6.3; several Content-Length of the same value are refused
/// too, as 6.3 permits).
pub(crate) fn framing(
    buf: &[u8],
    fields: &[Field],
    version: Version,
) -> Result<Framing, Malformed> {
    let mut length = None;
    let mut coding = None;
    for field in fields {
        match field.kind {
            FieldKind::ContentLength if length.replace(field.value).is_some() => {
                return Err(Malformed::bad("content_length_repeated"));
            }
            FieldKind::TransferEncoding if coding.replace(field.value).is_some() => {
                return Err(Malformed::bad("transfer_encoding_repeated"));
            }
            _ => {}
        }
    }
    match (length, coding) {
        (None, None) => Ok(Framing::Absent),
        (Some(_), Some(_)) => Err(Malformed::bad("length_and_transfer_encoding")),
        (Some(length), None) => content_length(length.of(buf)).map(Framing::Length),
        // RFC 9112 6.1: HTTP/1.0 does not know it, its framing is faulty.
        (None, Some(_)) if version == Version::Http10 => {
            Err(Malformed::bad("transfer_encoding_in_http10"))
        }
        (None, Some(coding)) => transfer_encoding(coding.of(buf)).map(|()| Framing::Chunked),
    }
}

/// RFC 9110 8.6: `1*DIGIT`, and no more than a `u64` can say.
pub(crate) fn content_length(value: &[u8]) -> Result<u64, Malformed> {
    const INVALID: Malformed = Malformed::bad("content_length");
    if value.is_empty() {
        return Err(INVALID);
    }
    value.iter().try_fold(0u64, |sum, &byte| {
        if !byte.is_ascii_digit() {
            return Err(INVALID);
        }
        sum.checked_mul(10)
            .and_then(|sum| sum.checked_add(u64::from(byte - b'0')))
            .ok_or(Malformed::bad("content_length_overflow"))
    })
}

/// RFC 9112 6.1: exactly `chunked`. Other codings before it are not implemented
/// (501); anything else makes the length unknown (6.3: 400).
fn transfer_encoding(value: &[u8]) -> Result<(), Malformed> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut codings = value.rsplit(|&byte| byte == b',').map(trim_ows);
    let last = codings.next().unwrap_or_default();
    let chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let known =
        |coding: &[u8]| !coding.is_empty() && coding.iter().all(|&byte| super::is_token_byte(byte));
    if chunked(last) && codings.all(|coding| known(coding) && !chunked(coding)) {
        return Err(Malformed::with(501, "transfer_coding_unknown"));
    }
    Err(Malformed::bad("transfer_encoding"))
}

/// Reads the Connection fields and marks the fields they name as belonging to
/// this connection.
pub(crate) fn connection(buf: &[u8], fields: &mut [Field]) -> Result<Connection, Malformed> {
    let mut found = Connection::default();
    let mut options = 0;
    for index in 0..fields.len() {
        if fields[index].kind != FieldKind::Connection {
            continue;
        }
        for option in fields[index].value.of(buf).split(|&byte| byte == b',') {
            options += 1;
            if options > MAX_OPTIONS {
                return Err(Malformed::bad("connection_options"));
            }
            let option = trim_ows(option);
            if option.eq_ignore_ascii_case(b"close") {
                found.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                found.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                found.upgrade = true;
            } else if !option.is_empty() {
                mark(buf, fields, option);
            }
        }
    }
    Ok(found)
}

fn mark(buf: &[u8], fields: &mut [Field], option: &[u8]) {
    for field in fields {
        if field.name.len() == option.len()
            && !field.kind.is_protected()
            && field.name.of(buf).eq_ignore_ascii_case(option)
        {
            field.hop = true;
        }
    }
}

/// RFC 9112 9.3.
pub(crate) fn persists(version: Version, connection: Connection) -> bool {
    !connection.close && (version == Version::Http11 || connection.keep_alive)
}

/// The elements of a list field (RFC 9110 5.6.1), over all its lines.
pub(crate) fn elements<'a>(
    buf: &'a [u8],
    fields: &'a [Field],
    kind: FieldKind,
) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |field| field.kind == kind)
        .flat_map(move |field| field.value.of(buf).split(|&byte| byte == b','))
        .map(trim_ows)
        .filter(|element| !element.is_empty())
}

/// The only field of this kind; an error if there are several.
pub(crate) fn only(
    fields: &[Field],
    kind: FieldKind,
    repeated: &'static str,
) -> Result<Option<Span>, Malformed> {
    let mut found = fields.iter().filter(|field| field.kind == kind);
    let first = found.next().map(|field| field.value);
    match found.next() {
        Some(_) => Err(Malformed::bad(repeated)),
        None => Ok(first),
    }
}
