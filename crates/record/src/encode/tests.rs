//! The hot path against the generated types, on random messages.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{arbitrary, decode::decode, pb::record::Body};

proptest! {
    #[test]
    fn equals_the_generated_encoder(record in arbitrary::record(), cut in 1..50usize) {
        let expected = record.encode_to_vec();
        let (body, promised) = encode_body(&record, cut);
        prop_assert_eq!(body.len(), promised);

        let envelope = envelope(&record);
        let mut first = Vec::new();
        envelope.encode(&mut first);
        prop_assert_eq!(first.len(), envelope.encoded_len());
        first.extend_from_slice(&body);
        prop_assert!(first == expected);

        let mut whole = Vec::new();
        super::record(&record, &mut whole);
        prop_assert!(whole == expected);
    }

    #[test]
    fn the_envelope_may_come_last_and_change(record in arbitrary::record(), cut in 1..50usize) {
        let (mut out, _) = encode_body(&record, cut);
        let end = out.len();
        Envelope { lane: 9, sequence: 1, ..envelope(&record) }.encode(&mut out);
        out.truncate(end);
        envelope(&record).encode(&mut out);
        prop_assert_eq!(decode(out.into()).unwrap(), record);
    }
}

#[test]
fn a_buffer_is_appended_to_and_used_again() {
    let request = RequestParts { id: [1; 16], method: b"GET", path: b"/", ..Default::default() };
    let mut out = b"before".to_vec();
    request.encode(&mut out);
    assert!(out.starts_with(b"before"));
    let once = out.split_off(6);
    out.clear();
    let place = out.as_ptr();
    request.encode(&mut out);
    assert_eq!((out.as_slice(), out.as_ptr()), (once.as_slice(), place));
}

#[test]
fn absent_and_empty_are_told_apart() {
    let encode = |query, body| {
        let mut out = Vec::new();
        let id = [1; 16];
        RequestParts { id, method: b"GET", query, body, ..Default::default() }.encode(&mut out);
        Envelope { agent: [2; 16], lane: 0, key: b"", sequence: 1 }.encode(&mut out);
        match decode(out.into()).unwrap().body {
            Some(Body::Request(request)) => (request.query, request.body),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(encode(None, None), (None, None));
    assert_eq!(encode(Some(b""), Some(EMPTY)), (Some(Bytes::new()), Some(Bytes::new())));
}

fn envelope(record: &pb::Record) -> Envelope<'_> {
    Envelope {
        agent: array(&record.agent).expect("generated with 16 bytes"),
        lane: record.lane,
        key: &record.key,
        sequence: record.sequence,
    }
}

/// Encodes the body of a record by the hot path, its bytes cut in pieces of `cut`.
fn encode_body(record: &pb::Record, cut: usize) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    let promised = match record.body.as_ref().expect("generated with a body") {
        Body::Request(request) => with_request(request, cut, &mut out),
        Body::Response(response) => with_response(response, cut, &mut out),
        Body::Part(part) => {
            let data: Vec<&[u8]> = part.data.chunks(cut).collect();
            let parts = PartParts {
                id: array(&part.id).expect("generated with 16 bytes"),
                index: part.index,
                data: &data,
                last: part.last,
                aborted: part.aborted,
                completeness: part.completeness(),
                trailers: &part.trailers,
                body_length: part.body_length,
                body_hash: array(&part.body_hash),
                sealed: &part.sealed,
            };
            parts.encode(&mut out);
            parts.encoded_len()
        }
        Body::Gap(message) => {
            gap(message, &mut out);
            out.len()
        }
        Body::Mark(message) => {
            mark(message, &mut out);
            out.len()
        }
    };
    (out, promised)
}

fn with_request(request: &pb::Request, cut: usize, out: &mut Vec<u8>) -> usize {
    // Borrowed pairs here, generated headers in the others: both views are used.
    let headers: Vec<(&[u8], &[u8])> =
        request.headers.iter().map(|h| (&h.name[..], &h.value[..])).collect();
    let body: Option<Vec<&[u8]>> = request.body.as_ref().map(|body| body.chunks(cut).collect());
    let parts = RequestParts {
        id: array(&request.id).expect("generated with 16 bytes"),
        connection: request.connection,
        number: request.number,
        start_ns: request.start_ns,
        end_after_ns: request.end_after_ns,
        peer: &request.peer,
        scheme: &request.scheme,
        method: &request.method,
        authority: &request.authority,
        path: &request.path,
        query: request.query.as_deref(),
        form: request.form(),
        version: request.version(),
        headers: &headers,
        body: body.as_ref().map(|body| body as &dyn Pieces),
        trailers: &request.trailers,
        body_length: request.body_length,
        body_hash: array(&request.body_hash),
        completeness: request.completeness(),
        parts: request.parts,
        upstream: &request.upstream,
        labels: &request.labels,
        rule_set: &request.rule_set,
        sealed: &request.sealed,
        tls_server_name: &request.tls_server_name,
        alpn: &request.alpn,
        tunnel: request.tunnel,
        received_authority: &request.received_authority,
    };
    parts.encode(out);
    parts.encoded_len()
}

fn with_response(response: &pb::Response, cut: usize, out: &mut Vec<u8>) -> usize {
    let body: Option<Vec<&[u8]>> = response.body.as_ref().map(|body| body.chunks(cut).collect());
    let parts = ResponseParts {
        id: array(&response.id).expect("generated with 16 bytes"),
        request_start_ns: response.request_start_ns,
        status: response.status,
        reason: &response.reason,
        version: response.version(),
        headers: &response.headers,
        body: body.as_ref().map(|body| body as &dyn Pieces),
        trailers: &response.trailers,
        body_length: response.body_length,
        body_hash: array(&response.body_hash),
        completeness: response.completeness(),
        head_after_ns: response.head_after_ns,
        first_byte_after_ns: response.first_byte_after_ns,
        end_after_ns: response.end_after_ns,
        failure: response.failure(),
        failure_detail: &response.failure_detail,
        sealed: &response.sealed,
        rule_set: &response.rule_set,
    };
    parts.encode(out);
    parts.encoded_len()
}

fn array(bytes: &[u8]) -> Option<[u8; 16]> {
    bytes.try_into().ok()
}
