//! From when until when a certificate is valid: the one thing that has to be known of a
//! certificate of our own beside its key. Reads just as much DER as leads there
//! (RFC 5280 4.1); whoever shakes hands checks the rest.

use std::time::{Duration, SystemTime};

/// DER tags.
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// Both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: SystemTime,
    pub(super) to: SystemTime,
}

/// The validity of a certificate; none: it is not one.
pub(super) fn validity(certificate: &[u8]) -> Option<Validity> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut signed, _) = element(certificate, SEQUENCE)?;
    if signed.first() == Some(&VERSION) {
        signed = skip(signed)?;
    }
    // Serial number, signature algorithm, issuer.
    let (times, _) = element(skip(skip(skip(signed)?)?)?, SEQUENCE)?;
    let (from, times) = time(times)?;
    let (to, _) = time(times)?;
    Some(Validity { from, to })
}

/// The contents of an element, and what is behind it.
fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, length, rest @ ..] = bytes else { return None };
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (contents, behind) = rest.split_at_checked(length)?;
    Some((*tag, contents, behind))
}

fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    any(bytes).filter(|(found, ..)| *found == tag).map(|(_, contents, behind)| (contents, behind))
}

fn skip(bytes: &[u8]) -> Option<&[u8]> {
    any(bytes).map(|(_, _, behind)| behind)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, as RFC 5280 4.1.2.5 has them.
fn time(bytes: &[u8]) -> Option<(SystemTime, &[u8])> {
    let (tag, text, behind) = any(bytes)?;
    let digits = text.strip_suffix(b"Z")?;
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_u64, |sum, digit| {
            digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
        })
    };
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => match number(&digits[..2])? {
            year @ 50.. => (1900 + year, &digits[2..]),
            year => (2000 + year, &digits[2..]),
        },
        (GENERALIZED_TIME, 14) => (number(&digits[..4])?, &digits[4..]),
        _ => return None,
    };
    let mut parts = rest.chunks(2).map(number);
    let mut part = || parts.next().flatten();
    let (month, day, hour, minute, second) = (part()?, part()?, part()?, part()?, part()?);
    let seconds = days(year, month, day)? * 86_400 + hour * 3600 + minute * 60 + second;
    Some((SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), behind))
}

/// Days since 1970 began, in the Gregorian calendar.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let before = BEFORE.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let is_leap = leaps(year) > leaps(year.checked_sub(1)?);
    let years = year.checked_sub(1970)? * 365 + leaps(year - 1) - leaps(1969);
    Some(years + before + u64::from(is_leap && month > 2) + day.checked_sub(1)?)
}

#[cfg(test)]
mod tests;
