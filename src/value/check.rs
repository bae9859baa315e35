//! What may become a value, and how its text is made compact.

use super::plain::copy_plain;
use super::{Fault, NUMBER, key_of};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::iter;

/// serde_json takes an object with such a key for something that it is not: see [`reserved_key`].
const RESERVED: &str = "$serde_json::private::";

/// The white space that JSON allows between tokens, and nothing else.
const WHITE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Checks that `text` is a value and removes the white space between its tokens.
///
/// A value is what parses as a `serde_json::Value`, whatever features serde_json was built with,
/// except that no key may begin with `$serde_json::private::`. White space has to go because a
/// newline inside a value would end its line in a snapshot.
pub(crate) fn check(text: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
    let start = out.len();
    if !copy_plain(text, out) {
        out.truncate(start);
        verify(text)?;
        out.extend_from_slice(compact(text).as_bytes());
    }
    Ok(())
}

/// The first half of [`check`]: is this a value?
pub(super) fn verify(text: &str) -> Result<(), Fault> {
    reserved_key(text)?;
    serde_json::from_str::<Seen>(text)?;
    Ok(())
}

/// The second half of [`check`]: removes the white space between tokens.
pub(super) fn compact(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(text, at),
            b' ' | b'\t' | b'\n' | b'\r' => {
                // Both ends lie beside an ASCII byte or the end of the text, so the slice cannot
                // split a character.
                out.push_str(&text[copied..at]);
                at += 1;
                copied = at;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// Refuses keys that serde_json uses to talk to itself.
///
/// Read by serde_json, `{"$serde_json::private::RawValue":"[1]"}` is the list `[1]`, while `jq` and
/// Python see the object that it is; with a number instead of the string it cannot be read at all.
/// Whether this happens hangs on the place of the member (a merge can move it to the front) and on
/// features of serde_json that other crates choose. So no object has such a key, in any place, in
/// any build.
fn reserved_key(text: &str) -> Result<(), Fault> {
    for string in strings(text).filter(|string| string.is_key) {
        if string.meaning().is_some_and(|key| key.starts_with(RESERVED)) {
            let reason = format!("a key must not begin with {RESERVED:?}");
            return Err(Fault::at(text, string.start, &reason));
        }
    }
    Ok(())
}

/// A string of a JSON text, as it stands there.
pub(super) struct Quoted<'a> {
    /// The offset of the opening quote.
    pub(super) start: usize,
    /// The string with its quotes.
    pub(super) text: &'a str,
    /// Whether it is the key of a member rather than a value.
    pub(super) is_key: bool,
}

impl<'a> Quoted<'a> {
    /// The string that this stands for; `None` if its escapes are not those of JSON.
    pub(super) fn meaning(&self) -> Option<Cow<'a, str>> {
        if self.text.contains('\\') {
            return key_of(self.text.as_bytes());
        }
        let inside = self.text.strip_prefix('"')?.strip_suffix('"')?;
        Some(Cow::Borrowed(inside))
    }
}

/// The strings of a JSON text in order. Any text will do: what is not JSON has strings that mean
/// little, no more.
pub(super) fn strings(text: &str) -> impl Iterator<Item = Quoted<'_>> {
    let mut at = 0;
    iter::from_fn(move || {
        // `at` is 0 or came from `string_end`; in both cases, and behind a quote, no character is
        // split.
        let start = at + text[at..].find('"')?;
        at = string_end(text, start);
        Some(Quoted {
            start,
            text: &text[start..at],
            is_key: text[at..].trim_start_matches(WHITE).starts_with(':'),
        })
    })
}

/// The offset behind the string whose opening quote is at `start`: behind its closing quote, or the
/// end of the text if it has none.
pub(crate) fn string_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Takes in any value and keeps nothing of it: parsing it visits all that parsing a `Value` visits,
/// so it fails where that fails, on numbers out of range, lone surrogates and deep nesting too.
struct Seen;

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seen, D::Error> {
        deserializer.deserialize_any(Seen)
    }
}

impl<'de> Visitor<'de> for Seen {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Seen, E> {
        Ok(Seen)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Seen, E> {
        Ok(Seen)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Seen, E> {
        Ok(Seen)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Seen, E> {
        Ok(Seen)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Seen, E> {
        Ok(Seen)
    }

    fn visit_str<E>(self, _: &str) -> Result<Seen, E> {
        Ok(Seen)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Seen, A::Error> {
        while elements.next_element::<Seen>()?.is_some() {}
        Ok(Seen)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Seen, A::Error> {
        while let Some(key) = members.next_key()? {
            match key {
                SeenKey::OfMember => {
                    members.next_value::<Seen>()?;
                }
                SeenKey::OfNumber => {
                    members.next_value::<SeenNumber>()?;
                }
            }
        }
        Ok(Seen)
    }
}

/// A key, and whether serde_json means a number by it. No key of the text can be meant:
/// [`reserved_key`] has been there.
enum SeenKey {
    /// The key of a member.
    OfMember,
    /// No key: the text of a number follows.
    OfNumber,
}

impl<'de> Deserialize<'de> for SeenKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SeenKey, D::Error> {
        struct Keys;

        impl Visitor<'_> for Keys {
            type Value = SeenKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E>(self, key: &str) -> Result<SeenKey, E> {
                if key == NUMBER { Ok(SeenKey::OfNumber) } else { Ok(SeenKey::OfMember) }
            }
        }

        deserializer.deserialize_str(Keys)
    }
}

/// The text of a number, as serde_json with `arbitrary_precision` gives it. That feature lets any
/// size pass; a value is the same in every build, so the range is checked here.
struct SeenNumber;

impl<'de> Deserialize<'de> for SeenNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SeenNumber, D::Error> {
        deserializer.deserialize_str(SeenNumber)
    }
}

impl Visitor<'_> for SeenNumber {
    type Value = SeenNumber;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text of a number")
    }

    fn visit_str<E: de::Error>(self, number: &str) -> Result<SeenNumber, E> {
        match number.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(SeenNumber),
            _ => Err(E::custom("number out of range")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{Json, Mutated, checked};
    use super::*;
    use quickcheck::QuickCheck;
    use serde_json::Value;

    fn parsed(text: &str) -> serde_json::Result<Value> {
        serde_json::from_str(text)
    }

    #[test]
    fn a_text_is_a_value_if_and_only_if_it_parses_as_one() {
        fn agrees(text: &str) -> bool {
            match (checked(text), parsed(text)) {
                (Ok(compacted), Ok(value)) => {
                    let again = checked(&compacted).unwrap();
                    parsed(&compacted).unwrap() == value
                        && !compacted.contains(['\n', '\r', '\t'])
                        && again == compacted
                }
                (Err(_), Err(_)) => true,
                // With arbitrary_precision serde_json keeps numbers of any size; we do not.
                (Err(fault), Ok(_)) => {
                    parsed("1e999").is_ok() && fault.reason.starts_with("number out of range")
                }
                (Ok(_), Err(_)) => false,
            }
        }
        QuickCheck::new().tests(10_000).quickcheck((|it: Mutated| agrees(&it.0)) as fn(Mutated) -> bool);
        QuickCheck::new().tests(5_000).quickcheck((|it: Json| agrees(&it.0)) as fn(Json) -> bool);
        QuickCheck::new().tests(2_000).quickcheck((|it: String| agrees(&it)) as fn(String) -> bool);
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let deep = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(checked(&deep(127)).is_ok());
        let refused = [
            deep(128),
            deep(1_000_000),
            "[".repeat(1_000_000),
            r#"{"a":"#.repeat(200) + "1" + &"}".repeat(200),
            "1e999".into(),
            "[-1e400]".into(),
            "1".repeat(400),
            r#""\ud800""#.into(),
            r#"{"\udc00":1}"#.into(),
            "\"\n\"".into(),
            "1 2".into(),
            "{} x".into(),
            "[1,]".into(),
            "NaN".into(),
            "-Infinity".into(),
            "'a'".into(),
            "\u{feff}1".into(),
            "1\u{b}".into(),
            "\u{a0}1".into(),
            " ".into(),
        ];
        for text in refused {
            let start: String = text.chars().take(40).collect();
            assert!(checked(&text).is_err(), "{start}");
        }
    }

    #[test]
    fn a_number_out_of_range_is_refused_even_where_serde_json_would_keep_its_text() {
        for text in ["1e999", "[1e309]", r#"{"a":-1E4000}"#] {
            assert_eq!(checked(text).unwrap_err().reason, "number out of range", "{text}");
        }
        assert_eq!(checked("1e-999").unwrap(), "1e-999");
    }

    #[test]
    fn white_space_goes_from_between_tokens_and_stays_in_strings() {
        let text = " { \"a b\" : [ 1 ,\r\n\t2.50 ] , \"\\\" c\" : \" \\\\\" } \n";
        assert_eq!(checked(text).unwrap(), "{\"a b\":[1,2.50],\"\\\" c\":\" \\\\\"}");
        assert_eq!(checked("\n12 ").unwrap(), "12");
    }

    #[test]
    fn a_value_is_put_behind_what_was_there() {
        for text in [r#"{"a b" : "\" "}"#, r#"{"a b" : "\u0020"}"#] {
            let mut out = b"before ".to_vec();
            check(text, &mut out).unwrap();
            assert_eq!(out, format!("before {}", text.replace(" : ", ":")).as_bytes());
        }
    }

    #[test]
    fn a_key_that_serde_json_would_not_take_for_a_key_is_refused() {
        let refused = [
            r#"{"$serde_json::private::RawValue":"[1]"}"#,
            r#"{"$serde_json::private::RawValue":1}"#,
            r#"{"$serde_json::private::Number":"1"}"#,
            r#"{"a":1,"$serde_json::private::RawValue":2}"#,
            r#"[{"\u0024serde_json::private::Number" : 5}]"#,
        ];
        for text in refused {
            let fault = checked(text).unwrap_err();
            assert!(fault.reason.contains("must not begin with"), "{fault}");
        }
        let value = r#"["$serde_json::private::RawValue",{"serde_json::private":1}]"#;
        assert_eq!(checked(value).unwrap(), value);
    }

    #[test]
    fn strings_know_whether_they_are_keys() {
        let found: Vec<_> = strings("{\"a\" \n: \"b:\",\"c\\\"\":[\"d\"]} \"open\\\"é")
            .map(|string| (string.start, string.text, string.is_key))
            .collect();
        let expected = [
            (1, "\"a\"", true),
            (8, "\"b:\"", false),
            (13, "\"c\\\"\"", true),
            (20, "\"d\"", false),
            (26, "\"open\\\"é", false),
        ];
        assert_eq!(found, expected);
    }
}
