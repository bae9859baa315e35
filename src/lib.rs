//! tallyfold lets many processes keep one tally without losing a line of it.
//!
//! Writers append small checksummed [records](Record) to a [cohort](Cohort)'s journal under a short exclusive lock and get a
//! [seq](Seq) back; a [compactor](Cohort::compact) folds the journal into `snapshot.json`; readers merge snapshot and journal
//! tail into a [view](View) without taking a lock.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?; let path = dir.path().join("store");
//! use serde_json::json;
//! use tallyfold::{Settings, Store};
//!
//! let store = Store::open(path)?;
//! let runs = store.create("TRAINING", Settings::latest())?;
//!
//! let seq = runs.append("run-1", &json!({"acc": 0.98, "loss": 0.31}))?;
//! assert_eq!(seq, 1);
//!
//! let view = runs.view()?;
//! assert_eq!(view.get("run-1")?.unwrap().json(), r#"{"acc":0.98,"loss":0.31}"#);
//!
//! runs.compact()?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! 1. A record whose append has returned survives the death of any process; one appended *durably* survives a power cut.
//! 2. Seqs are 1, 2, 3, … without gaps, each handed out once. Order is seq and nothing else.
//! 3. A batch is visible and kept as a whole or not at all.
//! 4. A view is a prefix of the order, and holds every record acknowledged on this host before the read began.
//! 5. The state does not depend on when, or whether, compaction ran.
//! 6. Readers take no lock that delays a writer, change nothing, and work on read-only media.
//! 7. Nothing is dropped in silence: what a crash tore is kept aside, corruption refuses writes and names the place.
//!
//! # What it does not do
//!
//! It is no database: no queries, no transactions across cohorts, no network protocol. CRCs find accidents, not forgers. Linux
//! on local file systems is what is tested; `docs/design.md` in the repository says what is assumed of the disk.
//!
//! # Features
//!
//! `cli` (default) builds the `tallyfold` command, `parquet` (default) writes mirrors and exports and reads imports that are Parquet
//! tables, `arrow` (default) and `csv` (with `cli`) write exports of their kind. A library needs none: `default-features = false`.

#![warn(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

// The modules, in the order a record travels.
mod alter;
mod attach;
mod backup;
mod bundle;
mod chain;
mod cohort;
#[cfg_attr(
    not(all(feature = "arrow", feature = "csv", feature = "parquet")),
    allow(dead_code, reason = "tables need it all, and lines of JSON a part")
)]
mod columns;
mod compact;
mod condition;
mod counters;
mod cursor;
mod cut;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod doctor;
mod durable;
mod error;
mod export;
pub mod files;
mod fold;
mod format;
mod frames;
mod history;
mod home;
mod housekeeping;
mod import;
mod journal;
mod key;
mod mirror;
#[cfg_attr(not(feature = "parquet"), allow(dead_code, reason = "an import of Parquet says more of times"))]
mod moment;
mod names;
mod once;
mod previous;
#[cfg(feature = "cli")]
mod rank;
mod ready;
mod record;
mod recover;
mod refold;
mod repair;
mod retire;
mod scan;
mod segment;
mod settings;
mod snapshot;
mod stats;
mod store;
mod sys;
#[cfg(feature = "parquet")]
mod table;
mod tail;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[cfg(unix)]
mod trust;
mod user_lock;
mod value;
mod verify;
mod view;

pub use backup::{BackedUp, Backup, Copied, Progress, RestoredCohort};
pub use bundle::{Bundle, BundleFile, NewBundle};
pub use cohort::{Cohort, Expect};
pub use compact::Compaction;
pub use condition::Compare;
pub use counters::{Counters, Histogram, Scope};
pub use cursor::{Cursor, Follow};
pub use error::{Error, Result};
pub use export::{Export, Exported, Exporting, What};
pub use fold::{Entry, EntryRef, Fold, Order, Series, Top, Wins};
pub use history::History;
pub use import::{Import, Imported, Keys, Refused};
pub use key::{Prefix, key, key_parts};
pub use mirror::{Mirror, Mirrored};
pub use previous::Query;
pub use record::{Batch, Kind, MAX_KEY_BYTES, Record, RecordRef, Seq};
pub use repair::{KeyRange, RepairPlan, Repaired, SeqRange, WentBack};
pub use settings::{LockClass, Retain, Settings};
pub use stats::Stats;
pub use store::Store;
pub use verify::{Finding, Report, Severity};
pub use view::{Iter, Reader, View};

/// The documents that show Rust, compiled with the doctests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;

    #[doc = include_str!("../docs/durability.md")]
    struct Durability;
}

/// For the command, which owns its process; no part of the library's interface.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod process {
    pub use crate::rank::{Rank, Ranked};
    pub use crate::sys::SharedNumbers;
    pub use crate::sys::{end_with_parent, ignore_file_size_signal, output_is_closed};
}
