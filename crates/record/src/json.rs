//! A record as JSON for people and scripts, one object a record.
//!
//! Lossless: what came from the wire is a string if it is UTF-8 and otherwise the
//! object `{"base64": "…"}`, in whatever place it stands (header names and values,
//! method, authority, path, query). Bodies are `body` if they are UTF-8, else
//! `body_base64`; neither is there if the message had no body. An absent query is
//! `null`, an empty one `""`. Numbers of nanoseconds are integers; `at` is RFC 3339.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use crate::{
    id,
    pb::{self, record::Body},
};

/// The JSON object of a record of any kind. `response`, if at hand, is placed into
/// its request. `None` for a record without a body, which `decode` never returns.
pub fn render(record: &pb::Record, response: Option<&pb::Response>) -> Option<Value> {
    let (kind, id, fields) = match record.body.as_ref()? {
        Body::Request(request) => ("request", Some(&request.id), of_request(request, response)),
        Body::Response(response) => ("response", Some(&response.id), of_response(response)),
        Body::Part(part) => ("part", Some(&part.id), of_part(part)),
        Body::Gap(gap) => ("gap", None, of_gap(gap)),
        Body::Mark(mark) => ("mark", None, of_mark(mark)),
    };
    let mut out = Map::new();
    out.insert("kind".into(), kind.into());
    if let Some(id) = id {
        out.insert("id".into(), id::text(id).into());
    }
    out.insert("agent".into(), id::text(&record.agent).into());
    out.insert("lane".into(), record.lane.into());
    out.insert("seq".into(), record.sequence.into());
    out.extend(fields);
    Some(Value::Object(out))
}

fn of_request(request: &pb::Request, response: Option<&pb::Response>) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| drop(out.insert(name.to_owned(), value));
    put("connection", request.connection.into());
    put("number", request.number.into());
    put("at", time(request.start_ns));
    put("duration_ns", request.end_after_ns.into());
    put("peer", request.peer.as_str().into());
    put("scheme", request.scheme.as_str().into());
    put("method", text(&request.method));
    put("authority", text(&request.authority));
    put("path", text(&request.path));
    put("query", request.query.as_ref().map_or(Value::Null, |query| text(query)));
    put("version", version(request.version()));
    put("headers", headers(&request.headers));
    body(&mut put, request.body.as_deref());
    put("body_length", request.body_length.into());
    put("trailers", headers(&request.trailers));
    if request.parts > 0 {
        put("parts", request.parts.into());
    }
    put("upstream", request.upstream.as_str().into());
    if !request.labels.is_empty() {
        put("labels", json!(request.labels));
    }
    if request.tunnel {
        put("tunnel", true.into());
    }
    if !request.received_authority.is_empty() {
        put("received_authority", text(&request.received_authority));
    }
    sealed(&mut put, &request.sealed);
    if let Some(response) = response {
        put("response", Value::Object(of_response(response)));
    }
    complete(&mut put, request.completeness());
    out
}

fn of_response(response: &pb::Response) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| drop(out.insert(name.to_owned(), value));
    if response.status != 0 {
        put("status", response.status.into());
        put("reason", text(&response.reason));
        put("version", version(response.version()));
        put("headers", headers(&response.headers));
        body(&mut put, response.body.as_deref());
        put("body_length", response.body_length.into());
        put("trailers", headers(&response.trailers));
    }
    put("head_after_ns", response.head_after_ns.into());
    put("first_byte_after_ns", response.first_byte_after_ns.into());
    put("end_after_ns", response.end_after_ns.into());
    if response.failure() != pb::Failure::None {
        put("failure", name(response.failure().as_str_name(), "FAILURE_"));
        put("failure_detail", response.failure_detail.as_str().into());
    }
    sealed(&mut put, &response.sealed);
    complete(&mut put, response.completeness());
    out
}

fn of_part(part: &pb::BodyPart) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| drop(out.insert(name.to_owned(), value));
    put("index", part.index.into());
    body(&mut put, Some(&part.data));
    put("last", part.last.into());
    put("aborted", part.aborted.into());
    put("trailers", headers(&part.trailers));
    if part.body_length > 0 {
        put("body_length", part.body_length.into());
    }
    sealed(&mut put, &part.sealed);
    complete(&mut put, part.completeness());
    out
}

fn of_gap(gap: &pb::Gap) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| drop(out.insert(name.to_owned(), value));
    put("requests", gap.requests.into());
    put("reason", gap.reason.as_str().into());
    put("at", time(gap.from_ns));
    put("to", time(gap.to_ns));
    let range = |r: &pb::LaneRange| json!([r.lane, r.partition, r.first, r.last]);
    put("ranges", gap.ranges.iter().map(range).collect());
    out
}

fn of_mark(mark: &pb::Mark) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| drop(out.insert(name.to_owned(), value));
    put("at", time(mark.at_ns));
    put("low", time(mark.low_ns));
    put("last_sequence", mark.last_sequence.into());
    put("final", mark.r#final.into());
    put("requests", mark.requests.into());
    put("recorded", mark.recorded.into());
    put("not_selected", mark.not_selected.into());
    put("lost", json!(mark.lost));
    put("lanes", mark.lanes.into());
    put("host", mark.host.as_str().into());
    put("labels", json!(mark.labels));
    out
}

fn headers(headers: &[pb::Header]) -> Value {
    headers.iter().map(|h| Value::Array(vec![text(&h.name), text(&h.value)])).collect()
}

fn body(put: &mut impl FnMut(&str, Value), body: Option<&[u8]>) {
    match body.map(|body| (body, std::str::from_utf8(body))) {
        None => {}
        Some((_, Ok(text))) => put("body", text.into()),
        Some((body, Err(_))) => put("body_base64", base64(body).into()),
    }
}

/// Which places were sealed; what was there is not shown.
fn sealed(put: &mut impl FnMut(&str, Value), sealed: &[pb::Sealed]) {
    if !sealed.is_empty() {
        put("sealed", sealed.iter().map(|value| Value::from(value.place.as_str())).collect());
    }
}

fn complete(put: &mut impl FnMut(&str, Value), completeness: pb::Completeness) {
    put("complete", (completeness == pb::Completeness::Complete).into());
    if completeness != pb::Completeness::Complete {
        put("completeness", name(completeness.as_str_name(), "COMPLETENESS_"));
    }
}

fn name(constant: &str, prefix: &str) -> Value {
    constant.strip_prefix(prefix).unwrap_or(constant).to_ascii_lowercase().into()
}

fn version(version: pb::Version) -> Value {
    match version {
        pb::Version::Unspecified => Value::Null,
        pb::Version::Http10 => "HTTP/1.0".into(),
        pb::Version::Http11 => "HTTP/1.1".into(),
        pb::Version::Http2 => "HTTP/2".into(),
        pb::Version::Http3 => "HTTP/3".into(),
    }
}

fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "base64": base64(bytes) }),
    }
}

/// RFC 3339 in UTC with nanoseconds.
fn time(unix_ns: u64) -> Value {
    let time = jiff::Timestamp::from_nanosecond(i128::from(unix_ns))
        .expect("64 bits of nanoseconds end in the year 2554");
    format!("{time:.9}").into()
}

/// RFC 4648 section 4, padded.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word =
            group.iter().chain([&0; 2]).take(3).fold(0u32, |word, b| word << 8 | u32::from(*b));
        for digit in 0..4 {
            let value = (word >> (18 - 6 * digit)) & 0x3f;
            let used = digit <= group.len();
            out.push(if used { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    out
}
