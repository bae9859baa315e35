//! The fold `sum`: numbers added, field by field.

use std::collections::BTreeMap;

use crate::value::{self, Fault, Shape, Text};

/// Roughly what a field takes in memory.
const FIELD_BYTES: usize = 96;

/// Each field and its sum so far.
#[derive(Debug, Default)]
pub(crate) struct Sums(BTreeMap<Box<str>, Total>);

/// A sum: the text of a number, or an infinity if it went beyond the largest double. There it stays.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Total {
    Finite(Box<str>),
    Beyond { above: bool },
}

impl Total {
    pub(super) fn zero() -> Total {
        Total::Finite("0".into())
    }

    pub(super) fn add(&mut self, number: &str) {
        if let Total::Finite(sum) = self {
            *self = match value::add(sum, number) {
                Some(sum) => Total::Finite(sum.into()),
                None => Total::Beyond { above: !number.starts_with('-') },
            };
        }
    }

    /// The total that a number in an entry stands for.
    pub(super) fn of(text: &str, nonfinite: bool) -> Result<Total, Fault> {
        match Shape::of(text, nonfinite) {
            Shape::Number(number) => Ok(Total::Finite(number.into())),
            Shape::Nonfinite(number) => Ok(Total::Beyond { above: number > 0.0 }),
            other => Err(Fault::whole(format!("a sum is {}", other.name()))),
        }
    }

    pub(super) fn is_finite(&self) -> bool {
        matches!(self, Total::Finite(_))
    }

    /// As JSON, under the flag if it is not finite.
    pub(super) fn json(&self) -> &str {
        match self {
            Total::Finite(number) => number,
            Total::Beyond { above: true } => "\"Infinity\"",
            Total::Beyond { above: false } => "\"-Infinity\"",
        }
    }
}

/// Why a value cannot be added, as a part of a sentence; every field of it must be a finite number.
pub(super) fn check(text: &str, nonfinite: bool) -> Result<(), String> {
    numbers(text, nonfinite, |_, _| ()).map_err(|fault| fault.reason)
}

fn numbers(text: &str, nonfinite: bool, mut each: impl FnMut(&str, &str)) -> Result<(), Fault> {
    if !text.starts_with('{') {
        let is = Shape::of(text, nonfinite).name();
        return Err(Fault::whole(format!(
            "the value is {is}, not an object of numbers such as {{\"episodes\":1}}"
        )));
    }
    let mut fields = BTreeMap::new();
    for (name, value) in value::members(text)? {
        match Shape::of(value, nonfinite) {
            // Of equal keys the last counts.
            Shape::Number(number) => fields.insert(name, number),
            other => {
                return Err(Fault::whole(format!(
                    "the field {name:?} is {}, not a finite number",
                    other.name()
                )));
            }
        };
    }
    fields.iter().for_each(|(name, number)| each(name, number));
    Ok(())
}

impl Sums {
    pub(super) fn of(text: &str, nonfinite: bool) -> Result<Sums, Fault> {
        let total = |(name, value): (_, &str)| Ok((Box::from(name), Total::of(value, nonfinite)?));
        value::members(text)?.map(total).collect::<Result<_, _>>().map(Sums)
    }

    /// Adds a value that [`check`] has let pass.
    pub(super) fn add(&mut self, text: &str, nonfinite: bool) -> Result<(), Fault> {
        numbers(text, nonfinite, |name, number| match self.0.get_mut(name) {
            Some(total) => total.add(number),
            None => drop(self.0.insert(name.into(), Total::Finite(number.into()))),
        })
    }

    /// Sorted by the names of the fields.
    pub(super) fn text(&self) -> Text {
        let mut out = String::with_capacity(2 + self.bytes());
        out.push('{');
        for (i, (name, total)) in self.0.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            out.push_str(&value::key_string(name));
            out.push(':');
            out.push_str(total.json());
        }
        out.push('}');
        let nonfinite = !self.0.values().all(Total::is_finite);
        Text { text: out, nonfinite }
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.len() * FIELD_BYTES
    }
}
