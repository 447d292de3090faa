//! The randomness seam: one seeded generator per broker, so that a seed replays ids and jitter.

use std::sync::{Arc, Mutex, PoisonError};

use rand::{Rng as _, RngCore, SeedableRng};
use rand_chacha::ChaCha12Rng;
use uuid::Uuid;

/// A shared handle to a random generator. Clones draw from the same stream.
#[derive(Debug, Clone)]
pub struct Rng {
    inner: Arc<Mutex<ChaCha12Rng>>,
}

impl Rng {
    /// Seeded by the operating system.
    #[must_use]
    pub fn from_os() -> Self {
        Self { inner: Arc::new(Mutex::new(ChaCha12Rng::from_os_rng())) }
    }

    /// Seeded by a number: the same seed gives the same stream.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { inner: Arc::new(Mutex::new(ChaCha12Rng::seed_from_u64(seed))) }
    }

    /// A uniform 64-bit number.
    #[must_use]
    pub fn next_u64(&self) -> u64 {
        self.with(RngCore::next_u64)
    }

    /// A uniform number in `0..bound`; 0 where `bound` is 0.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.with(|rng| rng.random_range(0..bound)) }
    }

    /// A random version-4 UUID.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        let mut bytes = [0_u8; 16];
        self.with(|rng| rng.fill_bytes(&mut bytes));
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    fn with<T>(&self, draw: impl FnOnce(&mut ChaCha12Rng) -> T) -> T {
        draw(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_stream() {
        let (a, b) = (Rng::seeded(7), Rng::seeded(7));
        assert_eq!((a.next_u64(), a.uuid(), a.below(10)), (b.next_u64(), b.uuid(), b.below(10)));
        assert_ne!(Rng::seeded(8).next_u64(), Rng::seeded(7).next_u64());
    }
}
