//! Frames are found however the bytes were split.

use super::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn sample() -> Vec<u8> {
    let mut bytes = b"skipped".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frame(HEADERS, 0, 1, b"some fields"));
    bytes.extend(frame(CONTINUATION, END_HEADERS, 1, b"more"));
    bytes.extend(frame(DATA, END_STREAM, 1, &[7; 300]));
    bytes.extend(frame(RST_STREAM, 0, 3, &8u32.to_be_bytes()));
    bytes.extend(frame(GOAWAY, 0, 0, b"\0\0\0\x05\0\0\0\x0band why"));
    bytes.extend(frame(42, 0xff, 0x8000_0005, b"unknown"));
    bytes
}

type Seen = Vec<(u8, u8, u32, u32, u32)>;

fn look(pieces: &[&[u8]]) -> Seen {
    let mut scan = Scan::new(b"skipped".len());
    let mut seen = Vec::new();
    for piece in pieces {
        scan.look(piece, |f| seen.push((f.kind, f.flags, f.stream, f.length, f.code)));
    }
    assert!(!scan.is_inside_fields());
    seen
}

#[test]
fn every_frame_is_seen_wherever_the_bytes_are_split() {
    let bytes = sample();
    let expected = vec![
        (SETTINGS, 0, 0, 0, 0),
        (HEADERS, 0, 1, 11, 0),
        (CONTINUATION, END_HEADERS, 1, 4, 0),
        (DATA, END_STREAM, 1, 300, 0),
        (RST_STREAM, 0, 3, 4, 8),
        (GOAWAY, 0, 0, 15, 11),
        (42, 0xff, 5, 7, 0),
    ];
    assert_eq!(look(&[&bytes]), expected);
    for at in 0..bytes.len() {
        assert_eq!(look(&[&bytes[..at], &bytes[at..]]), expected, "split at {at}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(look(&single), expected);
}

#[test]
fn an_unfinished_block_of_fields_is_known_as_such() {
    let mut scan = Scan::new(0);
    let mut at = |bytes: &[u8]| {
        scan.look(bytes, |_| {});
        scan.is_inside_fields()
    };
    assert!(at(&frame(HEADERS, 0, 1, b"x")), "more is to come");
    let last = frame(CONTINUATION, END_HEADERS, 1, b"yz");
    assert!(at(&last[..last.len() - 1]), "one byte is to come");
    assert!(!at(&last[last.len() - 1..]));
    let data = frame(DATA, 0, 1, b"body");
    assert!(at(&data[..5]), "half of a frame's head");
    assert!(!at(&data[5..10]), "the rest of a body may take its time");
}

#[test]
fn frames_too_short_for_their_code_are_no_trouble() {
    let mut bytes = b"skipped".to_vec();
    bytes.extend(frame(RST_STREAM, 0, 1, b"ab"));
    bytes.extend(frame(GOAWAY, 0, 0, b""));
    bytes.extend(frame(SETTINGS, 1, 0, b""));
    let seen = look(&[&bytes]);
    assert_eq!(seen, [(RST_STREAM, 0, 1, 2, 0), (GOAWAY, 0, 0, 0, 0), (SETTINGS, 1, 0, 0, 0)]);
}
