//! The fold `top`: the best few of what was observed, best first.

use std::cmp::Ordering;

use crate::error::{Error, Result};
use crate::value::{self, Fault, FieldPath, Scalar, Shape, Text};

const MOST: u32 = 100_000;

/// Roughly what an observation takes in memory beside its text.
const OBSERVATION_BYTES: usize = 192;

/// The parameters of [`Fold::Top`](crate::Fold::Top).
///
/// ```
/// use tallyfold::{Fold, Order, Settings, Top, Wins};
/// let top = Top::new(10)?
///     .unique("episode_id", Wins::First)?
///     .rank("reliability", Order::Given(vec!["HIGH".into(), "MEDIUM".into(), "LOW".into()]))?
///     .rank("score", Order::Descending)?;
/// let settings = Settings::new(Fold::Top(top));
/// # Ok::<(), tallyfold::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Top {
    pub(super) n: u32,
    pub(super) unique: Option<(FieldPath, Wins)>,
    pub(super) newest: Option<FieldPath>,
    pub(super) rank: Vec<(FieldPath, Order)>,
}

/// Which of several observations with the same identity stays.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wins {
    /// The one that came first.
    First,
    /// The one that came last.
    Last,
    /// The one with the greatest value of this field; of equal ones the one that came first.
    Newest(String),
}

/// How the values of a field are ranked. What has no rank (a missing field, null, NaN, a list, a string that is not in the given
/// order) comes last. Numbers are compared by what they are, strings by their bytes; numbers come before strings, strings
/// before booleans.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Order {
    /// The smallest first.
    Ascending,
    /// The greatest first.
    Descending,
    /// These strings, the best first.
    Given(Vec<String>),
}

impl Top {
    /// The best `n` of each key, 1 to 100,000. They need at least one [`rank`](Top::rank).
    ///
    /// # Errors
    /// `is_invalid` if `n` is 0 or more than 100,000.
    pub fn new(n: u32) -> Result<Top> {
        if !(1..=MOST).contains(&n) {
            return Err(Error::invalid(format!("`n` is {n}: the fold `top` keeps 1 to {MOST} of each key")));
        }
        Ok(Top { n, unique: None, newest: None, rank: Vec::new() })
    }

    /// Observations whose values of this field are equal are one: of them only the one that `wins` stays. One that fell off the
    /// end is forgotten; should its like come again, it is new.
    ///
    /// # Errors
    /// `is_invalid` if a field is no path of names joined by dots.
    pub fn unique(mut self, field: &str, wins: Wins) -> Result<Top> {
        self.newest = match &wins {
            Wins::Newest(field) => Some(FieldPath::parse(field)?),
            Wins::First | Wins::Last => None,
        };
        self.unique = Some((FieldPath::parse(field)?, wins));
        Ok(self)
    }

    /// Ranks by this field those that the fields before it rank alike. What all of them rank alike stays in the order of seqs.
    ///
    /// # Errors
    /// `is_invalid` if the field is no path of names joined by dots, or the order has no name or one twice.
    pub fn rank(mut self, field: &str, order: Order) -> Result<Top> {
        if let Order::Given(names) = &order {
            if names.is_empty() {
                return Err(Error::invalid(format!("the order of {field:?} names nothing")));
            }
            if let Some((i, name)) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
                return Err(Error::invalid(format!(
                    "the order of {field:?} has {name:?} twice, again at place {}",
                    i + 1
                )));
            }
        }
        self.rank.push((FieldPath::parse(field)?, order));
        Ok(self)
    }

    /// Whether it can be used: without a rank nothing is better than anything.
    pub(super) fn ready(&self) -> Result<()> {
        if self.rank.is_empty() {
            return Err(Error::invalid("the fold `top` needs a `rank`: at least one field to rank by")
                .advise("such as \"rank\":[{\"field\":\"score\",\"order\":\"desc\"}]"));
        }
        Ok(())
    }

    /// Why a value is no observation, as a part of a sentence.
    pub(super) fn check(&self, text: &str, nonfinite: bool) -> std::result::Result<(), String> {
        if !text.starts_with('{') {
            return Err(format!("the value is {}, not an object", Shape::of(text, nonfinite).name()));
        }
        for field in self.unique.iter().map(|(field, _)| field).chain(&self.newest) {
            let value = field.find(text).ok_or_else(|| format!("it has no field \"{field}\""))?;
            if Scalar::of(value, nonfinite).is_none() {
                let is = Shape::of(value, nonfinite).name();
                return Err(format!("the field \"{field}\" is {is}, not a string, a number or a boolean"));
            }
        }
        Ok(())
    }
}

/// The best of one key, best first.
#[derive(Debug, Default)]
pub(crate) struct Best(Vec<Observation>);

#[derive(Debug)]
struct Observation {
    /// Under the flag if, and only if, it holds a number that is not finite.
    text: Text,
    identity: Option<Scalar>,
    newness: Option<Scalar>,
    ranks: Vec<Option<Scalar>>,
}

impl Observation {
    fn of(text: &str, nonfinite: bool, top: &Top) -> Observation {
        let text = match nonfinite && !value::has_nonfinite(text) {
            true => Text { text: value::unescape(text).into_owned(), nonfinite: false },
            false => Text { text: text.into(), nonfinite },
        };
        let scalar = |field: &FieldPath| Scalar::of(field.find(&text.text)?, text.nonfinite);
        let identity = top.unique.as_ref().and_then(|(field, _)| scalar(field));
        let newness = top.newest.as_ref().and_then(scalar);
        let ranks = top.rank.iter().map(|(field, _)| scalar(field)).collect();
        Observation { identity, newness, ranks, text }
    }

    /// Less: it is better.
    fn compare(&self, other: &Observation, top: &Top) -> Ordering {
        let ranks = self.ranks.iter().zip(&other.ranks).zip(&top.rank);
        ranks
            .map(|((a, b), (_, order))| order.compare(a.as_ref(), b.as_ref()))
            .find(|it| it.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl Order {
    pub(crate) fn compare(&self, a: Option<&Scalar>, b: Option<&Scalar>) -> Ordering {
        if let Order::Given(names) = self {
            let place = |scalar: Option<&Scalar>| match scalar {
                Some(Scalar::Text(text)) => {
                    names.iter().position(|name| **name == **text).unwrap_or(names.len())
                }
                _ => names.len(),
            };
            return place(a).cmp(&place(b));
        }
        match (a, b) {
            (Some(a), Some(b)) => match a.compare_alike(b) {
                Some(alike) if *self == Order::Descending => alike.reverse(),
                Some(alike) => alike,
                None => a.kind().cmp(&b.kind()),
            },
            (a, b) => a.is_none().cmp(&b.is_none()),
        }
    }
}

impl Best {
    pub(super) fn of(text: &str, nonfinite: bool, top: &Top) -> std::result::Result<Best, Fault> {
        Ok(Best(
            value::elements(text)?.into_iter().map(|text| Observation::of(text, nonfinite, top)).collect(),
        ))
    }

    /// Adds an observation that [`Top::check`] has let pass.
    pub(super) fn add(&mut self, text: &str, nonfinite: bool, top: &Top) {
        let new = Observation::of(text, nonfinite, top);
        if let Some((_, wins)) = &top.unique
            && let Some(place) = self.0.iter().position(|old| old.identity == new.identity)
        {
            let wins = match wins {
                Wins::First => false,
                Wins::Last => true,
                Wins::Newest(_) => new.newness > self.0[place].newness,
            };
            if !wins {
                return;
            }
            self.0.remove(place);
        }
        // Behind those as good as it: they came before it.
        let place = self.0.partition_point(|old| old.compare(&new, top).is_le());
        self.0.insert(place, new);
        self.0.truncate(top.n as usize);
    }

    pub(super) fn text(&self) -> Text {
        let nonfinite = self.0.iter().any(|observation| observation.text.nonfinite);
        let mut text = String::with_capacity(2 + self.bytes());
        text.push('[');
        for (i, observation) in self.0.iter().enumerate() {
            if i > 0 {
                text.push(',');
            }
            match nonfinite && !observation.text.nonfinite {
                true => text.push_str(&value::escape(&observation.text.text)),
                false => text.push_str(&observation.text.text),
            }
        }
        text.push(']');
        Text { text, nonfinite }
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.len() * (self.0.last().map_or(0, |last| last.text.text.len()) + OBSERVATION_BYTES)
    }
}
