//! An ordered, partitioned, durable queue of opaque bytes, behind one small
//! trait each way: [`Append`] and [`Tail`]. Two implementations keep the same
//! promises, which [`conformance`] states and checks: Kafka ([`kafka`]) and a
//! directory of MCAP segments ([`mod@file`]). Knows neither HTTP nor protobuf.
//!
//! [`Log::open`] turns an [`Address`] into a log; everything above it is
//! dispatched statically over two-armed enums ([`Appender`], [`LogTail`],
//! [`Journal`], [`Table`]), so that only the binary knows which log it runs on.

mod append;
#[doc(hidden)]
pub mod conformance;
mod error;
pub mod file;
mod group;
pub mod journal;
pub mod kafka;
mod log;
pub mod progress;
pub(crate) mod settle;
pub mod table;
mod tail;
pub(crate) mod times;

pub use append::{Append, AppendTimes, Entry, Loss, Position, Rejected, Returned};
pub use error::LogError;
pub use group::{GroupProgress, GroupState, Member};
pub use journal::Journal;
pub use log::{Address, Appender, Log, LogOptions, LogTail, Mode, Schema};
pub use progress::MAX_NOTE;
pub use table::Table;
pub use tail::{Assigned, Delivery, Event, Span, Start, Tail, TailOptions};
