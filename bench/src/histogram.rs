//! Latencies in microseconds, counted in buckets whose width is at most 1/64 of their value.
//!
//! Invariant: a quantile is never below the true one by more than that, whatever the number of
//! samples; memory is fixed.

/// Buckets per power of two.
const SUB_BUCKETS: u64 = 64;
/// Powers of two above the linear part: up to 2^32 µs, 71 minutes.
const POWERS: u64 = 27;

/// Counts per bucket.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; ((POWERS + 1) * SUB_BUCKETS) as usize], total: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one sample; what is beyond the range counts as the largest.
    pub fn record(&mut self, micros: u64) {
        let at = bucket(micros).min(self.counts.len() - 1);
        self.counts[at] += 1;
        self.total += 1;
        self.max = self.max.max(micros);
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// Samples counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The largest sample.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The smallest value that at least the share `q` of the samples does not exceed, rounded up to
    /// its bucket's end.
    pub fn quantile(&self, q: f64) -> u64 {
        let wanted = ((self.total as f64 * q).ceil() as u64).max(1);
        let mut below = 0;
        for (at, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= wanted {
                return upper_end(at).min(self.max);
            }
        }
        self.max
    }
}

/// The bucket of `micros`: one per value below 64, then 64 per power of two.
fn bucket(micros: u64) -> usize {
    if micros < SUB_BUCKETS {
        return micros as usize;
    }
    let power = 63 - u64::from(micros.leading_zeros()) - 6;
    let within = (micros >> power) - SUB_BUCKETS;
    ((power + 1) * SUB_BUCKETS + within) as usize
}

/// The largest value in bucket `at`.
fn upper_end(at: usize) -> u64 {
    let at = at as u64;
    if at < SUB_BUCKETS {
        return at;
    }
    let (power, within) = (at / SUB_BUCKETS - 1, at % SUB_BUCKETS);
    ((SUB_BUCKETS + within + 1) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_that_ends_within_a_sixty_fourth_above_it() {
        for micros in (0..100_000).chain((17..32).map(|power| (1 << power) + 12_345)) {
            let end = upper_end(bucket(micros));
            assert!(end >= micros, "{micros} ends at {end}");
            assert!(end - micros <= micros / 64, "{micros} ends at {end}");
        }
    }

    #[test]
    fn quantiles_of_evenly_spread_samples_are_where_they_belong() {
        let mut histogram = Histogram::default();
        let mut other = Histogram::default();
        for micros in 1..=10_000 {
            if micros % 2 == 0 { histogram.record(micros) } else { other.record(micros) }
        }
        histogram.merge(&other);
        assert_eq!((histogram.total(), histogram.max()), (10_000, 10_000));
        for (q, exact) in [(0.5, 5_000), (0.99, 9_900), (0.999, 9_990), (1.0, 10_000)] {
            let found = histogram.quantile(q);
            assert!(found >= exact && found <= exact + exact / 64, "{q}: {found}");
        }
    }

    #[test]
    fn a_sample_beyond_the_range_counts_as_the_largest() {
        let mut histogram = Histogram::default();
        histogram.record(u64::MAX);
        assert_eq!(histogram.total(), 1);
        assert_eq!(histogram.quantile(0.5), histogram.quantile(1.0));
    }
}
