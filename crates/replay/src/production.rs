//! Whether a target is the very upstream the requests were captured in front of:
//! sending there would repeat production's traffic on production.

use std::collections::HashMap;

use http::Uri;

#[cfg(test)]
mod tests;

/// Upstreams remembered; agents have few.
const MAX_KNOWN: usize = 1024;

/// Knows one target.
#[derive(Debug)]
pub(crate) struct Production {
    target: Option<(String, u16)>,
    known: HashMap<String, bool>,
}

impl Production {
    pub(crate) fn new(target: &Uri) -> Self {
        Self { target: place(target), known: HashMap::new() }
    }

    /// Whether this recorded upstream is the target.
    pub(crate) fn is_hit(&mut self, upstream: &str) -> bool {
        if upstream.is_empty() {
            return false;
        }
        if let Some(hit) = self.known.get(upstream) {
            return *hit;
        }
        let there = upstream.parse::<Uri>().ok().as_ref().and_then(place);
        let hit = there.is_some() && there == self.target;
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(upstream.to_owned(), hit);
        hit
    }
}

/// Host and port; the scheme does not tell two services apart, and all names of
/// this machine's loopback are one.
fn place(uri: &Uri) -> Option<(String, u16)> {
    let authority = uri.authority()?;
    let port = authority.port_u16().unwrap_or(match uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    });
    let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let host = match host.trim_matches(['[', ']']) {
        "127.0.0.1" | "::1" | "0.0.0.0" | "::" => "localhost".to_owned(),
        host => host.to_owned(),
    };
    Some((host, port))
}
