//! An HTTP message as durable bytes, and back: protobuf types, encoding on the hot
//! path, decoding of untrusted bytes, ids, hashes of bodies, the authority rule of
//! shadow requests, selection, the marks against loops, JSON for people. Knows
//! neither sockets nor logs.

#[cfg(test)]
mod arbitrary;
pub mod authority;
pub mod coding;
pub mod decode;
pub mod encode;
pub mod fields;
pub mod hash;
pub mod id;
pub mod json;
pub mod marker;
pub mod redact;
pub mod seal;
pub mod select;
pub mod token;

/// The wire contract, generated from `proto/umbra/v1` (its comments are the
/// specification).
#[allow(missing_docs, clippy::all, unreachable_pub)]
#[rustfmt::skip]
pub mod pb {
    include!("pb/umbra.v1.rs");
}

/// What describes the records to other tools: a serialized
/// `google.protobuf.FileDescriptorSet` of `umbra/v1/record.proto`, as the schema
/// (`SCHEMA_NAME`, encoding `protobuf`) of an embedded log wants it.
pub static SCHEMA: &[u8] = include_bytes!("pb/record.fds");

/// Full name of the message that `SCHEMA` describes.
pub const SCHEMA_NAME: &str = "umbra.v1.Record";
