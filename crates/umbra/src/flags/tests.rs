//! The tables are consistent.

use super::*;

#[test]
fn clap_accepts_the_tables() {
    command_line().debug_assert();
}

#[test]
fn every_flag_is_explained_and_has_one_meaning() {
    let mut seen = std::collections::BTreeMap::new();
    for command in COMMANDS {
        for flag in command.all_flags() {
            assert!(flag.help.len() > 10, "--{} of {} needs help", flag.name, command.name);
            let shape = (flag.value.is_some(), flag.repeat);
            let first = *seen.entry((flag.name, flag.positional)).or_insert(shape);
            assert_eq!(first, shape, "--{} differs between commands", flag.name);
        }
    }
}
