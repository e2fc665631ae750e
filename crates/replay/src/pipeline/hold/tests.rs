use super::*;

#[test]
fn a_target_that_flaps_is_looked_for_ever_more_rarely() {
    let (mut flaps, mut now) = (Flaps::default(), Instant::now());
    let mut pauses = Vec::new();
    for _ in 0..7 {
        pauses.push(flaps.pause(now).as_millis());
        now += Duration::from_secs(1);
        flaps.back = Some(now);
    }
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
    assert_eq!(flaps.pause(now + STEADY).as_millis(), 50, "it was well for a while");
}
