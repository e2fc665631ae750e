//! The files are MCAP: another implementation reads what we write, and we read
//! what it writes.

use std::{collections::BTreeMap, fs, io::Cursor, sync::Arc};

use mcap::{MessageStream, Summary, records::MessageHeader};
use umbra_log::{Append as _, Entry, LogError, Mode, Start, Tail as _, TailOptions, file::FileLog};

use crate::bench::{
    DEADLINE, append_lines, check, create, earliest, existing, flush, group, line, options,
    read_to, segments, small_segments,
};

#[tokio::test]
async fn segments_are_read_by_another_implementation() {
    let temporary = tempfile::tempdir().unwrap();
    let log = create(temporary.path(), small_segments());
    let appender = log.appender().unwrap();
    let mut times: BTreeMap<(String, u32), u64> = BTreeMap::new();
    for number in 0..3000u64 {
        let (partition, offset) = ((number % 3) as u32, number / 3);
        let time_ns = 1_700_000_000_000_000_000 + number * 17;
        let text = line(partition, offset);
        let payload = text.as_bytes();
        appender
            .enqueue(&Entry { partition, time_ns, key: b"", headers: &[], payload, weight: 1 })
            .unwrap();
        times.insert((format!("partition/{partition:02}"), offset as u32), time_ns);
        if number % 400 == 0 {
            flush(&appender).await;
        }
    }
    drop(appender);
    let mut count = 0;
    let files = segments(temporary.path());
    assert!(files.len() > 1);
    for file in files {
        let bytes = fs::read(file).unwrap();
        let mut here = 0;
        for message in MessageStream::new(&bytes).unwrap() {
            let message = message.unwrap();
            let schema = message.channel.schema.as_ref().unwrap();
            assert_eq!(
                (schema.name.as_str(), schema.encoding.as_str()),
                ("test.Record", "protobuf")
            );
            assert_eq!(&*schema.data, b"a descriptor set");
            assert_eq!(message.channel.message_encoding, "protobuf");
            let place = (message.channel.topic.clone(), message.sequence);
            assert_eq!(message.log_time, times[&place]);
            let partition = u32::from(message.channel.id);
            assert_eq!(message.data, line(partition, u64::from(message.sequence)).as_bytes());
            here += 1;
        }
        let summary = Summary::read(&bytes).unwrap().unwrap();
        let statistics = summary.stats.as_ref().unwrap();
        assert_eq!(statistics.message_count, here);
        assert_eq!(statistics.channel_message_counts.values().sum::<u64>(), here);
        assert_eq!(statistics.chunk_count as usize, summary.chunk_indexes.len());
        let mut indexed = 0;
        for chunk in &summary.chunk_indexes {
            indexed += summary.stream_chunk(&bytes, chunk).unwrap().count();
        }
        assert_eq!(indexed as u64, here, "each chunk is where the index says");
        count += here;
    }
    assert_eq!(count, 3000);
}

#[tokio::test]
async fn one_segment_alone_is_a_recording() {
    let temporary = tempfile::tempdir().unwrap();
    let log = create(&temporary.path().join("log"), small_segments());
    let appender = log.appender().unwrap();
    for round in 0..20u64 {
        append_lines(&appender, round * 300..round * 300 + 300);
        flush(&appender).await;
    }
    // The one being written ends early; the first does not begin at 0 once others
    // came before it.
    let files = segments(&temporary.path().join("log"));
    assert!(files.len() > 2);
    for (number, file) in files.iter().enumerate() {
        let copy = temporary.path().join(format!("copy-{number}.mcap"));
        fs::copy(file, &copy).unwrap();
        let recording = existing(&copy);
        let spans = recording.spans().unwrap();
        assert_eq!(spans.len(), 3);
        assert_eq!(spans[0].low == 0, number == 0);
        let mut tail = group(&recording, "g", Start::Earliest);
        let ends = [spans[0].high, spans[1].high, spans[2].high];
        let read = read_to(&mut tail, ends).await;
        for (offsets, span) in read.offsets.iter().zip(&spans) {
            assert!(offsets.iter().copied().eq(span.low..span.high));
        }
        tail.close(DEADLINE).await.unwrap();
        let mut again = group(&recording, "g", Start::Earliest);
        assert_eq!(read_to(&mut again, ends).await.count(), 0, "it has progress, too");
        assert!(matches!(recording.appender(), Err(LogError::Refused(_))));
        let create = FileLog::open(&copy, options(), Mode::Create);
        assert!(matches!(create, Err(LogError::Unusable(_))));
    }
}

#[tokio::test]
async fn recordings_other_tools_wrote_are_read() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("other.mcap");
    for (compression, chunked) in
        [(Some(mcap::Compression::Zstd), true), (None, true), (None, false)]
    {
        let options = mcap::WriteOptions::new().compression(compression).use_chunks(chunked);
        let options = options.chunk_size(Some(5000));
        let mut writer = options.create(Cursor::new(Vec::new())).unwrap();
        let schema = writer.add_schema("test.Record", "protobuf", b"").unwrap();
        // Other numbers, other order; and sequences that say nothing.
        for partition in [2u32, 0, 1] {
            let topic = format!("partition/{partition:02}");
            let channel = writer.add_channel(schema, &topic, "protobuf", &BTreeMap::new()).unwrap();
            for offset in 0..200 {
                let header = MessageHeader {
                    channel_id: channel,
                    sequence: 0,
                    log_time: 5,
                    publish_time: 6,
                };
                let text = line(partition, offset);
                writer.write_to_known_channel(&header, text.as_bytes()).unwrap();
            }
        }
        writer.finish().unwrap();
        fs::write(&path, writer.into_inner().into_inner()).unwrap();
        if !chunked {
            // Messages outside chunks are not what a recorder writes.
            continue;
        }
        let log = existing(&path);
        let highs: Vec<u64> = log.spans().unwrap().iter().map(|span| span.high).collect();
        assert_eq!(highs, [200; 3]);
        let read = read_to(&mut earliest(&log), [200; 3]).await;
        assert_eq!((read.count(), read.missing), (600, vec![]));
    }
}

#[tokio::test]
async fn a_place_is_found_without_reading_what_is_before_it() {
    let temporary = tempfile::tempdir().unwrap();
    let log = create(temporary.path(), small_segments());
    let appender = log.appender().unwrap();
    for round in 0..60u64 {
        append_lines(&appender, round * 90..round * 90 + 90);
        flush(&appender).await;
    }
    let files = segments(temporary.path());
    assert!(files.len() > 3);
    // Destroy the contents (not the frames) of every chunk before the last two
    // segments: who starts behind them must not notice.
    for file in &files[..files.len() - 2] {
        let mut bytes = fs::read(file).unwrap();
        for chunk in Summary::read(&bytes.clone()).unwrap().unwrap().chunk_indexes {
            let end = (chunk.chunk_start_offset + chunk.chunk_length) as usize;
            bytes[end - chunk.compressed_size as usize..end].fill(0xff);
        }
        fs::write(file, bytes).unwrap();
    }
    let at = 30 * 59;
    let start = Start::At(BTreeMap::from([(0, at), (1, at + 5), (2, at)]));
    let mut tail = log.tail(&TailOptions { start, ..TailOptions::default() }).unwrap();
    let read = read_to(&mut tail, [1800; 3]).await;
    assert_eq!((read.count(), read.missing), (85, vec![]));
}

#[tokio::test]
async fn a_time_is_found_in_any_segment() {
    let temporary = tempfile::tempdir().unwrap();
    let log = create(temporary.path(), small_segments());
    let appender = log.appender().unwrap();
    let time = |number: u64| 1_700_000_000_000_000_000 + number * 1_000;
    for number in 0..9000u64 {
        let (partition, offset) = ((number % 3) as u32, number / 3);
        let text = line(partition, offset);
        let time_ns = time(number);
        let payload = text.as_bytes();
        appender
            .enqueue(&Entry { partition, time_ns, key: b"", headers: &[], payload, weight: 1 })
            .unwrap();
        if number % 100 == 99 {
            flush(&appender).await;
        }
    }
    let log = Arc::new(log);
    for number in [0, 1, 99, 100, 101, 4444, 8899, 8999] {
        let found = log.offsets_for_time(time(number)).unwrap();
        for (partition, offset) in found {
            let exact = (number + 2 - u64::from(partition)) / 3;
            assert!(offset <= exact, "{number}: {offset} of {partition} is too late");
            assert!(offset + 34 >= exact, "{number}: {offset} is more than a chunk early");
        }
    }
    let found = log.offsets_for_time(time(9000)).unwrap();
    assert_eq!(found, BTreeMap::from([(0, 3000), (1, 3000), (2, 3000)]));
    let mut tail = earliest(&log);
    let umbra_log::Event::Assigned(_) = crate::bench::event(&mut tail).await else { panic!() };
    if let umbra_log::Event::Delivery(delivery) = crate::bench::event(&mut tail).await {
        check(&delivery);
        assert_eq!(delivery.time_ns, time(0));
        delivery.done();
    }
    tail.close(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn a_long_beginning_is_read_whole() {
    let temporary = tempfile::tempdir().unwrap();
    let mut options = small_segments();
    let schema = options.schema.as_mut().unwrap();
    schema.data = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let length = schema.data.len() as u64;
    options.segment_bytes = length + (2 << 10);
    let log = create(temporary.path(), options);
    let appender = log.appender().unwrap();
    for round in 0..10u64 {
        append_lines(&appender, round * 90..round * 90 + 90);
        flush(&appender).await;
    }
    let files = segments(temporary.path());
    assert!(files.len() > 1 && fs::metadata(&files[0]).unwrap().len() > length);
    let log = existing(temporary.path());
    let first = log.offsets_for_time(0).unwrap();
    assert_eq!(first, BTreeMap::from([(0, 0), (1, 0), (2, 0)]));
    let read = read_to(&mut earliest(&log), [300; 3]).await;
    assert_eq!((read.count(), read.missing), (900, vec![]));
}
