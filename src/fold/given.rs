//! A fold as settings and snapshots spell it: `{"kind":"top","n":10,…}`.

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::fold::{Fold, Order, Series, Top, Wins};

#[derive(Deserialize)]
pub(crate) struct Given {
    kind: String,
    #[serde(flatten)]
    parameters: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeriesParameters {
    points: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopParameters {
    n: u32,
    unique: Option<String>,
    wins: Option<GivenWins>,
    rank: Vec<GivenRank>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum GivenWins {
    First,
    Last,
    Newest(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenRank {
    field: String,
    order: Value,
}

impl Given {
    /// Without parameters.
    pub(super) fn named(kind: &str) -> Given {
        Given { kind: kind.into(), parameters: Map::new() }
    }

    pub(crate) fn fold(&self) -> Result<Fold> {
        match &*self.kind {
            "latest" => self.bare(Fold::Latest),
            "merge" => self.bare(Fold::Merge),
            "sum" => self.bare(Fold::Sum),
            "log" => self.bare(Fold::Log),
            "series" => {
                let points = self.parameters::<SeriesParameters>()?.points;
                Ok(Fold::Series(points.map_or(Ok(Series::default()), Series::new)?))
            }
            "top" => top(self.parameters()?).map(Fold::Top),
            other => Err(Error::invalid(format!(
                "there is no fold {other:?}: it is latest, merge, sum, top, series or log"
            ))),
        }
    }

    fn bare(&self, fold: Fold) -> Result<Fold> {
        match self.parameters.keys().next() {
            Some(field) => {
                Err(Error::invalid(format!("the fold `{}` has no parameter `{field}`", self.kind)))
            }
            None => Ok(fold),
        }
    }

    fn parameters<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(Value::Object(self.parameters.clone()))
            .map_err(|e| Error::invalid(format!("the parameters of the fold `{}`: {e}", self.kind)))
    }
}

fn top(given: TopParameters) -> Result<Top> {
    let mut top = Top::new(given.n)?;
    let wins = given.wins.map(|wins| match wins {
        GivenWins::First => Wins::First,
        GivenWins::Last => Wins::Last,
        GivenWins::Newest(field) => Wins::Newest(field),
    });
    match (given.unique, wins) {
        (Some(field), wins) => top = top.unique(&field, wins.unwrap_or(Wins::First))?,
        (None, None) => {}
        (None, Some(_)) => {
            return Err(Error::invalid(
                "`wins` of the fold `top` says which of several with the same `unique` field stays, and no `unique` is given",
            ));
        }
    }
    for GivenRank { field, order } in given.rank {
        let order = match order {
            Value::String(word) if word == "asc" => Order::Ascending,
            Value::String(word) if word == "desc" => Order::Descending,
            Value::Array(names) if names.iter().all(Value::is_string) => {
                Order::Given(names.iter().filter_map(Value::as_str).map(String::from).collect())
            }
            other => {
                return Err(Error::invalid(format!(
                    "the `order` of {field:?} is \"asc\", \"desc\" or a list of strings, best first, not {other}"
                )));
            }
        };
        top = top.rank(&field, order)?;
    }
    top.ready()?;
    Ok(top)
}

impl Serialize for Fold {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("kind", self.name())?;
        match self {
            Fold::Latest | Fold::Merge | Fold::Sum | Fold::Log => {}
            Fold::Series(series) => fields.serialize_entry("points", &series.points())?,
            Fold::Top(top) => {
                fields.serialize_entry("n", &top.n)?;
                if let Some((field, wins)) = &top.unique {
                    let wins = match wins {
                        Wins::First => GivenWins::First,
                        Wins::Last => GivenWins::Last,
                        Wins::Newest(field) => GivenWins::Newest(field.clone()),
                    };
                    fields.serialize_entry("unique", &field.to_string())?;
                    fields.serialize_entry("wins", &wins)?;
                }
                let ranks: Vec<Ranked<'_>> = top
                    .rank
                    .iter()
                    .map(|(field, order)| Ranked { field: field.to_string(), order })
                    .collect();
                fields.serialize_entry("rank", &ranks)?;
            }
        }
        fields.end()
    }
}

#[derive(Serialize)]
struct Ranked<'a> {
    field: String,
    order: &'a Order,
}

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Order::Ascending => "asc".serialize(serializer),
            Order::Descending => "desc".serialize(serializer),
            Order::Given(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Fold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Fold, D::Error> {
        Given::deserialize(deserializer)?.fold().map_err(D::Error::custom)
    }
}
