//! Reads the messages of a connection from pieces, as a connection loop would:
//! appends each piece to a buffer, takes what the codec takes, keeps the rest.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod messages;

use umbra_capture::h1::{
    BodyDecoder, BodyKind, Limits, Malformed, MethodKind, Parsed, RequestHead, ResponseHead,
    parse_request, parse_response,
};

pub(crate) const LIMITS: Limits = Limits { max_head: 64 * 1024, max_headers: 100 };

pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// What happened on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// `start` is the start line without spaces: method, target; or status,
    /// reason.
    Head {
        start: Vec<Vec<u8>>,
        fields: Pairs,
        body: BodyKind,
        keep_alive: bool,
    },
    /// A whole body: the bytes to pass on, the data in them, the trailers.
    Body {
        raw: Vec<u8>,
        data: Vec<u8>,
        trailers: Pairs,
    },
    Refused(Malformed),
    /// The connection ended with this much of a message unread.
    Cut(usize),
}

/// One side of a connection, reading.
pub(crate) struct Reader {
    limits: Limits,
    buf: Vec<u8>,
    decoder: BodyDecoder,
    in_body: bool,
    raw: Vec<u8>,
    data: Vec<u8>,
    pub(crate) events: Vec<Event>,
    side: Side,
    dead: bool,
}

enum Side {
    Server(RequestHead),
    /// Kinds of the requests that were sent, in order.
    Client(ResponseHead, std::collections::VecDeque<MethodKind>),
}

impl Reader {
    pub(crate) fn server(limits: Limits) -> Self {
        Self::new(limits, Side::Server(RequestHead::default()))
    }

    pub(crate) fn client(limits: Limits, sent: &[MethodKind]) -> Self {
        Self::new(limits, Side::Client(ResponseHead::default(), sent.iter().copied().collect()))
    }

    fn new(limits: Limits, side: Side) -> Self {
        Self {
            limits,
            buf: Vec::new(),
            decoder: BodyDecoder::new(&limits),
            in_body: false,
            raw: Vec::new(),
            data: Vec::new(),
            events: Vec::new(),
            side,
            dead: false,
        }
    }

    /// The bytes of all messages, read in these pieces, then the end.
    pub(crate) fn read<'a>(mut self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
        for piece in pieces {
            self.feed(piece);
        }
        self.end()
    }

    pub(crate) fn feed(&mut self, piece: &[u8]) {
        self.buf.extend_from_slice(piece);
        while !self.dead {
            let before = self.events.len();
            let len = self.advance().unwrap_or_else(|refused| {
                self.events.push(Event::Refused(refused));
                self.dead = true;
                0
            });
            assert!(len <= self.buf.len());
            self.buf.drain(..len);
            if len == 0 && self.events.len() == before {
                break;
            }
        }
    }

    pub(crate) fn end(mut self) -> Vec<Event> {
        if !self.dead {
            if self.in_body {
                match self.decoder.eof() {
                    Ok(()) => self.finish_body(Vec::new()),
                    Err(_) => self.events.push(Event::Cut(self.buf.len())),
                }
            } else if !self.buf.is_empty() {
                self.events.push(Event::Cut(self.buf.len()));
            }
        }
        self.events
    }

    fn advance(&mut self) -> Result<usize, Malformed> {
        if !self.in_body {
            return self.head();
        }
        let step = self.decoder.decode(&self.buf)?;
        self.raw.extend_from_slice(&self.buf[..step.len]);
        self.data.extend_from_slice(&self.buf[step.data]);
        assert_eq!(step.done, self.decoder.is_done());
        assert_eq!(self.decoder.data_len(), self.data.len() as u64);
        if step.done {
            let trailers = owned(self.decoder.trailers(&self.buf));
            self.finish_body(trailers);
        }
        Ok(step.len)
    }

    fn head(&mut self) -> Result<usize, Malformed> {
        let buf = &self.buf[..];
        let (parsed, event) = match &mut self.side {
            Side::Server(head) => {
                let Parsed::Complete { len } = parse_request(buf, &self.limits, head)? else {
                    return Ok(0);
                };
                (len, request_event(head, buf))
            }
            Side::Client(head, sent) => {
                let Some(&kind) = sent.front() else { return Ok(0) };
                let Parsed::Complete { len } = parse_response(buf, &self.limits, kind, head)?
                else {
                    return Ok(0);
                };
                if !head.is_interim() {
                    sent.pop_front();
                }
                (len, response_event(head, buf))
            }
        };
        if let Event::Head { body, .. } = &event
            && *body != BodyKind::None
        {
            self.decoder.start(*body);
            self.in_body = true;
        }
        self.events.push(event);
        Ok(parsed)
    }

    fn finish_body(&mut self, trailers: Pairs) {
        self.in_body = false;
        self.events.push(Event::Body {
            raw: std::mem::take(&mut self.raw),
            data: std::mem::take(&mut self.data),
            trailers,
        });
    }
}

pub(crate) fn owned<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Pairs {
    fields.map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

fn request_event(head: &RequestHead, buf: &[u8]) -> Event {
    Event::Head {
        start: vec![head.method(buf).to_vec(), head.target(buf).to_vec()],
        fields: owned(head.fields(buf)),
        body: head.body(),
        keep_alive: head.keep_alive(),
    }
}

fn response_event(head: &ResponseHead, buf: &[u8]) -> Event {
    Event::Head {
        start: vec![head.status().to_string().into_bytes(), head.reason(buf).to_vec()],
        fields: owned(head.fields(buf)),
        body: head.body(),
        keep_alive: head.keep_alive(),
    }
}

/// `bytes` cut at these places, which need not be sorted or within.
pub(crate) fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}
