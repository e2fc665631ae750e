//! Heads as they come from the `h2` crate.

use http::{Method, Request, Uri, uri};

use super::*;

fn parts(uri: Uri) -> Parts {
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    request.into_parts().0
}

fn uri(authority: Option<&'static str>, path: Option<&'static str>) -> Uri {
    let mut parts = uri::Parts::default();
    parts.scheme = authority.and(Some(uri::Scheme::HTTP));
    parts.authority = authority.map(uri::Authority::from_static);
    parts.path_and_query = path.map(|path| path.parse().unwrap());
    Uri::from_parts(parts).unwrap()
}

#[test]
fn target_and_authority_are_taken_apart() {
    let head = head(parts(uri(Some("a:8080"), Some("/x/y?z=1?2"))), true).unwrap();
    assert_eq!(head.authority, b"a:8080");
    assert_eq!(head.scheme, b"http");
    assert_eq!(head.path, b"/x/y");
    assert_eq!(head.query.as_deref(), Some(&b"z=1?2"[..]));
    assert!(!head.has_body);
}

#[test]
fn an_empty_query_is_not_none() {
    let head = head(parts(uri(Some("a"), Some("/?"))), false).unwrap();
    assert_eq!((&head.path[..], head.query.as_deref()), (&b"/"[..], Some(&b""[..])));
    assert!(head.has_body);
}

#[test]
fn host_stands_in_for_the_authority() {
    let mut parts = parts(uri(None, Some("/")));
    parts.headers.insert(header::HOST, "b".parse().unwrap());
    assert_eq!(head(parts, true).unwrap().authority, b"b");
}

#[test]
fn no_path_is_not_the_root() {
    assert_eq!(head(parts(uri(None, None)), true).unwrap_err().reason, "target");
    assert_eq!(head(parts(uri(Some("a"), Some("#x"))), true).unwrap_err().reason, "target");
    assert_eq!(head(parts(uri(Some("a"), Some("/"))), true).unwrap().path, b"/");
    assert_eq!(head(parts(uri(Some("a"), Some("?x"))), true).unwrap().path, b"");
}

#[test]
fn connect_has_no_path() {
    let mut parts = parts(uri(None, None));
    parts.method = Method::CONNECT;
    let mut authority = uri::Parts::default();
    authority.authority = Some(uri::Authority::from_static("a:443"));
    parts.uri = Uri::from_parts(authority).unwrap();
    let head = head(parts, true).unwrap();
    assert_eq!((&head.path[..], &head.authority[..]), (&b""[..], &b"a:443"[..]));
}

#[test]
fn fields_keep_their_order_within_a_name() {
    let mut parts = parts(uri(Some("a"), Some("/")));
    for (name, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
        parts.headers.append(name, value.parse().unwrap());
    }
    let head = head(parts, true).unwrap();
    let fields: Vec<_> =
        head.fields.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
    assert_eq!(fields, [("a", "1"), ("a", "3"), ("b", "2")]);
}
