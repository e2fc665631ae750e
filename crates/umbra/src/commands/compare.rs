//! `umbra compare`: judges the outcomes of a job again.

use std::{path::PathBuf, sync::Arc};

use umbra_log::{Log, Mode};
use umbra_replay::{Again, Baseline};

use super::compared;
use crate::{
    config,
    exit::{Code, Failure, Outcome},
    settings::Settings,
};

/// Runs it.
pub(crate) async fn run(mut settings: Settings) -> Outcome {
    let form = config::output(&mut settings);
    let log = config::log(&mut settings);
    let job = settings.require("job", |text| Ok(text.to_owned()));
    let outcomes = settings.text("outcomes").map(PathBuf::from);
    let compare = config::judge(&mut settings, true);
    let telling = config::telling(&mut settings);
    let all = log.zip(job).zip(compare);
    let ((log, job), mut compare) = config::all_there(&settings, all)?;
    let log = Log::open(&log.address, log.options, Mode::Existing).await?;
    let Some(planned) = umbra_replay::stored(&job, &log).await? else {
        let message = format!("{} has no job {job}", log.name());
        return Err(Failure::new(Code::NoInput, message));
    };
    let setting = |name: &str| {
        let found = planned.settings.iter().find(|(known, _)| known == name);
        found.and_then(|(_, values)| values.first().cloned())
    };
    if let Some(name) = setting("baseline") {
        compare.baseline = Baseline::Target(name);
        compare.settings.same_load = true;
    }
    compare.noise = setting("noise");
    let Some(outcomes) = outcomes.or_else(|| planned.outcomes.clone()) else {
        let message = format!(
            "job {job} was not told to write its outcomes: run it with --outcomes FILE, or name \
             the file here"
        );
        return Err(Failure::new(Code::NoInput, message));
    };
    let again = Again { planned, outcomes, compare: Arc::new(compare) };
    let result = umbra_replay::judge_again(&again, &log).await?;
    compared::tell_again(&again.planned, log.name(), &result, &telling, form)
}
