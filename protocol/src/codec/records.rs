//! The value of a `records` field: a chain of byte slices that is one run of bytes on the wire.
//!
//! A produce request's records are one slice of its frame. A fetch response's are as many slices as
//! the log has pieces, handed to the socket without being joined. What the bytes mean is
//! `crate::records`' business.

use bytes::{Bytes, BytesMut};

/// Record batches as they stand on the wire, in one or more slices. Two values are equal when their
/// bytes are, however they are cut.
#[derive(Clone, Default)]
pub struct Records {
    first: Bytes,
    rest: Vec<Bytes>,
    len: usize,
}

impl Records {
    /// No bytes at all (which is not the same as a null `records` field: that is `None`).
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a slice; an empty one is dropped.
    pub fn push(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        self.len += chunk.len();
        if self.first.is_empty() {
            self.first = chunk;
        } else {
            self.rest.push(chunk);
        }
    }

    /// Bytes in all slices.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slices in order, none empty.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        let first = (!self.first.is_empty()).then_some(&self.first);
        first.into_iter().chain(&self.rest)
    }

    /// All bytes as one slice; copies only when there is more than one chunk.
    pub fn to_bytes(&self) -> Bytes {
        if self.rest.is_empty() {
            return self.first.clone();
        }
        let mut joined = BytesMut::with_capacity(self.len);
        self.chunks().for_each(|chunk| joined.extend_from_slice(chunk));
        joined.freeze()
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Self { len: bytes.len(), first: bytes, rest: Vec::new() }
    }
}

impl FromIterator<Bytes> for Records {
    fn from_iter<I: IntoIterator<Item = Bytes>>(chunks: I) -> Self {
        let mut records = Self::new();
        chunks.into_iter().for_each(|chunk| records.push(chunk));
        records
    }
}

impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.to_bytes() == other.to_bytes()
    }
}

impl Eq for Records {}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Records({} bytes in {} chunks)", self.len, self.chunks().count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
