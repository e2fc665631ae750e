//! Text in other encodings than UTF-8, so that the same text in two of them is equal.

use std::borrow::Cow;

use encoding_rs::Encoding;

use super::Media;

/// The text in UTF-8, if the type says that it is text and in which encoding; otherwise
/// as it is.
pub(super) fn to_utf8<'a>(media: &Media<'_>, body: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
    let Some(encoding) = encoding(media, &body) else { return body };
    if encoding == encoding_rs::UTF_8 {
        return body;
    }
    let (text, _, broken) = encoding.decode(&body);
    if broken { body } else { Cow::Owned(text.into_owned().into_bytes()) }
}

fn encoding(media: &Media<'_>, body: &[u8]) -> Option<&'static Encoding> {
    if let Some(label) = media.parameter("charset") {
        return Encoding::for_label(label);
    }
    if let Some((encoding, _)) = Encoding::for_bom(body) {
        return Some(encoding);
    }
    declared(media, body)
}

/// As the beginning of an XML or HTML document says.
fn declared(media: &Media<'_>, body: &[u8]) -> Option<&'static Encoding> {
    let start = &body[..body.len().min(1024)];
    let (begins, key): (bool, &[u8]) = match media.name.as_str() {
        "text/html" => (true, b"charset="),
        name if name.ends_with("xml") => (start.starts_with(b"<?xml"), b"encoding="),
        _ => return None,
    };
    let at = start.windows(key.len()).position(|window| window.eq_ignore_ascii_case(key))?;
    let rest = &start[at + key.len()..];
    let rest = rest.strip_prefix(b"\"").or(rest.strip_prefix(b"'")).unwrap_or(rest);
    let is_label = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_:.".contains(byte);
    let end = rest.iter().position(|byte| !is_label(byte)).unwrap_or(rest.len());
    begins.then(|| Encoding::for_label(&rest[..end])).flatten()
}
