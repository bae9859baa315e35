//! What is written to: a cohort, or the JSON file that people have without one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tallyfold::files::{self, Options};
use tallyfold::{Batch, Cohort, LockClass, Retain, Seq, Settings, Store};

use super::plan::{Act, Counted, Kind, Load, Plan};

/// The JSON file, in the directory of its run.
const FILE: &str = "metrics.json";
/// Small, so that there are many rotations and compactions.
const SEGMENT_BYTES: u64 = 1 << 20;
const COMPACT_BYTES: u64 = 256 << 10;

/// How those who write at once exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Lock {
    /// A cohort of this class of lock.
    Memory,
    File,
    /// A JSON file under `flock`.
    Flock,
    /// A JSON file and no lock at all.
    None,
}

impl Lock {
    pub(super) fn name(self) -> &'static str {
        match self {
            Lock::Memory => "memory",
            Lock::File => "file",
            Lock::Flock => "flock",
            Lock::None => "none",
        }
    }

    /// Whether it is a cohort's; else it is that of a plain file.
    pub(super) fn class(self) -> Option<LockClass> {
        match self {
            Lock::Memory => Some(LockClass::Memory),
            Lock::File => Some(LockClass::File),
            Lock::Flock | Lock::None => None,
        }
    }

    /// The settings of the cohort of a run. All history is kept, for all of it is read in the end. A plain file stands in the
    /// directory of a cohort that nobody writes.
    pub(super) fn settings(self, plan: &Plan) -> Settings {
        let settings = match plan.load {
            Load::Appends => Settings::log(),
            Load::Mixed => Settings::latest().segment_bytes(SEGMENT_BYTES).compact_bytes(COMPACT_BYTES),
        };
        let class = self.class().unwrap_or(LockClass::File);
        settings.retain(Retain::All).lock(class).durable(plan.durable)
    }
}

/// The content of the JSON file.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Document {
    /// How many records each lane has put in.
    pub(super) records: BTreeMap<u64, u64>,
    /// The last one of each key.
    pub(super) entries: BTreeMap<String, Value>,
}

/// See the module.
pub(super) enum Target {
    Cohort(Cohort),
    File { path: PathBuf, options: Options, locked: bool },
}

impl Target {
    /// What a run writes to: the cohort of that name, or the file in its directory.
    pub(super) fn open(
        store: &Path,
        cohort: &str,
        lock: Lock,
        timeout: Option<Duration>,
        durable: bool,
    ) -> tallyfold::Result<Target> {
        let cohort = Store::open_existing(store)?.cohort(cohort)?;
        if lock.class().is_some() {
            return Ok(Target::Cohort(match timeout {
                Some(timeout) => cohort.with_timeout(timeout),
                None => cohort,
            }));
        }
        // Indented as pipelines write it.
        let options = Options::new().durable(durable);
        let options = match timeout {
            Some(timeout) => options.timeout(timeout),
            None => options,
        };
        Ok(Target::File { path: cohort.path().join(FILE), options, locked: lock == Lock::Flock })
    }

    /// Makes the file, where it is one.
    pub(super) fn begin(&self) -> tallyfold::Result<()> {
        match self {
            Target::Cohort(_) => Ok(()),
            Target::File { path, options, .. } => files::write_json(path, &Document::default(), options),
        }
    }

    /// Attaches, so that the first act is like any other.
    pub(super) fn attach(&self) -> tallyfold::Result<()> {
        match self {
            Target::Cohort(cohort) => cohort.sync(),
            Target::File { .. } => Ok(()),
        }
    }

    /// Does an act, whose texts are given but for that of an update. Returns the seq of its last record; in a file there are
    /// none, and it is 1.
    pub(super) fn perform(
        &self,
        act: &Act,
        life: u64,
        texts: &[String],
        keys: &[String],
    ) -> tallyfold::Result<Seq> {
        let records = || (0..).zip(texts).map(|(part, text)| (keys[act.key(part)].as_str(), text.as_str()));
        match self {
            Target::Cohort(cohort) if act.kind == Kind::Update => {
                let key = &keys[act.key(0)];
                let written = cohort.update(key, |old| {
                    let old = old.map(|entry| entry.to::<Count>()).transpose()?;
                    Ok(Some(act.counted(life, old.map_or(0, |old| old.count) + 1)))
                })?;
                // The function gives a value each time, so something is written.
                Ok(written.unwrap_or_default())
            }
            Target::Cohort(cohort) => {
                let mut batch = Batch::new();
                for (key, text) in records() {
                    batch.put_json(key, text)?;
                }
                cohort.append_batch(batch)
            }
            Target::File { path, options, locked } => {
                let change = |mut document: Document| {
                    *document.records.entry(act.lane).or_default() += act.records;
                    if act.kind == Kind::Update {
                        let key = &keys[act.key(0)];
                        let old = document.entries.get(key).and_then(|old| old["count"].as_u64());
                        let new: Counted = act.counted(life, old.unwrap_or_default() + 1);
                        document.entries.insert(key.clone(), value(&new));
                    }
                    for (key, text) in records() {
                        // The texts are JSON of our own making.
                        document
                            .entries
                            .insert(key.to_string(), serde_json::from_str(text).unwrap_or_default());
                    }
                    document
                };
                match locked {
                    true => files::update_json(path, options, |old: Option<Document>| {
                        change(old.unwrap_or_default())
                    })
                    .map(drop)?,
                    // What somebody else writes between these two is gone.
                    false => files::atomic_write(path, text_of(&change(files::read_json(path)?)), options)?,
                }
                Ok(1)
            }
        }
    }

    /// What stands in the file; in a cohort there is none.
    pub(super) fn document(&self) -> tallyfold::Result<Document> {
        match self {
            Target::Cohort(_) => Ok(Document::default()),
            Target::File { path, .. } => files::read_json(path),
        }
    }

    /// Syncs what was written, before a process ends.
    pub(super) fn detach(&self) -> tallyfold::Result<()> {
        match self {
            Target::Cohort(cohort) => cohort.detach(),
            Target::File { .. } => Ok(()),
        }
    }
}

#[derive(Deserialize)]
struct Count {
    count: u64,
}

fn value(new: &Counted) -> Value {
    serde_json::to_value(new).unwrap_or_default()
}

fn text_of(document: &Document) -> Vec<u8> {
    serde_json::to_vec_pretty(document).unwrap_or_default()
}
