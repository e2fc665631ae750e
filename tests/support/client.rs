//! A client that sends exactly the bytes it is told.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::wire::{Message, Reader};

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
    reader: Reader<TcpStream>,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(to: SocketAddr) -> Self {
        Self::try_connect(to).unwrap()
    }

    pub(crate) fn try_connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        let reader = Reader::new(stream.try_clone()?);
        Ok(Self { stream, reader })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(crate) fn receive(&mut self, bodiless: bool) -> io::Result<Message> {
        self.reader.response(bodiless)
    }

    /// The next answer, also an interim one.
    pub(crate) fn receive_any(&mut self) -> io::Result<Message> {
        self.reader.any_response()
    }

    /// Sends a request and returns the answer.
    #[track_caller]
    pub(crate) fn call(&mut self, bytes: &[u8]) -> Message {
        self.send(bytes).unwrap();
        self.receive(bytes.starts_with(b"HEAD ")).unwrap()
    }
}

/// `GET path` on a new connection.
#[track_caller]
pub(crate) fn get(from: SocketAddr, path: &str) -> Message {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {from}\r\nConnection: close\r\n\r\n");
    Client::connect(from).call(request.as_bytes())
}
