//! Removes content codings (RFC 9110 section 8.4.1) up to a bound: a few kilobytes can
//! hold gigabytes. Knows nothing of what the content is.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, io::Read};

/// Most codings of one body: each costs as much as the bound allows.
const MAX_CODINGS: usize = 4;

/// Largest window of zstd as a content coding (RFC 9659): it is held in memory.
const ZSTD_WINDOW_LOG: u32 = 23;

/// The content of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// As much of it as there is.
    pub content: Cow<'a, [u8]>,
    /// Nothing is missing: the coded body was whole and within the bound.
    pub whole: bool,
}

/// The content of a body that was sent with these Content-Encoding lines; `None` if a
/// coding is not known, or there are too many. A body that breaks off, is damaged, or is larger than `limit`
/// gives the content up to there.
pub fn decode<'a, 'b>(
    body: &'a [u8],
    lines: impl Iterator<Item = &'b [u8]>,
    limit: usize,
) -> Option<Decoded<'a>> {
    let codings: Vec<&[u8]> = lines.flat_map(|line| line.split(|byte| *byte == b',')).collect();
    let codes = |coding: &&&[u8]| !matches!(coding.trim_ascii(), b"" | b"identity");
    if codings.iter().filter(codes).count() > MAX_CODINGS {
        return None;
    }
    let mut decoded = Decoded { content: Cow::Borrowed(body), whole: true };
    if body.is_empty() {
        return Some(decoded);
    }
    // The last coding was applied last.
    for coding in codings.into_iter().rev() {
        let coded = &decoded.content[..];
        let (content, whole) = match coding.trim_ascii().to_ascii_lowercase().as_slice() {
            b"" | b"identity" => continue,
            b"gzip" | b"x-gzip" => read(flate2::read::MultiGzDecoder::new(coded), limit),
            b"deflate" => deflate(coded, limit),
            b"br" => read(brotli_decompressor::Decompressor::new(coded, 4096), limit),
            b"zstd" => {
                let Ok(mut decoder) = zstd::stream::read::Decoder::new(coded) else { return None };
                if decoder.window_log_max(ZSTD_WINDOW_LOG).is_err() {
                    return None;
                }
                read(decoder, limit)
            }
            _ => return None,
        };
        decoded = Decoded { content: content.into(), whole: whole && decoded.whole };
    }
    Some(decoded)
}

/// The zlib format, or, as some servers send it, the bare deflate stream.
fn deflate(body: &[u8], limit: usize) -> (Vec<u8>, bool) {
    let zlib = read(flate2::read::ZlibDecoder::new(body), limit);
    if zlib.1 {
        return zlib;
    }
    let bare = read(flate2::read::DeflateDecoder::new(body), limit);
    if bare.1 || zlib.0.is_empty() { bare } else { zlib }
}

/// What a decoder gives until its end, its first error or the bound.
fn read(decoder: impl Read, limit: usize) -> (Vec<u8>, bool) {
    let mut content = Vec::new();
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let ended = decoder.take(bound).read_to_end(&mut content).is_ok();
    let whole = ended && content.len() <= limit;
    content.truncate(limit);
    (content, whole)
}
