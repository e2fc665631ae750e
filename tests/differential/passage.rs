//! One request through one proxy: what arrived behind it, what came back.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::{
    echo::{Arrival, Echo},
    message::{Kind, Message},
    shapes::Shape,
};

/// Longer than anybody takes who is going to say something.
const SILENCE: Duration = Duration::from_secs(3);

/// What one proxy made of a request.
#[derive(Debug, Default)]
pub(super) struct Passage {
    /// At the upstream.
    pub(super) arrivals: Vec<Arrival>,
    /// What the client got, interim answers included.
    pub(super) answers: Vec<Message>,
    /// What came that is no whole answer.
    pub(super) left: Vec<u8>,
    /// The proxy neither answered nor closed.
    pub(super) silent: bool,
}

impl Passage {
    /// The requests that arrived whole.
    pub(super) fn whole(&self) -> Vec<&Message> {
        let whole = self.arrivals.iter().filter_map(|arrival| match arrival {
            Arrival::Whole(message) => Some(message),
            Arrival::Part | Arrival::Garbled(_) => None,
        });
        whole.collect()
    }
}

/// Sends a request on a connection of its own and takes what becomes of it.
pub(super) fn pass(shape: &Shape, to: SocketAddr, upstream: &Echo) -> Passage {
    let mut passage = Passage::default();
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    stream.set_write_timeout(Some(SILENCE)).unwrap();
    // One that refuses closes, maybe before it has read all.
    let _ = stream.write_all(&shape.bytes);
    let sent = shape.messages();
    let (mut rest, mut finals, mut closed) = (&shape.rest[..], 0, false);
    while finals < shape.answers() && !closed && !passage.silent {
        let mut chunk = [0; 65536];
        match stream.read(&mut chunk) {
            Ok(length @ 1..) => passage.left.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => passage.silent = true,
            Ok(0) | Err(_) => closed = true,
        }
        loop {
            let first = || shape.bytes.starts_with(b"HEAD");
            let to_head = sent.get(finals).map_or_else(first, |sent| sent.method() == b"HEAD");
            let kind = Kind::Answer { to_head, closed };
            let Ok(Some((answer, length))) = Message::parse(&passage.left, kind) else { break };
            passage.left.drain(..length);
            let interim = matches!(answer.status(), 100 | 102..=199);
            finals += usize::from(!interim);
            passage.answers.push(answer);
            if interim {
                let _ = stream.write_all(std::mem::take(&mut rest));
            }
        }
    }
    passage.arrivals = upstream.take();
    passage
}

impl std::fmt::Display for Passage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields = |fields: &super::message::Fields| -> String {
            let line = |(n, v): &(Vec<u8>, Vec<u8>)| {
                format!("{}: {}", String::from_utf8_lossy(n), String::from_utf8_lossy(v))
            };
            fields.iter().map(line).collect::<Vec<_>>().join("|")
        };
        for arrival in &self.arrivals {
            match arrival {
                Arrival::Whole(message) => write!(
                    f,
                    "-> {} [{}] {:?} ",
                    String::from_utf8_lossy(&message.start),
                    fields(&message.fields),
                    String::from_utf8_lossy(&message.framed)
                )?,
                other => write!(f, "-> {other:?} ")?,
            }
        }
        for answer in &self.answers {
            let start = String::from_utf8_lossy(&answer.start).into_owned();
            write!(f, "<- {start} [{}] {}B ", fields(&answer.fields), answer.body.len())?;
        }
        if !self.left.is_empty() {
            write!(f, "<- ? {}", String::from_utf8_lossy(&self.left))?;
        }
        if self.silent {
            write!(f, "<- silence")?;
        }
        Ok(())
    }
}
