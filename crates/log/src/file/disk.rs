//! Chunks onto the disk: the open segment, its rolling by size and age, retention,
//! and what is done when the disk says no. Runs on the writer's thread alone; what
//! fills the chunks is `writer`'s.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    format::{self, ChunkAt, Preamble},
    io_error,
    segment::{self, Extent, Place},
    writer::MAX_PAYLOAD,
};
use crate::{LogError, LogOptions, Schema};

/// zstd level: 1 compresses traffic almost as well as higher ones at a fraction of
/// the cost.
const LEVEL: i32 = 1;

/// A chunk is no longer than the largest record and what was queued with it.
const MOST_TORN: u64 = MAX_PAYLOAD as u64 + (2 << 20);

/// What is to become one chunk.
#[derive(Debug)]
pub(super) struct Batch {
    /// Message records, encoded.
    pub(super) records: Vec<u8>,
    /// Messages of each partition.
    pub(super) counts: Vec<u64>,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    /// When the first record came.
    pub(super) since: Instant,
}

/// The segment being written.
#[derive(Debug)]
struct Segment {
    file: Arc<File>,
    preamble: Preamble,
    /// Where the next chunk goes.
    end: u64,
    chunks: Vec<ChunkAt>,
    opened: Instant,
}

/// A segment that is finished.
#[derive(Debug)]
struct Finished {
    number: u64,
    bytes: u64,
    at: SystemTime,
}

/// See the module.
pub(super) struct Disk {
    place: Place,
    schema: Option<Schema>,
    segment_bytes: u64,
    segment_age: Duration,
    retain_bytes: Option<u64>,
    retain_age: Option<Duration>,
    open: Option<Segment>,
    finished: VecDeque<Finished>,
    next_number: u64,
    /// Next offset of each partition: what is written.
    next: Vec<u64>,
    latest_ns: u64,
    compressor: zstd::bulk::Compressor<'static>,
    compressed: Vec<u8>,
    out: Vec<u8>,
}

impl Disk {
    /// Takes over the segments in `place`: finishes the one a crash left open. The
    /// caller holds the writer's lock.
    pub(super) fn open(
        place: Place,
        partitions: u32,
        options: &LogOptions,
    ) -> Result<Self, LogError> {
        let compressor = zstd::bulk::Compressor::new(LEVEL)
            .map_err(|error| LogError::Io(format!("zstd: {error}")))?;
        let mut disk = Self {
            place,
            schema: options.schema.clone(),
            segment_bytes: options.segment_bytes,
            segment_age: options.segment_age,
            retain_bytes: options.retain_bytes,
            retain_age: options.retain_age,
            open: None,
            finished: VecDeque::new(),
            next_number: 1,
            next: vec![0; partitions as usize],
            latest_ns: 0,
            compressor,
            compressed: Vec::new(),
            out: Vec::new(),
        };
        disk.recover()?;
        Ok(disk)
    }

    /// Next offset of each partition.
    pub(super) fn next(&self) -> &[u64] {
        &self.next
    }

    /// The file being written, to be synced.
    pub(super) fn file(&self) -> Option<Arc<File>> {
        self.open.as_ref().map(|open| Arc::clone(&open.file))
    }

    fn recover(&mut self) -> Result<(), LogError> {
        let mut numbers = self.place.segments()?;
        if let Some(last) = numbers.last() {
            self.next_number = last + 1;
        }
        while let Some(&last) = numbers.last() {
            if self.take_over(last)? {
                break;
            }
            numbers.pop();
        }
        for number in numbers {
            let path = self.place.path(number);
            let meta = fs::metadata(&path).map_err(io_error("read", &path))?;
            let at = meta.modified().unwrap_or_else(|_| SystemTime::now());
            self.finished.push_back(Finished { number, bytes: meta.len(), at });
        }
        Ok(())
    }

    /// Goes on behind this segment; finishes it if it is not whole. False if it
    /// holds nothing and was put out of the way.
    fn take_over(&mut self, number: u64) -> Result<bool, LogError> {
        let path = self.place.path(number);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(io_error("open", &path))?;
        let opening = match self.place.opening(&file, &path) {
            Ok(Some(opening)) => opening,
            Ok(None) => {
                // It crashed before its first chunk: nothing is in it.
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
                return Ok(false);
            }
            Err(error) => {
                let aside = path.with_extension("mcap.damaged");
                fs::rename(&path, &aside).map_err(io_error("rename", &path))?;
                tracing::error!(%error, kept = %aside.display(), "the last segment cannot be read");
                return Ok(false);
            }
        };
        if opening.preamble.base.len() != self.next.len() {
            let why = format!("it has {} partitions", opening.preamble.base.len());
            return Err(segment::unusable(&path, 0, &why));
        }
        let extent = segment::extent(&file, &path, &opening)?;
        if !extent.whole {
            self.finish_crashed(&file, &path, &opening.preamble, &extent)?;
        }
        self.next = extent.next;
        self.latest_ns = extent.latest_ns;
        Ok(true)
    }

    fn finish_crashed(
        &mut self,
        file: &File,
        path: &Path,
        preamble: &Preamble,
        extent: &Extent,
    ) -> Result<(), LogError> {
        let length = file.metadata().map_err(io_error("read", path))?.len();
        let torn = length.saturating_sub(extent.good);
        tracing::warn!(segment = %path.display(), torn_bytes = torn, "finishing a segment its writer left open");
        // A crash tears one chunk. More than that is damage of another kind, with
        // records behind it that somebody may want to look for.
        if torn > MOST_TORN {
            let aside = path.with_extension("mcap.damaged");
            fs::copy(path, &aside).map_err(io_error("copy", path))?;
            tracing::error!(segment = %path.display(), from_byte = extent.good, kept = %aside.display(), "a segment is damaged; the records behind are cut off");
        }
        let mut ending = Vec::new();
        format::put_ending(
            &mut ending,
            extent.good,
            self.schema.as_ref(),
            preamble,
            &extent.next,
            &extent.chunks,
        );
        file.set_len(extent.good)
            .and_then(|()| file.write_all_at(&ending, extent.good))
            .and_then(|()| file.sync_data())
            .map_err(io_error("finish", path))
    }

    /// Writes a chunk. After an error nothing of it counts: write it again.
    pub(super) fn write(&mut self, batch: &Batch) -> io::Result<()> {
        self.roll_if_full();
        if self.open.is_none() {
            self.open = Some(self.begin()?);
        }
        let Some(open) = self.open.as_mut() else {
            return Ok(());
        };
        let crc = crc32fast::hash(&batch.records);
        self.compressed.clear();
        self.compressed.reserve(zstd::zstd_safe::compress_bound(batch.records.len()));
        self.compressor.compress_to_buffer(&batch.records, &mut self.compressed)?;
        let worth_it = self.compressed.len() < batch.records.len();
        let stored = if worth_it { &self.compressed } else { &batch.records };
        self.out.clear();
        format::put_positions(&mut self.out, &open.preamble.base, &self.next);
        let chunk_at = self.out.len() as u64;
        let times = (batch.start_ns, batch.end_ns);
        let raw = (batch.records.len() as u64, crc);
        format::put_chunk(&mut self.out, times, raw, worth_it, stored);
        open.file.write_all_at(&self.out, open.end)?;
        open.chunks.push(ChunkAt {
            offset: open.end + chunk_at,
            length: self.out.len() as u64 - chunk_at,
            start_ns: batch.start_ns,
            end_ns: batch.end_ns,
            raw_len: batch.records.len() as u64,
            stored_len: stored.len() as u64,
            compressed: worth_it,
        });
        open.end += self.out.len() as u64;
        for (next, count) in self.next.iter_mut().zip(&batch.counts) {
            *next += count;
        }
        self.latest_ns = self.latest_ns.max(batch.end_ns);
        Ok(())
    }

    /// Called after `write` failed: cuts off what was written of the chunk, and
    /// gives up the segment unless it is only the room that is missing.
    pub(super) fn after_error(&mut self, error: &io::Error) {
        let Some(open) = &self.open else {
            return;
        };
        let cut = open.file.set_len(open.end);
        let no_room =
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if !no_room || cut.is_err() {
            self.finish_open();
        }
    }

    /// What must happen whether or not anything is written: age and retention.
    pub(super) fn tick(&mut self) {
        if self.open.as_ref().is_some_and(|open| open.opened.elapsed() >= self.segment_age) {
            self.finish_open();
        }
        self.retain();
    }

    /// Finishes the open segment.
    pub(super) fn close(&mut self) {
        self.finish_open();
    }

    fn roll_if_full(&mut self) {
        let full = self.open.as_ref().is_some_and(|open| {
            open.end >= self.segment_bytes || open.opened.elapsed() >= self.segment_age
        });
        if full {
            self.finish_open();
            self.retain();
        }
    }

    fn begin(&mut self) -> io::Result<Segment> {
        let preamble = Preamble {
            segment: self.next_number,
            base: self.next.clone(),
            latest_ns: self.latest_ns,
        };
        let path = self.place.path(self.next_number);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let bytes = preamble.encode(self.schema.as_ref());
        if let Err(error) = file.write_all_at(&bytes, 0) {
            // Nothing is in it. Readers look for the next number first, so numbers
            // are skipped only if they must be.
            if fs::remove_file(&path).is_err() {
                self.next_number += 1;
            }
            return Err(error);
        }
        self.next_number += 1;
        // Syncing the file does not keep its name.
        if let Err(error) = File::open(self.place.root()).and_then(|root| root.sync_all()) {
            tracing::warn!(%error, "cannot sync the directory of the log");
        }
        Ok(Segment {
            file: Arc::new(file),
            end: bytes.len() as u64,
            preamble,
            chunks: Vec::new(),
            opened: Instant::now(),
        })
    }

    /// Writes the ending. Without it (the disk may say no) the segment is still
    /// read up to its last chunk.
    fn finish_open(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        self.out.clear();
        format::put_ending(
            &mut self.out,
            open.end,
            self.schema.as_ref(),
            &open.preamble,
            &self.next,
            &open.chunks,
        );
        let written =
            open.file.write_all_at(&self.out, open.end).and_then(|()| open.file.sync_data());
        let bytes = match written {
            Ok(()) => open.end + self.out.len() as u64,
            Err(error) => {
                let _ = open.file.set_len(open.end);
                tracing::warn!(segment = open.preamble.segment, %error, "a segment stays without its ending; nothing is lost");
                open.end
            }
        };
        self.finished.push_back(Finished {
            number: open.preamble.segment,
            bytes,
            at: SystemTime::now(),
        });
    }

    /// Removes what retention no longer keeps. Never the newest segment: it says
    /// where the offsets go on.
    fn retain(&mut self) {
        let open_bytes = self.open.as_ref().map_or(0, |open| open.end);
        let mut bytes = open_bytes + self.finished.iter().map(|one| one.bytes).sum::<u64>();
        let keep = usize::from(self.open.is_none());
        while self.finished.len() > keep {
            let Some(oldest) = self.finished.front() else {
                return;
            };
            let too_many = self.retain_bytes.is_some_and(|limit| bytes > limit);
            let age = oldest.at.elapsed().unwrap_or_default();
            let too_old = self.retain_age.is_some_and(|limit| age > limit);
            if !too_many && !too_old {
                return;
            }
            let path = self.place.path(oldest.number);
            match fs::remove_file(&path) {
                Ok(()) => tracing::info!(segment = %path.display(), "removed by retention"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(segment = %path.display(), %error, "cannot be removed");
                    return;
                }
            }
            bytes -= oldest.bytes;
            self.finished.pop_front();
        }
    }
}
