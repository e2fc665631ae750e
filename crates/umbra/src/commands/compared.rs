//! What comes of a verdict: text for people, files of the report, what was learned, and
//! whether what was asked for holds.

use std::{collections::BTreeMap, path::Path};

use umbra_compare::report::{Document, GateResult, TargetReport, Window};
use umbra_replay::{Compared, ComparedTarget, Planned, Report, Stats};

use super::report;
use crate::{
    admin::MakeReport,
    config::{Output, Telling},
    exit::{Code, Failure, Outcome},
    output,
    settings::values,
};

/// Tells it, everywhere it was asked for. Returns 1 if a condition to fail on holds.
pub(crate) fn tell(result: &Report, telling: &Telling, form: Output) -> Outcome {
    let Some(compared) = &result.compare else { return Ok(0) };
    let code = held(compared, telling);
    for one in compared.targets.values() {
        if let Some(path) = &telling.learn {
            write(path, &one.verdict.to_bytes())?;
        }
    }
    let document = document(result, telling);
    for path in &telling.reports {
        report::write(&document, path)?;
    }
    if form == Output::Text {
        output::text(&document.terminal(&report::terminal()))?;
    }
    Ok(code)
}

/// Everything there is to tell, for whoever renders it.
pub(crate) fn document(report: &Report, telling: &Telling) -> Document {
    let compared = report.compare.as_ref();
    let targets = compared.into_iter().flat_map(|compared| &compared.targets);
    Document {
        created: Some(values::show_instant(now())),
        umbra: Some(env!("CARGO_PKG_VERSION").to_owned()),
        job: report.job.clone(),
        run: Some(u64::from(report.run)),
        log: report.log.clone(),
        window: Window {
            from: report.from.clone(),
            to: report.to.clone(),
            mode: Some(report.mode.to_owned()),
        },
        baseline: compared.map(|one| one.baseline.clone()).unwrap_or_default(),
        noise: compared.and_then(|one| one.noise.clone()),
        targets: targets.map(|(name, one)| target(name, one, report, telling)).collect(),
        ..Document::default()
    }
}

/// Tells what judging again came to.
pub(crate) fn tell_again(
    planned: &Planned,
    log: &str,
    compared: &Compared,
    telling: &Telling,
    form: Output,
) -> Outcome {
    let code = held(compared, telling);
    let target = |(name, one): (&String, &ComparedTarget)| TargetReport {
        name: name.clone(),
        url: String::new(),
        sent: 0,
        answered: 0,
        failed: BTreeMap::new(),
        skipped: BTreeMap::new(),
        gate: gate(one, telling),
        compare: one.report.clone(),
        exchanges: one.exchanges.clone(),
    };
    let document = Document {
        created: Some(values::show_instant(now())),
        umbra: Some(env!("CARGO_PKG_VERSION").to_owned()),
        job: planned.job.clone(),
        run: Some(u64::from(planned.run)),
        log: log.to_owned(),
        window: Window {
            from: planned.from_ns.map(values::show_instant),
            to: planned.to_ns.map(values::show_instant),
            mode: Some("judged again".to_owned()),
        },
        targets: compared.targets.iter().map(target).collect(),
        baseline: compared.baseline.clone(),
        noise: compared.noise.clone(),
        ..Document::default()
    };
    for path in &telling.reports {
        report::write(&document, path)?;
    }
    match form {
        Output::Text => output::text(&document.terminal(&report::terminal()))?,
        Output::Json => {
            let object = compared
                .to_json()
                .map_err(|error| Failure::new(Code::Bug, format!("result: {error}")))?;
            output::json(&object)?;
        }
    }
    Ok(code)
}

/// Says which conditions to fail on hold; 1 if any does.
fn held(compared: &Compared, telling: &Telling) -> u8 {
    let mut code = 0;
    for (name, one) in &compared.targets {
        for sentence in gate(one, telling).map(|gate| gate.held).unwrap_or_default() {
            eprintln!("umbra: --fail-on: {name}: {sentence}");
            code = 1;
        }
    }
    code
}

fn gate(one: &ComparedTarget, telling: &Telling) -> Option<GateResult> {
    let (gate, asked) = telling.gate.as_ref()?;
    Some(GateResult { asked: asked.clone(), held: gate.held(&one.report) })
}

/// What makes a report while the job runs.
pub(crate) fn live(stats: &Stats, job: &str, log: &str) -> Option<MakeReport> {
    let (stats, job, log) = (stats.clone(), job.to_owned(), log.to_owned());
    Some(Box::new(move || {
        let compared = stats.compared()?;
        let states = stats.snapshot();
        let targets = compared.targets.iter().map(|(name, one)| {
            let state = states.get(name).cloned().unwrap_or_default();
            TargetReport {
                name: name.clone(),
                url: String::new(),
                sent: state.sent,
                answered: state.answered,
                failed: BTreeMap::new(),
                skipped: BTreeMap::new(),
                gate: None,
                compare: one.report.clone(),
                exchanges: one.exchanges.clone(),
            }
        });
        Some(Document {
            created: Some(values::show_instant(now())),
            umbra: Some(env!("CARGO_PKG_VERSION").to_owned()),
            job: job.clone(),
            log: log.clone(),
            window: Window { mode: Some("as of now".to_owned()), ..Window::default() },
            targets: targets.collect(),
            baseline: compared.baseline,
            noise: compared.noise,
            ..Document::default()
        })
    }))
}

fn target(name: &str, one: &ComparedTarget, report: &Report, telling: &Telling) -> TargetReport {
    let sent = report.targets.get(name);
    TargetReport {
        name: name.to_owned(),
        url: sent.map(|sent| sent.url.clone()).unwrap_or_default(),
        sent: sent.map_or(0, |sent| sent.sent),
        answered: sent.map_or(0, |sent| sent.answered),
        failed: sent.map(|sent| sent.failed.clone()).unwrap_or_default(),
        skipped: sent.map(|sent| sent.skipped.clone()).unwrap_or_default(),
        gate: gate(one, telling),
        compare: one.report.clone(),
        exchanges: one.exchanges.clone(),
    }
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes)
        .map_err(|error| Failure::new(Code::Disk, format!("{}: {error}", path.display())))
}
