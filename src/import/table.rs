//! The rows of a Parquet file as JSON text: each an object with the columns as members, in the order of the columns.

use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::basic::{LogicalType, TimeUnit};
use parquet::data_type::Decimal;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::moment::{clock, date, timestamp};
use crate::value;

/// Gives `take` each row and its number, from 1.
pub(super) fn each(
    file: std::fs::File,
    take: impl FnMut(u64, std::result::Result<&[u8], String>) -> Result<()>,
) -> Result<()> {
    rows(file, take)
}

/// The same of a file in memory.
pub(super) fn each_of(
    bytes: Vec<u8>,
    take: impl FnMut(u64, std::result::Result<&[u8], String>) -> Result<()>,
) -> Result<()> {
    rows(bytes::Bytes::from(bytes), take)
}

fn rows(
    input: impl ChunkReader + 'static,
    mut take: impl FnMut(u64, std::result::Result<&[u8], String>) -> Result<()>,
) -> Result<()> {
    let file = guarded("its end", || SerializedFileReader::new(input))?;
    let columns: Vec<Times> =
        file.metadata().file_metadata().schema().get_fields().iter().map(|field| times(field)).collect();
    let mut rows = guarded("its columns", || file.get_row_iter(None))?;
    let mut text = String::new();
    for number in 1.. {
        let next = guarded(&format!("row {number}"), || rows.next().transpose())?;
        let Some(row) = next else { break };
        text.clear();
        let written = object(&row, &columns, &mut text);
        take(number, written.map(|()| text.as_bytes()))?;
    }
    Ok(())
}

/// The crate panics at some files that are not what they say, and at types that its rows do not have.
fn guarded<T>(what: &str, act: impl FnOnce() -> std::result::Result<T, ParquetError>) -> Result<T> {
    let failed =
        |why: &dyn std::fmt::Display| Error::invalid(format!("{what} cannot be read as Parquet: {why}"));
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(e)) => Err(failed(&e)),
        Err(_) => Err(failed(&"it is damaged, or has a type that is not known here")),
    }
}

/// What rows do not tell of a column of times.
#[derive(Clone, Copy, Default)]
struct Times {
    /// Rows show them as plain numbers.
    nanos: bool,
    /// They are moments, and no readings of a clock somewhere.
    utc: bool,
}

fn times(field: &parquet::schema::types::Type) -> Times {
    match field.get_basic_info().logical_type_ref() {
        Some(LogicalType::Timestamp(time)) => {
            Times { nanos: time.unit == TimeUnit::NANOS, utc: time.is_adjusted_to_u_t_c }
        }
        _ => Times::default(),
    }
}

type Written = std::result::Result<(), String>;

fn object(row: &Row, columns: &[Times], out: &mut String) -> Written {
    out.push('{');
    for (i, (name, field)) in row.get_column_iter().enumerate() {
        out.push_str(if i > 0 { "," } else { "" });
        put(name, out)?;
        out.push(':');
        let times = columns.get(i).copied().unwrap_or_default();
        json(field, times, out).map_err(|what| format!("the column {name:?} {what}"))?;
    }
    out.push('}');
    Ok(())
}

/// A value as JSON, with the words NaN, Infinity and -Infinity as Python would write them.
fn json(field: &Field, times: Times, out: &mut String) -> Written {
    match field {
        Field::Null => out.push_str("null"),
        Field::Bool(value) => put(value, out)?,
        Field::Byte(value) => put(value, out)?,
        Field::Short(value) => put(value, out)?,
        Field::Int(value) => put(value, out)?,
        Field::Long(nanos) if times.nanos => text(&timestamp(*nanos, 1_000_000_000, 9, times.utc), out)?,
        Field::Long(value) => put(value, out)?,
        Field::UByte(value) => put(value, out)?,
        Field::UShort(value) => put(value, out)?,
        Field::UInt(value) => put(value, out)?,
        Field::ULong(value) => put(value, out)?,
        Field::Float16(value) => double(f64::from(*value), value.to_f32(), out)?,
        Field::Float(value) => double(f64::from(*value), value, out)?,
        Field::Double(value) => double(*value, value, out)?,
        Field::Decimal(value) => out.push_str(&decimal(value)?),
        Field::Str(value) => text(value, out)?,
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            // Older writers do not say that their bytes are text.
            Ok(value) => text(value, out)?,
            Err(_) => return Err("holds bytes that are no text".into()),
        },
        Field::Date(days) => text(&date(i64::from(*days)), out)?,
        Field::TimeMillis(value) => text(&clock(i64::from(*value), 1_000, 3), out)?,
        Field::TimeMicros(value) => text(&clock(*value, 1_000_000, 6), out)?,
        Field::TimestampMillis(value) => text(&timestamp(*value, 1_000, 3, times.utc), out)?,
        Field::TimestampMicros(value) => text(&timestamp(*value, 1_000_000, 6, times.utc), out)?,
        Field::Group(row) => object(row, &[], out)?,
        Field::ListInternal(list) => {
            out.push('[');
            for (i, element) in list.elements().iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                json(element, Times::default(), out)?;
            }
            out.push(']');
        }
        Field::MapInternal(map) => {
            out.push('{');
            for (i, (name, value)) in map.entries().iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                match name {
                    Field::Str(name) => text(name, out)?,
                    _ => return Err("holds a map whose keys are no texts".into()),
                }
                out.push(':');
                json(value, Times::default(), out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn put<T: Serialize + ?Sized>(value: &T, out: &mut String) -> Written {
    let mut bytes = std::mem::take(out).into_bytes();
    let put =
        value::encode(value, &mut bytes).map(|_| ()).map_err(|fault| format!("cannot be JSON: {fault}"));
    *out = String::from_utf8(bytes).map_err(|e| e.to_string())?;
    put
}

fn text(value: &str, out: &mut String) -> Written {
    put(value, out)
}

/// `shown` has as many digits as its type needs.
fn double(value: f64, shown: impl Serialize, out: &mut String) -> Written {
    match value {
        _ if value.is_nan() => out.push_str("NaN"),
        f64::INFINITY => out.push_str("Infinity"),
        f64::NEG_INFINITY => out.push_str("-Infinity"),
        _ => put(&shown, out)?,
    }
    Ok(())
}

/// A number with all the digits that the column keeps.
fn decimal(value: &Decimal) -> std::result::Result<String, String> {
    let bytes = value.data();
    let scale = usize::try_from(value.scale()).map_err(|_| "holds a decimal of negative scale")?;
    if bytes.is_empty() || bytes.len() > 16 {
        return Err("holds a decimal of more than 128 bits".into());
    }
    let filling = if bytes[0] & 0x80 == 0 { 0 } else { 0xFF };
    let mut wide = [filling; 16];
    wide[16 - bytes.len()..].copy_from_slice(bytes);
    let number = i128::from_be_bytes(wide);
    let sign = if number < 0 { "-" } else { "" };
    let digits = format!("{:0width$}", number.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale > 0 { "." } else { "" };
    Ok(format!("{sign}{whole}{point}{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_keep_their_digits() {
        let decimal_of = |value: i64, scale| decimal(&Decimal::from_i64(value, 18, scale)).unwrap();
        assert_eq!(decimal_of(12_350, 2), "123.50");
        assert_eq!(decimal_of(-5, 3), "-0.005");
        assert_eq!(decimal_of(0, 1), "0.0");
        assert_eq!(decimal_of(i64::MIN, 0), "-9223372036854775808");
        let wide = parquet::data_type::ByteArray::from(vec![0xFF; 3]);
        assert_eq!(decimal(&Decimal::from_bytes(wide, 7, 1)).unwrap(), "-0.1");
    }
}
