use super::*;
use crate::{
    config::{Late, Order, Pace},
    job::Run,
};

fn config(settings: &[(&str, &[&str])]) -> Config {
    Config {
        job: "job".to_owned(),
        again: false,
        adopt: false,
        which: Which::Window { from_ns: None, to_ns: None },
        grace: Duration::from_secs(60),
        limit: None,
        duration: None,
        repeat: 1,
        pace: Pace::Max,
        selection: umbra_record::select::Selection::default(),
        targets: Vec::new(),
        order: Order::Free,
        late: Late::Send,
        writes: true,
        allow_production: false,
        read_ahead_bytes: 1 << 20,
        instance: None,
        drain: Duration::from_secs(1),
        compare: None,
        unsealing: crate::seals::Unsealing::default(),
        outcomes: None,
        settings: settings
            .iter()
            .map(|(name, values)| {
                ((*name).to_owned(), values.iter().map(|v| (*v).to_owned()).collect())
            })
            .collect(),
    }
}

fn stored(run: u32, pass: &str, end: Option<&str>) -> Stored {
    let setting = |name: &str, value: &str| pb::Setting {
        name: name.to_owned(),
        values: vec![value.to_owned()],
    };
    let plan = pb::Plan {
        run,
        settings: vec![setting("speed", "2"), setting(PASS, pass)],
        ..Default::default()
    };
    let run_state = Run { plan: Some(plan), end: end.map(ToOwned::to_owned), ..Default::default() };
    Stored { runs: [(run, run_state)].into(), ..Stored::default() }
}

#[test]
fn the_first_start_makes_the_plan() {
    let next = next(&config(&[]), &Stored::default()).unwrap();
    assert!(matches!(next, Next::Propose { run: 0, pass: 1, window_of: None }));
}

#[test]
fn other_settings_are_told_one_by_one() {
    let config = config(&[("rate", &["5"]), ("speed", &["3"])]);
    let Err(ReplayError::PlanDiffers { differences, .. }) = next(&config, &stored(0, "1", None))
    else {
        panic!()
    };
    let told: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["rate: stored not set, now 5", "speed: stored 2, now 3"]);
    let adopting = Config { adopt: true, ..config };
    assert!(matches!(next(&adopting, &stored(0, "1", None)), Ok(Next::Resume(_))));
}

#[test]
fn a_finished_job_has_nothing_left_unless_again() {
    let config = config(&[("speed", &["2"])]);
    let Ok(Next::Finished(planned)) = next(&config, &stored(4, "1", Some("done"))) else {
        panic!()
    };
    assert_eq!(planned.standing, Standing::Finished);
    let again = Config { again: true, ..config };
    let next = next(&again, &stored(4, "1", Some("done"))).unwrap();
    assert!(matches!(next, Next::Propose { run: 5, pass: 1, window_of: None }));
}

#[test]
fn a_loop_plays_the_same_window_again() {
    let config = Config { repeat: 2, ..config(&[("speed", &["2"])]) };
    let first = next(&config, &stored(0, "1", Some("done"))).unwrap();
    assert!(matches!(first, Next::Propose { run: 1, pass: 2, window_of: Some(_) }));
    assert!(matches!(next(&config, &stored(1, "2", Some("done"))), Ok(Next::Finished(_))));
    assert!(matches!(next(&config, &stored(0, "1", Some("cancelled"))), Ok(Next::Finished(_))));
}

#[test]
fn groups_are_named_after_job_run_and_target() {
    let Ok(Next::Resume(planned)) =
        next(&config(&[("speed", &["2"])]), &self::stored(0, "1", None))
    else {
        panic!()
    };
    assert_eq!(planned.group("/var/log/umbra log/", "v2"), "umbra.umbra-log.job.v2");
    let second = Planned { run: 1, ..planned };
    assert_eq!(second.group("topic", "v2"), "umbra.topic.job.1.v2");
}

#[test]
fn limits_count_over_all_starts_and_passes() {
    let mut all = stored(3, "1", Some("done"));
    for (run, pass, sent, spans) in [
        (3, "1", 10, vec![]),
        (4, "2", 5, vec![(100, 200), (150, 260), (300, 310)]),
        (2, "1", 1000, vec![(0, 90)]),
    ] {
        let mut one = stored(run, pass, None).runs.remove(&run).unwrap();
        let counts = pb::Counts { sent, ..Default::default() };
        one.counts.insert(("a".to_owned(), 0), counts);
        one.spans.insert("a".to_owned(), spans);
        all.runs.insert(run, one);
    }
    let Ok(Next::Resume(planned)) =
        next(&Config { repeat: 2, ..config(&[("speed", &["2"])]) }, &all)
    else {
        panic!()
    };
    // Of the run itself the pipelines keep account.
    assert_eq!(planned.used_by("a"), Used { sent: 10, time_ns: 170 });
    assert_eq!(planned.used_by("b"), Used::default());
}
