//! From text to Rust values: serde_json's deserializer, which under the flag gives numbers for the
//! strings that stand for them and every other string without its extra `~`.

use super::check::verify;
use super::nonfinite::{Meaning, has_nonfinite, meaning, unescape};
use super::{Fault, RAW_VALUE};
use serde::de::value::MapDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::{Deserialize, Deserializer};
use serde_json::de::StrRead;
use serde_json::value::RawValue;
use std::fmt;
use std::iter;

/// Reads a value from its text and flag.
///
/// A type has the last word on what it can hold: `serde_json::Value` has no NaN and makes `null` of
/// it.
pub(crate) fn decode<T: DeserializeOwned>(text: &str, nonfinite: bool) -> Result<T, Fault> {
    if !nonfinite {
        return Ok(serde_json::from_str(text)?);
    }
    // serde_json counts how deep it is, but not across the pieces read on their own below: so count
    // once for all.
    verify(text)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let value = T::deserialize(Spelled(&mut json))?;
    json.end()?;
    Ok(value)
}

/// A deserializer, a visitor or a part of one of them, under the flag.
struct Spelled<T>(T);

/// Reads a value that stands in the text by itself, so that one may look at it before saying what
/// is wanted.
fn read_piece<'de, T, E: de::Error>(
    piece: &'de RawValue,
    read: impl FnOnce(&mut serde_json::Deserializer<StrRead<'de>>) -> serde_json::Result<T>,
) -> Result<T, E> {
    let mut json = serde_json::Deserializer::from_str(piece.get());
    read(&mut json)
        // An integer read from `1.5` would leave the rest.
        .and_then(|value| json.end().map(|()| value))
        // The place would be one in the piece. serde_json fills in where the piece is.
        .map_err(|error| E::custom(Fault::from(error).reason))
}

/// Whether a value is a string: one that is a number, or a genuine one.
fn is_string(piece: &RawValue) -> bool {
    piece.get().starts_with('"')
}

/// What serde_json reads as it is asked to, strings among it.
macro_rules! pass {
    ($($method:ident($($name:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(
            self,
            $($name: $type,)*
            visitor: V,
        ) -> Result<V::Value, D::Error> {
            self.0.$method($($name,)* Spelled(visitor))
        }
    )*};
}

/// Numbers: asked for one, serde_json would refuse a string.
macro_rules! number {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            let piece = <&'de RawValue>::deserialize(self.0)?;
            read_piece(piece, |json| {
                if is_string(piece) {
                    json.deserialize_str(Spelled(visitor))
                } else {
                    json.$method(visitor)
                }
            })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Spelled<D> {
    type Error = D::Error;

    number! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    }

    pass! {
        deserialize_any()
        deserialize_bool()
        deserialize_char()
        deserialize_str()
        deserialize_string()
        deserialize_bytes()
        deserialize_byte_buf()
        deserialize_option()
        deserialize_unit()
        deserialize_unit_struct(name: &'static str)
        deserialize_seq()
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_map()
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_identifier()
        deserialize_ignored_any()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        if name != RAW_VALUE {
            return self.0.deserialize_newtype_struct(name, Spelled(visitor));
        }
        let piece = <&'de RawValue>::deserialize(self.0)?.get();
        if has_nonfinite(piece) {
            // Given as the string, it could not be told from a string.
            return Err(de::Error::custom("a non-finite number has no raw JSON"));
        }
        let text = unescape(piece).into_owned();
        visitor.visit_map(MapDeserializer::new(iter::once((RAW_VALUE, text))))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        // The name of a variant is a value when it stands alone, and a key when the content of the
        // variant follows. Only a value carries a `~`, and serde_json hands out both alike.
        let piece = <&'de RawValue>::deserialize(self.0)?;
        read_piece(piece, |json| {
            if !is_string(piece) {
                return json.deserialize_enum(name, variants, Spelled(visitor));
            }
            let string = String::deserialize(json)?;
            match meaning(&string) {
                Meaning::Text(variant) => visitor.visit_enum(variant.into_deserializer()),
                Meaning::Number(number) => Err(de::Error::invalid_type(Unexpected::Float(number), &visitor)),
            }
        })
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// What is no string and contains none.
macro_rules! visit {
    ($($method:ident($type:ty))*) => {$(
        fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Spelled<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    visit! {
        visit_bool(bool)
        visit_i64(i64)
        visit_i128(i128)
        visit_u64(u64)
        visit_u128(u128)
        visit_f64(f64)
    }

    fn visit_str<E: de::Error>(self, string: &str) -> Result<V::Value, E> {
        match meaning(string) {
            Meaning::Number(number) => self.0.visit_f64(number),
            Meaning::Text(string) => self.0.visit_str(string),
        }
    }

    fn visit_borrowed_str<E: de::Error>(self, string: &'de str) -> Result<V::Value, E> {
        match meaning(string) {
            Meaning::Number(number) => self.0.visit_f64(number),
            Meaning::Text(string) => self.0.visit_borrowed_str(string),
        }
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<V::Value, E> {
        match str::from_utf8(bytes).map(meaning) {
            Ok(Meaning::Number(number)) => self.0.visit_f64(number),
            Ok(Meaning::Text(string)) => self.0.visit_bytes(string.as_bytes()),
            Err(_) => self.0.visit_bytes(bytes),
        }
    }

    fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<V::Value, E> {
        match str::from_utf8(bytes).map(meaning) {
            Ok(Meaning::Number(number)) => self.0.visit_f64(number),
            Ok(Meaning::Text(string)) => self.0.visit_borrowed_bytes(string.as_bytes()),
            Err(_) => self.0.visit_borrowed_bytes(bytes),
        }
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Spelled(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Spelled(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Spelled(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Spelled(members))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Spelled(variant))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Spelled<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Spelled(deserializer))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Spelled<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Spelled(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Spelled<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        // Keys are what they are, under the flag or not.
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Spelled(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Spelled<A> {
    type Error = A::Error;
    type Variant = Spelled<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (name, content) = self.0.variant_seed(seed)?;
        Ok((name, Spelled(content)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Spelled<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Spelled(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(len, Spelled(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.struct_variant(fields, Spelled(visitor))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Text;
    use super::super::samples::{Any, Free, encoded};
    use super::*;
    use quickcheck::{QuickCheck, TestResult};
    use serde::Serialize;
    use serde_json::{Value, json};
    use std::collections::HashMap;
    use std::fmt::Debug;

    /// An enum with names that look like numbers.
    #[derive(Debug, Serialize, Deserialize)]
    enum Score {
        NaN,
        Infinity(f64),
    }

    fn round_trip<T: Serialize + DeserializeOwned>(value: &T) -> T {
        let Text { text, nonfinite } = encoded(value).unwrap();
        decode(&text, nonfinite).unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    /// NaN is not equal to itself, but its debug form is.
    fn survives<T: Serialize + DeserializeOwned + Debug>(value: &T) -> bool {
        format!("{:?}", round_trip(value)) == format!("{value:?}")
    }

    #[test]
    fn what_is_written_is_read_back() {
        fn holds(Any(shape): Any) -> TestResult {
            // With arbitrary_precision serde_json itself cannot read numbers of types that serde
            // has to buffer, flag or no flag.
            let buffered = ["Free", "Tagged", "Flat"];
            if !matches!(serde_json::from_str("1.5"), Ok(Free::Number(_)))
                && buffered.iter().any(|it| format!("{shape:?}").contains(it))
            {
                return TestResult::discard();
            }
            TestResult::from_bool(survives(&shape))
        }
        QuickCheck::new().tests(3_000).quickcheck(holds as fn(Any) -> TestResult);
        assert!(survives(&f32::NEG_INFINITY));
        assert!(survives(&Some(f64::NAN)));
        assert!(survives(&HashMap::from([("NaN".to_owned(), f64::NAN)])));
        assert!(survives(&(f64::NAN, Score::NaN, Score::Infinity(f64::NAN))));
        let strings = ["NaN", "~NaN", "~~-Infinity", "~"].map(String::from);
        assert!(survives(&(f64::NAN, strings.clone())));
        assert!(survives(&(1.0, strings)));
        let numbers = (0.1f32, f32::MIN_POSITIVE, f32::MAX, u128::MAX, i128::MIN);
        assert!(survives(&(f64::NAN, numbers)));
    }

    #[test]
    fn without_the_flag_every_string_is_a_string() {
        assert_eq!(decode::<String>(r#""~NaN""#, false).unwrap(), "~NaN");
        assert!(decode::<f64>(r#""NaN""#, false).is_err());
    }

    #[test]
    fn a_number_is_not_read_as_a_string_nor_a_string_as_a_number() {
        let fault = decode::<String>(r#""NaN""#, true).unwrap_err();
        let reason = "invalid type: floating point `NaN`, expected a string";
        assert_eq!(fault.reason, reason);
        let fault = decode::<Vec<i64>>(r#"[1,"NaN"]"#, true).unwrap_err();
        let reason = "invalid type: floating point `NaN`, expected i64";
        assert_eq!(fault.reason, reason);
        assert!(decode::<f64>(r#""~NaN""#, true).is_err());
        assert!(decode::<Score>(r#""NaN""#, true).is_err());
        assert!(matches!(decode(r#""~NaN""#, true), Ok(Score::NaN)));
    }

    #[test]
    fn a_type_without_nan_makes_of_it_what_it_can() {
        let read = decode::<Value>(r#"[1.5,"NaN","~NaN",{"NaN":2}]"#, true);
        assert_eq!(read, Ok(json!([1.5, null, "NaN", {"NaN": 2}])));
    }

    #[test]
    fn under_the_flag_no_number_is_read_in_part() {
        for text in ["[1.5]", "[1e3]", "[-]", "[01]", "[340282366920938463463374607431768211456]"] {
            assert!(decode::<Vec<u128>>(text, true).is_err(), "{text}");
            assert!(decode::<Vec<u128>>(text, false).is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_are_read_as_without_the_flag() {
        struct Bytes(Vec<u8>);

        impl<'de> Deserialize<'de> for Bytes {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
                struct Only;
                impl Visitor<'_> for Only {
                    type Value = Bytes;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("bytes")
                    }
                    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                        Ok(Bytes(bytes.to_owned()))
                    }
                }
                deserializer.deserialize_bytes(Only)
            }
        }

        for (text, bytes) in [(r#""~NaN""#, "NaN"), (r#""a\n~""#, "a\n~")] {
            assert_eq!(decode::<Bytes>(text, true).unwrap().0, bytes.as_bytes());
        }
        assert!(decode::<Bytes>(r#""NaN""#, true).is_err());
    }

    #[test]
    fn raw_json_is_given_back_as_it_was() {
        type Beside = (f64, Box<RawValue>);
        let json = RawValue::from_string(r#"{"a":["NaN","\u007eNaN",1.50]}"#.to_owned()).unwrap();
        let (_, read) = round_trip::<Beside>(&(f64::NAN, json.clone()));
        assert_eq!(read.get(), json.get());

        let fault = decode::<Beside>(r#"[1,{"a":"NaN"}]"#, true).unwrap_err();
        assert!(fault.reason.starts_with("a non-finite number"), "{fault}");
    }

    #[test]
    fn what_is_not_the_type_asked_for_is_refused_with_its_place() {
        let text = r#"{"a":["NaN"],"b":["x"],"c":[1]}"#;
        let fault = decode::<HashMap<String, Vec<f64>>>(text, true).unwrap_err();
        assert_eq!(fault.reason, "invalid type: string \"x\", expected f64");
        // serde_json names a place at the end of what it could not use, give or take a byte.
        assert!(fault.column.is_some_and(|at| (19..=22).contains(&at)));
        let fault = decode::<Vec<Score>>(r#"["~NaN",{"Infinity":"x"}]"#, true).unwrap_err();
        assert_eq!(fault.reason, "invalid type: string \"x\", expected f64");
    }

    #[test]
    fn text_that_was_never_checked_is_an_error() {
        #[derive(Debug, Deserialize)]
        enum Nested {
            #[serde(rename = "a")]
            In(#[expect(dead_code, reason = "only its depth matters")] Box<Nested>),
        }
        let deep = r#"{"a":"#.repeat(100_000);
        assert!(decode::<Nested>(&deep, true).is_err());
        let deep = deep + "1" + &"}".repeat(100_000);
        assert!(decode::<Nested>(&deep, true).is_err());
        for text in ["", "\"", "[1", "{\"a\"", "1 2", "\"\\"] {
            assert!(decode::<Vec<Score>>(text, true).is_err(), "{text}");
        }
    }
}
