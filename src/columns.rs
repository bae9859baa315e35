//! Values as the columns of a table: which type each field has, and rows gathered by column.
//!
//! In front are columns that the table has in any case, such as `key` and `seq`; behind them the fields of the values, in the
//! order in which they are first met, so that a table depends on its rows alone. What type a column has is known only when every
//! row has been seen. So whoever makes a table goes over the rows twice: [`Fields`] the first time, [`Columns`] the second.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::fold::EntryRef;
use crate::mirror::plain;
use crate::value::{self, Shape};

/// The column of values that are no objects.
const VALUE: &str = "value";
/// What a field has in front whose name is taken.
const MOVED: &str = "value.";
/// More fields than this are no table: they are keys that ended up one level too low.
const MOST_COLUMNS: usize = 10_000;
/// A group of rows ends when it has this many cells, or its texts this many bytes.
const GROUP_CELLS: usize = 1 << 20;
const GROUP_BYTES: usize = 16 << 20;
/// A longer text is no cell: the formats count the bytes of a group's texts in 31 bits.
const LONGEST_TEXT: usize = 1 << 30;

/// A value to be taken apart into fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    pub(crate) json: &'a str,
    pub(crate) nonfinite: bool,
    /// The record or entry that it belongs to.
    pub(crate) seq: u64,
}

impl<'a> Value<'a> {
    pub(crate) fn of(entry: EntryRef<'a>) -> Value<'a> {
        Value { json: entry.json, nonfinite: entry.nonfinite, seq: entry.seq }
    }
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Int,
    Double,
    Bool,
    Text,
    /// The JSON text of what no other type holds: lists and objects, and values of several types.
    Json,
    /// Microseconds since 1970, UTC.
    Time,
}

/// A column in front of the fields.
#[derive(Clone, Debug)]
pub(crate) struct Lead {
    pub(crate) name: String,
    pub(crate) type_: Type,
    /// Whether every row has something there.
    pub(crate) required: bool,
}

impl Type {
    pub(crate) fn is_time(self) -> bool {
        self == Type::Time
    }
}

impl Lead {
    pub(crate) fn always(name: &str, type_: Type) -> Lead {
        Lead { name: name.into(), type_, required: true }
    }

    pub(crate) fn perhaps(name: &str, type_: Type) -> Lead {
        Lead { name: name.into(), type_, required: false }
    }
}

/// Something in a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell<'a> {
    Int(i64),
    Double(f64),
    Bool(bool),
    Text(Cow<'a, str>),
}

impl<'a> Cell<'a> {
    pub(crate) fn text(text: &'a str) -> Cell<'a> {
        Cell::Text(Cow::Borrowed(text))
    }

    /// Nobody counts so far that this is not exact.
    pub(crate) fn seq(seq: u64) -> Cell<'a> {
        Cell::Int(i64::try_from(seq).unwrap_or(i64::MAX))
    }
}

/// The fields of all values, in the order in which they were met, and what stood in them.
#[derive(Default)]
pub(crate) struct Fields {
    at: HashMap<String, usize>,
    names: Vec<String>,
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    int: bool,
    /// A whole number beyond 64 bits.
    wide: bool,
    /// A whole number that no double is.
    inexact: bool,
    double: bool,
    bool: bool,
    text: bool,
    nested: bool,
}

impl Fields {
    pub(crate) fn see(&mut self, value: Value<'_>) -> Result<()> {
        for (name, json) in members(value)? {
            let at = match self.at.get(&*name) {
                Some(at) => *at,
                None if self.names.len() == MOST_COLUMNS => {
                    return Err(Error::invalid(format!(
                        "the values have more than {MOST_COLUMNS} fields in all"
                    ))
                    .advise("that is no table: write it as JSON"));
                }
                None => {
                    self.at.insert(name.to_string(), self.names.len());
                    self.names.push(name.into_owned());
                    self.seen.push(Seen::default());
                    self.names.len() - 1
                }
            };
            self.seen[at].see(Shape::of(json, value.nonfinite));
        }
        Ok(())
    }

    /// The columns that hold all that was seen, behind those of `lead`.
    pub(crate) fn columns(self, lead: Vec<Lead>) -> Columns {
        let mut names: Vec<String> = lead.iter().map(|lead| lead.name.clone()).collect();
        let mut columns: Vec<Column> = lead.into_iter().map(Column::of).collect();
        let leading = columns.len();
        for (mut name, seen) in self.names.into_iter().zip(self.seen) {
            // The columns in front keep their names.
            while names[..leading].contains(&name) || name.starts_with(MOVED) && names.contains(&name) {
                name.insert_str(0, MOVED);
            }
            names.push(name.clone());
            let mut column = Column::of(Lead { name, type_: seen.type_(), required: false });
            column.digits = seen.is_kept_by_digits();
            columns.push(column);
        }
        Columns { leading, at: self.at, all: columns, rows: 0, bytes: 0 }
    }
}

impl Seen {
    fn see(&mut self, shape: Shape<'_>) {
        match shape {
            Shape::Null => {}
            Shape::Bool(_) => self.bool = true,
            Shape::Text(_) => self.text = true,
            Shape::List | Shape::Object => self.nested = true,
            Shape::Nonfinite(_) => self.double = true,
            Shape::Number(text) => match text.parse::<i64>() {
                Ok(int) => {
                    self.int = true;
                    // A double goes through here unchanged if it is the same whole number.
                    self.inexact |= int as f64 as i128 != i128::from(int);
                }
                Err(_) if text.contains(['.', 'e', 'E']) => self.double = true,
                Err(_) => {
                    self.wide = true;
                    // With a precision all digits of the double are written; without, no more than tell it from others.
                    self.inexact |= text.parse::<f64>().map_or(true, |double| format!("{double:.0}") != text);
                }
            },
        }
    }

    /// The type that holds them all.
    fn type_(self) -> Type {
        let Seen { int, wide, double, bool, text, nested, .. } = self;
        match (int || wide || double, bool, text, nested) {
            (true, false, false, false) if self.is_kept_by_digits() => Type::Text,
            (true, false, false, false) if double => Type::Double,
            (true, false, false, false) => Type::Int,
            (false, true, false, false) => Type::Bool,
            (false, false, _, false) => Type::Text,
            _ => Type::Json,
        }
    }

    /// Whether there are only numbers, and among them whole ones that no type of numbers holds together with the others without
    /// a loss: then all stay what they are, text.
    fn is_kept_by_digits(self) -> bool {
        let Seen { wide, inexact, double, bool, text, nested, .. } = self;
        let only_numbers = !bool && !text && !nested;
        only_numbers && if double { inexact } else { wide }
    }
}

/// A table's columns, and the rows of the group that is being made.
pub(crate) struct Columns {
    leading: usize,
    at: HashMap<String, usize>,
    all: Vec<Column>,
    rows: usize,
    bytes: usize,
}

/// A column, and its cells in the group that is being made.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) type_: Type,
    pub(crate) required: bool,
    /// Whether its texts are numbers that no type of numbers holds.
    pub(crate) digits: bool,
    /// Of rows that have something there.
    pub(crate) cells: Cells,
    /// For each row whether there is something.
    pub(crate) there: Vec<bool>,
}

#[derive(Debug)]
pub(crate) enum Cells {
    /// Times too.
    Int(Vec<i64>),
    Double(Vec<f64>),
    Bool(Vec<bool>),
    Text(Vec<String>),
}

impl Columns {
    pub(crate) fn all(&self) -> &[Column] {
        &self.all
    }

    /// For whoever takes the cells of a group.
    #[cfg(feature = "parquet")]
    pub(crate) fn all_mut(&mut self) -> &mut [Column] {
        &mut self.all
    }

    /// What stands in each field of a value: JSON text. Of a name given twice the last counts.
    pub(crate) fn row<'a>(&self, value: Option<Value<'a>>) -> Result<Vec<Option<&'a str>>> {
        let mut row = vec![None; self.all.len() - self.leading];
        let members = value.map_or(Ok(Vec::new()), members)?;
        for (name, json) in members {
            // Rows never change, so what was not seen the first time is damage that no CRC has seen.
            let at = self
                .at
                .get(&*name)
                .ok_or_else(|| Error::corruption("a row has changed while it was read"))?;
            row[*at] = Some(json);
        }
        Ok(row)
    }

    /// The columns in front.
    pub(crate) fn lead(&self) -> &[Column] {
        &self.all[..self.leading]
    }

    /// The columns of the fields, in the order of [`row`](Columns::row).
    pub(crate) fn fields(&self) -> &[Column] {
        &self.all[self.leading..]
    }

    /// Adds a row: what stands in front, and a value.
    pub(crate) fn push<'a>(
        &mut self,
        lead: impl IntoIterator<Item = Option<Cell<'a>>>,
        value: Option<Value<'_>>,
    ) -> Result<()> {
        let row = self.row(value)?;
        let nonfinite = value.is_some_and(|value| value.nonfinite);
        let (leading, fields) = self.all.split_at_mut(self.leading);
        for (column, cell) in leading.iter_mut().zip(lead) {
            self.bytes += column.push(cell)?;
        }
        for (column, json) in fields.iter_mut().zip(row) {
            let cell = json.and_then(|json| column.cell(json, nonfinite));
            self.bytes += column.push(cell)?;
        }
        self.rows += 1;
        Ok(())
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the group is to be written before there are more rows.
    pub(crate) fn is_full(&self) -> bool {
        self.rows * self.all.len() >= GROUP_CELLS || self.bytes >= GROUP_BYTES
    }

    /// The next group begins.
    pub(crate) fn clear(&mut self) {
        (self.rows, self.bytes) = (0, 0);
        self.all.iter_mut().for_each(Column::clear);
    }

    /// The names of the columns whose numbers are text, for that is all that holds them.
    pub(crate) fn of_digits(&self) -> Vec<String> {
        self.all.iter().filter(|column| column.digits).map(|column| column.name.clone()).collect()
    }
}

impl Column {
    fn of(lead: Lead) -> Column {
        let Lead { name, type_, required } = lead;
        let cells = match type_ {
            Type::Int | Type::Time => Cells::Int(Vec::new()),
            Type::Double => Cells::Double(Vec::new()),
            Type::Bool => Cells::Bool(Vec::new()),
            Type::Text | Type::Json => Cells::Text(Vec::new()),
        };
        Column { name, type_, required, digits: false, cells, there: Vec::new() }
    }

    /// A value as this column has it; `None`: null.
    pub(crate) fn cell<'a>(&self, json: &'a str, nonfinite: bool) -> Option<Cell<'a>> {
        let shape = match Shape::of(json, nonfinite) {
            Shape::Null => return None,
            _ if self.type_ == Type::Json => return Some(Cell::Text(plain(json, nonfinite))),
            shape => shape,
        };
        Some(match shape {
            Shape::Bool(bool) => Cell::Bool(bool),
            Shape::Text(text) => Cell::Text(text),
            // As words, NaN and the infinities.
            Shape::Number(_) | Shape::Nonfinite(_) if self.digits => Cell::text(json.trim_matches('"')),
            Shape::Number(digits) if self.type_ == Type::Int => Cell::Int(digits.parse().ok()?),
            Shape::Number(digits) => Cell::Double(digits.parse().ok()?),
            Shape::Nonfinite(number) => Cell::Double(number),
            // Not in a column that holds none: those that do are of JSON.
            Shape::Null | Shape::List | Shape::Object => return None,
        })
    }

    /// Returns how many bytes of text that were.
    fn push(&mut self, cell: Option<Cell<'_>>) -> Result<usize> {
        let mut bytes = 0;
        match (&mut self.cells, cell) {
            (Cells::Int(cells), Some(Cell::Int(int))) => cells.push(int),
            (Cells::Double(cells), Some(Cell::Double(double))) => cells.push(double),
            (Cells::Bool(cells), Some(Cell::Bool(bool))) => cells.push(bool),
            (Cells::Text(cells), Some(Cell::Text(text))) => {
                bytes = text.len();
                if bytes > LONGEST_TEXT {
                    return Err(Error::invalid(format!("a text of {bytes} bytes is too long for a table"))
                        .advise("write it as JSON"));
                }
                cells.push(text.into_owned());
            }
            // Nothing; for a column's type was chosen to hold each of its values.
            _ => {
                self.there.push(false);
                return Ok(0);
            }
        }
        self.there.push(true);
        Ok(bytes)
    }

    fn clear(&mut self) {
        self.there.clear();
        match &mut self.cells {
            Cells::Int(cells) => cells.clear(),
            Cells::Double(cells) => cells.clear(),
            Cells::Bool(cells) => cells.clear(),
            Cells::Text(cells) => cells.clear(),
        }
    }
}

/// The members of an object; any other value is one by itself.
fn members(value: Value<'_>) -> Result<Vec<(Cow<'_, str>, &str)>> {
    if !value.json.starts_with('{') {
        return Ok(vec![(VALUE.into(), value.json)]);
    }
    let members = value::members(value.json)
        .map_err(|fault| Error::corruption(format!("a value is not JSON: {fault}")).at_seq(value.seq))?;
    Ok(members.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Value<'_> {
        Value { json, nonfinite: false, seq: 1 }
    }

    fn columns_of(rows: &[Value<'_>]) -> Columns {
        let mut fields = Fields::default();
        for row in rows {
            fields.see(*row).unwrap();
        }
        let mut columns = fields.columns(vec![Lead::always("key", Type::Text)]);
        for row in rows {
            columns.push([Some(Cell::text("k"))], Some(*row)).unwrap();
        }
        columns
    }

    /// The type that a field gets that holds these values, one after another.
    fn type_of(values: &[&str]) -> Type {
        let rows: Vec<String> = values.iter().map(|value| format!("{{\"f\":{value}}}")).collect();
        let rows: Vec<Value<'_>> = rows.iter().map(|row| value(row)).collect();
        columns_of(&rows).all()[1].type_
    }

    #[test]
    fn a_column_has_the_type_that_holds_all_its_values_without_a_loss() {
        for (values, type_) in [
            (&["1", "-9223372036854775808", "null"][..], Type::Int),
            (&["9223372036854775807", "9223372036854775808"], Type::Text),
            (&["1", "0.5"], Type::Double),
            (&["9007199254740992", "0.5"], Type::Double),
            (&["9007199254740993", "0.5"], Type::Text),
            (&["1180591620717411303424", "1e3"], Type::Double),
            (&["1180591620717411303425", "1e3"], Type::Text),
            (&["true", "false"], Type::Bool),
            (&["\"a\"", "null"], Type::Text),
            (&["null"], Type::Text),
            (&["1", "true"], Type::Json),
            (&["1", "\"1\""], Type::Json),
            (&["[1]"], Type::Json),
            (&["{}", "null"], Type::Json),
        ] {
            assert_eq!(type_of(values), type_, "{values:?}");
        }
    }

    #[test]
    fn cells_are_what_the_values_say_and_digits_stay_where_no_number_holds_them() {
        let rows = [
            value(r#"{"n":1,"x":1,"big":18446744073709551615,"mixed":1,"s":"a\n"}"#),
            value(r#"{"n":null,"x":0.5,"big":1,"mixed":"1","s":"","n":2,"late":[1, 2]}"#),
            value("17"),
            Value { nonfinite: true, ..value(r#"{"x":"NaN","s":"~NaN","mixed":"~~NaN"}"#) },
        ];
        let columns = columns_of(&rows);
        let shown: Vec<(&str, String, &[bool])> = columns
            .all()
            .iter()
            .map(|column| (column.name.as_str(), format!("{:?}", column.cells), &column.there[..]))
            .collect();
        let (yes, no) = (true, false);
        assert_eq!(
            shown,
            [
                ("key", r#"Text(["k", "k", "k", "k"])"#.into(), &[yes, yes, yes, yes][..]),
                ("n", "Int([1, 2])".into(), &[yes, yes, no, no]),
                ("x", "Double([1.0, 0.5, NaN])".into(), &[yes, yes, no, yes]),
                ("big", r#"Text(["18446744073709551615", "1"])"#.into(), &[yes, yes, no, no]),
                ("mixed", r#"Text(["1", "\"1\"", "\"~NaN\""])"#.into(), &[yes, yes, no, yes]),
                ("s", r#"Text(["a\n", "", "NaN"])"#.into(), &[yes, yes, no, yes]),
                ("late", r#"Text(["[1, 2]"])"#.into(), &[no, yes, no, no]),
                ("value", "Int([17])".into(), &[no, no, yes, no]),
            ]
        );
        assert_eq!(columns.of_digits(), ["big"]);
    }

    #[test]
    fn a_field_whose_name_is_taken_moves_and_no_two_columns_share_one() {
        let columns = columns_of(&[value(r#"{"value.key":1,"key":2,"value.value.key":3}"#)]);
        let names: Vec<&str> = columns.all().iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["key", "value.key", "value.value.key", "value.value.value.key"]);
    }
}
