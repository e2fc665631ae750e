//! Finds places in a log without reading it: by offset, by time, and its ends. Of
//! each segment asked, only the preamble and the heads of chunks are read; nothing
//! is decompressed but the last chunk of an unfinished segment, to count it.

use std::{fs::File, path::PathBuf};

use super::{
    cursor::Spot,
    io_error,
    segment::{self, Opening, Place},
};
use crate::{LogError, Span};

/// The segments of a log whose beginning can be read.
struct Segments<'a> {
    place: &'a Place,
    numbers: Vec<u64>,
}

/// One of them.
struct Opened {
    number: u64,
    file: File,
    path: PathBuf,
    opening: Opening,
}

impl<'a> Segments<'a> {
    fn list(place: &'a Place) -> Result<Self, LogError> {
        Ok(Self { place, numbers: place.segments()? })
    }

    /// Opens the `index`th; forgets it if it is gone, not begun yet, or its
    /// beginning is damaged.
    fn open(&mut self, index: usize) -> Result<Option<Opened>, LogError> {
        let Some(&number) = self.numbers.get(index) else {
            return Ok(None);
        };
        let path = self.place.path(number);
        if let Some(file) = self.place.open(number)? {
            match self.place.opening(&file, &path) {
                Ok(Some(opening)) => return Ok(Some(Opened { number, file, path, opening })),
                Ok(None) => {}
                // There must be one that is good.
                Err(LogError::Unusable(why)) if self.numbers.len() > 1 => {
                    tracing::error!("{why}; its records cannot be found");
                }
                Err(error) => return Err(error),
            }
        }
        self.numbers.remove(index);
        Ok(None)
    }

    fn first(&mut self) -> Result<Option<Opened>, LogError> {
        while !self.numbers.is_empty() {
            if let Some(opened) = self.open(0)? {
                return Ok(Some(opened));
            }
        }
        Ok(None)
    }

    fn last(&mut self) -> Result<Option<Opened>, LogError> {
        while let Some(last) = self.numbers.len().checked_sub(1) {
            if let Some(opened) = self.open(last)? {
                return Ok(Some(opened));
            }
        }
        Ok(None)
    }

    /// The last segment `early` says yes to, by bisection: it must say yes to all
    /// before it. The first one if it says yes to none.
    fn last_that(&mut self, early: impl Fn(&Opening) -> bool) -> Result<Option<Opened>, LogError> {
        let mut found = self.first()?;
        let (mut low, mut high) = (1, self.numbers.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.open(middle)? {
                None => high -= 1,
                Some(opened) if early(&opened.opening) => {
                    found = Some(opened);
                    low = middle + 1;
                }
                Some(_) => high = middle,
            }
        }
        Ok(found)
    }
}

/// How many partitions the segments have; `None` without any.
pub(super) fn partitions(place: &Place) -> Result<Option<u32>, LogError> {
    let Some(last) = Segments::list(place)?.last()? else {
        return Ok(None);
    };
    let extent;
    let count = if last.opening.ours {
        last.opening.preamble.base.len()
    } else {
        extent = segment::extent(&last.file, &last.path, &last.opening)?;
        extent.next.len()
    };
    Ok(Some(count as u32))
}

/// What each of so many partitions holds.
pub(super) fn spans(place: &Place, partitions: u32) -> Result<Vec<Span>, LogError> {
    let mut segments = Segments::list(place)?;
    let low = segments.first()?.map(|first| first.opening.preamble.base);
    let high = match segments.last()? {
        Some(last) => Some(segment::extent(&last.file, &last.path, &last.opening)?.next),
        None => None,
    };
    let at = |of: &Option<Vec<u64>>, partition: u32| {
        of.as_ref().and_then(|of| of.get(partition as usize)).copied().unwrap_or(0)
    };
    Ok((0..partitions)
        .map(|partition| Span { partition, low: at(&low, partition), high: at(&high, partition) })
        .collect())
}

/// The last place before all of these offsets. `None`: there are no segments.
pub(super) fn by_offsets(place: &Place, offsets: &[u64]) -> Result<Option<Spot>, LogError> {
    let not_beyond = |next: &[u64]| next.iter().zip(offsets).all(|(next, offset)| next <= offset);
    let mut segments = Segments::list(place)?;
    let early = |opening: &Opening| not_beyond(&opening.preamble.base);
    let Some(opened) = segments.last_that(early)? else {
        return Ok(None);
    };
    let mut spot =
        Spot { segment: opened.number, at: None, next: opened.opening.preamble.base.clone() };
    let base = &opened.opening.preamble.base;
    segment::skim(&opened.file, opened.opening.data_at, base, |begin, _, before| {
        let Some(before) = before.filter(|before| not_beyond(before)) else {
            return false;
        };
        spot.at = Some(begin);
        spot.next = before;
        true
    })
    .map_err(io_error("read", &opened.path))?;
    Ok(Some(spot))
}

/// Offsets before which every record is older than `time_ns`. `None`: nothing is
/// as new.
pub(super) fn by_time(place: &Place, time_ns: u64) -> Result<Option<Vec<u64>>, LogError> {
    let mut segments = Segments::list(place)?;
    let early = |opening: &Opening| opening.preamble.latest_ns < time_ns;
    let Some(mut opened) = segments.last_that(early)? else {
        return Ok(None);
    };
    loop {
        let mut found = None;
        let mut reached = opened.opening.preamble.base.clone();
        let base = &opened.opening.preamble.base;
        segment::skim(&opened.file, opened.opening.data_at, base, |_, chunk, before| {
            // Without positions only the segment's own beginning is known.
            if let Some(before) = before {
                reached = before;
            }
            if chunk.end_ns >= time_ns {
                found = Some(reached.clone());
            }
            found.is_none()
        })
        .map_err(io_error("read", &opened.path))?;
        if found.is_some() {
            return Ok(found);
        }
        // Being the last one that began early, only its end can be as new; but it
        // may have grown, or been finished, since it was chosen.
        let after = segments.numbers.iter().position(|&number| number > opened.number);
        let next = match after {
            Some(index) => segments.open(index)?,
            None => None,
        };
        match next {
            Some(next) => opened = next,
            None => return Ok(None),
        }
    }
}
