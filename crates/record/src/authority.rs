//! What a shadow request's authority becomes. Works on text, as Envoy does: nothing
//! is validated, resolved or changed in case, so that any Host a client sent comes
//! out recognisable. TLS names are not made here: they are the target's own.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt, str::FromStr};

/// Envoy's suffix.
pub const SUFFIX: &str = "-shadow";

/// How the authority of a shadow request is made from the recorded one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShadowHost {
    /// Inserted before the port (Envoy's rule); default `-shadow`.
    Suffix(String),
    /// The recorded authority, unchanged.
    Keep,
    /// The target's own authority.
    Target,
    /// A literal.
    Set(String),
}

impl ShadowHost {
    /// The authority to send. `target` is the target's own.
    ///
    /// A request recorded without any authority (HTTP/1.0) gets none by the suffix:
    /// there is no name to mark.
    pub fn apply<'a>(&'a self, recorded: &'a [u8], target: &'a str) -> Cow<'a, [u8]> {
        match self {
            Self::Suffix(_) if recorded.is_empty() => Cow::Borrowed(recorded),
            Self::Suffix(suffix) => Cow::Owned(insert_suffix(recorded, suffix)),
            Self::Keep => Cow::Borrowed(recorded),
            Self::Target => Cow::Borrowed(target.as_bytes()),
            Self::Set(name) => Cow::Borrowed(name.as_bytes()),
        }
    }
}

impl Default for ShadowHost {
    fn default() -> Self {
        Self::Suffix(SUFFIX.to_owned())
    }
}

/// As the user writes it: `suffix`, `suffix=-x`, `keep`, `target`, `set:NAME`.
impl FromStr for ShadowHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(suffix) = text.strip_prefix("suffix=") {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
            return if !suffix.is_empty() && suffix.bytes().all(plain) {
                Ok(Self::Suffix(suffix.to_owned()))
            } else {
                Err(format!("'{suffix}' is not a suffix of a host: letters, digits, '-', '.', '_'"))
            };
        }
        if let Some(name) = text.strip_prefix("set:") {
            let plain = |b: u8| b.is_ascii_graphic() && !b"/?#@\\\"<>,".contains(&b);
            return if !name.is_empty() && name.bytes().all(plain) {
                Ok(Self::Set(name.to_owned()))
            } else {
                Err(format!("'{name}' is not a host"))
            };
        }
        match text {
            "suffix" => Ok(Self::default()),
            "keep" => Ok(Self::Keep),
            "target" => Ok(Self::Target),
            _ => Err(format!("'{text}' is not one of suffix, suffix=TEXT, keep, target, set:HOST")),
        }
    }
}

/// The canonical text: parses back to the same.
impl fmt::Display for ShadowHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suffix(suffix) if suffix == SUFFIX => f.write_str("suffix"),
            Self::Suffix(suffix) => write!(f, "suffix={suffix}"),
            Self::Keep => f.write_str("keep"),
            Self::Target => f.write_str("target"),
            Self::Set(name) => write!(f, "set:{name}"),
        }
    }
}

/// The authority without a suffix that [`ShadowHost::Suffix`] (or a mesh) put there;
/// `None` if it has none. Only the last of several is taken off.
pub fn strip_suffix(authority: &[u8], suffix: &str) -> Option<Vec<u8>> {
    let (host, port) = authority.split_at(port_start(authority));
    let host = host.strip_suffix(suffix.as_bytes()).filter(|host| !host.is_empty())?;
    Some([host, port].concat())
}

/// Host and port of an authority; the port is what follows the last colon outside
/// of brackets, and `None` without one.
pub fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let (host, port) = authority.split_at(port_start(authority));
    (host, port.strip_prefix(b":"))
}

fn insert_suffix(authority: &[u8], suffix: &str) -> Vec<u8> {
    let (host, port) = authority.split_at(port_start(authority));
    [host, suffix.as_bytes(), port].concat()
}

/// Where the colon before the port is, or the end. A colon with a `]` after it is
/// part of an IPv6 address. An address without its brackets (`::1`) cannot be told
/// from a host with a port: its last group is taken for one, as Envoy does.
fn port_start(authority: &[u8]) -> usize {
    let end = authority.len();
    match (memchr::memrchr(b':', authority), memchr::memrchr(b']', authority)) {
        (Some(colon), Some(bracket)) if bracket > colon => end,
        (Some(colon), _) => colon,
        (None, _) => end,
    }
}
