//! Looking into values: the members of an object, a field by its path, what a value is.

use super::nonfinite::{Meaning, meaning};
use super::{Fault, key_of};
use crate::error::{Error, Result as TallyResult};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The members of an object as pairs of text, duplicates and all. Parsing them does not go into the values.
pub(super) fn pairs(object: &str) -> Result<impl Iterator<Item = (&str, &str)>, Fault> {
    let pairs: Pairs<'_> = serde_json::from_str(object)?;
    Ok(pairs.0.into_iter().map(|(key, value)| (key.get(), value.get())))
}

/// The members of an object: what each key means, and the text of its value. Of equal keys the last counts; who asks sees all
/// of them, in order.
pub(crate) fn members(object: &str) -> Result<impl Iterator<Item = (Cow<'_, str>, &str)>, Fault> {
    // serde_json has parsed these keys already, so they mean something.
    Ok(pairs(object)?.filter_map(|(key, value)| Some((key_of(key.as_bytes())?, value))))
}

/// The elements of a list, as text.
pub(crate) fn elements(list: &str) -> Result<Vec<&str>, Fault> {
    let elements: Vec<&RawValue> = serde_json::from_str(list)?;
    Ok(elements.into_iter().map(RawValue::get).collect())
}

struct Pairs<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs<'de>, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = members.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// What a value is, one level deep.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape<'a> {
    Null,
    Bool(bool),
    /// The text of a finite number.
    Number(&'a str),
    /// A number that JSON cannot write.
    Nonfinite(f64),
    /// What a string means.
    Text(Cow<'a, str>),
    List,
    Object,
}

impl<'a> Shape<'a> {
    /// Of checked text, without white space around it; `nonfinite`: it is under the flag.
    pub(crate) fn of(text: &'a str, nonfinite: bool) -> Shape<'a> {
        match text.as_bytes().first() {
            Some(b'{') => Shape::Object,
            Some(b'[') => Shape::List,
            Some(b'n') => Shape::Null,
            Some(b't') => Shape::Bool(true),
            Some(b'f') => Shape::Bool(false),
            Some(b'"') => {
                // Text was checked on append; what is no string any more means nothing.
                let string = key_of(text.as_bytes()).unwrap_or_default();
                if !nonfinite {
                    return Shape::Text(string);
                }
                match meaning(&string) {
                    Meaning::Number(number) => Shape::Nonfinite(number),
                    Meaning::Text(genuine) if genuine.len() == string.len() => Shape::Text(string),
                    Meaning::Text(genuine) => Shape::Text(Cow::Owned(genuine.to_string())),
                }
            }
            _ => Shape::Number(text),
        }
    }

    /// As a part of a sentence: "a string".
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Shape::Null => "null",
            Shape::Bool(_) => "a boolean",
            Shape::Number(_) => "a number",
            Shape::Nonfinite(_) => "a number that is not finite",
            Shape::Text(_) => "a string",
            Shape::List => "a list",
            Shape::Object => "an object",
        }
    }
}

/// Where in a value a field is: the names of members, from the outside in. As text they are joined by dots; a dot that belongs
/// to a name is `\.`, a backslash `\\`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FieldPath(Vec<String>);

impl FieldPath {
    /// # Errors
    /// `is_invalid` for an empty name, or a backslash before anything but a dot or a backslash.
    pub(crate) fn parse(text: &str) -> TallyResult<FieldPath> {
        let mut names = Vec::new();
        let mut name = String::new();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            match char {
                '.' => names.push(std::mem::take(&mut name)),
                '\\' => match chars.next() {
                    Some(escaped @ ('.' | '\\')) => name.push(escaped),
                    _ => {
                        return Err(Error::invalid(format!(
                            "the field {text:?} has a backslash before something else than a dot or a backslash"
                        ))
                        .advise("write \\\\ for a backslash, \\. for a dot inside a name"));
                    }
                },
                char => name.push(char),
            }
        }
        names.push(name);
        if names.iter().any(String::is_empty) {
            return Err(Error::invalid(format!("the field {text:?} has an empty name")).advise(
                "names are joined by single dots, as in outputs.auc; write \\. for a dot inside a name",
            ));
        }
        Ok(FieldPath(names))
    }

    /// The text of the field in a value, if it is there. Of members with equal keys the last counts.
    pub(crate) fn find<'a>(&self, value: &'a str) -> Option<&'a str> {
        self.0.iter().try_fold(value, |value, name| {
            if !value.starts_with('{') {
                return None;
            }
            members(value).ok()?.filter(|(key, _)| key == name).last().map(|(_, value)| value)
        })
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.0.iter().enumerate() {
            let separator = if i > 0 { "." } else { "" };
            write!(f, "{separator}{}", name.replace('\\', "\\\\").replace('.', "\\."))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::QuickCheck;

    fn find<'a>(path: &str, value: &'a str) -> Option<&'a str> {
        FieldPath::parse(path).unwrap().find(value)
    }

    #[test]
    fn a_field_is_found_by_the_names_that_lead_to_it() {
        let value = r#"{"a":{"b":{"c":1.50}},"x.y":{"\\":"z"},"t":"\u0041"}"#;
        assert_eq!(find("a.b.c", value), Some("1.50"));
        assert_eq!(find("a.b", value), Some(r#"{"c":1.50}"#));
        assert_eq!(find(r"x\.y.\\", value), Some(r#""z""#));
        for missing in ["b", "a.c", "x.y", "t.u", "a.b.c.d"] {
            assert_eq!(find(missing, value), None, "{missing}");
        }
        assert_eq!(find("a", "[1]"), None);
    }

    #[test]
    fn of_equal_keys_the_last_counts_however_they_are_escaped() {
        assert_eq!(find("a", r#"{"a":1,"\u0061":2}"#), Some("2"));
    }

    #[test]
    fn a_path_is_written_as_it_is_read_and_every_name_has_one() {
        fn holds(names: Vec<String>) -> bool {
            let path = FieldPath(names.into_iter().map(|name| name + "x").chain(["y".into()]).collect());
            FieldPath::parse(&path.to_string()).unwrap() == path
        }
        QuickCheck::new().quickcheck(holds as fn(Vec<String>) -> bool);
        for wrong in ["", ".", "a.", ".a", "a..b", r"a\b", r"a\"] {
            assert!(FieldPath::parse(wrong).unwrap_err().is_invalid(), "{wrong}");
        }
    }

    #[test]
    fn a_shape_says_what_a_value_means() {
        assert_eq!(Shape::of("-0.0", false), Shape::Number("-0.0"));
        assert_eq!(Shape::of(r#""N\u0061N""#, false), Shape::Text("NaN".into()));
        assert!(matches!(Shape::of(r#""N\u0061N""#, true), Shape::Nonfinite(number) if number.is_nan()));
        assert_eq!(Shape::of(r#""~NaN""#, true), Shape::Text("NaN".into()));
        assert_eq!(Shape::of(r#""~NaN""#, false), Shape::Text("~NaN".into()));
        assert_eq!(Shape::of("true", true), Shape::Bool(true));
        assert_eq!(Shape::of("[]", true).name(), "a list");
    }
}
