//! Generated messages: how they look on the wire and what a reader should find.

use proptest::{collection::vec, prelude::*};
use umbra_capture::h1::{BodyKind, MethodKind};

use super::{Event, Pairs};

/// A body, how it is framed, and what a reader should find.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    None,
    Length(Vec<u8>),
    Chunked { chunks: Vec<(Vec<u8>, String)>, trailers: Pairs },
    UntilClose(Vec<u8>),
}

#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) start: Vec<Vec<u8>>,
    pub(crate) fields: Pairs,
    pub(crate) body: Body,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    // The prefix keeps names apart from those the codec knows.
    "[Xx]y[!#$%&'*+.^_`|~0-9A-Za-z-]{0,12}".prop_map(String::into_bytes)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![b' '..=b'~', 0x80..=0xffu8, Just(b'\t')];
    vec(byte, 0..24).prop_map(|value| {
        let inner = |byte: &u8| !matches!(byte, b' ' | b'\t');
        let start = value.iter().position(inner).unwrap_or(value.len());
        let end = value.iter().rposition(inner).map_or(start, |last| last + 1);
        value[start..end].to_vec()
    })
}

pub(crate) fn fields(max: usize) -> impl Strategy<Value = Pairs> {
    vec((name(), value()), 0..max)
}

pub(crate) fn data() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..300)
}

fn extension() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(String::new()),
        1 => "([ \t]?;[ \t]?[a-z]{1,4}([ \t]?=[ \t]?([a-z0-9]{1,4}|\"[a-z;=]{0,5}(\\\\[\"a])?\"))?){1,3}",
    ]
}

fn chunked() -> impl Strategy<Value = Body> {
    let chunk = (vec(any::<u8>(), 1..80), extension());
    (vec(chunk, 0..5), fields(3)).prop_map(|(chunks, trailers)| Body::Chunked { chunks, trailers })
}

pub(crate) fn request() -> impl Strategy<Value = Message> {
    let body = prop_oneof![Just(Body::None), data().prop_map(Body::Length), chunked()];
    let target = "/[a-z0-9%|<>{}é;:@&=+$,/-]{0,30}(\\?[a-z?/&=]{0,20})?";
    ("[A-Z-]{1,10}", target, fields(8), body).prop_map(|(method, target, fields, body)| Message {
        start: vec![format!("X{method}").into_bytes(), target.into_bytes()],
        fields,
        body,
    })
}

/// An answer and whether it answers a HEAD.
pub(crate) fn response() -> impl Strategy<Value = (Message, bool)> {
    let body = prop_oneof![Just(Body::None), data().prop_map(Body::Length), chunked()];
    (200..600u16, "[ -~é]{0,20}", fields(8), body, any::<bool>()).prop_map(
        |(status, reason, fields, body, head)| {
            // What has no body has none; an answer without framing ends the
            // connection and is generated apart.
            let status = if matches!(status, 204 | 304) { 200 } else { status };
            let body = match body {
                _ if head => Body::None,
                Body::None => Body::Length(Vec::new()),
                body => body,
            };
            let start = vec![status.to_string().into_bytes(), reason.into_bytes()];
            (Message { start, fields, body }, head)
        },
    )
}

impl Message {
    pub(crate) fn framing(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        match &self.body {
            Body::None | Body::UntilClose(_) => None,
            Body::Length(data) => {
                Some((b"Content-Length".to_vec(), data.len().to_string().into_bytes()))
            }
            Body::Chunked { .. } => Some((b"Transfer-Encoding".to_vec(), b"chunked".to_vec())),
        }
    }

    /// All fields as they are sent.
    pub(crate) fn sent(&self, first: &[(&str, &str)]) -> Pairs {
        let mut fields: Pairs =
            first.iter().map(|(name, value)| (name.as_bytes().into(), (*value).into())).collect();
        fields.extend(self.fields.clone());
        fields.extend(self.framing());
        fields
    }

    fn write(&self, line: &[u8], fields: &Pairs, out: &mut Vec<u8>) {
        out.extend_from_slice(line);
        write_fields(fields, out);
        out.extend_from_slice(&self.body.raw());
    }

    fn events(&self, fields: Pairs) -> Vec<Event> {
        let start = self.start.clone();
        let kind = self.body.kind();
        let keep_alive = kind != BodyKind::UntilClose;
        let mut events = vec![Event::Head { start, fields, body: kind, keep_alive }];
        if kind != BodyKind::None {
            let trailers = match &self.body {
                Body::Chunked { trailers, .. } => trailers.clone(),
                _ => Pairs::new(),
            };
            events.push(Event::Body { raw: self.body.raw(), data: self.body.data(), trailers });
        }
        events
    }
}

impl Body {
    pub(crate) fn kind(&self) -> BodyKind {
        match self {
            Self::None => BodyKind::None,
            Self::Length(data) => BodyKind::Length(data.len() as u64),
            Self::Chunked { .. } => BodyKind::Chunked,
            Self::UntilClose(_) => BodyKind::UntilClose,
        }
    }

    pub(crate) fn data(&self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Length(data) | Self::UntilClose(data) => data.clone(),
            Self::Chunked { chunks, .. } => {
                chunks.iter().flat_map(|(data, _)| data.clone()).collect()
            }
        }
    }

    pub(crate) fn raw(&self) -> Vec<u8> {
        let Self::Chunked { chunks, trailers } = self else { return self.data() };
        let mut out = Vec::new();
        for (data, extension) in chunks {
            out.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
            out.extend_from_slice(data);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"0\r\n");
        write_fields(trailers, &mut out);
        out
    }
}

pub(crate) fn write_fields(fields: &Pairs, out: &mut Vec<u8>) {
    for (name, value) in fields {
        out.extend_from_slice(&[name, &b": "[..], value, b"\r\n"].concat());
    }
    out.extend_from_slice(b"\r\n");
}

/// Bytes and expected events of requests on one connection.
pub(crate) fn request_stream(messages: &[Message]) -> (Vec<u8>, Vec<Event>) {
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    for message in messages {
        let line = [&message.start[0], &b" "[..], &message.start[1], b" HTTP/1.1\r\n"].concat();
        let fields = message.sent(&[("Host", "a")]);
        message.write(&line, &fields, &mut bytes);
        events.extend(message.events(fields));
    }
    (bytes, events)
}

pub(crate) fn response_stream(
    messages: &[(Message, bool)],
) -> (Vec<u8>, Vec<Event>, Vec<MethodKind>) {
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    for (message, _) in messages {
        let line = [b"HTTP/1.1 ", &message.start[0][..], b" ", &message.start[1], b"\r\n"].concat();
        let fields = message.sent(&[]);
        message.write(&line, &fields, &mut bytes);
        events.extend(message.events(fields));
    }
    let kind = |head: bool| if head { MethodKind::Head } else { MethodKind::Other };
    (bytes, events, messages.iter().map(|(_, head)| kind(*head)).collect())
}
/// `PROPTEST_CASES` asks for more.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(cases), failure_persistence: None, ..default }
}
