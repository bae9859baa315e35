//! Rows as Arrow's own files: record batches, in its file format or in that of its streams.

use std::io::Write;
use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray, RecordBatch, StringArray};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};

use crate::columns::{Cells, Column, Columns, Type};
use crate::error::{Error, Result};

/// One of the two formats, being written batch by batch.
pub(super) enum Arrow<W: Write> {
    File(FileWriter<W>),
    Stream(StreamWriter<W>),
}

impl<W: Write> Arrow<W> {
    /// What has to be read from its end: `.arrow`, `.feather`.
    pub(super) fn file(out: W, columns: &Columns) -> Result<Arrow<W>> {
        FileWriter::try_new(out, &schema(columns.all())).map(Arrow::File).map_err(failed)
    }

    /// What can be read as it comes.
    pub(super) fn stream(out: W, columns: &Columns) -> Result<Arrow<W>> {
        StreamWriter::try_new(out, &schema(columns.all())).map(Arrow::Stream).map_err(failed)
    }

    /// Writes the rows that there are as a batch, and clears them.
    pub(super) fn put(&mut self, columns: &mut Columns) -> Result<()> {
        let arrays = columns.all().iter().map(array).collect();
        let schema = Arc::new(schema(columns.all()));
        let batch = RecordBatch::try_new(schema, arrays).map_err(failed)?;
        match self {
            Arrow::File(file) => file.write(&batch),
            Arrow::Stream(stream) => stream.write(&batch),
        }
        .map_err(failed)?;
        columns.clear();
        Ok(())
    }

    pub(super) fn end(mut self, columns: &mut Columns) -> Result<()> {
        if columns.rows() > 0 {
            self.put(columns)?;
        }
        match &mut self {
            Arrow::File(file) => file.finish(),
            Arrow::Stream(stream) => stream.finish(),
        }
        .map_err(failed)
    }
}

fn schema(columns: &[Column]) -> Schema {
    let field = |column: &Column| {
        let type_ = match column.type_ {
            Type::Int => DataType::Int64,
            Type::Double => DataType::Float64,
            Type::Bool => DataType::Boolean,
            Type::Text | Type::Json => DataType::Utf8,
            Type::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        };
        Field::new(&column.name, type_, !column.required)
    };
    Schema::new(columns.iter().map(field).collect::<Vec<_>>())
}

fn array(column: &Column) -> ArrayRef {
    match &column.cells {
        Cells::Int(cells) if column.type_ == Type::Time => {
            Arc::new(primitive::<TimestampMicrosecondType>(column, cells).with_timezone("UTC"))
        }
        Cells::Int(cells) => Arc::new(primitive::<Int64Type>(column, cells)),
        Cells::Double(cells) => Arc::new(primitive::<Float64Type>(column, cells)),
        Cells::Bool(cells) => {
            Arc::new(spread(column, cells).map(Option::<&bool>::copied).collect::<BooleanArray>())
        }
        Cells::Text(cells) => {
            Arc::new(spread(column, cells).map(|text| text.map(String::as_str)).collect::<StringArray>())
        }
    }
}

fn primitive<T: ArrowPrimitiveType>(column: &Column, cells: &[T::Native]) -> PrimitiveArray<T> {
    spread(column, cells).map(Option::<&T::Native>::copied).collect()
}

/// A cell or none for each row.
fn spread<'a, T>(column: &'a Column, cells: &'a [T]) -> impl Iterator<Item = Option<&'a T>> {
    let mut cells = cells.iter();
    column.there.iter().map(move |there| there.then(|| cells.next()).flatten())
}

fn failed(e: ArrowError) -> Error {
    const WHAT: &str = "the Arrow file cannot be written";
    match e {
        ArrowError::IoError(_, io) => Error::of_output(WHAT, io),
        other => Error::invalid(format!("{WHAT}: {other}")),
    }
}
