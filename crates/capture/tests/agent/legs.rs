//! Upstreams that speak HTTP/2: what they get and what they do to their streams and
//! sessions.

mod bodies;
mod clients;
mod faults;
mod heads;
pub(crate) mod server;
mod sessions;
