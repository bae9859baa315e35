//! Plain files that many processes share: a lock with a time limit, atomic replacing, and JSON read, written and updated.
//!
//! For what stays in one JSON file. A tally that many processes write belongs into a [store](crate::Store), where an append
//! does not rewrite everything.
//!
//! ```
//! # fn main() -> tallyfold::Result<()> {
//! # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("metrics.json");
//! use tallyfold::files::{self, Json, Options};
//!
//! // Under the lock `metrics.json.lock`: read, change, write to a temporary file, sync, rename.
//! let options = Options::new();
//! files::update_json(&path, &options, |old: Option<Json>| {
//!     let mut metrics = old.unwrap_or_default();
//!     metrics.set("n_models", 5);
//!     metrics
//! })?;
//!
//! // A reader needs no lock: it finds the old file or the new one.
//! let metrics: Json = files::read_json(&path)?;
//! assert_eq!(metrics.get("n_models").unwrap().to::<u64>()?, 5);
//! # Ok(())
//! # }
//! ```
//!
//! # What is kept, and what is not
//!
//! - A file is replaced as a whole or not at all, also if its writer is killed or the power fails, unless
//!   [`durable`](Options::durable) is switched off.
//! - A replaced file keeps its mode, and its owner and group as far as the process may set them. Other names of it (hard links),
//!   access control lists and extended attributes stay with the old file. A link to the file stays, and leads to the new one.
//! - A lock file is never removed by who unlocks it; [`cleanup_lock_files`] removes those that nobody has.
//! - The locks are `flock` on a file beside, so they exclude every program that locks the same file by `flock`, and none that
//!   uses another kind of lock or another file. Whether they reach other hosts is the file system's matter: see
//!   [`verify_lock_support`].

mod atomic;
mod document;
mod json;
mod lock;
mod names;
mod options;
mod support;
#[cfg(test)]
#[cfg(unix)]
mod tests;

pub use atomic::{AtomicFile, atomic_write, atomic_write_with};
pub use document::{read_json, try_update_json, update_json, write_json};
pub use json::{Json, Number};
pub use lock::{FileLock, cleanup_lock_files};
pub use names::{LockName, lock_path};
pub use options::{Nonfinite, Options};
pub use support::{LockCheck, LockSupport, verify_lock_support};
