//! What a walk over a local object gives out: bytes in memory, or slices of its file for a socket.
//!
//! Either way every byte is read and checked first (the walk does), for slices into a buffer that
//! is used again and again: it stays in the processor's caches, and the kernel sends from its own.

use std::{
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
/// Buffers that are kept for the next walk.
const BUFFERS_KEPT: usize = 4;
/// The largest buffer that is kept, bytes: a run, unless one batch is larger.
const BUFFER_BYTES_MAX: usize = common::limits::ARENA_BYTES_MAX;

/// An open object of a local store. Objects never change, and an open one outlives its name.
#[derive(Debug)]
pub(super) struct LocalObject {
    file: File,
}

impl LocalObject {
    pub(super) fn new(file: File) -> Self {
        Self { file }
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
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        let bytes = buffer.get_mut(..len).unwrap_or_default();
        object.file.read_exact_at(bytes, range.start)?;
        let taken = match walk.feed(bytes) {
            Ok(taken) => taken,
            Err(damage) => return Ok(Err(damage)),
        };
        if taken.len() < SLICE_BYTES_MIN {
            records.push(Bytes::copy_from_slice(bytes.get(taken).unwrap_or_default()));
        } else {
            let source = Arc::clone(object) as Arc<dyn Source>;
            let position = range.start + taken.start as u64;
            records.push_slice(Slice { source, position, len: taken.len() });
        }
    }
    Ok(Ok((records, walk.next_offset())))
}

fn len(range: &Range<u64>) -> io::Result<usize> {
    usize::try_from(range.end - range.start).map_err(io::Error::other)
}
