//! Protobuf's wire format, as much of it as the schema uses. Each message is
//! described once and driven twice: into a counter for its length, then into the
//! buffer, so that length and bytes cannot disagree.

use std::collections::BTreeMap;

use prost::Message;

use super::Pieces;
use crate::{fields::Fields as HeaderFields, pb};

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;

/// A message that can write its fields, in ascending order of their numbers.
pub(super) trait Fields {
    fn write<S: Sink>(&self, out: &mut S);
}

/// Appends `fields` as field `number` of the message being written.
pub(super) fn message(number: u32, fields: &impl Fields, out: &mut Vec<u8>) {
    let mut count = Count(0);
    fields.write(&mut count);
    out.reserve(count.0 + 12);
    out.key(number, LENGTH);
    out.varint(count.0 as u64);
    fields.write(out);
}

/// Bytes that [`message`] appends.
pub(super) fn message_len(number: u32, fields: &impl Fields) -> usize {
    let mut count = Count(0);
    fields.write(&mut count);
    let inner = count.0;
    count.key(number, LENGTH);
    count.varint(inner as u64);
    count.0
}

/// Appends a message of the generated types as field `number`.
pub(super) fn generated(number: u32, message: &impl Message, out: &mut Vec<u8>) {
    out.message(number, message);
}

/// Takes the bytes of fields. As `prost` does, fields of their default value are
/// left out, unless they are optional or repeated.
pub(super) trait Sink: Sized {
    fn raw(&mut self, bytes: &[u8]);
    fn varint(&mut self, value: u64);
    fn message(&mut self, number: u32, message: &impl Message);

    fn key(&mut self, number: u32, wire_type: u32) {
        self.varint(u64::from(number << 3 | wire_type));
    }

    /// Before so many bytes.
    fn length(&mut self, number: u32, length: usize) {
        self.key(number, LENGTH);
        self.varint(length as u64);
    }

    fn uint(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.key(number, VARINT);
            self.varint(value);
        }
    }

    fn enumeration(&mut self, number: u32, value: i32) {
        // Negative values sign-extend to ten bytes (the generated enums have none).
        self.uint(number, i64::from(value) as u64);
    }

    fn fixed(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.key(number, FIXED64);
            self.raw(&value.to_le_bytes());
        }
    }

    fn bytes(&mut self, number: u32, value: &[u8]) {
        if !value.is_empty() {
            self.optional(number, Some(value));
        }
    }

    fn optional(&mut self, number: u32, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.length(number, value.len());
            self.raw(value);
        }
    }

    fn pieces(&mut self, number: u32, value: Option<&dyn Pieces>) {
        let Some(value) = value else { return };
        let pieces = || (0..value.count()).map(|index| value.piece(index));
        self.key(number, LENGTH);
        self.varint(pieces().map(|piece| piece.len() as u64).sum());
        pieces().for_each(|piece| self.raw(piece));
    }

    fn headers(&mut self, number: u32, headers: &dyn HeaderFields) {
        for index in 0..headers.count() {
            let (name, value) = headers.field(index);
            self.pair(number, name, value);
        }
    }

    fn labels(&mut self, number: u32, labels: &BTreeMap<String, String>) {
        for (name, value) in labels {
            self.pair(number, name.as_bytes(), value.as_bytes());
        }
    }

    /// A message of two byte fields numbered 1 and 2: a header, or an entry of a map.
    fn pair(&mut self, number: u32, name: &[u8], value: &[u8]) {
        let mut count = Count(0);
        count.bytes(1, name);
        count.bytes(2, value);
        self.length(number, count.0);
        self.bytes(1, name);
        self.bytes(2, value);
    }

    fn sealed(&mut self, number: u32, sealed: &[pb::Sealed]) {
        for value in sealed {
            self.message(number, value);
        }
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    #[inline]
    fn length(&mut self, number: u32, length: usize) {
        let key = number << 3 | LENGTH;
        // Most take one byte each.
        if key < 0x80 && length < 0x80 {
            self.extend_from_slice(&[key as u8, length as u8]);
        } else {
            self.varint(key.into());
            self.varint(length as u64);
        }
    }

    fn message(&mut self, number: u32, message: &impl Message) {
        self.key(number, LENGTH);
        message.encode_length_delimited(self).expect("a Vec takes any number of bytes");
    }
}

/// Counts what would be written.
pub(super) struct Count(pub(super) usize);

impl Sink for Count {
    #[inline]
    fn raw(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    #[inline]
    fn varint(&mut self, value: u64) {
        self.0 += (70 - (value | 1).leading_zeros() as usize) / 7;
    }

    fn message(&mut self, number: u32, message: &impl Message) {
        self.key(number, LENGTH);
        let length = message.encoded_len();
        self.varint(length as u64);
        self.0 += length;
    }
}
