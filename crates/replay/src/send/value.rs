//! Values of fields, as requests and answers have them. Which fields they are of, and what
//! follows from them, is for others.

/// The elements of a comma-separated value (RFC 9110 section 5.6.1).
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// A number of bytes or seconds (RFC 9110 section 8.6): digits, and nothing else.
pub(super) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}
