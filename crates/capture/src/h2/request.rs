//! The head of an HTTP/2 request, from the types of `http` into that of the record.
//! What may be in it is checked by [`crate::leg::check`]; here is what would not be
//! seen any more after it.

use http::{header, request::Parts, uri::PathAndQuery};

use crate::{h1::Malformed, record::Http2Request};

/// A head; `end`: the stream has ended with it.
pub(super) fn head(parts: Parts, end: bool) -> Result<Http2Request, Malformed> {
    let Parts { method, uri, headers, .. } = parts;
    let (path, query) = match uri.path_and_query() {
        // CONNECT has none.
        None => (Vec::new(), None),
        // The type says `/` where there was no path at all, or only a fragment.
        Some(target) if target.as_str() == "/" && *target != PathAndQuery::from_static("/") => {
            return Err(Malformed::bad("target"));
        }
        Some(target) => split(target),
    };
    // RFC 9113 section 8.3.1: without `:authority` it is that of Host.
    let authority = match uri.authority() {
        Some(authority) => authority.as_str().as_bytes().to_vec(),
        None => headers.get(header::HOST).map_or(Vec::new(), |host| host.as_bytes().to_vec()),
    };
    let mut fields = Vec::with_capacity(headers.len());
    let mut last = None;
    for (name, value) in headers {
        // Further lines of the same name come without it.
        last = name.or(last);
        if let Some(name) = &last {
            fields.push((name.clone(), value));
        }
    }
    Ok(Http2Request {
        method,
        scheme: uri.scheme_str().unwrap_or_default().as_bytes().to_vec(),
        authority,
        path,
        query,
        fields,
        has_body: !end,
    })
}

fn split(target: &PathAndQuery) -> (Vec<u8>, Option<Vec<u8>>) {
    let target = target.as_str().as_bytes();
    match memchr::memchr(b'?', target) {
        None => (target.to_vec(), None),
        Some(mark) => (target[..mark].to_vec(), Some(target[mark + 1..].to_vec())),
    }
}

#[cfg(test)]
mod tests;
