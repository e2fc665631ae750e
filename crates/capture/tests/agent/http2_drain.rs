//! Stopping with clients of HTTP/2 that read slowly: what they were answered reaches them
//! whole, wherever of its way it is when the stop comes.

use std::{
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use umbra_record::pb::Completeness;

use super::{
    harness::{Agent, PATIENCE, Server, noise, signal, until},
    http2::{
        ACK, DATA, END_STREAM, GOAWAY, PING, PREFACE, Raw, SETTINGS, WINDOW_UPDATE, frame, get,
        headers,
    },
};

/// Longer than a connection without answers on their way stays open after a stop.
const LONG: Duration = Duration::from_millis(1500);

const MIB: usize = 1 << 20;

/// Answers every request with so many bytes.
fn upstream(len: usize) -> Server {
    Server::start(move |client, server| {
        while client.request(server).is_some() {
            client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n"));
            client.send(noise(len));
        }
    })
}

/// A client whose system takes little before it reads, and whose windows take all.
fn narrow(to: SocketAddr) -> Raw {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut raw = Raw { stream };
    raw.send(PREFACE);
    // SETTINGS_INITIAL_WINDOW_SIZE, and as much for the connection.
    raw.send(frame(SETTINGS, 0, 0, &[0, 4, 0x40, 0, 0, 0]));
    raw.send(widen(0, 1 << 30));
    raw
}

fn widen(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// Lets the time pass in which a connection would be closed, or an exchange is over.
fn wait() {
    let start = Instant::now();
    while start.elapsed() < LONG {
        std::thread::park_timeout(LONG);
    }
}

/// Reads the rest of the answer on stream 1, and says so every now and then.
#[track_caller]
fn read_slowly(client: &mut Raw, wanted: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(frame) = client.next() {
        if frame.kind != DATA {
            continue;
        }
        body.extend_from_slice(&frame.payload);
        if frame.flags & END_STREAM != 0 {
            return body;
        }
        if body.len() % (64 << 10) < frame.payload.len() {
            std::thread::park_timeout(Duration::from_millis(20));
            assert!(client.try_send(widen(0, 1)), "closed after {}", body.len());
        }
    }
    panic!("cut off after {} of {wanted} bytes", body.len());
}

#[track_caller]
fn check(agent: Agent, len: usize) {
    let ended = agent.end();
    let response = ended.response_to("/big");
    assert_ne!(response.completeness(), Completeness::Aborted);
    assert_eq!(response.body_length, len as u64);
}

#[test]
fn what_waits_for_the_clients_window_is_sent_after_a_stop() {
    let len = 100_000;
    let agent = Agent::start(upstream(len).address, |_| {});
    let mut client = Raw::connect(agent.address);
    client.send(headers(1, END_STREAM, &get("/big")));
    // More than the window takes, and less than is kept beyond it: soon the exchange is
    // over.
    wait();
    agent.stop.cancel();
    wait();
    client.send(widen(0, MIB as u32));
    client.send(widen(1, MIB as u32));
    assert!(read_slowly(&mut client, len) == noise(len));
    drop(client);
    check(agent, len);
}

#[test]
fn what_waits_for_the_clients_socket_is_sent_after_a_stop() {
    let len = 4 * MIB;
    let agent = Agent::start(upstream(len).address, |_| {});
    let mut client = narrow(agent.address);
    client.send(headers(1, END_STREAM, &get("/big")));
    client.find(DATA);
    agent.stop.cancel();
    wait();
    let rest = read_slowly(&mut client, len);
    assert!(noise(len).ends_with(&rest) && rest.len() > len / 2);
    drop(client);
    check(agent, len);
}

#[test]
fn what_the_system_still_has_to_send_at_the_end_of_a_connection_arrives() {
    // All of it fits between the two sockets.
    let len = MIB / 2;
    let (go_on, waits) = signal();
    let upstream = Server::start(move |client, server| {
        while client.request(server).is_some() {
            waits();
            client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n"));
            client.send(noise(len));
        }
    });
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = narrow(agent.address);
    client.send(headers(1, END_STREAM, &get("/big")));
    until("it runs", || upstream.heads().len() == 1);
    agent.stop.cancel();
    // The goodbye is heard: the connection ends with the last stream.
    client.find(GOAWAY);
    let ping = client.find(PING);
    client.send(frame(PING, ACK, 0, &ping.payload));
    go_on();
    wait();
    // Another word, which a closed socket would answer with a reset.
    client.send(widen(0, 1));
    wait();
    assert!(read_slowly(&mut client, len) == noise(len));
    drop(client);
    check(agent, len);
}
