//! Which segments a log has, how one begins, and how far one goes. Reading what
//! is in them is `cursor`'s; writing them is `disk`'s.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use mcap::{
    MAGIC,
    records::{Record, op},
};

use super::{
    format::{
        self, ChunkAt, FOOTER_LEN, POSITIONS, PROFILE, Preamble, RECORD_HEAD, Records, chunk_head,
        partition_of, positions, unpack,
    },
    io_error,
    window::{Step, Window, read_at_most},
};
use crate::LogError;

/// Largest chunk accepted from a file.
pub(super) const CHUNK_LIMIT: u64 = 256 << 20;
/// Half of it is enough of a chunk record to read its head.
const SKIM: usize = 256;

/// Where the segments are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A directory of them.
    Directory(PathBuf),
    /// One alone: a recording.
    Single(PathBuf),
}

/// How a segment begins, and where its chunks do.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    pub(super) preamble: Preamble,
    /// First byte after the preamble.
    pub(super) data_at: u64,
    /// Whether sequence numbers are offsets: it is ours and not from elsewhere.
    pub(super) ours: bool,
    /// Channel id to partition.
    pub(super) channels: Vec<Option<u32>>,
}

/// How far a segment goes.
#[derive(Debug, Clone)]
pub(super) struct Extent {
    /// Behind the last good chunk.
    pub(super) good: u64,
    /// Next offset of each partition there.
    pub(super) next: Vec<u64>,
    /// The newest record up to there, earlier segments included.
    pub(super) latest_ns: u64,
    /// Its chunks; empty if it is whole, because then nobody needs them.
    pub(super) chunks: Vec<ChunkAt>,
    /// It has its ending.
    pub(super) whole: bool,
}

impl Place {
    /// File of a segment.
    pub(super) fn path(&self, segment: u64) -> PathBuf {
        match self {
            Self::Directory(directory) => directory.join(format!("{segment:016}.mcap")),
            Self::Single(file) => file.clone(),
        }
    }

    /// Directory or file.
    pub(super) fn root(&self) -> &Path {
        match self {
            Self::Directory(path) | Self::Single(path) => path,
        }
    }

    /// Numbers of the segments, oldest first.
    pub(super) fn segments(&self) -> Result<Vec<u64>, LogError> {
        let directory = match self {
            Self::Directory(directory) => directory,
            Self::Single(_) => return Ok(vec![0]),
        };
        let mut numbers = Vec::new();
        for entry in fs::read_dir(directory).map_err(io_error("list", directory))? {
            let entry = entry.map_err(io_error("list", directory))?;
            if let Some(number) = entry.file_name().to_str().and_then(segment_number) {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Opens a segment to read; `None` if it is gone.
    pub(super) fn open(&self, segment: u64) -> Result<Option<File>, LogError> {
        let path = self.path(segment);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("open", &path)(error)),
        }
    }
}

/// The number in a segment's file name.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".mcap")?;
    (digits.len() == 16).then(|| digits.parse().ok())?
}

impl Place {
    /// Reads how a segment begins. `Ok(None)`: that is not written yet.
    ///
    /// The error says what is wrong and at which byte.
    pub(super) fn opening(&self, file: &File, path: &Path) -> Result<Option<Opening>, LogError> {
        let opening = opening(file, path)?;
        match (&opening, self) {
            // Without what we say there, offsets would begin anew.
            (Some(Opening { ours: false, .. }), Self::Directory(_)) => {
                Err(unusable(path, 0, "it does not begin as a segment of this log"))
            }
            _ => Ok(opening),
        }
    }
}

fn opening(file: &File, path: &Path) -> Result<Option<Opening>, LogError> {
    let mut magic = [0; MAGIC.len()];
    let read = read_at_most(file, 0, &mut magic).map_err(io_error("read", path))?;
    if magic[..read] != MAGIC[..read] {
        return Err(unusable(path, 0, "no MCAP file begins so"));
    }
    if read < MAGIC.len() {
        return Ok(None);
    }
    let file = file.try_clone().map_err(io_error("open", path))?;
    let mut window = Window::glance(file, MAGIC.len() as u64);
    let mut ours = false;
    let mut preamble = None;
    let mut channels = Vec::new();
    loop {
        let place = window.place();
        let opcode = match window.step().map_err(io_error("read", path))? {
            Step::Record(opcode) => opcode,
            Step::More => return Ok(None),
            Step::Bad(why) => return Err(unusable(path, place, &why)),
        };
        let body = window.body();
        match opcode {
            op::HEADER => match mcap::parse_record(op::HEADER, body) {
                Ok(Record::Header(header)) => ours = header.profile == PROFILE,
                _ => return Err(unusable(path, place, "its header cannot be read")),
            },
            op::CHANNEL => {
                add_channel(&mut channels, body).map_err(|why| unusable(path, place, &why))?;
            }
            op::METADATA if preamble.is_none() => preamble = Preamble::decode(body),
            op::SCHEMA | op::METADATA => {}
            _ => break,
        }
        window.pass();
        if preamble.is_some() && ours {
            break;
        }
    }
    let partitions = channels.iter().flatten().max().map_or(0, |last| last + 1);
    // Tools that rewrite recordings may keep the profile and drop what it means.
    let ours = ours && preamble.is_some();
    let preamble = preamble.unwrap_or_else(|| Preamble {
        segment: 0,
        base: vec![0; partitions as usize],
        latest_ns: 0,
    });
    Ok(Some(Opening { preamble, data_at: window.place(), ours, channels }))
}

/// Notes which partition a channel is.
pub(super) fn add_channel(channels: &mut Vec<Option<u32>>, body: &[u8]) -> Result<(), String> {
    let Ok(Record::Channel(channel)) = mcap::parse_record(op::CHANNEL, body) else {
        return Err("a channel cannot be read".to_owned());
    };
    let partition = partition_of(&channel.topic)
        .filter(|&partition| partition < 1 << 16)
        .ok_or_else(|| format!("channel `{}` is no partition of a recording", channel.topic))?;
    let id = usize::from(channel.id);
    if channels.len() <= id {
        channels.resize(id + 1, None);
    }
    channels[id] = Some(partition);
    Ok(())
}

/// Where the summary of a whole segment begins (0: it has none); `None` if it is
/// not whole.
pub(super) fn summary_start(file: &File) -> io::Result<Option<u64>> {
    let length = file.metadata()?.len();
    let Some(at) = length.checked_sub(FOOTER_LEN as u64) else {
        return Ok(None);
    };
    let mut tail = [0; FOOTER_LEN];
    let read = read_at_most(file, at, &mut tail)?;
    Ok(format::footer(&tail[..read]))
}

/// Finds how far a segment goes.
pub(super) fn extent(file: &File, path: &Path, opening: &Opening) -> Result<Extent, LogError> {
    let summary = summary_start(file).map_err(io_error("read", path))?;
    if let Some(start) = summary.filter(|&start| start > 0 && opening.ours)
        && let Some(extent) = extent_by_summary(file, start, opening)
    {
        return Ok(extent);
    }
    let mut extent = extent_by_walk(file, path, opening)?;
    extent.whole = summary.is_some();
    Ok(extent)
}

fn extent_by_summary(file: &File, start: u64, opening: &Opening) -> Option<Extent> {
    let length = file.metadata().ok()?.len();
    let mut bytes = vec![0; usize::try_from(length.checked_sub(start)?).ok()?];
    read_at_most(file, start, &mut bytes).ok()?;
    let body = Records::new(&bytes).find(|(opcode, _)| *opcode == op::STATISTICS)?.1;
    let Ok(Record::Statistics(statistics)) = mcap::parse_record(op::STATISTICS, body) else {
        return None;
    };
    let mut next = opening.preamble.base.clone();
    for (channel, count) in &statistics.channel_message_counts {
        let partition = (*opening.channels.get(usize::from(*channel))?)?;
        *next.get_mut(partition as usize)? += count;
    }
    Some(Extent {
        good: length,
        next,
        latest_ns: opening.preamble.latest_ns.max(statistics.message_end_time),
        chunks: Vec::new(),
        whole: true,
    })
}

/// One chunk met on a walk, with the positions before it if they were written.
struct Walked {
    chunk: ChunkAt,
    before: Option<Vec<u64>>,
}

/// Reads the heads of all chunks that are there in full, and of those the
/// contents that must be counted: the last one, or every one in a file that does
/// not say the positions.
fn extent_by_walk(file: &File, path: &Path, opening: &Opening) -> Result<Extent, LogError> {
    let mut walked = Vec::new();
    skim(file, opening.data_at, &opening.preamble.base, |_, chunk, before| {
        walked.push(Walked { chunk, before });
        true
    })
    .map_err(io_error("read", path))?;
    let next = count_last(file, path, opening, &mut walked)?;
    let good = walked.last().map_or(opening.data_at, |one| one.chunk.offset + one.chunk.length);
    let latest = walked.iter().map(|one| one.chunk.end_ns).max().unwrap_or(0);
    Ok(Extent {
        good,
        next,
        latest_ns: opening.preamble.latest_ns.max(latest),
        chunks: walked.iter().map(|one| one.chunk).collect(),
        whole: false,
    })
}

/// Next offset of each partition behind the last good chunk; forgets the chunks
/// behind that one. A crash of the machine may leave some of the right length and
/// the wrong contents.
fn count_last(
    file: &File,
    path: &Path,
    opening: &Opening,
    walked: &mut Vec<Walked>,
) -> Result<Vec<u64>, LogError> {
    let mut channels = opening.channels.clone();
    loop {
        let known = walked.iter().rposition(|one| one.before.is_some()).unwrap_or(0);
        let mut next = match walked.get(known).and_then(|one| one.before.as_ref()) {
            Some(before) => before.clone(),
            None => opening.preamble.base.clone(),
        };
        let mut good = known;
        for (at, one) in walked.iter().enumerate().skip(known) {
            match count(file, one, opening.ours, &mut channels, &mut next) {
                Ok(()) => good = at + 1,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                // Not to be mistaken for damage: nothing may be cut off for it.
                Err(error) => return Err(io_error("read", path)(error)),
            }
        }
        walked.truncate(good);
        if good > known || good == 0 {
            return Ok(next);
        }
    }
}

/// Moves `next` behind the messages of one chunk. Damage is `InvalidData`.
fn count(
    file: &File,
    one: &Walked,
    ours: bool,
    channels: &mut Vec<Option<u32>>,
    next: &mut Vec<u64>,
) -> io::Result<()> {
    let damaged = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut body = vec![0; one.chunk.length as usize - RECORD_HEAD];
    let read = read_at_most(file, one.chunk.offset + RECORD_HEAD as u64, &mut body)?;
    let mut decompressor = zstd::bulk::Decompressor::new()?;
    let mut raw = Vec::new();
    let (_, records) = unpack(&body[..read], CHUNK_LIMIT, &mut decompressor, &mut raw)
        .map_err(|why| damaged(&why))?;
    let mut counted = next.clone();
    for (opcode, body) in Records::new(records) {
        match opcode {
            op::CHANNEL => add_channel(channels, body).map_err(|why| damaged(&why))?,
            op::MESSAGE => {
                let message = format::message(body).ok_or_else(|| damaged("cut off"))?;
                let partition = channels.get(usize::from(message.channel)).copied().flatten();
                let partition = partition.ok_or_else(|| damaged("no channel"))? as usize;
                if counted.len() <= partition && !ours {
                    counted.resize(partition + 1, 0);
                }
                let next = counted.get_mut(partition).ok_or_else(|| damaged("no partition"))?;
                *next = if ours { message.offset(*next) } else { *next } + 1;
            }
            _ => {}
        }
    }
    *next = counted;
    Ok(())
}

/// Reads the heads of the chunks that are there in full, from `place` on, and
/// calls `visit` with where each begins (with its positions record), itself, and
/// the positions before it, until that returns false. Decompresses nothing.
pub(super) fn skim(
    file: &File,
    mut place: u64,
    base: &[u64],
    mut visit: impl FnMut(u64, ChunkAt, Option<Vec<u64>>) -> bool,
) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut heads = Heads { file, bytes: [0; SKIM], from: 0, filled: 0 };
    let mut before: Option<(u64, Vec<u64>)> = None;
    loop {
        let head = heads.at(place)?;
        let Some(body_len) = head.get(1..RECORD_HEAD) else {
            return Ok(());
        };
        let body_len = u64::from_le_bytes(body_len.try_into().expect("eight bytes"));
        let end = place.checked_add(RECORD_HEAD as u64).and_then(|at| at.checked_add(body_len));
        let Some(end) = end.filter(|&end| end <= length) else {
            return Ok(());
        };
        let body = &head[RECORD_HEAD..];
        match head[0] {
            POSITIONS => {
                let mut whole = Vec::new();
                let body = if body.len() as u64 >= body_len {
                    &body[..body_len as usize]
                } else {
                    whole.resize(body_len as usize, 0);
                    read_at_most(file, place + RECORD_HEAD as u64, &mut whole)?;
                    &whole
                };
                before = positions(body, base).map(|at| (place, at));
            }
            op::CHUNK => {
                let Some(head) = chunk_head(body) else {
                    return Ok(());
                };
                let chunk = ChunkAt {
                    offset: place,
                    length: end - place,
                    start_ns: head.start_ns,
                    end_ns: head.end_ns,
                    raw_len: head.raw_len,
                    stored_len: head.stored_len,
                    compressed: !head.compression.is_empty(),
                };
                let (begin, before) = match before.take() {
                    Some((begin, before)) => (begin, Some(before)),
                    None => (place, None),
                };
                if !visit(begin, chunk, before) {
                    return Ok(());
                }
            }
            op::DATA_END | 0 | 0x10..=0x7f => return Ok(()),
            _ => before = None,
        }
        place = end;
    }
}

/// The beginnings of records. That of a chunk comes with the small record before it.
struct Heads<'a> {
    file: &'a File,
    bytes: [u8; SKIM],
    /// Where in the file they are from.
    from: u64,
    filled: usize,
}

impl Heads<'_> {
    /// What begins at `place`: enough of it to read a chunk's head, unless the file ends.
    fn at(&mut self, place: u64) -> io::Result<&[u8]> {
        let at = place.checked_sub(self.from).and_then(|at| usize::try_from(at).ok());
        if let Some(at) = at.filter(|at| at.saturating_add(SKIM / 2) <= self.filled) {
            return Ok(&self.bytes[at..self.filled]);
        }
        self.filled = read_at_most(self.file, place, &mut self.bytes)?;
        self.from = place;
        Ok(&self.bytes[..self.filled])
    }
}

/// Offsets of the chunks a whole segment lists in its summary.
pub(super) fn chunks_by_summary(file: &File) -> io::Result<Vec<u64>> {
    let Some(start) = summary_start(file)?.filter(|&start| start > 0) else {
        return Ok(Vec::new());
    };
    let length = file.metadata()?.len().saturating_sub(start);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = read_at_most(file, start, &mut bytes)?;
    let mut offsets = Vec::new();
    for (opcode, body) in Records::new(&bytes[..read]) {
        if opcode == op::CHUNK_INDEX
            && let Ok(Record::ChunkIndex(index)) = mcap::parse_record(opcode, body)
        {
            offsets.push(index.chunk_start_offset);
        }
    }
    offsets.sort_unstable();
    Ok(offsets)
}

/// What makes a file no segment, and where.
pub(super) fn unusable(path: &Path, place: u64, why: &str) -> LogError {
    LogError::Unusable(format!("{} is not a recording: {why} (at byte {place})", path.display()))
}
