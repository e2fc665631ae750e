//! Request heads (RFC 9112 3): the request line, what Host has to be, and what
//! the head says about body and connection.

use umbra_record::authority::{SUFFIX, strip_suffix};

use super::{
    BodyKind, Field, FieldKind, Fields, Form, Limits, Malformed, PROBE, Parsed, Span, Version,
    Window,
    fields::{self, Scan},
    framing::{self, Framing},
    is_target_byte, is_token_byte,
    target::{self, Target},
};

/// A parsed request head: places in the buffer it was parsed from, which each
/// accessor is given again. Keep one per connection and parse into it again and
/// again; it allocates only when a head has more fields than any before.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    pub(crate) method: Span,
    pub(crate) raw_target: Span,
    pub(crate) target: Target,
    pub(crate) version: Version,
    pub(crate) fields: Vec<Field>,
    pub(crate) host: Option<Span>,
    pub(crate) te_trailers: bool,
    /// A mesh appends `-shadow` to any Host, also where that makes it invalid
    /// (`[::1]-shadow`): what counts is the Host without it.
    pub(crate) tolerates_suffix: bool,
    body: BodyKind,
    method_kind: MethodKind,
    idempotent: bool,
    keep_alive: bool,
    expect_continue: bool,
    upgrade: bool,
}

/// Methods that change how the answer is read (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MethodKind {
    /// Its answer has no body.
    Head,
    /// A 2xx answer turns the connection into a tunnel.
    Connect,
    /// Any other.
    #[default]
    Other,
}

/// Empty lines tolerated before a request line. RFC 9112 2.2 asks for at least
/// one, which old clients send after a body.
pub(crate) const MAX_EMPTY_LINES: usize = 4;

/// RFC 9112 3: a method longer than any that is known is not implemented.
pub(crate) const MAX_METHOD: usize = 64;

/// Parses the head at the start of `buf`. On `Incomplete` call again with more
/// bytes behind the same ones; each call starts afresh, so `head` may be shared
/// by connections. The verdict does not depend on how the bytes were split.
///
/// # Errors
/// The request is refused; `head` is not to be used.
pub fn parse_request(
    buf: &[u8],
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Parsed, Malformed> {
    let Some(start) = skip_empty_lines(buf)? else {
        return Ok(Parsed::Incomplete);
    };
    let window = Window::new(buf, start, limits);
    let scan = match request_line(window, head)? {
        Some(fields_start) => fields::scan(window, fields_start, limits, &mut head.fields)?,
        None => Scan::Incomplete,
    };
    match scan {
        Scan::End(len) => {
            head.interpret(buf)?;
            Ok(Parsed::Complete { len })
        }
        Scan::Incomplete if window.full => Err(too_large(window)),
        Scan::Incomplete => Ok(Parsed::Incomplete),
    }
}

/// RFC 9112 2.2. Nothing while there are only empty lines.
fn skip_empty_lines(buf: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut start = 0;
    loop {
        match &buf[start..] {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] if start == 2 * MAX_EMPTY_LINES => {
                return Err(Malformed::bad("empty_lines"));
            }
            [b'\r', b'\n', ..] => start += 2,
            [b'\r', ..] => return Err(Malformed::bad("bare_cr")),
            [b'\n', ..] => return Err(Malformed::bad("bare_lf")),
            _ => return Ok(Some(start)),
        }
    }
}

/// RFC 9112 3: a request line that alone is too long has a long target (414).
fn too_large(window: Window<'_>) -> Malformed {
    if memchr::memchr(b'\n', &window.buf[window.start..]).is_some() {
        Malformed::with(431, "head_too_large")
    } else {
        Malformed::with(414, "target_too_long")
    }
}

/// `method SP request-target SP HTTP-version CRLF`, with exactly these spaces.
/// Gives where the fields begin.
fn request_line(
    Window { buf, start, full }: Window<'_>,
    head: &mut RequestHead,
) -> Result<Option<usize>, Malformed> {
    let line = &buf[start..];
    let method_len = match line.iter().take(MAX_METHOD + 1).position(|&byte| !is_token_byte(byte)) {
        Some(0) => return Err(Malformed::bad("request_line")),
        Some(length) if line[length] == b' ' => length,
        Some(length) => return Err(Malformed::bad(line_break(line[length], "method"))),
        None if line.len() > MAX_METHOD => return Err(Malformed::with(501, "method_too_long")),
        None => return Ok(None),
    };
    let target_start = start + method_len + 1;
    let mut rest = &buf[target_start..];
    if !full && rest.len() > PROBE && memchr::memchr3(b' ', b'\r', b'\n', rest).is_none() {
        rest = &rest[..PROBE];
    }
    let Some(target_len) = rest.iter().position(|&byte| !is_target_byte(byte)) else {
        return Ok(None);
    };
    let target_end = target_start + target_len;
    match rest[target_len] {
        b' ' if target_len > 0 => {}
        b' ' | b'\r' | b'\n' => return Err(Malformed::bad("request_line")),
        b'#' => return Err(Malformed::bad("target_fragment")),
        _ => return Err(Malformed::bad("target")),
    }
    let Some((version, fields_start)) = version(buf, target_end + 1)? else {
        return Ok(None);
    };
    head.method = Span::new(start, start + method_len);
    head.raw_target = Span::new(target_start, target_end);
    head.version = version;
    head.target = target::parse(buf, head.raw_target, head.method.of(buf))?;
    Ok(Some(fields_start))
}

/// `HTTP-version CRLF` (RFC 9112 2.3). HTTP/1.x above 1.1 does not exist; it is
/// refused like other versions this hop does not speak (505).
fn version(buf: &[u8], at: usize) -> Result<Option<(Version, usize)>, Malformed> {
    const LENGTH: usize = b"HTTP/1.1".len();
    let rest = &buf[at..];
    for (&byte, &expected) in rest.iter().zip(b"HTTP/d.d\r\n") {
        let fits = match expected {
            b'd' => byte.is_ascii_digit(),
            _ => byte == expected,
        };
        if !fits {
            return Err(Malformed::bad(line_break(byte, "request_line")));
        }
    }
    if rest.len() < LENGTH + 2 {
        return Ok(None);
    }
    let version = match &rest[..LENGTH] {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(Malformed::with(505, "version")),
    };
    Ok(Some((version, at + LENGTH + 2)))
}

fn line_break(byte: u8, otherwise: &'static str) -> &'static str {
    if byte == b'\n' { "bare_lf" } else { otherwise }
}

impl RequestHead {
    /// What the fields say, once all are there.
    fn interpret(&mut self, buf: &[u8]) -> Result<(), Malformed> {
        let framing = framing::framing(buf, &self.fields, self.version)?;
        self.body = match framing {
            Framing::Absent => BodyKind::None,
            Framing::Length(length) => BodyKind::Length(length),
            Framing::Chunked => BodyKind::Chunked,
        };
        self.host = self.check_host(buf)?;
        let connection = framing::connection(buf, &mut self.fields)?;
        self.keep_alive = framing::persists(self.version, connection);
        let method = self.method.of(buf);
        self.method_kind = match method {
            b"HEAD" => MethodKind::Head,
            b"CONNECT" => MethodKind::Connect,
            _ => MethodKind::Other,
        };
        self.idempotent =
            matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE");
        // RFC 9110 7.8 and 10.1.1: both are ignored in HTTP/1.0.
        let modern = self.version == Version::Http11;
        self.upgrade = modern && connection.upgrade && self.wants_tunnel(buf);
        self.expect_continue = modern
            && framing::elements(buf, &self.fields, FieldKind::Expect)
                .any(|element| element.eq_ignore_ascii_case(b"100-continue"));
        self.te_trailers = modern
            && framing::elements(buf, &self.fields, FieldKind::Te)
                .any(|element| element.eq_ignore_ascii_case(b"trailers"));
        Ok(())
    }

    /// RFC 9112 3.2: HTTP/1.1 has exactly one Host, and a valid one. It may
    /// differ from an absolute-form target, which then wins (3.2.2).
    fn check_host(&self, buf: &[u8]) -> Result<Option<Span>, Malformed> {
        let host = framing::only(&self.fields, FieldKind::Host, "host_repeated")?;
        match host {
            Some(host) if !self.is_valid_host(host.of(buf)) => Err(Malformed::bad("host")),
            None if self.version == Version::Http11 => Err(Malformed::bad("host_missing")),
            host => Ok(host),
        }
    }

    fn is_valid_host(&self, host: &[u8]) -> bool {
        target::is_valid_host(host)
            || self.tolerates_suffix
                && strip_suffix(host, SUFFIX).is_some_and(|host| target::is_valid_host(&host))
    }

    /// Whether the upgrade asked for turns the connection into a tunnel. One to
    /// another version of HTTP is ignored, as RFC 9110 7.8 permits: in a tunnel
    /// its requests would pass unseen and unchecked.
    fn wants_tunnel(&self, buf: &[u8]) -> bool {
        let mut protocols = framing::elements(buf, &self.fields, FieldKind::Upgrade).peekable();
        protocols.peek().is_some()
            && !protocols.any(|protocol| {
                let name = protocol.split(|&byte| byte == b'/').next().unwrap_or_default();
                [&b"h2c"[..], b"h2", b"http"].iter().any(|http| name.eq_ignore_ascii_case(http))
            })
    }

    /// The method, as received. Methods are case-sensitive (RFC 9110 9.1).
    #[must_use]
    pub fn method<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.method.of(buf)
    }

    /// How the method changes the reading of the answer.
    #[must_use]
    pub fn method_kind(&self) -> MethodKind {
        self.method_kind
    }

    /// Whether sending it twice is the same as sending it once (RFC 9110 9.2.2).
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// The request target, as received.
    #[must_use]
    pub fn target<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.raw_target.of(buf)
    }

    /// Form of the target.
    #[must_use]
    pub fn form(&self) -> Form {
        self.target.form
    }

    /// Scheme of an absolute-form target.
    #[must_use]
    pub fn scheme<'a>(&self, buf: &'a [u8]) -> Option<&'a [u8]> {
        (self.form() == Form::Absolute).then(|| self.target.scheme.of(buf))
    }

    /// Where the request goes: the target's authority, else Host (RFC 9112
    /// 3.3). None for an HTTP/1.0 request that does not say; may be empty.
    #[must_use]
    pub fn authority<'a>(&self, buf: &'a [u8]) -> Option<&'a [u8]> {
        match self.form() {
            Form::Absolute | Form::Authority => Some(self.target.authority.of(buf)),
            Form::Origin | Form::Asterisk => self.host(buf),
        }
    }

    /// The Host field.
    #[must_use]
    pub fn host<'a>(&self, buf: &'a [u8]) -> Option<&'a [u8]> {
        self.host.map(|host| host.of(buf))
    }

    /// The path as received: `*` in asterisk-form, empty for CONNECT and for an
    /// absolute-form target without one.
    #[must_use]
    pub fn path<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.target.path.of(buf)
    }

    /// The query as received, without the `?`. None: there was no `?`.
    #[must_use]
    pub fn query<'a>(&self, buf: &'a [u8]) -> Option<&'a [u8]> {
        self.target.query.map(|query| query.of(buf))
    }

    /// The version the client speaks.
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

    /// How the body is delimited; never `UntilClose`.
    #[must_use]
    pub fn body(&self) -> BodyKind {
        self.body
    }

    /// Whether the client wants the connection to go on (RFC 9112 9.3).
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the client may wait for a 100 before it sends the body (RFC 9110
    /// 10.1.1).
    #[must_use]
    pub fn expect_continue(&self) -> bool {
        self.expect_continue
    }

    /// Whether it asks to leave HTTP (RFC 9110 7.8): it is forwarded with its
    /// Upgrade field, and a 101 makes the connection a tunnel.
    #[must_use]
    pub fn upgrade(&self) -> bool {
        self.upgrade
    }

    /// CONNECT (RFC 9110 9.3.6).
    #[must_use]
    pub fn is_connect(&self) -> bool {
        self.method_kind == MethodKind::Connect
    }

    /// Whether the client takes trailers (RFC 9110 10.1.4).
    #[must_use]
    pub fn takes_trailers(&self) -> bool {
        self.te_trailers
    }
}
