//! What a crash or a bad disk does to the files: nothing hangs, nothing panics,
//! every record is delivered or told missing.

use std::{fs, path::Path};

use umbra_log::{Event, Start, Tail as _};

use crate::bench::{
    DEADLINE, append_lines, create, earliest, event, existing, flush, group, line, options,
    read_to, segments, small_segments, try_append,
};

/// Writes so many lines; each batch becomes a chunk.
async fn write(directory: &Path, batches: &[std::ops::Range<u64>]) {
    let log = create(directory, small_segments());
    let appender = log.appender().unwrap();
    for batch in batches {
        append_lines(&appender, batch.clone());
        flush(&appender).await;
    }
}

#[tokio::test]
async fn a_segment_may_end_anywhere() {
    let whole = tempfile::tempdir().unwrap();
    write(whole.path(), &[0..30, 30..60, 60..300]).await;
    let [segment] = &segments(whole.path())[..] else { panic!("more than one segment") };
    let bytes = fs::read(segment).unwrap();
    // Everywhere in its beginning, then here and there.
    let cuts = (0..700).step_by(5).chain((700..bytes.len()).step_by(61)).chain([bytes.len()]);
    for cut in cuts {
        let torn = tempfile::tempdir().unwrap();
        drop(create(torn.path(), options()));
        fs::write(torn.path().join(segment.file_name().unwrap()), &bytes[..cut]).unwrap();
        let log = existing(torn.path());
        let before: Vec<u64> = log.spans().unwrap().iter().map(|span| span.high).collect();
        let appender = log.appender().unwrap();
        let ends: Vec<u64> = log.spans().unwrap().iter().map(|span| span.high).collect();
        assert_eq!(before, ends, "cut at {cut}: readers and writers agree where it ends");
        assert!([0, 10, 20, 100].contains(&ends[0]), "cut at {cut}: {ends:?} is a whole chunk");
        try_append(&appender, 0, line(0, ends[0]).as_bytes()).unwrap();
        drop(appender);
        let ends = [ends[0] + 1, ends[1], ends[2]];
        let read = read_to(&mut earliest(&log), ends).await;
        assert_eq!(read.missing, [], "cut at {cut}");
        for (offsets, end) in read.offsets.iter().zip(ends) {
            assert!(offsets.iter().copied().eq(0..end), "cut at {cut}: {offsets:?}");
        }
    }
}

#[tokio::test]
async fn zeros_behind_a_crash_are_cut_off() {
    let temporary = tempfile::tempdir().unwrap();
    write(temporary.path(), &[0..30, 30..60, 60..300]).await;
    let [segment] = &segments(temporary.path())[..] else { panic!("more than one segment") };
    let length = fs::metadata(segment).unwrap().len();
    // As a file system leaves a file whose length was kept and whose blocks were not.
    let file = fs::OpenOptions::new().write(true).open(segment).unwrap();
    file.set_len(length - 3000).unwrap();
    file.set_len(length + 5000).unwrap();
    let log = create(temporary.path(), options());
    let appender = log.appender().unwrap();
    append_lines(&appender, 60..90);
    drop(appender);
    let read = read_to(&mut earliest(&log), [30; 3]).await;
    assert_eq!((read.count(), read.missing), (90, vec![]));
}

#[tokio::test]
async fn a_damaged_chunk_is_told_with_its_place_and_passed() {
    let temporary = tempfile::tempdir().unwrap();
    let batches: Vec<_> = (0..40).map(|n| n * 60..n * 60 + 60).collect();
    write(temporary.path(), &batches).await;
    let all = segments(temporary.path());
    assert!(all.len() > 2);
    let bytes = fs::read(&all[0]).unwrap();
    let summary = mcap::Summary::read(&bytes).unwrap().unwrap();
    let chunk = &summary.chunk_indexes[3];
    let mut damaged = bytes.clone();
    damaged[(chunk.chunk_start_offset + chunk.chunk_length / 2) as usize] ^= 0x10;
    fs::write(&all[0], &damaged).unwrap();
    let log = existing(temporary.path());
    let mut tail = group(&log, "g", Start::Earliest);
    let read = read_to(&mut tail, [800; 3]).await;
    assert_eq!(read.missing.len(), 3, "{:?}", read.missing);
    for (partition, from, to, why) in &read.missing {
        assert_eq!((*from, *to), (60, 80), "of partition {partition}");
        let file = all[0].file_name().unwrap().to_str().unwrap();
        assert!(why.contains(file), "{why}");
        assert!(why.contains(&format!("byte {}", chunk.chunk_start_offset)), "{why}");
    }
    assert_eq!(read.count(), 2400 - 60);
    tail.close(DEADLINE).await.unwrap();
    // They do not hold progress up.
    let mut again = group(&log, "g", Start::Earliest);
    match event(&mut again).await {
        Event::Assigned(at) => {
            assert_eq!(at.iter().map(|one| one.offset).collect::<Vec<_>>(), [800; 3]);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn damage_before_a_crash_costs_no_more_than_its_chunk() {
    let temporary = tempfile::tempdir().unwrap();
    write(temporary.path(), &[0..30, 30..60, 60..90, 90..120]).await;
    let [segment] = &segments(temporary.path())[..] else { panic!("more than one segment") };
    let bytes = fs::read(segment).unwrap();
    let chunks = mcap::Summary::read(&bytes).unwrap().unwrap().chunk_indexes;
    let ends: Vec<_> = chunks
        .iter()
        .map(|chunk| (chunk.chunk_start_offset + chunk.chunk_length) as usize)
        .collect();
    // Without its ending, and with half of another chunk, as a crash leaves it.
    let mut crashed = bytes[..ends[3]].to_vec();
    crashed.extend_from_slice(&bytes[ends[2]..ends[3] - 20]);
    crashed[ends[1] - 5] ^= 1;
    fs::write(segment, &crashed).unwrap();
    let log = create(temporary.path(), options());
    let appender = log.appender().unwrap();
    append_lines(&appender, 120..150);
    drop(appender);
    let read = read_to(&mut earliest(&log), [50; 3]).await;
    assert_eq!(read.count(), 150 - 30);
    let missing: Vec<_> = read.missing.iter().map(|one| (one.0, one.1, one.2)).collect();
    assert_eq!(missing, [(0, 10, 20), (1, 10, 20), (2, 10, 20)]);
}

#[tokio::test]
async fn whatever_byte_is_wrong_every_record_is_accounted_for() {
    let temporary = tempfile::tempdir().unwrap();
    let batches: Vec<_> = (0..30).map(|n| n * 90..n * 90 + 90).collect();
    write(temporary.path(), &batches).await;
    let all = segments(temporary.path());
    assert!(all.len() > 2);
    let log = existing(temporary.path());
    // In the first, in a middle one and in the last, which is whole too.
    for segment in [&all[0], &all[1], &all[all.len() - 1]] {
        let good = fs::read(segment).unwrap();
        let mut state = 7u64;
        for round in 0..60 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // The preamble and the frames of the first chunk more often.
            let range = if round % 3 == 0 { 900.min(good.len()) } else { good.len() };
            let at = (state >> 20) as usize % range;
            let mut bad = good.clone();
            bad[at] ^= 1 << (state >> 60 & 7);
            if round % 5 == 0 {
                bad[at..(at + 40).min(good.len())].fill(0);
            }
            fs::write(segment, &bad).unwrap();
            let place = format!("byte {at} of {segment:?}, round {round}");
            let newest = segment == &all[all.len() - 1];
            let mut tail = match log.tail(&umbra_log::TailOptions::default()) {
                Ok(tail) => tail,
                Err(error) if newest => {
                    assert!(error.to_string().contains("at byte"), "{error}");
                    continue;
                }
                Err(error) => panic!("{place}: {error}"),
            };
            // What the last one lost at its end nobody can know.
            let ends = if newest { [0; 3] } else { [900; 3] };
            let mut read = crate::bench::Read::default();
            let reading = tokio::time::timeout(DEADLINE, read_lenient(&mut tail, ends, &mut read));
            match reading.await.unwrap_or_else(|_| panic!("{place}: hangs at {read:?}")) {
                Ok(()) => {}
                Err(error) if newest => {
                    assert!(error.to_string().contains("at byte"), "{error}");
                    continue;
                }
                Err(error) => panic!("{place}: {error}"),
            }
            for partition in 0..3 {
                let accounted = read.accounted(partition);
                // Where the oldest segment began only its own beginning says: if that
                // is damaged, the log begins later.
                let begin = accounted.first().copied().unwrap_or(0);
                assert!(begin == 0 || segment == &all[0] && at < 900, "{place}");
                let end = if newest { begin + accounted.len() as u64 } else { 900 };
                assert!(accounted.iter().copied().eq(begin..end), "{place}: {:?}", read.missing);
            }
        }
        fs::write(segment, &good).unwrap();
    }
    let read = read_to(&mut earliest(&log), [900; 3]).await;
    assert_eq!((read.count(), read.missing), (2700, vec![]));
}

/// Like `read_to`, but errors are returned and payloads may be damaged unseen only
/// if no checksum covers them, which is nowhere.
async fn read_lenient(
    tail: &mut umbra_log::file::FileTail,
    ends: [u64; 3],
    read: &mut crate::bench::Read,
) -> Result<(), umbra_log::LogError> {
    let mut left = vec![0, 1, 2];
    while !left.is_empty() {
        match tail.next().await? {
            Event::Delivery(delivery) => {
                crate::bench::check(&delivery);
                read.offsets[delivery.partition as usize].push(delivery.offset);
                delivery.done();
            }
            Event::Missing { partition, from, to, reason } => {
                read.missing.push((partition, from, to, reason));
            }
            Event::CaughtUp { partition, offset } => {
                if offset >= ends[partition as usize] {
                    left.retain(|one| *one != partition);
                }
            }
            Event::Assigned(_) => {}
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_entry_of_a_journal_that_was_torn_is_cut_off() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("log");
    let open = || umbra_log::Journal::File(create(&directory, options()).journal("jobs").unwrap());
    let journal = open();
    for entry in ["one", "two", "three"] {
        journal.append(entry.as_bytes()).await.unwrap();
    }
    let path = temporary.path().join("log.jobs");
    let whole = fs::read(&path).unwrap();
    let two = 2 * 8 + 6;
    for cut in two..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let journal = open();
        assert_eq!(journal.read_from(0).await.unwrap().len(), 2, "cut at {cut}");
        assert_eq!(journal.append(b"next").await, Ok(2));
        let entries = open().read_from(1).await.unwrap();
        assert_eq!(entries, [(1, "two".into()), (2, "next".into())]);
    }
    let kept = fs::read(temporary.path().join("log.jobs.damaged")).unwrap();
    assert!(!kept.is_empty(), "what was cut off is kept aside");
}
