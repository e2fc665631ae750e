//! What comes of a verdict: text for people, files of the report, what was learned, and
//! whether what was asked for holds.

use std::path::Path;

use umbra_compare::report::{Document, GateResult, TargetReport, Window};
use umbra_replay::{ComparedTarget, Report};

use super::report;
use crate::{
    config::{Output, Telling},
    exit::{Code, Failure, Outcome},
    output,
    settings::values,
};

/// Tells it, everywhere it was asked for. Returns 1 if a condition to fail on holds.
pub(crate) fn tell(result: &Report, telling: &Telling, form: Output) -> Outcome {
    let Some(compared) = &result.compare else { return Ok(0) };
    let mut code = 0;
    for (name, one) in &compared.targets {
        let gate = telling.gate.as_ref();
        for sentence in gate.map(|(gate, _)| gate.held(&one.report)).unwrap_or_default() {
            eprintln!("umbra: --fail-on: {name}: {sentence}");
            code = 1;
        }
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

fn target(name: &str, one: &ComparedTarget, report: &Report, telling: &Telling) -> TargetReport {
    let sent = report.targets.get(name);
    let gate = telling
        .gate
        .as_ref()
        .map(|(gate, asked)| GateResult { asked: asked.clone(), held: gate.held(&one.report) });
    TargetReport {
        name: name.to_owned(),
        url: sent.map(|sent| sent.url.clone()).unwrap_or_default(),
        sent: sent.map_or(0, |sent| sent.sent),
        answered: sent.map_or(0, |sent| sent.answered),
        failed: sent.map(|sent| sent.failed.clone()).unwrap_or_default(),
        skipped: sent.map(|sent| sent.skipped.clone()).unwrap_or_default(),
        gate,
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
