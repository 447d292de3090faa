//! What a walk over a local object gives out: bytes in memory, or slices of its file for a socket.
//!
//! What is given out as slices was checked, too (the walk does): in a buffer that is used again and
//! again, so that it stays in the processor's caches. Invariant: every record batch of an L0 object
//! is checked at least once between its being written and its first being sent by this process,
//! either when the object was made of its WAL file or when it is read first; L1 segments, whose
//! batches must be looked at to find one, are checked each time.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    ops::Range,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use protocol::{Records, Slice, Source};

use super::walk::{Damage, Walk};

/// In which form records are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Bytes in memory.
    Memory,
    /// Slices of local files, where there are such and it is worth it.
    Slices,
}

/// Least bytes of a slice: fewer are copied, which is cheaper than sending them by themselves.
pub(crate) const SLICE_BYTES_MIN: usize = 16 * 1024;
/// Ranges of one object that are remembered as checked; beyond, they are checked again.
const RANGES_CHECKED_MAX: usize = 4096;
/// Buffers that are kept for the next walk.
const BUFFERS_KEPT: usize = 4;
/// The largest buffer that is kept, bytes: a run, unless one batch is larger.
const BUFFER_BYTES_MAX: usize = common::limits::ARENA_BYTES_MAX;

/// An open object of a local store. Objects never change, and an open one outlives its name.
#[derive(Debug)]
pub(super) struct LocalObject {
    file: File,
    checked: Mutex<Checked>,
}

impl LocalObject {
    /// `whole` says that this process has checked all of it since it was written.
    pub(super) fn new(file: File, whole: bool) -> Self {
        let checked = Checked { whole, ranges: BTreeMap::new() };
        Self { file, checked: Mutex::new(checked) }
    }

    fn is_checked(&self, range: &Range<u64>) -> bool {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).covers(range)
    }

    fn note_checked(&self, range: &Range<u64>) {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).add(range);
    }
}

/// What of an object has been checked.
#[derive(Debug, Default)]
struct Checked {
    whole: bool,
    /// Start to end, neither overlapping nor touching.
    ranges: BTreeMap<u64, u64>,
}

impl Checked {
    fn covers(&self, range: &Range<u64>) -> bool {
        let before = self.ranges.range(..=range.start).next_back();
        self.whole || before.is_some_and(|(_, end)| *end >= range.end)
    }

    fn add(&mut self, range: &Range<u64>) {
        let Range { mut start, mut end } = *range;
        while let Some((from, to)) = self.ranges.range(..=end).next_back().map(|(a, b)| (*a, *b))
            && to >= start
        {
            self.ranges.remove(&from);
            (start, end) = (start.min(from), end.max(to));
        }
        if self.ranges.len() < RANGES_CHECKED_MAX {
            self.ranges.insert(start, end);
        }
    }
}

impl Source for LocalObject {
    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let mut bytes = BytesMut::zeroed(len);
        self.file.read_exact_at(&mut bytes, position)?;
        Ok(bytes.freeze())
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

/// Buffers that bytes are checked in.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    fn take(&self) -> Vec<u8> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < BUFFERS_KEPT && buffer.len() <= BUFFER_BYTES_MAX {
            free.push(buffer);
        }
    }
}

/// What a walk found, and the offset after it.
pub(super) type Found = (Records, i64);

/// Drives a walk over a local file. Blocks.
pub(super) fn walk(
    object: &Arc<LocalObject>,
    walk: Walk,
    form: Form,
    buffers: &Buffers,
) -> io::Result<Result<Found, Damage>> {
    match form {
        Form::Memory => walk_into_memory(object, walk),
        Form::Slices => {
            let mut buffer = buffers.take();
            let found = walk_slices(object, walk, &mut buffer);
            buffers.give_back(buffer);
            found
        }
    }
}

fn walk_into_memory(
    object: &Arc<LocalObject>,
    mut walk: Walk,
) -> io::Result<Result<Found, Damage>> {
    let mut records = Records::new();
    while let Some(range) = walk.need() {
        let bytes = object.read_at(range.start, len(&range)?)?;
        match walk.feed(&bytes) {
            Ok(taken) => records.push(bytes.slice(taken)),
            Err(damage) => return Ok(Err(damage)),
        }
    }
    Ok(Ok((records, walk.next_offset())))
}

fn walk_slices(
    object: &Arc<LocalObject>,
    mut walk: Walk,
    buffer: &mut Vec<u8>,
) -> io::Result<Result<Found, Damage>> {
    let mut records = Records::new();
    while let Some(range) = walk.need() {
        let len = len(&range)?;
        let source = Arc::clone(object) as Arc<dyn Source>;
        let is_batches = walk.is_at_batches();
        if is_batches && len >= SLICE_BYTES_MIN && object.is_checked(&range) {
            walk.pass();
            records.push_slice(Slice { source, position: range.start, len });
            continue;
        }
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        let bytes = buffer.get_mut(..len).unwrap_or_default();
        object.file.read_exact_at(bytes, range.start)?;
        let taken = match walk.feed(bytes) {
            Ok(taken) => taken,
            Err(damage) => return Ok(Err(damage)),
        };
        if is_batches {
            object.note_checked(&range);
        }
        if taken.len() < SLICE_BYTES_MIN {
            records.push(Bytes::copy_from_slice(bytes.get(taken).unwrap_or_default()));
        } else {
            let position = range.start + taken.start as u64;
            records.push_slice(Slice { source, position, len: taken.len() });
        }
    }
    Ok(Ok((records, walk.next_offset())))
}

fn len(range: &Range<u64>) -> io::Result<usize> {
    usize::try_from(range.end - range.start).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_overlap_or_touch_become_one() {
        let mut checked = Checked::default();
        for range in [10..20, 40..50, 20..30, 60..70, 25..41, 0..5] {
            checked.add(&range);
        }
        assert_eq!(checked.ranges, BTreeMap::from([(0, 5), (10, 50), (60, 70)]));
        for (range, covered) in
            [(10..50, true), (12..13, true), (5..10, false), (45..61, false), (60..71, false)]
        {
            assert_eq!(checked.covers(&range), covered, "{range:?}");
        }
        checked.add(&(1..65));
        assert_eq!(checked.ranges, BTreeMap::from([(0, 70)]));
    }
}
