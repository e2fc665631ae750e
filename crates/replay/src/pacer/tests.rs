use proptest::prelude::*;

use super::*;

fn seconds(s: f64) -> Duration {
    Duration::from_secs_f64(s)
}

/// Sends made after `t` seconds, by adding up small steps: an independent way to
/// the same number.
fn integrated(stages: &[Stage], t: f64) -> f64 {
    let steps = 200_000;
    let width = t / f64::from(steps);
    (0..steps).map(|step| rate_at(stages, (f64::from(step) + 0.5) * width) * width).sum()
}

fn rate_at(stages: &[Stage], t: f64) -> f64 {
    let mut from = 0.0;
    let mut begin = 0.0;
    for stage in stages {
        let length = stage.duration.as_secs_f64();
        if t < begin + length {
            return from + (stage.rate - from) * (t - begin) / length;
        }
        begin += length;
        from = stage.rate;
    }
    from
}

fn some_stages() -> impl Strategy<Value = Vec<Stage>> {
    let stage = (0.1f64..20.0, 0.0f64..500.0)
        .prop_map(|(length, rate)| Stage { duration: seconds(length), rate });
    prop::collection::vec(stage, 1..5)
}

proptest! {
    #[test]
    fn a_constant_rate_is_exact_and_does_not_drift(rate in 0.01f64..100_000.0, n in 0u64..10_000_000) {
        let due = Profile::constant(rate).time_of(n).unwrap();
        let exact = n as f64 / rate * 1e9;
        prop_assert!((due as f64 - exact).abs() <= 1.0 + exact * 1e-15, "{due} {exact}");
    }

    #[test]
    fn stages_never_go_backwards(stages in some_stages(), n in 0u64..2_000) {
        let profile = Profile::stages(&stages);
        if let (Some(one), Some(next)) = (profile.time_of(n), profile.time_of(n + 1)) {
            prop_assert!(one <= next);
        }
    }

    #[test]
    fn the_area_under_the_stages_is_the_number_of_sends(stages in some_stages(), n in 1u64..1_000) {
        let profile = Profile::stages(&stages);
        if let Some(due) = profile.time_of(n) {
            let t = due as f64 / 1e9;
            prop_assume!(t < 1000.0);
            let area = integrated(&stages, t);
            prop_assert!((area - n as f64).abs() < 0.01 + n as f64 * 1e-3, "{area} {n}");
        }
    }

    #[test]
    fn recorded_timing_scales_every_distance(
        t0 in 1_600_000_000_000_000_000u64..1_900_000_000_000_000_000,
        after in 0u64..86_400_000_000_000,
        speed in 0.01f64..1000.0,
    ) {
        let wall0 = 1_700_000_000_000_000_000;
        let mut pacer = Pacer::new(&Pace::Recorded { speed });
        prop_assert!(pacer.needs_start());
        pacer.anchor(Anchor { t0_ns: t0, wall0_ns: wall0 });
        let due = pacer.due(t0 + after, 0).unwrap();
        let exact = after as f64 / speed;
        prop_assert!(((due - wall0) as f64 - exact).abs() <= 1.0 + exact * 1e-12);
    }

    #[test]
    fn a_rate_goes_on_where_it_was_after_a_pause(rate in 1.0f64..10_000.0, before in 0u64..1000, pause in 1u64..1_000_000_000_000) {
        let mut pacer = Pacer::new(&Pace::Rate(rate));
        pacer.anchor(Anchor { t0_ns: 0, wall0_ns: 5_000_000_000 });
        for _ in 0..before {
            let due = pacer.due(0, 0).unwrap();
            pacer.took(due, 0);
        }
        let resumed = pacer.due(0, 0).unwrap() + pause;
        pacer.anchor(Anchor { t0_ns: 0, wall0_ns: resumed });
        prop_assert_eq!(pacer.due(0, 0).unwrap(), resumed);
        pacer.took(resumed, 0);
        let step = pacer.due(0, 0).unwrap() - resumed;
        prop_assert!((step as f64 - 1e9 / rate).abs() <= 2.0);
    }
}

#[test]
fn a_ramp_from_nothing_follows_the_square_root() {
    // 0 to 100/s in 10 s: n = 5 t².
    let profile = Profile::stages(&[Stage { duration: seconds(10.0), rate: 100.0 }]);
    assert_eq!(profile.time_of(0), Some(0));
    assert_eq!(profile.time_of(5), Some(1_000_000_000));
    assert_eq!(profile.time_of(125), Some(5_000_000_000));
    assert_eq!(profile.time_of(500), Some(10_000_000_000));
    assert_eq!(profile.time_of(600), Some(11_000_000_000));
}

#[test]
fn a_stage_of_no_length_is_a_jump() {
    let profile = Profile::stages(&[
        Stage { duration: Duration::ZERO, rate: 100.0 },
        Stage { duration: seconds(10.0), rate: 100.0 },
    ]);
    assert_eq!(profile.time_of(100), Some(1_000_000_000));
}

#[test]
fn stages_that_end_at_nothing_end_the_sends() {
    let profile = Profile::stages(&[
        Stage { duration: Duration::ZERO, rate: 10.0 },
        Stage { duration: seconds(2.0), rate: 0.0 },
    ]);
    assert!(profile.time_of(9).is_some());
    assert_eq!(profile.time_of(10), None);
}

#[test]
fn what_was_not_there_to_send_is_not_saved_up() {
    let mut pacer = Pacer::new(&Pace::Rate(10.0));
    pacer.anchor(Anchor { t0_ns: 0, wall0_ns: 1_000_000_000 });
    pacer.took(pacer.due(0, 0).unwrap(), 0);
    assert_eq!(pacer.due(0, 0), Some(1_100_000_000));
    // A little late: the schedule stays, so that the rate is exact over time.
    assert_eq!(pacer.next(0, 1_200_000_000, 1_200_000_000), Some(1_100_000_000));
    assert_eq!(pacer.next(0, 9_000_000_000, 9_500_000_000), Some(9_000_000_000));
    pacer.took(9_000_000_000, 0);
    assert_eq!(pacer.due(0, 0), Some(9_100_000_000));
}

#[test]
fn live_requests_are_due_on_arrival() {
    let pacer = Pacer::new(&Pace::Arrival { delay: None });
    assert!(!pacer.needs_start());
    assert_eq!(pacer.due(100, 170), Some(170));
    let pacer = Pacer::new(&Pace::Arrival { delay: Some(Duration::from_nanos(50)) });
    assert_eq!(pacer.due(100, 120), Some(150));
}

#[test]
fn a_held_live_replay_keeps_the_spacing_and_catches_up_slowly() {
    let second = 1_000_000_000;
    let mut pacer = Pacer::new(&Pace::Arrival { delay: None });
    // 20 s piled up; the first of them goes out at 120 s.
    pacer.anchor(Anchor { t0_ns: 100 * second, wall0_ns: 120 * second });
    assert_eq!(pacer.due(100 * second, 100 * second), Some(120 * second));
    let next = pacer.due(111 * second, 111 * second).unwrap();
    assert_eq!(next, 130 * second);
    pacer.took(next, 111 * second);
    // 220 s of traffic later it is level, and stays so.
    let level = pacer.due(330 * second, 330 * second).unwrap();
    assert_eq!(level, 330 * second);
    pacer.took(level, 330 * second);
    assert!(matches!(pacer, Pacer::Arrival { anchor: None, .. }));
}

#[test]
fn a_live_replay_that_is_behind_does_not_wait_out_pauses() {
    let second = 1_000_000_000;
    let mut pacer = Pacer::new(&Pace::Arrival { delay: None });
    pacer.anchor(Anchor { t0_ns: 100 * second, wall0_ns: 5000 * second });
    // An hour of nothing: a second of it is left.
    let due = pacer.next(3700 * second, 3700 * second, 5000 * second);
    assert_eq!(due, Some(5001 * second));
    assert_eq!(pacer.next(3700 * second, 3700 * second, 5001 * second), due);
}
