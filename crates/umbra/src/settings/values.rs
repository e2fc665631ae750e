//! Reads the values users type: sizes, durations, rates, times, addresses. Every
//! error says what is expected.

use std::{net::SocketAddr, time::Duration};

use jiff::{Timestamp, Zoned, civil::DateTime, tz::TimeZone};

/// Longest duration: may be added to any instant.
const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

/// Highest rate a second, and its inverse the lowest; the same for a speed. Beyond,
/// times would be infinite or all the same.
const HIGHEST: f64 = 1e9;

/// `64KiB`, `10MB`, `1.5GiB`, `4096`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let factor: f64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1048576.0,
        "g" | "gib" => 1073741824.0,
        "t" | "tib" => 1099511627776.0,
        _ => return Err("expected a size such as 64KiB, 10MiB or 4096".into()),
    };
    let number: f64 = number.parse().map_err(|_| "expected a size such as 64KiB or 10MiB")?;
    let bytes = number * factor;
    if (0.0..=9.0e15).contains(&bytes) { Ok(bytes as u64) } else { Err("out of range".into()) }
}

/// `1.5s`, `200ms`, `5m`, `1h30m`, `2d`, `0`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a duration such as 1.5s, 200ms, 5m or 1h30m".to_owned();
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(wrong()),
        };
        seconds += number.parse::<f64>().map_err(|_| wrong())? * factor;
        rest = tail;
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time <= LONGEST => Ok(time),
        _ => Err("out of range: at most 36500d".into()),
    }
}

/// A duration above zero.
pub(crate) fn some_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be above 0".into()),
        some => Ok(some),
    }
}

/// `100`, `100/s`, `6000/m`, `10/h`: requests a second.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let (number, per) = text.split_once('/').unwrap_or((text, "s"));
    let per = match per {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("expected a rate such as 100, 100/s or 6000/m".into()),
    };
    let number: f64 = number.parse().map_err(|_| "expected a rate such as 100, 100/s or 6000/m")?;
    positive(number / per)
}

/// A speed factor.
pub(crate) fn speed(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('x').unwrap_or(text);
    positive(number.parse().map_err(|_| "expected a factor such as 0.1, 1 or 50")?)
}

fn positive(number: f64) -> Result<f64, String> {
    if number.is_nan() || number <= 0.0 {
        return Err("must be above 0".into());
    }
    if (HIGHEST.recip()..=HIGHEST).contains(&number) {
        Ok(number)
    } else {
        Err("out of range: from 0.000000001 to 1000000000".into())
    }
}

/// 0 to 100.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let number: f64 =
        text.trim_end_matches('%').parse().map_err(|_| "expected a number from 0 to 100")?;
    if (0.0..=100.0).contains(&number) { Ok(number) } else { Err("must be from 0 to 100".into()) }
}

/// A whole number above 0.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(0) => Err("must be above 0".into()),
        Ok(number) => Ok(number),
        Err(_) => Err("expected a whole number".into()),
    }
}

/// `true`, `false` and their kin.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}

/// An instant, in Unix nanoseconds: RFC 3339, a bare local date or time, `now`,
/// relative to now (`-2h`, `+5m`), or `@SECONDS[.FRACTION]`.
pub(crate) fn instant(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let now = Timestamp::now();
    let at = if text == "now" {
        now
    } else if let Some(seconds) = text.strip_prefix('@') {
        return unix(seconds);
    } else if let Some(back) = text.strip_prefix('-') {
        shifted(now, duration(back)?, false)?
    } else if let Some(ahead) = text.strip_prefix('+') {
        shifted(now, duration(ahead)?, true)?
    } else if let Ok(at) = text.parse::<Timestamp>() {
        at
    } else {
        let local = text.parse::<DateTime>().map_err(|_| {
            "expected a time such as 2026-11-22T10:00:00Z, 2026-11-22 10:00, now, -2h or @1795341600"
        })?;
        local.to_zoned(TimeZone::system()).map_err(|e| e.to_string())?.timestamp()
    };
    u64::try_from(at.as_nanosecond()).map_err(|_| "is out of range".into())
}

fn shifted(now: Timestamp, by: Duration, ahead: bool) -> Result<Timestamp, String> {
    let moved = if ahead { now.checked_add(by) } else { now.checked_sub(by) };
    moved.map_err(|_| "is out of range".into())
}

fn unix(seconds: &str) -> Result<u64, String> {
    let wrong = || "expected @SECONDS[.FRACTION]".to_owned();
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let fraction: u64 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
    whole.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(fraction)).ok_or_else(wrong)
}

/// An instant for people, to the nanosecond where there is one.
pub(crate) fn show_instant(ns: u64) -> String {
    match Timestamp::from_nanosecond(i128::from(ns)) {
        Ok(at) => at.to_string(),
        Err(_) => format!("@{ns}ns"),
    }
}

/// A time stamp fit for a name: `20261122-100000`.
pub(crate) fn stamp() -> String {
    Zoned::now().strftime("%Y%m%d-%H%M%S").to_string()
}

/// `HOST:PORT` or `:PORT` (all addresses).
pub(crate) fn listen(text: &str) -> Result<Vec<SocketAddr>, String> {
    use std::net::ToSocketAddrs;
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    let found = full
        .to_socket_addrs()
        .map_err(|_| "expected HOST:PORT or :PORT, with a host of this machine".to_owned())?;
    let all: Vec<_> = found.collect();
    if all.is_empty() { Err("no address".into()) } else { Ok(all) }
}

/// Largest file of certificates and keys.
const MAX_PEM: u64 = 1 << 20;

/// A file of certificates or keys: what it holds.
pub(crate) fn pem_file(path: &str) -> Result<Vec<u8>, String> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_PEM => Err("larger than 1 MiB".into()),
        _ => std::fs::read(path).map_err(|error| error.to_string()),
    }
}

/// `KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".into()),
    }
}

/// What is shown of `KEY=VALUE` or `NAME: VALUE` when the value may be secret.
pub(crate) fn mask(text: &str) -> String {
    match text.find(['=', ':']) {
        Some(at) => format!("{}***", &text[..=at]),
        None => "***".into(),
    }
}

/// What is shown of a target: headers it is given may be secret.
pub(crate) fn mask_target(text: &str) -> String {
    let option = |part: &str| match part.split_once('=') {
        Some(("set-header", header)) => format!("set-header={}", mask(header)),
        _ => part.to_owned(),
    };
    text.split(',').map(option).collect::<Vec<_>>().join(",")
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

#[cfg(test)]
mod tests;
