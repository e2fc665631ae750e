//! A sender that does nothing but keep time, as well as this machine can at the
//! moment: what it is off by is not the product's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::support::{
    client::Client,
    pause,
    shadow::{Manner, Shadow},
};

/// Sends at a fixed rate until it is stopped.
pub(crate) struct Metronome {
    shadow: Shadow,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Metronome {
    pub(crate) fn start(rate: u32) -> Self {
        let shadow = Shadow::start(Manner::Answer(200));
        let stop = Arc::new(AtomicBool::new(false));
        let (to, ended) = (shadow.address(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut client = Client::connect(to);
            let start = Instant::now();
            for beat in 0.. {
                pause(due(start, rate, beat).saturating_duration_since(Instant::now()));
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let sent = client.send(b"GET /beat HTTP/1.1\r\nHost: h\r\n\r\n");
                // Ended with its test.
                if sent.and_then(|()| client.receive(false)).is_err() {
                    return;
                }
            }
        });
        Self { shadow, stop, thread }
    }

    /// When its requests arrived.
    pub(crate) fn stop(self) -> Vec<Instant> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.shadow.arrivals().iter().map(|arrival| arrival.at).collect()
    }
}

fn due(start: Instant, rate: u32, beat: u32) -> Instant {
    start + Duration::from_secs_f64(f64::from(beat) / f64::from(rate))
}

/// How much later than its place a metronome's request arrived, in milliseconds: this
/// share of them was no later.
pub(crate) fn late(beats: &[Instant], rate: u32, share: f64) -> f64 {
    let Some(first) = beats.first() else { return 0.0 };
    let mut late: Vec<f64> = beats
        .iter()
        .enumerate()
        .map(|(beat, at)| (*at - *first).as_secs_f64() - beat as f64 / f64::from(rate))
        .collect();
    late.sort_by(f64::total_cmp);
    (late[((late.len() - 1) as f64 * share) as usize] - late[0]) * 1e3
}

/// How far the rate of these arrivals, in order, was off at most: over any five
/// seconds within the time given, as a share of it.
pub(crate) fn worst(arrivals: &[Instant], rate: f64, from: Instant, to: Instant) -> f64 {
    const WITHIN: Duration = Duration::from_secs(5);
    let mut worst = 0.0_f64;
    let mut start = from;
    while start + WITHIN <= to {
        let before = arrivals.partition_point(|at| *at < start);
        let until = arrivals.partition_point(|at| *at < start + WITHIN);
        let found = (until - before) as f64 / WITHIN.as_secs_f64();
        worst = worst.max((found / rate - 1.0).abs());
        start += Duration::from_millis(20);
    }
    worst
}

/// The most arrivals within any second.
pub(crate) fn burst(arrivals: &[Instant]) -> usize {
    let mut most = 0;
    for (index, at) in arrivals.iter().enumerate() {
        let until = arrivals.partition_point(|other| *other < *at + Duration::from_secs(1));
        most = most.max(until - index);
    }
    most
}
