//! Request targets (RFC 9112 3.2) and what they and Host may look like
//! (RFC 9110 4.2, 7.2; RFC 3986 3.2).

use std::net::Ipv6Addr;

use super::{Malformed, Span, is_host_byte};

/// Form of a request target (RFC 9112 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `CONNECT host:port`
    Authority,
    /// `OPTIONS *`
    Asterisk,
}

/// A target, taken apart. Spans that do not apply are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Target {
    pub(crate) form: Form,
    pub(crate) scheme: Span,
    pub(crate) authority: Span,
    pub(crate) path: Span,
    /// Without the `?`.
    pub(crate) query: Option<Span>,
}

/// Takes the target at `at` apart, whose bytes have been checked one by one.
pub(crate) fn parse(buf: &[u8], at: Span, method: &[u8]) -> Result<Target, Malformed> {
    let raw = at.of(buf);
    if method == b"CONNECT" {
        return authority_form(raw, at);
    }
    match raw {
        [b'/', ..] => Ok(with_path(Target::default(), raw, at, 0)),
        b"*" if method == b"OPTIONS" => {
            Ok(Target { form: Form::Asterisk, path: at, ..Target::default() })
        }
        _ => absolute_form(raw, at),
    }
}

/// RFC 9112 3.2.3: host and port, nothing else, only with CONNECT.
fn authority_form(raw: &[u8], at: Span) -> Result<Target, Malformed> {
    match split_port(raw) {
        Some((host, Some([_, ..]))) if !host.is_empty() => {
            Ok(Target { form: Form::Authority, authority: at, ..Target::default() })
        }
        _ => Err(Malformed::bad("target")),
    }
}

/// RFC 9112 3.2.2. Only what this hop could be asked for: http and https.
/// RFC 9110 4.2.1: an empty host is invalid; 4.2.4: user information is an error.
fn absolute_form(raw: &[u8], at: Span) -> Result<Target, Malformed> {
    let scheme = match raw.iter().position(|&byte| byte == b':') {
        Some(colon) if raw[..colon].eq_ignore_ascii_case(b"http") => colon,
        Some(colon) if raw[..colon].eq_ignore_ascii_case(b"https") => colon,
        _ => return Err(Malformed::bad("target")),
    };
    let Some(rest) = raw[scheme..].strip_prefix(b"://") else {
        return Err(Malformed::bad("target"));
    };
    let start = scheme + 3;
    let length = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
    match split_port(&rest[..length]) {
        Some((host, _)) if !host.is_empty() => {}
        _ => return Err(Malformed::bad("target_authority")),
    }
    let base = at.start as usize;
    let target = Target {
        form: Form::Absolute,
        scheme: Span::new(base, base + scheme),
        authority: Span::new(base + start, base + start + length),
        ..Target::default()
    };
    Ok(with_path(target, raw, at, start + length))
}

fn with_path(target: Target, raw: &[u8], at: Span, from: usize) -> Target {
    let base = at.start as usize;
    let mark = memchr::memchr(b'?', &raw[from..]).map(|mark| from + mark);
    Target {
        path: Span::new(base + from, base + mark.unwrap_or(raw.len())),
        query: mark.map(|mark| Span::new(base + mark + 1, at.end as usize)),
        ..target
    }
}

/// RFC 9112 3.2: a Host whose value is not `uri-host [ ":" port ]` is refused.
/// An empty value is valid: the target has no authority then. A port without a
/// host is not.
pub(crate) fn is_valid_host(value: &[u8]) -> bool {
    match split_port(value) {
        Some((host, port)) => !host.is_empty() || port.is_none(),
        None => false,
    }
}

/// Host and port (RFC 3986 3.2.2, 3.2.3), or nothing if they are not valid. The
/// port may be empty and is not checked for size.
fn split_port(authority: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let host_end = if authority.first() == Some(&b'[') {
        let end = authority.iter().position(|&byte| byte == b']')? + 1;
        is_ip_literal(&authority[1..end - 1]).then_some(end)?
    } else {
        let end = authority.iter().position(|&byte| byte == b':').unwrap_or(authority.len());
        is_reg_name(&authority[..end]).then_some(end)?
    };
    let (host, rest) = authority.split_at(host_end);
    match rest {
        [] => Some((host, None)),
        [b':', port @ ..] if port.iter().all(u8::is_ascii_digit) => Some((host, Some(port))),
        _ => None,
    }
}

/// `IPv6address` or `IPvFuture`.
fn is_ip_literal(inside: &[u8]) -> bool {
    if let [b'v' | b'V', rest @ ..] = inside {
        let Some(dot) = rest.iter().position(|&byte| byte == b'.') else {
            return false;
        };
        let (version, address) = (&rest[..dot], &rest[dot + 1..]);
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && !address.is_empty()
            && address.iter().all(|&byte| byte == b':' || is_host_byte(byte));
    }
    std::str::from_utf8(inside).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// `*( unreserved / pct-encoded / sub-delims )`, which IPv4 addresses are too.
fn is_reg_name(name: &[u8]) -> bool {
    let mut rest = name;
    loop {
        match rest {
            [] => return true,
            [b'%', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest = tail;
            }
            [byte, tail @ ..] if is_host_byte(*byte) => rest = tail,
            _ => return false,
        }
    }
}
