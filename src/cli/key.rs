//! Where the key of an appended record comes from.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;
use tallyfold::Batch;

#[derive(Clone, Copy, Debug)]
pub(crate) enum KeySource<'a> {
    /// The same for every record.
    Literal(&'a str),
    /// These fields of the value, joined.
    Fields(&'a [String]),
}

impl<'a> KeySource<'a> {
    /// The key of a value. The text of a refusal is part of a sentence about its line.
    pub(crate) fn key(self, json: &str) -> Result<Cow<'a, str>, String> {
        match self {
            KeySource::Literal(key) => Ok(Cow::Borrowed(key)),
            KeySource::Fields(fields) => from_fields(fields, json).map(Cow::Owned),
        }
    }
}

fn from_fields(fields: &[String], json: &str) -> Result<String, String> {
    let Ok(object) = serde_json::from_str::<HashMap<String, &RawValue>>(json) else {
        refuse_what_is_no_json(json)?;
        return Err(format!("the value is no object: it has no field {:?}", fields.join(",")));
    };
    let mut parts = Vec::with_capacity(fields.len());
    for field in fields {
        let value = object.get(field).ok_or_else(|| format!("there is no field {field:?}"))?;
        parts.push(part(field, value.get(), json)?);
    }
    Ok(tallyfold::key(parts))
}

/// One part.
fn part(field: &str, value: &str, json: &str) -> Result<String, String> {
    let refused = |what: &str| {
        Err(format!("the field {field:?} is {what}: a key takes a string, a number or a boolean"))
    };
    match value.bytes().next() {
        Some(b'"') => match serde_json::from_str::<String>(value) {
            Ok(text) => Ok(text),
            Err(e) => {
                refuse_what_is_no_json(json)?;
                Err(format!("the field {field:?} cannot be read: {e}"))
            }
        },
        Some(b'{') => refused("an object"),
        Some(b'[') => refused("a list"),
        Some(b'n') => refused("null"),
        // Numbers keep the text they came with: 1.50 and 1.5 are two keys, and no digit is lost.
        _ => Ok(value.to_string()),
    }
}

/// The library says best why something is no JSON value.
fn refuse_what_is_no_json(json: &str) -> Result<(), String> {
    Batch::new().put_json("", json).map(|_| ()).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fields: &[&str], json: &str) -> Result<String, String> {
        let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
        KeySource::Fields(&fields).key(json).map(Cow::into_owned)
    }

    #[test]
    fn parts_are_joined_and_escaped_so_that_no_two_lists_of_parts_meet() {
        assert_eq!(key(&["run", "stage"], r#"{"stage":"TRAINING","run":"r-1"}"#).unwrap(), "r-1:TRAINING");
        assert_eq!(key(&["a", "b"], r#"{"a":"x:y","b":"100%"}"#).unwrap(), "x%3Ay:100%25");
        assert_eq!(key(&["a", "b"], r#"{"a":"x","b":"y:100%"}"#).unwrap(), "x:y%3A100%25");
        assert_eq!(key(&["a"], r#"{"a":"%3A"}"#).unwrap(), "%253A");
        assert_eq!(key(&["a"], r#"{"a":"\u00e4\n"}"#).unwrap(), "ä\n");
    }

    #[test]
    fn numbers_keep_their_text_and_booleans_are_words() {
        let json = r#"{"a":1.50,"b":-0,"c":12345678901234567890123,"d":1E5,"e":true}"#;
        assert_eq!(
            key(&["a", "b", "c", "d", "e"], json).unwrap(),
            "1.50:-0:12345678901234567890123:1E5:true"
        );
    }

    #[test]
    fn of_a_field_given_twice_the_last_counts() {
        assert_eq!(key(&["a"], r#"{"a":1,"a":2}"#).unwrap(), "2");
    }

    #[test]
    fn what_cannot_be_a_part_is_refused_with_the_name_of_the_field() {
        for (json, words) in [
            (r#"{"b":1}"#, r#"no field "a""#),
            (r#"{"a":null}"#, r#""a" is null"#),
            (r#"{"a":{}}"#, r#""a" is an object"#),
            (r#"{"a":[1]}"#, r#""a" is a list"#),
            ("[1]", r#"no object: it has no field "a""#),
            (r#"{"a":"#, "cannot be taken as JSON"),
            (r#"{"a":"\ud800"}"#, "cannot be taken as JSON"),
        ] {
            let refusal = key(&["a"], json).unwrap_err();
            assert!(refusal.contains(words), "{json}: {refusal}");
        }
    }
}
