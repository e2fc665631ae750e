//! Why a replay could not be done, by who has to act; the binary maps each kind to
//! its exit code. What a target does is never an error here: it is an outcome.

use std::fmt;

use umbra_log::LogError;

/// Why a job was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A job of this name is stored with other settings: the user decides.
    #[error("job {job} is stored with other settings: {}", list(differences))]
    PlanDiffers {
        /// The job.
        job: String,
        /// Setting by setting.
        differences: Vec<Difference>,
    },
    /// A target is the upstream the records came from.
    #[error(
        "target {target} is {upstream}, which the requests were captured in front of; \
         --allow-production sends them there all the same"
    )]
    WouldHitProduction {
        /// Name of the target.
        target: String,
        /// As recorded.
        upstream: String,
    },
    /// There is no such log.
    #[error("{0}")]
    NoSuchLog(String),
    /// The log or what is stored beside it cannot be read.
    #[error("{0}")]
    Unusable(String),
    /// The settings make no sense for this log.
    #[error("{0}")]
    Invalid(String),
    /// The log or its brokers cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// Somebody else holds the log or the job.
    #[error("{0}")]
    Held(String),
    /// The log says no.
    #[error("{0}")]
    Refused(String),
    /// The disk said no.
    #[error("{0}")]
    Io(String),
    /// A value that was sealed at capture does not open, and none may be left out.
    #[error("the value of {place} is sealed with key {key}, which does not open: {why}")]
    Sealed {
        /// The data key.
        key: String,
        /// Where the value stands in the request.
        place: String,
        /// In words.
        why: String,
    },
    /// A target's settings cannot be used.
    #[error("target {target}: {reason}")]
    Target {
        /// Its name.
        target: String,
        /// In words.
        reason: String,
    },
    /// A part of this program failed: a bug of ours.
    #[error("{0}")]
    Bug(String),
}

/// One setting that is not as the stored plan has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The flag, without dashes.
    pub setting: String,
    /// What is stored; empty: not set.
    pub stored: Vec<String>,
    /// What was asked for now; empty: not set.
    pub given: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |values: &[String]| match values {
            [] => "not set".to_owned(),
            values => values.join(" "),
        };
        write!(f, "{}: stored {}, now {}", self.setting, side(&self.stored), side(&self.given))
    }
}

fn list(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl From<LogError> for ReplayError {
    fn from(error: LogError) -> Self {
        let words = error.to_string();
        match error {
            LogError::NotFound(_) => Self::NoSuchLog(words),
            LogError::Unusable(_) => Self::Unusable(words),
            LogError::Unreachable(_) | LogError::Deadline(_) => Self::Unreachable(words),
            LogError::Held(_) => Self::Held(words),
            LogError::Refused(_) => Self::Refused(words),
            LogError::Io(_) => Self::Io(words),
        }
    }
}
