//! What values are ordered and told apart by: numbers, strings and booleans.

use super::number;
use super::object::Shape;
use std::cmp::Ordering;

/// A value that has an order. Numbers come before strings, strings before booleans.
#[derive(Clone, Debug)]
pub(crate) enum Scalar {
    /// The text of a finite number.
    Number(Box<str>),
    /// An infinity: above all numbers, or below.
    Infinite {
        above: bool,
    },
    Text(Box<str>),
    Bool(bool),
}

impl Scalar {
    /// Of checked text; `None` for null, NaN, lists and objects.
    pub(crate) fn of(text: &str, nonfinite: bool) -> Option<Scalar> {
        match Shape::of(text, nonfinite) {
            Shape::Number(number) => Some(Scalar::Number(number.into())),
            Shape::Nonfinite(number) if number.is_nan() => None,
            Shape::Nonfinite(number) => Some(Scalar::Infinite { above: number > 0.0 }),
            Shape::Text(text) => Some(Scalar::Text(text.into())),
            Shape::Bool(bool) => Some(Scalar::Bool(bool)),
            Shape::Null | Shape::List | Shape::Object => None,
        }
    }

    /// Numbers by what they are, strings by their bytes, false before true; `None` if they are of different kinds.
    pub(crate) fn compare_alike(&self, other: &Scalar) -> Option<Ordering> {
        use Scalar::{Bool, Infinite, Number, Text};
        Some(match (self, other) {
            (Number(a), Number(b)) => number::compare(a, b),
            (Infinite { above: a }, Infinite { above: b }) => a.cmp(b),
            (Infinite { above }, Number(_)) => {
                if *above {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
            (Number(_), Infinite { above }) => {
                if *above {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            (Text(a), Text(b)) => a.cmp(b),
            (Bool(a), Bool(b)) => a.cmp(b),
            _ => return None,
        })
    }

    /// Which kind comes first, whatever the values.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Scalar::Number(_) | Scalar::Infinite { .. } => 0,
            Scalar::Text(_) => 1,
            Scalar::Bool(_) => 2,
        }
    }
}

impl Ord for Scalar {
    fn cmp(&self, other: &Scalar) -> Ordering {
        self.compare_alike(other).unwrap_or_else(|| self.kind().cmp(&other.kind()))
    }
}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Scalar) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Scalar) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scalar {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_in_one_order_and_equal_if_they_mean_the_same() {
        let flagged = |text| Scalar::of(text, true).unwrap();
        let ascending = [
            flagged(r#""-Infinity""#),
            flagged("-1e300"),
            flagged("2"),
            flagged("10"),
            flagged(r#""Infinity""#),
            flagged(r#""""#),
            flagged(r#""2025-11-17T04:34:09""#),
            flagged(r#""2025-11-17T04:34:09.675252""#),
            flagged(r#""~NaN""#),
            flagged("false"),
            flagged("true"),
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(a.cmp(b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
        assert_eq!(flagged("1.0"), flagged("1"));
        assert_eq!(flagged(r#""\u0061""#), flagged(r#""a""#));
        for nothing in ["null", "[]", "{}", r#""NaN""#] {
            assert_eq!(Scalar::of(nothing, true), None, "{nothing}");
        }
    }
}
