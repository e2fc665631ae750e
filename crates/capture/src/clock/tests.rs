//! Corrections of the system's clock never make a lane's time go back.

use super::*;

#[test]
fn a_clock_set_back_slows_ours_down_until_it_agrees() {
    let clock = Clock::new();
    let start = clock.anchor.get();
    let mut last = start.wall_ns;
    // Set back by half a second, once.
    let behind = 500_000_000;
    for step in 1..40_u32 {
        let at = start.at + RESYNC * step;
        let system = start.wall_ns + nanos(RESYNC * step) - behind;
        let now = clock.at(at, || system);
        assert!(now.wall_ns >= last, "time went back");
        last = now.wall_ns;
        if step == 39 {
            assert_eq!(now.wall_ns, system, "never caught up");
        }
    }
}

#[test]
fn a_clock_set_forward_is_followed_at_once() {
    let clock = Clock::new();
    let start = clock.anchor.get();
    let system = start.wall_ns + 3_600_000_000_000;
    assert_eq!(clock.at(start.at + RESYNC, || system).wall_ns, system);
}
