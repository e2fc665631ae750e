use std::io::Write;

use flate2::Compression;

use super::*;

fn decoded(body: &[u8], coding: &str, limit: usize) -> Option<(Vec<u8>, bool)> {
    let lines = [coding.as_bytes()];
    decode(body, lines.into_iter(), limit).map(|d| (d.content.into_owned(), d.whole))
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn codings_are_removed_last_first() {
    let text = b"some text, some text".repeat(20);
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(&text).unwrap();
    let mut bare = flate2::write::DeflateEncoder::new(Vec::new(), Compression::default());
    bare.write_all(&text).unwrap();
    let zstd = zstd::encode_all(&text[..], 1).unwrap();
    for (body, coding) in [
        (text.clone(), "identity"),
        (gzip(&text), "GZIP"),
        (zlib.finish().unwrap(), "deflate"),
        (bare.finish().unwrap(), "deflate"),
        (zstd.clone(), "zstd"),
        (gzip(&zstd), "zstd, gzip"),
    ] {
        assert_eq!(decoded(&body, coding, 1 << 20), Some((text.clone(), true)), "{coding}");
    }
    assert_eq!(decoded(&text, "lzma", 1 << 20), None);
    assert_eq!(decoded(b"", "lzma", 1 << 20), Some((Vec::new(), true)));
}

#[test]
fn what_breaks_off_gives_its_beginning() {
    // Random enough that the beginning of the coded bytes says something.
    let mut state = 1u64;
    let text: Vec<u8> = (0..60_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            b'a' + (state >> 60) as u8
        })
        .collect();
    let coded = gzip(&text);
    let (content, whole) = decoded(&coded[..coded.len() / 2], "gzip", 1 << 20).unwrap();
    assert!(!whole && !content.is_empty() && text.starts_with(&content));
    let (content, whole) = decoded(&coded, "gzip", 1000).unwrap();
    assert!(!whole && content == text[..1000]);
}
