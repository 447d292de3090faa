//! A least-recently-used cache bounded by weight.
//!
//! Own and small rather than a library's: eviction depends on nothing but the order of calls, so
//! that a simulated broker asks the object store for the same ranges each time (design D12).
//! Invariant: the weights of what is inside add up to at most the capacity.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A cache from `K` to clones of `V`.
pub(crate) struct Cache<K, V> {
    name: &'static str,
    capacity: u64,
    inner: Mutex<Inner<K, V>>,
}

struct Inner<K, V> {
    entries: BTreeMap<K, Entry<V>>,
    by_use: BTreeMap<u64, K>,
    weight: u64,
    uses: u64,
}

struct Entry<V> {
    value: V,
    weight: u64,
    used: u64,
}

impl<K: Ord + Clone, V: Clone> Cache<K, V> {
    /// An empty cache; `name` labels its metrics.
    pub(crate) fn new(name: &'static str, capacity: u64) -> Self {
        let inner = Inner { entries: BTreeMap::new(), by_use: BTreeMap::new(), weight: 0, uses: 0 };
        Self { name, capacity, inner: Mutex::new(inner) }
    }

    /// The value, which becomes the most recently used.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let found = self.lock().touch(key);
        let outcome = if found.is_some() { "hit" } else { "miss" };
        metrics::counter!("streamhouse_cache_requests_total",
            "cache" => self.name, "outcome" => outcome)
        .increment(1);
        found
    }

    /// Whether the key is there; changes nothing.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.lock().entries.contains_key(key)
    }

    /// Inserts or replaces. What weighs more than the capacity is not kept.
    pub(crate) fn insert(&self, key: K, value: V, weight: u64) {
        let mut inner = self.lock();
        inner.remove(&key);
        if weight <= self.capacity {
            inner.insert(key, value, weight);
        }
        while inner.weight > self.capacity {
            let Some((_, oldest)) = inner.by_use.first_key_value() else { break };
            let oldest = oldest.clone();
            inner.remove(&oldest);
        }
        metrics::gauge!("streamhouse_cache_bytes", "cache" => self.name).set(inner.weight as f64);
    }

    /// Forgets one key.
    pub(crate) fn remove(&self, key: &K) {
        self.lock().remove(key);
    }

    /// The weight of all entries.
    #[cfg(test)]
    pub(crate) fn weight(&self) -> u64 {
        self.lock().weight
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K, V>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord + Clone, V: Clone> Inner<K, V> {
    fn touch(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.get_mut(key)?;
        self.by_use.remove(&entry.used);
        self.uses += 1;
        entry.used = self.uses;
        self.by_use.insert(entry.used, key.clone());
        Some(entry.value.clone())
    }

    fn insert(&mut self, key: K, value: V, weight: u64) {
        self.uses += 1;
        self.by_use.insert(self.uses, key.clone());
        self.weight += weight;
        self.entries.insert(key, Entry { value, weight, used: self.uses });
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used);
            self.weight -= entry.weight;
        }
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.name)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first_and_the_bound_holds() {
        let cache = Cache::new("test", 10);
        for key in 0..5 {
            cache.insert(key, key, 2);
        }
        assert_eq!(cache.get(&0), Some(0));
        cache.insert(5, 5, 3);
        assert_eq!((0..6).filter(|key| cache.contains(key)).collect::<Vec<_>>(), [0, 3, 4, 5]);
        assert_eq!(cache.weight(), 9);
    }

    #[test]
    fn what_is_heavier_than_the_cache_is_not_kept() {
        let cache = Cache::new("test", 10);
        cache.insert(1, 1, 4);
        cache.insert(2, 2, 11);
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), None));
        cache.insert(1, 3, 5);
        assert_eq!((cache.get(&1), cache.weight()), (Some(3), 5));
        cache.remove(&1);
        assert_eq!((cache.get(&1), cache.weight()), (None, 0));
    }
}
