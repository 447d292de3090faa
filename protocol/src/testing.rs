//! Random instances of messages for this crate's own tests; not part of any build but theirs.

use bytes::Bytes;
use uuid::Uuid;

use crate::codec::{Records, SPLICE_BYTES_MIN};

/// A message of which a random instance can be made.
pub(crate) trait Arbitrary: crate::messages::Message {
    /// Random values in the fields that `version` has, defaults in the others.
    fn arbitrary(values: &mut Values, version: i16) -> Self;
}

/// A seeded stream of values (SplitMix64).
#[derive(Debug)]
pub(crate) struct Values(u64);

impl Values {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.u64() % bound as u64) as usize
    }

    pub(crate) fn bool(&mut self) -> bool {
        self.u64() & 1 == 1
    }

    pub(crate) fn i8(&mut self) -> i8 {
        self.u64() as i8
    }

    pub(crate) fn i16(&mut self) -> i16 {
        self.u64() as i16
    }

    pub(crate) fn u16(&mut self) -> u16 {
        self.u64() as u16
    }

    pub(crate) fn i32(&mut self) -> i32 {
        self.u64() as i32
    }

    pub(crate) fn i64(&mut self) -> i64 {
        self.u64() as i64
    }

    pub(crate) fn f64(&mut self) -> f64 {
        f64::from(self.i32()) / 8.0
    }

    pub(crate) fn uuid(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.u64(), self.u64())
    }

    pub(crate) fn string(&mut self) -> String {
        const CHARACTERS: [char; 8] = ['a', 'Z', '0', '-', '.', 'ß', '→', '🦀'];
        let length = if self.below(32) == 0 { 200 } else { self.below(6) };
        (0..length).map(|_| CHARACTERS[self.below(CHARACTERS.len())]).collect()
    }

    pub(crate) fn bytes(&mut self) -> Bytes {
        let long = self.below(16) == 0;
        let length = if long { SPLICE_BYTES_MIN + self.below(100) } else { self.below(40) };
        let fill = self.u64() as u8;
        (0..length).map(|index| fill.wrapping_add(index as u8)).collect()
    }

    pub(crate) fn records(&mut self) -> Records {
        (0..self.below(4)).map(|_| self.bytes()).collect()
    }

    pub(crate) fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(4) > 0).then(|| value(self))
    }

    pub(crate) fn array<T>(&mut self, mut element: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| element(self)).collect()
    }
}
