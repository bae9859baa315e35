//! What the processes attached to a cohort have done in it, counted.
//!
//! In the class `memory` the counters stand in `control`, and all attached processes count there together. In the class `file`
//! there is no such memory: each handle counts for itself.

use std::sync::Arc;

use crate::sys::{self, Control, Counts, Stripe};
use serde::ser::{Serialize, SerializeStruct, Serializer};

/// How many buckets a [`Histogram`] has.
pub(crate) const BUCKETS: usize = 29;
/// The first bucket holds what took 2⁷ ns at most.
const FIRST_BOUND: u32 = 7;

/// Whose counters they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Scope {
    /// All processes that are attached to the cohort, or were since the counters began (lock class `memory`).
    #[default]
    Cohort,
    /// This handle and its clones, in this process (lock class `file`).
    Handle,
}

/// What was done in a cohort since the counters began. See [`Cohort::counters`](crate::Cohort::counters).
///
/// They only rise, and begin anew with the memory that they stand in: with each start of the system, in a copy of the store, and
/// with another layout of a new version. Then `since_us` is another one. A process that dies may leave one of them a little wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Counters {
    /// Whose they are.
    pub scope: Scope,
    /// When they began, in microseconds since 1970.
    pub since_us: i64,
    /// Handles that are attached now; of a [`Scope::Handle`] nobody knows.
    pub attached: Option<u64>,

    /// Turns under the append lock. An append takes one, more if space has to be made ready.
    pub turns: u64,
    /// Turns that were not to be had at the first look.
    pub contended: u64,
    /// The lock was not had in time.
    pub lock_timeouts: u64,
    /// How long those waited who had to sleep for a turn.
    pub waits: Histogram,
    /// How long a turn took: of one turn in 64.
    pub holds: Histogram,

    /// Batches appended; a single append is a batch of one.
    pub batches: u64,
    /// Records appended.
    pub records: u64,
    /// Bytes of the frames appended.
    pub bytes: u64,

    /// Syncs of the journal, each for all who wait for it; failed ones too.
    pub syncs: u64,
    /// Those that failed.
    pub failed_syncs: u64,
    /// How long a sync took.
    pub sync_times: Histogram,
    /// Records that syncs have made durable.
    pub synced_records: u64,
    /// Calls that asked for records to be durable, and got it, by a sync of their own or of others.
    pub sync_waiters: u64,

    /// Segments begun because the one before was full, or was to be folded.
    pub rotations: u64,
    /// How often the journal was ended at a place that was in doubt.
    pub cuts: u64,
    /// Cuts that left bytes behind the tail: a dead writer's, or a power cut's.
    pub torn_tails: u64,
    /// Poison marks made: a sync had failed, or its result was missing.
    pub poison_marks: u64,
    /// Records carried into another segment after a failed sync.
    pub carried_records: u64,

    /// Snapshots written.
    pub compactions: u64,
    /// Compactions that ended with an error.
    pub failed_compactions: u64,
    /// What the snapshots took to be made, in nanoseconds.
    pub compaction_ns: u64,
    /// Records folded into them.
    pub compacted_records: u64,
    /// Their bytes.
    pub compacted_bytes: u64,
}

impl Counters {
    /// What was counted since `earlier`; all, if the counters have begun anew since then.
    pub fn since(&self, earlier: &Counters) -> Counters {
        if (self.scope, self.since_us) != (earlier.scope, earlier.since_us) {
            return self.clone();
        }
        let mut since = self.clone();
        for (new, old) in since.numbers().into_iter().zip(earlier.clone().numbers()) {
            *new = new.saturating_sub(*old);
        }
        for (new, old) in [
            (&mut since.waits, &earlier.waits),
            (&mut since.holds, &earlier.holds),
            (&mut since.sync_times, &earlier.sync_times),
        ] {
            new.subtract(old);
        }
        since
    }

    fn numbers(&mut self) -> [&mut u64; 20] {
        [
            &mut self.turns,
            &mut self.contended,
            &mut self.lock_timeouts,
            &mut self.batches,
            &mut self.records,
            &mut self.bytes,
            &mut self.syncs,
            &mut self.failed_syncs,
            &mut self.synced_records,
            &mut self.sync_waiters,
            &mut self.rotations,
            &mut self.cuts,
            &mut self.torn_tails,
            &mut self.poison_marks,
            &mut self.carried_records,
            &mut self.compactions,
            &mut self.failed_compactions,
            &mut self.compaction_ns,
            &mut self.compacted_records,
            &mut self.compacted_bytes,
        ]
    }
}

/// How long things took, in buckets whose bounds are powers of two, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Histogram {
    /// How many took as long as [`Histogram::bounds`] says at most, and longer than the bound before; the last bucket has no bound.
    pub buckets: [u64; BUCKETS],
    /// What all of them took together, in nanoseconds.
    pub sum_ns: u64,
}

impl Histogram {
    /// The upper bound of each bucket but the last, in nanoseconds: 128 ns to 17 s.
    pub fn bounds() -> impl ExactSizeIterator<Item = u64> {
        (0..BUCKETS as u32 - 1).map(|i| 1 << (FIRST_BOUND + i))
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// What they took on average, in nanoseconds; `None`: there are none.
    pub fn mean_ns(&self) -> Option<u64> {
        self.sum_ns.checked_div(self.count())
    }

    /// A bound that so many of them did not exceed (0.5: half of them), in nanoseconds: that of the bucket in which it lies.
    /// `None`: there are none. Beyond the last bound `u64::MAX`.
    pub fn quantile_ns(&self, q: f64) -> Option<u64> {
        let wanted = (self.count() as f64 * q.clamp(0.0, 1.0)).ceil().max(1.0);
        let mut sum = 0;
        Histogram::bounds().chain([u64::MAX]).zip(self.buckets).find_map(|(bound, n)| {
            sum = n.saturating_add(sum);
            (sum as f64 >= wanted).then_some(bound)
        })
    }

    /// The bucket of what took so long.
    pub(crate) fn bucket(ns: u64) -> usize {
        let exponent = u64::BITS - ns.saturating_sub(1).leading_zeros();
        (exponent.saturating_sub(FIRST_BOUND) as usize).min(BUCKETS - 1)
    }

    fn subtract(&mut self, earlier: &Histogram) {
        self.sum_ns = self.sum_ns.saturating_sub(earlier.sum_ns);
        for (new, old) in self.buckets.iter_mut().zip(earlier.buckets) {
            *new = new.saturating_sub(old);
        }
    }
}

/// As `{"count", "sum_ns", "p50_ns", "p99_ns", "buckets": [[bound, n], …]}`, of the buckets only those that hold something; what
/// lies beyond the last bound has `null` for one.
impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = |bound: u64| (bound != u64::MAX).then_some(bound);
        let buckets: Vec<(Option<u64>, u64)> = Histogram::bounds()
            .chain([u64::MAX])
            .map(known)
            .zip(self.buckets)
            .filter(|(_, n)| *n != 0)
            .collect();
        let mut object = serializer.serialize_struct("Histogram", 5)?;
        object.serialize_field("count", &self.count())?;
        object.serialize_field("sum_ns", &self.sum_ns)?;
        object.serialize_field("p50_ns", &self.quantile_ns(0.5).and_then(known))?;
        object.serialize_field("p99_ns", &self.quantile_ns(0.99).and_then(known))?;
        object.serialize_field("buckets", &buckets)?;
        object.end()
    }
}

/// Where an attached handle counts.
#[derive(Clone)]
pub(crate) enum Tally {
    Shared(Arc<Control>),
    Own(Arc<Counts>),
}

impl Tally {
    pub(crate) fn new(control: Option<&Arc<Control>>) -> Tally {
        match control {
            Some(control) => Tally::Shared(Arc::clone(control)),
            None => Tally::Own(Arc::new(Counts::beginning_at(sys::wall_clock_us()))),
        }
    }

    #[inline]
    pub(crate) fn counts(&self) -> &Counts {
        match self {
            Tally::Shared(control) => control.counts(),
            Tally::Own(counts) => counts,
        }
    }

    /// For the owner of the append lock.
    #[inline]
    pub(crate) fn stripe(&self) -> &Stripe {
        match self {
            Tally::Shared(control) => control.stripe(),
            Tally::Own(counts) => counts.stripe(0),
        }
    }

    pub(crate) fn read(&self) -> Counters {
        match self {
            Tally::Shared(control) => Counters { attached: control.attached(), ..control.counts().read() },
            Tally::Own(counts) => Counters { scope: Scope::Handle, ..counts.read() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_its_bound_says() {
        let bounds: Vec<u64> = Histogram::bounds().collect();
        assert_eq!((bounds.len(), bounds[0], bounds[27]), (BUCKETS - 1, 128, 1 << 34));
        assert_eq!((Histogram::bucket(0), Histogram::bucket(1)), (0, 0));
        for (i, bound) in bounds.iter().enumerate() {
            assert_eq!(Histogram::bucket(*bound), i);
            assert_eq!(Histogram::bucket(bound + 1), i + 1);
        }
        assert_eq!(Histogram::bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_the_bounds_of_the_buckets_in_which_they_lie() {
        let mut times = Histogram::default();
        assert_eq!((times.quantile_ns(0.5), times.mean_ns()), (None, None));
        times.buckets[0] = 98;
        times.buckets[3] = 1;
        times.buckets[BUCKETS - 1] = 1;
        times.sum_ns = 200;
        assert_eq!((times.count(), times.mean_ns()), (100, Some(2)));
        let quantiles = [0.0, 0.5, 0.98, 0.99, 1.0].map(|q| times.quantile_ns(q).unwrap());
        assert_eq!(quantiles, [128, 128, 128, 1024, u64::MAX]);
        let json = serde_json::to_string(&times).unwrap();
        let expected =
            r#"{"count":100,"sum_ns":200,"p50_ns":128,"p99_ns":1024,"buckets":[[128,98],[1024,1],[null,1]]}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn what_was_counted_since_is_all_of_it_once_the_counters_have_begun_anew() {
        let mut earlier = Counters { since_us: 1, batches: 3, ..Counters::default() };
        earlier.holds.buckets[1] = 2;
        let mut now = Counters { batches: 5, compacted_bytes: 7, ..earlier.clone() };
        now.holds.buckets[1] = 5;
        let since = now.since(&earlier);
        assert_eq!((since.batches, since.compacted_bytes, since.holds.buckets[1]), (2, 7, 3));
        let anew = Counters { since_us: 2, batches: 4, ..Counters::default() };
        assert_eq!(anew.since(&now), anew);
    }

    /// A turn that is held while another thread of the same handle wants one: in the class `memory` they have one slot.
    #[cfg(all(target_os = "linux", not(tallyfold_portable)))]
    #[test]
    fn who_sleeps_for_a_turn_is_timed_and_who_gives_up_is_counted_in_shared_memory() {
        use crate::settings::{LockClass, Settings};
        use std::time::Duration;
        let dir = tempfile::tempdir().unwrap();
        let store = crate::Store::open(dir.path().join("store")).unwrap();
        let settings = Settings::log().sync_interval(Duration::ZERO).lock(LockClass::Memory);
        let Ok(cohort) = store.create("c", settings) else {
            return println!("skipped: no shared memory on the file system of the temporary directory");
        };
        cohort.append("k", &1).unwrap();
        let attachment = cohort.writer().attachment(Duration::from_secs(60)).unwrap();
        let patience = sys::Patience::of(Duration::from_secs(60));
        let counted = || cohort.counters().unwrap().unwrap();
        let before = counted();
        let inside = attachment.enter(&patience).unwrap();
        let impatient = cohort.clone().with_timeout(Duration::from_millis(1));
        assert!(impatient.append("k", &2).unwrap_err().is_lock_timeout());
        let refused = counted().since(&before);
        assert_eq!((refused.turns, refused.lock_timeouts, refused.contended), (1, 1, 0));
        std::thread::scope(|scope| {
            let patient = || sys::Patience::of(Duration::from_secs(60));
            let other = scope.spawn(move || drop(attachment.enter(&patient()).unwrap()));
            // It is asleep, or about to look; a look is over in microseconds.
            std::thread::sleep(Duration::from_millis(30));
            drop(inside);
            other.join().unwrap();
        });
        let waited = counted().since(&before);
        assert_eq!(waited.turns, 2);
        assert!(waited.contended <= 1 && waited.waits.count() <= waited.contended, "{waited:?}");
    }
}
