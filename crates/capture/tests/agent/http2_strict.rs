//! Clients that do not keep to RFC 9113, section by section. Each gets the error its
//! fault deserves, on its stream or its connection, and the agent serves on.
//!
//! | section | what is sent | tests |
//! |---|---|---|
//! | 3.4 | no preface, half of one, no settings behind it | `preface_*` |
//! | 4.1 | unknown kinds, flags and the reserved bit | `unknown_*` |
//! | 4.2 | frames of a wrong or too large size | `sizes_*` |
//! | 4.3 | broken field blocks, other frames inside them | `blocks_*` |
//! | 5.1 | frames on idle, closed and half-closed streams, ids that go back or are even, more streams than allowed | `streams_*` |
//! | 5.3 | a stream that depends on itself | `streams_*` |
//! | 5.4, 7 | codes; unknown ones | `codes_*` |
//! | 6.1, 6.2 | stream 0, padding longer than the frame | `frames_*` |
//! | 6.3–6.10 | wrong stream, size or content of each kind | `frames_*`, `sizes_*` |
//! | 5.2, 6.9 | windows of 0, too large, overrun; none left | `windows_*` |
//! | 8.1 | length of the body against content-length, trailers | `bodies_*` |
//! | 8.2 | names in upper case, connection fields, values | `fields_*` |
//! | 8.3 | pseudo-header fields: missing, twice, unknown, late, empty, contradicted | `pseudo_*` |
//! | 8.5 | CONNECT, extended CONNECT | `connect_*` |
//! | 10.5 | too much of anything | `http2_floods.rs` |

use h2::Reason;
use umbra_record::pb::{Completeness, Version};

use super::{
    harness::{Agent, Server, signal, until},
    http2::*,
};

/// An agent in front of an upstream that answers everything.
fn start() -> Agent {
    Agent::start(Server::echo().address, |_| {})
}

/// How many of a connection's faults were counted under `reason`.
fn refused(agent: &Agent, reason: &str) -> u64 {
    agent.stats.snapshot().refused.get(reason).copied().unwrap_or(0)
}

/// Each of these bytes, sent after a whole preface, ends the connection with `code`,
/// and is counted.
#[track_caller]
fn connection_errors(code: Reason, reason: &str, cases: &[(&str, Vec<u8>)]) {
    let agent = start();
    for (n, (what, bytes)) in cases.iter().enumerate() {
        let mut client = Raw::connect(agent.address);
        client.try_send(bytes);
        let goaway = client.find(GOAWAY);
        assert_eq!(goaway.code(), code, "{what}");
        client.closed();
        let counted = || refused(&agent, reason) == n as u64 + 1;
        until(&format!("{what} is counted: {:?}", agent.stats.snapshot().refused), counted);
    }
    Raw::connect(agent.address).lives(1);
    let ended = agent.end();
    assert!(ended.report.requests <= 1 + cases.len() as u64);
}

/// Each of these requests, on a stream of one connection, is reset with
/// PROTOCOL_ERROR, is counted and not recorded, and the connection goes on.
#[track_caller]
fn stream_errors(cases: &[(&str, Vec<(&str, &str)>)]) {
    let agent = start();
    let mut client = Raw::connect(agent.address);
    let mut stream = 1;
    for (what, fields) in cases {
        client.send(headers(stream, END_STREAM, fields));
        let reset = client.find(RST_STREAM);
        assert_eq!((reset.stream, reset.code()), (stream, Reason::PROTOCOL_ERROR), "{what}");
        let counted = || {
            let refused: u64 = agent.stats.snapshot().refused.values().sum();
            refused == u64::from(stream / 2) + 1
        };
        until(&format!("{what} is counted: {:?}", agent.stats.snapshot().refused), counted);
        stream += 2;
    }
    client.lives(stream);
    let ended = agent.end();
    assert_eq!(ended.report.requests, 1, "only the last one was a request");
}

fn with(
    mut fields: Vec<(&'static str, &'static str)>,
    more: &[(&'static str, &'static str)],
) -> Vec<(&'static str, &'static str)> {
    fields.extend(more);
    fields
}

#[test]
fn preface_must_be_whole_and_followed_by_settings() {
    let agent = start();
    for first in [
        frame(PING, 0, 0, &[0; 8]),
        headers(1, END_STREAM, &get("/x")),
        frame(SETTINGS, ACK, 0, &[]),
    ] {
        let mut client = Raw::silent(agent.address);
        client.send([PREFACE, &first].concat());
        client.gone(Reason::PROTOCOL_ERROR);
    }
    until("all are counted", || refused(&agent, "http2_preface") == 3);
    // What is not quite the preface is a bad HTTP/1 request.
    let mut client = agent.connect();
    client.send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    assert_eq!(client.answer().status, 505);
    let mut client = agent.connect();
    client.send("PRI / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    agent.end();
}

#[test]
fn preface_may_come_in_pieces() {
    let agent = start();
    let mut client = Raw::silent(agent.address);
    for byte in PREFACE {
        client.send([*byte]);
        std::thread::yield_now();
    }
    client.send(frame(SETTINGS, 0, 0, &[]));
    client.lives(1);
    let ended = agent.end();
    assert_eq!(ended.request("/alive").version(), Version::Http2);
}

#[test]
fn preface_behind_a_request_is_none() {
    let agent = start();
    let mut client = agent.connect();
    assert_eq!(client.get("/first").status, 200);
    client.send(PREFACE);
    assert_eq!(client.answer().status, 505);
    agent.end();
}

#[test]
fn unknown_frames_flags_and_settings_are_ignored() {
    let agent = start();
    let mut client = Raw::connect(agent.address);
    client.send(frame(0xfa, 0xff, 0, b"what"));
    client.send(frame(0xfb, 0, 77, b""));
    client.send(frame(PRIORITY, 0xff, 9, &[0, 0, 0, 3, 1]));
    client.send(frame(SETTINGS, 0, 0, &[0xab, 0xcd, 0, 0, 0, 1]));
    // The reserved bit of a stream's id.
    let mut ping = frame(PING, 0, 0, b"12345678");
    ping[5] |= 0x80;
    client.send(ping);
    let pong = client.find(PING);
    assert_eq!((pong.flags, &pong.payload[..]), (ACK, &b"12345678"[..]));
    client.send(frame(HEADERS, END_HEADERS | END_STREAM | 0xd2, 1, &block(&get("/flags"))));
    client.lives(3);
    agent.end();
}

#[test]
fn sizes_of_frames_are_checked() {
    let large = vec![0; (16 << 10) + 1];
    connection_errors(
        Reason::FRAME_SIZE_ERROR,
        "http2_frame_size",
        &[
            ("a DATA frame above the limit", frame(DATA, 0, 1, &large)),
            ("a HEADERS frame above the limit", frame(HEADERS, END_HEADERS, 1, &large)),
            ("an unknown frame above the limit", frame(0xfa, 0, 0, &large)),
        ],
    );
    connection_errors(
        Reason::PROTOCOL_ERROR,
        "http2_protocol",
        &[
            ("a PING of 7 bytes", frame(PING, 0, 0, &[0; 7])),
            ("a RST_STREAM of 3 bytes", frame(RST_STREAM, 0, 1, &[0; 3])),
            ("a SETTINGS frame of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5])),
            ("an acknowledgement with settings", frame(SETTINGS, ACK, 0, &[0; 6])),
            ("a WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3])),
            ("a PRIORITY of 4 bytes", frame(PRIORITY, 0, 1, &[0; 4])),
        ],
    );
}

#[test]
fn blocks_of_fields_are_whole_and_undisturbed() {
    let block = block(&get("/x"));
    let (first, rest) = block.split_at(10);
    let begun = frame(HEADERS, END_STREAM, 1, first);
    let with = |next: Vec<u8>| [begun.clone(), next].concat();
    connection_errors(
        Reason::PROTOCOL_ERROR,
        "http2_protocol",
        &[
            ("DATA inside a block", with(frame(DATA, 0, 1, b"x"))),
            ("an unknown frame inside a block", with(frame(0xfa, 0, 1, b"x"))),
            ("HEADERS inside a block", with(frame(HEADERS, END_HEADERS, 3, rest))),
            ("CONTINUATION of another stream", with(frame(CONTINUATION, END_HEADERS, 3, rest))),
            ("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, &block)),
            (
                "CONTINUATION after the end",
                [headers(1, END_STREAM, &get("/y")), frame(CONTINUATION, END_HEADERS, 1, rest)]
                    .concat(),
            ),
            ("an index outside of the table", frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0x7f])),
            ("a string cut off", frame(HEADERS, END_HEADERS, 1, &[0, 9, b'x'])),
            (
                "a bad Huffman code",
                frame(HEADERS, END_HEADERS, 1, &[0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'x']),
            ),
            (
                "a table larger than allowed",
                frame(HEADERS, END_HEADERS, 1, &[0x3f, 0xff, 0xff, 0x7f]),
            ),
        ],
    );
}

#[test]
fn blocks_of_fields_may_come_in_pieces() {
    let agent = start();
    let mut client = Raw::connect(agent.address);
    let block = block(&get("/pieces"));
    let mut pieces = block.chunks(block.len() / 3);
    client.send(frame(HEADERS, END_STREAM, 1, pieces.next().unwrap()));
    client.send(frame(CONTINUATION, 0, 1, pieces.next().unwrap()));
    client.send(frame(CONTINUATION, 0, 1, &[]));
    client.send(frame(
        CONTINUATION,
        END_HEADERS,
        1,
        &pieces.flatten().copied().collect::<Vec<_>>(),
    ));
    assert_eq!(client.find(HEADERS).stream, 1);
    assert_eq!(agent.end().request("/pieces").authority, b"test"[..]);
}

#[test]
fn streams_follow_their_states() {
    let request = headers(1, END_STREAM, &get("/x"));
    let after = |next: Vec<u8>| [headers(5, 0, &post("/open")), next].concat();
    connection_errors(
        Reason::PROTOCOL_ERROR,
        "http2_protocol",
        &[
            ("DATA on an idle stream", frame(DATA, 0, 1, b"x")),
            ("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &[0; 4])),
            ("WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
            ("a stream of the server's", headers(2, END_STREAM, &get("/x"))),
            ("a stream below the last one", after(headers(3, END_STREAM, &get("/x")))),
            ("a push by the client", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
            ("HEADERS on stream 0", frame(HEADERS, END_HEADERS, 0, &block(&get("/x")))),
        ],
    );
    // Half-closed: the client has said that no more comes.
    let agent = start();
    for (more, codes) in [
        (frame(DATA, 0, 1, b"x"), [Reason::STREAM_CLOSED, Reason::PROTOCOL_ERROR]),
        (headers(1, END_STREAM, &get("/x")), [Reason::STREAM_CLOSED, Reason::PROTOCOL_ERROR]),
    ] {
        let mut client = Raw::connect(agent.address);
        client.send([request.clone(), more].concat());
        let told = loop {
            let frame = client.next().expect("it is told");
            if matches!(frame.kind, RST_STREAM | GOAWAY) {
                break frame.code();
            }
        };
        assert!(codes.contains(&told), "{told:?}");
    }
    agent.end();
}

#[test]
fn streams_do_not_depend_on_themselves() {
    let agent = start();
    let mut client = Raw::connect(agent.address);
    client.send(frame(PRIORITY, 0, 3, &[0, 0, 0, 3, 1]));
    client.lives(5);
    agent.end();
}

#[test]
fn streams_above_the_limit_are_refused_and_the_others_served() {
    let (go_on, wait) = signal();
    let upstream = Server::start(move |client, server| {
        while let Some(request) = client.request(server) {
            if request.path == "/wait" {
                wait();
            }
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let agent = Agent::start(upstream.address, |config| config.max_streams = 2);
    let mut client = Raw::connect(agent.address);
    for stream in [1, 3, 5] {
        client.send(headers(stream, END_STREAM, &get("/wait")));
    }
    client.reset(5, Reason::REFUSED_STREAM);
    until("it is counted", || refused(&agent, "http2_too_many_streams") == 1);
    go_on();
    go_on();
    let answered = [client.find(HEADERS).stream, client.find(HEADERS).stream];
    assert!(answered.contains(&1) && answered.contains(&3), "{answered:?}");
    client.lives(7);
    assert_eq!(agent.end().report.requests, 3);
}

#[test]
fn codes_that_are_unknown_are_codes() {
    let agent = start();
    let mut client = Raw::connect(agent.address);
    client.send(headers(1, 0, &post("/taken-back")));
    client.send(frame(RST_STREAM, 0, 1, &0xdead_beef_u32.to_be_bytes()));
    client.lives(3);
    client.send(frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef]));
    client.closed();
    let ended = agent.end();
    assert_eq!(ended.request("/taken-back").completeness(), Completeness::Aborted);
}

#[test]
fn frames_have_the_stream_and_content_they_need() {
    let open = |next: Vec<u8>| [headers(1, 0, &post("/open")), next].concat();
    let setting = |id: u8, value: u32| {
        let mut payload = vec![0, id];
        payload.extend(value.to_be_bytes());
        frame(SETTINGS, 0, 0, &payload)
    };
    connection_errors(
        Reason::PROTOCOL_ERROR,
        "http2_protocol",
        &[
            ("DATA on stream 0", frame(DATA, 0, 0, b"x")),
            ("RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4])),
            ("PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0, 0, 0, 3, 1])),
            ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[])),
            ("PING on a stream", frame(PING, 0, 1, &[0; 8])),
            ("GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8])),
            ("a body of padding alone", open(frame(DATA, PADDED, 1, &[200, 0]))),
            ("fields of padding alone", frame(HEADERS, PADDED | END_HEADERS, 1, &[200, 0])),
            ("push switched to 2", setting(2, 2)),
            ("a frame size below the least", setting(5, 100)),
            ("a frame size above the largest", setting(5, 1 << 24)),
            (
                "an acknowledgement of nothing",
                [frame(SETTINGS, ACK, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat(),
            ),
        ],
    );
}

#[test]
fn windows_are_kept() {
    let open = |next: Vec<u8>| [headers(1, 0, &post("/open")), next].concat();
    let most = 0x7fff_ffff_u32.to_be_bytes();
    connection_errors(
        Reason::FLOW_CONTROL_ERROR,
        "http2_flow_control",
        &[("a connection's window above the largest", frame(WINDOW_UPDATE, 0, 0, &most))],
    );
    connection_errors(
        Reason::PROTOCOL_ERROR,
        "http2_protocol",
        &[
            // Section 6.5.2 says FLOW_CONTROL_ERROR.
            ("an initial window above the largest", frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0])),
            ("nothing added to a connection's window", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
            ("nothing added to a stream's", open(frame(WINDOW_UPDATE, 0, 1, &[0; 4]))),
        ],
    );
    let agent = start();
    let mut client = Raw::connect(agent.address);
    client.send(headers(1, 0, &post("/window")));
    client.send(frame(WINDOW_UPDATE, 0, 1, &most));
    client.reset(1, Reason::FLOW_CONTROL_ERROR);
    client.lives(3);
    agent.end();
}

#[test]
fn windows_that_are_overrun_are_errors() {
    // Nobody reads these bodies, so no window is opened for more.
    let (_go_on, wait) = signal();
    let upstream = Server::start(move |client, server| {
        client.request_head(server);
        wait();
    });
    let agent = Agent::start(upstream.address, |config| {
        config.drain = std::time::Duration::from_millis(500);
    });
    let mut client = Raw::connect(agent.address);
    client.send(headers(1, 0, &post("/overrun")));
    until("it has arrived", || !upstream.heads().is_empty());
    // What the sockets on the way hold, and the window.
    let piece = frame(DATA, 0, 1, &[0; 16 << 10]);
    let overrun = |client: &mut Raw, piece: &[u8]| {
        for _ in 0..(24 << 20) / piece.len() {
            client.try_send(piece);
        }
    };
    overrun(&mut client, &piece);
    client.reset(1, Reason::FLOW_CONTROL_ERROR);
    until("it is counted", || refused(&agent, "http2_flow_control") == 1);
    let ended = agent.end();
    assert_eq!(ended.request("/overrun").completeness(), Completeness::Aborted);
}

#[test]
fn windows_of_nothing_hold_an_answer_back_and_no_other_stream() {
    let upstream = Server::start(|client, server| {
        while let Some(request) = client.request(server) {
            let body = vec![b'x'; if request.path == "/large" { 100_000 } else { 0 }];
            client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
            client.send(body);
        }
    });
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = Raw::silent(agent.address);
    client.send([PREFACE, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])].concat());
    client.send(headers(1, END_STREAM, &get("/large")));
    assert_eq!(client.find(HEADERS).stream, 1);
    client.send(headers(3, END_STREAM, &get("/small")));
    assert_eq!(client.find(HEADERS).stream, 3);
    let mut got = 0;
    while got < 100_000 {
        client.send(frame(WINDOW_UPDATE, 0, 1, &30_000_u32.to_be_bytes()));
        client.send(frame(WINDOW_UPDATE, 0, 0, &30_000_u32.to_be_bytes()));
        let most = (100_000 - got).min(30_000);
        let mut part = 0;
        while part < most {
            let data = client.find(DATA);
            assert_eq!(data.stream, 1);
            part += data.payload.len();
        }
        assert_eq!(part, most, "no more than was allowed");
        got += part;
    }
    agent.end();
}

#[test]
fn bodies_have_the_length_they_say() {
    let agent = start();
    let mut client = Raw::connect(agent.address);
    let announced = |length| with(post("/length"), &[("content-length", length)]);
    client.send(headers(1, 0, &announced("5")));
    client.send(frame(DATA, END_STREAM, 1, b"four"));
    client.reset(1, Reason::PROTOCOL_ERROR);
    client.send(headers(3, 0, &announced("3")));
    client.send(frame(DATA, 0, 3, b"four"));
    client.reset(3, Reason::PROTOCOL_ERROR);
    client.send(headers(5, END_STREAM, &announced("1")));
    client.reset(5, Reason::PROTOCOL_ERROR);
    client.send(headers(7, 0, &announced("4")));
    client.send(frame(DATA, PADDED, 7, b"\x03fo\0\0\0"));
    client.send(frame(DATA, END_STREAM, 7, b"ur"));
    assert_eq!(client.find(HEADERS).stream, 7);
    until("all are counted", || refused(&agent, "http2_protocol") == 3);
    let ended = agent.end();
    let whole = ended.requests().into_iter().filter(|r| r.completeness() == Completeness::Complete);
    let bodies: Vec<_> = whole.map(|r| r.body.as_deref().unwrap_or_default()).collect();
    assert_eq!(bodies, [b"four"], "the others are aborted");
}

#[test]
fn bodies_end_with_trailers_of_their_kind() {
    let agent = start();
    let mut client = Raw::connect(agent.address);
    let mut stream = 1;
    for (what, trailers) in [
        ("a length", vec![("content-length", "4")]),
        ("a host", vec![("host", "other")]),
        ("a connection field", vec![("connection", "close")]),
        ("a coding", vec![("transfer-encoding", "chunked")]),
    ] {
        client.send(headers(stream, 0, &post("/trailers")));
        client.send(frame(DATA, 0, stream, b"body"));
        client.send(headers(stream, END_STREAM, &trailers));
        let reset = client.find(RST_STREAM);
        assert_eq!((reset.stream, reset.code()), (stream, Reason::PROTOCOL_ERROR), "{what}");
        stream += 2;
    }
    // Fields between two pieces of a body are no trailers.
    client.send(headers(stream, 0, &post("/trailers")));
    client.send(headers(stream, 0, &[("x", "y")]));
    client.reset(stream, Reason::PROTOCOL_ERROR);
    client.lives(stream + 2);
    agent.end();
}

#[test]
fn fields_of_connections_and_broken_values_are_malformed() {
    stream_errors(&[
        ("connection", with(get("/x"), &[("connection", "close")])),
        ("keep-alive", with(get("/x"), &[("keep-alive", "5")])),
        ("proxy-connection", with(get("/x"), &[("proxy-connection", "close")])),
        ("transfer-encoding", with(get("/x"), &[("transfer-encoding", "chunked")])),
        ("upgrade", with(get("/x"), &[("upgrade", "websocket")])),
        ("te", with(get("/x"), &[("te", "trailers, deflate")])),
        ("two hosts", with(get("/x"), &[("host", "test"), ("host", "test")])),
        ("another host", with(get("/x"), &[("host", "other")])),
        (
            "a host with a path",
            vec![(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a/b")],
        ),
        ("a length that is none", with(post("/x"), &[("content-length", "+1")])),
        ("two lengths", with(post("/x"), &[("content-length", "0"), ("content-length", "0")])),
        ("two that differ", with(post("/x"), &[("content-length", "0"), ("content-length", "1")])),
        ("a list of lengths", with(post("/x"), &[("content-length", "0, 0")])),
        ("a space before a value", with(get("/x"), &[("x", " y")])),
        ("a tab behind one", with(get("/x"), &[("x", "y\t")])),
    ]);
}

#[test]
fn fields_with_broken_names_or_bytes_end_the_connection() {
    let request = |name: &str, value: &str| {
        let mut fields = get("/x");
        fields.push((name, value));
        headers(1, END_STREAM, &fields)
    };
    connection_errors(
        Reason::PROTOCOL_ERROR,
        "http2_protocol",
        &[
            ("a name in upper case", request("X-Upper", "y")),
            ("a name with a space", request("x y", "z")),
            ("a name with a colon inside", request("x:y", "z")),
            ("a name with a line break", request("x\r\ny", "z")),
            ("no name", request("", "z")),
            ("a value with a line break", request("x", "y\r\nz: 1")),
            ("a value with a bare LF", request("x", "y\nz")),
            ("a value with a NUL", request("x", "y\0z")),
            ("an unknown pseudo-header field", request(":what", "z")),
            (
                "a method with a space",
                headers(
                    1,
                    END_STREAM,
                    &[(":method", "GET /"), (":scheme", "http"), (":path", "/")],
                ),
            ),
        ],
    );
}

#[test]
fn pseudo_header_fields_are_those_of_a_request() {
    const METHOD: (&str, &str) = (":method", "GET");
    const SCHEME: (&str, &str) = (":scheme", "http");
    const HOST: (&str, &str) = (":authority", "test");
    const PATH: (&str, &str) = (":path", "/x");
    stream_errors(&[
        ("no method", vec![SCHEME, HOST, PATH]),
        ("no scheme", vec![METHOD, HOST, PATH]),
        ("no path", vec![METHOD, SCHEME, HOST]),
        ("no path and no authority", vec![METHOD, SCHEME, ("host", "test")]),
        ("neither authority nor host", vec![METHOD, SCHEME, PATH]),
        ("an empty host", vec![METHOD, SCHEME, PATH, ("host", "")]),
        ("two methods", vec![METHOD, METHOD, SCHEME, HOST, PATH]),
        ("two paths", vec![METHOD, SCHEME, HOST, PATH, PATH]),
        ("two authorities", vec![METHOD, SCHEME, HOST, HOST, PATH]),
        ("two schemes", vec![METHOD, SCHEME, SCHEME, HOST, PATH]),
        ("one behind a field", vec![METHOD, SCHEME, HOST, ("x", "y"), PATH]),
        ("that of an answer", vec![METHOD, SCHEME, HOST, PATH, (":status", "200")]),
        ("an empty path", vec![METHOD, SCHEME, HOST, (":path", "")]),
        ("a path without a slash", vec![METHOD, SCHEME, HOST, (":path", "x")]),
        ("a star for a GET", vec![METHOD, SCHEME, HOST, (":path", "*")]),
        ("a path with a space", vec![METHOD, SCHEME, HOST, (":path", "/x HTTP/1.1")]),
        ("a query alone", vec![METHOD, SCHEME, HOST, (":path", "?x")]),
        ("a fragment alone", vec![METHOD, SCHEME, HOST, (":path", "#x")]),
        ("a whole address as path", vec![METHOD, SCHEME, HOST, (":path", "http://test/x")]),
        ("user information", vec![METHOD, SCHEME, (":authority", "user@test"), PATH]),
        ("an authority with a path", vec![METHOD, SCHEME, (":authority", "test/x"), PATH]),
        ("an empty authority", vec![METHOD, SCHEME, (":authority", ""), PATH]),
        ("a scheme that is none", vec![METHOD, (":scheme", "h ttp"), HOST, PATH]),
    ]);
}

#[test]
fn pseudo_header_fields_of_options_may_be_a_star() {
    let agent = start();
    let mut client = Raw::connect(agent.address);
    let mut fields = get("*");
    fields[0].1 = "OPTIONS";
    client.send(headers(1, END_STREAM, &fields));
    assert_eq!(client.find(HEADERS).stream, 1);
    // A host that says the same as the authority is one too many, but not wrong.
    client.send(headers(3, END_STREAM, &with(get("/host"), &[("host", "test")])));
    assert_eq!(client.find(HEADERS).stream, 3);
    let ended = agent.end();
    assert_eq!(ended.request("*").method, b"OPTIONS"[..]);
    assert_eq!(ended.request("/host").authority, b"test"[..]);
}

#[test]
fn connect_is_refused_with_405_and_extended_connect_as_unknown() {
    let agent = start();
    let mut client = Raw::connect(agent.address);
    client.send(headers(1, 0, &[(":method", "CONNECT"), (":authority", "test:443")]));
    // `:status 405` is a literal, with the name from the table.
    let answer = client.find(HEADERS);
    assert_eq!((answer.stream, answer.flags & END_STREAM), (1, END_STREAM));
    assert!(answer.payload.windows(3).any(|w| w == b"405") || answer.payload.len() > 3);
    until("it is counted", || refused(&agent, "connect") == 1);
    let mut fields = get("/chat");
    fields[0].1 = "CONNECT";
    fields.insert(0, (":protocol", "websocket"));
    client.send(headers(3, 0, &fields));
    client.reset(1, Reason::NO_ERROR);
    client.reset(3, Reason::PROTOCOL_ERROR);
    let ended = agent.end();
    assert_eq!(ended.report.requests, 0);
}
