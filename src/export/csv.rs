//! Rows as CSV: the names of the columns, then a line for each row.

use std::borrow::Cow;
use std::io::Write;

use csv::Writer;

use super::Row;
use crate::columns::{Cell, Columns};
use crate::error::{Error, Result};
use crate::moment;

pub(super) struct Csv<W: Write>(Writer<W>);

impl<W: Write> Csv<W> {
    pub(super) fn begin(out: W, columns: &Columns) -> Result<Csv<W>> {
        let mut csv = Csv(Writer::from_writer(out));
        csv.line(columns.all().iter().map(|column| column.name.as_str().into()))?;
        Ok(csv)
    }

    /// Numbers keep the digits that they have.
    pub(super) fn put(&mut self, columns: &Columns, row: &Row<'_>) -> Result<()> {
        let nonfinite = row.value.is_some_and(|value| value.nonfinite);
        let lead = row.lead.iter().zip(columns.lead());
        let lead = lead.map(|(cell, column)| cell.as_ref().map(|cell| text(cell, column.type_.is_time())));
        let fields = columns.fields().iter().zip(columns.row(row.value)?).map(|(column, json)| {
            let json = json?;
            Some(match column.cell(json, nonfinite)? {
                Cell::Text(text) => text,
                Cell::Double(double) if !double.is_finite() => text(&Cell::Double(double), false),
                // As it stands.
                Cell::Int(_) | Cell::Double(_) | Cell::Bool(_) => Cow::Borrowed(json),
            })
        });
        self.line(lead.chain(fields).map(Option::unwrap_or_default))
    }

    fn line<'a>(&mut self, texts: impl Iterator<Item = Cow<'a, str>>) -> Result<()> {
        for text in texts {
            self.0.write_field(text.as_bytes()).map_err(failed)?;
        }
        self.0.write_record(None::<&[u8]>).map_err(failed)
    }

    pub(super) fn end(mut self) -> Result<()> {
        self.0.flush().map_err(|e| Error::of_output(WHAT, e))
    }
}

const WHAT: &str = "the rows cannot be written";

/// As Rust spells NaN and the infinities pandas, polars, DuckDB and Arrow all read them.
fn text<'a>(cell: &Cell<'a>, time: bool) -> Cow<'a, str> {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Int(time_us) if time => moment::micros(*time_us).into(),
        Cell::Int(int) => int.to_string().into(),
        Cell::Double(double) => double.to_string().into(),
        Cell::Bool(bool) => bool.to_string().into(),
    }
}

fn failed(e: csv::Error) -> Error {
    let text = e.to_string();
    match e.into_kind() {
        csv::ErrorKind::Io(io) => Error::of_output(WHAT, io),
        _ => Error::invalid(format!("{WHAT}: {text}")),
    }
}
