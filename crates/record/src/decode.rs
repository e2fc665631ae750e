//! From the bytes of a record to the generated types, checked against what the
//! schema demands. Bytes that came from a log are not trusted: every one of them
//! leads to a record or an error, never to a panic.

#[cfg(test)]
mod tests;

use bytes::{Buf, Bytes};
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

use crate::pb::{self, record::Body};

/// Why bytes are not a record we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A record of a kind newer than this reader. To be passed and counted, not an
    /// error of the writer.
    #[error("a record of unknown kind {0}")]
    UnknownKind(u32),
    /// No protobuf message of this schema.
    #[error("not a record: {0}")]
    Malformed(String),
    /// Well formed, but without something the schema demands.
    #[error("an unusable record: {0}")]
    Invalid(&'static str),
}

/// Most fields in the body of a record. A field can take two bytes on the wire and
/// thirty times as much in memory, so that a small record could fill it.
const MAX_FIELDS: usize = 50_000;
/// Records up to this size need no counting.
const SMALL: usize = 2 * MAX_FIELDS;

/// Number of the first kind of body; numbers below are the envelope's, or reserved for
/// its growth.
const FIRST_KIND: u32 = 8;

/// Decodes one record. Byte fields share the memory of `payload`.
pub fn decode(payload: Bytes) -> Result<pb::Record, DecodeError> {
    check(
        payload.len() <= SMALL || fields(&payload) <= MAX_FIELDS,
        "more fields than a message has",
    )?;
    let record = pb::Record::decode(payload.clone())
        .map_err(|error| DecodeError::Malformed(error.to_string()))?;
    match &record.body {
        None => return Err(without_body(payload)),
        Some(Body::Request(request)) => {
            check(request.id.len() == 16, "a request whose id is not 16 bytes")?;
            check(!request.method.is_empty(), "a request without a method")?;
        }
        Some(Body::Response(response)) => {
            check(response.id.len() == 16, "a response whose id is not 16 bytes")?;
        }
        Some(Body::Part(part)) => {
            check(part.id.len() == 16, "a body part whose id is not 16 bytes")?;
        }
        Some(Body::Gap(_) | Body::Mark(_)) => {}
    }
    check(record.agent.len() == 16, "a record whose agent is not 16 bytes")?;
    Ok(record)
}

fn check(holds: bool, otherwise: &'static str) -> Result<(), DecodeError> {
    if holds { Ok(()) } else { Err(DecodeError::Invalid(otherwise)) }
}

/// How many fields the bodies of a record have, as far as it is well formed.
fn fields(mut payload: &[u8]) -> usize {
    let mut count = 0;
    while payload.has_remaining() {
        let Ok((number, wire_type)) = decode_key(&mut payload) else { break };
        if number < FIRST_KIND || wire_type != WireType::LengthDelimited {
            if skip_field(wire_type, number, &mut payload, DecodeContext::default()).is_err() {
                break;
            }
            continue;
        }
        let Ok(length) = decode_varint(&mut payload) else { break };
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(payload.len());
        let (mut body, rest) = payload.split_at(length);
        payload = rest;
        while body.has_remaining() {
            let Ok((number, wire_type)) = decode_key(&mut body) else { break };
            if skip_field(wire_type, number, &mut body, DecodeContext::default()).is_err() {
                break;
            }
            count += 1;
        }
    }
    count
}

/// Tells a record of a kind we do not know, whose body the decoder skipped, from
/// one without a body.
fn without_body(mut payload: Bytes) -> DecodeError {
    while payload.has_remaining() {
        let Ok((number, wire_type)) = decode_key(&mut payload) else { break };
        if number >= FIRST_KIND {
            return DecodeError::UnknownKind(number);
        }
        if skip_field(wire_type, number, &mut payload, DecodeContext::default()).is_err() {
            break;
        }
    }
    DecodeError::Invalid("a record without a body")
}
