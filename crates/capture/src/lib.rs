//! From socket to record to log, without ever slowing or failing the live
//! request: the inline HTTP/1 proxy, the mirror sink and the tee. Knows nothing of replay.

mod agent;
mod budget;
mod clock;
mod config;
mod descriptors;
mod drain;
mod front;
pub mod h1;
mod h2;
mod keys;
mod lane;
mod leg;
mod listener;
mod origin;
mod proxy;
mod record;
mod recorder;
mod redactor;
mod sink;
mod spool;
mod stats;
mod stream;
mod tap;
mod tee;
mod thread;
mod upstream;

pub use agent::{AgentError, new_agent, run};
pub use config::{Config, KeyBy, RecordResponses, Route, Transport, Upstream, UpstreamHttp};
pub use front::{ServerTls, TlsFiles};
pub use keys::{KeyError, KeyStore, SealKeys};
pub use listener::{HandedOn, Listener};
pub use redactor::Privacy;
pub use sink::{Profile, Sink, Suffix};
pub use spool::SpoolConfig;
pub use stats::{Report, Snapshot, Stats, TlsSnapshot};
pub use upstream::{ClientTls, Trust, TrustError};
