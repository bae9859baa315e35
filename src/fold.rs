//! The folds: pure functions (old entry, record) → new entry. What a cohort's state is follows from its records alone.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::record::{self, Batch, Kind, RecordRef, Seq};
use crate::value;

/// How a cohort's records become entries; fixed when the cohort is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fold {
    /// The last put of each key; a delete removes the entry. For indexes and metadata.
    Latest,
    /// The RFC 7396 merge of all puts of each key, the first onto nothing; a delete removes the entry.
    Merge,
    /// No entries: only the journal is kept. For events and metric points.
    Log,
}

impl Fold {
    const ALL: [(Fold, &'static str); 3] =
        [(Fold::Latest, "latest"), (Fold::Merge, "merge"), (Fold::Log, "log")];
    /// Designed, and not built yet.
    const LATER: [&'static str; 3] = ["sum", "top", "series"];

    /// Its name in `cohort.json` and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Fold::Latest => "latest",
            Fold::Merge => "merge",
            Fold::Log => "log",
        }
    }

    /// The fold of that name.
    ///
    /// # Errors
    /// `is_unsupported` for a fold that is not built yet, `is_invalid` for any other word.
    pub fn from_name(name: &str) -> Result<Fold> {
        if let Some((fold, _)) = Fold::ALL.iter().find(|(_, n)| *n == name) {
            return Ok(*fold);
        }
        if Fold::LATER.contains(&name) {
            return Err(crate::settings::not_yet(&format!("the fold `{name}`")));
        }
        Err(Error::invalid(format!("there is no fold {name:?}: it is latest, merge or log")))
    }

    /// Refuses a batch with a record that does not fit this fold, before anything is written.
    pub(crate) fn check(self, batch: &Batch) -> Result<()> {
        if batch.has_raw() && self != Fold::Log {
            return Err(Error::invalid(format!(
                "the fold `{}` takes JSON values, not raw bytes",
                self.name()
            ))
            .advise("append raw bytes to a cohort whose fold is log"));
        }
        Ok(())
    }

    /// Whether the new entry depends on the old one, which costs a look into the snapshot.
    pub(crate) fn needs_old(self) -> bool {
        self == Fold::Merge
    }

    /// As [`apply`](Fold::apply), in place. A value that is replaced leaves its memory to the new one: for keys put a million
    /// times.
    pub(crate) fn apply_to(self, entry: &mut Option<Entry>, record: &RecordRef<'_>) -> Result<()> {
        if let (Fold::Latest, Kind::Put, Some(entry)) = (self, record.kind, &mut *entry)
            && let Ok(json) = std::str::from_utf8(record.value)
        {
            (entry.seq, entry.nonfinite) = (record.seq, record.nonfinite);
            entry.json.clear();
            entry.json.push_str(json);
            return Ok(());
        }
        *entry = self.apply(entry.as_ref().map(Entry::as_entry_ref), record)?;
        Ok(())
    }

    /// One record applied to the entry of its key.
    ///
    /// # Errors
    /// A value that append would have refused: damage that the CRC did not see, or bytes of another program.
    pub(crate) fn apply(self, old: Option<EntryRef<'_>>, record: &RecordRef<'_>) -> Result<Option<Entry>> {
        let senseless = |what: &str| {
            Error::corruption(format!("the value of key {:?} is {what}", record.key)).at_seq(record.seq)
        };
        match (self, record.kind) {
            (Fold::Log, _) | (_, Kind::Delete) => Ok(None),
            (_, Kind::Raw) => Err(senseless("raw bytes, which only the fold `log` takes")),
            (Fold::Latest, Kind::Put) => {
                let json = std::str::from_utf8(record.value).map_err(|_| senseless("not UTF-8"))?;
                Ok(Some(Entry { seq: record.seq, nonfinite: record.nonfinite, json: json.into() }))
            }
            (Fold::Merge, Kind::Put) => {
                let patch = std::str::from_utf8(record.value).map_err(|_| senseless("not UTF-8"))?;
                let old = old.map(|entry| (entry.json, entry.nonfinite));
                let merged = value::merge(old, (patch, record.nonfinite))
                    .map_err(|fault| senseless(&format!("not JSON: {fault}")))?;
                Ok(Some(Entry { seq: record.seq, nonfinite: merged.nonfinite, json: merged.text }))
            }
        }
    }
}

impl Serialize for Fold {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Fold", 1)?;
        fields.serialize_field("kind", self.name())?;
        fields.end()
    }
}

/// A fold as settings and snapshots spell it.
#[derive(Deserialize)]
pub(crate) struct Given {
    kind: String,
    /// Parameters belong to folds to come.
    #[serde(flatten)]
    parameters: BTreeMap<String, serde_json::Value>,
}

impl Given {
    pub(crate) fn fold(&self) -> Result<Fold> {
        let fold = Fold::from_name(&self.kind)?;
        match self.parameters.keys().next() {
            Some(field) => {
                Err(Error::invalid(format!("the fold `{}` has no parameter `{field}`", self.kind)))
            }
            None => Ok(fold),
        }
    }
}

impl<'de> Deserialize<'de> for Fold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Fold, D::Error> {
        Given::deserialize(deserializer)?.fold().map_err(D::Error::custom)
    }
}

/// What a key has come to: the value its records fold into, and the seq of the last of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub(crate) seq: Seq,
    pub(crate) nonfinite: bool,
    pub(crate) json: String,
}

impl Entry {
    /// The seq of the last record folded into it.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The value's JSON text, without white space between tokens.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Whether non-finite numbers stand in the JSON text as the strings `NaN`, `Infinity` and `-Infinity`.
    pub fn nonfinite(&self) -> bool {
        self.nonfinite
    }

    /// The value as a `T`, non-finite numbers as floats again.
    ///
    /// # Errors
    /// `is_invalid` if it is no `T`.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T> {
        self.as_entry_ref().to()
    }

    /// The same entry, borrowed.
    pub fn as_entry_ref(&self) -> EntryRef<'_> {
        EntryRef { seq: self.seq, nonfinite: self.nonfinite, json: &self.json }
    }
}

/// An [`Entry`] where it lies in a view, not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    pub(crate) seq: Seq,
    pub(crate) nonfinite: bool,
    pub(crate) json: &'a str,
}

impl<'a> EntryRef<'a> {
    /// The seq of the last record folded into it.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The value's JSON text, without white space between tokens.
    pub fn json(&self) -> &'a str {
        self.json
    }

    /// Whether non-finite numbers stand in the JSON text as the strings `NaN`, `Infinity` and `-Infinity`.
    pub fn nonfinite(&self) -> bool {
        self.nonfinite
    }

    /// The value as a `T`, non-finite numbers as floats again.
    ///
    /// # Errors
    /// `is_invalid` if it is no `T`.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T> {
        record::decode(self.json, self.nonfinite).map_err(|e| e.at_seq(self.seq))
    }

    /// A copy, to be kept.
    pub fn to_entry(self) -> Entry {
        Entry { seq: self.seq, nonfinite: self.nonfinite, json: self.json.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(fold: Fold, records: &[(Kind, &str)]) -> Option<String> {
        let mut entry = None;
        for (i, (kind, value)) in records.iter().enumerate() {
            let record = RecordRef {
                seq: i as u64 + 1,
                time_us: 0,
                kind: *kind,
                nonfinite: false,
                key: "k",
                value: value.as_bytes(),
            };
            let new = fold.apply(entry.as_ref().map(Entry::as_entry_ref), &record).unwrap();
            entry = new;
        }
        entry.map(|entry| format!("{}:{}", entry.seq, entry.json))
    }

    #[test]
    fn latest_keeps_the_last_put_and_merge_merges_onto_nothing_after_a_delete() {
        use Kind::{Delete, Put};
        assert_eq!(fold(Fold::Latest, &[(Put, "1"), (Put, "2.50")]).as_deref(), Some("2:2.50"));
        assert_eq!(fold(Fold::Latest, &[(Put, "1"), (Delete, "")]), None);
        let merged =
            fold(Fold::Merge, &[(Put, r#"{"a":1,"b":{"c":1}}"#), (Put, r#"{"b":{"c":null,"d":2e1}}"#)]);
        assert_eq!(merged.as_deref(), Some(r#"2:{"a":1,"b":{"d":2e1}}"#));
        let anew = fold(Fold::Merge, &[(Put, r#"{"a":1}"#), (Delete, ""), (Put, r#"{"b":null,"c":1}"#)]);
        assert_eq!(anew.as_deref(), Some(r#"3:{"c":1}"#));
    }
}
