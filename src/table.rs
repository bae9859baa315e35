//! A state as a Parquet table: a row for each entry, a column for each field of the values.
//!
//! The columns are `key`, `seq`, and then the fields in the order in which they are first met, key by key; so a table depends on
//! the state alone. What type a column has is known only when every entry has been seen, so the state is gone over twice, and
//! memory is taken for the columns and one group of rows.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::fold::EntryRef;
use crate::mirror::{Plain, State, plain};
use crate::value::{self, Meaning};

const KEY: &str = "key";
const SEQ: &str = "seq";
/// The column of values that are no objects.
const VALUE: &str = "value";
/// What a field has in front whose name is taken.
const MOVED: &str = "value.";
/// More fields than this are no table: they are keys that ended up one level too low.
const MOST_COLUMNS: usize = 10_000;
/// A group of rows ends when it has this many cells, or its texts this many bytes.
const GROUP_CELLS: usize = 1 << 20;
const GROUP_BYTES: usize = 16 << 20;

/// Writes the table and returns how many rows it has.
pub(crate) fn write(
    state: &State<'_>,
    out: &mut Plain,
    between: &mut dyn FnMut() -> Result<()>,
) -> Result<u64> {
    let mut fields = Fields::default();
    state.each(between, |_, entry| fields.see(entry))?;
    let (names, mut columns) = fields.columns();
    let schema = schema(&names, &columns).map_err(failed)?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut file = SerializedFileWriter::new(out, schema, Arc::new(properties)).map_err(failed)?;
    let (mut rows, mut bytes) = (0, 0);
    let entries = state.each(between, |key, entry| {
        bytes += key.len() + entry.json.len();
        columns[0].push(Some(Cell::Text(Cow::Borrowed(key))));
        columns[1].push(Some(Cell::Int(i64::try_from(entry.seq).unwrap_or(i64::MAX))));
        let mut row = vec![None; names.len() - 2];
        let members = members(entry)?;
        for (name, json) in &members {
            let at = fields.at(name)?;
            row[at] = columns[at + 2].cell(json, entry.nonfinite);
        }
        for (column, cell) in columns[2..].iter_mut().zip(row) {
            column.push(cell);
        }
        rows += 1;
        if rows * names.len() >= GROUP_CELLS || bytes >= GROUP_BYTES {
            (rows, bytes) = (0, 0);
            put_group(&mut file, &mut columns)?;
        }
        Ok(())
    })?;
    if rows > 0 {
        put_group(&mut file, &mut columns)?;
    }
    file.close().map_err(failed)?;
    Ok(entries)
}

fn put_group(file: &mut SerializedFileWriter<&mut Plain>, columns: &mut [Column]) -> Result<()> {
    let mut group = file.next_row_group().map_err(failed)?;
    for column in columns {
        column.write(&mut group).map_err(failed)?;
    }
    group.close().map(|_| ()).map_err(failed)
}

/// Key and seq are there in every row, everything else may be missing.
fn schema(names: &[String], columns: &[Column]) -> std::result::Result<TypePtr, ParquetError> {
    let mut fields = Vec::with_capacity(names.len());
    for (i, (name, column)) in names.iter().zip(columns).enumerate() {
        let (physical, logical) = match column.cells {
            Cells::Int(_) => (Physical::INT64, None),
            Cells::Double(_) => (Physical::DOUBLE, None),
            Cells::Bool(_) => (Physical::BOOLEAN, None),
            Cells::Text(_) | Cells::Json(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let repetition = if i < 2 { Repetition::REQUIRED } else { Repetition::OPTIONAL };
        let field = Type::primitive_type_builder(name, physical)
            .with_repetition(repetition)
            .with_logical_type(logical)
            .build()?;
        fields.push(Arc::new(field));
    }
    Type::group_type_builder("tallyfold").with_fields(fields).build().map(Arc::new)
}

/// The fields of all values, in the order in which they were met, and what stood in them.
#[derive(Default)]
struct Fields {
    at: HashMap<String, usize>,
    names: Vec<String>,
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    int: bool,
    double: bool,
    bool: bool,
    text: bool,
    nested: bool,
}

impl Fields {
    fn see(&mut self, entry: EntryRef<'_>) -> Result<()> {
        for (name, json) in members(entry)? {
            let at = match self.at.get(&*name) {
                Some(at) => *at,
                None if self.names.len() == MOST_COLUMNS => {
                    return Err(Error::invalid(format!(
                        "the values have more than {MOST_COLUMNS} fields in all"
                    ))
                    .advise("that is no table: mirror it as JSON"));
                }
                None => {
                    self.at.insert(name.to_string(), self.names.len());
                    self.names.push(name.into_owned());
                    self.seen.push(Seen::default());
                    self.names.len() - 1
                }
            };
            let seen = &mut self.seen[at];
            match kind(json, entry.nonfinite) {
                None => {}
                Some(Cell::Int(_)) => seen.int = true,
                Some(Cell::Double(_)) => seen.double = true,
                Some(Cell::Bool(_)) => seen.bool = true,
                Some(Cell::Text(_)) => seen.text = true,
                Some(Cell::Json) => seen.nested = true,
            }
        }
        Ok(())
    }

    fn at(&self, name: &str) -> Result<usize> {
        // A view never changes, so what was not seen the first time is damage that the CRC did not see.
        self.at.get(name).copied().ok_or_else(|| Error::corruption("a view has changed while it was read"))
    }

    fn columns(&self) -> (Vec<String>, Vec<Column>) {
        let mut names = vec![KEY.to_string(), SEQ.to_string()];
        let mut columns = vec![Column::of(Cells::Text(Vec::new())), Column::of(Cells::Int(Vec::new()))];
        for (name, seen) in self.names.iter().zip(&self.seen) {
            let mut name = name.clone();
            // Our own columns keep their names.
            while names[..2].contains(&name) || name.starts_with(MOVED) && names.contains(&name) {
                name.insert_str(0, MOVED);
            }
            names.push(name);
            columns.push(Column::of(seen.cells()));
        }
        (names, columns)
    }
}

impl Seen {
    /// The type that holds them all.
    fn cells(self) -> Cells {
        let Seen { int, double, bool, text, nested } = self;
        match (int || double, bool, text, nested) {
            (true, false, false, false) if !double => Cells::Int(Vec::new()),
            (true, false, false, false) => Cells::Double(Vec::new()),
            (false, true, false, false) => Cells::Bool(Vec::new()),
            (false, false, _, false) => Cells::Text(Vec::new()),
            _ => Cells::Json(Vec::new()),
        }
    }
}

/// A value in a table.
#[derive(Clone, Debug, PartialEq)]
enum Cell<'a> {
    Int(i64),
    Double(f64),
    Bool(bool),
    Text(Cow<'a, str>),
    /// An object or a list: only its text fits.
    Json,
}

/// What a value is; `None`: null.
fn kind(json: &str, nonfinite: bool) -> Option<Cell<'_>> {
    match json.as_bytes().first() {
        Some(b'n') => None,
        Some(b't' | b'f') => Some(Cell::Bool(json == "true")),
        Some(b'{' | b'[') => Some(Cell::Json),
        Some(b'"') => {
            let text = value::key_of(json.as_bytes()).unwrap_or_default();
            if !nonfinite {
                return Some(Cell::Text(text));
            }
            Some(match value::meaning(&text) {
                Meaning::Number(number) => Cell::Double(number),
                Meaning::Text(genuine) => Cell::Text(genuine.to_string().into()),
            })
        }
        // A number with a fraction or an exponent, or beyond 64 bits.
        _ => Some(json.parse().map_or_else(|_| Cell::Double(json.parse().unwrap_or(f64::NAN)), Cell::Int)),
    }
}

/// The members of an object; any other value is one by itself. Of a name given twice the last counts.
fn members<'a>(entry: EntryRef<'a>) -> Result<Vec<(Cow<'a, str>, &'a str)>> {
    if !entry.json.starts_with('{') {
        return Ok(vec![(VALUE.into(), entry.json)]);
    }
    let members: Members<'a> = serde_json::from_str(entry.json)
        .map_err(|e| Error::corruption(format!("a value is not JSON: {e}")).at_seq(entry.seq))?;
    Ok(members.0)
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Members<'de>, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((name, json)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((name.0, json.get()));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A name, borrowed where nothing in it is escaped.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A column of the group of rows being made.
struct Column {
    cells: Cells,
    /// For each row whether there is something, as the writer wants it.
    there: Vec<i16>,
}

enum Cells {
    Int(Vec<i64>),
    Double(Vec<f64>),
    Bool(Vec<bool>),
    Text(Vec<ByteArray>),
    /// Nested values, and such that no other type holds together.
    Json(Vec<ByteArray>),
}

impl Column {
    fn of(cells: Cells) -> Column {
        Column { cells, there: Vec::new() }
    }

    /// A value as this column has it.
    fn cell<'a>(&self, json: &'a str, nonfinite: bool) -> Option<Cell<'a>> {
        let cell = kind(json, nonfinite)?;
        Some(match (&self.cells, cell) {
            (Cells::Json(_), _) => Cell::Text(plain(json, nonfinite)),
            (Cells::Double(_), Cell::Int(_)) => Cell::Double(json.parse().unwrap_or(f64::NAN)),
            (_, cell) => cell,
        })
    }

    fn push(&mut self, cell: Option<Cell<'_>>) {
        match (&mut self.cells, cell) {
            (Cells::Int(cells), Some(Cell::Int(int))) => cells.push(int),
            (Cells::Double(cells), Some(Cell::Double(double))) => cells.push(double),
            (Cells::Bool(cells), Some(Cell::Bool(bool))) => cells.push(bool),
            (Cells::Text(cells) | Cells::Json(cells), Some(Cell::Text(text))) => {
                cells.push(ByteArray::from(text.as_bytes().to_vec()));
            }
            // Nothing; for a column's type was chosen to hold each of its values.
            _ => return self.there.push(0),
        }
        self.there.push(1);
    }

    fn write(
        &mut self,
        group: &mut SerializedRowGroupWriter<'_, &mut Plain>,
    ) -> std::result::Result<(), ParquetError> {
        match &mut self.cells {
            Cells::Int(cells) => put_column::<Int64Type>(group, cells, &self.there)?,
            Cells::Double(cells) => put_column::<DoubleType>(group, cells, &self.there)?,
            Cells::Bool(cells) => put_column::<BoolType>(group, cells, &self.there)?,
            Cells::Text(cells) | Cells::Json(cells) => {
                put_column::<ByteArrayType>(group, cells, &self.there)?
            }
        }
        self.there.clear();
        Ok(())
    }
}

fn put_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, &mut Plain>,
    cells: &mut Vec<T::T>,
    there: &[i16],
) -> std::result::Result<(), ParquetError> {
    let missing = || ParquetError::General("a group has fewer columns than its schema".into());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    // Of a column that is required nothing is said about what is there: all is.
    column.typed::<T>().write_batch(cells, Some(there), None)?;
    column.close()?;
    cells.clear();
    Ok(())
}

/// An error of ours comes back as what it was: whether the disk is full is worth knowing.
fn failed(e: ParquetError) -> Error {
    let text = e.to_string();
    let ours = match e {
        ParquetError::External(inner) => {
            inner.downcast::<std::io::Error>().ok().and_then(|io| io.into_inner())
        }
        _ => None,
    };
    match ours.and_then(|inner| inner.downcast::<Error>().ok()) {
        Some(ours) => *ours,
        None => Error::invalid(format!("the table cannot be written: {text}")),
    }
}
