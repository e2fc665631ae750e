//! Decimal numbers of any size, exactly: answers carry ids above 2⁵³ and amounts
//! that a floating point number would change.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

/// A number in normal form: two are equal in value if and only if their normal forms
/// are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Decimal<'a> {
    negative: bool,
    /// Without leading and trailing zeros; empty is zero.
    digits: Cow<'a, str>,
    /// Power of ten of the last digit.
    exponent: i64,
}

impl<'a> Decimal<'a> {
    /// From JSON's notation. `None` if it is none, or its exponent is beyond reason.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], rest[at + 1..].parse::<i64>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let exponent = exponent.checked_sub(fraction.len() as i64)?;
        let digits: Cow<'a, str> =
            if fraction.is_empty() { whole.into() } else { format!("{whole}{fraction}").into() };
        Self::normal(negative, digits, exponent)
    }

    fn normal(negative: bool, digits: Cow<'a, str>, exponent: i64) -> Option<Self> {
        let kept = digits.trim_end_matches('0');
        let exponent = exponent.checked_add((digits.len() - kept.len()) as i64)?;
        if kept.trim_start_matches('0').is_empty() {
            // Minus zero equals zero.
            return Some(Self { negative: false, digits: "".into(), exponent: 0 });
        }
        let digits = match digits {
            Cow::Borrowed(text) => text.trim_end_matches('0').trim_start_matches('0').into(),
            Cow::Owned(text) => {
                text.trim_end_matches('0').trim_start_matches('0').to_owned().into()
            }
        };
        Some(Self { negative, digits, exponent })
    }
}

/// Whether two numbers in JSON's notation have the same value.
pub(crate) fn equal(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    match (Decimal::parse(one), Decimal::parse(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

/// Whether a number is written with a fraction or an exponent; many readers take that
/// for another type.
pub(crate) fn is_integer_notation(text: &str) -> bool {
    !text.contains(['.', 'e', 'E'])
}

/// Near enough for a tolerance.
pub(crate) fn approximate(text: &str) -> Option<f64> {
    Decimal::parse(text.trim())?;
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}
