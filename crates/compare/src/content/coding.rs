//! Removes content codings (RFC 9110 section 8.4.1), up to a bound: a few kilobytes
//! can hold gigabytes.

use std::{borrow::Cow, io::Read};

/// Largest content; what is larger is compared as it was sent.
const MAX_DECODED: u64 = 8 << 20;

/// The content of a body sent with these Content-Encoding lines; `None` if a coding is
/// not known, the body is broken, or the content too large.
pub(crate) fn decode<'a, 'b>(
    body: &'a [u8],
    lines: impl Iterator<Item = &'b [u8]>,
) -> Option<Cow<'a, [u8]>> {
    let codings: Vec<&[u8]> = lines.flat_map(|line| line.split(|byte| *byte == b',')).collect();
    let mut content = Cow::Borrowed(body);
    if body.is_empty() {
        return Some(content);
    }
    // The last coding was applied last.
    for coding in codings.into_iter().rev() {
        content = match coding.trim_ascii().to_ascii_lowercase().as_slice() {
            b"" | b"identity" => content,
            b"gzip" | b"x-gzip" => read(flate2::read::MultiGzDecoder::new(&content[..]))?.into(),
            b"deflate" => deflate(&content)?.into(),
            b"br" => read(brotli_decompressor::Decompressor::new(&content[..], 4096))?.into(),
            b"zstd" => read(zstd::stream::read::Decoder::new(&content[..]).ok()?)?.into(),
            _ => return None,
        };
    }
    Some(content)
}

/// The zlib format, or, as some servers send it, the bare deflate stream.
fn deflate(body: &[u8]) -> Option<Vec<u8>> {
    read(flate2::read::ZlibDecoder::new(body))
        .or_else(|| read(flate2::read::DeflateDecoder::new(body)))
}

fn read(decoder: impl Read) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    decoder.take(MAX_DECODED + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= MAX_DECODED).then_some(content)
}
