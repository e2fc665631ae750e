//! How the process ends: one code per meaning, as the interface lists them.

use std::fmt;

/// Exit codes. Scripts rely on them; they are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Whoever read the result has seen enough.
    Quiet = 0,
    /// Flags or configuration are wrong.
    Usage = 64,
    /// Data is unusable: not a recording, damaged, a key is missing.
    Data = 65,
    /// A log or an input file is not there.
    NoInput = 66,
    /// A service that is needed cannot be reached.
    Unavailable = 69,
    /// A bug of ours.
    Bug = 70,
    /// The disk said no.
    Disk = 74,
    /// A window was cut short by a signal: the same job goes on.
    CutShort = 75,
}

/// Why a command failed, in words for the user, and the code to end with.
#[derive(Debug)]
pub(crate) struct Failure {
    /// See [`Code`].
    pub(crate) code: Code,
    /// What was wrong, where, and what to do. Printed after `umbra: `.
    pub(crate) message: String,
}

impl Failure {
    /// A failure with this code and message.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The reader of stdout is gone: nothing is left to do, and nothing to say.
    pub(crate) fn quiet() -> Self {
        Self::new(Code::Quiet, "")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<umbra_log::LogError> for Failure {
    fn from(error: umbra_log::LogError) -> Self {
        use umbra_log::LogError as E;
        let code = match &error {
            E::NotFound(_) => Code::NoInput,
            E::Unusable(_) => Code::Data,
            E::Unreachable(_) | E::Held(_) | E::Refused(_) | E::Deadline(_) => Code::Unavailable,
            E::Io(_) => Code::Disk,
        };
        Self::new(code, error.to_string())
    }
}

/// How a command ends when nothing failed.
pub(crate) type Outcome = Result<u8, Failure>;
