//! End-to-end tests: the built binary against real parts (Apache Kafka, httpbin,
//! nginx), on both logs. `scripts/test` provides the parts; a part that is missing
//! fails the test and says what to do. What a single crate promises is tested in
//! that crate.

#![allow(clippy::unwrap_used)] // A test says what it expects; a panic is its failure.

mod support;

mod audit;
mod bad_input;
mod clients;
mod cluster;
mod compare;
mod differential;
mod examples;
mod faults;
mod front;
mod golden;
mod http2;
mod isolation;
mod jobs;
mod main_job;
mod mesh;
mod poison;
mod privacy;
mod report;
mod resume;
mod sealed;
mod security;
mod sink;
mod slow;
mod spool;
mod topics;
mod transparency;
mod windows;
