//! Counters as they stand in memory: in `control`, where all attached processes count, or in a process's own.
//!
//! | counted | by | how |
//! |---|---|---|
//! | [`Stripe`] | the owner of the append lock | a load and a store |
//! | the rest | anybody | `fetch_add` |
//!
//! What every append counts stands in stripes, and a process counts in that of its slot: so the lines stay in the caches of the
//! processor it runs on, where lines that all write would be handed over with each turn. Two processes may have the same stripe.
//!
//! **Orderings.** A load and a store lose what another counts in between; but there is no other, for a stripe is written under
//! the append lock only, and to take that is an acquire, to give it back a release: each owner sees what the one before counted.
//! An owner that died gave nothing back, but its stores had become visible when it was found dead (`word.rs`); should that fail,
//! a counter is a little too low, and nothing stands on that. Readers see each counter as it was at some moment, and not all of
//! the same one. Everything else is relaxed: nothing is published by a counter.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::counters::{BUCKETS, Counters, Histogram};

/// So many sets of lines: processes beyond that share one.
const STRIPES: usize = 16;
/// Of so many turns one is timed: to read the clock twice takes a quarter of an append.
const TURNS_A_SAMPLE: u64 = 64;

/// All that is counted in a cohort. Every bit pattern is one, so whatever stands in a file can be read as such.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Counts {
    stripes: [Stripe; STRIPES],
    /// When they began, in microseconds since 1970.
    since_us: AtomicI64,
    lock_timeouts: AtomicU64,
    pub(crate) rotations: AtomicU64,
    pub(crate) cuts: AtomicU64,
    pub(crate) torn_tails: AtomicU64,
    pub(crate) poison_marks: AtomicU64,
    pub(crate) carried_records: AtomicU64,
    syncs: AtomicU64,
    failed_syncs: AtomicU64,
    synced_records: AtomicU64,
    pub(crate) sync_waiters: AtomicU64,
    sync_times: Times,
    compactions: AtomicU64,
    pub(crate) failed_compactions: AtomicU64,
    compaction_ns: AtomicU64,
    compacted_records: AtomicU64,
    compacted_bytes: AtomicU64,
}

/// What the processes of some slots have counted under the append lock.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct Stripe {
    turns: AtomicU64,
    batches: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    contended: AtomicU64,
    holds: Times,
    waits: Times,
}

/// A [`Histogram`] in memory.
#[derive(Debug, Default)]
#[repr(C)]
struct Times {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

/// For the owner of the append lock: see the module.
#[inline]
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// For anybody.
pub(crate) fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Stripe {
    /// A turn begins, by the owner of the append lock, who gives it back after dropping this.
    #[inline]
    pub(crate) fn begin_turn(&self) -> Held<'_> {
        let turns = read(&self.turns);
        self.turns.store(turns.wrapping_add(1), Ordering::Relaxed);
        Held(turns.is_multiple_of(TURNS_A_SAMPLE).then(|| (self, Instant::now())))
    }

    /// The turn was not to be had at once; `waited`, if it had to be slept for.
    pub(crate) fn contended(&self, waited: Option<Duration>) {
        add(&self.contended, 1);
        if let Some(waited) = waited {
            self.waits.add(waited);
        }
    }

    /// A frame was appended.
    #[inline]
    pub(crate) fn appended(&self, records: u32, bytes: u64) {
        // The last word of one who detaches has no record, and is no batch.
        add(&self.batches, (records > 0).into());
        add(&self.records, records.into());
        add(&self.bytes, bytes);
    }
}

/// A turn under the append lock, timed if it is one of the sample.
pub(crate) struct Held<'a>(Option<(&'a Stripe, Instant)>);

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some((stripe, begun)) = self.0.take() {
            stripe.holds.add(begun.elapsed());
        }
    }
}

impl Times {
    /// For the owner of the append lock.
    fn add(&self, time: Duration) {
        let ns = nanoseconds(time);
        if let Some(bucket) = self.buckets.get(Histogram::bucket(ns)) {
            add(bucket, 1);
        }
        add(&self.sum_ns, ns);
    }

    /// For anybody.
    fn count(&self, time: Duration) {
        let ns = nanoseconds(time);
        if let Some(bucket) = self.buckets.get(Histogram::bucket(ns)) {
            count(bucket, 1);
        }
        count(&self.sum_ns, ns);
    }

    fn add_to(&self, sum: &mut Histogram) {
        for (sum, bucket) in sum.buckets.iter_mut().zip(&self.buckets) {
            *sum = sum.wrapping_add(read(bucket));
        }
        sum.sum_ns = sum.sum_ns.wrapping_add(read(&self.sum_ns));
    }

    fn all(&self) -> impl Iterator<Item = &AtomicU64> {
        self.buckets.iter().chain([&self.sum_ns])
    }
}

impl Counts {
    /// Of a process by itself.
    pub(crate) fn beginning_at(now_us: i64) -> Counts {
        Counts { since_us: AtomicI64::new(now_us), ..Counts::default() }
    }

    /// Begins anew, by one who is alone.
    #[cfg_attr(
        any(not(target_os = "linux"), tallyfold_portable),
        allow(dead_code, reason = "no memory is shared there")
    )]
    pub(super) fn reset(&self, now_us: i64) {
        for stripe in &self.stripes {
            let numbers = [&stripe.turns, &stripe.batches, &stripe.records, &stripe.bytes, &stripe.contended];
            for number in numbers.into_iter().chain(stripe.holds.all()).chain(stripe.waits.all()) {
                number.store(0, Ordering::Relaxed);
            }
        }
        let numbers = [
            &self.lock_timeouts,
            &self.rotations,
            &self.cuts,
            &self.torn_tails,
            &self.poison_marks,
            &self.carried_records,
            &self.syncs,
            &self.failed_syncs,
            &self.synced_records,
            &self.sync_waiters,
            &self.compactions,
            &self.failed_compactions,
            &self.compaction_ns,
            &self.compacted_records,
            &self.compacted_bytes,
        ];
        for number in numbers.into_iter().chain(self.sync_times.all()) {
            number.store(0, Ordering::Relaxed);
        }
        self.since_us.store(now_us, Ordering::Relaxed);
    }

    /// The stripe of a slot.
    #[inline]
    pub(crate) fn stripe(&self, slot: u32) -> &Stripe {
        &self.stripes[slot as usize % STRIPES]
    }

    pub(crate) fn lock_timed_out(&self) {
        count(&self.lock_timeouts, 1);
    }

    /// A sync has ended; `Some`: well, and made so many records durable.
    pub(crate) fn synced(&self, begun: Instant, records: Option<u64>) {
        count(&self.syncs, 1);
        match records {
            Some(records) => count(&self.synced_records, records),
            None => count(&self.failed_syncs, 1),
        }
        self.sync_times.count(begun.elapsed());
    }

    /// A snapshot was written.
    pub(crate) fn compacted(&self, begun: Instant, records: u64, bytes: u64) {
        count(&self.compactions, 1);
        count(&self.compaction_ns, nanoseconds(begun.elapsed()));
        count(&self.compacted_records, records);
        count(&self.compacted_bytes, bytes);
    }

    /// As they are now.
    pub(crate) fn read(&self) -> Counters {
        let mut counters = Counters {
            since_us: self.since_us.load(Ordering::Relaxed),
            lock_timeouts: read(&self.lock_timeouts),
            rotations: read(&self.rotations),
            cuts: read(&self.cuts),
            torn_tails: read(&self.torn_tails),
            poison_marks: read(&self.poison_marks),
            carried_records: read(&self.carried_records),
            syncs: read(&self.syncs),
            failed_syncs: read(&self.failed_syncs),
            synced_records: read(&self.synced_records),
            sync_waiters: read(&self.sync_waiters),
            compactions: read(&self.compactions),
            failed_compactions: read(&self.failed_compactions),
            compaction_ns: read(&self.compaction_ns),
            compacted_records: read(&self.compacted_records),
            compacted_bytes: read(&self.compacted_bytes),
            ..Counters::default()
        };
        self.sync_times.add_to(&mut counters.sync_times);
        for stripe in &self.stripes {
            for (sum, number) in [
                (&mut counters.turns, &stripe.turns),
                (&mut counters.contended, &stripe.contended),
                (&mut counters.batches, &stripe.batches),
                (&mut counters.records, &stripe.records),
                (&mut counters.bytes, &stripe.bytes),
            ] {
                *sum = sum.wrapping_add(read(number));
            }
            stripe.holds.add_to(&mut counters.holds);
            stripe.waits.add_to(&mut counters.waits);
        }
        counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_stripes_have_counted_is_summed_up_and_gone_after_a_reset() {
        let counts = Counts::beginning_at(7);
        for slot in [0, 1, 15, 16, 1023] {
            drop(counts.stripe(slot).begin_turn());
            counts.stripe(slot).appended(3, 100);
            counts.stripe(slot).contended(Some(Duration::from_nanos(129)));
        }
        counts.stripe(3).contended(None);
        counts.stripe(3).appended(0, 40);
        counts.synced(Instant::now(), Some(15));
        counts.synced(Instant::now(), None);
        counts.compacted(Instant::now(), 15, 999);
        counts.lock_timed_out();
        let read = counts.read();
        assert_eq!((read.since_us, read.turns, read.batches, read.records, read.bytes), (7, 5, 5, 15, 540));
        assert_eq!(
            (read.contended, read.waits.count(), read.waits.buckets[1], read.waits.sum_ns),
            (6, 5, 5, 645)
        );
        // The first turn of each stripe is one of the sample: 0 and 16 have one, as have 15 and 1023.
        assert_eq!(read.holds.count(), 3);
        assert_eq!((read.syncs, read.failed_syncs, read.synced_records), (2, 1, 15));
        assert_eq!(read.sync_times.count(), 2);
        assert_eq!((read.compactions, read.compacted_records, read.compacted_bytes), (1, 15, 999));
        assert_eq!(read.lock_timeouts, 1);
        counts.reset(8);
        assert_eq!(counts.read(), Counters { since_us: 8, ..Counters::default() });
    }

    #[test]
    fn one_turn_in_64_is_timed() {
        let counts = Counts::default();
        for _ in 0..129 {
            drop(counts.stripe(5).begin_turn());
        }
        assert_eq!((counts.read().turns, counts.read().holds.count()), (129, 3));
    }
}
