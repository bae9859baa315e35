//! What a key has come to.

use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::record::{self, Seq};

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
