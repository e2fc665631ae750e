//! What a shadow request's authority becomes.
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
