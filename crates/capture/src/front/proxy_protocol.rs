//! The PROXY protocol, versions 1 and 2 (haproxy.org/download/3.2/doc/proxy-protocol.txt):
//! a balancer in front says who the client is before anything else is sent. Parsing
//! only; [`super::incoming`] reads.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1, with its end of line (section 2.1).
const MAX_TEXT: usize = 107;

/// Longest header of version 2 that is taken. A balancer's own fields take some
/// hundred bytes, a client's certificate some thousand.
const MAX_BINARY: usize = 16 << 10;

/// What version 2 begins with (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What version 1 begins with.
const WORD: &[u8] = b"PROXY ";

/// What is known after some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// All of them belong to the header, and more do.
    Incomplete,
    /// The first `len` bytes are the header.
    Complete { len: usize, source: Source },
}

/// Who the client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Whoever made the connection: the balancer itself, or one that does not know.
    Connection,
    /// This address.
    Address(SocketAddr),
    /// A Unix socket's client: nobody with an address.
    Unix,
}

/// Parses the header at the start of `bytes`; what is wrong with it is a reason to be
/// counted.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, &'static str> {
    if begins(bytes, SIGNATURE) {
        binary(bytes)
    } else if begins(bytes, WORD) {
        text(bytes)
    } else {
        Err("proxy_missing")
    }
}

/// Whether one is the beginning of the other.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let n = bytes.len().min(with.len());
    bytes[..n] == with[..n]
}

fn text(bytes: &[u8]) -> Result<Parsed, &'static str> {
    let start = &bytes[..bytes.len().min(MAX_TEXT)];
    let Some(end) = start.windows(2).position(|pair| pair == b"\r\n") else {
        let too_long = bytes.len() >= MAX_TEXT;
        return if too_long { Err("proxy_too_long") } else { Ok(Parsed::Incomplete) };
    };
    let line = std::str::from_utf8(&start[WORD.len()..end]).map_err(|_| "proxy_malformed")?;
    let source = match line.split_once(' ').unwrap_or((line, "")) {
        // What follows is to be ignored.
        ("UNKNOWN", _) => Source::Connection,
        ("TCP4", rest) => addresses::<Ipv4Addr>(rest)?,
        ("TCP6", rest) => addresses::<Ipv6Addr>(rest)?,
        _ => return Err("proxy_malformed"),
    };
    Ok(Parsed::Complete { len: end + 2, source })
}

/// `SOURCE DESTINATION SOURCE-PORT DESTINATION-PORT`.
fn addresses<A: std::str::FromStr + Into<IpAddr>>(rest: &str) -> Result<Source, &'static str> {
    let mut words = rest.split(' ');
    let mut word = || words.next().ok_or("proxy_malformed");
    let (source, destination) = (word()?, word()?);
    let (source_port, destination_port) = (port(word()?)?, port(word()?)?);
    let source = source.parse::<A>().map_err(|_| "proxy_malformed")?;
    destination.parse::<A>().map_err(|_| "proxy_malformed")?;
    let _ = destination_port;
    if words.next().is_some() {
        return Err("proxy_malformed");
    }
    Ok(Source::Address(SocketAddr::new(source.into(), source_port)))
}

/// Digits without a leading zero.
fn port(word: &str) -> Result<u16, &'static str> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (word.len() > 1 && word.starts_with('0')) {
        return Err("proxy_malformed");
    }
    word.parse().map_err(|_| "proxy_malformed")
}

fn binary(bytes: &[u8]) -> Result<Parsed, &'static str> {
    let Some(&[what, family, high, low]) = bytes.get(12..16) else {
        // The version is checked as soon as it is there.
        return match bytes.get(12) {
            Some(what) if !matches!(what, 0x20 | 0x21) => Err("proxy_malformed"),
            _ => Ok(Parsed::Incomplete),
        };
    };
    let len = 16 + usize::from(u16::from_be_bytes([high, low]));
    // LOCAL (0) and PROXY (1) are the commands of version 2; others must be refused.
    let local = match what {
        0x20 => true,
        0x21 => false,
        _ => return Err("proxy_malformed"),
    };
    // How long the addresses are; behind them come fields that are not of interest.
    let needed = match family {
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Err("proxy_malformed"),
    };
    if !local && len < 16 + needed {
        return Err("proxy_malformed");
    }
    if len > MAX_BINARY {
        return Err("proxy_too_long");
    }
    if bytes.len() < len {
        return Ok(Parsed::Incomplete);
    }
    let source = if local { Source::Connection } else { source(family, &bytes[16..len]) };
    Ok(Parsed::Complete { len, source })
}

fn source(family: u8, block: &[u8]) -> Source {
    match (family, block) {
        (0x11, [a, b, c, d, _, _, _, _, high, low, ..]) => {
            let port = u16::from_be_bytes([*high, *low]);
            Source::Address(SocketAddr::new(Ipv4Addr::new(*a, *b, *c, *d).into(), port))
        }
        (0x21, addresses) if addresses.len() >= 36 => {
            let mut address = [0; 16];
            address.copy_from_slice(&addresses[..16]);
            let port = u16::from_be_bytes([addresses[32], addresses[33]]);
            Source::Address(SocketAddr::new(Ipv6Addr::from(address).into(), port))
        }
        (0x31, _) => Source::Unix,
        // Unspecified, or datagrams, which do not come over a stream.
        _ => Source::Connection,
    }
}

#[cfg(test)]
mod tests;
