//! Counts the bytes of arenas that somebody still holds: the tail's share of the memory budget.
//!
//! Charging never waits, since the writer must not: whoever owns the budget reads the gauge and
//! lets go of runs (readers then go to the file).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Bytes in use by arenas. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct TailGauge(Arc<AtomicUsize>);

/// A share of a gauge, given back on drop.
#[derive(Debug)]
pub struct TailCharge {
    gauge: TailGauge,
    bytes: usize,
}

impl TailGauge {
    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds `bytes` until the charge is dropped.
    #[must_use]
    pub fn charge(&self, bytes: usize) -> TailCharge {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        TailCharge { gauge: self.clone(), bytes }
    }
}

impl Drop for TailCharge {
    fn drop(&mut self) {
        self.gauge.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_charge_is_given_back() {
        let gauge = TailGauge::default();
        let (a, b) = (gauge.charge(3), gauge.charge(4));
        assert_eq!(gauge.used(), 7);
        drop(a);
        assert_eq!(gauge.used(), 4);
        drop(b);
        assert_eq!(gauge.used(), 0);
    }
}
