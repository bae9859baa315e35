//! From Rust values to text: serde_json's serializer, with an eye on the numbers that it would
//! write as `null`.

use super::Fault;
use super::check::{compact, verify};
use super::nonfinite::{escape_except, spelling};
use super::plain::is_plain;
use serde::{Serialize, Serializer, ser};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io;

/// Appends a value to `out` as compact JSON text: what serde_json writes, but NaN and the infinities are kept, and then the
/// text is under the flag: `true`.
///
/// The text is checked like any other: a `RawValue` may bring white space, which is removed, or something that is not a value,
/// which is refused. What a refusal leaves behind those bytes that were in `out` has no meaning.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<bool, Fault> {
    let start = out.len();
    let marks = Marks::default();
    let mut json = serde_json::Serializer::new(Counted { text: out, marks: &marks });
    value.serialize(Marking { inner: &mut json, marks: &marks })?;
    let text = str::from_utf8(&out[start..]).map_err(|error| Fault::whole(error.to_string()))?;
    let plain = is_plain(text);
    if !plain {
        verify(text)?;
    }

    // Whether strings need their `~` is known only now. They get it in the text rather than in a
    // second serialization: nothing obliges a `Serialize` to say the same thing twice, and the
    // strings inside a `RawValue` need it too.
    let numbers = marks.numbers.into_inner();
    let escaped = if numbers.is_empty() { Cow::Borrowed(text) } else { escape_except(text, &numbers) };
    let compacted = if plain { escaped } else { Cow::Owned(compact(&escaped).into_owned()) };
    if let Cow::Owned(text) = compacted {
        out.truncate(start);
        out.extend_from_slice(text.as_bytes());
    }
    Ok(!numbers.is_empty())
}

/// How deep a value nests at most: what a text may, by `verify`. That one sees the text when it is whole, and a value may nest
/// deeper than the stack.
const MOST_LEVELS: usize = 127;

/// Which strings of the text being written stand for numbers.
#[derive(Default)]
struct Marks {
    /// How much has been written.
    written: Cell<usize>,
    /// How many arrays and objects are around what is being written.
    levels: Cell<usize>,
    /// Where such strings begin, in order.
    numbers: RefCell<Vec<usize>>,
}

/// The text being written. serde_json keeps its writer to itself, so the length is told to the
/// marks.
struct Counted<'m> {
    /// Where it is written.
    text: &'m mut Vec<u8>,
    /// Who is told how much.
    marks: &'m Marks,
}

impl io::Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.text.extend_from_slice(bytes);
        self.marks.written.set(self.marks.written.get() + bytes.len());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A serializer, or a part of one, or a value, that writes and marks non-finite numbers on the way
/// through. Everything else passes as it is; keys pass by, since a key is no place for a number
/// that is not one.
struct Marking<'m, S> {
    /// What everything passes on to; of a value, the value.
    inner: S,
    /// Where the numbers are noted.
    marks: &'m Marks,
}

impl<'m, S> Marking<'m, S> {
    /// The same watch over something that belongs to this.
    fn over<U>(&self, inner: U) -> Marking<'m, U> {
        Marking { inner, marks: self.marks }
    }
}

impl Marks {
    /// Writes what is inside of an array or object.
    fn inside<T, E: ser::Error>(&self, write: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let levels = self.levels.get();
        if levels == MOST_LEVELS {
            return Err(E::custom("recursion limit exceeded"));
        }
        self.levels.set(levels + 1);
        let written = write();
        self.levels.set(levels);
        written
    }
}

impl<T: Serialize + ?Sized> Serialize for Marking<'_, &T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.serialize(self.over(serializer))
    }
}

impl<S: Serializer> Marking<'_, S> {
    /// Writes the string that stands for a number, and marks it.
    fn write_marked(self, string: &str) -> Result<S::Ok, S::Error> {
        let start = self.marks.written.get();
        self.marks.numbers.borrow_mut().push(start);
        self.inner.serialize_str(string)
    }
}

/// Scalars that cannot be a non-finite number.
macro_rules! pass {
    ($($method:ident($type:ty))*) => {$(
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        }
    )*};
}

/// Shapes that contain values.
macro_rules! open {
    ($($method:ident($($name:ident: $type:ty),*) -> $part:ident)*) => {$(
        fn $method(self, $($name: $type),*) -> Result<Marking<'m, S::$part>, S::Error> {
            let Marking { inner, marks } = self;
            Ok(Marking { inner: inner.$method($($name),*)?, marks })
        }
    )*};
}

impl<'m, S: Serializer> Serializer for Marking<'m, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Marking<'m, S::SerializeSeq>;
    type SerializeTuple = Marking<'m, S::SerializeTuple>;
    type SerializeTupleStruct = Marking<'m, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Marking<'m, S::SerializeTupleVariant>;
    type SerializeMap = Marking<'m, S::SerializeMap>;
    type SerializeStruct = Marking<'m, S::SerializeStruct>;
    type SerializeStructVariant = Marking<'m, S::SerializeStructVariant>;

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        // A finite f32 goes on as one: as f64 it would get digits that it does not have.
        match spelling(value.into()) {
            Some(string) => self.write_marked(string),
            None => self.inner.serialize_f32(value),
        }
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        match spelling(value) {
            Some(string) => self.write_marked(string),
            None => self.inner.serialize_f64(value),
        }
    }

    pass! {
        serialize_bool(bool)
        serialize_i8(i8)
        serialize_i16(i16)
        serialize_i32(i32)
        serialize_i64(i64)
        serialize_i128(i128)
        serialize_u8(u8)
        serialize_u16(u16)
        serialize_u32(u32)
        serialize_u64(u64)
        serialize_u128(u128)
        serialize_char(char)
        serialize_str(&str)
        serialize_bytes(&[u8])
        serialize_unit_struct(&'static str)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit()
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let value = self.over(value);
        self.inner.serialize_some(&value)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = self.over(value);
        self.inner.serialize_newtype_struct(name, &value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = self.over(value);
        self.marks.inside(|| self.inner.serialize_newtype_variant(name, index, variant, &value))
    }

    open! {
        serialize_seq(len: Option<usize>) -> SerializeSeq
        serialize_tuple(len: usize) -> SerializeTuple
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeTupleVariant
        serialize_map(len: Option<usize>) -> SerializeMap
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeStructVariant
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// The shapes whose parts have no name.
macro_rules! elements {
    ($($shape:ident $method:ident)*) => {$(
        impl<S: ser::$shape> ser::$shape for Marking<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                let value = self.over(value);
                self.marks.inside(|| self.inner.$method(&value))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

elements! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

/// The shapes whose parts have names known beforehand.
macro_rules! fields {
    ($($shape:ident)*) => {$(
        impl<S: ser::$shape> ser::$shape for Marking<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                let value = self.over(value);
                self.marks.inside(|| self.inner.serialize_field(name, &value))
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), S::Error> {
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

fields! { SerializeStruct SerializeStructVariant }

impl<S: ser::SerializeMap> ser::SerializeMap for Marking<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.inner.serialize_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        let value = self.over(value);
        self.marks.inside(|| self.inner.serialize_value(&value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Text;
    use super::super::samples::{self, Finite};
    use super::*;
    use quickcheck::QuickCheck;
    use serde_json::value::RawValue;
    use std::collections::{BTreeMap, HashMap};

    fn encoded<T: Serialize + ?Sized>(value: &T) -> (String, bool) {
        let Text { text, nonfinite } = samples::encoded(value).unwrap();
        (text, nonfinite)
    }

    fn fault<T: Serialize + ?Sized>(value: &T) -> Fault {
        samples::encoded(value).unwrap_err()
    }

    /// The story: how deep a value nests was asked of its text. One that nests deeper than the stack never came to be a text.
    #[test]
    fn a_value_that_nests_deeper_than_the_stack_is_refused() {
        #[derive(serde::Serialize)]
        enum Shape<'a> {
            Variant(Nested<'a>),
        }
        /// So many levels, of each kind in turn.
        struct Nested<'a>(usize, &'a str);
        impl Serialize for Nested<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let Nested(levels, leaf) = *self;
                let inner = Nested(levels.saturating_sub(1), leaf);
                match levels % 4 {
                    _ if levels == 0 => serializer.serialize_str(leaf),
                    0 => serializer.collect_seq([inner]),
                    1 => serializer.collect_map([("k", inner)]),
                    2 => Some((inner,)).serialize(serializer),
                    _ => Shape::Variant(inner).serialize(serializer),
                }
            }
        }
        assert!(samples::encoded(&Nested(127, "x")).is_ok());
        for levels in [128, 129, 1_000_000] {
            assert!(fault(&Nested(levels, "x")).to_string().contains("recursion limit exceeded"));
        }
    }

    #[test]
    fn finite_data_is_written_as_serde_json_writes_it() {
        fn holds(Finite(shape): Finite) -> bool {
            encoded(&shape) == (serde_json::to_string(&shape).unwrap(), false)
        }
        QuickCheck::new().tests(3_000).quickcheck(holds as fn(Finite) -> bool);
        for it in [i128::MIN, i128::MAX] {
            assert_eq!(encoded(&it), (it.to_string(), false));
        }
        assert_eq!(encoded("NaN"), (r#""NaN""#.to_owned(), false));
        assert_eq!(encoded(&0.1f32), ("0.1".to_owned(), false));
        assert_eq!(encoded(&format_args!("{}", 12)), (r#""12""#.to_owned(), false));
    }

    #[test]
    fn non_finite_numbers_are_written_wherever_they_stand() {
        #[derive(Serialize)]
        struct Run {
            auc: f64,
            #[serde(flatten)]
            rest: BTreeMap<String, f32>,
        }
        let run = Run { auc: f64::INFINITY, rest: [("x".to_owned(), f32::NEG_INFINITY)].into() };
        let expected = r#"{"auc":"Infinity","x":"-Infinity"}"#;
        assert_eq!(encoded(&run), (expected.to_owned(), true));
        assert_eq!(
            encoded(&(Some(f32::NAN), [f64::INFINITY], -f64::INFINITY)),
            (r#"["NaN",["Infinity"],"-Infinity"]"#.to_owned(), true)
        );
        assert_eq!(encoded(&f64::NAN), (r#""NaN""#.to_owned(), true));
    }

    #[test]
    fn strings_that_look_alike_are_marked_only_beside_a_number() {
        let strings = ["NaN", "~NaN", "~~-Infinity", "nan", "~"];
        assert_eq!(
            encoded(&(strings, 1.0)),
            (r#"[["NaN","~NaN","~~-Infinity","nan","~"],1.0]"#.to_owned(), false)
        );
        assert_eq!(
            encoded(&(strings, f64::NAN)),
            (r#"[["~NaN","~~NaN","~~~-Infinity","nan","~"],"NaN"]"#.to_owned(), true)
        );
        let map: HashMap<&str, f64> = [("NaN", f64::NAN)].into();
        assert_eq!(encoded(&map), (r#"{"NaN":"NaN"}"#.to_owned(), true));
    }

    #[derive(Serialize)]
    enum Score {
        NaN,
        Infinity(f64),
    }

    #[test]
    fn the_name_of_a_variant_is_a_string_when_it_stands_alone() {
        assert_eq!(
            encoded(&[Score::NaN, Score::Infinity(f64::INFINITY)]),
            (r#"["~NaN",{"Infinity":"Infinity"}]"#.to_owned(), true)
        );
    }

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn raw_json_is_made_compact_and_comes_under_the_flag() {
        let json = raw("{\n \"a\": [1.50, \"NaN\"]\n}");
        assert_eq!(encoded(&json), (r#"{"a":[1.50,"NaN"]}"#.to_owned(), false));
        assert_eq!(
            encoded(&(&json, f64::NAN, "NaN")),
            (r#"[{"a":[1.50,"~NaN"]},"NaN","~NaN"]"#.to_owned(), true)
        );
    }

    #[test]
    fn raw_json_that_is_no_value_is_refused() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for text in ["1e999", r#""\ud800""#, deep.as_str()] {
            assert!(samples::encoded(&raw(text)).is_err(), "{text}");
        }
        assert_eq!(fault(&vec![raw("1e999")]).reason, "number out of range");
    }

    #[test]
    fn what_json_cannot_hold_is_refused_with_a_reason() {
        let lists: BTreeMap<Vec<u8>, u8> = [(vec![1], 2)].into();
        assert_eq!(fault(&lists).to_string(), "key must be a string");

        struct Key;
        impl Serialize for Key {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map([(f64::NAN, 1)])
            }
        }
        let reason = fault(&Key).to_string();
        assert!(reason.contains("finite"), "{reason}");

        struct Unwilling;
        impl Serialize for Unwilling {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(ser::Error::custom("not today"))
            }
        }
        assert_eq!(fault(&[Unwilling]), Fault::whole("not today"));
    }

    #[test]
    fn a_value_is_serialized_once() {
        struct Once(Cell<bool>);
        impl Serialize for Once {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                assert!(!self.0.replace(true), "asked twice");
                serializer.collect_seq([f64::NAN, 1.0])
            }
        }
        let value = ("NaN", Once(Cell::new(false)));
        assert_eq!(encoded(&value), (r#"["~NaN",["NaN",1.0]]"#.to_owned(), true));
    }
}
