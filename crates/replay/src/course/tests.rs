use super::*;
use crate::job::{Membership, Told};

const T: &str = "a";

fn member(name: &'static str) -> Bytes {
    Bytes::from_static(name.as_bytes())
}

/// A run with a clock agreed on at offset 10, and this member's sign of life at 20.
fn run() -> Run {
    let mut run = Run::default();
    let clock = Told { offset: 10, member: member("old"), what: pb::ClockEpoch::default() };
    run.clocks.insert(String::new(), clock);
    join(&mut run, "me", 20, false);
    run
}

fn join(run: &mut Run, name: &'static str, joined: u64, left: bool) {
    run.members.insert((T.to_owned(), member(name)), Membership { joined, left });
}

fn decide(run: &Run, holds_all: bool, waited: Duration, late: bool) -> Start {
    start(run, T, Newcomer { member: &member("me"), holds_all, waited, late })
}

#[test]
fn a_job_without_a_clock_gets_one_at_once() {
    let run = Run::default();
    assert_eq!(decide(&run, false, Duration::ZERO, false), Start::First);
}

#[test]
fn who_holds_everything_is_alone() {
    let mut run = run();
    join(&mut run, "old", 1, false);
    assert_eq!(decide(&run, true, Duration::ZERO, false), Start::GoOn);
}

#[test]
fn a_job_that_everybody_left_goes_on_at_once() {
    let mut run = run();
    join(&mut run, "old", 1, true);
    assert_eq!(decide(&run, false, Duration::ZERO, false), Start::GoOn);
    // Others that start at the same time are no sign of life either.
    join(&mut run, "new", 21, false);
    assert_eq!(decide(&run, false, Duration::ZERO, false), Start::GoOn);
}

#[test]
fn a_running_job_is_joined_however_late_it_is() {
    let mut run = run();
    join(&mut run, "old", 1, false);
    assert_eq!(decide(&run, false, Duration::ZERO, true), Start::Wait);
    run.signs.insert(T.to_owned(), Told { offset: 19, member: member("old"), what: () });
    assert_eq!(decide(&run, false, Duration::ZERO, true), Start::Wait, "before it asked");
    run.signs.insert(T.to_owned(), Told { offset: 22, member: member("old"), what: () });
    assert_eq!(decide(&run, false, Duration::ZERO, true), Start::Follow);
}

#[test]
fn without_an_answer_the_job_is_abandoned() {
    let mut run = run();
    join(&mut run, "killed", 1, false);
    assert_eq!(decide(&run, false, PATIENCE / 2, true), Start::Wait);
    assert_eq!(decide(&run, false, PATIENCE, true), Start::GoOn);
    assert_eq!(decide(&run, false, PATIENCE, false), Start::Follow, "nothing is late");
}

#[test]
fn a_clock_that_is_newer_than_the_start_is_followed() {
    let mut run = run();
    join(&mut run, "other", 21, false);
    let clock = pb::ClockEpoch { target: T.to_owned(), ..Default::default() };
    run.clocks.insert(T.to_owned(), Told { offset: 30, member: member("other"), what: clock });
    assert_eq!(decide(&run, false, Duration::ZERO, true), Start::Follow);
    assert_eq!(decide(&run, true, Duration::ZERO, true), Start::Follow);
}

#[test]
fn what_was_steered_is_waited_for_unless_nobody_is_there() {
    let mut run = run();
    join(&mut run, "old", 1, false);
    run.signs.insert(T.to_owned(), Told { offset: 22, member: member("old"), what: () });
    run.steered = 1;
    assert_eq!(decide(&run, false, Duration::ZERO, true), Start::Wait);
    assert_eq!(decide(&run, false, PATIENCE, true), Start::GoOn);
}
