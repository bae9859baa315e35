//! The newest earlier entry or record whose fields are what is asked for: how a run finds the run before it. By seq, for clocks
//! and ids of runs disagree.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use crate::attach::Published;
use crate::condition::{Compare, Condition};
use crate::error::{Error, Kind, Result};
use crate::fold::EntryRef;
use crate::history::{self, History};
use crate::home::Home;
use crate::record::{self, Record, Seq};
use crate::view::View;

/// What [`View::previous`] and [`Cohort::previous`](crate::Cohort::previous) look for.
///
/// A field is named by the members that lead to it, joined by dots: `outputs.auc`; a dot in a name is `\.`, a backslash `\\`.
/// Strings are equal if they mean the same, however they are escaped; numbers if they are the same number, with all their
/// digits (`1` and `1.0`, not 2⁵³ and 2⁵³ + 1), and NaN equals NaN. Values of different kinds are never equal, nothing equals a
/// list or an object, and a field that is not there equals nothing, not even `null`.
///
/// ```
/// # let dir = tempfile::tempdir()?; let store = tallyfold::Store::open(dir.path().join("s"))?;
/// # let index = store.create("index", tallyfold::Settings::latest())?;
/// use serde_json::json;
/// use tallyfold::Query;
///
/// index.append("run-7", &json!({"run_id": "run-7", "stage": "TRAINING", "auc": 0.61}))?;
/// index.append("run-3", &json!({"run_id": "run-3", "stage": "TARGET_RANKING"}))?;
/// index.append("run-1", &json!({"run_id": "run-1", "stage": "TRAINING", "auc": 0.64}))?;
///
/// let view = index.view()?;
/// let query = Query::new().before_key("run-1").field("stage", "TRAINING")?.not("run_id", "run-1")?;
/// let (key, entry) = view.previous(&query)?.unwrap();
/// assert_eq!((&*key, entry.seq()), ("run-7", 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Query {
    before: Before,
    fields: Vec<Condition>,
}

/// How many entries are collected before the newest of them is looked for: keys are often in the order of their seqs, and then
/// each would be newer than all before it.
const CANDIDATES: usize = 4096;

type Item<'a> = (Cow<'a, str>, EntryRef<'a>);

#[derive(Clone, Debug, Default)]
enum Before {
    #[default]
    Nothing,
    Seq(Seq),
    Key(String),
}

impl Query {
    /// The newest of all.
    pub fn new() -> Query {
        Query::default()
    }

    /// Only what has a lower seq.
    #[must_use]
    pub fn before(mut self, seq: Seq) -> Query {
        self.before = Before::Seq(seq);
        self
    }

    /// Only what has a lower seq than the entry of this key; of a `log`, than the last record with this key, and none of its
    /// records.
    #[must_use]
    pub fn before_key(mut self, key: impl Into<String>) -> Query {
        self.before = Before::Key(key.into());
        self
    }

    /// Only where this field equals this value.
    ///
    /// # Errors
    /// `is_invalid` for a path that is none, and a value that is a list or an object.
    pub fn field<T: Serialize + ?Sized>(self, path: &str, value: &T) -> Result<Query> {
        Ok(self.with(Condition::equal(path, value, true)?))
    }

    /// Only where this field does not equal this value, or is not there.
    ///
    /// # Errors
    /// As [`field`](Query::field).
    pub fn not<T: Serialize + ?Sized>(self, path: &str, value: &T) -> Result<Query> {
        Ok(self.with(Condition::equal(path, value, false)?))
    }

    /// As [`field`](Query::field), for a value given as a word, whose kind nobody has told: the string of this text, or the JSON
    /// value of this text, or, for `NaN`, `Infinity` and `-Infinity`, that number.
    ///
    /// # Errors
    /// As [`field`](Query::field).
    pub fn field_word(self, path: &str, word: &str) -> Result<Query> {
        self.compared(path, Compare::Equal, word)
    }

    /// As [`not`](Query::not), for a value given as a word: neither of those that [`field_word`](Query::field_word) would find.
    ///
    /// # Errors
    /// As [`field`](Query::field).
    pub fn not_word(self, path: &str, word: &str) -> Result<Query> {
        self.not_compared(path, Compare::Equal, word)
    }

    /// Only where this field is there and compares so with a value given as a word. With [`Compare::Equal`] and
    /// [`Compare::Unequal`] the word may mean all that it may mean to [`field_word`](Query::field_word). With the others it means
    /// one thing: the JSON value of its text, if that is a number, a string or a boolean, else the string of its text; so
    /// what is more than the word `5` is a number, and what is more than `2026-01-08` or `"5"` a string.
    ///
    /// ```
    /// # use tallyfold::{Compare, Query};
    /// let query = Query::new().compared("outputs.auc", Compare::AtLeast, "0.6")?;
    /// assert!(query.matches(r#"{"outputs":{"auc":0.61}}"#, false));
    /// assert!(!query.matches(r#"{"outputs":{"auc":"n/a"}}"#, false) && !query.matches("{}", false));
    /// # Ok::<(), tallyfold::Error>(())
    /// ```
    ///
    /// # Errors
    /// `is_invalid` for a path that is none, and for an order by null or NaN.
    pub fn compared(self, path: &str, compare: Compare, word: &str) -> Result<Query> {
        Ok(self.with(Condition::word(path, compare, word, true)?))
    }

    /// Only where that does not hold; so also where the field is not there.
    ///
    /// # Errors
    /// As [`compared`](Query::compared).
    pub fn not_compared(self, path: &str, compare: Compare, word: &str) -> Result<Query> {
        Ok(self.with(Condition::word(path, compare, word, false)?))
    }

    fn with(mut self, condition: Condition) -> Query {
        self.fields.push(condition);
        self
    }

    /// Whether the fields of a value, given as JSON text, are what is asked for; what the query says of seqs does not count here.
    /// `nonfinite`: strings in it may stand for numbers that are not finite, as [`EntryRef::nonfinite`] and
    /// [`Record::nonfinite`] say.
    pub fn matches(&self, json: &str, nonfinite: bool) -> bool {
        self.fields.iter().all(|field| field.holds(json, nonfinite))
    }

    /// Takes the candidates away, and returns the newest that matches.
    fn newest<'a>(&self, candidates: &mut Vec<Item<'a>>) -> Option<Item<'a>> {
        candidates.sort_unstable_by_key(|(_, entry)| std::cmp::Reverse(entry.seq()));
        let mut sorted = candidates.drain(..);
        sorted.find(|(_, entry)| self.matches(entry.json(), entry.nonfinite()))
    }
}

fn no_key(key: &str, what: &str) -> Error {
    Error::new(Kind::NotFound, format!("there is no {what} {key:?} to look before"))
}

impl View {
    /// The newest entry that is what the query asks for; `None` if there is none. Goes over all entries, and looks into the
    /// values of few: those whose seq lies between the best found so far and the bound, of many the newest first.
    ///
    /// An entry's seq is that of the last record folded into it. See [`Query`] for an example.
    ///
    /// # Errors
    /// `is_not_found` if there is no entry of the key named in [`before_key`](Query::before_key); else as
    /// [`get`](View::get).
    pub fn previous(&self, query: &Query) -> Result<Option<Item<'_>>> {
        let before = match &query.before {
            Before::Nothing => Seq::MAX,
            Before::Seq(seq) => *seq,
            Before::Key(key) => self.get_ref(key)?.ok_or_else(|| no_key(key, "entry of the key"))?.seq(),
        };
        let mut best = None;
        let mut candidates = Vec::new();
        for item in self.iter() {
            let (key, entry) = item?;
            let newer = best.as_ref().is_none_or(|(_, best): &Item<'_>| entry.seq() > best.seq());
            if newer && entry.seq() < before {
                candidates.push((key, entry));
            }
            if candidates.len() == CANDIDATES {
                best = query.newest(&mut candidates).or(best);
            }
        }
        Ok(query.newest(&mut candidates).or(best))
    }
}

/// See [`Cohort::previous`](crate::Cohort::previous). From the newest segment back, for most look for something that was written
/// not long ago.
pub(crate) fn record(home: &Arc<Home>, published: &Published, query: &Query) -> Result<Option<Record>> {
    let (before, not_of) = match &query.before {
        Before::Nothing => (Seq::MAX, None),
        Before::Seq(seq) => (*seq, None),
        Before::Key(key) => {
            let last = newest(home, published, Seq::MAX, |record| record.key() == key)?;
            (last.ok_or_else(|| no_key(key, "record with the key"))?.seq(), Some(key.as_str()))
        }
    };
    newest(home, published, before, |record| {
        not_of != Some(record.key())
            && record.json().is_some_and(|json| query.matches(json, record.nonfinite()))
    })
}

/// The newest record before a seq that is wanted.
fn newest(
    home: &Arc<Home>,
    published: &Published,
    before: Seq,
    wanted: impl Fn(&record::RecordRef<'_>) -> bool,
) -> Result<Option<Record>> {
    let Some(last) = before.checked_sub(1) else { return Ok(None) };
    let mut to = last;
    for from in history::begins(home)?.into_iter().rev() {
        if from > to {
            continue;
        }
        let mut best = None;
        let mut records = match History::begin(home, published, None, (from, to)) {
            // Retired since the segments were listed, and all before it with it.
            Err(e) if e.is_compacted() => return Ok(None),
            other => other?,
        };
        while let Some(record) = records.next_ref()? {
            if wanted(&record) {
                best = Some(record.to_record());
            }
        }
        if best.is_some() {
            return Ok(best);
        }
        to = from - 1;
    }
    Ok(None)
}
