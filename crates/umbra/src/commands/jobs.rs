//! `umbra jobs`: the replay jobs of a log, and steering them.

mod table;

use std::time::Duration;

use serde_json::json;
use umbra_log::{Log, Mode};
use umbra_replay::jobs::{Change, Done, Job, Jobs, NotSteered, Speed};

use crate::{
    config::{self, Output},
    exit::{Code, Failure, Outcome},
    output,
    settings::{Settings, values},
};

/// Times of records are looked up this long at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked for.
enum Action {
    List,
    Show,
    Change(Change),
}

/// Runs it.
pub(crate) async fn run(mut settings: Settings) -> Outcome {
    let form = config::output(&mut settings);
    let log = config::log(&mut settings);
    let patience = settings.read("timeout", values::duration).unwrap_or_default();
    let action = action(&mut settings);
    let name = settings.text("NAME").map(str::to_owned);
    let named = !matches!(action, Some(Action::List));
    if named && name.is_none() {
        settings.trouble("the NAME of the job is missing");
    }
    let (log, action) = config::all_there(&settings, log.zip(action))?;
    let log = Log::open(&log.address, log.options, Mode::Existing).await?;
    let mut jobs = Jobs::open(&log).await?;
    let name = name.as_deref();
    match (action, name) {
        (Action::Change(change), Some(name)) => {
            let done = jobs.steer(name, change, patience).await?;
            tell(form, name, change, done)
        }
        (Action::Show, Some(name)) => {
            let found = jobs.look(Some(name), PATIENCE).await?;
            if found.is_empty() {
                let known = jobs.names().map(str::to_owned).collect();
                return Err(NotSteered::Unknown { name: name.to_owned(), known }.into());
            }
            show(form, &log, &found, true)
        }
        _ => show(form, &log, &jobs.look(None, PATIENCE).await?, false),
    }
}

fn action(settings: &mut Settings) -> Option<Action> {
    let word = settings.text("ACTION").unwrap_or("list").to_owned();
    if word != "rate"
        && let Some(pace) = settings.text("PACE")
    {
        settings.trouble(format!("`{pace}`: only `rate` takes a pace"));
    }
    Some(match word.as_str() {
        "list" => Action::List,
        "show" => Action::Show,
        "pause" => Action::Change(Change::Pause),
        "resume" => Action::Change(Change::Resume),
        "cancel" => Action::Change(Change::Cancel),
        "delete" => Action::Change(Change::Delete),
        "rate" => match settings.text("PACE").map(pace) {
            Some(Ok(speed)) => Action::Change(Change::Pace(speed)),
            Some(Err(what)) => {
                settings.trouble(what);
                return None;
            }
            None => {
                settings.trouble("rate: the pace is missing: 100/s, max or 2x");
                return None;
            }
        },
        other => {
            settings.trouble(format!(
                "`{other}` is no action: expected list, show, pause, resume, rate, cancel or delete"
            ));
            return None;
        }
    })
}

/// `100/s`, `max` or `2x`.
fn pace(text: &str) -> Result<Speed, String> {
    let read = match text {
        "max" => Ok(Speed::Max),
        _ if text.ends_with('x') => values::speed(text).map(Speed::Recorded),
        _ => values::rate(text).map(Speed::Rate),
    };
    read.map_err(|what| format!("`{text}`: {what} (a pace is 100/s, max or 2x)"))
}

fn show(form: Output, log: &Log, jobs: &[Job], whole: bool) -> Outcome {
    match form {
        Output::Json => output::json(&json!({ "jobs": jobs }))?,
        Output::Text if jobs.is_empty() => {
            output::text(&format!("{} has no jobs\n", log.name()))?;
        }
        Output::Text => {
            output::text(&table::summary(jobs))?;
            if whole {
                output::text(&table::details(jobs))?;
            }
        }
    }
    Ok(0)
}

fn tell(form: Output, name: &str, change: Change, done: Done) -> Outcome {
    let action = match change {
        Change::Pause => "pause",
        Change::Resume => "resume",
        Change::Pace(_) => "rate",
        Change::Cancel => "cancel",
        Change::Delete => "delete",
    };
    let state = match done {
        Done::Followed => "followed",
        Done::Stored => "stored",
        Done::Unseen => "unseen",
        Done::Already => "already",
    };
    let words = match (change, done) {
        (Change::Delete, _) => "is deleted: its name is free again",
        (Change::Pause, Done::Already) => "was paused already",
        (Change::Resume, Done::Already) => "is not paused",
        (_, Done::Already) => "was cancelled already",
        (Change::Pause, Done::Stored) => "is paused: nobody runs it now, it holds for whoever will",
        (_, Done::Stored) => "stored: nobody runs the job now, it holds for whoever will",
        (Change::Pause, _) => "is told to pause: those who run it follow within a second",
        (Change::Resume, Done::Followed) => "goes on",
        (Change::Pace(_), Done::Followed) => "goes on at the new pace",
        (Change::Cancel, Done::Followed) => "is cancelled, and nobody runs it any more",
        (_, Done::Unseen) => "stored: it was not seen in time that those who run the job follow",
    };
    match form {
        Output::Json => output::json(&json!({ "job": name, "action": action, "result": state }))?,
        Output::Text => output::text(&format!("job {name} {words}\n"))?,
    }
    Ok(0)
}

impl From<NotSteered> for Failure {
    fn from(error: NotSteered) -> Self {
        match error {
            NotSteered::Unknown { .. } => Self::new(Code::NoInput, error.to_string()),
            NotSteered::Senseless(why) => Self::new(Code::Usage, why),
            NotSteered::Failed(error) => error.into(),
        }
    }
}
