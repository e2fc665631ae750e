//! Content without its codings, if all of it can be had.

use std::borrow::Cow;

use umbra_record::coding;

/// Largest content; what is larger is compared as it was sent.
const MAX_DECODED: usize = 8 << 20;

/// The content of a body sent with these Content-Encoding lines; `None` if a coding is
/// not known, the body is broken, or the content too large.
pub(crate) fn decode<'a, 'b>(
    body: &'a [u8],
    lines: impl Iterator<Item = &'b [u8]>,
) -> Option<Cow<'a, [u8]>> {
    let decoded = coding::decode(body, lines, MAX_DECODED)?;
    decoded.whole.then_some(decoded.content)
}
