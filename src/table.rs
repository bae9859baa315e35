//! A table as a Parquet file: a state's mirror, and what is exported. Groups of rows, a column for each field.

use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type as Node, TypePtr};

use crate::columns::{Cell, Cells, Column, Columns, Fields, Lead, Type, Value};
use crate::error::{Error, Result};
use crate::mirror::{Plain, State};

/// Writes a state as a table and returns how many rows it has.
pub(crate) fn write(
    state: &State<'_>,
    out: &mut Plain,
    between: &mut dyn FnMut() -> Result<()>,
) -> Result<u64> {
    let mut fields = Fields::default();
    state.each(between, |_, entry| fields.see(Value::of(entry)))?;
    let lead = vec![Lead::always("key", Type::Text), Lead::always("seq", Type::Int)];
    let mut columns = fields.columns(lead);
    let mut table = Table::begin(out, &columns)?;
    let entries = state.each(between, |key, entry| {
        columns.push([Some(Cell::text(key)), Some(Cell::seq(entry.seq))], Some(Value::of(entry)))?;
        if columns.is_full() {
            table.put(&mut columns)?;
        }
        Ok(())
    })?;
    table.end(&mut columns)?;
    Ok(entries)
}

/// A Parquet file that is written group by group.
pub(crate) struct Table<W: std::io::Write + Send>(SerializedFileWriter<W>);

impl<W: std::io::Write + Send> Table<W> {
    pub(crate) fn begin(out: W, columns: &Columns) -> Result<Table<W>> {
        let schema = schema(columns.all()).map_err(failed)?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        SerializedFileWriter::new(out, schema, Arc::new(properties)).map(Table).map_err(failed)
    }

    /// Writes the rows that there are as a group, and clears them.
    pub(crate) fn put(&mut self, columns: &mut Columns) -> Result<()> {
        let mut group = self.0.next_row_group().map_err(failed)?;
        for column in columns.all_mut() {
            write_column(&mut group, column).map_err(failed)?;
        }
        group.close().map_err(failed)?;
        columns.clear();
        Ok(())
    }

    pub(crate) fn end(mut self, columns: &mut Columns) -> Result<()> {
        if columns.rows() > 0 {
            self.put(columns)?;
        }
        self.0.close().map(|_| ()).map_err(failed)
    }
}

fn schema(columns: &[Column]) -> std::result::Result<TypePtr, ParquetError> {
    let mut fields = Vec::with_capacity(columns.len());
    for column in columns {
        let (physical, logical) = match column.type_ {
            Type::Int => (Physical::INT64, None),
            Type::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
            Type::Double => (Physical::DOUBLE, None),
            Type::Bool => (Physical::BOOLEAN, None),
            Type::Text | Type::Json => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let repetition = if column.required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
        let field = Node::primitive_type_builder(&column.name, physical)
            .with_repetition(repetition)
            .with_logical_type(logical)
            .build()?;
        fields.push(Arc::new(field));
    }
    Node::group_type_builder("tallyfold").with_fields(fields).build().map(Arc::new)
}

fn write_column<W: std::io::Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    column: &mut Column,
) -> std::result::Result<(), ParquetError> {
    // As the writer wants it.
    let there: Vec<i16> = column.there.iter().map(|there| i16::from(*there)).collect();
    match &mut column.cells {
        Cells::Int(cells) => put_column::<Int64Type, W>(group, cells, &there),
        Cells::Double(cells) => put_column::<DoubleType, W>(group, cells, &there),
        Cells::Bool(cells) => put_column::<BoolType, W>(group, cells, &there),
        Cells::Text(cells) => {
            let cells: Vec<ByteArray> = cells.drain(..).map(|text| text.into_bytes().into()).collect();
            put_column::<ByteArrayType, W>(group, &cells, &there)
        }
    }
}

fn put_column<T: DataType, W: std::io::Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    cells: &[T::T],
    there: &[i16],
) -> std::result::Result<(), ParquetError> {
    let missing = || ParquetError::General("a group has fewer columns than its schema".into());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    // Of a column that is required nothing is said about what is there: all is.
    column.typed::<T>().write_batch(cells, Some(there), None)?;
    column.close()
}

/// An error of ours comes back as what it was: whether the disk is full is worth knowing.
fn failed(e: ParquetError) -> Error {
    let text = e.to_string();
    let io = match e {
        ParquetError::External(inner) => inner.downcast::<std::io::Error>().ok(),
        _ => None,
    };
    match io {
        Some(io) => Error::of_output("the table cannot be written", *io),
        None => Error::invalid(format!("the table cannot be written: {text}")),
    }
}
