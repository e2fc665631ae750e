//! Properties of the codec over generated messages: what it finds does not depend
//! on how the bytes arrived, it survives any bytes, and what it forwards is what
//! came.

mod h1_driver;

use h1_driver::{
    LIMITS, Pairs, Reader,
    messages::{
        Body, Message, config, data, fields, request, request_stream, response, response_stream,
        write_fields,
    },
    owned, pieces,
};
use proptest::{collection::vec, option, prelude::*, sample::Index};
use umbra_capture::h1::{
    BodyKind, ForwardChanges, Limits, MethodKind, Parsed, RequestHead, ResponseChanges,
    ResponseHead, Version, parse_request, parse_response, write_request_head, write_response_head,
};

#[derive(Debug, Clone)]
enum Edit {
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Repeat(Index, Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    // Bytes that mean something in HTTP hit more often than others.
    let byte = prop_oneof![
        3 => proptest::sample::select(b"\r\n \t:;,=\"0159afx\0\x7f".to_vec()),
        1 => any::<u8>(),
    ];
    prop_oneof![
        (any::<Index>(), byte.clone()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (any::<Index>(), byte).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        any::<Index>().prop_map(Edit::Remove),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Edit::Repeat(from, to)),
    ]
}

fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        if bytes.is_empty() {
            break;
        }
        match edit {
            Edit::Replace(at, byte) => *at.get_mut(&mut bytes) = *byte,
            Edit::Insert(at, byte) => bytes.insert(at.index(bytes.len()), *byte),
            Edit::Remove(at) => {
                bytes.remove(at.index(bytes.len()));
            }
            Edit::Repeat(from, to) => {
                let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                let piece = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(to..to, piece);
            }
        }
    }
    bytes
}

/// Small limits, so that generated messages run into them.
const TIGHT: Limits = Limits { max_head: 300, max_headers: 7 };

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn requests_are_found_in_every_split(
        messages in vec(request(), 1..4),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let (bytes, events) = request_stream(&messages);
        prop_assert_eq!(&Reader::server(LIMITS).read(pieces(&bytes, &cuts)), &events);
        prop_assert_eq!(&Reader::server(LIMITS).read(bytes.chunks(1)), &events);
    }

    #[test]
    fn answers_are_found_in_every_split(
        messages in vec(response(), 1..4),
        rest in option::of(data()),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let mut messages = messages;
        messages.extend(rest.map(|rest| {
            let start = vec![b"200".to_vec(), Vec::new()];
            (Message { start, fields: Vec::new(), body: Body::UntilClose(rest) }, false)
        }));
        let (bytes, events, sent) = response_stream(&messages);
        prop_assert_eq!(&Reader::client(LIMITS, &sent).read(pieces(&bytes, &cuts)), &events);
        prop_assert_eq!(&Reader::client(LIMITS, &sent).read(bytes.chunks(1)), &events);
    }

    #[test]
    fn any_bytes_get_the_same_verdict_in_every_split(
        bytes in vec(any::<u8>(), 0..400),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let whole = Reader::server(TIGHT).read([&bytes[..]]);
        prop_assert_eq!(Reader::server(TIGHT).read(pieces(&bytes, &cuts)), whole);
        let sent = [MethodKind::Other, MethodKind::Head];
        let whole = Reader::client(TIGHT, &sent).read([&bytes[..]]);
        prop_assert_eq!(Reader::client(TIGHT, &sent).read(pieces(&bytes, &cuts)), whole);
    }

    #[test]
    fn damaged_requests_get_the_same_verdict_in_every_split(
        messages in vec(request(), 1..3),
        edits in vec(edit(), 1..4),
        cuts in vec(any::<usize>(), 0..12),
        tight in any::<bool>(),
    ) {
        let bytes = edited(request_stream(&messages).0, &edits);
        let limits = if tight { TIGHT } else { LIMITS };
        let whole = Reader::server(limits).read([&bytes[..]]);
        prop_assert_eq!(&Reader::server(limits).read(pieces(&bytes, &cuts)), &whole);
        prop_assert_eq!(&Reader::server(limits).read(bytes.chunks(1)), &whole);
    }

    #[test]
    fn damaged_answers_get_the_same_verdict_in_every_split(
        messages in vec(response(), 1..3),
        edits in vec(edit(), 1..4),
        cuts in vec(any::<usize>(), 0..12),
        tight in any::<bool>(),
    ) {
        let (bytes, _, sent) = response_stream(&messages);
        let bytes = edited(bytes, &edits);
        let limits = if tight { TIGHT } else { LIMITS };
        let whole = Reader::client(limits, &sent).read([&bytes[..]]);
        prop_assert_eq!(&Reader::client(limits, &sent).read(pieces(&bytes, &cuts)), &whole);
        prop_assert_eq!(&Reader::client(limits, &sent).read(bytes.chunks(1)), &whole);
    }
}

proptest! {
    #![proptest_config(config(300))]

    /// Longer than what the codec looks at again and again while a head has no
    /// end, and around the limit.
    #[test]
    fn long_heads_get_the_same_verdict_in_every_split(
        target in 0..9000usize,
        value in 0..9000usize,
        fields in fields(40),
        trailer in 0..9000usize,
        edits in vec(edit(), 0..3),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let mut bytes = format!("GET /{} HTTP/1.1\r\n", "t".repeat(target)).into_bytes();
        let long = |len: usize| (b"Long".to_vec(), b"v".repeat(len));
        let mut all = vec![long(value), (b"Host".to_vec(), b"a".to_vec())];
        all.extend(fields);
        all.push((b"Transfer-Encoding".to_vec(), b"chunked".to_vec()));
        write_fields(&all, &mut bytes);
        bytes.extend_from_slice(b"1\r\nx\r\n0\r\n");
        write_fields(&vec![long(trailer)], &mut bytes);
        let bytes = edited(bytes, &edits);

        let limits = Limits { max_head: 8192, max_headers: 40 };
        let whole = Reader::server(limits).read([&bytes[..]]);
        prop_assert_eq!(&Reader::server(limits).read(pieces(&bytes, &cuts)), &whole);
        prop_assert_eq!(&Reader::server(limits).read(bytes.chunks(97)), &whole);
    }
}

/// Fields of the connection, in between the others.
fn hops() -> impl Strategy<Value = Pairs> {
    let named = prop_oneof![
        Just(("Keep-Alive", "timeout=5")),
        Just(("keep-alive", "")),
        Just(("Proxy-Connection", "close")),
        Just(("TE", "trailers, deflate;q=0.5")),
        Just(("te", "gzip")),
        Just(("Upgrade", "h2c")),
        Just(("Connection", "keep-alive, XyNamed ,te")),
        Just(("connection", ",,xynamed")),
        Just(("XYnaMED", "of this hop")),
    ];
    vec(named, 0..5).prop_map(|pairs| {
        pairs
            .iter()
            .map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into()))
            .collect()
    })
}

/// `hops` at these places among `fields`.
fn mixed(fields: &Pairs, hops: Pairs, places: &[Index]) -> Pairs {
    let mut all = fields.clone();
    for (hop, place) in hops.into_iter().zip(places) {
        all.insert(place.index(all.len() + 1), hop);
    }
    all
}

/// What RFC 9110 7.6.1 leaves of them, said another way than the codec does.
fn end_to_end(fields: &Pairs) -> Pairs {
    let lower = |name: &[u8]| String::from_utf8_lossy(name).to_ascii_lowercase();
    let mut gone: Vec<String> =
        ["connection", "keep-alive", "proxy-connection", "te", "upgrade"].map(String::from).into();
    for (name, value) in fields {
        if lower(name) == "connection" {
            gone.extend(lower(value).split(',').map(|option| option.trim().to_owned()));
        }
    }
    fields.iter().filter(|(name, _)| !gone.contains(&lower(name))).cloned().collect()
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn a_forwarded_request_keeps_all_but_the_fields_of_its_connection(
        message in request(),
        hops in hops(),
        places in vec(any::<Index>(), 5),
    ) {
        let sent = mixed(&message.sent(&[("hOST", "a:80")]), hops, &places);
        let mut bytes = [&message.start[0], &b" "[..], &message.start[1], b" HTTP/1.1\r\n"].concat();
        write_fields(&sent, &mut bytes);

        let mut head = RequestHead::default();
        let parsed = parse_request(&bytes, &LIMITS, &mut head);
        prop_assert_eq!(parsed, Ok(Parsed::Complete { len: bytes.len() }));
        let mut out = b"before".to_vec();
        write_request_head(&mut out, &bytes, &head, &ForwardChanges::default());
        prop_assert!(out.starts_with(b"before"));
        let out = &out[6..];

        let mut again = RequestHead::default();
        let parsed = parse_request(out, &LIMITS, &mut again);
        prop_assert_eq!(parsed, Ok(Parsed::Complete { len: out.len() }));
        let mut found = owned(again.fields(out));
        if head.takes_trailers() {
            prop_assert_eq!(found.pop(), Some((b"Connection".to_vec(), b"TE".to_vec())));
            let te = found.iter().position(|(name, _)| name == b"TE");
            prop_assert_eq!(found.remove(te.expect("forwarded")).1, b"trailers".to_vec());
        }
        prop_assert_eq!(found, end_to_end(&sent));
        prop_assert_eq!(again.method(out), head.method(&bytes));
        prop_assert_eq!(again.target(out), head.target(&bytes));
        prop_assert_eq!(again.body(), head.body());
        prop_assert!(again.keep_alive());
    }

    #[test]
    fn a_forwarded_answer_keeps_all_but_the_fields_of_its_connection(
        message in response(),
        hops in hops(),
        places in vec(any::<Index>(), 5),
        keep_alive in any::<bool>(),
        old in any::<bool>(),
    ) {
        let (message, is_head) = message;
        let kind = if is_head { MethodKind::Head } else { MethodKind::Other };
        let sent = mixed(&message.sent(&[]), hops, &places);
        let mut bytes = [b"HTTP/1.1 ", &message.start[0][..], b" ", &message.start[1], b"\r\n"].concat();
        write_fields(&sent, &mut bytes);

        let mut head = ResponseHead::default();
        let parsed = parse_response(&bytes, &LIMITS, kind, &mut head);
        prop_assert_eq!(parsed, Ok(Parsed::Complete { len: bytes.len() }));
        let client = if old { Version::Http10 } else { Version::Http11 };
        let mut out = Vec::new();
        let changes = ResponseChanges { client, keep_alive };
        let persists = write_response_head(&mut out, &bytes, &head, &changes);

        let mut again = ResponseHead::default();
        let parsed = parse_response(&out, &LIMITS, kind, &mut again);
        prop_assert_eq!(parsed, Ok(Parsed::Complete { len: out.len() }));
        let dechunked = old && head.body() == BodyKind::Chunked;
        let mut found = owned(again.fields(&out));
        let connection = found.pop_if(|(name, _)| name == b"Connection").map(|(_, value)| value);
        let mut expected = end_to_end(&sent);
        expected.retain(|(name, _)| !(old && name == b"Transfer-Encoding"));
        if message.start[0] == b"426" {
            found.retain(|(name, _)| name != b"Upgrade" && name != b"Connection");
        }
        prop_assert_eq!(found, expected);
        prop_assert_eq!(again.status(), head.status());
        prop_assert_eq!(again.reason(&out), head.reason(&bytes));
        prop_assert_eq!(again.body(), if dechunked { BodyKind::UntilClose } else { head.body() });
        prop_assert_eq!(persists, keep_alive && !dechunked);
        let option = match (persists, old) {
            (false, _) => Some(b"close".to_vec()),
            (true, true) => Some(b"keep-alive".to_vec()),
            (true, false) => None,
        };
        if message.start[0] != b"426" {
            prop_assert_eq!(connection, option);
        }
    }
}
