//! Header and trailer fields: names without case, several lines of a name as one
//! list, cookies by name and attribute.

use std::collections::BTreeMap;

use umbra_record::pb;

use super::{Detail, Found, Kind, arrow, shorten};
use crate::{
    content::{self, Media},
    rules::is_volatile,
};

/// Fields of one hop (RFC 9110 section 7.6.1), and those that describe how the body
/// was sent: the body itself is compared, and its coding is noted there.
pub(crate) const NOT_COMPARED: &[&str] = &[
    "connection",
    "content-encoding",
    "grpc-encoding",
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
    if !found.is_explaining()
        && expected.trailers == actual.trailers
        && are_equal(&expected.headers, &actual.headers)
    {
        return;
    }
    cookies(found, &expected.headers, &actual.headers);
    fields(found, "header:", &expected.headers, &actual.headers);
    let (one, other) = (content::trailers(expected), content::trailers(actual));
    fields(found, "trailer:", &one, &other);
}

/// Whether the same fields come in the same order, with the same values where these
/// count. This is how most answers are, and it is found without an allocation.
fn are_equal(expected: &[pb::Header], actual: &[pb::Header]) -> bool {
    expected.len() == actual.len()
        && expected.iter().zip(actual).all(|(one, other)| {
            one.name == other.name && (one.value == other.value || is_volatile_name(&one.name))
        })
}

fn is_volatile_name(name: &[u8]) -> bool {
    let mut lower = [0; 64];
    let Some(lower) = lower.get_mut(..name.len()) else { return false };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    std::str::from_utf8(lower).is_ok_and(is_volatile)
}

fn fields(found: &mut Found<'_>, prefix: &str, expected: &[pb::Header], actual: &[pb::Header]) {
    // What gRPC may put into either is compared as trailers.
    let grpc = prefix == "header:"
        && (Media::of(found.expected).is_grpc() || Media::of(found.actual).is_grpc());
    pairs(&by_name(expected), &by_name(actual), |name, expected, actual| {
        if grpc && content::is_trailer(name.as_bytes()) {
            return;
        }
        let field = format!("{prefix}{name}");
        let side = |list: &Vec<Vec<u8>>| list.join(&b", "[..]);
        match (expected, actual) {
            (Some(expected), Some(actual)) => lists(found, &field, name, expected, actual),
            (Some(expected), None) => found.add(&field, Kind::Missing, || {
                Detail::new("", &join(expected), Some(&side(expected)), None)
            }),
            (None, Some(actual)) => found.add(&field, Kind::Added, || {
                Detail::new("", &join(actual), None, Some(&side(actual)))
            }),
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
        list.iter().map(|element| normal(found, name, element)).collect()
    };
    let (mut one, mut other) = (normal(expected), normal(actual));
    if one == other {
        return;
    }
    if let ([one], [other]) = (&one[..], &other[..]) {
        return found.texts(field, one, other, "");
    }
    let (all_one, all_other) = (one.join(&b", "[..]), other.join(&b", "[..]));
    one.sort_unstable();
    other.sort_unstable();
    if one == other {
        return found.add(field, Kind::Order, || {
            let note = arrow(&join(expected), &join(actual));
            Detail::new("", &note, Some(&all_one), Some(&all_other))
        });
    }
    found.texts(field, &all_one, &all_other, "");
}

/// Media types have no case and free spaces around their parameters, and the boundary
/// of their parts says nothing. URLs may hold what was redacted.
fn normal(found: &Found<'_>, name: &str, element: &[u8]) -> Vec<u8> {
    match name {
        "content-type" => {
            let parts = element.split(|byte| *byte == b';');
            let parts = parts.map(|part| part.trim_ascii().to_ascii_lowercase());
            let parts: Vec<_> = parts.filter(|part| !part.starts_with(b"boundary=")).collect();
            parts.join(&b"; "[..])
        }
        "location" | "content-location" | "refresh" | "link" => {
            found.redaction.url(element).into_owned()
        }
        _ => element.to_vec(),
    }
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
            (Some(value), None) => found.add(&field, Kind::Missing, || {
                Detail::new("", &shorten(&String::from_utf8_lossy(value), 60), Some(value), None)
            }),
            (None, Some(value)) => found.add(&field, Kind::Added, || {
                Detail::new("", &shorten(&String::from_utf8_lossy(value), 60), None, Some(value))
            }),
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
