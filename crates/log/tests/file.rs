//! What only the embedded log promises: about its files, its processes and its disk.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

#[path = "file/bench.rs"]
mod bench;
#[path = "file/child.rs"]
mod child;
#[path = "file/damage.rs"]
mod damage;
#[path = "file/disk.rs"]
mod disk;
#[path = "file/format.rs"]
mod format;
#[path = "file/opening.rs"]
mod opening;
#[path = "file/retention.rs"]
mod retention;
