//! Heads on their way to the next hop (RFC 9110 7.6, RFC 9112 3.2, 6.1, 9.6):
//! the received bytes, in their order and case, less the fields of the
//! connection they came on, plus what an intermediary adds.

use super::{BodyKind, Field, FieldKind, Form, RequestHead, ResponseHead, Span, Version};

/// What a request gets on its way. Values are written as they are; they must be
/// valid field values.
#[derive(Debug, Clone, Copy, Default)]
pub struct ForwardChanges<'a> {
    /// The client's address, appended to X-Forwarded-For.
    pub forwarded_for: Option<&'a [u8]>,
    /// `http` or `https`, as the client used it: X-Forwarded-Proto, unless a
    /// hop before has said it.
    pub forwarded_proto: Option<&'a [u8]>,
    /// Our name in a Via field behind all others (RFC 9110 7.6.3).
    pub via: Option<&'a [u8]>,
    /// Host of an HTTP/1.0 request that has none, which HTTP/1.1 requires: the
    /// upstream's authority (RFC 9112 3.3: the server's fixed name).
    pub default_host: &'a [u8],
}

/// How an answer goes to a client.
#[derive(Debug, Clone, Copy)]
pub struct ResponseChanges {
    /// What the client speaks.
    pub client: Version,
    /// Whether its connection may go on after this answer, as far as the request
    /// and the agent are concerned.
    pub keep_alive: bool,
}

/// Writes the head of a request for an HTTP/1.1 upstream behind what is in
/// `out`. The body follows in the framing it came with.
pub fn write_request_head(
    out: &mut Vec<u8>,
    buf: &[u8],
    head: &RequestHead,
    changes: &ForwardChanges<'_>,
) {
    request_line(out, buf, head);
    if head.host.is_none() {
        let host = match head.form() {
            Form::Absolute | Form::Authority => head.target.authority.of(buf),
            Form::Origin | Form::Asterisk => changes.default_host,
        };
        line(out, b"Host", host);
    }
    let seen = Seen::in_fields(&head.fields);
    let mut lines = Lines::new(buf, &head.fields);
    for (index, field) in head.fields.iter().enumerate() {
        match field.kind {
            FieldKind::Host if head.form() == Form::Absolute => {
                lines.replace(out, field, head.target.authority);
            }
            FieldKind::Te if head.te_trailers && seen.te == Some(index) => {
                lines.skip(out, field);
                out.extend_from_slice(b"TE: trailers\r\n");
            }
            FieldKind::TransferEncoding => chunked(&mut lines, out, field),
            FieldKind::XForwardedFor if seen.forwarded_for == Some(index) => {
                if let Some(client) = changes.forwarded_for {
                    lines.extend(out, field, client);
                }
            }
            FieldKind::Upgrade if head.upgrade() => {}
            // RFC 9110 10.1.1: an HTTP/1.0 client cannot get the 100.
            FieldKind::Expect if head.version == Version::Http10 => lines.skip(out, field),
            _ if field.hop => lines.skip(out, field),
            _ => {}
        }
    }
    lines.finish(out);
    connection(out, head);
    added(out, head, changes, &seen);
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of an answer for the client behind what is in `out`, an
/// interim one as well. Whether the client's connection goes on after the answer
/// is what it returns.
///
/// When `ResponseHead::must_dechunk`, only the data of the body is to be sent,
/// and its end is the end of the connection.
pub fn write_response_head(
    out: &mut Vec<u8>,
    buf: &[u8],
    head: &ResponseHead,
    changes: &ResponseChanges,
) -> bool {
    status_line(out, buf, head);
    // RFC 9112 6.1, 6.2: neither field in 1xx, 204 and tunnels; no coding
    // towards HTTP/1.0.
    let bare = head.is_bare();
    let old = changes.client == Version::Http10;
    let mut upgrade = false;
    let mut lines = Lines::new(buf, &head.fields);
    for field in &head.fields {
        match field.kind {
            FieldKind::ContentLength if bare => lines.skip(out, field),
            FieldKind::TransferEncoding if bare || old => lines.skip(out, field),
            FieldKind::TransferEncoding => chunked(&mut lines, out, field),
            FieldKind::Trailer if old => lines.skip(out, field),
            // RFC 9110 15.2.2, 15.5.22: these two need it.
            FieldKind::Upgrade if matches!(head.status, 101 | 426) => upgrade = true,
            _ if field.hop => lines.skip(out, field),
            _ => {}
        }
    }
    lines.finish(out);
    let persists = changes.keep_alive
        && !head.is_tunnel()
        && head.body() != BodyKind::UntilClose
        && !head.must_dechunk(changes.client);
    if upgrade {
        line(out, b"Connection", b"upgrade");
    }
    if head.is_interim() || head.is_tunnel() {
        // Says nothing about the connection.
    } else if !persists {
        line(out, b"Connection", b"close");
    } else if old {
        line(out, b"Connection", b"keep-alive");
    }
    out.extend_from_slice(b"\r\n");
    persists
}

/// RFC 9112 3.2.1: origin-form to the server, also from absolute-form; 3.2.4:
/// OPTIONS without path becomes `*`.
fn request_line(out: &mut Vec<u8>, buf: &[u8], head: &RequestHead) {
    out.extend_from_slice(head.method.of(buf));
    out.push(b' ');
    if head.form() == Form::Absolute {
        let target = &head.target;
        if target.path.is_empty() {
            let options = head.method.of(buf) == b"OPTIONS" && target.query.is_none();
            out.push(if options { b'*' } else { b'/' });
        }
        out.extend_from_slice(target.path.of(buf));
        if let Some(query) = target.query {
            out.push(b'?');
            out.extend_from_slice(query.of(buf));
        }
    } else {
        out.extend_from_slice(head.raw_target.of(buf));
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// RFC 9112 2.3: the version is that of this hop. The reason is as received.
fn status_line(out: &mut Vec<u8>, buf: &[u8], head: &ResponseHead) {
    out.extend_from_slice(b"HTTP/1.1 ");
    for place in [100, 10, 1] {
        out.push(b'0' + (head.status / place % 10) as u8);
    }
    out.push(b' ');
    out.extend_from_slice(head.reason.of(buf));
    out.extend_from_slice(b"\r\n");
}

/// A coding in other letters than these might not be understood further on, and
/// the body be taken for another request.
fn chunked(lines: &mut Lines<'_>, out: &mut Vec<u8>, field: &Field) {
    if field.value.of(lines.buf) != b"chunked" {
        lines.skip(out, field);
        line(out, field.name.of(lines.buf), b"chunked");
    }
}

/// The options of our own connection (RFC 9110 7.8, 10.1.4). An HTTP/1.1
/// connection goes on without saying so.
fn connection(out: &mut Vec<u8>, head: &RequestHead) {
    let options: &[u8] = match (head.upgrade(), head.te_trailers) {
        (false, false) => return,
        (true, false) => b"upgrade",
        (false, true) => b"TE",
        (true, true) => b"upgrade, TE",
    };
    line(out, b"Connection", options);
}

fn added(out: &mut Vec<u8>, head: &RequestHead, changes: &ForwardChanges<'_>, seen: &Seen) {
    if let (Some(client), None) = (changes.forwarded_for, seen.forwarded_for) {
        line(out, b"X-Forwarded-For", client);
    }
    if let (Some(proto), false) = (changes.forwarded_proto, seen.forwarded_proto) {
        line(out, b"X-Forwarded-Proto", proto);
    }
    if let Some(via) = changes.via {
        out.extend_from_slice(match head.version {
            Version::Http10 => b"Via: 1.0 ",
            Version::Http11 => b"Via: 1.1 ",
        });
        out.extend_from_slice(via);
        out.extend_from_slice(b"\r\n");
    }
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Which fields are there that get something added: the last of their kind.
#[derive(Default)]
struct Seen {
    forwarded_for: Option<usize>,
    forwarded_proto: bool,
    te: Option<usize>,
}

impl Seen {
    fn in_fields(fields: &[Field]) -> Self {
        let mut seen = Self::default();
        for (index, field) in fields.iter().enumerate() {
            match field.kind {
                FieldKind::XForwardedFor => seen.forwarded_for = Some(index),
                FieldKind::XForwardedProto => seen.forwarded_proto = true,
                FieldKind::Te => seen.te = Some(index),
                _ => {}
            }
        }
        seen
    }
}

/// Copies field lines as received, in as few pieces as the changes allow.
struct Lines<'a> {
    buf: &'a [u8],
    /// What lies between here and the field at hand is still to be copied.
    from: usize,
    end: usize,
}

impl<'a> Lines<'a> {
    fn new(buf: &'a [u8], fields: &[Field]) -> Self {
        Self {
            buf,
            from: fields.first().map_or(0, |field| field.name.start as usize),
            end: fields.last().map_or(0, |field| field.end as usize),
        }
    }

    /// Leaves the field's line out.
    fn skip(&mut self, out: &mut Vec<u8>, field: &Field) {
        out.extend_from_slice(&self.buf[self.from..field.name.start as usize]);
        self.from = field.end as usize;
    }

    /// Keeps the name.
    fn replace(&mut self, out: &mut Vec<u8>, field: &Field, value: Span) {
        self.skip(out, field);
        line(out, field.name.of(self.buf), value.of(self.buf));
    }

    /// Adds an element to a list.
    fn extend(&mut self, out: &mut Vec<u8>, field: &Field, element: &[u8]) {
        if field.value.is_empty() {
            self.skip(out, field);
            line(out, field.name.of(self.buf), element);
            return;
        }
        out.extend_from_slice(&self.buf[self.from..field.value.end as usize]);
        out.extend_from_slice(b", ");
        out.extend_from_slice(element);
        out.extend_from_slice(b"\r\n");
        self.from = field.end as usize;
    }

    fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.buf[self.from..self.end]);
    }
}
