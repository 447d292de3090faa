//! The newest offset per key of a dirty stretch of log, in bounded memory: Kafka's
//! `SkimpyOffsetMap`, with a keyed hash.
//!
//! Keys are represented by 128 bits of SipHash under a random key, so that nobody can make two keys
//! collide on purpose; a collision would lose a record. Open addressing with linear probing, 24
//! bytes a slot; the table doubles up to its bound and then takes no new keys.

use siphasher::sip128::SipHasher13;

/// Bytes of memory per slot.
pub(super) const SLOT_BYTES: usize = size_of::<Slot>();
/// Slots used before the table grows or is full: Kafka's `log.cleaner.io.buffer.load.factor`.
const LOAD_NUMERATOR: usize = 9;
const LOAD_DENOMINATOR: usize = 10;
const SLOTS_AT_FIRST: usize = 1024;
const FREE: i64 = -1;

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: (u64, u64),
    offset: i64,
}

const FREE_SLOT: Slot = Slot { hash: (0, 0), offset: FREE };

/// Key → newest offset.
#[derive(Debug)]
pub(super) struct OffsetMap {
    hash_key: (u64, u64),
    slots: Vec<Slot>,
    used: usize,
    slots_max: usize,
    latest_offset: i64,
}

impl OffsetMap {
    /// An empty map that takes at most `bytes_max` of memory, and one key at least.
    pub(super) fn new(bytes_max: usize, hash_key: (u64, u64)) -> Self {
        // One more than the load allows, so that a probe always ends at a free slot.
        let slots_max = (bytes_max / SLOT_BYTES).max(2);
        let slots = vec![FREE_SLOT; SLOTS_AT_FIRST.min(slots_max)];
        Self { hash_key, slots, used: 0, slots_max, latest_offset: FREE }
    }

    /// Remembers that `key` was written at `offset`, which is above all before. `false` where the
    /// key is new and there is no room for it.
    pub(super) fn put(&mut self, key: &[u8], offset: i64) -> bool {
        let hash = self.hash(key);
        if let Some(slot) = self.find(hash).filter(|slot| slot.offset != FREE) {
            slot.offset = offset;
            return true;
        }
        if !self.has_room() && !self.grow() {
            return false;
        }
        if let Some(slot) = self.find(hash) {
            *slot = Slot { hash, offset };
            self.used += 1;
        }
        true
    }

    /// The newest offset of `key` in the stretch, if it occurs there.
    pub(super) fn newest(&self, key: &[u8]) -> Option<i64> {
        let hash = self.hash(key);
        let at = self.position(hash);
        self.slots.get(at).map(|slot| slot.offset).filter(|offset| *offset != FREE)
    }

    /// Notes that everything up to `offset` was taken in.
    pub(super) fn cover(&mut self, offset: i64) {
        self.latest_offset = self.latest_offset.max(offset);
    }

    /// The last offset that the map accounts for; -1 for none.
    pub(super) fn latest_offset(&self) -> i64 {
        self.latest_offset
    }

    fn has_room(&self) -> bool {
        (self.used + 1) * LOAD_DENOMINATOR <= self.slots.len() * LOAD_NUMERATOR || self.used == 0
    }

    fn grow(&mut self) -> bool {
        let larger = self.slots.len().saturating_mul(2).min(self.slots_max);
        if larger <= self.slots.len() {
            return false;
        }
        let slots = std::mem::replace(&mut self.slots, vec![FREE_SLOT; larger]);
        for old in slots.into_iter().filter(|slot| slot.offset != FREE) {
            if let Some(slot) = self.find(old.hash) {
                *slot = old;
            }
        }
        self.has_room()
    }

    /// The slot of a hash, or the free one where it would go.
    fn find(&mut self, hash: (u64, u64)) -> Option<&mut Slot> {
        let at = self.position(hash);
        self.slots.get_mut(at)
    }

    fn position(&self, hash: (u64, u64)) -> usize {
        let len = self.slots.len();
        #[allow(clippy::cast_possible_truncation, reason = "any of its bits will do")]
        let mut at = hash.0 as usize % len;
        while self.slots.get(at).is_some_and(|slot| slot.offset != FREE && slot.hash != hash) {
            at = (at + 1) % len;
        }
        at
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        let (k0, k1) = self.hash_key;
        let hash = SipHasher13::new_with_keys(k0, k1).hash(key);
        (hash.h1, hash.h2)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_map_takes_known_keys_and_refuses_new_ones() {
        let mut map = OffsetMap::new(100 * SLOT_BYTES, (1, 2));
        let taken = (0..200_i64).take_while(|n| map.put(&n.to_be_bytes(), *n)).count();
        assert_eq!(taken, 90);
        assert!(map.put(&3_i64.to_be_bytes(), 500));
        assert_eq!(map.newest(&3_i64.to_be_bytes()), Some(500));
        assert_eq!(map.newest(&150_i64.to_be_bytes()), None);
    }

    #[test]
    fn the_smallest_map_makes_progress() {
        let mut map = OffsetMap::new(0, (1, 2));
        assert!(map.put(b"a", 1));
        assert!(!map.put(b"b", 2));
        assert_eq!(map.newest(b"a"), Some(1));
        assert_eq!(map.newest(b"b"), None);
    }

    proptest! {
        #[test]
        fn agrees_with_a_tree(keys in prop::collection::vec(0..2000_u16, 0..5000)) {
            let mut map = OffsetMap::new(1 << 20, (5, 6));
            let mut tree = BTreeMap::new();
            for (offset, key) in keys.iter().enumerate() {
                prop_assert!(map.put(&key.to_be_bytes(), offset as i64));
                tree.insert(*key, offset as i64);
            }
            for key in 0..2000_u16 {
                prop_assert_eq!(map.newest(&key.to_be_bytes()), tree.get(&key).copied());
            }
        }
    }
}
