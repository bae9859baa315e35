//! What the cohorts of a store do: a look at each, and what has come since the look before.
//!
//! A cohort that is kept open reads what is new in its journal, and its counters stand in memory: a look costs little, however
//! long the tail is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use tallyfold::{Cohort, Counters, Error, Stats, Store};

/// A cohort that cannot be looked at is tried again after this: perhaps all of its tail is read each time.
const AGAIN: Duration = Duration::from_secs(5);
/// So many looks a cohort that is gone stays to be seen.
const FAREWELL: u32 = 10;

/// How a cohort is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Fine,
    /// A sync has failed and the records have not been carried on yet.
    Poisoned,
    /// So many files are in quarantine.
    Quarantine(u64),
    Damaged(String),
    /// It cannot be looked at for another reason.
    Failing(String),
    Gone,
}

impl State {
    pub(super) fn word(&self) -> &'static str {
        match self {
            State::Fine => "fine",
            State::Poisoned => "poisoned",
            State::Quarantine(_) => "quarantine",
            State::Damaged(_) => "damaged",
            State::Failing(_) => "failing",
            State::Gone => "gone",
        }
    }

    /// What is wrong, if there is more to say than the word.
    pub(super) fn told(&self) -> Option<String> {
        match self {
            State::Damaged(what) | State::Failing(what) => Some(what.clone()),
            State::Poisoned => Some("a sync has failed: the next append carries its records on".into()),
            State::Quarantine(files) => Some(format!("{files} files are in quarantine")),
            State::Fine | State::Gone => None,
        }
    }

    fn of(e: &Error) -> State {
        if e.is_corruption() { State::Damaged(e.to_string()) } else { State::Failing(e.to_string()) }
    }
}

/// What one look has seen.
#[derive(Clone, Debug)]
pub(super) struct Look {
    at: Instant,
    pub(super) stats: Stats,
    pub(super) snapshot_age: Option<Duration>,
    /// None where nothing is counted for all processes together.
    pub(super) counters: Option<Counters>,
}

/// What came between two looks, for each second of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) records: f64,
    /// None where nothing is counted and the tail does not tell, for it was folded in between.
    pub(super) bytes: Option<f64>,
    pub(super) counted: Option<Counted>,
}

/// The part of it that only counters tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counted {
    pub(super) appends: f64,
    pub(super) syncs: f64,
    pub(super) records_per_sync: Option<f64>,
    /// Which part of the turns was not to be had at once.
    pub(super) contended: Option<f64>,
    pub(super) wait_p99: Option<u64>,
    pub(super) hold_p99: Option<u64>,
}

/// A cohort as it is seen now.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) state: State,
    pub(super) look: Option<Look>,
    /// None until there are two looks.
    pub(super) rates: Option<Rates>,
    /// What was counted since the first look.
    pub(super) counted: Option<Counters>,
}

/// All of them, by name.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) interval: Option<Duration>,
    pub(super) cohorts: Vec<Seen>,
    /// Why the store could not be listed.
    pub(super) failure: Option<String>,
}

/// Looks again and again.
pub(super) struct Sampler {
    store: Store,
    watched: BTreeMap<String, Watched>,
    last: Option<Instant>,
}

#[derive(Default)]
struct Watched {
    open: Option<Cohort>,
    look: Option<Look>,
    /// What the counters were at the first look.
    first: Option<Counters>,
    wrong: Option<(State, Instant)>,
    gone: u32,
}

impl Sampler {
    pub(super) fn new(store: Store) -> Sampler {
        Sampler { store, watched: BTreeMap::new(), last: None }
    }

    pub(super) fn store(&self) -> String {
        self.store.path().display().to_string()
    }

    pub(super) fn sample(&mut self) -> Sample {
        let now = Instant::now();
        let interval = self.last.replace(now).map(|last| now - last);
        let (names, failure) = match self.store.cohorts() {
            Ok(names) => (names, None),
            Err(e) => (Vec::new(), Some(e.to_string())),
        };
        for name in &names {
            if !self.watched.contains_key(name) {
                self.watched.insert(name.clone(), Watched::default());
            }
        }
        let mut cohorts = Vec::new();
        for (name, watched) in &mut self.watched {
            if names.binary_search(name).is_ok() {
                watched.gone = 0;
                cohorts.push(watched.seen(&self.store, name));
            } else {
                *watched = Watched { gone: watched.gone + 1, ..Watched::default() };
                let name = name.clone();
                cohorts.push(Seen { name, state: State::Gone, look: None, rates: None, counted: None });
            }
        }
        self.watched.retain(|_, watched| watched.gone < FAREWELL);
        Sample { interval, cohorts, failure }
    }
}

impl Watched {
    fn seen(&mut self, store: &Store, name: &str) -> Seen {
        let before = self.look.take();
        if self.wrong.as_ref().is_none_or(|(_, since)| since.elapsed() >= AGAIN) {
            match self.try_look(store, name) {
                Ok(look) => {
                    self.wrong = None;
                    self.look = Some(look);
                }
                Err(e) => {
                    self.open = None;
                    self.wrong = Some((State::of(&e), Instant::now()));
                }
            }
        }
        let state = match (&self.wrong, &self.look) {
            (Some((state, _)), _) => state.clone(),
            (None, Some(look)) if look.stats.poisoned => State::Poisoned,
            (None, Some(look)) if look.stats.quarantined > 0 => State::Quarantine(look.stats.quarantined),
            _ => State::Fine,
        };
        let rates = before.as_ref().zip(self.look.as_ref()).map(|(before, look)| rates(before, look));
        let counters = self.look.as_ref().and_then(|look| look.counters.as_ref());
        if self.first.is_none() {
            self.first = counters.cloned();
        }
        let counted = counters.zip(self.first.as_ref()).map(|(now, first)| now.since(first));
        Seen { name: name.to_string(), state, look: self.look.clone(), rates, counted }
    }

    fn try_look(&mut self, store: &Store, name: &str) -> tallyfold::Result<Look> {
        let cohort = match self.open.take() {
            Some(cohort) => cohort,
            None => store.cohort(name)?,
        };
        let look = |cohort: &Cohort| Ok((cohort.stats()?, cohort.counters()?));
        let (cohort, (stats, counters)) = match look(&cohort) {
            // Its directory was removed, and there is another one of the same name.
            Err(e) if tallyfold::Error::is_not_found(&e) => {
                let another = store.cohort(name)?;
                let looked = look(&another)?;
                (another, looked)
            }
            looked => (cohort, looked?),
        };
        self.open = Some(cohort);
        let written = stats.snapshot_time_us.and_then(|time| u64::try_from(time).ok());
        let written = written.map(|time| SystemTime::UNIX_EPOCH + Duration::from_micros(time));
        let snapshot_age = written.map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
        Ok(Look { at: Instant::now(), stats, snapshot_age, counters })
    }
}

fn rates(before: &Look, now: &Look) -> Rates {
    let seconds = (now.at - before.at).as_secs_f64().max(1e-3);
    let each_second = |n: u64| n as f64 / seconds;
    let since = now.counters.as_ref().map(|counters| {
        // Counters that were not there before have begun in between.
        before.counters.as_ref().map_or_else(|| counters.clone(), |before| counters.since(before))
    });
    let grown = now.stats.tail_bytes.checked_sub(before.stats.tail_bytes);
    let grown = grown.filter(|_| now.stats.watermark == before.stats.watermark);
    let bytes = since.as_ref().map(|since| since.bytes).or(grown).map(each_second);
    let counted = since.map(|since| Counted {
        appends: each_second(since.batches),
        syncs: each_second(since.syncs),
        records_per_sync: part(since.synced_records, since.syncs),
        contended: part(since.contended, since.turns),
        wait_p99: since.waits.quantile_ns(0.99),
        hold_p99: since.holds.quantile_ns(0.99),
    });
    Rates { records: each_second(now.stats.seq.saturating_sub(before.stats.seq)), bytes, counted }
}

fn part(n: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| n as f64 / of as f64)
}

/// A sample for programs.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    time: String,
    interval_s: Option<f64>,
    store: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    cohorts: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    cohort: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    lock: Option<&'static str>,
    fold: Option<&'static str>,
    records_s: Option<f64>,
    bytes_s: Option<f64>,
    appends_s: Option<f64>,
    contended: Option<f64>,
    wait_p99_ns: Option<u64>,
    hold_p99_ns: Option<u64>,
    syncs_s: Option<f64>,
    records_per_sync: Option<f64>,
    tail_bytes: Option<u64>,
    tail_records: Option<u64>,
    seq: Option<u64>,
    watermark: Option<u64>,
    entries: Option<u64>,
    snapshot_bytes: Option<u64>,
    snapshot_age_s: Option<f64>,
    segments: Option<u64>,
    segment_bytes: Option<u64>,
    quarantined: Option<u64>,
    attached: Option<u64>,
}

impl Sample {
    pub(super) fn line<'a>(&'a self, time: String, store: &'a str) -> Line<'a> {
        Line {
            time,
            interval_s: self.interval.map(|interval| interval.as_secs_f64()),
            store,
            error: self.failure.as_deref(),
            cohorts: self.cohorts.iter().map(Seen::row).collect(),
        }
    }
}

impl Seen {
    fn stats(&self) -> Option<&Stats> {
        self.look.as_ref().map(|look| &look.stats)
    }

    pub(super) fn counters(&self) -> Option<&Counted> {
        self.rates.as_ref().and_then(|rates| rates.counted.as_ref())
    }

    /// Bytes and records that the snapshot does not cover; of a log nobody folds any.
    pub(super) fn tail(&self) -> Option<(u64, u64)> {
        let stats = self.stats().filter(|stats| stats.fold != "log")?;
        Some((stats.tail_bytes, stats.seq.saturating_sub(stats.watermark)))
    }

    pub(super) fn attached(&self) -> Option<u64> {
        self.look.as_ref()?.counters.as_ref()?.attached
    }

    fn row(&self) -> Row<'_> {
        let (stats, rates, counted, tail) = (self.stats(), self.rates.as_ref(), self.counters(), self.tail());
        let known = |ns: u64| (ns != u64::MAX).then_some(ns);
        Row {
            cohort: &self.name,
            state: self.state.word(),
            error: self.state.told(),
            lock: stats.map(|stats| stats.lock),
            fold: stats.map(|stats| stats.fold),
            records_s: rates.map(|rates| rates.records),
            bytes_s: rates.and_then(|rates| rates.bytes),
            appends_s: counted.map(|counted| counted.appends),
            contended: counted.and_then(|counted| counted.contended),
            wait_p99_ns: counted.and_then(|counted| counted.wait_p99).and_then(known),
            hold_p99_ns: counted.and_then(|counted| counted.hold_p99).and_then(known),
            syncs_s: counted.map(|counted| counted.syncs),
            records_per_sync: counted.and_then(|counted| counted.records_per_sync),
            tail_bytes: tail.map(|(bytes, _)| bytes),
            tail_records: tail.map(|(_, records)| records),
            seq: stats.map(|stats| stats.seq),
            watermark: stats.map(|stats| stats.watermark),
            entries: stats.map(|stats| stats.entries),
            snapshot_bytes: stats.map(|stats| stats.snapshot_bytes),
            snapshot_age_s: self
                .look
                .as_ref()
                .and_then(|look| look.snapshot_age)
                .map(|age| age.as_secs_f64()),
            segments: stats.map(|stats| stats.segments),
            segment_bytes: stats.map(|stats| stats.segment_bytes),
            quarantined: stats.map(|stats| stats.quarantined),
            attached: self.attached(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests take cohorts and stores away")]
pub(super) mod tests {
    use super::*;
    use tallyfold::Settings;

    /// A cohort with these rates and counters, and nothing wrong.
    pub(in crate::cli::top) fn seen(name: &str, records: f64, counted: Option<Counted>) -> Seen {
        let stats = Stats {
            cohort: name.into(),
            fold: "latest",
            seq: 1200,
            durable_seq: 1200,
            watermark: 1000,
            epoch: 1,
            entries: 40,
            snapshot_bytes: 5000,
            snapshot_time_us: None,
            segments: 2,
            segment_bytes: 1 << 20,
            tail_bytes: 20_480,
            quarantined: 0,
            poisoned: false,
            file_system: "ext4".into(),
            lock: if counted.is_some() { "memory" } else { "file" },
            background_failure: None,
            mirror_failure: None,
        };
        let mut counters = Counters::default();
        counters.attached = Some(3);
        counters.waits.buckets[4] = 90;
        counters.waits.buckets[9] = 7;
        counters.holds.buckets[0] = 5;
        let counters = counted.is_some().then_some(counters);
        Seen {
            name: name.into(),
            state: State::Fine,
            look: Some(Look {
                at: Instant::now(),
                stats,
                snapshot_age: Some(Duration::from_secs(75)),
                counters: counters.clone(),
            }),
            rates: Some(Rates { records, bytes: Some(records * 100.0), counted }),
            counted: counters,
        }
    }

    fn find<'a>(sample: &'a Sample, name: &str) -> &'a Seen {
        sample.cohorts.iter().find(|seen| seen.name == name).unwrap()
    }

    #[test]
    fn cohorts_that_come_grow_go_and_come_back_are_seen() {
        let temporary = tempfile::tempdir().unwrap();
        let store = Store::open(temporary.path().join("store")).unwrap();
        let mut sampler = Sampler::new(store.clone());
        assert!(sampler.sample().cohorts.is_empty());

        let a = store.create("a", Settings::latest()).unwrap();
        let sample = sampler.sample();
        assert_eq!((&find(&sample, "a").state, &find(&sample, "a").rates), (&State::Fine, &None));
        a.append("k", &1).unwrap();
        let sample = sampler.sample();
        let rates = find(&sample, "a").rates.clone().unwrap();
        assert!(rates.records > 0.0 && rates.bytes > Some(rates.records));
        assert_eq!(find(&sample, "a").tail().unwrap().1, 1);

        drop(a);
        std::fs::remove_dir_all(temporary.path().join("store/a")).unwrap();
        for _ in 1..FAREWELL {
            assert_eq!(find(&sampler.sample(), "a").state, State::Gone);
        }
        store.create("a", Settings::latest()).unwrap().append("k", &2).unwrap();
        let sample = sampler.sample();
        assert_eq!(find(&sample, "a").look.as_ref().unwrap().stats.seq, 1);
        std::fs::remove_dir_all(temporary.path().join("store/a")).unwrap();
        for _ in 0..FAREWELL {
            sampler.sample();
        }
        assert!(sampler.sample().cohorts.is_empty());

        std::fs::remove_dir_all(temporary.path().join("store")).unwrap();
        let _ = sampler.sample();
    }

    #[test]
    fn a_damaged_cohort_says_so_and_stops_no_other() {
        let temporary = tempfile::tempdir().unwrap();
        let store = Store::open(temporary.path().join("store")).unwrap();
        for name in ["bad", "good"] {
            store.create(name, Settings::latest()).unwrap().append("k", &1).unwrap();
        }
        std::fs::write(temporary.path().join("store/bad/cohort.json"), "{").unwrap();
        let mut sampler = Sampler::new(store);
        for _ in 0..2 {
            let sample = sampler.sample();
            assert!(
                matches!(&find(&sample, "bad").state, State::Damaged(what) if what.contains("cohort.json"))
            );
            assert_eq!(find(&sample, "good").state, State::Fine);
        }
    }

    #[test]
    fn where_nothing_is_counted_there_are_no_numbers_and_no_zeros() {
        let line = serde_json::to_value(seen("c", 5.0, None).row()).unwrap();
        for field in ["appends_s", "contended", "wait_p99_ns", "syncs_s", "records_per_sync", "attached"] {
            assert!(line[field].is_null(), "{field}");
        }
        assert_eq!((line["records_s"].as_f64(), line["tail_records"].as_u64()), (Some(5.0), Some(200)));
    }
}
