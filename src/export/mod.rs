//! Export: what a cohort holds as tables and lines, for programs that know nothing of tallyfold.
//!
//! Memory is taken for the columns and one group of rows. A table's types are known only when every row has been seen, so for
//! one the rows are gone over twice; lines of JSON need no types.

#[cfg(feature = "arrow")]
mod arrow;
#[cfg(feature = "csv")]
mod csv;
mod jsonl;
mod rows;

use std::io::{self, Write};

use serde::Serialize;

use crate::cohort::Cohort;
#[cfg(any(feature = "arrow", feature = "csv", feature = "parquet"))]
use crate::columns::{Columns, Fields};
use crate::error::{Error, Result};
use crate::fold::Fold;
use crate::record::Seq;
use rows::{Row, Rows};

/// How many rows are gone over between two calls of whoever watches.
const ROWS_BETWEEN: u64 = 1024;
/// How often rows are gone over again that compaction has folded away between the first time and the second.
#[cfg(any(feature = "arrow", feature = "csv", feature = "parquet"))]
const TIMES: u32 = 4;

/// What the rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A row for each entry: `key`, `seq`, and the fields of the value.
    State,
    /// A row for each record that is still in the journal: `seq`, `time`, `epoch`, `key`, `kind` (`put`, `delete` or `raw`), `raw`
    /// if there are such records (their bytes in hexadecimal), and the fields of the value.
    History,
    /// A row for each point that a fold `series` keeps: `key`, `metric`, `seq` and `value`.
    Points,
}

/// How far an export has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exporting {
    /// So many rows have been looked at, to see what types the columns need.
    Types(u64),
    /// So many rows have been written, of so many if that is known.
    Rows(u64, Option<u64>),
}

/// What was exported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Exported {
    /// How many rows there are.
    pub rows: u64,
    /// The last seq that they show.
    pub seq: Seq,
    /// Of a file that knows types: columns of numbers that are text, for among them are whole numbers that neither 64 bits nor a double
    /// hold.
    pub text_columns: Vec<String>,
    /// That a snapshot was damaged. Nothing is missing: it was rebuilt from the previous one and the journal.
    pub damage: Option<String>,
}

/// An export of a cohort: what of it, and then in which format.
///
/// Of a table the columns in front are those that [`What`] names, and behind them is one for each field of the values, in the order in
/// which they are first met. Whole numbers are 64 bits wide if all of a column fit; numbers are doubles if that changes none of them,
/// else text with all their digits; booleans and strings are themselves; lists, objects and what is of several types are JSON
/// text; null and what is missing are null. A value that is no object is in the column `value`. A field whose name a column in
/// front has got becomes `value.<name>`.
///
/// ```
/// # let dir = tempfile::tempdir()?; let store = tallyfold::Store::open(dir.path().join("s"))?;
/// # let index = store.create("index", tallyfold::Settings::latest())?;
/// use serde_json::json;
/// use tallyfold::Export;
/// index.append("run-1:TRAINING", &json!({"auc": 0.61}))?;
/// let mut lines = Vec::new();
/// let exported = Export::of(&index).key_parts(["run_id", "stage"])?.jsonl(&mut lines)?;
/// assert_eq!(exported.rows, 1);
/// let line = r#"{"key":"run-1:TRAINING","run_id":"run-1","stage":"TRAINING","seq":1,"value":{"auc":0.61}}"#;
/// assert_eq!(String::from_utf8(lines)?, format!("{line}\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Export<'a> {
    cohort: &'a Cohort,
    what: What,
    parts: Vec<String>,
    watch: Option<&'a mut Watch<'a>>,
}

type Watch<'a> = dyn FnMut(Exporting) -> io::Result<()> + 'a;

impl<'a> Export<'a> {
    /// Of its state; of a cohort whose fold is `log`, which has none, of its records.
    pub fn of(cohort: &'a Cohort) -> Export<'a> {
        let what = if *cohort.settings().fold() == Fold::Log { What::History } else { What::State };
        Export { cohort, what, parts: Vec::new(), watch: None }
    }

    /// Of what the rows are made.
    ///
    /// # Errors
    /// `is_invalid` if the fold of the cohort has none of it.
    pub fn what(self, what: What) -> Result<Export<'a>> {
        let (name, fold) = (self.cohort.name(), self.cohort.settings().fold());
        match (what, fold) {
            (What::State, Fold::Log) => {
                Err(Error::invalid(format!("the cohort {name:?} has no state, for its fold is log"))
                    .advise("export its history"))
            }
            (What::Points, fold) if !matches!(fold, Fold::Series(_)) => Err(Error::invalid(format!(
                "points are what the fold series keeps, and the fold of the cohort {name:?} is {}",
                fold.name()
            ))
            .advise(
                "export its history, which has a column for each metric, or refold it into a new cohort with the fold series",
            )),
            _ => Ok(Export { what, ..self }),
        }
    }

    /// The [parts](crate::key) of the keys as columns of these names, behind `key`. Parts that have no name are in no column of
    /// their own, and where a key has fewer there is nothing.
    ///
    /// # Errors
    /// `is_invalid` if a name is given twice or is empty, or is that of a column in front.
    pub fn key_parts(self, names: impl IntoIterator<Item = impl Into<String>>) -> Result<Export<'a>> {
        let parts: Vec<String> = names.into_iter().map(Into::into).collect();
        for (i, part) in parts.iter().enumerate() {
            let taken = ["key", "seq", "time", "epoch", "kind", "raw", "metric", "value"];
            if part.is_empty() || taken.contains(&part.as_str()) || parts[..i].contains(part) {
                return Err(Error::invalid(format!("a part of the key cannot have the name {part:?}"))
                    .advise(format!("choose another: not one of {}, and each once", taken.join(", "))));
            }
        }
        Ok(Export { parts, ..self })
    }

    /// Calls `watch` now and then. An error of its own ends the export, and is the [source](std::error::Error::source) of the
    /// error that this ends with.
    pub fn watch(self, watch: &'a mut Watch<'a>) -> Export<'a> {
        Export { watch: Some(watch), ..self }
    }

    /// An object on each line, with the columns in front and `value`, whose text is as it was appended. Where that holds non-finite
    /// numbers, as the strings `NaN`, `Infinity` and `-Infinity`, the line has `"nonfinite":true`.
    ///
    /// # Errors
    /// Whatever reading ends with, or writing; what could be read before is written.
    pub fn jsonl(mut self, mut out: impl Write) -> Result<Exported> {
        let rows = self.rows()?;
        let (lead, mut line) = (rows.lead(), Vec::new());
        let failed = |e| Error::of_output("the lines cannot be written", e);
        let each = rows.each(&mut self.watcher(|rows| Exporting::Rows(rows, None)), &mut |row| {
            jsonl::line(&lead, row, &mut line);
            out.write_all(&line).map_err(failed)
        });
        // What was read before a failure stays to be seen.
        out.flush().map_err(failed)?;
        Ok(rows.exported(each?, Vec::new()))
    }

    /// CSV as RFC 4180 has it, except that lines end in a line feed alone: the names of the columns, then a line for each row. Numbers
    /// keep their digits; non-finite ones are `NaN`, `inf` and `-inf`. What is null and the empty string are both an empty field.
    ///
    /// # Errors
    /// As of [`jsonl`](Export::jsonl).
    #[cfg(feature = "csv")]
    pub fn csv(self, out: impl Write) -> Result<Exported> {
        let exported = self.table(
            |columns| csv::Csv::begin(out, columns),
            |csv, columns, row| csv.put(columns, row),
            |csv, _| csv.end(),
        )?;
        // Everything is text here.
        Ok(Exported { text_columns: Vec::new(), ..exported })
    }

    /// A Parquet file, compressed with snappy.
    ///
    /// # Errors
    /// As of [`jsonl`](Export::jsonl). What is written then is no Parquet file.
    #[cfg(feature = "parquet")]
    pub fn parquet(self, out: impl Write + Send) -> Result<Exported> {
        use crate::table::Table;
        self.table(
            |columns| Table::begin(out, columns),
            |table, columns, row| {
                columns.push(row.lead.iter().cloned(), row.value)?;
                if columns.is_full() { table.put(columns) } else { Ok(()) }
            },
            Table::end,
        )
    }

    /// A file of Arrow's IPC format, which is Feather's second version.
    ///
    /// # Errors
    /// As of [`parquet`](Export::parquet).
    #[cfg(feature = "arrow")]
    pub fn arrow(self, out: impl Write) -> Result<Exported> {
        self.batches(|columns| arrow::Arrow::file(out, columns))
    }

    /// A stream of Arrow's IPC format, for readers that cannot go back, such as those of a pipe.
    ///
    /// # Errors
    /// As of [`parquet`](Export::parquet).
    #[cfg(feature = "arrow")]
    pub fn arrow_stream(self, out: impl Write) -> Result<Exported> {
        self.batches(|columns| arrow::Arrow::stream(out, columns))
    }

    #[cfg(feature = "arrow")]
    fn batches<W: Write>(self, begin: impl FnOnce(&Columns) -> Result<arrow::Arrow<W>>) -> Result<Exported> {
        self.table(
            begin,
            |arrow, columns, row| {
                columns.push(row.lead.iter().cloned(), row.value)?;
                if columns.is_full() { arrow.put(columns) } else { Ok(()) }
            },
            arrow::Arrow::end,
        )
    }

    /// Goes over the rows twice: to learn the columns, and to write them.
    #[cfg(any(feature = "arrow", feature = "csv", feature = "parquet"))]
    fn table<T>(
        mut self,
        begin: impl FnOnce(&Columns) -> Result<T>,
        mut put: impl FnMut(&mut T, &mut Columns, &Row<'_>) -> Result<()>,
        end: impl FnOnce(T, &mut Columns) -> Result<()>,
    ) -> Result<Exported> {
        let mut begin = Some(begin);
        let mut table = None;
        let mut times = 0;
        loop {
            times += 1;
            let rows = self.rows()?;
            let (mut fields, mut raw) = (Fields::default(), false);
            let seen = rows.each(&mut self.watcher(Exporting::Types), &mut |row| {
                raw |= row.is_raw;
                row.value.map_or(Ok(()), |value| fields.see(value))
            });
            let written = seen.and_then(|all| {
                let mut lead = rows.lead();
                // Few cohorts have raw records, and a column of nothing would only be in the way.
                lead.retain(|lead| raw || lead.name != rows::RAW);
                let mut columns = fields.columns(lead);
                let watch = &mut self.watcher(|rows| Exporting::Rows(rows, Some(all)));
                let written = rows.each(watch, &mut |row| {
                    let table = match &mut table {
                        Some(table) => table,
                        none => none.insert(begun(&mut begin, &columns)?),
                    };
                    put(table, &mut columns, row)
                })?;
                Ok((written, columns))
            });
            let (written, mut columns) = match written {
                Err(e) if e.is_compacted() && table.is_none() && times < TIMES => continue,
                other => other?,
            };
            let table = match table {
                Some(table) => table,
                None => begun(&mut begin, &columns)?,
            };
            end(table, &mut columns)?;
            return Ok(rows.exported(written, columns.of_digits()));
        }
    }

    fn rows(&self) -> Result<Rows> {
        Rows::open(self.cohort, self.what, &self.parts)
    }

    fn watcher(&mut self, step: impl Fn(u64) -> Exporting) -> impl FnMut(u64) -> Result<()> {
        move |rows| match &mut self.watch {
            Some(watch) if rows % ROWS_BETWEEN == 0 => {
                watch(step(rows)).map_err(|e| Error::of_output("the export was stopped", e))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(any(feature = "arrow", feature = "csv", feature = "parquet"))]
fn begun<T>(begin: &mut Option<impl FnOnce(&Columns) -> Result<T>>, columns: &Columns) -> Result<T> {
    // A table is begun once, for it is kept from then on.
    let begin = begin.take().ok_or_else(|| Error::invalid("the table was begun already"))?;
    begin(columns)
}
