//! Bundles: files and a value under one key, as one act. Weights, metrics and metadata are there together or not at all.
//!
//! # A commit
//! 1. Files are staged in `bundles/.new-<random>/files`, with a manifest, and synced. Its writer holds a lock in there.
//! 2. Under the key's lock the directory becomes a version: `bundles/<key>/<seq>-<random>`, and that name is synced.
//! 3. A durable append names the version. **Commit point: the append.**
//! 4. `bundles/<key>/latest` is led to it, and versions that the record does not name are removed.
//!
//! The record names the older versions that are kept, too. So what a version directory is follows from the state alone: the
//! state names it, or it is nobody's. Only who has the key's lock places versions, so one that is nobody's, seen under that lock,
//! was left by the dead or is retired.
//!
//! | a crash | leaves | what becomes of it |
//! |---|---|---|
//! | in 1 | a staging directory whose lock is free | the next writer of any bundle of the cohort removes it |
//! | after 2 | a version that no record names, and what is left of staging, which tells its key | the same |
//! | after 3 | the new bundle; the older link, and versions not kept any more | the same writer sees to both |

pub(crate) mod carry;
pub(crate) mod check;
mod commit;
mod manifest;
mod stage;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::cohort::Cohort;
use crate::error::{Error, Result};
use crate::fold::{EntryRef, Fold};
use crate::names;
use crate::record::{self, Kind, Seq};
use crate::sys::{Dir, Names};

pub use manifest::BundleFile;
use manifest::{Committed, Manifest, measure, read_manifest};
pub use stage::NewBundle;

/// A version of a bundle: files and a value that were committed together.
///
/// Its files stay as long as the state names the version: see [`NewBundle::keep`]. A file that is open can be read to its end
/// whatever is retired meanwhile.
#[derive(Clone, Debug)]
pub struct Bundle {
    key: String,
    seq: Seq,
    json: String,
    nonfinite: bool,
    committed: Committed,
    files: Vec<BundleFile>,
    /// The directory of the key, and the version's in it.
    key_dir: Arc<Dir>,
    dir: Arc<Dir>,
    unfinished: Option<Arc<Error>>,
}

impl Bundle {
    /// The key that it was committed under.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The seq of the record that names it.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The name of its directory. Those of a key sort in the order in which they were committed.
    pub fn version(&self) -> &str {
        &self.committed.version
    }

    /// The older versions that are kept, newest first.
    pub fn previous(&self) -> &[String] {
        &self.committed.previous
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Its files, sorted by name.
    pub fn files(&self) -> &[BundleFile] {
        &self.files
    }

    /// The path of one of its files; `None` if it has none of that name.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        let file = self.files.binary_search_by(|file| file.name.as_str().cmp(name)).ok()?;
        Some(self.path().join(&self.files[file].name))
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
        record::decode(&self.json, self.nonfinite).map_err(|e| e.at_seq(self.seq))
    }

    /// What could not be done after the commit, if anything: the link `latest`, or the removal of older versions. The bundle is
    /// there all the same, and the next writer does it.
    pub fn unfinished(&self) -> Option<&Error> {
        self.unfinished.as_deref()
    }

    /// Reads every byte and compares its CRC.
    ///
    /// # Errors
    /// `is_corruption` with the path of the first file that is not what was committed; `is_not_found` if the version has been
    /// retired meanwhile.
    pub fn verify(&self) -> Result<()> {
        self.files.iter().try_for_each(|file| {
            let found = self.dir.open_read(&file.name, Names::Several).and_then(|found| measure(&found));
            match self.missing(found)? {
                (bytes, crc) if (bytes, crc) == (file.bytes, file.crc32) => Ok(()),
                (bytes, crc) => Err(Error::corruption(format!(
                    "the file is not what was committed: {bytes} bytes with the CRC {crc:08x}, not {} with {:08x}",
                    file.bytes, file.crc32
                ))
                .at(&self.path().join(&file.name))
                .at_seq(self.seq)),
            }
        })
    }

    /// Length by length, which costs little.
    fn check_lengths(&self) -> Result<()> {
        self.files.iter().try_for_each(|file| {
            let found = self.dir.open_read(&file.name, Names::Several).and_then(|found| found.len());
            match self.missing(found)? {
                bytes if bytes == file.bytes => Ok(()),
                bytes => Err(Error::corruption(format!(
                    "the file has {bytes} bytes, and {} were committed",
                    file.bytes
                ))
                .at(&self.path().join(&file.name))
                .at_seq(self.seq)),
            }
        })
    }

    /// A file that is not there is damage while its version is.
    fn missing<T>(&self, found: Result<T>) -> Result<T> {
        match found {
            Err(e) if e.is_not_found() && self.key_dir.exists(self.version())? => {
                Err(e.become_kind(crate::error::Kind::Corruption, "a file of the bundle is missing"))
            }
            Err(e) if e.is_not_found() => {
                Err(Error::new(crate::error::Kind::NotFound, "the version was retired while it was read")
                    .at(self.path())
                    .advise("open the bundle again"))
            }
            other => other,
        }
    }
}

/// The newest bundle of a key, by the state; of a log, by its records.
enum Newest {
    Is(Record),
    /// There is none.
    None,
    /// The journal does not reach back far enough to tell.
    Unknown,
}

/// The record that commits a bundle.
struct Record {
    seq: Seq,
    nonfinite: bool,
    committed: Committed,
    json: String,
}

impl Record {
    fn parse(seq: Seq, nonfinite: bool, json: &str) -> Option<Record> {
        let (committed, value) = Committed::parse(json)?;
        Some(Record { seq, nonfinite, committed, json: value.to_string() })
    }
}

impl Cohort {
    /// Begins a bundle: files are added, and [`commit`](NewBundle::commit) makes them and a value the key's newest version, at
    /// once and durably.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?; let store = tallyfold::Store::open(dir.path().join("s"))?;
    /// # let models = store.create("models", tallyfold::Settings::latest())?;
    /// let mut new = models.bundle("run-1")?;
    /// new.add_bytes("metrics.json", br#"{"auc":0.61}"#)?;
    /// std::fs::write(new.create("weights.bin")?, [1, 2, 3])?; // or whatever saves to a path
    /// new.commit(&serde_json::json!({"auc": 0.61}))?;
    ///
    /// let bundle = models.open_bundle("run-1")?.unwrap();
    /// bundle.verify()?;
    /// assert_eq!(std::fs::read(bundle.file("weights.bin").unwrap())?, [1, 2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `is_invalid` for a key that is too long for a directory's name; else as [`append`](Cohort::append).
    pub fn bundle(&self, key: &str) -> Result<NewBundle> {
        NewBundle::begin(self, key)
    }

    /// The newest bundle of a key; `None` if it has none. Its manifest is checked, and that all files are there with the lengths
    /// it says. In a cohort whose fold is `log` it is the newest record of the key that commits a bundle, unless a delete came
    /// after.
    ///
    /// # Errors
    /// `is_corruption` if something is missing or is not what was committed; else as [`view`](Cohort::view).
    pub fn open_bundle(&self, key: &str) -> Result<Option<Bundle>> {
        let mut last = 0;
        loop {
            let Newest::Is(record) = self.newest_bundle(key)? else { return Ok(None) };
            let seq = record.seq;
            match self.bundle_of_record(key, record) {
                // Retired since its record was read: then there is a newer one.
                Err(e) if e.is_not_found() && seq > last => last = seq,
                Err(e) if e.is_not_found() => {
                    let what = "the version that the state names is missing";
                    return Err(e.become_kind(crate::error::Kind::Corruption, what).at_seq(seq));
                }
                other => return other.map(Some),
            }
        }
    }

    /// The bundle that an entry of a view names; `None` if it names none.
    ///
    /// # Errors
    /// `is_not_found` if that version has been retired since; else as [`open_bundle`](Cohort::open_bundle).
    pub fn bundle_of(&self, key: &str, entry: EntryRef<'_>) -> Result<Option<Bundle>> {
        match Record::parse(entry.seq(), entry.nonfinite(), entry.json()) {
            Some(record) => self.bundle_of_record(key, record).map(Some),
            None => Ok(None),
        }
    }

    /// The versions that the state names for a key, newest first.
    pub(crate) fn bundle_versions(&self, key: &str) -> Result<Vec<String>> {
        Ok(match self.newest_bundle(key)? {
            Newest::Is(record) => {
                [record.committed.version].into_iter().chain(record.committed.previous).collect()
            }
            Newest::None | Newest::Unknown => Vec::new(),
        })
    }

    fn bundle_of_record(&self, key: &str, record: Record) -> Result<Bundle> {
        let Record { seq, nonfinite, committed, json } = record;
        let key_dir = self.home().dir.sub(names::BUNDLES)?.sub(&names::key_directory(key)?)?;
        let dir = key_dir.sub(&committed.version)?;
        let damaged = |what: String| {
            Error::corruption(format!("the bundle's manifest is damaged: {what}"))
                .at(&dir.path().join(names::MANIFEST))
                .at_seq(seq)
        };
        let text = match read_manifest(&dir) {
            Err(e) if e.is_not_found() && key_dir.exists(&committed.version)? => {
                return Err(damaged("it is missing".into()));
            }
            other => other?,
        };
        let crc = crc32fast::hash(&text);
        if crc != committed.manifest_crc32 {
            return Err(damaged(format!("its CRC is {crc:08x}, not {:08x}", committed.manifest_crc32)));
        }
        let text = String::from_utf8(text).map_err(|_| damaged("it is not UTF-8".into()))?;
        let files = {
            let manifest = Manifest::parse(&text).map_err(damaged)?;
            if manifest.key != key {
                return Err(damaged(format!("it is that of the key {:?}", manifest.key)));
            }
            manifest.files
        };
        let (key, key_dir, dir) = (key.to_string(), Arc::new(key_dir), Arc::new(dir));
        let bundle = Bundle { key, seq, json, nonfinite, committed, files, key_dir, dir, unfinished: None };
        bundle.check_lengths()?;
        Ok(bundle)
    }

    fn newest_bundle(&self, key: &str) -> Result<Newest> {
        if *self.settings().fold() == Fold::Log {
            return self.newest_in_log(key);
        }
        let entry = match self.writer().attached() {
            Some(_) => self.with_reader(|reader| {
                reader.refresh()?;
                reader.get(key)
            })?,
            None => self.view()?.get(key)?,
        };
        let record = entry.and_then(|entry| Record::parse(entry.seq, entry.nonfinite, &entry.json));
        Ok(record.map_or(Newest::None, Newest::Is))
    }

    /// Each version's name tells after which record it was placed. So the newest version that a record commits is found by
    /// reading from there, and nearly always that is the newest one.
    fn newest_in_log(&self, key: &str) -> Result<Newest> {
        let key_dir =
            self.home().dir.sub(names::BUNDLES).and_then(|dir| dir.sub(&names::key_directory(key)?));
        let mut places: Vec<Seq> = match key_dir {
            Ok(dir) => dir.names()?.iter().filter_map(|name| names::parse_version(name)).collect(),
            Err(e) if e.is_not_found() => return Ok(Newest::None),
            Err(e) => return Err(e),
        };
        places.push(0);
        places.sort_unstable();
        places.dedup();
        let mut behind = Seq::MAX;
        while let Some(after) = places.pop() {
            let (mut cursor, whole) = match self.cursor(after + 1) {
                Ok(cursor) => (cursor, true),
                Err(e) if e.is_compacted() => (self.cursor(e.seq().unwrap_or(behind))?, false),
                Err(e) => return Err(e),
            };
            let mut newest = None;
            while let Some(record) = cursor.next_ref()?.filter(|record| record.seq() <= behind) {
                if record.key() != key {
                    continue;
                }
                match record.kind() {
                    Kind::Delete => newest = Some(Newest::None),
                    _ => {
                        let json = record.json().unwrap_or_default();
                        if let Some(found) = Record::parse(record.seq(), record.nonfinite(), json) {
                            newest = Some(Newest::Is(found));
                        }
                    }
                }
            }
            match newest {
                Some(found) => return Ok(found),
                None if !whole => return Ok(Newest::Unknown),
                // What was read need not be read again.
                None => behind = after,
            }
        }
        Ok(Newest::None)
    }
}
