//! Answers as they come from real and from strange servers, in every split.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use umbra_record::pb;

use super::{Collector, Decoder};
use crate::outcome::{Answer, Class};

/// What became of an answer that came in these pieces, then ended (or not).
struct Decoded {
    answer: Option<Answer>,
    fault: Option<Class>,
    done: bool,
    persistent: bool,
    left: Bytes,
}

fn decode(pieces: &[&[u8]], end: bool, head_request: bool) -> Decoded {
    let (mut decoder, mut answer) = (Decoder::new(head_request), Collector::start());
    let mut buffer = BytesMut::new();
    let mut fault = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if let Err(e) = decoder.advance(&mut buffer, &mut answer) {
            fault = Some(e.class);
            break;
        }
    }
    if end && fault.is_none() {
        fault = decoder.end_of_input(&mut answer).err().map(|e| e.class);
    }
    Decoded {
        done: decoder.is_done(),
        persistent: decoder.is_persistent(),
        answer: answer.finish(),
        fault,
        left: buffer.freeze(),
    }
}

fn whole(bytes: &[u8]) -> Decoded {
    decode(&[bytes], false, false)
}

fn body(decoded: &Decoded) -> Option<&[u8]> {
    decoded.answer.as_ref().and_then(|a| a.body.as_deref())
}

#[test]
fn a_length_ends_the_body_and_what_follows_is_left() {
    let decoded = whole(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloMORE");
    assert!(decoded.done && decoded.persistent && decoded.fault.is_none());
    assert_eq!(body(&decoded), Some(&b"hello"[..]));
    assert_eq!(decoded.left, &b"MORE"[..]);
    let answer = decoded.answer.expect("an answer came");
    assert!(answer.complete && answer.first_byte_after.is_some());
    assert_eq!((answer.status, &answer.reason[..]), (200, &b"OK"[..]));
}

#[test]
fn fields_keep_case_order_repeats_and_bytes() {
    let decoded = whole(b"HTTP/1.1 204 \r\nX-b: 1\r\nx-A: \xff\xfe\r\nX-b:  2 \r\nempty:\r\n\r\n");
    let fields: Vec<(Bytes, Bytes)> =
        decoded.answer.expect("an answer").headers.into_iter().map(|h| (h.name, h.value)).collect();
    let expected: [(&[u8], &[u8]); 4] =
        [(b"X-b", b"1"), (b"x-A", b"\xff\xfe"), (b"X-b", b"2"), (b"empty", b"")];
    assert!(fields.iter().zip(expected).all(|(f, e)| (&f.0[..], &f.1[..]) == e), "{fields:?}");
    assert_eq!(fields.len(), 4);
}

#[test]
fn no_body_where_there_cannot_be_one() {
    for status in [204, 304] {
        let text = format!("HTTP/1.1 {status} x\r\nContent-Length: 9\r\n\r\n");
        let decoded = whole(text.as_bytes());
        assert!(decoded.done && decoded.persistent, "{status}");
        assert_eq!(body(&decoded), None);
    }
    let decoded = decode(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"], false, true);
    assert!(decoded.done && body(&decoded).is_none(), "HEAD");
    let empty = whole(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((empty.done, body(&empty)), (true, Some(&b""[..])));
}

#[test]
fn interim_answers_are_passed_but_not_without_end() {
    let decoded = whole(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n\
          HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n",
    );
    assert_eq!(decoded.answer.map(|a| a.status), Some(201));
    let many = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(200);
    assert_eq!(whole(&many).fault, Some(Class::Garbled));
    let switching = whole(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
    assert!(switching.done && !switching.persistent);
}

#[test]
fn chunks_with_extensions_and_trailers() {
    let decoded = whole(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
          5;a=\"b\"\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 7\r\nX-sum: 8\r\n\r\n",
    );
    assert!(decoded.done && decoded.persistent);
    assert_eq!(body(&decoded), Some(&b"hello!"[..]));
    let trailers = decoded.answer.expect("an answer").trailers;
    assert_eq!(trailers.iter().map(|t| &t.value[..]).collect::<Vec<_>>(), [b"7", b"8"]);
}

#[test]
fn persistence_follows_version_and_connection() {
    let persistent = |head: &str| whole(head.as_bytes()).persistent;
    assert!(persistent("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    assert!(!persistent("HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 0\r\n\r\n"));
    assert!(!persistent("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n"));
    assert!(persistent("HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 0\r\n\r\n"));
}

#[test]
fn what_fields_say_is_said_by_all_their_lines() {
    let of = |fields: &str| whole(format!("HTTP/1.1 200 OK\r\n{fields}\r\n0\r\n\r\n").as_bytes());
    let coded = of("Transfer-Encoding: gzip\r\ntransfer-encoding: , Chunked\r\n");
    assert!(coded.done && coded.persistent && coded.left.is_empty());
    // The last coding is none that ends.
    let open = of("transfer-encoding: chunked\r\ntransfer-encoding: gzip\r\n");
    assert!(!open.done && open.fault.is_none());
    // Chunks count for more than a length, whatever that says.
    assert!(of("content-length: x\r\ntransfer-encoding: chunked\r\n").fault.is_none());
    assert!(of("content-length: 5\r\nContent-Length: 5, 5\r\n").done);
    assert_eq!(of("content-length: 5\r\ncontent-length: 4\r\n").fault, Some(Class::Garbled));
    assert_eq!(of("content-length: 4, 5, 4\r\n").fault, Some(Class::Garbled));
    assert!(!of("connection: keep-alive\r\nconnection: close\r\ncontent-length: 5\r\n").persistent);
}

#[test]
fn an_answer_may_say_how_long_its_connection_is_kept() {
    let kept = |field: &str| {
        let (mut decoder, mut answer) = (Decoder::new(false), Collector::start());
        let head = format!("HTTP/1.1 200 OK\r\n{field}content-length: 0\r\n\r\n");
        let mut buffer = BytesMut::from(head.as_bytes());
        assert!(decoder.advance(&mut buffer, &mut answer).is_ok() && decoder.is_done());
        decoder.keep_alive()
    };
    assert_eq!(kept("Keep-Alive: max=9, timeout=5\r\n"), Some(5));
    assert_eq!(kept("keep-alive: max=9\r\nkeep-alive: timeout=7\r\n"), Some(7));
    assert_eq!(kept("keep-alive: timeout=soon\r\n"), None);
    assert_eq!(kept(""), None);
}

#[test]
fn the_end_of_the_connection_is_an_end_only_without_framing() {
    let plain = decode(&[b"HTTP/1.0 200 OK\r\n\r\nab"], true, false);
    assert!(plain.done && plain.fault.is_none() && !plain.persistent);
    assert_eq!(body(&plain), Some(&b"ab"[..]));
    for cut in [
        &b""[..],
        b"HTTP/1.1 2",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nX: y\r\n",
    ] {
        let decoded = decode(&[cut], true, false);
        assert_eq!(decoded.fault, Some(Class::Reset), "{}", cut.escape_ascii());
        assert!(decoded.answer.is_none_or(|a| !a.complete));
    }
}

#[test]
fn what_is_not_http_is_garbled_at_once() {
    for garbage in [
        &b"garbage"[..],
        b"\x16\x03\x01\x02\x00",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
    ] {
        assert_eq!(whole(garbage).fault, Some(Class::Garbled), "{}", garbage.escape_ascii());
    }
}

#[test]
fn heads_have_a_bound() {
    let mut long = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    long.resize(300 * 1024, b'a');
    assert_eq!(whole(&long).fault, Some(Class::TooLarge));
    let mut many = b"HTTP/1.1 200 OK\r\n".to_vec();
    many.extend(b"a: b\r\n".repeat(2000));
    many.extend(b"\r\n");
    assert_eq!(whole(&many).fault, Some(Class::TooLarge));
    let mut fits = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n".to_vec();
    fits.extend(b"a: b\r\n".repeat(500));
    fits.extend(b"\r\n");
    assert_eq!(whole(&fits).answer.map(|a| a.headers.len()), Some(501));
}

/// An answer as bytes, what it means, and whether its end is the connection's.
fn answers() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, bool)> {
    let body = proptest::collection::vec(any::<u8>(), 0..200);
    (body, 0..3_u8, 1..50_usize, 0..3_usize).prop_map(|(body, kind, chunk, interim)| {
        let mut bytes = b"HTTP/1.1 102 Processing\r\nx: y\r\n\r\n".repeat(interim);
        bytes.extend(b"HTTP/1.1 200 Some Words\r\nX-One: \xe9\r\n");
        match kind {
            0 => {
                bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                bytes.extend(&body);
            }
            1 => {
                bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for piece in body.chunks(chunk) {
                    bytes.extend(format!("{:X}\r\n", piece.len()).bytes());
                    bytes.extend(piece);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\nT: 1\r\n\r\n");
            }
            _ => {
                bytes.extend(b"\r\n");
                bytes.extend(&body);
            }
        }
        (bytes, body, kind == 2)
    })
}

proptest! {
    #[test]
    fn every_split_means_the_same(
        (bytes, expected, until_close) in answers(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
    ) {
        let mut at: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        let decoded = decode(&pieces, until_close, false);
        prop_assert_eq!(decoded.fault, None);
        prop_assert!(decoded.done);
        let answer = decoded.answer.expect("an answer");
        prop_assert_eq!(answer.body.as_deref(), Some(&expected[..]));
        prop_assert_eq!(answer.body_length, expected.len() as u64);
        prop_assert_eq!(answer.status, 200);
        prop_assert_eq!(answer.version, pb::Version::Http11);
        prop_assert_eq!(&answer.headers[0].value[..], &b"\xe9"[..]);
    }

    #[test]
    fn single_bytes_mean_the_same((bytes, expected, until_close) in answers()) {
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        let decoded = decode(&pieces, until_close, false);
        prop_assert!(decoded.done);
        prop_assert_eq!(body(&decoded), Some(&expected[..]));
    }

    #[test]
    fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..400), ok in any::<bool>()) {
        let mut all = if ok {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()
        } else {
            Vec::new()
        };
        all.extend(&bytes);
        let decoded = decode(&[&all], true, false);
        prop_assert!(decoded.done != decoded.fault.is_some());
    }
}
