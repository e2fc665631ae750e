//! Replicas of one job, against the clock: rates, lateness, bursts. A test binary of
//! its own, so that nothing heavy runs beside them; each also measures how well the
//! machine itself keeps time meanwhile.

#![allow(clippy::unwrap_used)] // A test says what it expects; a panic is its failure.

#[path = "timing/clock.rs"]
mod clock;
#[path = "timing/metronome.rs"]
mod metronome;
#[path = "timing/rate.rs"]
mod rate;
#[path = "timing/recording.rs"]
mod recording;
#[allow(dead_code)] // The end-to-end tests use the rest of it.
#[path = "support/mod.rs"]
mod support;
