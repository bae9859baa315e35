//! What a writer appends: records, and batches of them.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::format::{self, Body};
use crate::value;

/// A record's number in its cohort: 1, 2, 3, … without gaps. 0 stands for "none".
pub type Seq = u64;

/// The longest key, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 65_535;

/// serde_json gives an object whose first key begins so a meaning of its own, and keys become keys of the snapshot.
const RESERVED_KEY: &str = "$serde_json::private::";

/// Room for the text of a value whose length is not known yet. Most have less, so that a batch of one is allocated once.
const USUAL_VALUE: usize = 240;

/// What a record does to the entry of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Carries a JSON value for the fold.
    Put = 1,
    /// Removes the entry.
    Delete = 2,
    /// Carries opaque bytes; only in cohorts whose fold is `log`.
    Raw = 3,
}

/// A record where it lies in its frame: what [`Cursor::next_ref`](crate::Cursor::next_ref) gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    pub(crate) seq: Seq,
    pub(crate) time_us: i64,
    pub(crate) kind: Kind,
    pub(crate) nonfinite: bool,
    pub(crate) key: &'a str,
    pub(crate) value: &'a [u8],
}

/// A record read from the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    seq: Seq,
    time_us: i64,
    kind: Kind,
    nonfinite: bool,
    key: String,
    value: Vec<u8>,
}

impl<'a> RecordRef<'a> {
    /// Its number in the cohort.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// When it was written: microseconds since 1970 by the writer's wall clock. Information, never an order.
    pub fn time_us(&self) -> i64 {
        self.time_us
    }

    /// Put, delete or raw.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its key; may be empty.
    pub fn key(&self) -> &'a str {
        self.key
    }

    /// The JSON text of a put; `None` for the other kinds.
    pub fn json(&self) -> Option<&'a str> {
        match self.kind {
            Kind::Put => std::str::from_utf8(self.value).ok(),
            Kind::Delete | Kind::Raw => None,
        }
    }

    /// The bytes of the value: JSON text of a put, anything of a raw record, nothing of a delete.
    pub fn bytes(&self) -> &'a [u8] {
        self.value
    }

    /// Whether non-finite numbers stand in the JSON text as the strings `NaN`, `Infinity` and `-Infinity`.
    pub fn nonfinite(&self) -> bool {
        self.nonfinite
    }

    /// The value as a `T`, non-finite numbers as floats again.
    ///
    /// # Errors
    /// `is_invalid` if the record has no JSON value or it is no `T`.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T> {
        let json =
            self.json().ok_or_else(|| Error::invalid("the record has no JSON value").at_seq(self.seq))?;
        decode(json, self.nonfinite).map_err(|e| e.at_seq(self.seq))
    }

    /// A copy, to be kept.
    pub fn to_record(self) -> Record {
        Record {
            seq: self.seq,
            time_us: self.time_us,
            kind: self.kind,
            nonfinite: self.nonfinite,
            key: self.key.to_string(),
            value: self.value.to_vec(),
        }
    }
}

impl Record {
    /// Its number in the cohort.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// When it was written: microseconds since 1970 by the writer's wall clock. Information, never an order.
    pub fn time_us(&self) -> i64 {
        self.time_us
    }

    /// Put, delete or raw.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its key; may be empty.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The JSON text of a put; `None` for the other kinds.
    pub fn json(&self) -> Option<&str> {
        self.as_record_ref().json()
    }

    /// The bytes of the value: JSON text of a put, anything of a raw record, nothing of a delete.
    pub fn bytes(&self) -> &[u8] {
        &self.value
    }

    /// Whether non-finite numbers stand in the JSON text as the strings `NaN`, `Infinity` and `-Infinity`.
    pub fn nonfinite(&self) -> bool {
        self.nonfinite
    }

    /// The value as a `T`, non-finite numbers as floats again.
    ///
    /// # Errors
    /// `is_invalid` if the record has no JSON value or it is no `T`.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T> {
        self.as_record_ref().to()
    }

    /// The same record, borrowed.
    pub fn as_record_ref(&self) -> RecordRef<'_> {
        RecordRef {
            seq: self.seq,
            time_us: self.time_us,
            kind: self.kind,
            nonfinite: self.nonfinite,
            key: &self.key,
            value: &self.value,
        }
    }
}

pub(crate) fn decode<T: DeserializeOwned>(json: &str, nonfinite: bool) -> Result<T> {
    value::decode(json, nonfinite)
        .map_err(|fault| Error::invalid(format!("the value is not of that type: {fault}")))
}

/// Records to be appended together: visible together or not at all, to readers and to whatever a crash leaves.
///
/// Everything is checked and encoded here, before any lock is taken. A record that is refused leaves the batch as it was.
///
/// ```
/// let mut batch = tallyfold::Batch::new();
/// batch.put("run-1:TRAINING", &serde_json::json!({"auc": 0.61}))?;
/// batch.delete("run-0:TRAINING")?;
/// assert_eq!(batch.len(), 2);
/// # Ok::<(), tallyfold::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    count: u32,
    raw: bool,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds a put of any serializable value. Non-finite floats are kept, as `docs/format.md` describes.
    ///
    /// # Errors
    /// `is_invalid` for what JSON cannot hold (such as a map whose keys are maps), or a key that is too long.
    pub fn put<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<&mut Batch> {
        self.push(Kind::Put, key, USUAL_VALUE, |out| value::encode(value, out))
    }

    /// Adds a put of JSON text. White space between tokens is removed, everything else is kept to the letter.
    ///
    /// # Errors
    /// `is_invalid` unless parsing the text into a `serde_json::Value` would succeed, or if the key is too long.
    pub fn put_json(&mut self, key: &str, json: &str) -> Result<&mut Batch> {
        self.push(Kind::Put, key, json.len(), |out| value::check(json, out).map(|()| false))
    }

    /// Adds a delete of a key.
    ///
    /// # Errors
    /// `is_invalid` if the key is too long.
    pub fn delete(&mut self, key: &str) -> Result<&mut Batch> {
        self.push(Kind::Delete, key, 0, |_| Ok(false))
    }

    /// Adds opaque bytes; only cohorts whose fold is `log` take them.
    ///
    /// # Errors
    /// `is_invalid` if the key is too long.
    pub fn put_raw(&mut self, key: &str, bytes: &[u8]) -> Result<&mut Batch> {
        // Here the length is known before anything is copied, which may be more than memory has room for.
        fits(self.bytes.len() + bytes.len())?;
        self.push(Kind::Raw, key, bytes.len(), |out| {
            out.extend_from_slice(bytes);
            Ok(false)
        })?;
        self.raw = true;
        Ok(self)
    }

    /// Adds a record that was appended to some cohort before, as it was.
    pub(crate) fn put_again(&mut self, record: &RecordRef<'_>) -> Result<&mut Batch> {
        self.push(record.kind, record.key, record.value.len(), |out| {
            out.extend_from_slice(record.value);
            Ok(record.nonfinite)
        })?;
        self.raw |= record.kind == Kind::Raw;
        Ok(self)
    }

    /// Adds a record whose value `value` appends, as [`format::put_record`] wants it.
    fn push(
        &mut self,
        kind: Kind,
        key: &str,
        size: usize,
        value: impl FnOnce(&mut Vec<u8>) -> std::result::Result<bool, value::Fault>,
    ) -> Result<&mut Batch> {
        if key.len() > MAX_KEY_BYTES {
            return Err(Error::invalid(format!(
                "a key takes at most {MAX_KEY_BYTES} bytes, this one has {}",
                key.len()
            )));
        }
        if key.starts_with(RESERVED_KEY) {
            return Err(Error::invalid(format!("keys that begin with {RESERVED_KEY} are reserved"))
                .advise("serde_json would read them as something else; choose another key"));
        }
        let end = self.bytes.len();
        format::put_record(&mut self.bytes, kind, key, size, value).map_err(refused)?;
        fits(self.bytes.len()).inspect_err(|_| self.bytes.truncate(end))?;
        // Below MAX_BODY (2³⁰) bytes there are fewer than 2³² records of 17 bytes or more.
        self.count += 1;
        Ok(self)
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no record in it.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes the records take in a frame.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn has_raw(&self) -> bool {
        self.raw
    }

    pub(crate) fn into_body(self) -> Body {
        Body::seal(self.bytes, self.count)
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} records, {} bytes)", self.count, self.bytes.len())
    }
}

fn fits(len: usize) -> Result<()> {
    if len > format::MAX_BODY as usize {
        return Err(Error::invalid(format!("a batch takes at most {} bytes", format::MAX_BODY))
            .advise("append it in several batches"));
    }
    Ok(())
}

pub(crate) fn refused(fault: value::Fault) -> Error {
    Error::invalid(format!("the value cannot be taken as JSON: {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Serializer, ser};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// Writes a part of itself, and then does as it was told.
    struct Unwilling(fn());

    impl Serialize for Unwilling {
        fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            ser::SerializeMap::serialize_entry(&mut map, "a", &1)?;
            self.0();
            Err(ser::Error::custom("not today"))
        }
    }

    #[test]
    fn what_was_refused_leaves_the_batch_as_it_was() {
        let mut expected = Batch::new();
        expected.put("a", &1).unwrap().put_json("b", "2").unwrap();
        let expected = expected.into_body();

        let mut batch = Batch::new();
        let refuse = |batch: &mut Batch| {
            let before = (batch.len(), batch.bytes());
            let long = "k".repeat(MAX_KEY_BYTES + 1);
            for refused in [
                batch.put("k", &Unwilling(|| ())).is_err(),
                catch_unwind(AssertUnwindSafe(|| drop(batch.put("k", &Unwilling(|| panic!()))))).is_err(),
                batch.put_json("k", r#"{"a" : [1, }"#).is_err(),
                batch.put_json("k", r#"{"$serde_json::private::Number":"1"}"#).is_err(),
                batch.put_json(&long, "1").is_err(),
                batch.put_raw("$serde_json::private::RawValue", b"1").is_err(),
            ] {
                assert!(refused);
            }
            assert_eq!((batch.len(), batch.bytes()), before);
        };
        refuse(&mut batch);
        batch.put("a", &1).unwrap();
        refuse(&mut batch);
        batch.put_json("b", "2").unwrap();
        refuse(&mut batch);
        let body = batch.into_body();
        assert_eq!((body.count, body.crc, body.bytes), (expected.count, expected.crc, expected.bytes));
    }

    #[test]
    fn a_batch_of_one_usual_record_is_allocated_once() {
        let point =
            serde_json::json!({"run_id": "run-0042", "step": 1234, "loss": 0.123456, "ts": 1767871234.123});
        let mut batch = Batch::new();
        batch.put("", &point).unwrap();
        assert_eq!(batch.bytes.capacity(), format::RECORD_OVERHEAD + USUAL_VALUE);
        let mut batch = Batch::new();
        batch.put_json("run", &point.to_string()).unwrap();
        assert_eq!(batch.bytes.capacity(), batch.bytes());
    }
}
