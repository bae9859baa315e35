//! The rows of a state, of records and of points: what stands in front, and a value.

use super::{Exported, What};
use crate::cohort::Cohort;
use crate::columns::{Cell, Lead, Type, Value};
use crate::cursor::Cursor;
use crate::error::Result;
use crate::fold::{EntryRef, each_point};
use crate::history;
use crate::key::key_parts;
use crate::record::{Kind, RecordRef, Seq};
use crate::view::View;

/// The column of records that are no JSON.
pub(super) const RAW: &str = "raw";

/// A row where it lies. The cells are those of [`Rows::lead`], one by one; of a value that is null nothing is there.
pub(super) struct Row<'a> {
    pub(super) lead: Vec<Option<Cell<'a>>>,
    pub(super) value: Option<Value<'a>>,
    /// Whether there is something in the column [`RAW`].
    #[cfg_attr(
        not(any(feature = "arrow", feature = "csv", feature = "parquet")),
        allow(dead_code, reason = "only tables leave the column out")
    )]
    pub(super) is_raw: bool,
}

/// Rows that are the same whenever they are gone over.
pub(super) struct Rows {
    what: What,
    parts: Vec<String>,
    source: Source,
}

enum Source {
    View(Box<View>),
    /// The records between two seqs, both included.
    Journal {
        cohort: Cohort,
        from: Seq,
        to: Seq,
    },
}

impl Rows {
    pub(super) fn open(cohort: &Cohort, what: What, parts: &[String]) -> Result<Rows> {
        let source = match what {
            What::State | What::Points => Source::View(Box::new(cohort.view()?)),
            What::History => {
                let from = history::begins(cohort.home())?.first().copied().unwrap_or(1);
                let to = match cohort.last_seq() {
                    // What is before the damage can be read, and then it is met and told.
                    Err(e) if e.is_corruption() => Seq::MAX,
                    other => other?,
                };
                Source::Journal { cohort: cohort.clone(), from, to }
            }
        };
        Ok(Rows { what, parts: parts.to_vec(), source })
    }

    /// The columns in front.
    pub(super) fn lead(&self) -> Vec<Lead> {
        let key = [Lead::always("key", Type::Text)];
        let parts = self.parts.iter().map(|part| Lead::perhaps(part, Type::Text));
        let seq = Lead::always("seq", Type::Int);
        match self.what {
            What::State => key.into_iter().chain(parts).chain([seq]).collect(),
            What::Points => {
                key.into_iter().chain(parts).chain([Lead::always("metric", Type::Text), seq]).collect()
            }
            What::History => [seq, Lead::always("time", Type::Time), Lead::always("epoch", Type::Int)]
                .into_iter()
                .chain(key)
                .chain(parts)
                .chain([Lead::always("kind", Type::Text), Lead::perhaps(RAW, Type::Text)])
                .collect(),
        }
    }

    /// Shows `take` each row, and returns how many there are.
    pub(super) fn each(
        &self,
        watch: &mut dyn FnMut(u64) -> Result<()>,
        take: &mut dyn FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<u64> {
        let mut rows = 0;
        let mut take = |row: &Row<'_>| {
            watch(rows)?;
            rows += 1;
            take(row)
        };
        match &self.source {
            Source::Journal { cohort, from, to } => {
                self.each_record(cohort.cursor(*from)?, *to, &mut take)?
            }
            Source::View(view) => {
                for item in view.iter_once() {
                    let (key, entry) = item?;
                    match self.what {
                        What::Points => self.each_point(&key, entry, &mut take)?,
                        What::State | What::History => {
                            let lead = self.keyed(&key, [Some(Cell::seq(entry.seq))]);
                            take(&Row { lead, value: Some(Value::of(entry)), is_raw: false })?;
                        }
                    }
                }
            }
        }
        Ok(rows)
    }

    /// A key, its parts, and what comes behind.
    fn keyed<'a>(
        &self,
        key: &'a str,
        rest: impl IntoIterator<Item = Option<Cell<'a>>>,
    ) -> Vec<Option<Cell<'a>>> {
        let mut lead = vec![Some(Cell::text(key))];
        if !self.parts.is_empty() {
            // An empty key is none.
            let parts = if key.is_empty() { Vec::new() } else { key_parts(key) };
            let parts = parts.into_iter().map(|part| Some(Cell::Text(part)));
            lead.extend(parts.chain(std::iter::repeat(None)).take(self.parts.len()));
        }
        lead.extend(rest);
        lead
    }

    fn each_point(
        &self,
        key: &str,
        entry: EntryRef<'_>,
        take: &mut dyn FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<()> {
        each_point(entry, |metric, seq, json| {
            let lead = self.keyed(key, [Some(Cell::text(metric)), Some(Cell::seq(seq))]);
            // Only what is no number needs to be told from what it says.
            let value = Value { json, nonfinite: json.starts_with('"'), seq };
            take(&Row { lead, value: Some(value), is_raw: false })
        })
    }

    fn each_record(
        &self,
        mut cursor: Cursor,
        to: Seq,
        take: &mut dyn FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<()> {
        while cursor.next_seq() <= to {
            let Some(epoch) = cursor.peek_epoch()? else { break };
            let Some(record) = cursor.next_ref()? else { break };
            take(&self.record(epoch, record))?;
        }
        Ok(())
    }

    fn record<'a>(&self, epoch: u64, record: RecordRef<'a>) -> Row<'a> {
        let json = record.json();
        let (kind, raw) = match (record.kind(), json) {
            (Kind::Put, Some(_)) => ("put", None),
            (Kind::Delete, _) => ("delete", None),
            (Kind::Raw, _) | (Kind::Put, None) => ("raw", Some(hexadecimal(record.bytes()))),
        };
        let mut lead =
            vec![Some(Cell::seq(record.seq())), Some(Cell::Int(record.time_us())), Some(Cell::seq(epoch))];
        let is_raw = raw.is_some();
        let raw = raw.map(|raw| Cell::Text(raw.into()));
        lead.extend(self.keyed(record.key(), [Some(Cell::text(kind)), raw]));
        let value = json.map(|json| Value { json, nonfinite: record.nonfinite(), seq: record.seq() });
        Row { lead, value, is_raw }
    }

    pub(super) fn exported(&self, rows: u64, text_columns: Vec<String>) -> Exported {
        let (seq, damage) = match &self.source {
            Source::View(view) => (view.seq(), view.damage().map(ToString::to_string)),
            // Seqs have no gaps.
            Source::Journal { from, .. } => ((from + rows).saturating_sub(1), None),
        };
        Exported { rows, seq, text_columns, damage }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
