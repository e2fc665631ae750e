//! Layers, and all problems at once.

use super::*;

fn parse_ok(args: &[&str], env: &[(&str, &str)]) -> Settings {
    let args = std::iter::once("umbra").chain(args.iter().copied()).map(str::to_owned).collect();
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    match parse(args, &env).unwrap() {
        Parsed::Run(settings) => settings,
        Parsed::Print(text) => panic!("{text}"),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn later_layers_win() {
    let file = file(
        "speed: 2\nreplay:\n  speed: 3\n  target: [{name: v2, url: 'http://a', percent: 5}]\n",
    );
    let path = file.path().to_str().unwrap();
    let only_file = parse_ok(&["replay", "--config", path], &[]);
    assert_eq!(only_file.text("speed"), Some("3"));
    assert_eq!(only_file.texts("target"), ["v2=http://a,percent=5"]);
    let env = parse_ok(&["replay", "--config", path], &[("UMBRA_SPEED", "4")]);
    assert_eq!(env.text("speed"), Some("4"));
    let flag = parse_ok(&["replay", "--config", path, "--speed", "5"], &[("UMBRA_SPEED", "4")]);
    assert_eq!(flag.text("speed"), Some("5"));
    assert_eq!(flag.text("grace"), Some("60s"));
}

#[test]
fn lists_and_switches_in_the_environment() {
    let env = [("UMBRA_TARGET", "['http://a', 'http://b']"), ("UMBRA_LIVE", "yes")];
    let settings = parse_ok(&["replay"], &env);
    assert_eq!(settings.texts("target"), ["http://a", "http://b"]);
    assert!(settings.on("live"));
}

#[test]
fn all_problems_are_told_at_once() {
    let file = file("sped: 2\nreplay:\n  tarhet: x\nspeed: 1\nspeed: 2\n");
    let path = file.path().to_str().unwrap();
    let mut settings = parse_ok(&["replay", "--config", path, "--nonsense", "3", "--rate=0"], &[]);
    settings.read("rate", values::rate);
    let message = settings.check().unwrap_err().message;
    for part in [
        "--nonsense",
        ":1: unknown key `sped`",
        "did you mean `speed`",
        ":3: unknown key `tarhet`",
        ":5: `speed` was already said",
        "--rate: `0`: must be above 0",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[test]
fn secrets_are_masked_when_printed() {
    let settings = parse_ok(&["replay", "--kafka", "sasl.password=hunter2"], &[]);
    let yaml = settings.as_yaml();
    assert!(yaml.contains("sasl.password=***") && !yaml.contains("hunter2"), "{yaml}");
}

#[test]
fn a_repeatable_flag_keeps_all_values_another_the_last() {
    let args = [
        "replay",
        "--target",
        "a=http://a",
        "--target",
        "b=http://b",
        "--speed",
        "1",
        "--speed",
        "2",
    ];
    let settings = parse_ok(&args, &[]);
    assert_eq!(settings.texts("target"), ["a=http://a", "b=http://b"]);
    assert_eq!(settings.texts("speed"), ["2"]);
}
