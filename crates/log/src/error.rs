//! What can go wrong with a log as a whole. What becomes of one entry is told
//! by [`crate::Rejected`] and [`crate::Loss`] instead.

/// What can go wrong with a log, by who has to act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// There is no such log.
    #[error("{0}")]
    NotFound(String),
    /// It is not a log of ours, or damaged beyond passing.
    #[error("{0}")]
    Unusable(String),
    /// It cannot be reached, or did not answer in time. `retryable`.
    #[error("{0}")]
    Unreachable(String),
    /// Somebody else holds it.
    #[error("{0}")]
    Held(String),
    /// It says no: authorization, a setting we cannot work with.
    #[error("{0}")]
    Refused(String),
    /// The disk said no.
    #[error("{0}")]
    Io(String),
    /// A deadline passed.
    #[error("{0}")]
    Deadline(String),
}

impl LogError {
    /// Whether the same call may succeed later without anybody changing a
    /// setting.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Deadline(_))
    }
}
