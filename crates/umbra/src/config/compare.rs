//! How answers are compared, ready to use.

use std::{path::PathBuf, sync::Arc};

use umbra_compare::{Gate, Rules, Settings as Sureness, Verdict};
use umbra_replay::{Baseline, Compare, Target};

use crate::settings::{Settings, values};

/// Flags that say nothing without `--compare`.
const ONLY_WITH_COMPARE: &[&str] = &[
    "baseline",
    "noise",
    "learn",
    "noise-profile",
    "ignore",
    "tolerate",
    "array-key",
    "json-strings",
    "descriptors",
    "openapi",
    "endpoint",
    "alpha",
    "share",
    "confidence",
    "report",
    "fail-on",
];

/// What becomes of the verdict.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    /// Files of the report.
    pub(crate) reports: Vec<PathBuf>,
    /// Where to keep what was learned.
    pub(crate) learn: Option<PathBuf>,
    /// Conditions to fail on, and how the user wrote them.
    pub(crate) gate: Option<(Gate, String)>,
}

/// How the answers of these targets are compared; `None`: they are not.
pub(super) fn compare(settings: &mut Settings, targets: &[Target]) -> Option<Arc<Compare>> {
    if !settings.on("compare") {
        for name in ONLY_WITH_COMPARE {
            if settings.given(name) {
                settings.problem(name, "needs --compare");
            }
        }
        return None;
    }
    let baseline = match settings.text("baseline") {
        None | Some("recorded") => Baseline::Recorded,
        Some(name) => Baseline::Target(name.to_owned()),
    };
    let noise = settings.text("noise").map(str::to_owned);
    let mut compare = judge(settings, baseline == Baseline::Recorded)?;
    compare.baseline = baseline;
    compare.noise = noise;
    check_targets(settings, &compare, targets);
    Some(Arc::new(compare))
}

/// What counts as a difference.
pub(crate) fn judge(settings: &mut Settings, recorded: bool) -> Option<Compare> {
    let rules = rules(settings);
    let sureness = sureness(settings, recorded);
    let mut endpoints = settings.texts("endpoint").to_vec();
    let described = settings.read("openapi", |path| {
        let text = std::fs::read(path).map_err(|error| error.to_string())?;
        umbra_compare::openapi(&text)
    });
    endpoints.extend(described.unwrap_or_default());
    let blank = match Verdict::new(sureness).with_endpoints(&endpoints) {
        Ok(blank) => Some(blank),
        Err(problems) => {
            problems.into_iter().for_each(|problem| settings.problem("endpoint", problem));
            None
        }
    };
    let learned = settings.read("noise-profile", profile);
    Some(Compare {
        baseline: Baseline::Recorded,
        noise: None,
        rules: rules?,
        settings: sureness,
        blank: blank?,
        learned,
    })
}

/// What is told of the verdict, and where.
pub(crate) fn telling(settings: &mut Settings) -> Telling {
    let reports = settings.read_all("report", crate::commands::report::file);
    let gate =
        settings.read("fail-on", |text| text.parse::<Gate>().map(|gate| (gate, text.to_owned())));
    Telling { reports, learn: settings.text("learn").map(PathBuf::from), gate }
}

fn rules(settings: &mut Settings) -> Option<Rules> {
    let mut lines = settings.texts("ignore").to_vec();
    lines.extend(settings.texts("tolerate").iter().cloned());
    lines.extend(settings.read_all("array-key", Rules::array_key));
    lines.extend(settings.read_all("json-strings", Rules::json_strings));
    let descriptors =
        settings.read("descriptors", |path| std::fs::read(path).map_err(|error| error.to_string()));
    match Rules::new(&lines) {
        Ok(rules) => match descriptors {
            None => Some(rules),
            Some(set) => rules
                .with_descriptors(&set)
                .map_err(|problem| settings.problem("descriptors", problem))
                .ok(),
        },
        Err(problems) => {
            problems.into_iter().for_each(|problem| settings.trouble(problem));
            None
        }
    }
}

fn sureness(settings: &mut Settings, recorded: bool) -> Sureness {
    let usual = Sureness::default();
    let between = |value: f64| {
        let fits = value > 0.0 && value < 1.0;
        fits.then_some(value).ok_or_else(|| "expected more than 0 and less than all".to_owned())
    };
    let share = |text: &str| match text.trim().strip_suffix('%') {
        Some(percent) => between(values::percent(percent)? / 100.0),
        None => {
            between(text.trim().parse().map_err(|_| "expected a share, such as 5%".to_owned())?)
        }
    };
    Sureness {
        alpha: settings.read("alpha", share).unwrap_or(usual.alpha),
        share: settings.read("share", share).unwrap_or(usual.share),
        confidence: settings.read("confidence", share).unwrap_or(usual.confidence),
        // What was recorded was answered at another time, under another load.
        same_load: !recorded,
    }
}

fn profile(path: &str) -> Result<Verdict, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    Verdict::from_bytes(&bytes).map_err(|error| format!("not a profile of noise: {error}"))
}

/// The targets that are named are there, and one is left to be judged.
fn check_targets(settings: &mut Settings, compare: &Compare, targets: &[Target]) {
    let known = |name: &str| targets.iter().any(|target| target.name == name);
    let baseline = match &compare.baseline {
        Baseline::Recorded => None,
        Baseline::Target(name) => Some(name.as_str()),
    };
    let named = [("baseline", baseline), ("noise", compare.noise.as_deref())];
    for (flag, name) in named {
        if let Some(name) = name.filter(|name| !known(name)) {
            settings.problem(flag, format!("there is no --target {name}=URL"));
        }
    }
    if baseline.is_some() && baseline == compare.noise.as_deref() {
        settings.problem("noise", "is the baseline: name another instance of the same version");
    }
    let companion = |name: &str| named.iter().any(|(_, one)| *one == Some(name));
    let left = targets.iter().filter(|target| !companion(&target.name)).count();
    if !targets.is_empty() && left == 0 {
        settings.problem("compare", "no target is left to be compared with the baseline");
    }
    if settings.text("learn").is_some() && left > 1 {
        settings.problem("learn", "takes one target beside the baseline");
    }
}
