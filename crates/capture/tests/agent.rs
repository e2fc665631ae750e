//! The agent as a whole, between real sockets and a real embedded log.

// The helpers of a test fail it like the test itself.
#![allow(clippy::unwrap_used)]

mod agent {
    pub(crate) mod bodies;
    pub(crate) mod clients;
    pub(crate) mod descriptors;
    pub(crate) mod drain;
    pub(crate) mod edges;
    pub(crate) mod front;
    pub(crate) mod fuzz;
    pub(crate) mod harness;
    pub(crate) mod http2;
    pub(crate) mod http2_both;
    pub(crate) mod http2_drain;
    pub(crate) mod http2_floods;
    pub(crate) mod http2_messages;
    pub(crate) mod http2_strict;
    pub(crate) mod legs;
    pub(crate) mod losses;
    pub(crate) mod marks;
    pub(crate) mod messages;
    pub(crate) mod secrets;
    pub(crate) mod threads;
    pub(crate) mod upstreams;
}
