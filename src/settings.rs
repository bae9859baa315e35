//! What `cohort.json` holds: the fold, fixed at creation, and how the cohort is kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::fold::{self, Fold};
use crate::format;

/// The version of `cohort.json`, `store.json` and the snapshots.
pub(crate) const DOCUMENT_VERSION: u32 = 1;

const DEFAULT_SEGMENT_BYTES: u64 = 64 << 20;
const SMALLEST_SEGMENT_BYTES: u64 = 4 << 10;
const LARGEST_SEGMENT_BYTES: u64 = 1 << 40;
const DEFAULT_BODY_BYTES: u32 = 16 << 20;
const DEFAULT_LOCK_TIMEOUT_S: f64 = 30.0;
const DEFAULT_SYNC_INTERVAL_MS: u64 = 1000;
const DEFAULT_COMPACT_BYTES: u64 = 1 << 20;

/// What happens to segments that are folded into both snapshots: the history that nothing needs any more. A compaction removes
/// whole segments, the oldest first, and never one that is needed.
///
/// A `log` has no snapshots, and its records are nowhere else: `None` removes none of them, and a limit removes those segments
/// beyond it that are sealed and known to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Retain {
    /// They are removed.
    None,
    /// They stay, so that the whole history can be read.
    All,
    /// The newest of them stay, as long as they take at most so many bytes together.
    Bytes(u64),
    /// Those stay that may hold a record younger than so many seconds, by the wall clock.
    #[serde(rename = "age_s")]
    Age(u64),
    /// Those stay that hold one of the cohort's last so many records.
    Records(u64),
}

impl Retain {
    /// Whether something goes and something stays.
    pub(crate) fn is_limit(self) -> bool {
        !matches!(self, Retain::None | Retain::All)
    }

    fn from_value(given: &serde_json::Value) -> Result<Retain> {
        let limit =
            given.as_object().filter(|object| object.len() == 1).and_then(|object| object.iter().next());
        let limit = limit.and_then(|(name, value)| Some((name.as_str(), value.as_u64()?)));
        match (given.as_str(), limit) {
            (Some("none"), _) => Ok(Retain::None),
            (Some("all"), _) => Ok(Retain::All),
            (None, Some(("bytes", bytes))) => Ok(Retain::Bytes(bytes)),
            (None, Some(("age_s", seconds))) => Ok(Retain::Age(seconds)),
            (None, Some(("records", records))) => Ok(Retain::Records(records)),
            _ => Err(Error::invalid(format!(
                "`retain` is \"none\", \"all\", or an object with one whole number called `bytes`, `age_s` or `records`, not \
                 {given}"
            ))),
        }
    }
}

/// How writers of a cohort exclude each other; fixed when the cohort is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockClass {
    /// What is best where the cohort is made: `memory` where processes can share memory, else `file`.
    Auto,
    /// A word in memory that the processes share: Linux, on a local file system that keeps what it has reserved.
    Memory,
    /// `flock` on the cohort's lock file for every append.
    File,
}

impl LockClass {
    /// Its name in `cohort.json` and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            LockClass::Auto => "auto",
            LockClass::Memory => "memory",
            LockClass::File => "file",
        }
    }
}

/// A cohort's settings. Begin with a fold and change what you need:
///
/// ```
/// use tallyfold::Settings;
/// let settings = Settings::latest().segment_bytes(1 << 20).durable(true);
/// assert_eq!(settings, Settings::from_json(r#"{"fold":{"kind":"latest"},"segment_bytes":1048576,"durable":true}"#)?);
/// # Ok::<(), tallyfold::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    pub(crate) fold: Fold,
    pub(crate) retain: Retain,
    pub(crate) segment_bytes: u64,
    pub(crate) durable: bool,
    pub(crate) lock: LockClass,
    pub(crate) lock_timeout_s: f64,
    pub(crate) max_body_bytes: u32,
    pub(crate) trust_network_locks: bool,
    pub(crate) sync_interval_ms: u64,
    pub(crate) compact_bytes: u64,
}

/// The JSON as a user writes it. `deny_unknown_fields` names a field that is not one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(rename = "tallyfold")]
    _version: Option<serde::de::IgnoredAny>,
    fold: fold::Given,
    retain: Option<serde_json::Value>,
    segment_bytes: Option<u64>,
    durable: Option<bool>,
    lock: Option<String>,
    lock_timeout_s: Option<f64>,
    max_body_bytes: Option<u64>,
    trust_network_locks: Option<bool>,
    sync_interval_ms: Option<u64>,
    compact_bytes: Option<u64>,
    mirror: Option<serde::de::IgnoredAny>,
    shared: Option<serde::de::IgnoredAny>,
}

impl Settings {
    /// The defaults for a fold: segments of 64 MiB, bodies of at most 16 MiB, 30 s of patience for the lock, appends written and
    /// synced within a second (not durable), compaction by itself from a tail of 1 MiB on, and folded segments removed (kept
    /// by `log`).
    pub fn new(fold: Fold) -> Settings {
        Settings {
            retain: if fold == Fold::Log { Retain::All } else { Retain::None },
            fold,
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            durable: false,
            lock: LockClass::Auto,
            lock_timeout_s: DEFAULT_LOCK_TIMEOUT_S,
            max_body_bytes: DEFAULT_BODY_BYTES,
            trust_network_locks: false,
            sync_interval_ms: DEFAULT_SYNC_INTERVAL_MS,
            compact_bytes: DEFAULT_COMPACT_BYTES,
        }
    }

    /// The last put of each key.
    pub fn latest() -> Settings {
        Settings::new(Fold::Latest)
    }

    /// The RFC 7396 merge of all puts of each key.
    pub fn merge() -> Settings {
        Settings::new(Fold::Merge)
    }

    /// No state: only the journal.
    pub fn log() -> Settings {
        Settings::new(Fold::Log)
    }

    /// Settings from JSON, as `cohort.json` and `tallyfold create --settings` hold them. All fields but `fold` are optional.
    ///
    /// # Errors
    /// `is_invalid` names the field that is unknown or has a wrong value; `is_unsupported` the one this version cannot do.
    pub fn from_json(json: &str) -> Result<Settings> {
        #[derive(Deserialize)]
        struct Version {
            tallyfold: Option<u32>,
        }
        let cannot = |e| Error::invalid(format!("the settings cannot be taken: {e}"));
        // Before the fields: a newer version may have more of them.
        let version: Version = serde_json::from_str(json).map_err(cannot)?;
        if version.tallyfold.is_some_and(|version| version > DOCUMENT_VERSION) {
            return Err(Error::new(Kind::Unsupported, "the settings were written by a newer version")
                .advise("use that version of tallyfold"));
        }
        let given: Given = serde_json::from_str(json).map_err(cannot)?;
        for (name, given) in [("mirror", given.mirror.is_some()), ("shared", given.shared.is_some())] {
            if given {
                return Err(not_yet(&format!("the setting `{name}`")));
            }
        }
        let mut settings = Settings::new(given.fold.fold()?);
        if let Some(retain) = given.retain {
            settings.retain = Retain::from_value(&retain)?;
        }
        if let Some(lock) = given.lock {
            settings.lock = lock_class(&lock, "the setting `lock`")?;
        }
        settings.segment_bytes = given.segment_bytes.unwrap_or(settings.segment_bytes);
        settings.durable = given.durable.unwrap_or(settings.durable);
        settings.lock_timeout_s = given.lock_timeout_s.unwrap_or(settings.lock_timeout_s);
        settings.trust_network_locks = given.trust_network_locks.unwrap_or(false);
        settings.sync_interval_ms = given.sync_interval_ms.unwrap_or(settings.sync_interval_ms);
        settings.compact_bytes = given.compact_bytes.unwrap_or(settings.compact_bytes);
        if let Some(bytes) = given.max_body_bytes {
            settings.max_body_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        }
        settings.check()?;
        Ok(settings)
    }

    /// The same settings with those in a JSON object in their place; one that is `null` goes back to its default.
    ///
    /// # Errors
    /// As [`from_json`](Settings::from_json).
    pub fn with_json(&self, json: &str) -> Result<Settings> {
        type Fields = serde_json::Map<String, serde_json::Value>;
        let cannot = |e| Error::invalid(format!("the settings cannot be taken: {e}"));
        let given: Fields = serde_json::from_str(json).map_err(cannot)?;
        let mut fields: Fields = serde_json::from_str(&self.document()?).map_err(cannot)?;
        fields.extend(given);
        Settings::from_json(&serde_json::Value::Object(fields).to_string())
    }

    /// The largest size a segment grows to, in bytes (4 KiB to 1 TiB); a larger single batch gets a segment of its own.
    pub fn segment_bytes(mut self, bytes: u64) -> Settings {
        self.segment_bytes = bytes;
        self
    }

    /// Whether every append is durable: synced before it returns.
    pub fn durable(mut self, durable: bool) -> Settings {
        self.durable = durable;
        self
    }

    /// What happens to segments folded into both snapshots.
    pub fn retain(mut self, retain: Retain) -> Settings {
        self.retain = retain;
        self
    }

    /// How long an append waits for the lock.
    pub fn lock_timeout(mut self, timeout: Duration) -> Settings {
        self.lock_timeout_s = timeout.as_secs_f64();
        self
    }

    /// The largest batch, in bytes of its encoded records (at most 1 GiB).
    pub fn max_body_bytes(mut self, bytes: u32) -> Settings {
        self.max_body_bytes = bytes;
        self
    }

    /// How writers exclude each other.
    pub fn lock(mut self, lock: LockClass) -> Settings {
        self.lock = lock;
        self
    }

    /// Allows writing on a network file system: you vouch that its `flock` excludes all hosts that write.
    pub fn trust_network_locks(mut self, trust: bool) -> Settings {
        self.trust_network_locks = trust;
        self
    }

    /// How long after an append that is not durable its writer syncs it, at most; zero: it does not by itself. Whole
    /// milliseconds.
    pub fn sync_interval(mut self, interval: Duration) -> Settings {
        self.sync_interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// The smallest tail, in bytes of frames, at which a process that appends folds it into the snapshot by itself; a larger
    /// snapshot lets the tail grow as large. 0: never. A `log` has nothing to fold; one that retains a part of its records is
    /// compacted when there is something to remove.
    pub fn compact_bytes(mut self, bytes: u64) -> Settings {
        self.compact_bytes = bytes;
        self
    }

    /// The fold.
    pub fn fold(&self) -> &Fold {
        &self.fold
    }

    /// How long what is written may stay unsynced; `None`: as long as nobody asks.
    pub(crate) fn unsynced_at_most(&self) -> Option<Duration> {
        (self.sync_interval_ms > 0).then(|| Duration::from_millis(self.sync_interval_ms))
    }

    /// Whether compaction can ever be due without being asked for.
    pub(crate) fn compacts_by_itself(&self) -> bool {
        self.compact_bytes > 0 && (self.fold != Fold::Log || self.retain.is_limit())
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::try_from_secs_f64(self.lock_timeout_s).unwrap_or(Duration::MAX)
    }

    /// Refuses what a builder or a file may have set out of range.
    pub(crate) fn check(&self) -> Result<()> {
        let outside = |field: &str, given: &dyn std::fmt::Display, range: String| {
            Err(Error::invalid(format!("`{field}` is {given}: it must be {range}")))
        };
        if !(SMALLEST_SEGMENT_BYTES..=LARGEST_SEGMENT_BYTES).contains(&self.segment_bytes) {
            let range = format!("from {SMALLEST_SEGMENT_BYTES} to {LARGEST_SEGMENT_BYTES} bytes");
            return outside("segment_bytes", &self.segment_bytes, range);
        }
        if !(1..=format::MAX_BODY).contains(&self.max_body_bytes) {
            let range = format!("from 1 to {} bytes", format::MAX_BODY);
            return outside("max_body_bytes", &self.max_body_bytes, range);
        }
        if !(self.lock_timeout_s >= 0.0 && self.lock_timeout_s.is_finite()) {
            return outside("lock_timeout_s", &self.lock_timeout_s, "a number of seconds, 0 or more".into());
        }
        self.fold.ready()
    }

    /// The text of `cohort.json`.
    pub(crate) fn document(&self) -> Result<String> {
        #[derive(Serialize)]
        struct Document<'a> {
            tallyfold: u32,
            #[serde(flatten)]
            settings: &'a Settings,
        }
        let document = Document { tallyfold: DOCUMENT_VERSION, settings: self };
        let text = serde_json::to_string(&document)
            .map_err(|e| Error::invalid(format!("the settings cannot be written: {e}")))?;
        Ok(text + "\n")
    }
}

/// A lock class by name, from the settings or the environment.
pub(crate) fn lock_class(name: &str, whence: &str) -> Result<LockClass> {
    match name {
        "auto" => Ok(LockClass::Auto),
        "memory" => Ok(LockClass::Memory),
        "file" => Ok(LockClass::File),
        other => Err(Error::invalid(format!("{whence} is \"auto\", \"memory\" or \"file\", not {other:?}"))),
    }
}

pub(crate) fn not_yet(what: &str) -> Error {
    Error::new(Kind::Unsupported, format!("{what} is not yet supported"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_to_cohort_json_is_read_back_the_same() {
        for settings in [
            Settings::log(),
            Settings::log().retain(Retain::Bytes(1 << 40)),
            Settings::latest().retain(Retain::Age(0)),
            Settings::latest().retain(Retain::Records(u64::MAX)),
            Settings::merge().segment_bytes(8192).lock_timeout(Duration::from_millis(1500)),
            Settings::latest()
                .lock(LockClass::Memory)
                .durable(true)
                .retain(Retain::All)
                .max_body_bytes(99)
                .sync_interval(Duration::from_millis(20))
                .compact_bytes(0)
                .trust_network_locks(true),
        ] {
            assert_eq!(Settings::from_json(&settings.document().unwrap()).unwrap(), settings);
        }
    }

    #[test]
    fn some_settings_are_put_in_the_place_of_others() {
        let old = Settings::merge()
            .retain(Retain::Age(7))
            .lock(LockClass::File)
            .lock_timeout(Duration::from_millis(1500));
        let new = old.with_json(r#"{"retain":{"records":3},"durable":true,"lock_timeout_s":null}"#).unwrap();
        let expected = Settings::merge().retain(Retain::Records(3)).lock(LockClass::File).durable(true);
        assert_eq!(new, expected);
        assert_eq!(old.with_json("{}").unwrap(), old);
        assert_eq!(*old.with_json(r#"{"fold":{"kind":"log"}}"#).unwrap().fold(), Fold::Log);
        for (json, words) in [("[]", "cannot be taken"), (r#"{"colour":1}"#, "unknown field `colour`")] {
            let error = old.with_json(json).unwrap_err();
            assert!(error.is_invalid() && error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn a_wrong_field_is_refused_by_name() {
        for (json, kind, words) in [
            (r#"{"fold":{"kind":"latest"},"colour":1}"#, Kind::Invalid, "unknown field `colour`"),
            (r#"{"retain":"none"}"#, Kind::Invalid, "missing field `fold`"),
            (r#"{"fold":{"kind":"newest"}}"#, Kind::Invalid, "newest"),
            (r#"{"fold":{"kind":"top","n":3}}"#, Kind::Invalid, "missing field `rank`"),
            (
                r#"{"fold":{"kind":"latest"},"mirror":"x"}"#,
                Kind::Unsupported,
                "`mirror` is not yet supported",
            ),
            (r#"{"fold":{"kind":"latest"},"lock":"futex"}"#, Kind::Invalid, "not \"futex\""),
            (r#"{"fold":{"kind":"latest"},"retain":"some"}"#, Kind::Invalid, "`retain` is"),
            (r#"{"fold":{"kind":"latest"},"retain":{"bytes":-1}}"#, Kind::Invalid, "not {\"bytes\":-1}"),
            (r#"{"fold":{"kind":"latest"},"retain":{"days":1}}"#, Kind::Invalid, "`age_s`"),
            (r#"{"fold":{"kind":"latest"},"retain":{"none":null}}"#, Kind::Invalid, "`retain` is"),
            (r#"{"fold":{"kind":"latest"},"retain":{"bytes":1,"age_s":1}}"#, Kind::Invalid, "`retain` is"),
            (r#"{"fold":{"kind":"latest"},"segment_bytes":1}"#, Kind::Invalid, "`segment_bytes` is 1"),
            (r#"{"fold":{"kind":"latest"},"lock_timeout_s":-1}"#, Kind::Invalid, "`lock_timeout_s` is -1"),
            (r#"{"tallyfold":2,"fold":{"kind":"latest"},"colour":1}"#, Kind::Unsupported, "newer version"),
        ] {
            let error = Settings::from_json(json).unwrap_err();
            assert_eq!(error.kind(), kind, "{json}: {error}");
            assert!(error.to_string().contains(words), "{json}: {error}");
        }
    }
}
