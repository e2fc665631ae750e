use proptest::prelude::*;

use super::*;

const A: [u8; 16] = [1; 16];
const B: [u8; 16] = [2; 16];
const GRACE: u64 = 60;

fn mark(low_ns: u64, at_ns: u64, lanes: u32) -> pb::Mark {
    pb::Mark { low_ns, at_ns, lanes, host: "web-1".to_owned(), ..Default::default() }
}

fn last(at_ns: u64, lanes: u32) -> pb::Mark {
    pb::Mark { r#final: true, ..mark(0, at_ns, lanes) }
}

fn stand(next: u64, caught_up: bool) -> Stand {
    Stand { next, caught_up }
}

#[test]
fn both_edges_are_exact() {
    let window = Window { from_ns: Some(10), to_ns: Some(20) };
    let inside: Vec<u64> = (0..30).filter(|t| window.contains(*t)).collect();
    assert_eq!(inside, (10..20).collect::<Vec<_>>());
    assert!(Window::default().contains(0));
}

#[test]
fn over_when_every_lane_of_every_agent_says_so() {
    let mut agents = Agents::default();
    agents.mark(A, 0, (0, 5), &mark(100, 101, 2));
    assert!(!agents.delivered((0, stand(6, true)), 100, 110, GRACE), "lane 1 has said nothing");
    agents.mark(A, 1, (0, 5), &mark(99, 101, 2));
    assert!(!agents.delivered((0, stand(6, true)), 100, 110, GRACE));
    agents.mark(A, 1, (0, 5), &mark(100, 106, 2));
    assert!(agents.delivered((0, stand(6, false)), 100, 110, GRACE));
    assert!(!agents.delivered((1, stand(6, true)), 100, 110, GRACE), "nothing said in partition 1");
    agents.met(B, 105);
    assert!(!agents.delivered((0, stand(6, true)), 100, 110, GRACE), "B has said nothing");
    agents.mark(B, 0, (0, 5), &last(109, 1));
    assert!(agents.delivered((0, stand(6, true)), 100, 110, GRACE));
    assert_eq!(agents.missing(100), []);
}

#[test]
fn a_word_holds_only_behind_its_place() {
    let mut agents = Agents::default();
    agents.mark(A, 0, (0, 40), &mark(90, 91, 1));
    agents.mark(A, 0, (0, 50), &mark(100, 101, 1));
    agents.mark(A, 0, (0, 60), &mark(100, 106, 1));
    assert!(agents.delivered((0, stand(61, false)), 100, 110, GRACE));
    // The partition was somebody else's, and what was read and not sent comes again.
    for next in [0, 40, 50] {
        assert!(!agents.delivered((0, stand(next, true)), 100, 110, GRACE), "read up to {next}");
    }
    assert!(agents.delivered((0, stand(51, false)), 100, 110, GRACE));
}

#[test]
fn never_over_before_its_time() {
    let mut agents = Agents::default();
    agents.mark(A, 0, (0, 5), &last(50, 1));
    assert!(!agents.delivered((0, stand(6, true)), 100, 99, GRACE));
    assert!(agents.delivered((0, stand(6, true)), 100, 100, GRACE));
}

#[test]
fn a_silent_agent_is_given_up_and_named() {
    let mut agents = Agents::default();
    agents.mark(A, 0, (0, 5), &mark(90, 91, 1));
    assert!(!agents.delivered((0, stand(6, true)), 100, 150, GRACE));
    assert!(!agents.delivered((0, stand(6, false)), 100, 151, GRACE), "there is more to read");
    assert!(agents.delivered((0, stand(6, true)), 100, 151, GRACE));
    let missing = agents.missing(100);
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].host, "web-1");
    assert_eq!(missing[0].agent, "01010101-0101-0101-0101-010101010101");
    assert!(missing[0].up_to.is_some());
}

#[test]
fn an_empty_log_is_over_after_the_grace() {
    let agents = Agents::default();
    assert!(!agents.delivered((0, stand(6, true)), 100, 159, GRACE));
    assert!(agents.delivered((0, stand(6, true)), 100, 160, GRACE));
    assert!(!agents.delivered((0, stand(6, false)), 100, 160, GRACE));
}

#[test]
fn an_agent_is_gone_when_it_ended_or_is_silent() {
    let mut agents = Agents::default();
    agents.mark(A, 0, (0, 5), &mark(90, 100, 2));
    assert!(!agents.is_gone(&A, 0, 110, GRACE));
    assert!(agents.is_gone(&A, 0, 160, GRACE));
    agents.mark(A, 0, (0, 5), &last(105, 2));
    assert!(!agents.is_gone(&A, 0, 110, GRACE), "lane 1 goes on");
    agents.mark(A, 1, (0, 5), &last(106, 2));
    assert!(agents.is_gone(&A, 0, 110, GRACE));
}

proptest! {
    /// A later mark never makes a window less over.
    #[test]
    fn words_only_grow(lows in prop::collection::vec(0u64..200, 1..20)) {
        let mut agents = Agents::default();
        let mut over = false;
        for low in lows {
            agents.mark(A, 0, (0, 5), &mark(low, 1000, 1));
            let now_over = agents.delivered((0, stand(6, false)), 100, 1000, GRACE);
            prop_assert!(now_over || !over);
            over = now_over;
        }
    }
}
