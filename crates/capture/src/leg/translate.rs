//! What HTTP/2 and HTTP/1 say of the same message (RFC 9113 8, RFC 9110 7.6). What
//! one of them could take for something else than the other is refused, never
//! repaired: nothing that is written here can be read as two requests, or as another
//! one. Only heads; bodies are framed by who sends them.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};

use umbra_record::marker;

use crate::{
    h1::{
        BodyKind, FieldKind, Limits, MAX_METHOD, Malformed, RequestHead, ResponseHead, Version,
        content_length, is_target_byte, is_valid_host,
    },
    origin::Session,
    record::Http2Request,
};

/// What a field line costs beside its bytes (RFC 9113 6.5.2 counts 32; in HTTP/1 it is
/// a colon, a space and a line end).
const LINE_COST: usize = 4;

/// Whether a request's head is what RFC 9113 8 allows, within the limits, and can be
/// said in HTTP/1 without becoming something else. `end`: no body follows.
pub(crate) fn check(request: &Http2Request, end: bool, limits: &Limits) -> Result<(), Malformed> {
    if request.method == Method::CONNECT {
        return Err(Malformed::with(405, "connect"));
    }
    if request.method.as_str().len() > MAX_METHOD {
        return Err(Malformed::with(501, "method_too_long"));
    }
    check_target(request)?;
    check_authority(request)?;
    check_size(request, limits)?;
    for (name, value) in &request.fields {
        check_field(name, value)?;
    }
    framing(request, end).map(|_| ())
}

/// RFC 9113 8.3.1: a path begins with a slash, or is the `*` of OPTIONS.
fn check_target(request: &Http2Request) -> Result<(), Malformed> {
    let valid = match &request.path[..] {
        [b'/', ..] => true,
        b"*" => request.method == Method::OPTIONS && request.query.is_none(),
        _ => false,
    };
    let query = request.query.as_deref().unwrap_or_default();
    let clean = |bytes: &[u8]| bytes.iter().all(|&byte| is_target_byte(byte));
    if valid && clean(&request.path) && clean(query) && !request.path.contains(&b'?') {
        Ok(())
    } else {
        Err(Malformed::bad("target"))
    }
}

/// RFC 9113 8.3.1: there is one, without user information, and no Host that says
/// something else.
fn check_authority(request: &Http2Request) -> Result<(), Malformed> {
    if request.authority.is_empty() {
        return Err(Malformed::bad("host_missing"));
    }
    if !is_valid_host(&request.authority) {
        return Err(Malformed::bad("host"));
    }
    let mut hosts = request.fields.iter().filter(|(name, _)| *name == header::HOST);
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => Err(Malformed::bad("host_repeated")),
        (Some((_, host)), None) if !is_same_host(request, host.as_bytes()) => {
            Err(Malformed::bad("host_differs"))
        }
        _ => Ok(()),
    }
}

/// Some clients leave the scheme's usual port out of one of the two.
fn is_same_host(request: &Http2Request, host: &[u8]) -> bool {
    let usual: &[u8] = if request.scheme == b"https" { b":443" } else { b":80" };
    let bare = |authority: &'_ [u8]| authority.strip_suffix(usual).unwrap_or(authority).len();
    let (authority, host) = (&request.authority[..bare(&request.authority)], &host[..bare(host)]);
    authority.eq_ignore_ascii_case(host)
}

fn check_size(request: &Http2Request, limits: &Limits) -> Result<(), Malformed> {
    if request.fields.len() > limits.max_headers {
        return Err(Malformed::with(431, "too_many_fields"));
    }
    let target = request.path.len() + request.query.as_ref().map_or(0, Vec::len);
    if target > limits.max_head {
        return Err(Malformed::with(414, "target_too_long"));
    }
    let lines = request
        .fields
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + LINE_COST)
        .sum::<usize>();
    if lines + target + request.authority.len() > limits.max_head {
        return Err(Malformed::with(431, "head_too_large"));
    }
    Ok(())
}

/// RFC 9113 8.2.1, 8.2.2. That names are lower-case tokens and values hold neither CR,
/// LF nor NUL is already so in their types.
fn check_field(name: &HeaderName, value: &HeaderValue) -> Result<(), Malformed> {
    match FieldKind::of(name.as_str().as_bytes()) {
        FieldKind::Connection
        | FieldKind::KeepAlive
        | FieldKind::ProxyConnection
        | FieldKind::TransferEncoding
        | FieldKind::Upgrade => return Err(Malformed::bad("connection_field")),
        FieldKind::Te if !value.as_bytes().eq_ignore_ascii_case(b"trailers") => {
            return Err(Malformed::bad("te"));
        }
        _ => {}
    }
    check_value(value)
}

/// HTTP/1 would take whitespace around it away.
fn check_value(value: &HeaderValue) -> Result<(), Malformed> {
    match value.as_bytes() {
        [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => Err(Malformed::bad("field_value")),
        _ => Ok(()),
    }
}

/// Whether these may be trailers (RFC 9113 8.1, RFC 9110 6.5.1).
pub(crate) fn check_trailers(trailers: &HeaderMap) -> Result<(), Malformed> {
    for (name, value) in trailers {
        if FieldKind::of(name.as_str().as_bytes()).is_forbidden_in_trailers() {
            return Err(Malformed::bad("trailer_field"));
        }
        check_value(value)?;
    }
    Ok(())
}

/// How the body goes to an HTTP/1 upstream.
pub(super) fn framing(request: &Http2Request, end: bool) -> Result<BodyKind, Malformed> {
    let mut lengths = request.fields.iter().filter(|(name, _)| *name == header::CONTENT_LENGTH);
    let length = match (lengths.next(), lengths.next()) {
        (_, Some(_)) => return Err(Malformed::bad("content_length_repeated")),
        (Some((_, value)), None) => Some(content_length(value.as_bytes())?),
        (None, None) => None,
    };
    match (end, length) {
        (true, None | Some(0)) => Ok(BodyKind::None),
        (true, Some(_)) => Err(Malformed::bad("content_length_mismatch")),
        (false, Some(length)) => Ok(BodyKind::Length(length)),
        (false, None) => Ok(BodyKind::Chunked),
    }
}

/// What an HTTP/1 request says, as HTTP/2 says it: without the fields of its connection.
/// One that asks to leave HTTP goes without asking (RFC 9110 7.8 allows to ignore it).
/// `default_authority` is for one that names none.
pub(crate) fn from_http1(
    buf: &[u8],
    head: &RequestHead,
    default_authority: &[u8],
) -> Result<Http2Request, Malformed> {
    const INVALID: Malformed = Malformed::bad("field_value");
    let mut fields = Vec::with_capacity(head.field_places().len() + 1);
    for field in head.field_places() {
        match field.kind() {
            FieldKind::Host | FieldKind::TransferEncoding => continue,
            // RFC 9110 10.1.1: an HTTP/1.0 client cannot get the 100.
            FieldKind::Expect if head.version() == Version::Http10 => continue,
            _ if field.hop => continue,
            _ => {}
        }
        let name = HeaderName::from_bytes(field.name(buf)).map_err(|_| INVALID)?;
        let value = HeaderValue::from_bytes(field.value(buf)).map_err(|_| INVALID)?;
        fields.push((name, value));
    }
    if head.takes_trailers() {
        fields.push((header::TE, HeaderValue::from_static("trailers")));
    }
    let method = Method::from_bytes(head.method(buf)).map_err(|_| Malformed::bad("method"))?;
    let authority = head.authority(buf).filter(|authority| !authority.is_empty());
    let path = match head.path(buf) {
        // RFC 9112 3.2.4.
        b"" if method == Method::OPTIONS && head.query(buf).is_none() => b"*",
        b"" => b"/",
        path => path,
    };
    Ok(Http2Request {
        method,
        scheme: head.scheme(buf).unwrap_or(b"http").to_vec(),
        authority: authority.unwrap_or(default_authority).to_vec(),
        path: path.to_vec(),
        query: head.query(buf).map(<[u8]>::to_vec),
        fields,
        has_body: head.body() != BodyKind::None,
    })
}

/// Writes the head of a request that has been checked for an HTTP/1 upstream.
pub(super) fn write_http1(
    out: &mut Vec<u8>,
    request: &Http2Request,
    session: &Session,
    received: &str,
    body: BodyKind,
) {
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(&request.path);
    if let Some(query) = &request.query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    line(out, "host", &request.authority);
    let last = |wanted: HeaderName| request.fields.iter().rposition(|(name, _)| *name == wanted);
    let forwarded_for = last(X_FORWARDED_FOR);
    let client = session.client.as_bytes();
    let mut cookies = false;
    for (index, (name, value)) in request.fields.iter().enumerate() {
        if *name == header::HOST {
            continue;
        }
        if *name == header::COOKIE {
            // RFC 9113 8.2.3.
            if !std::mem::replace(&mut cookies, true) {
                cookie(out, request);
            }
            continue;
        }
        line_start(out, name.as_str(), value.as_bytes());
        if forwarded_for == Some(index) && !client.is_empty() {
            if !value.is_empty() {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(client);
        }
        out.extend_from_slice(b"\r\n");
    }
    if forwarded_for.is_none() && !client.is_empty() {
        line(out, X_FORWARDED_FOR.as_str(), client);
    }
    if last(X_FORWARDED_PROTO).is_none() {
        line(out, X_FORWARDED_PROTO.as_str(), session.scheme.as_bytes());
    }
    line(out, "via", via(received).as_bytes());
    connection(out, request, body);
    out.extend_from_slice(b"\r\n");
}

/// What HTTP/1 has to say of the body and the connection, and HTTP/2 has not.
fn connection(out: &mut Vec<u8>, request: &Http2Request, body: BodyKind) {
    let has = |wanted: HeaderName| request.fields.iter().any(|(name, _)| *name == wanted);
    // RFC 9110 10.1.4: TE belongs to the connection.
    if has(header::TE) {
        line(out, "connection", b"TE");
    }
    match body {
        BodyKind::Chunked => line(out, "transfer-encoding", b"chunked"),
        // RFC 9110 8.6: where a body is usual, its absence is told.
        BodyKind::None if !has(header::CONTENT_LENGTH) && usually_has_body(&request.method) => {
            line(out, "content-length", b"0");
        }
        _ => {}
    }
}

/// Whether sending it twice is the same as sending it once (RFC 9110 9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}

/// The head of a request that has been checked for an HTTP/2 upstream.
pub(super) fn http2(
    request: &Http2Request,
    session: &Session,
    received: &str,
    scheme: &'static str,
) -> Result<Request<()>, Malformed> {
    let mut target = request.path.clone();
    if let Some(query) = &request.query {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    let uri = Uri::builder().scheme(scheme).authority(&request.authority[..]);
    let uri = uri.path_and_query(target).build().map_err(|_| Malformed::bad("target"))?;
    let mut fields = HeaderMap::with_capacity(request.fields.len() + 3);
    for (name, value) in &request.fields {
        if *name != header::HOST {
            fields.append(name, value.clone());
        }
    }
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| Malformed::bad("field_value"));
    let client = &session.client;
    if !client.is_empty() {
        extend_last(&mut fields, client)?;
    }
    if !fields.contains_key(X_FORWARDED_PROTO) {
        fields.insert(X_FORWARDED_PROTO, value(session.scheme)?);
    }
    fields.append(header::VIA, value(&via(received))?);
    let mut out = Request::new(());
    *out.method_mut() = request.method.clone();
    *out.uri_mut() = uri;
    *out.headers_mut() = fields;
    Ok(out)
}

/// Adds the client to the last X-Forwarded-For.
fn extend_last(fields: &mut HeaderMap, client: &str) -> Result<(), Malformed> {
    let mut lines: Vec<HeaderValue> = fields.get_all(X_FORWARDED_FOR).iter().cloned().collect();
    let mut last = lines.pop().map_or(Vec::new(), |value| value.as_bytes().to_vec());
    if !last.is_empty() {
        last.extend_from_slice(b", ");
    }
    last.extend_from_slice(client.as_bytes());
    lines.push(HeaderValue::from_bytes(&last).map_err(|_| Malformed::bad("field_value"))?);
    fields.remove(X_FORWARDED_FOR);
    for line in lines {
        fields.append(X_FORWARDED_FOR, line);
    }
    Ok(())
}

/// An HTTP/1 answer's head without what belongs to the connection it came on.
pub(super) fn answer(buf: &[u8], head: &ResponseHead) -> Result<Response<()>, Malformed> {
    const INVALID: Malformed = Malformed::bad("field_value");
    let mut fields = HeaderMap::with_capacity(head.field_places().len());
    for field in head.field_places() {
        match field.kind() {
            FieldKind::TransferEncoding => continue,
            FieldKind::ContentLength if head.is_bare() => continue,
            _ if field.hop => continue,
            _ => {}
        }
        let name = HeaderName::from_bytes(field.name(buf)).map_err(|_| INVALID)?;
        let value = HeaderValue::from_bytes(field.value(buf)).map_err(|_| INVALID)?;
        fields.append(name, value);
    }
    let mut answer = Response::new(());
    *answer.status_mut() =
        StatusCode::from_u16(head.status()).map_err(|_| Malformed::bad("status"))?;
    *answer.headers_mut() = fields;
    Ok(answer)
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

fn via(received: &str) -> String {
    format!("{received} {}", marker::VIA_CAPTURE)
}

fn usually_has_body(method: &Method) -> bool {
    !matches!(method.as_str(), "GET" | "HEAD" | "DELETE" | "OPTIONS" | "TRACE")
}

fn cookie(out: &mut Vec<u8>, request: &Http2Request) {
    out.extend_from_slice(b"cookie: ");
    let crumbs = request.fields.iter().filter(|(name, value)| {
        // At the end, an empty one would leave whitespace.
        *name == header::COOKIE && !value.is_empty()
    });
    for (index, (_, value)) in crumbs.enumerate() {
        if index > 0 {
            out.extend_from_slice(b"; ");
        }
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    line_start(out, name, value);
    out.extend_from_slice(b"\r\n");
}

fn line_start(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests;
