//! The fold `series`: what each metric has come to, and its last points.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use crate::error::{Error, Result};
use crate::fold::EntryRef;
use crate::fold::sum::Total;
use crate::record::Seq;
use crate::value::{self, Fault, Shape, Text};

const DEFAULT_POINTS: u32 = 1000;
const MOST_POINTS: u32 = 100_000;

/// Roughly what a metric takes in memory, and a point.
const METRIC_BYTES: usize = 256;
const POINT_BYTES: usize = 48;

/// The parameters of [`Fold::Series`](crate::Fold::Series).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Series {
    points: u32,
}

impl Series {
    /// Keeps the last `points` points of each metric of a key; 0 to 100,000. Every one of them is written again whenever its
    /// entry is, and read whenever the entry is changed after a compaction.
    ///
    /// # Errors
    /// `is_invalid` if that is more than 100,000.
    pub fn new(points: u32) -> Result<Series> {
        if points > MOST_POINTS {
            return Err(Error::invalid(format!(
                "`points` is {points}: a series keeps at most {MOST_POINTS} points"
            ))
            .advise("keep fewer; the journal has them all with \"retain\":\"all\""));
        }
        Ok(Series { points })
    }

    /// How many points of each metric are kept.
    pub fn points(&self) -> u32 {
        self.points
    }
}

impl Default for Series {
    /// A thousand points.
    fn default() -> Series {
        Series { points: DEFAULT_POINTS }
    }
}

/// The metrics of one key.
#[derive(Debug, Default)]
pub(crate) struct Metrics(BTreeMap<Box<str>, Metric>);

#[derive(Debug)]
struct Metric {
    /// All numbers, those that are not finite too.
    count: u64,
    nonfinite: u64,
    /// Of the finite ones, as the text they came with.
    extremes: Option<Extremes>,
    sum: Total,
    points: VecDeque<Point>,
}

#[derive(Debug)]
struct Extremes {
    last: Box<str>,
    min: Box<str>,
    max: Box<str>,
}

#[derive(Debug)]
struct Point {
    seq: Seq,
    /// A number's text, or the string that stands for a number that is not finite.
    json: Box<str>,
}

/// Why a value has no point in it, as a part of a sentence. Its fields that are numbers are metrics; strings, booleans and nulls
/// beside them say what the numbers are about, and stay in the journal.
pub(super) fn check(text: &str, nonfinite: bool) -> std::result::Result<(), String> {
    if !text.starts_with('{') {
        let is = Shape::of(text, nonfinite).name();
        return Err(format!("the value is {is}, not an object of metrics such as {{\"loss\":0.25}}"));
    }
    let mut metrics = 0;
    for (name, value) in value::members(text).map_err(|fault| fault.reason)? {
        match Shape::of(value, nonfinite) {
            Shape::Number(_) | Shape::Nonfinite(_) => metrics += 1,
            Shape::Text(_) | Shape::Bool(_) | Shape::Null => {}
            other @ (Shape::List | Shape::Object) => {
                return Err(format!("the field {name:?} is {}: a metric is a number", other.name()));
            }
        }
    }
    if metrics == 0 { Err("no field of the value is a number".into()) } else { Ok(()) }
}

impl Metrics {
    pub(super) fn of(text: &str, nonfinite: bool) -> std::result::Result<Metrics, Fault> {
        let metric = |(name, value): (_, &str)| Ok((Box::from(name), Metric::of(value, nonfinite)?));
        value::members(text)?.map(metric).collect::<std::result::Result<_, _>>().map(Metrics)
    }

    /// Adds the numbers of a value that [`check`] has let pass.
    pub(super) fn add(
        &mut self,
        seq: Seq,
        text: &str,
        nonfinite: bool,
        series: &Series,
    ) -> std::result::Result<(), Fault> {
        let mut numbers = BTreeMap::new();
        for (name, value) in value::members(text)? {
            // Of equal keys the last counts, also if it is no number.
            match Shape::of(value, nonfinite) {
                Shape::Number(_) => numbers.insert(name, (value, true)),
                Shape::Nonfinite(_) => numbers.insert(name, (value, false)),
                _ => numbers.remove(&name),
            };
        }
        for (name, (json, finite)) in numbers {
            match self.0.get_mut(&*name) {
                Some(metric) => metric.add(seq, json, finite, series),
                None => {
                    let mut metric = Metric::new();
                    metric.add(seq, json, finite, series);
                    self.0.insert(name.into(), metric);
                }
            }
        }
        Ok(())
    }

    /// Sorted by the names of the metrics.
    pub(super) fn text(&self) -> Text {
        let mut out = String::with_capacity(2 + self.bytes());
        out.push('{');
        for (i, (name, metric)) in self.0.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            out.push_str(&value::key_string(name));
            out.push(':');
            metric.write(&mut out);
        }
        out.push('}');
        Text { text: out, nonfinite: self.0.values().any(Metric::needs_flag) }
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.values().map(|metric| METRIC_BYTES + metric.points.len() * POINT_BYTES).sum()
    }
}

impl Metric {
    fn new() -> Metric {
        Metric { count: 0, nonfinite: 0, extremes: None, sum: Total::zero(), points: VecDeque::new() }
    }

    fn add(&mut self, seq: Seq, json: &str, finite: bool, series: &Series) {
        self.count += 1;
        if finite {
            self.sum.add(json);
            match &mut self.extremes {
                None => {
                    self.extremes = Some(Extremes { last: json.into(), min: json.into(), max: json.into() })
                }
                Some(extremes) => {
                    extremes.last = json.into();
                    // Of equal ones the first stays.
                    if value::compare(json, &extremes.min) == Ordering::Less {
                        extremes.min = json.into();
                    }
                    if value::compare(json, &extremes.max) == Ordering::Greater {
                        extremes.max = json.into();
                    }
                }
            }
        } else {
            self.nonfinite += 1;
        }
        self.points.push_back(Point { seq, json: json.into() });
        while self.points.len() > series.points as usize {
            self.points.pop_front();
        }
    }

    fn needs_flag(&self) -> bool {
        !self.sum.is_finite() || self.points.iter().any(|point| point.json.starts_with('"'))
    }

    fn write(&self, out: &mut String) {
        use std::fmt::Write;
        let extremes = self.extremes.as_ref();
        let [last, min, max] = [
            extremes.map_or("null", |it| &it.last),
            extremes.map_or("null", |it| &it.min),
            extremes.map_or("null", |it| &it.max),
        ];
        let (count, nonfinite, sum) = (self.count, self.nonfinite, self.sum.json());
        // Writing to memory does not fail.
        let _ = write!(
            out,
            "{{\"count\":{count},\"nonfinite\":{nonfinite},\"last\":{last},\"min\":{min},\"max\":{max},\"sum\":{sum},\"points\":["
        );
        for (i, point) in self.points.iter().enumerate() {
            let separator = if i > 0 { "," } else { "" };
            let _ = write!(out, "{separator}[{},{}]", point.seq, point.json);
        }
        out.push_str("]}");
    }

    /// As [`write`](Metric::write) has written it.
    fn of(text: &str, nonfinite: bool) -> std::result::Result<Metric, Fault> {
        let mut metric = Metric::new();
        let mut ends: [Option<&str>; 3] = [None; 3];
        for (name, value) in value::members(text)? {
            let count =
                || value.parse().map_err(|_| Fault::whole(format!("the {name} of a metric is {value}")));
            match &*name {
                "count" => metric.count = count()?,
                "nonfinite" => metric.nonfinite = count()?,
                "last" => ends[0] = finite(value),
                "min" => ends[1] = finite(value),
                "max" => ends[2] = finite(value),
                "sum" => metric.sum = Total::of(value, nonfinite)?,
                "points" => metric.points = points(value, nonfinite)?,
                other => return Err(Fault::whole(format!("a metric has no {other:?}"))),
            }
        }
        if let [Some(last), Some(min), Some(max)] = ends {
            metric.extremes = Some(Extremes { last: last.into(), min: min.into(), max: max.into() });
        }
        Ok(metric)
    }
}

fn finite(text: &str) -> Option<&str> {
    matches!(Shape::of(text, false), Shape::Number(_)).then_some(text)
}

fn points(text: &str, nonfinite: bool) -> std::result::Result<VecDeque<Point>, Fault> {
    let kept = |text| point(text, nonfinite).map(|(seq, json)| Point { seq, json: json.into() });
    value::elements(text)?.into_iter().map(kept).collect()
}

fn point(text: &str, nonfinite: bool) -> std::result::Result<(Seq, &str), Fault> {
    let parts = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')?.split_once(','));
    let number = |json| matches!(Shape::of(json, nonfinite), Shape::Number(_) | Shape::Nonfinite(_));
    parts
        .and_then(|(seq, json)| Some((seq.parse().ok()?, json)).filter(|_| number(json)))
        .ok_or_else(|| Fault::whole(format!("{text} is no point")))
}

/// Shows `take` each point of an entry: its metric, the seq it came with, and its number as JSON text.
pub(crate) fn each_point(
    entry: EntryRef<'_>,
    mut take: impl FnMut(&str, Seq, &str) -> Result<()>,
) -> Result<()> {
    let damaged = |fault: Fault| {
        Error::corruption(format!("an entry of the fold series makes no sense: {fault}")).at_seq(entry.seq)
    };
    for (metric, text) in value::members(entry.json).map_err(damaged)? {
        let Some((_, points)) = value::members(text).map_err(damaged)?.find(|(name, _)| name == "points")
        else {
            continue;
        };
        for text in value::elements(points).map_err(damaged)? {
            let (seq, json) = point(text, entry.nonfinite).map_err(damaged)?;
            take(&metric, seq, json)?;
        }
    }
    Ok(())
}
