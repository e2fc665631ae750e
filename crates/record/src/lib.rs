//! An HTTP message as durable bytes, and back: protobuf types, ids, the
//! authority rule of shadow requests, selection. Knows neither sockets nor logs.

pub mod authority;
pub mod select;

/// The wire contract, generated from `proto/umbra/v1` (its comments are the
/// specification).
#[allow(missing_docs, clippy::all, unreachable_pub)]
#[rustfmt::skip]
pub mod pb {
    include!("pb/umbra.v1.rs");
}
