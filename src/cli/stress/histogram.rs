//! Latencies in buckets: as much memory for a million appends as for one. They stand among the shared numbers of the board, so
//! those of a worker that was killed count too. That is why this is no histogram of a library: those keep their own memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Each power of two is cut into 2⁵ buckets, so none is wider than a 32nd of what is in it.
const BITS: u32 = 5;
/// What takes longer than this many powers of two of nanoseconds, a quarter of an hour, is in the last bucket.
const POWERS: u32 = 40;
const BUCKETS: usize = ((POWERS - BITS + 1) << BITS) as usize;
/// How many numbers it takes: one for each bucket, and the longest of all.
pub(super) const NUMBERS: usize = BUCKETS + 1;

/// Counts one. A histogram has one writer at a time, so no operation has to be indivisible.
pub(super) fn count(numbers: &[AtomicU64], latency: Duration) {
    let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
    let (buckets, longest) = numbers.split_at(BUCKETS);
    let bucket = &buckets[bucket_of(ns)];
    bucket.store(bucket.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    if ns > longest[0].load(Ordering::Relaxed) {
        longest[0].store(ns, Ordering::Relaxed);
    }
}

fn bucket_of(ns: u64) -> usize {
    let bucket = match ns.checked_ilog2().unwrap_or(0).checked_sub(BITS) {
        None => ns,
        // The bits behind the highest one say which of the buckets of its power.
        Some(shift) => (u64::from(shift) << BITS) + (ns >> shift),
    };
    usize::try_from(bucket).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The largest value that is in a bucket.
fn last_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    match (bucket >> BITS).checked_sub(1) {
        None | Some(0) => bucket,
        Some(shift) => ((bucket - (shift << BITS) + 1) << shift) - 1,
    }
}

/// The sum of histograms.
#[derive(Clone)]
pub(super) struct Latencies {
    buckets: Vec<u64>,
    longest_ns: u64,
}

/// What is told of latencies, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Quantiles {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

impl Latencies {
    pub(super) fn new() -> Latencies {
        Latencies { buckets: vec![0; BUCKETS], longest_ns: 0 }
    }

    /// Adds what one writer has counted.
    pub(super) fn add_numbers(&mut self, numbers: &[AtomicU64]) {
        let (buckets, longest) = numbers.split_at(BUCKETS);
        for (sum, bucket) in self.buckets.iter_mut().zip(buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        self.longest_ns = self.longest_ns.max(longest[0].load(Ordering::Relaxed));
    }

    pub(super) fn add(&mut self, other: &Latencies) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += bucket;
        }
        self.longest_ns = self.longest_ns.max(other.longest_ns);
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(super) fn quantiles(&self) -> Quantiles {
        let us = |ns: u64| ns as f64 / 1000.0;
        let quantile = |share| us(self.quantile_ns(share));
        Quantiles {
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: us(self.longest_ns),
        }
    }

    /// What a share of all does not exceed, to the width of a bucket.
    fn quantile_ns(&self, share: f64) -> u64 {
        let rank = (self.count() as f64 * share).ceil() as u64;
        let mut counted = 0;
        let reached = self.buckets.iter().position(|bucket| {
            counted += bucket;
            counted >= rank
        });
        // The last bucket has no end.
        reached.filter(|bucket| *bucket < BUCKETS - 1).map_or(self.longest_ns, last_of).min(self.longest_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(latencies: impl IntoIterator<Item = Duration>) -> Latencies {
        let numbers: Vec<AtomicU64> = (0..NUMBERS).map(|_| AtomicU64::new(0)).collect();
        latencies.into_iter().for_each(|latency| count(&numbers, latency));
        let mut sum = Latencies::new();
        sum.add_numbers(&numbers);
        sum
    }

    #[test]
    fn every_time_up_to_a_quarter_of_an_hour_is_in_a_bucket_that_ends_at_most_a_32nd_above_it() {
        let powers = (0..POWERS).flat_map(|power| [1u64 << power, (1 << power) + (1 << power) / 3]);
        for ns in (0..5000).chain(powers).chain([(1 << POWERS) - 1]) {
            let (bucket, last) = (bucket_of(ns), last_of(bucket_of(ns)));
            assert!(
                bucket < BUCKETS && last >= ns && last - ns <= ns / 32,
                "{ns}: bucket {bucket} to {last}"
            );
            assert!(bucket == 0 || last_of(bucket - 1) < ns, "{ns} is not in the bucket before");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_times() {
        let Quantiles { p50, p90, p99, p999, max } =
            counted((1..=1000).map(Duration::from_micros)).quantiles();
        for (found, us) in [(p50, 500.0), (p90, 900.0), (p99, 990.0), (p999, 999.0)] {
            assert!((us..us * 1.04).contains(&found), "{found} for {us}");
        }
        assert_eq!(max, 1000.0);
        assert_eq!(Latencies::new().quantiles(), Quantiles::default());
        assert_eq!(counted([Duration::from_secs(7200)]).quantiles().p50, 7.2e9);
    }

    #[test]
    fn sums_are_those_of_all() {
        let mut sum = counted((0..10).map(Duration::from_micros));
        sum.add(&counted([Duration::from_secs(1)]));
        assert_eq!((sum.count(), sum.quantiles().max), (11, 1e6));
    }
}
