//! What `umbra jobs` says.

use serde_json::Value;

use super::{logs::TestLog, process::Umbra};

/// One job of the log; null: there is none of that name.
#[track_caller]
pub(crate) fn job(log: &TestLog, name: &str) -> Value {
    let jobs = Umbra::new("jobs").arg(log.arg()).result();
    let all = jobs["jobs"].as_array().unwrap_or_else(|| panic!("{jobs}"));
    all.iter().find(|job| job["name"] == name).cloned().unwrap_or_default()
}
