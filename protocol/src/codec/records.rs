//! The value of a `records` field: a chain of pieces that is one run of bytes on the wire.
//!
//! A produce request's records are one slice of its frame. A fetch response's are as many pieces as
//! the log has, handed to the socket without being joined: slices of memory, and for a response
//! that goes to a socket slices of open files, which the kernel can send without copying them. What
//! the bytes mean is `crate::records`' business.

use std::{fmt, io, os::fd::BorrowedFd, sync::Arc};

use bytes::{Bytes, BytesMut};

/// What a [`Slice`] is of: something like an open file. It stays readable, and its bytes stay what
/// they are, for as long as somebody holds it.
pub trait Source: fmt::Debug + Send + Sync {
    /// Exactly `len` bytes at `position`. May block.
    ///
    /// # Errors
    /// The system's, and `UnexpectedEof` past the end.
    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes>;

    /// The open file, where it is one of the operating system.
    fn file(&self) -> Option<BorrowedFd<'_>>;
}

/// Bytes that are not in memory.
#[derive(Debug, Clone)]
pub struct Slice {
    /// Where they are.
    pub source: Arc<dyn Source>,
    /// Position of the first one.
    pub position: u64,
    /// How many they are.
    pub len: usize,
}

/// One piece of a chain.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes elsewhere.
    Slice(Slice),
}

impl Piece {
    /// How many bytes it has.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Slice(slice) => slice.len,
        }
    }

    /// Whether there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, where they are in memory.
    pub fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Slice(_) => None,
        }
    }
}

/// Record batches as they stand on the wire, in one or more pieces. Only a reader that asked for
/// slices of files gets some.
#[derive(Clone)]
pub struct Records {
    first: Piece,
    rest: Vec<Piece>,
    len: usize,
}

impl Records {
    /// No bytes at all (which is not the same as a null `records` field: that is `None`).
    pub fn new() -> Self {
        Self { first: Piece::Bytes(Bytes::new()), rest: Vec::new(), len: 0 }
    }

    /// Appends bytes; none at all are dropped.
    pub fn push(&mut self, bytes: Bytes) {
        self.push_piece(Piece::Bytes(bytes));
    }

    /// Appends a slice; one that goes on where the last one ends becomes part of it.
    pub fn push_slice(&mut self, slice: Slice) {
        let last = self.rest.last_mut().unwrap_or(&mut self.first);
        if let Piece::Slice(last) = last
            && Arc::ptr_eq(&last.source, &slice.source)
            && u64::try_from(last.len).is_ok_and(|len| last.position + len == slice.position)
        {
            last.len += slice.len;
            self.len += slice.len;
            return;
        }
        self.push_piece(Piece::Slice(slice));
    }

    fn push_piece(&mut self, piece: Piece) {
        if piece.is_empty() {
            return;
        }
        self.len += piece.len();
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.rest.push(piece);
        }
    }

    /// Appends all pieces of another chain.
    pub fn append(&mut self, other: Self) {
        for piece in std::iter::once(other.first).chain(other.rest) {
            match piece {
                Piece::Bytes(bytes) => self.push(bytes),
                Piece::Slice(slice) => self.push_slice(slice),
            }
        }
    }

    /// Bytes in all pieces.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that are in memory.
    pub fn memory_len(&self) -> usize {
        self.chunks().map(Bytes::len).sum()
    }

    /// The pieces in order, none empty.
    pub fn pieces(&self) -> impl Iterator<Item = &Piece> {
        let first = (!self.first.is_empty()).then_some(&self.first);
        first.into_iter().chain(&self.rest)
    }

    /// The pieces in memory, in order, none empty.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces().filter_map(Piece::bytes)
    }

    /// All bytes in memory in one piece; copies only when there is more than one.
    pub fn to_bytes(&self) -> Bytes {
        match &self.first {
            Piece::Bytes(bytes) if self.rest.is_empty() => bytes.clone(),
            _ => {
                let mut joined = BytesMut::with_capacity(self.memory_len());
                self.chunks().for_each(|chunk| joined.extend_from_slice(chunk));
                joined.freeze()
            }
        }
    }
}

impl Default for Records {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Self { len: bytes.len(), first: Piece::Bytes(bytes), rest: Vec::new() }
    }
}

impl FromIterator<Bytes> for Records {
    fn from_iter<I: IntoIterator<Item = Bytes>>(chunks: I) -> Self {
        let mut records = Self::new();
        chunks.into_iter().for_each(|chunk| records.push(chunk));
        records
    }
}

/// Two values are equal when their bytes are, however they are cut, and their slices are the same.
impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        let slices = |records: &Self| -> Vec<_> {
            let slices = records.pieces().filter_map(|piece| match piece {
                Piece::Slice(slice) => {
                    Some((Arc::as_ptr(&slice.source).addr(), slice.position, slice.len))
                }
                Piece::Bytes(_) => None,
            });
            slices.collect()
        };
        self.len == other.len
            && self.to_bytes() == other.to_bytes()
            && slices(self) == slices(other)
    }
}

impl Eq for Records {}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({} bytes in {} pieces)", self.len, self.pieces().count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Zeroes;

    impl Source for Zeroes {
        fn read_at(&self, _: u64, len: usize) -> io::Result<Bytes> {
            Ok(vec![0; len].into())
        }

        fn file(&self) -> Option<BorrowedFd<'_>> {
            None
        }
    }

    #[test]
    fn equality_is_of_bytes_not_of_cuts() {
        let whole = Records::from(Bytes::from_static(b"abcdef"));
        let cut: Records = [&b"ab"[..], b"", b"cdef"].into_iter().map(Bytes::from_static).collect();
        assert_eq!(whole, cut);
        assert_eq!(cut.len(), 6);
        assert_eq!(cut.chunks().count(), 2);
        assert_ne!(whole, Records::from(Bytes::from_static(b"abcdeg")));
    }

    #[test]
    fn one_chunk_is_shared_not_copied() {
        let bytes = Bytes::from(vec![7; 100]);
        let records = Records::from(bytes.clone());
        assert_eq!(records.to_bytes().as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn slices_that_go_on_where_the_last_one_ends_are_one() {
        let source: Arc<dyn Source> = Arc::new(Zeroes);
        let slice = |position, len| Slice { source: Arc::clone(&source), position, len };
        let mut records = Records::new();
        records.push_slice(slice(10, 5));
        records.push_slice(slice(15, 7));
        records.push_slice(slice(23, 1));
        records.push(Bytes::from_static(b"abc"));
        records.push_slice(slice(24, 2));
        let lengths: Vec<_> = records.pieces().map(Piece::len).collect();
        assert_eq!(lengths, [12, 1, 3, 2]);
        assert_eq!((records.len(), records.memory_len()), (18, 3));
        assert_eq!(records, records.clone());
        assert_ne!(records, Records::from(Bytes::from(vec![0; 18])));
    }
}
