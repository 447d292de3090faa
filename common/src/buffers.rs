//! Buffers that are used again, because memory that nobody has touched for a while is dear: each page
//! of it costs a fault, and in a virtual machine that gives free memory back to its host many times
//! the copy that follows (measured in `docs/benchmarks.md`).
//!
//! Invariants: a buffer comes back when the last slice of it is dropped, whoever holds it; what is
//! free is bounded, and what was not needed between two calls of [`BufferPool::trim`] is given up.
//! The bytes of a buffer are those of its last use: hand out only what was filled.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Sizes are rounded up to one of so many between two powers of two, so that frames of about the
/// same length share buffers and at most an eighth of one is not asked for.
const SIZES_PER_DOUBLING: usize = 8;

/// Buffers to be used again. Clones share them.
#[derive(Debug, Clone)]
pub struct BufferPool {
    shared: Arc<Shared>,
}

/// Memory from a [`BufferPool`], given back on drop.
pub struct PooledBuffer {
    memory: Vec<u8>,
    pool: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    free_bytes_max: usize,
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    /// By size. Last in, first out: what was used last is still in the processor's caches.
    buffers: BTreeMap<usize, Vec<Vec<u8>>>,
    bytes: usize,
    /// Fewest free bytes since the last trim.
    least: usize,
}

impl BufferPool {
    /// A pool that keeps at most `free_bytes_max` for later.
    #[must_use]
    pub fn new(free_bytes_max: usize) -> Self {
        Self { shared: Arc::new(Shared { free_bytes_max, free: Mutex::default() }) }
    }

    /// At least `len` bytes with any content, at most a quarter more.
    #[must_use]
    pub fn take(&self, len: usize) -> PooledBuffer {
        let size = rounded(len);
        let reused = self.shared.lock().take(size);
        let memory = reused.unwrap_or_else(|| vec![0; size]);
        PooledBuffer { memory, pool: Arc::clone(&self.shared) }
    }

    /// Gives up the buffers that were free ever since the last call. Called now and then, so that a
    /// quiet process holds none.
    pub fn trim(&self) {
        let surplus = self.shared.lock().take_surplus();
        drop(surplus);
    }

    /// Bytes that are free.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        self.shared.lock().bytes
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Free {
    fn take(&mut self, size: usize) -> Option<Vec<u8>> {
        let fitting = size..=size + size / SIZES_PER_DOUBLING;
        let (&size, buffers) = self.buffers.range_mut(fitting).next()?;
        let buffer = buffers.pop();
        if buffers.is_empty() {
            self.buffers.remove(&size);
        }
        if let Some(buffer) = &buffer {
            self.bytes -= buffer.len();
            self.least = self.least.min(self.bytes);
        }
        buffer
    }

    fn put(&mut self, buffer: Vec<u8>) {
        self.bytes += buffer.len();
        self.buffers.entry(buffer.len()).or_default().push(buffer);
    }

    fn take_surplus(&mut self) -> Vec<Vec<u8>> {
        let mut taken = Vec::new();
        let mut left = self.least;
        for (size, buffers) in self.buffers.iter_mut().rev() {
            let count = (left / size).min(buffers.len());
            left -= count * size;
            self.bytes -= count * size;
            // The ones in front were used longest ago.
            taken.extend(buffers.drain(..count));
        }
        self.buffers.retain(|_, buffers| !buffers.is_empty());
        self.least = self.bytes;
        taken
    }
}

impl fmt::Debug for Free {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Free").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

fn rounded(len: usize) -> usize {
    let step = len.next_power_of_two() / (2 * SIZES_PER_DOUBLING);
    len.next_multiple_of(step.max(1))
}

impl PooledBuffer {
    /// Bytes of the buffer.
    #[must_use]
    pub fn size(&self) -> usize {
        self.memory.len()
    }
}

impl Deref for PooledBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory
    }
}

impl DerefMut for PooledBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }
}

/// For `Bytes::from_owner`: the buffer comes back with the last slice.
impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl fmt::Debug for PooledBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledBuffer").field("size", &self.memory.len()).finish_non_exhaustive()
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let mut free = self.pool.lock();
        if free.bytes + memory.len() <= self.pool.free_bytes_max {
            free.put(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_the_next_one_of_its_size() {
        let pool = BufferPool::new(1 << 20);
        let mut buffer = pool.take(100_000);
        buffer[7] = 42;
        assert_eq!(pool.free_bytes(), 0);
        let size = buffer.size();
        drop(buffer);
        assert_eq!(pool.free_bytes(), size);
        assert_eq!(pool.take(98_000)[7], 42, "about as large");
        let other = pool.take(50_000);
        assert!(other[7] == 0 && other.size() < 60_000, "half as large is another one");
    }

    #[test]
    fn sizes_are_at_most_an_eighth_above_what_was_asked_for() {
        for len in (1..5_000).chain([16 << 10, (16 << 10) + 1, 1 << 20, (1 << 20) + 1]) {
            let size = rounded(len);
            assert!(size >= len && size <= len + len / 8, "{len} became {size}");
            assert_eq!(rounded(size), size);
        }
    }

    #[test]
    fn what_is_free_is_bounded() {
        let pool = BufferPool::new(150_000);
        let taken = [pool.take(65_536), pool.take(65_536), pool.take(65_536)];
        drop(taken);
        assert_eq!(pool.free_bytes(), 131_072);
    }

    #[test]
    fn a_trim_gives_up_only_what_was_free_since_the_last_one() {
        let pool = BufferPool::new(1 << 20);
        let taken = [pool.take(65_536), pool.take(65_536), pool.take(65_536)];
        drop(taken);
        pool.trim();
        assert_eq!(pool.free_bytes(), 3 * 65_536, "they were in use a moment ago");
        drop(pool.take(65_536));
        pool.trim();
        assert_eq!(pool.free_bytes(), 65_536, "one was enough since");
        pool.trim();
        assert_eq!(pool.free_bytes(), 0);
    }
}
