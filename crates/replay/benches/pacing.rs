//! How punctual a replay is: send lag and rate error at fixed rates, and of a
//! recording of 60 s at 10x, into a shadow in the same process. Prints a table;
//! `cargo bench -p umbra-replay --bench pacing`, on a machine that does nothing else.

// It ends by panicking if it cannot measure.
#![allow(clippy::unwrap_used, dead_code)]

#[path = "../tests/replay/recording.rs"]
mod recording;
#[path = "../tests/replay/shadow.rs"]
mod shadow;

use umbra_log::Address;
use umbra_replay::{Config, Pace};

use recording::{MILLI, Recording, THEN, config};
use shadow::Shadow;

fn address(directory: &std::path::Path) -> Address {
    Address::File(directory.join("log"))
}

#[tokio::main]
async fn main() {
    println!("{:<22}{:>10}{:>12}{:>10}{:>10}", "case", "rate/s", "error", "p50 ms", "p99 ms");
    for (name, pace, n, apart, expected) in [
        ("100/s", Pace::Rate(100.0), 500, MILLI, 100.0),
        ("1000/s", Pace::Rate(1000.0), 5_000, MILLI, 1000.0),
        ("5000/s", Pace::Rate(5000.0), 25_000, MILLI, 5000.0),
        ("60 s at 10x, 100/s", Pace::Recorded { speed: 10.0 }, 6_000, 10 * MILLI, 1000.0),
        ("max", Pace::Max, 50_000, MILLI, f64::NAN),
    ] {
        let shadow = Shadow::ok().await;
        let mut recording = Recording::new().await;
        recording.gets(n, THEN, apart);
        let job = name.replace([' ', '/', ','], "-");
        let report = recording.replay(Config { pace, ..config(&job, &[&shadow]) }).await;
        assert_eq!(report.targets["t0"].answered, n);
        // From the first due to the last: the sends after the first make the rate.
        let rate = (n - 1) as f64 / (report.duration_s - report.lag_ms.p50 / 1e3);
        let error = (rate / expected - 1.0) * 100.0;
        let (p50, p99) = (report.lag_ms.p50, report.lag_ms.p99);
        println!("{name:<22}{rate:>10.1}{error:>11.2}%{p50:>10.3}{p99:>10.3}");
    }
}
