//! The seed of a randomized test: printed by every run, given back through `STREAMHOUSE_SEED` to
//! repeat one.
//!
//! Invariant: every random decision of a test comes from here, so that a seed says what the test
//! did (not what the operating system's scheduler did with it).

use std::time::{SystemTime, UNIX_EPOCH};

/// A splitmix64 generator: tiny, and good enough to scatter faults.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From `STREAMHOUSE_SEED` when set, else from the clock; prints what it took.
    #[allow(clippy::print_stdout)]
    pub fn announced(test: &str) -> Self {
        let given = std::env::var("STREAMHOUSE_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::from(now.subsec_nanos()) ^ now.as_secs()
        });
        println!("{test}: repeat with STREAMHOUSE_SEED={seed}");
        Self(seed)
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number in `range`, whose end is exclusive and must be above its start.
    pub fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.bits() % (range.end - range.start)
    }
}
