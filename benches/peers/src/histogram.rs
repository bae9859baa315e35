//! Latencies in buckets that are at most 3 % wide: small enough to be handed from process to process.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::markdown::time;

/// Each power of two is cut into 2⁵ buckets.
const BITS: u32 = 5;

/// The headings of what a table says about latencies.
pub const COLUMNS: [&str; 4] = ["p50", "p99", "p99.9", "longest"];

/// How often an append took how long.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// How many fell into each bucket.
    buckets: BTreeMap<u32, u64>,
    longest_ns: u64,
}

impl Histogram {
    pub fn merge(&mut self, other: &Histogram) {
        for (bucket, count) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += count;
        }
        self.longest_ns = self.longest_ns.max(other.longest_ns);
    }

    /// The latency that a share of all does not exceed, to the width of a bucket.
    pub fn quantile(&self, share: f64) -> Duration {
        let total: u64 = self.buckets.values().sum();
        let rank = (total as f64 * share).ceil() as u64;
        let mut count = 0;
        for (bucket, here) in &self.buckets {
            count += here;
            if count >= rank {
                return Duration::from_nanos(last_of(*bucket).min(self.longest_ns));
            }
        }
        self.longest()
    }

    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest_ns)
    }

    /// What a table says about latencies, in the order of [`COLUMNS`].
    pub fn columns(&self) -> [String; 4] {
        if self.buckets.is_empty() {
            return [const { String::new() }; 4];
        }
        let quantile = |share| time(self.quantile(share));
        [quantile(0.5), quantile(0.99), quantile(0.999), time(self.longest())]
    }
}

/// Counts while the clock runs; a flat array, for it must cost next to nothing.
pub struct Recorder {
    buckets: Vec<u64>,
    longest_ns: u64,
}

impl Recorder {
    pub fn new() -> Recorder {
        Recorder { buckets: vec![0; bucket_of(u64::MAX) as usize + 1], longest_ns: 0 }
    }

    pub fn add(&mut self, latency: Duration) {
        let ns = latency.as_nanos() as u64;
        self.buckets[bucket_of(ns) as usize] += 1;
        self.longest_ns = self.longest_ns.max(ns);
    }

    pub fn finish(self) -> Histogram {
        let buckets = (0..).zip(self.buckets).filter(|(_, count)| *count > 0).collect();
        Histogram { buckets, longest_ns: self.longest_ns }
    }
}

/// Below 2⁵ every nanosecond is a bucket; above, the five bits behind the highest one number it.
fn bucket_of(ns: u64) -> u32 {
    let power = ns.checked_ilog2().unwrap_or(0);
    match power.checked_sub(BITS) {
        None => ns as u32,
        Some(shift) => ((shift + 1) << BITS) + ((ns >> shift) as u32 & ((1 << BITS) - 1)),
    }
}

/// The largest value that falls into a bucket.
fn last_of(bucket: u32) -> u64 {
    match (bucket >> BITS).checked_sub(1) {
        None => u64::from(bucket),
        Some(shift) => {
            let first = u64::from(1 << BITS | bucket & ((1 << BITS) - 1)) << shift;
            first + ((1 << shift) - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_whose_last_value_is_at_most_a_32nd_above_it() {
        let values = (0..2000).chain((0..64).map(|power| 1u64 << power)).chain([u64::MAX - 1, u64::MAX]);
        for ns in values {
            let last = last_of(bucket_of(ns));
            assert!(last >= ns && last - ns <= ns / 32, "{ns} is in the bucket up to {last}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let mut recorder = Recorder::new();
        (1..=1000).for_each(|us| recorder.add(Duration::from_micros(us)));
        let mut histogram = Histogram::default();
        histogram.merge(&recorder.finish());
        for (share, us) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = histogram.quantile(share).as_secs_f64() * 1e6;
            assert!((us..us * 1.04).contains(&found), "{share}: {found}");
        }
        assert_eq!(histogram.quantile(1.0), Duration::from_millis(1));
        assert_eq!(histogram.longest(), Duration::from_millis(1));
    }
}
