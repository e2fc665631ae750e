//! Walks through a log in log order, from segment to segment, while it is being
//! written: unpacks chunk by chunk, gives every record its offset, and finds out
//! what is missing. Decides neither what is delivered when, nor how far a group is.

use std::{collections::VecDeque, io, os::unix::fs::MetadataExt as _, path::PathBuf};

use bytes::{Bytes, BytesMut};
use mcap::records::op;

use super::{
    format::{self, POSITIONS, Records, positions, unpack},
    io_error,
    segment::{self, CHUNK_LIMIT, Opening, Place, add_channel},
    window::{Step, Window},
};
use crate::LogError;

/// Records share an allocation of about this size, so that one that is kept long
/// pins no more than that.
const BLOCK: usize = 32 << 10;

/// What is met on the way.
#[derive(Debug)]
pub(super) enum Found {
    /// A wanted record.
    Record { partition: u32, offset: u64, time_ns: u64, payload: Bytes },
    /// Offsets that should be here and are not.
    Missing { partition: u32, from: u64, to: u64, reason: String },
}

/// A place between two chunks.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) segment: u64,
    /// In the segment; `None`: behind its preamble.
    pub(super) at: Option<u64>,
    /// Offset of the next record of each partition there.
    pub(super) next: Vec<u64>,
}

/// See the module.
pub(super) struct Cursor {
    place: Place,
    segment: Option<Open>,
    /// Number of the segment last opened; the next one is greater.
    number: Option<u64>,
    /// Where to begin in the first segment.
    begin: Option<Spot>,
    /// Next offset of each partition in log order.
    next: Vec<u64>,
    /// Below this nothing is wanted, nor missed.
    floor: Vec<u64>,
    /// Why what comes next may be preceded by a hole.
    hole: Option<String>,
    decompressor: zstd::bulk::Decompressor<'static>,
    raw: Vec<u8>,
    block: BytesMut,
}

/// The segment being read.
struct Open {
    window: Window,
    path: PathBuf,
    opening: Opening,
    /// Its ending was reached.
    ended: bool,
    /// It could not be read any further, but there may be more to come.
    torn: Option<String>,
}

impl Cursor {
    /// A cursor that begins at `spot` and wants nothing below `floor`.
    pub(super) fn new(place: Place, spot: Option<Spot>, floor: Vec<u64>) -> io::Result<Self> {
        let mut next = floor.clone();
        if let Some(spot) = &spot {
            for (next, at) in next.iter_mut().zip(&spot.next) {
                *next = (*next).min(*at);
            }
        }
        Ok(Self {
            place,
            segment: None,
            number: None,
            begin: spot,
            next,
            floor,
            hole: None,
            decompressor: zstd::bulk::Decompressor::new()?,
            raw: Vec::new(),
            block: BytesMut::new(),
        })
    }

    /// Where the next record of each partition will be.
    pub(super) fn next(&self) -> &[u64] {
        &self.next
    }

    /// Reads on up to and including the next chunk. `found` gets what `wanted`
    /// says yes to. False: there is no more now.
    pub(super) fn read(
        &mut self,
        wanted: &mut dyn FnMut(u32, u64) -> bool,
        found: &mut VecDeque<Found>,
    ) -> Result<bool, LogError> {
        loop {
            if self.segment.is_none() {
                if !self.open_next(found)? {
                    return Ok(false);
                }
                continue;
            }
            match self.step(wanted, found)? {
                Walk::Chunk => return Ok(true),
                Walk::Stuck => {
                    if !self.leave()? {
                        return Ok(false);
                    }
                }
                Walk::On => {}
            }
        }
    }

    fn step(
        &mut self,
        wanted: &mut dyn FnMut(u32, u64) -> bool,
        found: &mut VecDeque<Found>,
    ) -> Result<Walk, LogError> {
        let Some(open) = self.segment.as_mut() else {
            return Ok(Walk::Stuck);
        };
        if open.ended {
            return Ok(Walk::Stuck);
        }
        let place = open.window.place();
        let opcode = match open.window.step().map_err(io_error("read", &open.path))? {
            Step::Record(opcode) => opcode,
            Step::More => {
                open.torn = Some(format!("{} ends early, at byte {place}", open.path.display()));
                return Ok(Walk::Stuck);
            }
            Step::Bad(why) => {
                let why = format!("{} is damaged at byte {place}: {why}", open.path.display());
                return self.resume_behind(place, why);
            }
        };
        open.torn = None;
        let mut walk = Walk::On;
        match opcode {
            POSITIONS => {
                if let Some(at) = positions(open.window.body(), &open.opening.preamble.base) {
                    self.jump_all(&at, found);
                }
            }
            op::CHANNEL => {
                // Our own come in the preamble; those of other tools anywhere.
                if let Err(why) = add_channel(&mut open.opening.channels, open.window.body()) {
                    return Err(segment::unusable(&open.path, place, &why));
                }
            }
            op::CHUNK => {
                self.chunk(place, wanted, found);
                walk = Walk::Chunk;
            }
            op::DATA_END => {
                open.ended = true;
                // What is missing at the very end shows in the summary only.
                if self.hole.is_some() && open.opening.ours {
                    let extent = segment::extent(open.window.file(), &open.path, &open.opening)?;
                    self.jump_all(&extent.next, found);
                }
            }
            _ => {}
        }
        if let Some(open) = self.segment.as_mut() {
            open.window.pass();
        }
        Ok(walk)
    }

    /// Unpacks the chunk the window is on.
    fn chunk(
        &mut self,
        place: u64,
        wanted: &mut dyn FnMut(u32, u64) -> bool,
        found: &mut VecDeque<Found>,
    ) {
        let Some(open) = self.segment.as_mut() else {
            return;
        };
        let body = open.window.body();
        let unpacked = unpack(body, CHUNK_LIMIT, &mut self.decompressor, &mut self.raw);
        let damage = match unpacked {
            Ok((_, records)) => {
                let mut reading = Reading {
                    channels: &mut open.opening.channels,
                    ours: open.opening.ours,
                    next: &mut self.next,
                    floor: &mut self.floor,
                    hole: self.hole.as_deref(),
                    block: &mut self.block,
                };
                reading.records(records, wanted, found).err()
            }
            Err(why) => Some(why),
        };
        if let Some(why) = damage {
            let why =
                format!("a chunk of {} is damaged at byte {place}: {why}", open.path.display());
            tracing::error!("{why}");
            self.hole = Some(why);
        }
    }

    /// Damage that hides where the next record begins: goes on with the next chunk
    /// the segment's summary lists.
    fn resume_behind(&mut self, place: u64, why: String) -> Result<Walk, LogError> {
        let Some(open) = self.segment.as_mut() else {
            return Ok(Walk::Stuck);
        };
        let listed =
            segment::chunks_by_summary(open.window.file()).map_err(io_error("read", &open.path))?;
        let Some(behind) = listed.into_iter().find(|&chunk| chunk > place) else {
            open.torn = Some(why);
            return Ok(Walk::Stuck);
        };
        tracing::error!("{why}");
        open.window.go_to(behind);
        self.hole = Some(why);
        Ok(Walk::On)
    }

    /// At the end of what can be read of this segment: leaves it if there is
    /// another one. True: something changed, read on.
    fn leave(&mut self) -> Result<bool, LogError> {
        let Some(newer) = self.newer()? else {
            return Ok(false);
        };
        let Some(open) = self.segment.as_mut() else {
            return Ok(false);
        };
        if let Some(torn) = open.torn.take() {
            // The writer may have gone on between our last look and its leaving:
            // only what is torn once nothing is added any more is torn.
            if matches!(open.window.step().map_err(io_error("read", &open.path))?, Step::Record(_))
            {
                return Ok(true);
            }
            self.hole = Some(torn);
        }
        tracing::debug!(newer, "next segment");
        self.segment = None;
        Ok(true)
    }

    /// The segment after the one being read.
    fn newer(&self) -> Result<Option<u64>, LogError> {
        let Some(number) = self.number else {
            return Ok(self.place.segments()?.first().copied());
        };
        if matches!(self.place, Place::Single(_)) {
            return Ok(None);
        }
        if self.place.path(number + 1).exists() {
            return Ok(Some(number + 1));
        }
        // Numbers may be skipped, by a crash or by retention.
        let gone = match &self.segment {
            Some(open) => {
                open.ended || open.window.file().metadata().is_ok_and(|meta| meta.nlink() == 0)
            }
            None => true,
        };
        if !gone {
            return Ok(None);
        }
        Ok(self.place.segments()?.into_iter().find(|&other| other > number))
    }

    /// Opens the segment to begin with, or the next one. False: not there yet.
    fn open_next(&mut self, found: &mut VecDeque<Found>) -> Result<bool, LogError> {
        let begin = self.begin.take();
        let number = match &begin {
            Some(spot) => spot.segment,
            None => match self.newer()? {
                Some(number) => number,
                None => return Ok(false),
            },
        };
        let Some(file) = self.place.open(number)? else {
            // Retention took it before we could open it: the next one tells what
            // is missing.
            self.number = Some(number);
            return Ok(self.newer()?.is_some());
        };
        let path = self.place.path(number);
        let opening = match self.place.opening(&file, &path) {
            // Its records are missing, if there is anything behind it.
            Err(LogError::Unusable(why)) if self.after(number)? => {
                tracing::error!("{why}");
                self.hole = Some(why);
                self.number = Some(number);
                return Ok(true);
            }
            opening => opening?,
        };
        let Some(opening) = opening else {
            // Its writer has just made it, or crashed right then.
            if self.after(number)? {
                self.hole = Some(format!("{} ends before its first record", path.display()));
                self.number = Some(number);
                return Ok(true);
            }
            self.begin = begin;
            return Ok(false);
        };
        if self.number.is_none_or(|before| before + 1 != number) && self.hole.is_none() {
            self.hole = Some("removed by retention".to_owned());
        }
        self.number = Some(number);
        let (at, next) = match begin {
            Some(spot) => (spot.at.unwrap_or(opening.data_at), spot.next),
            None => (opening.data_at, opening.preamble.base.clone()),
        };
        self.segment =
            Some(Open { window: Window::new(file, at), path, opening, ended: false, torn: None });
        self.jump_all(&next, found);
        Ok(true)
    }

    fn after(&self, number: u64) -> Result<bool, LogError> {
        Ok(self.place.segments()?.last().is_some_and(|&last| last > number))
    }

    /// The log says where each partition is: what lies between is missing.
    fn jump_all(&mut self, at: &[u64], found: &mut VecDeque<Found>) {
        if self.next.len() < at.len() {
            self.next.resize(at.len(), 0);
            self.floor.resize(at.len(), 0);
        }
        for (partition, &at) in at.iter().enumerate() {
            let from = self.next[partition].max(self.floor[partition]);
            if from < at {
                found.push_back(missing(partition as u32, from, at, self.hole.as_deref()));
            }
            self.next[partition] = self.next[partition].max(at);
        }
        self.hole = None;
    }
}

enum Walk {
    On,
    /// A chunk was read, or found damaged.
    Chunk,
    /// No further in this segment now.
    Stuck,
}

fn missing(partition: u32, from: u64, to: u64, hole: Option<&str>) -> Found {
    let reason = hole.unwrap_or("the log skips them").to_owned();
    Found::Missing { partition, from, to, reason }
}

/// The records of one chunk being read.
struct Reading<'a> {
    channels: &'a mut Vec<Option<u32>>,
    ours: bool,
    next: &'a mut Vec<u64>,
    floor: &'a mut Vec<u64>,
    hole: Option<&'a str>,
    block: &'a mut BytesMut,
}

impl Reading<'_> {
    fn records(
        &mut self,
        records: &[u8],
        wanted: &mut dyn FnMut(u32, u64) -> bool,
        found: &mut VecDeque<Found>,
    ) -> Result<(), String> {
        let mut records = Records::new(records);
        for (opcode, body) in &mut records {
            match opcode {
                op::MESSAGE => self.message(body, wanted, found)?,
                op::CHANNEL => add_channel(self.channels, body)?,
                _ => {}
            }
        }
        if records.is_whole() { Ok(()) } else { Err("its last record is cut off".to_owned()) }
    }

    fn message(
        &mut self,
        body: &[u8],
        wanted: &mut dyn FnMut(u32, u64) -> bool,
        found: &mut VecDeque<Found>,
    ) -> Result<(), String> {
        let message = format::message(body).ok_or("a message is cut off")?;
        let partition = self.channels.get(usize::from(message.channel)).copied().flatten();
        let partition = partition.ok_or("a message has no channel")?;
        let index = partition as usize;
        if self.next.len() <= index {
            self.next.resize(index + 1, 0);
            self.floor.resize(index + 1, 0);
        }
        let expected = self.next[index];
        let mut offset = expected;
        if self.ours {
            offset = message.offset(expected);
            if offset < expected {
                // Read before: a segment says the same twice only if it is damaged.
                return Ok(());
            }
            let from = expected.max(self.floor[index]);
            if from < offset {
                found.push_back(missing(partition, from, offset, self.hole));
            }
        }
        self.next[index] = offset + 1;
        if offset >= self.floor[index] && wanted(partition, offset) {
            found.push_back(Found::Record {
                partition,
                offset,
                time_ns: message.time_ns,
                payload: keep(self.block, message.payload),
            });
        }
        Ok(())
    }
}

/// Copies a payload out of the chunk.
fn keep(block: &mut BytesMut, payload: &[u8]) -> Bytes {
    if payload.is_empty() {
        return Bytes::new();
    }
    if payload.len() > BLOCK / 4 {
        return Bytes::copy_from_slice(payload);
    }
    if block.capacity() - block.len() < payload.len() {
        *block = BytesMut::with_capacity(BLOCK);
    }
    block.extend_from_slice(payload);
    block.split().freeze()
}
