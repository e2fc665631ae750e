//! The bytes of a segment: an MCAP file (mcap.dev/spec) that any MCAP reader
//! understands, written so that it can be followed while it grows.
//!
//! ```text
//! magic Header Schema? Channel×partitions Metadata      the preamble
//! (Positions Chunk)*                                    grows by one write each
//! DataEnd Schema? Channel× ChunkIndex× Statistics MetadataIndex Footer magic
//! ```
//!
//! `Positions` is a private record (the specification reserves opcodes from 0x80
//! for applications, and readers pass what they do not know): the offset each
//! partition has reached before the chunk that follows. It makes seeking possible
//! without decompressing, and losses countable when a chunk is damaged. A message's
//! sequence is the low half of its offset. Chunks carry no message indexes: nobody
//! reads single messages of a log.
//!
//! Only turns values into bytes and back; does no I/O.

use std::collections::BTreeMap;

use mcap::{
    MAGIC,
    records::{Metadata, Record, op},
};

use crate::Schema;

/// Opcode of the private record before each chunk.
pub(super) const POSITIONS: u8 = 0x90;
/// Bytes of a record before its body: opcode and length.
pub(super) const RECORD_HEAD: usize = 9;
/// Bytes of a message record before its payload, record head included.
pub(super) const MESSAGE_HEAD: usize = RECORD_HEAD + 22;
/// Bytes of a chunk record's body before the name of its compression.
const CHUNK_FIXED: usize = 8 + 8 + 8 + 4;
/// Footer record and closing magic.
pub(super) const FOOTER_LEN: usize = RECORD_HEAD + 20 + MAGIC.len();
/// Name of the metadata record of the preamble.
const SEGMENT: &str = "umbra.segment";
/// What the header calls us.
pub(super) const PROFILE: &str = "umbra";

/// What is said at the start of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Preamble {
    /// Number of the segment.
    pub(super) segment: u64,
    /// First offset of each partition in this segment.
    pub(super) base: Vec<u64>,
    /// No record of an earlier segment is newer.
    pub(super) latest_ns: u64,
}

/// One chunk of a segment, for its index.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkAt {
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) raw_len: u64,
    pub(super) stored_len: u64,
    pub(super) compressed: bool,
}

/// The head of a chunk record, parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkHead<'a> {
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) raw_len: u64,
    pub(super) crc: u32,
    pub(super) compression: &'a [u8],
    /// Length of the stored (compressed) records.
    pub(super) stored_len: u64,
    /// Where they begin in the record's body.
    pub(super) stored_at: usize,
}

/// One message record of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MessageRef<'a> {
    pub(super) channel: u16,
    pub(super) sequence: u32,
    pub(super) time_ns: u64,
    pub(super) payload: &'a [u8],
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_map(out: &mut Vec<u8>, map: &[(&str, String)]) {
    let len: usize = map.iter().map(|(k, v)| 8 + k.len() + v.len()).sum();
    out.extend_from_slice(&(len as u32).to_le_bytes());
    for (key, value) in map {
        put_string(out, key);
        put_string(out, value);
    }
}

/// Writes a record whose body `fill` appends.
fn put_record(out: &mut Vec<u8>, opcode: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(opcode);
    let length_at = out.len();
    out.extend_from_slice(&[0; 8]);
    fill(out);
    let length = (out.len() - length_at - 8) as u64;
    out[length_at..length_at + 8].copy_from_slice(&length.to_le_bytes());
}

fn put_schema_and_channels(out: &mut Vec<u8>, schema: Option<&Schema>, partitions: usize) {
    if let Some(schema) = schema {
        put_record(out, op::SCHEMA, |out| {
            out.extend_from_slice(&1u16.to_le_bytes());
            put_string(out, &schema.name);
            put_string(out, &schema.encoding);
            out.extend_from_slice(&(schema.data.len() as u32).to_le_bytes());
            out.extend_from_slice(&schema.data);
        });
    }
    for partition in 0..partitions {
        put_record(out, op::CHANNEL, |out| {
            out.extend_from_slice(&(partition as u16).to_le_bytes());
            out.extend_from_slice(&u16::from(schema.is_some()).to_le_bytes());
            put_string(out, &format!("partition/{partition:02}"));
            put_string(out, schema.map_or("", |schema| &schema.encoding));
            put_map(out, &[]);
        });
    }
}

/// The partition a channel's topic names.
pub(super) fn partition_of(topic: &str) -> Option<u32> {
    topic.strip_prefix("partition/")?.parse().ok()
}

impl Preamble {
    /// The bytes a segment begins with.
    pub(super) fn encode(&self, schema: Option<&Schema>) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put_record(&mut out, op::HEADER, |out| {
            put_string(out, PROFILE);
            put_string(out, concat!("umbra-log ", env!("CARGO_PKG_VERSION")));
        });
        put_schema_and_channels(&mut out, schema, self.base.len());
        self.encode_metadata(&mut out);
        out
    }

    fn encode_metadata(&self, out: &mut Vec<u8>) {
        let base: Vec<String> = self.base.iter().map(u64::to_string).collect();
        let base = base.join(",");
        let check = self.check(&base);
        put_record(out, op::METADATA, |out| {
            put_string(out, SEGMENT);
            // In the order of the keys, as a map is compared by other tools.
            put_map(
                out,
                &[
                    ("base", base),
                    ("crc", check.to_string()),
                    ("latest_ns", self.latest_ns.to_string()),
                    ("segment", self.segment.to_string()),
                ],
            );
        });
    }

    /// Reads the metadata record; `None` if it is another one.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let Ok(Record::Metadata(Metadata { name, metadata })) =
            mcap::parse_record(op::METADATA, body)
        else {
            return None;
        };
        if name != SEGMENT {
            return None;
        }
        let number = |key| metadata.get(key)?.parse::<u64>().ok();
        let text = metadata.get("base")?;
        let base: Result<Vec<u64>, _> = text.split(',').map(str::parse).collect();
        let preamble =
            Self { segment: number("segment")?, base: base.ok()?, latest_ns: number("latest_ns")? };
        (number("crc")? == u64::from(preamble.check(text))).then_some(preamble)
    }

    /// What stands here decides which offset every record gets.
    fn check(&self, base: &str) -> u32 {
        crc32fast::hash(format!("{} {base} {}", self.segment, self.latest_ns).as_bytes())
    }
}

impl MessageRef<'_> {
    /// The offset its sequence is the low half of, being near the one expected.
    pub(super) fn offset(&self, expected: u64) -> u64 {
        let ahead = self.sequence.wrapping_sub(expected as u32).cast_signed();
        expected.saturating_add_signed(i64::from(ahead))
    }
}

/// Appends a message record to the records of a chunk.
pub(super) fn put_message(
    out: &mut Vec<u8>,
    channel: u16,
    sequence: u32,
    time: u64,
    payload: &[u8],
) {
    let mut head = [0; MESSAGE_HEAD];
    head[0] = op::MESSAGE;
    head[1..9].copy_from_slice(&(22 + payload.len() as u64).to_le_bytes());
    head[9..11].copy_from_slice(&channel.to_le_bytes());
    head[11..15].copy_from_slice(&sequence.to_le_bytes());
    head[15..23].copy_from_slice(&time.to_le_bytes());
    head[23..31].copy_from_slice(&time.to_le_bytes());
    out.reserve(MESSAGE_HEAD + payload.len());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
}

/// Reads the body of a message record.
pub(super) fn message(body: &[u8]) -> Option<MessageRef<'_>> {
    let (head, payload) = body.split_at_checked(22)?;
    Some(MessageRef {
        channel: u16::from_le_bytes(head[0..2].try_into().ok()?),
        sequence: u32::from_le_bytes(head[2..6].try_into().ok()?),
        time_ns: u64::from_le_bytes(head[6..14].try_into().ok()?),
        payload,
    })
}

/// Appends the private record before a chunk: how far each partition is beyond
/// its base, as LEB128.
pub(super) fn put_positions(out: &mut Vec<u8>, base: &[u64], at: &[u64]) {
    put_record(out, POSITIONS, |out| {
        for (at, base) in at.iter().zip(base) {
            let mut value = at - base;
            while value >= 0x80 {
                out.push(value as u8 | 0x80);
                value >>= 7;
            }
            out.push(value as u8);
        }
    });
}

/// Reads it.
pub(super) fn positions(body: &[u8], base: &[u64]) -> Option<Vec<u64>> {
    let mut bytes = body.iter();
    base.iter()
        .map(|base| {
            let mut value = 0u64;
            for shift in (0..64).step_by(7) {
                let byte = *bytes.next()?;
                value |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    return base.checked_add(value);
                }
            }
            None
        })
        .collect()
}

/// Appends a chunk record of `stored`, which is `raw_len` bytes of records with
/// this checksum, compressed or as they are.
pub(super) fn put_chunk(
    out: &mut Vec<u8>,
    (start_ns, end_ns): (u64, u64),
    (raw_len, crc): (u64, u32),
    compressed: bool,
    stored: &[u8],
) {
    put_record(out, op::CHUNK, |out| {
        out.extend_from_slice(&start_ns.to_le_bytes());
        out.extend_from_slice(&end_ns.to_le_bytes());
        out.extend_from_slice(&raw_len.to_le_bytes());
        out.extend_from_slice(&crc.to_le_bytes());
        put_string(out, if compressed { "zstd" } else { "" });
        out.extend_from_slice(&(stored.len() as u64).to_le_bytes());
        out.extend_from_slice(stored);
    });
}

/// Reads the head of a chunk record's body, of which `body` need only be the
/// beginning.
pub(super) fn chunk_head(body: &[u8]) -> Option<ChunkHead<'_>> {
    let u64_at = |at: usize| Some(u64::from_le_bytes(body.get(at..at + 8)?.try_into().ok()?));
    let name_len = u32::from_le_bytes(body.get(CHUNK_FIXED..CHUNK_FIXED + 4)?.try_into().ok()?);
    let name_at = CHUNK_FIXED + 4;
    let name_end = name_at.checked_add(name_len as usize)?;
    Some(ChunkHead {
        start_ns: u64_at(0)?,
        end_ns: u64_at(8)?,
        raw_len: u64_at(16)?,
        crc: u32::from_le_bytes(body.get(24..28)?.try_into().ok()?),
        compression: body.get(name_at..name_end)?,
        stored_len: u64_at(name_end)?,
        stored_at: name_end + 8,
    })
}

/// What a segment ends with, to be written at `at`, and the segment is then whole.
pub(super) fn put_ending(
    out: &mut Vec<u8>,
    at: u64,
    schema: Option<&Schema>,
    preamble: &Preamble,
    next: &[u64],
    chunks: &[ChunkAt],
) {
    let begin = out.len();
    // 0: no checksum of the whole data section; each chunk has its own.
    put_record(out, op::DATA_END, |out| out.extend_from_slice(&0u32.to_le_bytes()));
    let summary_at = at + (out.len() - begin) as u64;
    put_schema_and_channels(out, schema, preamble.base.len());
    for chunk in chunks {
        put_chunk_index(out, chunk);
    }
    put_statistics(out, schema.is_some(), preamble, next, chunks);
    let summary_offset_start = 0u64;
    put_record(out, op::FOOTER, |out| {
        out.extend_from_slice(&summary_at.to_le_bytes());
        out.extend_from_slice(&summary_offset_start.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
    });
    out.extend_from_slice(MAGIC);
}

fn put_chunk_index(out: &mut Vec<u8>, chunk: &ChunkAt) {
    put_record(out, op::CHUNK_INDEX, |out| {
        out.extend_from_slice(&chunk.start_ns.to_le_bytes());
        out.extend_from_slice(&chunk.end_ns.to_le_bytes());
        out.extend_from_slice(&chunk.offset.to_le_bytes());
        out.extend_from_slice(&chunk.length.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&0u64.to_le_bytes());
        put_string(out, if chunk.compressed { "zstd" } else { "" });
        out.extend_from_slice(&chunk.stored_len.to_le_bytes());
        out.extend_from_slice(&chunk.raw_len.to_le_bytes());
    });
}

fn put_statistics(
    out: &mut Vec<u8>,
    schema: bool,
    preamble: &Preamble,
    next: &[u64],
    chunks: &[ChunkAt],
) {
    let counts: BTreeMap<u16, u64> = (0u16..)
        .zip(next.iter().zip(&preamble.base))
        .map(|(channel, (next, base))| (channel, next - base))
        .collect();
    put_record(out, op::STATISTICS, |out| {
        out.extend_from_slice(&counts.values().sum::<u64>().to_le_bytes());
        out.extend_from_slice(&u16::from(schema).to_le_bytes());
        out.extend_from_slice(&(preamble.base.len() as u32).to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&1u32.to_le_bytes());
        out.extend_from_slice(&(chunks.len() as u32).to_le_bytes());
        let start = chunks.iter().map(|chunk| chunk.start_ns).min().unwrap_or(0);
        let end = chunks.iter().map(|chunk| chunk.end_ns).max().unwrap_or(0);
        out.extend_from_slice(&start.to_le_bytes());
        out.extend_from_slice(&end.to_le_bytes());
        out.extend_from_slice(&((counts.len() * 10) as u32).to_le_bytes());
        for (channel, count) in &counts {
            out.extend_from_slice(&channel.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
        }
    });
}

/// Reads the last [`FOOTER_LEN`] bytes of a whole segment: where its summary
/// begins (0: it has none). `None`: it is not whole.
pub(super) fn footer(tail: &[u8]) -> Option<u64> {
    let tail = tail.get(tail.len().checked_sub(FOOTER_LEN)?..)?;
    let whole = tail[0] == op::FOOTER && tail[1..9] == 20u64.to_le_bytes() && tail.ends_with(MAGIC);
    whole.then(|| u64::from_le_bytes(tail[9..17].try_into().unwrap_or_default()))
}

/// The records of a stretch of bytes that holds whole records only: opcode, body.
/// Ends at the first that is not whole.
pub(super) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether everything was read.
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.rest.split_at_checked(RECORD_HEAD)?;
        let length = u64::from_le_bytes(head[1..9].try_into().ok()?);
        let (body, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some((head[0], body))
    }
}

/// Decompresses the records of a chunk into `raw`, which is reused, and checks
/// them.
pub(super) fn unpack<'a>(
    body: &'a [u8],
    limit: u64,
    decompressor: &mut zstd::bulk::Decompressor<'_>,
    raw: &'a mut Vec<u8>,
) -> Result<(ChunkHead<'a>, &'a [u8]), String> {
    let head = chunk_head(body).ok_or("its head is cut off")?;
    let stored_end =
        usize::try_from(head.stored_len).ok().and_then(|len| head.stored_at.checked_add(len));
    let stored = stored_end
        .and_then(|end| body.get(head.stored_at..end))
        .ok_or("its lengths contradict each other")?;
    if head.raw_len > limit {
        return Err(format!("it claims {} bytes of records", head.raw_len));
    }
    let records = match head.compression {
        b"" => stored,
        b"zstd" => {
            raw.clear();
            raw.reserve(head.raw_len as usize);
            decompressor
                .decompress_to_buffer(stored, raw)
                .map_err(|error| format!("it does not decompress: {error}"))?;
            raw.as_slice()
        }
        other => {
            return Err(format!(
                "it is compressed with `{}`, which is not supported",
                String::from_utf8_lossy(other)
            ));
        }
    };
    // A checksum of 0 means that the writer made none.
    if records.len() as u64 != head.raw_len
        || (head.crc != 0 && crc32fast::hash(records) != head.crc)
    {
        return Err("its checksum is wrong".to_owned());
    }
    Ok((head, records))
}
