//! The folds: pure functions (old entry, record) → new entry. What a cohort's state is follows from its records alone.
//!
//! | file | what |
//! |---|---|
//! | `entry.rs`, `slot.rs` | an entry; what the records of a key have made of it so far |
//! | `given.rs` | a fold as settings and snapshots spell it |
//! | `sum.rs`, `series.rs`, `top.rs` | the folds whose entries are taken apart to be changed |

mod entry;
mod given;
mod series;
mod slot;
mod sum;
mod top;

use crate::error::{Error, Result};
use crate::format::Unread;
use crate::record::{Batch, Kind, RecordRef};
use crate::value;

pub use entry::{Entry, EntryRef};
pub(crate) use given::Given;
pub use series::Series;
pub(crate) use series::each_point;
use slot::Parts;
pub(crate) use slot::Slot;
pub use top::{Order, Top, Wins};

/// How a cohort's records become entries; fixed when the cohort is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fold {
    /// The last put of each key; a delete removes the entry. For indexes and metadata.
    Latest,
    /// The RFC 7396 merge of all puts of each key, the first onto nothing; a delete removes the entry.
    Merge,
    /// The numbers of all puts of each key added, field by field; a delete removes the entry. For counters.
    ///
    /// The entry is an object of numbers. Integers are added exactly as long as the sum has at most 38 digits, everything else
    /// as doubles.
    Sum,
    /// The best few of all puts of each key, best first, as a list; a delete removes the entry. For leaderboards and playbooks.
    Top(Top),
    /// What each number in the puts of a key has come to, and its last points; a delete removes the entry. For metrics.
    ///
    /// The entry is `{"loss":{"count":3,"nonfinite":1,"last":0.3,"min":0.3,"max":0.5,"sum":0.8,"points":[[1,0.5],[4,"NaN"],
    /// [7,0.3]]}}`: a point is seq and number; `count` counts all of them, `nonfinite` those that are NaN or infinite, which
    /// are points and nothing else.
    Series(Series),
    /// No entries: only the journal is kept. For events and metric points.
    Log,
}

impl Fold {
    /// The names of all folds.
    pub const NAMES: [&str; 6] = ["latest", "merge", "sum", "top", "series", "log"];

    /// Its name in `cohort.json` and on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Fold::Latest => "latest",
            Fold::Merge => "merge",
            Fold::Sum => "sum",
            Fold::Top(_) => "top",
            Fold::Series(_) => "series",
            Fold::Log => "log",
        }
    }

    /// The fold of that name, with the defaults of its parameters.
    ///
    /// # Errors
    /// `is_invalid` for a word that names none, and for `top`, which has parameters without a default.
    pub fn from_name(name: &str) -> Result<Fold> {
        Given::named(name).fold()
    }

    /// Refuses a batch with a record that does not fit this fold, before anything is written.
    pub(crate) fn check(&self, batch: &Batch) -> Result<()> {
        if batch.has_raw() && *self != Fold::Log {
            return Err(Error::invalid(format!(
                "the fold `{}` takes JSON values, not raw bytes",
                self.name()
            ))
            .advise("append raw bytes to a cohort whose fold is log"));
        }
        if let Fold::Latest | Fold::Merge | Fold::Log = self {
            return Ok(());
        }
        let mut unread = Unread::of_batch(batch.len());
        while let Some(record) = unread.next(batch.as_bytes()) {
            let record = record.map_err(Error::invalid)?;
            let (Kind::Put, Some(json)) = (record.kind, record.json()) else { continue };
            let fits = match self {
                Fold::Sum => sum::check(json, record.nonfinite),
                Fold::Top(top) => top.check(json, record.nonfinite),
                Fold::Series(_) => series::check(json, record.nonfinite),
                Fold::Latest | Fold::Merge | Fold::Log => Ok(()),
            };
            fits.map_err(|why| {
                let which = match batch.len() {
                    1 => String::new(),
                    count => format!("record {} of {count}: ", record.seq),
                };
                Error::invalid(format!("{which}the value does not fit the fold `{}`: {why}", self.name()))
                    .advise("nothing was appended; mend the value, or keep it in a cohort with another fold")
            })?;
        }
        Ok(())
    }

    /// Whether it can be used.
    pub(crate) fn ready(&self) -> Result<()> {
        match self {
            Fold::Top(top) => top.ready(),
            _ => Ok(()),
        }
    }

    /// Whether the new entry depends on the old one, which costs a look into the snapshot.
    pub(crate) fn needs_old(&self) -> bool {
        matches!(self, Fold::Merge | Fold::Sum | Fold::Top(_) | Fold::Series(_))
    }

    /// Where the next record of a key begins if this is its entry.
    ///
    /// # Errors
    /// An entry that this fold has not made.
    pub(crate) fn slot(&self, entry: Option<EntryRef<'_>>) -> Result<Slot> {
        let Some(entry) = entry else { return Ok(Slot::Gone) };
        let parts = match self {
            Fold::Sum => sum::Sums::of(entry.json, entry.nonfinite).map(Parts::Sum),
            Fold::Top(top) => top::Best::of(entry.json, entry.nonfinite, top).map(Parts::Top),
            Fold::Series(_) => series::Metrics::of(entry.json, entry.nonfinite).map(Parts::Series),
            Fold::Latest | Fold::Merge | Fold::Log => return Ok(Slot::Text(entry.to_entry())),
        };
        let parts = parts.map_err(|fault| {
            Error::corruption(format!("an entry is none of the fold `{}`: {fault}", self.name()))
                .at_seq(entry.seq)
        })?;
        Ok(Slot::apart(entry, parts))
    }

    /// One record applied to what has become of its key.
    ///
    /// # Errors
    /// A value that append would have refused: damage that the CRC did not see, or bytes of another program.
    pub(crate) fn apply(&self, slot: &mut Slot, record: &RecordRef<'_>) -> Result<()> {
        let senseless = |what: &str| {
            Error::corruption(format!("the value of key {:?} is {what}", record.key)).at_seq(record.seq)
        };
        let (seq, nonfinite) = (record.seq, record.nonfinite);
        match (self, record.kind) {
            (Fold::Log, _) | (_, Kind::Delete) => {
                *slot = Slot::Gone;
                return Ok(());
            }
            (_, Kind::Raw) => return Err(senseless("raw bytes, which only the fold `log` takes")),
            (_, Kind::Put) => {}
        }
        let json = std::str::from_utf8(record.value).map_err(|_| senseless("not UTF-8"))?;
        let unfit = |why: String| senseless(&format!("not one of the fold `{}`: {why}", self.name()));
        match self {
            Fold::Latest => match slot {
                // The old value leaves its memory to the new one: for keys put a million times.
                Slot::Text(entry) => {
                    (entry.seq, entry.nonfinite) = (seq, nonfinite);
                    entry.json.clear();
                    entry.json.push_str(json);
                }
                _ => *slot = Slot::Text(Entry { seq, nonfinite, json: json.into() }),
            },
            Fold::Merge => {
                let old = slot.entry().map(|entry| (&*entry.json, entry.nonfinite));
                let merged = value::merge(old, (json, nonfinite))
                    .map_err(|fault| senseless(&format!("not JSON: {fault}")))?;
                *slot = Slot::Text(Entry { seq, nonfinite: merged.nonfinite, json: merged.text });
            }
            Fold::Sum => {
                sum::check(json, nonfinite).map_err(unfit)?;
                let Parts::Sum(sums) = slot.parts(seq, || Parts::Sum(sum::Sums::default())) else {
                    return Err(senseless("behind an entry of another fold"));
                };
                sums.add(json, nonfinite).map_err(|fault| unfit(fault.to_string()))?;
            }
            Fold::Top(top) => {
                top.check(json, nonfinite).map_err(unfit)?;
                let Parts::Top(best) = slot.parts(seq, || Parts::Top(top::Best::default())) else {
                    return Err(senseless("behind an entry of another fold"));
                };
                best.add(json, nonfinite, top);
            }
            Fold::Series(series) => {
                series::check(json, nonfinite).map_err(unfit)?;
                let Parts::Series(metrics) = slot.parts(seq, || Parts::Series(series::Metrics::default()))
                else {
                    return Err(senseless("behind an entry of another fold"));
                };
                metrics.add(seq, json, nonfinite, series).map_err(|fault| unfit(fault.to_string()))?;
            }
            Fold::Log => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What records with seqs from 1 fold into; each time the entry is made text and taken apart again, and also never.
    fn fold(fold: &Fold, records: &[(Kind, &str)]) -> Option<String> {
        let entry = |compacted: bool| {
            let mut slot = Slot::Gone;
            for (i, (kind, value)) in records.iter().enumerate() {
                let (seq, value) = (i as u64 + 1, value.as_bytes());
                let record = RecordRef { seq, time_us: 0, kind: *kind, nonfinite: false, key: "k", value };
                fold.apply(&mut slot, &record).unwrap();
                if compacted {
                    slot = fold.slot(slot.entry().map(Entry::as_entry_ref)).unwrap();
                }
            }
            slot.entry().cloned()
        };
        assert_eq!(entry(true), entry(false));
        entry(false).map(|entry| format!("{}:{}", entry.seq, entry.json))
    }

    #[test]
    fn latest_keeps_the_last_put_and_merge_merges_onto_nothing_after_a_delete() {
        use Kind::{Delete, Put};
        assert_eq!(fold(&Fold::Latest, &[(Put, "1"), (Put, "2.50")]).as_deref(), Some("2:2.50"));
        assert_eq!(fold(&Fold::Latest, &[(Put, "1"), (Delete, "")]), None);
        let merged =
            fold(&Fold::Merge, &[(Put, r#"{"a":1,"b":{"c":1}}"#), (Put, r#"{"b":{"c":null,"d":2e1}}"#)]);
        assert_eq!(merged.as_deref(), Some(r#"2:{"a":1,"b":{"d":2e1}}"#));
        let anew = fold(&Fold::Merge, &[(Put, r#"{"a":1}"#), (Delete, ""), (Put, r#"{"b":null,"c":1}"#)]);
        assert_eq!(anew.as_deref(), Some(r#"3:{"c":1}"#));
    }
}
