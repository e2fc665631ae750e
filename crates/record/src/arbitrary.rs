//! Random records for property tests: everything the schema can say, wire bytes
//! without any rule, lengths around the steps of varints.

use bytes::Bytes;
use proptest::{collection, option, prelude::*};

use crate::pb::{self, record::Body};

pub(crate) fn record() -> impl Strategy<Value = pb::Record> {
    (id(), any::<u32>(), bytes(), number(), body()).prop_map(
        |(agent, lane, key, sequence, body)| pb::Record {
            agent,
            lane,
            key,
            sequence,
            body: Some(body),
        },
    )
}

pub(crate) fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        4 => request().prop_map(Body::Request),
        3 => response().prop_map(Body::Response),
        2 => part().prop_map(Body::Part),
        1 => gap().prop_map(Body::Gap),
        1 => mark().prop_map(Body::Mark),
    ]
}

pub(crate) fn request() -> impl Strategy<Value = pb::Request> {
    let start = (
        id(),
        (number(), number(), number(), number()),
        (".{0,9}", ".{0,5}", ".{0,20}", ".{0,9}", ".{0,9}"),
        (collection::vec(any::<u8>(), 1..9), bytes(), bytes(), option::of(bytes()), bytes()),
        (0..4i32, 0..5i32, 0..4i32, any::<u32>(), any::<bool>()),
    );
    let rest = (headers(), long_body(), headers(), number(), hash(), labels(), bytes(), sealed());
    (start, rest).prop_map(|(start, rest)| {
        let (id, numbers, texts, wire, flags) = start;
        let (headers, body, trailers, body_length, body_hash, labels, rule_set, sealed) = rest;
        pb::Request {
            id,
            connection: numbers.0,
            number: numbers.1,
            start_ns: numbers.2,
            end_after_ns: numbers.3,
            peer: texts.0,
            scheme: texts.1,
            method: wire.0.into(),
            authority: wire.1,
            path: wire.2,
            query: wire.3,
            form: flags.0,
            version: flags.1,
            headers,
            body,
            trailers,
            body_length,
            body_hash,
            completeness: flags.2,
            parts: flags.3,
            upstream: texts.2,
            labels,
            rule_set,
            sealed,
            tls_server_name: texts.3,
            alpn: texts.4,
            tunnel: flags.4,
            received_authority: wire.4,
        }
    })
}

pub(crate) fn response() -> impl Strategy<Value = pb::Response> {
    let start = (id(), number(), any::<u32>(), bytes(), 0..5i32, headers(), long_body());
    let rest = (
        headers(),
        (number(), hash(), 0..4i32),
        (number(), number(), number()),
        (0..8i32, ".{0,20}"),
        sealed(),
        bytes(),
    );
    (start, rest).prop_map(|(start, rest)| {
        let (id, request_start_ns, status, reason, version, headers, body) = start;
        let (trailers, whole, times, failure, sealed, rule_set) = rest;
        pb::Response {
            id,
            request_start_ns,
            status,
            reason,
            version,
            headers,
            body,
            trailers,
            body_length: whole.0,
            body_hash: whole.1,
            completeness: whole.2,
            head_after_ns: times.0,
            first_byte_after_ns: times.1,
            end_after_ns: times.2,
            failure: failure.0,
            failure_detail: failure.1,
            sealed,
            rule_set,
        }
    })
}

pub(crate) fn part() -> impl Strategy<Value = pb::BodyPart> {
    let fields = (id(), any::<u32>(), bytes(), any::<bool>(), any::<bool>(), 0..4i32, headers());
    (fields, number(), hash(), sealed()).prop_map(|(fields, body_length, body_hash, sealed)| {
        let (id, index, data, last, aborted, completeness, trailers) = fields;
        pb::BodyPart {
            id,
            index,
            data,
            last,
            aborted,
            completeness,
            trailers,
            body_length,
            body_hash,
            sealed,
        }
    })
}

fn gap() -> impl Strategy<Value = pb::Gap> {
    let range = (any::<u32>(), any::<u32>(), number(), number())
        .prop_map(|(lane, partition, first, last)| pb::LaneRange { lane, partition, first, last });
    (number(), "[a-z_]{0,9}", number(), number(), collection::vec(range, 0..4)).prop_map(
        |(requests, reason, from_ns, to_ns, ranges)| pb::Gap {
            requests,
            reason,
            from_ns,
            to_ns,
            ranges,
        },
    )
}

fn mark() -> impl Strategy<Value = pb::Mark> {
    let lost = collection::btree_map("[a-z_]{0,9}", number(), 0..4);
    let counts = (number(), number(), number(), number());
    (counts, number(), number(), any::<bool>(), lost, any::<u32>(), ".{0,9}", labels()).prop_map(
        |(counts, low_ns, at_ns, last, lost, lanes, host, labels)| pb::Mark {
            low_ns,
            last_sequence: counts.0,
            r#final: last,
            at_ns,
            requests: counts.1,
            recorded: counts.2,
            not_selected: counts.3,
            lost,
            lanes,
            host,
            labels,
            rules: Vec::new(),
        },
    )
}

pub(crate) fn headers() -> impl Strategy<Value = Vec<pb::Header>> {
    // Few names in several cases, so that duplicates are common.
    let name = prop_oneof![
        Just(Bytes::from_static(b"X-A")),
        Just(Bytes::from_static(b"x-a")),
        Just(Bytes::from_static(b"Set-Cookie")),
        bytes(),
    ];
    collection::vec((name, bytes()).prop_map(|(name, value)| pb::Header { name, value }), 0..6)
}

fn sealed() -> impl Strategy<Value = Vec<pb::Sealed>> {
    let value = (".{0,9}", any::<u32>(), ".{0,9}", bytes(), bytes()).prop_map(
        |(place, occurrence, key_id, nonce, ciphertext)| pb::Sealed {
            place,
            occurrence,
            key_id,
            nonce,
            ciphertext,
        },
    );
    collection::vec(value, 0..3)
}

fn labels() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    collection::btree_map(".{0,5}", ".{0,5}", 0..4)
}

fn id() -> impl Strategy<Value = Bytes> {
    any::<[u8; 16]>().prop_map(|id| Bytes::copy_from_slice(&id))
}

fn hash() -> impl Strategy<Value = Bytes> {
    option::of(any::<[u8; 16]>())
        .prop_map(|hash| hash.map_or_else(Bytes::new, |h| h.to_vec().into()))
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..300u64, any::<u64>(), (0..64u32).prop_map(|bits| 1 << bits)]
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        collection::vec(any::<u8>(), 0..20),
        collection::vec(any::<u8>(), 120..140),
        "[ -~]{0,12}".prop_map(String::into_bytes),
    ]
    .prop_map(Bytes::from)
}

fn long_body() -> impl Strategy<Value = Option<Bytes>> {
    let long =
        (16_370..16_400usize, any::<u8>()).prop_map(|(length, byte)| vec![byte; length].into());
    option::of(prop_oneof![9 => bytes(), 1 => long])
}
