//! From socket to record to log, without ever slowing or failing the live
//! request: the inline HTTP/1 proxy and the tee. Knows nothing of replay.

mod config;
pub use config::{Config, RecordResponses, Upstream};
