//! How replayed requests are told from live ones: the standard mark against loops,
//! Via (RFC 9110 section 7.6.3). Only the words; who writes and who obeys them is
//! decided elsewhere.

#[cfg(test)]
mod tests;

/// Pseudonym the capture agent adds to Via on the way to the upstream.
pub const VIA_CAPTURE: &str = "umbra";
/// Pseudonym of a replayed request: `Via: 1.1 umbra-shadow (JOB; ID)`.
pub const VIA_SHADOW: &str = "umbra-shadow";
/// Added, with the value `2`, to a request that may have been sent before.
pub const ATTEMPT: &str = "x-umbra-attempt";
/// Added to a request whose body the agent cut at its limit, with the length of the
/// whole: what is sent is the beginning.
pub const TRUNCATED: &str = "x-umbra-truncated";

/// The value of the Via line of a replayed request. `id` is the request's id.
/// What could end the comment early is left out of the job's name.
pub fn via_shadow(job: &str, id: &[u8]) -> String {
    ShadowVia::new(job).of(id)
}

/// The same for many requests of one job.
#[derive(Debug, Clone)]
pub struct ShadowVia {
    /// What stands before the id.
    begin: String,
}

impl ShadowVia {
    /// Of this job.
    pub fn new(job: &str) -> Self {
        let plain = |c: &char| c.is_ascii_graphic() && !matches!(c, '(' | ')' | '\\');
        let job: String = job.chars().filter(plain).collect();
        Self { begin: format!("1.1 {VIA_SHADOW} ({job}; ") }
    }

    /// Of the request with this id.
    pub fn of(&self, id: &[u8]) -> String {
        let mut via = String::with_capacity(self.begin.len() + 37);
        via.push_str(&self.begin);
        crate::id::push_text(id, &mut via);
        via.push(')');
        via
    }
}

/// Whether a Via value names a replayer of ours among its hops, which means that
/// the request is a shadow already and must not be recorded again.
pub fn is_shadow(via_value: &[u8]) -> bool {
    let mut depth = 0usize;
    let mut escaped = false;
    // Comments may nest and hold commas and quoted pairs; only commas outside of
    // them end a hop.
    let ends_hop = |byte: &u8| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if depth > 0 => escaped = true,
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && *byte == b','
    };
    via_value.split(ends_hop).any(|hop| pseudonym(hop).eq_ignore_ascii_case(VIA_SHADOW.as_bytes()))
}

/// The second word of a hop: who received it, after the protocol.
fn pseudonym(hop: &[u8]) -> &[u8] {
    let mut words =
        hop.split(|byte| matches!(byte, b' ' | b'\t' | b'(')).filter(|word| !word.is_empty());
    words.nth(1).unwrap_or_default()
}
