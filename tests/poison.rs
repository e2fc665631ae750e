//! Records that nobody can read: set aside with the reason, passed, and never in
//! the way of the others.

use std::collections::BTreeMap;

use prost::Message;
use umbra_record::pb;
use umbra_replay::DeadLetter;

use crate::support::{
    client::Client,
    jobs::job,
    kcat::{Raw, consume, produce},
    logs::TestLog,
    nginx::Nginx,
    process::Umbra,
    shadow::{Manner, Shadow},
};

const PARTITIONS: u32 = 3;

/// A field that no version knows yet: number 4000, and these bytes.
const UNKNOWN_FIELD: &[u8] = &[0x82, 0xfa, 0x01, 3, b'n', b'e', b'w'];

/// So many bytes that look like nothing.
fn random_bytes(seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    })
    .take(300)
    .collect()
}

/// A field of bytes on the wire.
fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut field);
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    field.extend_from_slice(bytes);
    field
}

/// A request as a later version might write it: fields and values that this one does
/// not know, in the envelope and within.
fn of_the_future(partition: u32, sequence: u64) -> Vec<u8> {
    let envelope = pb::Record {
        agent: vec![0xf0; 16].into(),
        sequence,
        key: vec![1].into(),
        ..pb::Record::default()
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let request = pb::Request {
        id: [vec![0xf1; 14], vec![partition as u8, sequence as u8]].concat().into(),
        number: sequence,
        start_ns: now.as_nanos() as u64,
        method: b"GET".to_vec().into(),
        authority: b"future".to_vec().into(),
        scheme: "http".to_owned(),
        path: format!("/future/{partition}").into_bytes().into(),
        version: 77,
        headers: vec![pb::Header {
            name: b"Host".to_vec().into(),
            value: b"future".to_vec().into(),
        }],
        ..pb::Request::default()
    };
    let request = [request.encode_to_vec(), UNKNOWN_FIELD.to_vec()].concat();
    [envelope.encode_to_vec(), UNKNOWN_FIELD.to_vec(), field(8, &request)].concat()
}

/// A record of a kind that no version knows yet.
fn of_a_future_kind(sequence: u64) -> Vec<u8> {
    let envelope = pb::Record { agent: vec![0xf0; 16].into(), sequence, ..pb::Record::default() };
    [envelope.encode_to_vec(), field(4001, b"\x08\x01")].concat()
}

fn record(log: &TestLog, prefix: &str) {
    let upstream = Nginx::start("location / { return 200 ok; }");
    let agent =
        Umbra::agent(log, upstream.address).flag("partitions", PARTITIONS.to_string()).start();
    let mut clients: Vec<Client> = (0..24).map(|_| Client::connect(agent.listen())).collect();
    for number in 0..240_usize {
        let request = format!("GET {prefix}/{number} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(clients[number % 24].call(request.as_bytes()).status(), 200);
    }
    drop(clients);
    assert_eq!(agent.stop().code, Some(0));
}

fn requests(records: &[Raw], partition: u32) -> Vec<&Raw> {
    let is_request = |raw: &&Raw| {
        let record = pb::Record::decode(raw.value.as_slice());
        raw.partition == partition
            && matches!(record.map(|r| r.body), Ok(Some(pb::record::Body::Request(_))))
    };
    records.iter().filter(is_request).collect()
}

/// In each partition, between good records: random bytes, half a record, a null value,
/// a request of a future version, and a record of a future kind.
fn poison(log: &TestLog) -> BTreeMap<(u32, u64), Vec<u8>> {
    let url = log.arg();
    let before = consume(&url);
    for partition in 0..PARTITIONS {
        let good = requests(&before, partition);
        let good = good.first().unwrap_or_else(|| panic!("partition {partition} is empty"));
        produce(&url, partition, Some(&random_bytes(partition + 1)));
        produce(&url, partition, Some(&good.value[..good.value.len() / 2]));
        produce(&url, partition, Some(&of_the_future(partition, 1)));
        produce(&url, partition, None);
        produce(&url, partition, Some(&of_a_future_kind(2)));
    }
    let known: usize = before.len();
    let all = consume(&url);
    assert_eq!(all.len(), known + 5 * PARTITIONS as usize);
    let mut unreadable = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let last = before.iter().filter(|r| r.partition == partition).map(|r| r.offset).max();
        let last = last.unwrap();
        for raw in all.iter().filter(|r| r.partition == partition && r.offset > last) {
            if matches!(raw.offset - last, 1 | 2 | 4) {
                unreadable.insert((partition, raw.offset), raw.value.clone());
            }
        }
    }
    assert_eq!(unreadable.len(), 3 * PARTITIONS as usize);
    unreadable
}

#[test]
fn what_cannot_be_read_is_set_aside_and_passed() {
    let log = TestLog::kafka("poison");
    record(&log, "/before");
    let unreadable = poison(&log);
    record(&log, "/after");
    let shadow = Shadow::start(Manner::Answer(200));
    let replay = || {
        Umbra::new("replay")
            .flag("log", log.arg())
            .flag("job", "poison")
            .flag("target", shadow.url())
            .flag("rate", "max")
    };
    let result = replay().result();
    assert_eq!(result["dead"], unreadable.len(), "{result}");
    assert_eq!(result["unknown"], PARTITIONS, "{result}");
    let sent = 480 + PARTITIONS as usize;
    assert_eq!(result["targets"]["shadow"]["answered"], sent, "{result}");
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for arrival in shadow.arrivals() {
        *seen.entry(arrival.message.start.split(' ').nth(1).unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(seen.len(), sent);
    assert!(seen.values().all(|n| *n == 1), "{seen:?}");
    for partition in 0..PARTITIONS {
        assert!(seen.contains_key(&format!("/future/{partition}")), "{seen:?}");
    }

    // Each of them is kept, byte for byte, with its origin and a reason.
    let mut kept = BTreeMap::new();
    for raw in consume(&format!("{}.dead", log.arg())) {
        let letter = DeadLetter::decode(raw.value.as_slice()).unwrap();
        assert_eq!((letter.job.as_str(), letter.target.as_str()), ("poison", "shadow"));
        assert!(!letter.reason.is_empty(), "{letter:?}");
        println!("{}/{}: {}", letter.partition, letter.offset, letter.reason);
        kept.insert((letter.partition, letter.offset), letter.payload.to_vec());
    }
    assert_eq!(kept, unreadable);

    // Progress has passed them, and the job is done for good.
    let job = job(&log, "poison");
    assert_eq!(job["state"], "done", "{job}");
    let partitions = job["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), PARTITIONS as usize, "{job}");
    for partition in partitions {
        assert_eq!(partition["lag"], 0, "{job}");
        assert_eq!(partition["committed"], partition["end"], "{job}");
    }
    assert_eq!(replay().result()["targets"]["shadow"]["sent"], 0);
    assert_eq!(shadow.count(), sent);
}
