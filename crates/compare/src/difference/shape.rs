//! What kind of value a text is. A field whose value is another in every answer
//! still has a shape, and a change of that is a finding.

/// From the most particular to the most general.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Empty,
    Uuid,
    Integer,
    Decimal,
    Time,
    Url,
    Text,
}

impl Shape {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Uuid => "UUID",
            Self::Integer => "integer",
            Self::Decimal => "decimal",
            Self::Time => "time",
            Self::Url => "URL",
            Self::Text => "text",
        }
    }
}

pub(crate) fn of(text: &[u8]) -> Shape {
    let trimmed = text.trim_ascii();
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let unsigned = trimmed.strip_prefix(b"-").unwrap_or(trimmed);
    if trimmed.is_empty() {
        Shape::Empty
    } else if is_uuid(trimmed) {
        Shape::Uuid
    } else if digits(unsigned) {
        Shape::Integer
    } else if matches!(unsigned.iter().position(|b| *b == b'.'),
        Some(dot) if digits(&unsigned[..dot]) && digits(&unsigned[dot + 1..]))
    {
        Shape::Decimal
    } else if is_time(trimmed) {
        Shape::Time
    } else if trimmed.starts_with(b"http://") || trimmed.starts_with(b"https://") {
        Shape::Url
    } else {
        Shape::Text
    }
}

/// 8-4-4-4-12 hexadecimal digits.
pub(crate) fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Begins like `2026-11-22`, perhaps with more of RFC 3339 behind; or ends like the
/// dates of HTTP.
pub(crate) fn is_time(text: &[u8]) -> bool {
    let date = text.len() >= 10
        && text[..10].iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let rest = text.get(10..).unwrap_or_default();
    let of_time = |byte: &u8| byte.is_ascii_digit() || b"Tt :.+-Zz".contains(byte);
    (date && rest.iter().all(of_time)) || (text.len() == 29 && text.ends_with(b" GMT"))
}
