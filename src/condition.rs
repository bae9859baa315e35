//! What is asked of a field: that it is equal to something, or more, or less.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::record;
use crate::value::{self, FieldPath, Scalar, Shape};

/// How a field is compared with a value.
///
/// Numbers are compared by what they are, with all their digits, strings by their bytes. Values of different kinds are neither
/// equal nor more nor less; nothing is equal to a list or an object, and nothing more or less than null or NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compare {
    /// It is the value.
    Equal,
    /// It is there, and is not the value.
    Unequal,
    /// It is less.
    Less,
    /// It is less or equal.
    AtMost,
    /// It is more.
    More,
    /// It is more or equal.
    AtLeast,
}

impl Compare {
    fn is_order(self) -> bool {
        !matches!(self, Compare::Equal | Compare::Unequal)
    }

    fn holds(self, json: &str, nonfinite: bool, operands: &[Operand]) -> bool {
        if !self.is_order() {
            let value = Operand::of(json, nonfinite);
            return value.is_some_and(|value| operands.contains(&value)) == (self == Compare::Equal);
        }
        let Some(value) = Scalar::of(json, nonfinite) else { return false };
        let orders = operands.iter().filter_map(|operand| match operand {
            Operand::Scalar(scalar) => value.compare_alike(scalar),
            Operand::Null | Operand::Nan => None,
        });
        orders.into_iter().any(|order| match self {
            Compare::Less => order.is_lt(),
            Compare::AtMost => order.is_le(),
            Compare::More => order.is_gt(),
            Compare::AtLeast => order.is_ge(),
            Compare::Equal | Compare::Unequal => false,
        })
    }
}

/// A value that fields can be compared with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    Null,
    Nan,
    Scalar(Scalar),
}

impl Operand {
    /// `None` for lists and objects.
    fn of(json: &str, nonfinite: bool) -> Option<Operand> {
        match Shape::of(json, nonfinite) {
            Shape::Null => Some(Operand::Null),
            Shape::Nonfinite(number) if number.is_nan() => Some(Operand::Nan),
            _ => Scalar::of(json, nonfinite).map(Operand::Scalar),
        }
    }
}

/// A field, how it is compared with any of these, and whether that has to hold or not to hold.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    path: FieldPath,
    compare: Compare,
    operands: Vec<Operand>,
    wanted: bool,
}

impl Condition {
    /// A field and a value.
    pub(crate) fn equal<T: Serialize + ?Sized>(path: &str, value: &T, wanted: bool) -> Result<Condition> {
        let operands = vec![operand(value)?];
        Ok(Condition { path: FieldPath::parse(path)?, compare: Compare::Equal, operands, wanted })
    }

    /// A field and a value given as a word.
    pub(crate) fn word(path: &str, compare: Compare, word: &str, wanted: bool) -> Result<Condition> {
        let operands = if compare.is_order() { vec![bound(word)?] } else { words(word)? };
        Ok(Condition { path: FieldPath::parse(path)?, compare, operands, wanted })
    }

    /// Whether it holds of a value.
    pub(crate) fn holds(&self, json: &str, nonfinite: bool) -> bool {
        let found = self.path.find(json);
        found.is_some_and(|text| self.compare.holds(text, nonfinite, &self.operands)) == self.wanted
    }
}

/// A value, encoded as it would be appended.
fn operand<T: Serialize + ?Sized>(value: &T) -> Result<Operand> {
    let mut json = Vec::new();
    let nonfinite = value::encode(value, &mut json).map_err(record::refused)?;
    // What was encoded is JSON text, which is UTF-8.
    Operand::of(&String::from_utf8_lossy(&json), nonfinite).ok_or_else(|| {
        Error::invalid("fields are not compared with lists and objects")
            .advise("name a field inside it, as in outputs.auc")
    })
}

/// The JSON value of a word, if it is one that fields can be compared with.
fn of_json(word: &str) -> Option<Operand> {
    let mut json = Vec::new();
    value::check(word, &mut json).ok()?;
    Operand::of(&String::from_utf8_lossy(&json), false)
}

/// What a word may mean that something is equal to.
fn words(word: &str) -> Result<Vec<Operand>> {
    let mut operands = vec![operand(word)?];
    match word {
        "NaN" => operands.push(operand(&f64::NAN)?),
        "Infinity" => operands.push(operand(&f64::INFINITY)?),
        "-Infinity" => operands.push(operand(&f64::NEG_INFINITY)?),
        // A list or an object may well be the text of a string; as a value nothing equals it.
        _ => operands.extend(of_json(word)),
    }
    Ok(operands)
}

/// What a word means that something is more or less than: one thing, or `n/a` would be more than 5.
fn bound(word: &str) -> Result<Operand> {
    match word {
        "Infinity" => operand(&f64::INFINITY),
        "-Infinity" => operand(&f64::NEG_INFINITY),
        "NaN" | "null" => Err(Error::invalid(format!("nothing is more or less than {word}")).advise(
            format!("ask whether the field is equal to it, or write \"\\\"{word}\\\"\" for the string"),
        )),
        _ => match of_json(word) {
            Some(Operand::Scalar(scalar)) => Ok(Operand::Scalar(scalar)),
            _ => operand(word),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(compare: Compare, word: &str, value: &str) -> bool {
        Condition::word("f", compare, word, true).unwrap().holds(&format!("{{\"f\":{value}}}"), true)
    }

    #[test]
    fn numbers_are_compared_with_numbers_and_strings_with_strings() {
        use Compare::{AtLeast, AtMost, Equal, Less, More, Unequal};
        for (word, value, holding) in [
            ("5", "5.0", &[Equal, AtMost, AtLeast][..]),
            ("5", "\"5\"", &[Equal]),
            ("5", "10", &[Unequal, More, AtLeast]),
            ("5", "-1e3", &[Unequal, Less, AtMost]),
            ("5", "\"n/a\"", &[Unequal]),
            ("\"5\"", "\"10\"", &[Unequal, Less, AtMost]),
            ("\"5\"", "7", &[Unequal]),
            ("9007199254740992", "9007199254740993", &[Unequal, More, AtLeast]),
            ("2026-01-08", "\"2026-01-08T12:00:01\"", &[Unequal, More, AtLeast]),
            ("1e9", "\"Infinity\"", &[Unequal, More, AtLeast]),
            ("-Infinity", "-1e300", &[Unequal, More, AtLeast]),
            ("5", "\"NaN\"", &[Unequal]),
            ("5", "null", &[Unequal]),
            ("5", "[5]", &[Unequal]),
            ("true", "true", &[Equal, AtMost, AtLeast]),
            ("true", "false", &[Unequal, Less, AtMost]),
            ("b", "\"a\"", &[Unequal, Less, AtMost]),
            ("[1", "\"[1\"", &[Equal, AtMost, AtLeast]),
        ] {
            for compare in [Equal, Unequal, Less, AtMost, More, AtLeast] {
                assert_eq!(
                    holds(compare, word, value),
                    holding.contains(&compare),
                    "{value} {compare:?} {word}"
                );
            }
        }
    }

    #[test]
    fn a_field_that_is_not_there_is_nothing_at_all_and_so_what_is_denied_holds() {
        for compare in [Compare::Equal, Compare::Unequal, Compare::Less, Compare::AtLeast] {
            for (wanted, value) in [(true, "{}"), (true, "1"), (true, "{\"g\":1}")] {
                assert!(!Condition::word("f", compare, "1", wanted).unwrap().holds(value, false));
                assert!(Condition::word("f", compare, "1", !wanted).unwrap().holds(value, false));
            }
        }
    }

    #[test]
    fn nothing_is_more_or_less_than_what_has_no_order() {
        for word in ["NaN", "null"] {
            assert!(Condition::word("f", Compare::Less, word, true).unwrap_err().is_invalid());
            assert!(holds(Compare::Equal, word, if word == "NaN" { "\"NaN\"" } else { "null" }));
        }
    }
}
