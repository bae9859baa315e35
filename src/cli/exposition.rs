//! The numbers of cohorts as Prometheus reads them: its text format, version 0.0.4, which its server, the textfile collector of
//! node_exporter and whatever else takes its metrics read alike.

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as Times, LabelPair, Metric, MetricFamily, MetricType,
};
use tallyfold::{Counters, Histogram, Stats};

use super::exit::{self, Failure};

/// What there is to say of one cohort.
pub(crate) struct Numbers {
    pub(crate) stats: Stats,
    pub(crate) counters: Option<Counters>,
}

/// What was found of a cohort, by its name.
pub(crate) type Found = (String, Option<Numbers>);

/// A metric of every cohort: its name behind `tallyfold_`, what it means, and where it is found.
struct Described<T> {
    name: &'static str,
    help: &'static str,
    of: fn(&T) -> Option<f64>,
}

/// `$name "help" = |of| value`, for those that are there in any case.
macro_rules! described {
    ($($name:literal, $help:literal, $of:expr;)*) => {
        &[$(Described { name: $name, help: $help, of: $of }),*]
    };
}

const GAUGES: &[Described<Stats>] = described! {
    "last_seq", "The last seq handed out.", |s| number(s.seq);
    "durable_seq", "The highest seq that a frame or link on disk calls durable.", |s| number(s.durable_seq);
    "watermark", "The highest seq folded into the snapshot.", |s| number(s.watermark);
    "epoch", "Goes up whenever the end of the journal was in doubt.", |s| number(s.epoch);
    "entries", "Entries in the snapshot.", |s| number(s.entries);
    "tail_bytes", "Bytes of frames that the snapshot does not cover.", |s| number(s.tail_bytes);
    "snapshot_bytes", "Bytes of the snapshot.", |s| number(s.snapshot_bytes);
    "snapshot_timestamp_seconds", "When the snapshot was written, in seconds since 1970.",
        |s| Some(s.snapshot_time_us? as f64 / 1e6);
    "segments", "Segments in the directory.", |s| number(s.segments);
    "segment_bytes", "Bytes of all segments, reserved space included.", |s| number(s.segment_bytes);
    "quarantined_files", "Files in quarantine.", |s| number(s.quarantined);
    "poisoned", "1 if a sync has failed and its records have not been moved yet.",
        |s| number(s.poisoned.into());
};

const ATTACHED: &[Described<Counters>] = described! {
    "attached", "Handles that are attached to the cohort.", |c| number(c.attached?);
    "counters_begun_timestamp_seconds", "When the counters began, in seconds since 1970.",
        |c| Some(c.since_us as f64 / 1e6);
};

const COUNTERS: &[Described<Counters>] = described! {
    "turns_total", "Turns under the append lock.", |c| number(c.turns);
    "contended_turns_total", "Turns that were not to be had at the first look.", |c| number(c.contended);
    "lock_timeouts_total", "How often the append lock was not had in time.", |c| number(c.lock_timeouts);
    "appends_total", "Batches appended; a single append is a batch of one.", |c| number(c.batches);
    "appended_records_total", "Records appended.", |c| number(c.records);
    "appended_bytes_total", "Bytes of the frames appended.", |c| number(c.bytes);
    "syncs_total", "Syncs of the journal, failed ones too.", |c| number(c.syncs);
    "failed_syncs_total", "Syncs of the journal that failed.", |c| number(c.failed_syncs);
    "synced_records_total", "Records that syncs have made durable.", |c| number(c.synced_records);
    "sync_waiters_total", "Calls that asked for records to be durable, and got it.",
        |c| number(c.sync_waiters);
    "rotations_total", "Segments begun because the one before was full, or was to be folded.",
        |c| number(c.rotations);
    "cuts_total", "How often the journal was ended at a place that was in doubt.", |c| number(c.cuts);
    "torn_tails_total", "Cuts that left bytes behind the tail.", |c| number(c.torn_tails);
    "poison_marks_total", "Poison marks made.", |c| number(c.poison_marks);
    "carried_records_total", "Records carried into another segment after a failed sync.",
        |c| number(c.carried_records);
    "compactions_total", "Snapshots written by compactions.", |c| number(c.compactions);
    "failed_compactions_total", "Compactions that ended with an error.", |c| number(c.failed_compactions);
    "compaction_seconds_total", "What the snapshots took to be made.",
        |c| Some(c.compaction_ns as f64 / 1e9);
    "compacted_records_total", "Records folded into snapshots.", |c| number(c.compacted_records);
    "compacted_bytes_total", "Bytes of the snapshots written.", |c| number(c.compacted_bytes);
};

type TimesOf = (&'static str, &'static str, fn(&Counters) -> &Histogram);

const HISTOGRAMS: [TimesOf; 3] = [
    ("lock_wait_seconds", "How long those waited who had to sleep for a turn under the append lock.", |c| {
        &c.waits
    }),
    ("lock_hold_seconds", "How long a turn under the append lock took, of one turn in 64.", |c| &c.holds),
    ("sync_seconds", "How long a sync of the journal took.", |c| &c.sync_times),
];

/// Doubles are all that Prometheus has.
#[allow(clippy::unnecessary_wraps, reason = "beside those that may not be there")]
fn number(n: u64) -> Option<f64> {
    Some(n as f64)
}

/// The numbers of all cohorts.
pub(crate) fn text(found: &[Found]) -> Result<String, Failure> {
    let mut families = vec![family(
        "up",
        "1 if the cohort could be read, 0 if not.",
        MetricType::GAUGE,
        found.iter().map(|(name, numbers)| gauge(label(name), f64::from(u8::from(numbers.is_some())))),
    )];
    let there: Vec<(&str, &Numbers)> =
        found.iter().filter_map(|(name, numbers)| Some((name.as_str(), numbers.as_ref()?))).collect();
    let counted: Vec<(&str, &Counters)> =
        there.iter().filter_map(|(name, numbers)| Some((*name, numbers.counters.as_ref()?))).collect();
    families.push(family(
        "info",
        "1; the labels say what kind of cohort it is.",
        MetricType::GAUGE,
        there.iter().map(|(name, numbers)| gauge(kind(name, &numbers.stats), 1.0)),
    ));
    let stats: Vec<(&str, &Stats)> = there.iter().map(|(name, numbers)| (*name, &numbers.stats)).collect();
    families.extend(GAUGES.iter().map(|described| described.family(MetricType::GAUGE, &stats)));
    families.extend(ATTACHED.iter().map(|described| described.family(MetricType::GAUGE, &counted)));
    families.extend(COUNTERS.iter().map(|described| described.family(MetricType::COUNTER, &counted)));
    families.extend(HISTOGRAMS.iter().map(|(name, help, of)| {
        let metrics = counted.iter().map(|(cohort, counters)| histogram(label(cohort), of(counters)));
        family(name, help, MetricType::HISTOGRAM, metrics)
    }));
    // A family without metrics is none.
    families.retain(|family| !family.get_metric().is_empty());
    TextEncoder::new()
        .encode_to_string(&families)
        .map_err(|e| Failure::new(exit::FAILURE, format!("the numbers cannot be written as text: {e}")))
}

impl<T> Described<T> {
    fn family(&self, kind: MetricType, cohorts: &[(&str, &T)]) -> MetricFamily {
        let metrics = cohorts.iter().filter_map(|(cohort, of)| {
            let (label, value) = (label(cohort), (self.of)(of)?);
            Some(if kind == MetricType::COUNTER { counter(label, value) } else { gauge(label, value) })
        });
        family(self.name, self.help, kind, metrics)
    }
}

fn family(name: &str, help: &str, kind: MetricType, metrics: impl Iterator<Item = Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(format!("tallyfold_{name}"));
    family.set_help(help.to_string());
    family.set_field_type(kind);
    family.set_metric(metrics.collect());
    family
}

fn label(cohort: &str) -> Vec<LabelPair> {
    labels([("cohort", cohort)])
}

fn kind(cohort: &str, stats: &Stats) -> Vec<LabelPair> {
    labels([
        ("cohort", cohort),
        ("file_system", &stats.file_system),
        ("fold", stats.fold),
        ("lock", stats.lock),
    ])
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Vec<LabelPair> {
    pairs
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_string());
            pair.set_value(value.to_string());
            pair
        })
        .into()
}

fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    let (mut gauge, mut metric) = (Gauge::default(), Metric::from_label(labels));
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

fn counter(labels: Vec<LabelPair>, value: f64) -> Metric {
    let (mut counter, mut metric) = (Counter::default(), Metric::from_label(labels));
    counter.set_value(value);
    metric.set_counter(counter);
    metric
}

/// Every second of the bounds: powers of four are fine enough for an alarm, and half as many series.
fn histogram(labels: Vec<LabelPair>, times: &Histogram) -> Metric {
    let (mut histogram, mut metric) = (Times::default(), Metric::from_label(labels));
    let mut below = 0;
    let cumulative = Histogram::bounds().zip(times.buckets).map(|(bound, n)| {
        below += n;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound as f64 / 1e9);
        bucket.set_cumulative_count(below);
        bucket
    });
    histogram
        .set_bucket(cumulative.enumerate().filter(|(i, _)| i % 2 == 1).map(|(_, bucket)| bucket).collect());
    histogram.set_sample_count(times.count());
    histogram.set_sample_sum(times.sum_ns as f64 / 1e9);
    metric.set_histogram(histogram);
    metric
}

/// What the text is, for who asks by HTTP.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
