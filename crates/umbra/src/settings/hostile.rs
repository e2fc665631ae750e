//! Whatever is typed, written into a configuration file or set in the environment, is
//! used or refused in words. `UMBRA_TEST_LONG=1` tries a hundred times as much, from
//! another seed each time.

use std::collections::BTreeMap;

use proptest::{
    collection,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, RngSeed},
};

use super::{Parsed, file, parse, values};
use crate::{config, flags::COMMANDS};

fn cases(usual: u32) -> Config {
    match std::env::var_os("UMBRA_TEST_LONG") {
        Some(_) => Config::with_cases(usual * 100),
        None => Config { rng_seed: RngSeed::Fixed(9), ..Config::with_cases(usual) },
    }
}

/// Values that are at the end of something, or of another kind.
const NASTY: &[&str] = &[
    "",
    " ",
    "0",
    "1",
    "-1",
    "3",
    "1.5",
    "nan",
    "inf",
    "1e308",
    "1e-308",
    "9e15",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
    "1s",
    "0s",
    "18446744073709551615s",
    "1h30m",
    "1..5s",
    "64KiB",
    "8191TiB",
    "1.7976931348623157e308MiB",
    "100/s",
    "1/h",
    "1/x",
    "max",
    "5m:100,10m:500",
    "1s:",
    ":",
    "now",
    "-2h",
    "+99999999d",
    "-99999999d",
    "@99999999999999999999",
    "@1.999999999",
    "2026-11-22 10:00",
    "9999-12-31T23:59:59Z",
    "-9999-01-01T00:00:00Z",
    "é",
    "\u{0}",
    "\u{feff}",
    "[",
    "]",
    "[a, [b]]",
    "{a: b}",
    "{url: x, name: }",
    "&a *a",
    "*",
    "~(",
    "~.*",
    "/api/*",
    "a=b",
    "=",
    ",",
    ",,=",
    "true",
    "json",
    "full",
    "skip:1s",
    "hold:",
    "v2=http://127.0.0.1:1/p,percent=5",
    "http://127.0.0.1:1",
    "http://[::1",
    "http://[::1]:99999/",
    "https://a@b",
    "://",
    "file:",
    "file:/dev/null",
    "kafka://",
    "kafka:///t",
    "kafka://a:1,b:2/t?x",
    "auto",
    "off",
    "header:X",
    "cookie:",
    "X-A: b",
    "sasl.password=@/dev/null",
    "a=env:HOME",
    "different,failed>1%,p99>+20%",
    "100%",
];

/// A value; not a name that would have to be looked up.
fn value(flag: &'static str) -> BoxedStrategy<String> {
    let looked_up = matches!(flag, "listen" | "admin");
    let numeric = select(&["127.0.0.1:0", ":0", ":99999", "[::1]:1", "", ":", "1:2:3"][..]);
    let composed = collection::vec(select(NASTY), 0..4).prop_map(|parts| parts.concat());
    match looked_up {
        true => numeric.prop_map(str::to_owned).boxed(),
        false => prop_oneof![select(NASTY).prop_map(str::to_owned), composed].boxed(),
    }
}

/// A command and what is said about some of its flags.
fn command_line() -> impl Strategy<Value = (&'static str, Vec<(&'static str, String)>)> {
    // What these do is told elsewhere, or is no setting.
    let is_setting = |name: &str| !matches!(name, "config" | "print-config");
    (0..COMMANDS.len()).prop_flat_map(move |number| {
        let command = &COMMANDS[number];
        let flags: Vec<&'static str> =
            command.all_flags().map(|flag| flag.name).filter(|name| is_setting(name)).collect();
        let said = select(flags).prop_flat_map(|flag| (Just(flag), value(flag)));
        (Just(command.name), collection::vec(said, 0..8))
    })
}

/// All that a command does with its settings before it opens anything.
fn understand(args: Vec<String>, env: &BTreeMap<String, String>) -> Vec<String> {
    let mut settings = match parse(args, env) {
        Ok(Parsed::Run(settings)) => settings,
        Ok(Parsed::Print(_)) => return Vec::new(),
        Err(failure) => return vec![failure.message],
    };
    let run = config::run(&mut settings);
    config::output(&mut settings);
    config::log(&mut settings);
    config::window(&mut settings);
    config::selection(&mut settings, "capture");
    match settings.command.name {
        "capture" => drop(config::capture(&mut settings, run.drain)),
        "replay" => drop(config::replay(&mut settings, run.drain)),
        "mirror" => {
            config::capture(&mut settings, run.drain);
            config::live_replay(&mut settings, run.drain);
        }
        "compare" | "explain" => drop(config::judge(&mut settings, true)),
        _ => {}
    }
    settings.as_yaml();
    settings.into_problems()
}

fn in_words(problems: &[String]) -> Result<(), TestCaseError> {
    prop_assert!(problems.iter().all(|problem| !problem.trim().is_empty()), "{:?}", problems);
    Ok(())
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn flags_and_variables_are_used_or_refused(
        (command, said) in command_line(),
        (_, in_environment) in command_line(),
    ) {
        let mut args = vec!["umbra".to_owned()];
        args.extend(command.split(' ').map(str::to_owned));
        let spec = COMMANDS.iter().find(|one| one.name == command).unwrap();
        for (flag, value) in said {
            let flag = spec.all_flags().find(|one| one.name == flag).unwrap();
            match (flag.positional, flag.value) {
                (true, _) => args.push(value),
                (false, None) => args.push(format!("--{}", flag.name)),
                (false, Some(_)) => args.extend([format!("--{}", flag.name), value]),
            }
        }
        let env = in_environment.into_iter().map(|(flag, value)| {
            (format!("UMBRA_{}", flag.replace('-', "_").to_uppercase()), value)
        });
        in_words(&understand(args, &env.collect()))?;
    }

    #[test]
    fn numbers_are_read_or_refused(text in select(NASTY), more in any::<String>()) {
        for text in [text, &more, &format!("{text}{more}")] {
            let _ = (values::size(text), values::rate(text), values::speed(text));
            let _ = (values::percent(text), values::count(text), values::switch(text));
            let _ = (values::pair(text), values::mask(text), values::mask_target(text));
            if let Ok(time) = values::duration(text) {
                // Added to the present without a thought everywhere.
                prop_assert!(std::time::Instant::now().checked_add(time).is_some(), "{:?}", time);
            }
            if let Ok(instant) = values::instant(text) {
                prop_assert!(!values::show_instant(instant).is_empty());
            }
        }
    }
}

const FILE: &str = "\
# comment
log: 'file:/tmp/x'
capture:
  listen: [':0', ':1']
  upstream: http://127.0.0.1:1
  memory: 64MiB
  label: {zone: a, name: b}
  path: [/api/*, '~^/x']
  percent: 0.5
  open-after: 30s
replay:
  target:
    - {name: v2, url: 'http://127.0.0.1:2', percent: 5}
    - v3=http://127.0.0.1:3
  speed: 2
  stages: 5m:100,10m:500
  set-header: |
    X: y
";

fn check(text: &[u8], command: &str) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let args = ["umbra", command, "--config", &path].map(str::to_owned);
    understand(args.into(), &BTreeMap::new())
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn any_file_is_used_or_refused(
        damage in collection::vec((any::<Index>(), select(&b"\n :-[]{}&*!|>'\"%@`#?,\\\t\0\x80\xff"[..])), 1..5),
        (from, to, into) in (any::<Index>(), any::<Index>(), any::<Index>()),
        command in select(&["capture", "replay", "mirror"][..]),
    ) {
        let mut text = FILE.as_bytes().to_vec();
        for (place, byte) in damage {
            let place = place.index(text.len());
            text[place] = byte;
        }
        let (from, to) = (from.index(text.len()), to.index(text.len()));
        let piece = text[from.min(to)..from.max(to)].to_vec();
        let into = into.index(text.len());
        text.splice(into..into, piece);
        in_words(&check(&text, command))?;
    }

    #[test]
    fn any_text_is_used_or_refused(
        pieces in collection::vec(select(&["a", "capture", "replay", "target", ":", " ", "\n", "\n  ", "- ", "[", "]", "{", "}", ",", "'", "\"", "|\n", "? ", "&a ", "*a", "!t ", "---\n", "...\n", "%YAML 9", "#", "\t", "é"][..]), 0..40),
    ) {
        in_words(&check(pieces.concat().as_bytes(), "replay"))?;
    }
}

#[test]
fn a_file_as_deep_as_it_may_be_long() {
    for piece in ["[", "{a: ", "- ", "? ", "[{", "a:\n "] {
        let text = piece.repeat((1 << 20) / piece.len());
        assert!(!check(text.as_bytes(), "capture").is_empty(), "{piece:?}");
    }
}

#[test]
fn a_file_without_end() {
    let (_, problems) = file::read(std::path::Path::new("/dev/zero"));
    assert_eq!(problems.len(), 1, "{problems:?}");
}
