//! Values: JSON text, checked once on the way in and carried as text after that.
//!
//! Nothing here passes what will be written through serde_json's `Value`, `Map` or `Number`:
//! another crate in the same build may switch on `preserve_order` or `arbitrary_precision`, and the
//! bytes in a journal must not depend on that. So number text stays what it was, byte for byte, and
//! members stay in the order in which they came.
//!
//! JSON has no NaN and no infinities. A value that holds some carries a flag, *nonfinite*: "numbers
//! stand here as the strings `NaN`, `Infinity` and `-Infinity`". So that no genuine string is taken
//! for a number, every string value that matches `~*(NaN|Infinity|-Infinity)` has one more `~` in
//! front under the flag. Keys of objects are never touched, and without the flag every string means
//! what it says.

mod check;
mod decode;
mod encode;
mod merge;
mod nonfinite;
mod number;
mod object;
mod plain;
#[cfg(test)]
pub(crate) mod samples;
mod scalar;

use std::borrow::Cow;
use std::fmt;

pub(crate) use check::{check, string_end};
pub(crate) use decode::decode;
pub(crate) use encode::encode;
pub(crate) use merge::merge;
pub(crate) use nonfinite::escape_except;
pub(crate) use nonfinite::{Meaning, escape, has_nonfinite, meaning, unescape};
pub(crate) use number::{add, compare};
pub(crate) use object::{FieldPath, Shape, elements, members};
pub(crate) use scalar::Scalar;

/// Under this name serde_json writes and reads a `RawValue`: the only way to tell one from any
/// other struct.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Under this name a serde_json with `arbitrary_precision` hands out a number, as if it were an
/// object of one member.
const NUMBER: &str = "$serde_json::private::Number";

/// A value as it is written: compact JSON in one line, and whether its numbers include non-finite
/// ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    /// The JSON text: checked, and without white space between tokens.
    pub(crate) text: String,
    /// Non-finite numbers stand in `text` as the strings NaN, Infinity and -Infinity.
    pub(crate) nonfinite: bool,
}

/// Why something is not a value, or not the value asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What is wrong, as a part of a sentence.
    pub(crate) reason: String,
    /// Where in its line, in bytes from 1, if it has a place; `reason` names the line unless it is
    /// the first.
    pub(crate) column: Option<usize>,
}

impl Fault {
    /// A fault of the whole value.
    pub(crate) fn whole(reason: impl Into<String>) -> Fault {
        Fault { reason: reason.into(), column: None }
    }

    /// A fault at a line and column, both counted from 1.
    fn placed(reason: &str, line: usize, column: usize) -> Fault {
        // Almost every value is one line, and "line 1" would only be in the way.
        let reason = if line > 1 { format!("{reason} in line {line}") } else { reason.to_owned() };
        Fault { reason, column: Some(column.max(1)) }
    }

    /// A fault at a byte of `text`, counted from 0.
    fn at(text: &str, offset: usize, reason: &str) -> Fault {
        let before = text.as_bytes().get(..offset).unwrap_or_default();
        let lines = before.iter().filter(|&&byte| byte == b'\n').count();
        let in_line = before.iter().rev().take_while(|&&byte| byte != b'\n');
        Fault::placed(reason, lines + 1, in_line.count() + 1)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            Some(column) => write!(f, "{} at column {column}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for Fault {}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Fault {
        let said = error.to_string();
        // Line 0 is serde_json's way to say that there is no place.
        let (line, column) = match (error.line(), error.column()) {
            (0, _) => return Fault::whole(said),
            place => place,
        };
        match said.strip_suffix(&format!(" at line {line} column {column}")) {
            Some(reason) => Fault::placed(reason, line, column),
            None => Fault::placed(&said, line, column),
        }
    }
}

/// Appends the one canonical JSON string of a key: short escapes where JSON has them, `\u00xx` in
/// lower case for the other control characters, everything else as it is.
///
/// Equal keys have equal text, so text may be compared instead of keys. serde_json writes the same;
/// it is spelled out here because the bytes of a snapshot are a promise of ours, not of theirs.
pub(crate) fn key_text(key: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in key.as_bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0x00..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// As [`key_text`], as a string of its own.
pub(crate) fn key_string(key: &str) -> String {
    let mut out = Vec::with_capacity(key.len() + 2);
    key_text(key, &mut out);
    // What is not ASCII was copied as it was.
    String::from_utf8_lossy(&out).into_owned()
}

/// The key that a JSON string (quotes included, nothing around them) stands for, in whatever way it
/// is escaped; `None` if this is no such string. Borrows where nothing is escaped.
pub(crate) fn key_of(text: &[u8]) -> Option<Cow<'_, str>> {
    // serde_json would allow white space around the quotes.
    if text.first() != Some(&b'"') || text.last() != Some(&b'"') {
        return None;
    }
    if text.contains(&b'\\') {
        serde_json::from_slice(text).ok().map(Cow::Owned)
    } else {
        serde_json::from_slice(text).ok().map(Cow::Borrowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::QuickCheck;

    fn text_of(key: &str) -> Vec<u8> {
        let mut out = Vec::new();
        key_text(key, &mut out);
        out
    }

    #[test]
    fn a_key_is_written_as_serde_json_writes_it_and_read_back() {
        fn holds(key: String) -> bool {
            let text = text_of(&key);
            text == serde_json::to_vec(&key).unwrap() && key_of(&text).as_deref() == Some(key.as_str())
        }
        QuickCheck::new().tests(2_000).quickcheck(holds as fn(String) -> bool);

        let ascii: String = (0u8..0x80).map(char::from).collect();
        assert!(holds(ascii));
        assert!(holds("é \u{7f} \u{2028} 🦀".to_owned()));
    }

    #[test]
    fn a_key_is_the_same_however_it_is_escaped() {
        assert_eq!(key_of(br#""\u0061\/b""#).as_deref(), Some("a/b"));
        assert_eq!(key_of(br#""\ud83e\udd80""#).as_deref(), Some("🦀"));
    }

    #[test]
    fn a_key_without_escapes_is_borrowed() {
        assert!(matches!(key_of(b"\"run-1\""), Some(Cow::Borrowed("run-1"))));
    }

    #[test]
    fn what_is_no_single_json_string_is_no_key() {
        let refused: [&[u8]; 11] = [
            b"",
            b"\"",
            b"a",
            b"12",
            b" \"a\"",
            b"\"a\" ",
            b"\"a\"\"b\"",
            b"\"a\\\"",
            b"\"\n\"",
            b"\"\xff\"",
            br#""\ud800""#,
        ];
        for text in refused {
            assert_eq!(key_of(text), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_fault_reads_as_part_of_a_sentence() {
        let fault = |text| samples::checked(text).unwrap_err().to_string();
        assert_eq!(fault("[1,2,1e999]"), "number out of range at column 10");
        assert_eq!(fault("[1,\n2,\n?]"), "expected value in line 3 at column 1");
        assert_eq!(fault(""), "EOF while parsing a value at column 1");
        assert_eq!(Fault::whole("no place").to_string(), "no place");
    }

    #[test]
    fn a_fault_at_a_byte_names_its_line_and_column() {
        let text = "[\n \"a\"]";
        assert_eq!(Fault::at(text, 0, "x"), Fault::placed("x", 1, 1));
        assert_eq!(Fault::at(text, 3, "x"), Fault::placed("x", 2, 2));
    }
}
