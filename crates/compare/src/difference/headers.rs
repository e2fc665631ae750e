//! Header and trailer fields: names without case, several lines of a name as one
//! list, cookies by name and attribute.

use std::collections::BTreeMap;

use umbra_record::pb;

use super::{Found, Kind, arrow, shorten};

/// Fields of one hop (RFC 9110 section 7.6.1), and those that describe how the body
/// was sent: the body itself is compared, and its coding is noted there.
const NOT_COMPARED: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn compare(found: &mut Found<'_>) {
    let (expected, actual) = (found.expected, found.actual);
    cookies(found, &expected.headers, &actual.headers);
    fields(found, "header:", &expected.headers, &actual.headers);
    fields(found, "trailer:", &expected.trailers, &actual.trailers);
}

fn fields(found: &mut Found<'_>, prefix: &str, expected: &[pb::Header], actual: &[pb::Header]) {
    pairs(&by_name(expected), &by_name(actual), |name, expected, actual| {
        let field = format!("{prefix}{name}");
        match (expected, actual) {
            (Some(expected), Some(actual)) => lists(found, &field, name, expected, actual),
            (Some(expected), None) => found.add(&field, Kind::Missing, || join(expected)),
            (None, Some(actual)) => found.add(&field, Kind::Added, || join(actual)),
            (None, None) => {}
        }
    });
}

/// Walks two sorted maps side by side.
fn pairs<K: Ord, V>(
    expected: &BTreeMap<K, V>,
    actual: &BTreeMap<K, V>,
    mut each: impl FnMut(&K, Option<&V>, Option<&V>),
) {
    for (key, value) in expected {
        each(key, Some(value), actual.get(key));
    }
    for (key, value) in actual {
        if !expected.contains_key(key) {
            each(key, None, Some(value));
        }
    }
}

/// Elements of each field, its lines taken together (RFC 9110 section 5.3).
fn by_name(headers: &[pb::Header]) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut fields: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for header in headers {
        let name = String::from_utf8_lossy(&header.name).to_ascii_lowercase();
        if name == "set-cookie" || NOT_COMPARED.contains(&name.as_str()) {
            continue;
        }
        let elements = elements(&header.value).map(|element| element.trim_ascii().to_vec());
        fields.entry(name).or_default().extend(elements);
    }
    fields
}

/// Splits at commas outside of quoted strings. A date has a comma too: both sides are
/// split alike, so it does no harm.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    value.split(move |byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        *byte == b',' && !quoted
    })
}

fn lists(found: &mut Found<'_>, field: &str, name: &str, expected: &[Vec<u8>], actual: &[Vec<u8>]) {
    let normal = |list: &[Vec<u8>]| -> Vec<Vec<u8>> {
        list.iter().map(|element| normal(name, element)).collect()
    };
    let (mut one, mut other) = (normal(expected), normal(actual));
    if one == other {
        return;
    }
    if let ([one], [other]) = (&one[..], &other[..]) {
        return found.texts(field, one, other, "");
    }
    one.sort_unstable();
    other.sort_unstable();
    if one == other {
        return found.add(field, Kind::Order, || arrow(&join(expected), &join(actual)));
    }
    found.texts(field, join(expected).as_bytes(), join(actual).as_bytes(), "");
}

/// Media types have no case and free spaces around their parameters.
fn normal(name: &str, element: &[u8]) -> Vec<u8> {
    if name != "content-type" {
        return element.to_vec();
    }
    let parts = element.split(|byte| *byte == b';');
    let parts: Vec<_> = parts.map(|part| part.trim_ascii().to_ascii_lowercase()).collect();
    parts.join(&b"; "[..])
}

fn join(elements: &[Vec<u8>]) -> String {
    shorten(&String::from_utf8_lossy(&elements.join(&b", "[..])), 200)
}

/// Attributes of one cookie; its value under the empty name.
type Cookie = BTreeMap<String, Vec<u8>>;

/// `set-cookie:NAME` is the value, `set-cookie:NAME;ATTRIBUTE` an attribute.
fn cookies(found: &mut Found<'_>, expected: &[pb::Header], actual: &[pb::Header]) {
    pairs(&cookies_of(expected), &cookies_of(actual), |name, expected, actual| {
        let field = format!("set-cookie:{name}");
        match (expected, actual) {
            (Some(expected), Some(actual)) => cookie(found, &field, expected, actual),
            (Some(_), None) => found.add(&field, Kind::Missing, String::new),
            (None, Some(_)) => found.add(&field, Kind::Added, String::new),
            (None, None) => {}
        }
    });
}

fn cookie(found: &mut Found<'_>, field: &str, expected: &Cookie, actual: &Cookie) {
    pairs(expected, actual, |attribute, expected, actual| {
        let field = match attribute.as_str() {
            "" => field.to_owned(),
            attribute => format!("{field};{attribute}"),
        };
        match (expected, actual) {
            (Some(expected), Some(actual)) if expected == actual => {}
            (Some(expected), Some(actual)) => found.texts(&field, expected, actual, ""),
            (Some(_), None) => found.add(&field, Kind::Missing, String::new),
            (None, Some(_)) => found.add(&field, Kind::Added, String::new),
            (None, None) => {}
        }
    });
}

fn cookies_of(headers: &[pb::Header]) -> BTreeMap<String, Cookie> {
    let mut cookies = BTreeMap::new();
    for header in headers.iter().filter(|h| h.name.eq_ignore_ascii_case(b"set-cookie")) {
        let mut name = String::new();
        let mut cookie = Cookie::new();
        for (at, part) in header.value.split(|byte| *byte == b';').enumerate() {
            let equals = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
            let key = String::from_utf8_lossy(part[..equals].trim_ascii());
            let value = part.get(equals + 1..).unwrap_or_default().trim_ascii().to_vec();
            if at == 0 {
                name = key.into_owned();
                cookie.insert(String::new(), value);
            } else {
                cookie.insert(key.to_ascii_lowercase(), value);
            }
        }
        // One cookie of a name counts in a browser: the last.
        cookies.insert(name, cookie);
    }
    cookies
}
