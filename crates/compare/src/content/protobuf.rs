//! gRPC and protobuf: the messages of an answer, by field where their types are known
//! from a descriptor set, otherwise as bytes.

use std::borrow::Cow;

use bytes::Bytes;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MapKey, MessageDescriptor, Value};
use umbra_record::{fields, pb};

use super::{Media, coding};
use crate::{
    Answer,
    json::parse_some,
    node::{MAX_NODES, Member, Node},
};

/// Most messages of one answer; with more it is compared as bytes.
const MAX_MESSAGES: usize = 50_000;
/// Largest message whose fields are looked at: a byte can become a hundred in memory.
const MAX_DECODED: usize = 2 << 20;
/// The bit of a frame that says it holds trailers (gRPC-Web).
const TRAILERS: u8 = 0x80;

/// Types of messages, as `protoc --include_imports --descriptor_set_out` writes them.
#[derive(Debug, Clone)]
pub(crate) struct Descriptors(DescriptorPool);

impl Descriptors {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let pool = DescriptorPool::decode(bytes).map_err(|error| {
            format!(
                "not a descriptor set with all of its imports (protoc --include_imports): {error}"
            )
        })?;
        Ok(Self(pool))
    }

    /// What the answers of `/package.Service/Method` are made of. Something may come
    /// before that.
    pub(crate) fn answer_of(&self, path: &str) -> Option<MessageDescriptor> {
        let mut segments = path.rsplit('/');
        let (method, service) = (segments.next()?, segments.next()?);
        let service = self.0.get_service_by_name(service)?;
        let method = service.methods().find(|known| known.name() == method)?;
        Some(method.output())
    }
}

/// The messages of a gRPC answer as a list, or the one of a protobuf body. `None` if it
/// is neither, or broken.
pub(super) fn read<'a>(
    answer: &Answer,
    media: &Media<'_>,
    body: &[u8],
    message: Option<&MessageDescriptor>,
) -> Option<Node<'a>> {
    let mut left = MAX_NODES;
    if media.is_grpc() {
        let coding = fields::first(&answer.headers, "grpc-encoding").unwrap_or_default();
        let is_json = media.name.ends_with("+json");
        let messages = frames(body)?.into_iter().filter(|(flags, _)| flags & TRAILERS == 0);
        let read = |(flags, frame): (u8, &[u8])| {
            let Some(bytes) = content(flags, frame, coding) else {
                return Node::Bytes(frame.to_vec().into());
            };
            let fields = match message.filter(|_| bytes.len() <= MAX_DECODED) {
                _ if is_json => parse_some(&bytes, &mut left).map(Node::into_owned),
                None => None,
                Some(message) => by_field(&bytes, message, &mut left),
            };
            fields.unwrap_or_else(|| Node::Bytes(bytes.into_owned().into()))
        };
        return Some(Node::List(messages.map(read).collect()));
    }
    let is_protobuf = matches!(
        media.name.as_str(),
        "application/protobuf" | "application/x-protobuf" | "application/vnd.google.protobuf"
    );
    let message = message.filter(|_| is_protobuf && body.len() <= MAX_DECODED)?;
    by_field(body, message, &mut left)
}

/// A message without its coding; `None` if that is not known or does not hold.
fn content<'a>(flags: u8, frame: &'a [u8], coding: &[u8]) -> Option<Cow<'a, [u8]>> {
    if flags & 1 == 0 { Some(frame.into()) } else { coding::decode(frame, std::iter::once(coding)) }
}

/// Flags and bytes of each frame.
fn frames(mut body: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut frames = Vec::new();
    while !body.is_empty() {
        let ([flags, length @ ..], rest) = body.split_first_chunk::<5>()?;
        let (frame, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        frames.push((*flags, frame));
        body = rest;
        if frames.len() > MAX_MESSAGES {
            return None;
        }
    }
    Some(frames)
}

/// The trailers of an answer, wherever gRPC has put them: behind the body, into the
/// headers if there is none, or into its last frame (gRPC-Web).
pub(crate) fn trailers(answer: &Answer) -> Cow<'_, [pb::Header]> {
    let media = Media::of(answer);
    if !media.is_grpc() {
        return Cow::Borrowed(&answer.trailers);
    }
    let mut all = answer.trailers.clone();
    all.extend(answer.headers.iter().filter(|header| is_trailer(&header.name)).cloned());
    let frames = frames(&answer.body.bytes).unwrap_or_default();
    for (_, frame) in frames.iter().filter(|(flags, _)| flags & TRAILERS != 0) {
        for line in frame.split(|byte| *byte == b'\n') {
            if let Some(colon) = line.iter().position(|byte| *byte == b':') {
                let part = |part: &[u8]| Bytes::copy_from_slice(part.trim_ascii());
                let (name, value) = (part(&line[..colon]), part(&line[colon + 1..]));
                all.push(pb::Header { name, value });
            }
        }
    }
    Cow::Owned(all)
}

/// Whether a header of gRPC is one of its trailers.
pub(crate) fn is_trailer(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(&name[..], b"grpc-status" | b"grpc-message" | b"grpc-status-details-bin")
}

fn by_field(bytes: &[u8], message: &MessageDescriptor, left: &mut usize) -> Option<Node<'static>> {
    let message = DynamicMessage::decode(message.clone(), bytes).ok()?;
    fields_of(&message, left)
}

fn fields_of(message: &DynamicMessage, left: &mut usize) -> Option<Node<'static>> {
    let mut members: Vec<Member<'static>> = Vec::new();
    for (field, value) in message.fields() {
        members.push((name(field.name()), node(value, &field.kind(), left)?));
    }
    for (field, value) in message.extensions() {
        members.push((name(field.full_name()), node(value, &field.kind(), left)?));
    }
    for field in message.unknown_fields() {
        let mut bytes = Vec::new();
        field.encode(&mut bytes);
        members.push((name(&format!("#{}", field.number())), Node::Bytes(bytes.into())));
    }
    Some(Node::Map(members))
}

fn name(name: &str) -> Cow<'static, [u8]> {
    Cow::Owned(name.as_bytes().to_vec())
}

/// `None` if there are too many values.
fn node(value: &Value, kind: &Kind, left: &mut usize) -> Option<Node<'static>> {
    *left = left.checked_sub(1)?;
    let float = |text: String, finite| match finite {
        true => Node::Number(text.into()),
        false => Node::Text(text.into_bytes().into()),
    };
    Some(match value {
        Value::Bool(value) => Node::Bool(*value),
        Value::I32(value) => Node::Number(value.to_string().into()),
        Value::I64(value) => Node::Number(value.to_string().into()),
        Value::U32(value) => Node::Number(value.to_string().into()),
        Value::U64(value) => Node::Number(value.to_string().into()),
        Value::F32(value) => float(format!("{value:?}"), value.is_finite()),
        Value::F64(value) => float(format!("{value:?}"), value.is_finite()),
        Value::String(text) => Node::Text(text.clone().into_bytes().into()),
        Value::Bytes(bytes) => Node::Bytes(bytes.to_vec().into()),
        Value::EnumNumber(number) => {
            let known = kind.as_enum().and_then(|known| known.get_value(*number));
            match known {
                Some(known) => Node::Text(known.name().as_bytes().to_vec().into()),
                None => Node::Number(number.to_string().into()),
            }
        }
        Value::Message(message) => fields_of(message, left)?,
        Value::List(values) => {
            let nodes = values.iter().map(|value| node(value, kind, left));
            Node::List(nodes.collect::<Option<_>>()?)
        }
        Value::Map(values) => map(values.iter(), kind, left)?,
    })
}

/// Sorted, because the map itself has no order.
fn map<'a>(
    values: impl Iterator<Item = (&'a MapKey, &'a Value)>,
    kind: &Kind,
    left: &mut usize,
) -> Option<Node<'static>> {
    let entry = kind.as_message()?.map_entry_value_field().kind();
    let mut members: Vec<Member<'static>> = Vec::new();
    for (key, value) in values {
        let key = match key {
            MapKey::Bool(key) => key.to_string(),
            MapKey::I32(key) => key.to_string(),
            MapKey::I64(key) => key.to_string(),
            MapKey::U32(key) => key.to_string(),
            MapKey::U64(key) => key.to_string(),
            MapKey::String(key) => key.clone(),
        };
        members.push((name(&key), node(value, &entry, left)?));
    }
    members.sort_by(|one, other| one.0.cmp(&other.0));
    Some(Node::Map(members))
}
