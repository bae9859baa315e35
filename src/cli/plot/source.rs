//! Where the points come from: the records of the journal, or what a cohort whose fold is `series` has kept of them.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tallyfold::{Cohort, Cursor, Fold, Reader, RecordRef, Seq};

use super::curves::Point;
use super::field::{self, Names, Path, Scalar};
use crate::cli::exit::{self, Failure};
use crate::cli::filter::Filter;
use crate::cli::interrupt;
use crate::cli::progress::Progress;

/// The field that counts the steps of a run, in records that have one.
const STEP: &str = "step";
/// The field that tells runs apart, in records without a key.
const RUN: &str = "run_id";
/// After so many records it is asked whether to go on.
const AT_ONCE: u64 = 4096;

/// What lies at the bottom of a plot.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum X {
    Seq,
    /// When it was written, in microseconds since 1970.
    Time,
    /// The how manieth point of its curve it is.
    Count,
    Field(Path),
}

impl X {
    pub(crate) fn parse(text: &str) -> Result<X, String> {
        match text {
            "seq" => Ok(X::Seq),
            "time" => Ok(X::Time),
            "count" => Ok(X::Count),
            field => Path::parse(field).map(X::Field),
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            X::Seq => "seq".into(),
            X::Time => "time".into(),
            X::Count => "count".into(),
            X::Field(path) => path.to_string(),
        }
    }
}

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) metric: Path,
    pub(crate) from: Option<Seq>,
    /// Of these records alone.
    pub(crate) filter: Filter,
    /// The fields that name a curve; empty: the key does.
    pub(crate) by: Vec<Path>,
}

/// What was read, beside the points.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    /// Records that have the metric, and no number to stand at.
    pub(crate) without_x: u64,
    /// Points that a series has counted and not kept.
    pub(crate) dropped: u64,
    /// Records before this seq are folded away.
    pub(crate) first: Option<Seq>,
}

/// Reads points, and goes on where it was when asked again.
pub(crate) struct Source {
    cohort: Cohort,
    ask: Ask,
    /// None until a record with the metric tells.
    x: Option<X>,
    told: Told,
    kind: Kind,
    counts: HashMap<String, u64>,
}

enum Kind {
    Journal { cursor: Box<Cursor>, paths: Vec<Path> },
    Series { reader: Box<Reader>, read: bool },
}

/// A metric of an entry of a series.
#[derive(Deserialize)]
struct Kept {
    count: u64,
    points: Vec<(Seq, Value)>,
}

impl Source {
    pub(crate) fn open(cohort: Cohort, ask: Ask, x: Option<X>) -> Result<Source, Failure> {
        let mut told = Told::default();
        let mut x = x;
        let kind = if matches!(cohort.settings().fold(), Fold::Series(_)) {
            let possible = matches!(x, None | Some(X::Seq | X::Count));
            if !possible || !ask.by.is_empty() || ask.from.is_some() || !ask.filter.asks_for_keys_alone() {
                let what = format!(
                    "the cohort {:?} keeps of each point its key, its seq and its value: --x takes seq or count here, and \
                     of the records --key, --parts and --prefix may be asked for",
                    cohort.name()
                );
                return Err(Failure::new(exit::USAGE, what));
            }
            x = Some(x.unwrap_or(X::Seq));
            Kind::Series { reader: Box::new(cohort.reader()?), read: false }
        } else {
            let (cursor, first) = begin(&cohort, ask.from)?;
            told.first = first;
            Kind::Journal { cursor: Box::new(cursor), paths: paths(&ask, x.as_ref()) }
        };
        Ok(Source { cohort, ask, x, told, kind, counts: HashMap::new() })
    }

    /// What lies at the bottom, as far as that is known.
    pub(crate) fn x(&self) -> X {
        self.x.clone().unwrap_or(X::Seq)
    }

    /// Whether all records were asked for.
    pub(crate) fn takes_all(&self) -> bool {
        self.ask.filter.takes_all() && self.ask.from.is_none() && self.ask.filter.to == Seq::MAX
    }

    pub(crate) fn told(&self) -> Told {
        self.told
    }

    /// Whether each reading gives all points anew, and not only those that have come since.
    pub(crate) fn begins_anew(&self) -> bool {
        matches!(self.kind, Kind::Series { .. })
    }

    /// Gives the points there are now; whether there was anything new.
    ///
    /// # Errors
    /// What `each` returns; damage, and what is before it was given.
    pub(crate) fn read(
        &mut self,
        each: &mut dyn FnMut(&Point<'_>) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        match &self.kind {
            Kind::Journal { .. } => self.read_journal(each),
            Kind::Series { .. } => self.read_series(each),
        }
    }

    fn read_journal(
        &mut self,
        each: &mut dyn FnMut(&Point<'_>) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        // Where it ends now: writers may be faster than we are.
        let until = match self.cohort.last_seq() {
            // The cursor will meet it too.
            Err(e) if e.is_corruption() => Seq::MAX,
            last => last?,
        };
        let until = until.min(self.ask.filter.to);
        let Kind::Journal { cursor, paths } = &mut self.kind else { return Ok(false) };
        let before = cursor.next_seq();
        let mut progress = Progress::new("reading", Some(until.saturating_sub(before)));
        let mut since = 0;
        while cursor.next_seq() <= until {
            let Some(record) = cursor.next_ref()? else { break };
            let found = take(&self.ask, paths, &mut self.x, &mut self.told, &record);
            if let Some((curve, x, y)) = found {
                let x = match x {
                    Some(x) => x,
                    None => count(&mut self.counts, &curve),
                };
                each(&Point { curve: &curve, seq: record.seq(), x, y })?;
            }
            since += 1;
            if since == AT_ONCE {
                interrupt::check()?;
                progress.advance(since);
                since = 0;
            }
        }
        Ok(cursor.next_seq() > before)
    }

    fn read_series(
        &mut self,
        each: &mut dyn FnMut(&Point<'_>) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        let Kind::Series { reader, read } = &mut self.kind else { return Ok(false) };
        let before = reader.seq();
        reader.refresh()?;
        if std::mem::replace(read, true) && reader.seq() == before {
            return Ok(false);
        }
        self.told.dropped = 0;
        let by_count = self.x == Some(X::Count);
        let mut give = |key: &str, json: &str| {
            let Some(kept) = metric(json, &self.ask.metric) else { return Ok(()) };
            let dropped = kept.count.saturating_sub(kept.points.len() as u64);
            self.told.dropped += dropped;
            for (i, (seq, value)) in kept.points.iter().enumerate() {
                let x = if by_count { dropped + i as u64 + 1 } else { *seq };
                each(&Point { curve: key, seq: *seq, x: x as f64, y: number(value) })?;
            }
            interrupt::check()
        };
        for item in reader.iter() {
            let (key, entry) = item?;
            if self.ask.filter.holds_key(&key) {
                give(&key, entry.json())?;
            }
        }
        Ok(true)
    }

    /// The metrics there are, for who has asked for one that is not there.
    pub(crate) fn metrics(&self) -> Result<Names, Failure> {
        let mut names = Names::default();
        match &self.kind {
            Kind::Series { reader, .. } => {
                for item in reader.iter() {
                    let (_, entry) = item?;
                    let metrics: HashMap<String, &RawValue> =
                        serde_json::from_str(entry.json()).unwrap_or_default();
                    metrics.keys().for_each(|name| names.insert(name));
                    interrupt::check()?;
                }
            }
            Kind::Journal { .. } => {
                let (mut cursor, _) = begin(&self.cohort, self.ask.from)?;
                let until = self.cohort.last_seq()?;
                let mut progress = Progress::new("looking for metrics", Some(until));
                while cursor.next_seq() <= until {
                    let Some(record) = cursor.next_ref()? else { break };
                    if self.ask.filter.passes(&record)
                        && let Some(json) = record.json()
                    {
                        names.add(json, record.nonfinite());
                    }
                    if record.seq().is_multiple_of(AT_ONCE) {
                        interrupt::check()?;
                        progress.at(record.seq());
                    }
                }
            }
        }
        Ok(names)
    }
}

/// A cursor at the record asked for; else at the first one still there, and its seq if that is not the first one of all.
fn begin(cohort: &Cohort, from: Option<Seq>) -> Result<(Cursor, Option<Seq>), Failure> {
    if let Some(from) = from {
        return Ok((cohort.cursor(from)?, None));
    }
    let mut from = 1;
    loop {
        match cohort.cursor(from) {
            // Compaction may be at it, so perhaps more than once.
            Err(e) if e.is_compacted() && e.seq().is_some_and(|first| first > from) => {
                from = e.seq().unwrap_or(from);
            }
            cursor => return Ok((cursor?, (from > 1).then_some(from))),
        }
    }
}

/// What is looked for in a value: the metric, what may lie at the bottom, and what names the curve.
fn paths(ask: &Ask, x: Option<&X>) -> Vec<Path> {
    let plain = |name| Path::parse(name).ok();
    let bottom = match x {
        None => plain(STEP),
        Some(X::Field(path)) => Some(path.clone()),
        Some(_) => None,
    };
    // A path that finds nothing holds the place where there is nothing to look for.
    let mut paths = vec![ask.metric.clone(), bottom.unwrap_or_else(|| ask.metric.clone())];
    match ask.by.is_empty() {
        true => paths.extend(plain(RUN)),
        false => paths.extend(ask.by.iter().cloned()),
    }
    paths
}

/// The point of a record, if it has one: its curve, where it lies (`None`: at its count), and its value.
fn take(
    ask: &Ask,
    paths: &[Path],
    x: &mut Option<X>,
    told: &mut Told,
    record: &RecordRef<'_>,
) -> Option<(String, Option<f64>, f64)> {
    if !ask.filter.passes(record) {
        return None;
    }
    let found = field::find(paths, record.json()?, record.nonfinite());
    let [metric, bottom, names @ ..] = found.as_slice() else { return None };
    let y = metric.as_ref()?.number()?;
    let bottom = bottom.as_ref().and_then(Scalar::number).filter(|x| x.is_finite());
    let kind = x.get_or_insert_with(|| match (bottom, Path::parse(STEP)) {
        (Some(_), Ok(step)) => X::Field(step),
        _ => X::Seq,
    });
    let place = match kind {
        X::Seq => Some(record.seq() as f64),
        X::Time => Some(record.time_us() as f64),
        X::Count => None,
        X::Field(_) => {
            if bottom.is_none() {
                told.without_x += 1;
                return None;
            }
            bottom
        }
    };
    Some((curve(ask, names, record.key()), place, y))
}

fn curve(ask: &Ask, names: &[Option<Scalar>], key: &str) -> String {
    let word = |scalar: &Option<Scalar>| scalar.as_ref().map_or("-".to_string(), ToString::to_string);
    match (ask.by.is_empty(), names) {
        (false, names) => names.iter().map(word).collect::<Vec<_>>().join(":"),
        (true, [Some(run), ..]) if key.is_empty() => run.to_string(),
        (true, _) => key.to_string(),
    }
}

fn count(counts: &mut HashMap<String, u64>, curve: &str) -> f64 {
    let count = match counts.get_mut(curve) {
        Some(count) => count,
        None => counts.entry(curve.to_string()).or_default(),
    };
    *count += 1;
    *count as f64
}

/// What a series has kept of a metric.
fn metric(json: &str, path: &Path) -> Option<Kept> {
    let metrics: HashMap<String, &RawValue> = serde_json::from_str(json).ok()?;
    serde_json::from_str(metrics.get(path.flat().as_str())?.get()).ok()
}

/// A point's value; under the flag a string is a number that is not finite.
fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        Some(_) => f64::NAN,
        None => value.as_f64().unwrap_or(f64::NAN),
    }
}
