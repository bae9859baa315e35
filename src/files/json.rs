//! A JSON value of any shape whose numbers keep their digits, and its canonical text.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Nonfinite, Options};
use crate::error::{Error, Result};
use crate::value::{self, Meaning};

/// Any JSON value. [`Json::of`] makes one of whatever can be written as JSON. Unlike `serde_json::Value` it keeps numbers as text: an integer of 30 digits stays one.
///
/// Read and write it through serde_json: no other format has a way to carry such numbers.
///
/// ```
/// use tallyfold::files::Json;
///
/// let mut json: Json = r#"{"id":340282366920938463463374607431768211455,"auc":0.61}"#.parse()?;
/// json.set("n_models", 5);
/// assert_eq!(json.to_string(), r#"{"auc":0.61,"id":340282366920938463463374607431768211455,"n_models":5}"#);
/// assert_eq!(json.get("auc").unwrap().to::<f64>()?, 0.61);
/// # Ok::<(), tallyfold::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Json {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it is written.
    Number(Number),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object: its members in order of their keys' bytes, which is that of their code points.
    Object(BTreeMap<String, Json>),
}

/// The text of a JSON number. Two are equal if their texts are: `1.0` and `1.00` are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(String);

impl Number {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest double.
    pub fn as_f64(&self) -> f64 {
        // A JSON number is one for Rust, too.
        self.0.parse().unwrap_or(f64::NAN)
    }

    /// Whether it has neither a fraction nor an exponent.
    pub fn is_integer(&self) -> bool {
        !self.0.contains(['.', 'e', 'E'])
    }

    /// Whether it is an integer that neither a signed nor an unsigned one of 64 bits can hold.
    fn is_long(&self) -> bool {
        self.is_integer() && self.0.parse::<i64>().is_err() && self.0.parse::<u64>().is_err()
    }
}

macro_rules! from_integers {
    ($($integer:ty)*) => {$(
        impl From<$integer> for Json {
            fn from(integer: $integer) -> Json {
                Json::Number(Number(integer.to_string()))
            }
        }
    )*};
}

from_integers! { i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize }

impl From<bool> for Json {
    fn from(value: bool) -> Json {
        Json::Bool(value)
    }
}

impl From<&str> for Json {
    fn from(value: &str) -> Json {
        Json::String(value.to_string())
    }
}

impl From<String> for Json {
    fn from(value: String) -> Json {
        Json::String(value)
    }
}

impl<T: Into<Json>> From<Vec<T>> for Json {
    fn from(values: Vec<T>) -> Json {
        Json::Array(values.into_iter().map(Into::into).collect())
    }
}

impl std::str::FromStr for Json {
    type Err = Error;

    fn from_str(text: &str) -> Result<Json> {
        let mut compact = Vec::new();
        value::check(text, &mut compact).map_err(|fault| Error::invalid(format!("no JSON: {fault}")))?;
        Ok(parse(&compact))
    }
}

impl Json {
    /// What a value is written as.
    ///
    /// # Errors
    /// `is_invalid`: it holds NaN or an infinity, and the error names its place, or it is no JSON value at all.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Json> {
        Json::of_with(value, Nonfinite::Refuse)
    }

    pub(super) fn of_with<T: Serialize + ?Sized>(value: &T, nonfinite: Nonfinite) -> Result<Json> {
        let mut text = Vec::new();
        let flagged = value::encode(value, &mut text)
            .map_err(|fault| Error::invalid(format!("no JSON can be made of it: {fault}")))?;
        let mut json = parse(&text);
        if flagged {
            json.settle(nonfinite, "")?;
        }
        Ok(json)
    }

    /// The value as any type that can be read from JSON.
    ///
    /// # Errors
    /// `is_invalid` if it does not fit the type.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.to_string()).map_err(|e| Error::invalid(format!("it does not fit: {e}")))
    }

    /// The member of an object; `None` if there is none, or this is no object.
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.get(key),
            _ => None,
        }
    }

    /// Gives an object a member, and returns the one that it replaces. What is no object becomes one.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Json>) -> Option<Json> {
        if !matches!(self, Json::Object(_)) {
            *self = Json::Object(BTreeMap::new());
        }
        match self {
            Json::Object(members) => members.insert(key.into(), value.into()),
            _ => None,
        }
    }

    /// The text with sorted keys, as the options say, and a newline at the end.
    pub(super) fn text(&self, options: &Options) -> String {
        let mut text = String::new();
        let writer = Writer { indent: options.indent, ensure_ascii: options.ensure_ascii };
        writer.write(self, 0, &mut text);
        text.push('\n');
        text
    }

    /// Takes a value from under the flag "numbers stand here as the strings NaN, …": see `value`.
    fn settle(&mut self, nonfinite: Nonfinite, place: &str) -> Result<()> {
        match self {
            Json::String(string) => match value::meaning(string) {
                Meaning::Text(text) if text.len() == string.len() => {}
                Meaning::Text(text) => *string = text.to_string(),
                Meaning::Number(_) if nonfinite == Nonfinite::Null => *self = Json::Null,
                Meaning::Number(_) => {
                    let at = if place.is_empty() { "the value itself" } else { place };
                    return Err(Error::invalid(format!("JSON has no {string}, and it stands at {at}"))
                        .advise("nothing was written; leave it out, or have it written as null"));
                }
            },
            Json::Array(elements) => {
                for (i, element) in elements.iter_mut().enumerate() {
                    element.settle(nonfinite, &format!("{place}[{i}]"))?;
                }
            }
            Json::Object(members) => {
                for (key, member) in members {
                    let dot = if place.is_empty() { "" } else { "." };
                    member.settle(nonfinite, &format!("{place}{dot}{key}"))?;
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
        Ok(())
    }

    /// The place of the first integer beyond 64 bits that another reading of the same text has as another number.
    pub(super) fn spoilt_in(&self, other: &Json, place: &str) -> Option<String> {
        match (self, other) {
            (Json::Number(number), Json::Number(other)) if number.is_long() && number != other => {
                Some(format!("{} at {}", number.0, if place.is_empty() { "the top" } else { place }))
            }
            (Json::Array(elements), Json::Array(others)) => elements
                .iter()
                .zip(others)
                .enumerate()
                .find_map(|(i, (element, other))| element.spoilt_in(other, &format!("{place}[{i}]"))),
            (Json::Object(members), Json::Object(others)) => members.iter().find_map(|(key, member)| {
                let dot = if place.is_empty() { "" } else { "." };
                member.spoilt_in(others.get(key)?, &format!("{place}{dot}{key}"))
            }),
            _ => None,
        }
    }

    /// Whether there is an integer beyond 64 bits in it.
    pub(super) fn has_long_integer(&self) -> bool {
        match self {
            Json::Number(number) => number.is_long(),
            Json::Array(elements) => elements.iter().any(Json::has_long_integer),
            Json::Object(members) => members.values().any(Json::has_long_integer),
            _ => false,
        }
    }
}

/// The value of a text that has been checked and is compact.
pub(super) fn parse(text: &[u8]) -> Json {
    let mut parser = Parser { text, at: 0 };
    parser.value()
}

/// Knows that its text is JSON, without white space and no deeper than serde_json reads; of anything else it makes something
/// that means nothing.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or_default()
    }

    /// Goes on behind a byte if it is next.
    fn pass(&mut self, byte: u8) -> bool {
        let is_next = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn value(&mut self) -> Json {
        match self.peek() {
            b'{' => {
                self.at += 1;
                let mut members = BTreeMap::new();
                while self.peek() == b'"' {
                    let key = self.string();
                    self.pass(b':');
                    // Of members with equal keys the last counts.
                    members.insert(key, self.value());
                    self.pass(b',');
                }
                self.pass(b'}');
                Json::Object(members)
            }
            b'[' => {
                self.at += 1;
                let mut elements = Vec::new();
                while self.at < self.text.len() && !self.pass(b']') {
                    elements.push(self.value());
                    self.pass(b',');
                }
                Json::Array(elements)
            }
            b'"' => Json::String(self.string()),
            _ => match self.word() {
                b"null" => Json::Null,
                b"true" => Json::Bool(true),
                b"false" => Json::Bool(false),
                number => Json::Number(Number(String::from_utf8_lossy(number).into_owned())),
            },
        }
    }

    /// Everything up to the next byte that cannot be in a number or name; at least one byte.
    fn word(&mut self) -> &'a [u8] {
        let rest = &self.text[self.at..];
        let end = rest.iter().position(|byte| matches!(byte, b',' | b']' | b'}' | b':'));
        let end = end.unwrap_or(rest.len()).max(1).min(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn string(&mut self) -> String {
        let start = self.at;
        self.at += 1;
        while self.at < self.text.len() && self.peek() != b'"' {
            self.at += if self.peek() == b'\\' { 2 } else { 1 };
        }
        self.at = (self.at + 1).min(self.text.len());
        value::key_of(&self.text[start..self.at]).unwrap_or_default().into_owned()
    }
}

/// Writes the one text that equal values have.
struct Writer {
    indent: Option<usize>,
    ensure_ascii: bool,
}

impl Writer {
    fn write(&self, json: &Json, depth: usize, out: &mut String) {
        match json {
            Json::Null => out.push_str("null"),
            Json::Bool(true) => out.push_str("true"),
            Json::Bool(false) => out.push_str("false"),
            Json::Number(number) => out.push_str(&number.0),
            Json::String(string) => self.write_string(string, out),
            Json::Array(elements) => {
                self.write_all(['[', ']'], elements, depth, out, |element, out| {
                    self.write(element, depth + 1, out);
                });
            }
            Json::Object(members) => {
                self.write_all(['{', '}'], members, depth, out, |(key, member), out| {
                    self.write_string(key, out);
                    out.push_str(if self.indent.is_some() { ": " } else { ":" });
                    self.write(member, depth + 1, out);
                });
            }
        }
    }

    /// What stands in brackets, each on a line of its own unless all is one line.
    fn write_all<I: IntoIterator>(
        &self,
        [open, close]: [char; 2],
        items: I,
        depth: usize,
        out: &mut String,
        mut write: impl FnMut(I::Item, &mut String),
    ) {
        let new_line = |depth: usize, out: &mut String| {
            if let Some(indent) = self.indent {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent * depth));
            }
        };
        out.push(open);
        let mut is_empty = true;
        for item in items {
            if !is_empty {
                out.push(',');
            }
            is_empty = false;
            new_line(depth + 1, out);
            write(item, out);
        }
        if !is_empty {
            new_line(depth, out);
        }
        out.push(close);
    }

    fn write_string(&self, string: &str, out: &mut String) {
        let mut text = Vec::new();
        value::key_text(string, &mut text);
        // It is the string with ASCII put in.
        let text = String::from_utf8_lossy(&text);
        if !self.ensure_ascii {
            out.push_str(&text);
            return;
        }
        for character in text.chars() {
            // DEL too, as Python does.
            if matches!(character, ' '..='~') {
                out.push(character);
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
}

/// In one line, without white space, with sorted keys.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        Writer { indent: None, ensure_ascii: false }.write(self, 0, &mut text);
        f.write_str(&text)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Json, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let mut compact = Vec::new();
        value::check(raw.get(), &mut compact).map_err(de::Error::custom)?;
        Ok(parse(&compact))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::samples::{Json as AnyText, Mutated};
    use quickcheck::QuickCheck;
    use serde_json::Value;

    fn reread(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    /// Whether what is made of a text means the same, in each way to write it.
    fn holds(text: &str) -> bool {
        let (Ok(json), Ok(value)) = (text.parse::<Json>(), serde_json::from_str::<Value>(text)) else {
            return text.parse::<Json>().is_err();
        };
        [(Some(2), false), (Some(0), true), (None, true), (Some(7), false)].into_iter().all(
            |(indent, ascii)| {
                let options = Options::new().indent(indent).ensure_ascii(ascii);
                let written = json.text(&options);
                reread(&written) == value
                    && written.parse::<Json>().unwrap() == json
                    && written.ends_with('\n')
                    && (!ascii || written.is_ascii())
                    && (indent.is_some() || written.lines().count() == 1)
            },
        )
    }

    #[test]
    fn what_is_written_means_what_was_read_however_it_is_written() {
        QuickCheck::new().tests(3_000).quickcheck((|it: AnyText| holds(&it.0)) as fn(AnyText) -> bool);
        QuickCheck::new().tests(3_000).quickcheck((|it: Mutated| holds(&it.0)) as fn(Mutated) -> bool);
        QuickCheck::new().tests(1_000).quickcheck((|it: String| holds(&it)) as fn(String) -> bool);
        assert!(holds(&("[".repeat(127) + &"]".repeat(127))));
    }

    #[test]
    fn no_text_that_was_never_checked_makes_the_parser_panic_or_run_for_ever() {
        fn ends(text: Vec<u8>) -> bool {
            parse(&text);
            true
        }
        QuickCheck::new().tests(5_000).quickcheck(ends as fn(Vec<u8>) -> bool);
        for text in ["", "{", "[", "{\"a", "{\"a\\", "[1", "]", "}", ",", ":", "{\"a\"::", "[[,]:}", "\"\\"] {
            ends(text.as_bytes().to_vec());
        }
    }

    #[test]
    fn the_text_is_canonical() {
        let json: Json = r#"{"b":[1.50,{}],"a":{"é":"🦀\u007f\n","A":[]},"b":[1E5,-0]}"#.parse().unwrap();
        let indented = "{\n  \"a\": {\n    \"A\": [],\n    \"é\": \"🦀\u{7f}\\n\"\n  },\n  \"b\": [\n    1E5,\n    -0\n  ]\n}\n";
        assert_eq!(json.text(&Options::new()), indented);
        let ascii = "{\"a\":{\"A\":[],\"\\u00e9\":\"\\ud83e\\udd80\\u007f\\n\"},\"b\":[1E5,-0]}\n";
        assert_eq!(json.text(&Options::new().indent(None).ensure_ascii(true)), ascii);
    }

    #[test]
    fn numbers_keep_their_digits_through_serde() {
        #[derive(Serialize, Deserialize)]
        struct Holds {
            json: Json,
        }
        let text = r#"{"json":[340282366920938463463374607431768211456,1.50,-0.0]}"#;
        let read: Holds = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert_eq!(Json::from(u128::MAX).to::<u128>().unwrap(), u128::MAX);
        assert_eq!(Json::of(&0.1).unwrap(), "0.1".parse().unwrap());
    }

    #[test]
    fn a_number_that_json_cannot_write_is_refused_with_its_place_or_becomes_null_as_asked() {
        let value = [("runs", vec![("~NaN", 1.0), ("loss", f64::NAN)])];
        let value: BTreeMap<_, BTreeMap<_, _>> =
            value.into_iter().map(|(key, inner)| (key, inner.into_iter().collect())).collect();
        let error = Json::of(&value).unwrap_err();
        assert!(
            error.is_invalid() && error.to_string().contains("no NaN, and it stands at runs.loss"),
            "{error}"
        );
        let null = Json::of_with(&value, Nonfinite::Null).unwrap();
        assert_eq!(null.to_string(), r#"{"runs":{"loss":null,"~NaN":1.0}}"#);
        let error = Json::of(&(1, [f64::NEG_INFINITY])).unwrap_err();
        assert!(error.to_string().contains("no -Infinity, and it stands at [1][0]"), "{error}");
        // Genuine strings stay what they are.
        let strings = ("NaN", "~NaN", f64::INFINITY);
        assert_eq!(Json::of_with(&strings, Nonfinite::Null).unwrap().to_string(), r#"["NaN","~NaN",null]"#);
    }
}
