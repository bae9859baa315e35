//! A lock on a file beside the one that it guards.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::names::is_lock_file;
use crate::error::{Error, Kind, Result};
use crate::names::COHORT;
use crate::sys::{self, LockFile, Patience, Wanted};

/// A `flock` on a lock file, held until this is dropped.
///
/// - The lock file is made if it is missing, empty and with the rights that the umask leaves. It is never removed, written or
///   cut short. Its directory must be there.
/// - It excludes every other process that locks the same file by `flock`, whatever program it runs; it also excludes another
///   `FileLock` of this process, in this thread or another one. It is *not* re-entrant: who has the lock and wants it again waits
///   for himself, until the timeout, whose error says so.
/// - Once had, the lock is checked to be on the file that has the name now. If somebody has replaced or removed the file
///   meanwhile, waiting begins again with the new one.
/// - Who waits is not overtaken for ever: those who wait take turns, and who comes meanwhile joins them. A program that
///   tries without waiting again and again takes no turns.
/// - In a forked child it is nobody's: dropping it there unlocks nothing, and the child does not keep a dead parent's lock. A
///   child that is to lock takes its own.
/// - The kernel frees it when the process ends, however it ends. A stopped process keeps it. It is never broken by age.
///
/// ```
/// # fn main() -> tallyfold::Result<()> {
/// # let dir = tempfile::tempdir().unwrap(); let file = dir.path().join("a.json");
/// use std::time::Duration;
/// use tallyfold::files::{FileLock, LockName, lock_path};
///
/// let lock = FileLock::exclusive(lock_path(&file, LockName::Appended), Duration::from_secs(30))?;
/// assert!(FileLock::try_shared(lock.path())?.is_none(), "somebody has it");
/// drop(lock);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it unlocks the file"]
pub struct FileLock {
    file: LockFile,
    path: PathBuf,
    wanted: Wanted,
}

impl FileLock {
    /// The exclusive lock: nobody else has the file locked. Waits at most `timeout`, by the monotonic clock.
    ///
    /// # Errors
    /// `is_lock_timeout`, with the [holder](Error::holder) where the system tells; `is_not_found` if the directory is missing;
    /// `is_unsafe_file` if a link, a directory or a special file is there; else `is_io`.
    pub fn exclusive(path: impl AsRef<Path>, timeout: Duration) -> Result<FileLock> {
        FileLock::take(path.as_ref(), Wanted::Exclusive, timeout)
    }

    /// The shared lock: others may share it, and nobody has the exclusive one. Else as [`exclusive`](FileLock::exclusive).
    ///
    /// # Errors
    /// As [`exclusive`](FileLock::exclusive).
    pub fn shared(path: impl AsRef<Path>, timeout: Duration) -> Result<FileLock> {
        FileLock::take(path.as_ref(), Wanted::Shared, timeout)
    }

    /// The exclusive lock if it is to be had at once; `None` if somebody else has it.
    ///
    /// # Errors
    /// As [`exclusive`](FileLock::exclusive), but for the timeout.
    pub fn try_exclusive(path: impl AsRef<Path>) -> Result<Option<FileLock>> {
        FileLock::try_take(path.as_ref(), Wanted::Exclusive)
    }

    /// The shared lock, likewise; `None` if somebody else has the exclusive one.
    ///
    /// # Errors
    /// As [`exclusive`](FileLock::exclusive), but for the timeout.
    pub fn try_shared(path: impl AsRef<Path>) -> Result<Option<FileLock>> {
        FileLock::try_take(path.as_ref(), Wanted::Shared)
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is the exclusive lock.
    pub fn is_exclusive(&self) -> bool {
        self.wanted == Wanted::Exclusive
    }

    /// Whether it still excludes others: this is the process that took it, and no forked child, and the lock file has not been
    /// removed or replaced under it.
    pub fn is_held(&self) -> bool {
        self.file.is_ours() && self.file.has_its_name().unwrap_or(false)
    }

    fn take(path: &Path, wanted: Wanted, timeout: Duration) -> Result<FileLock> {
        let patience = Patience::of(timeout);
        loop {
            let file = LockFile::make_or_open(path)?;
            sys::reached("lock file opened");
            let locked = file.in_turn(wanted, &patience).map_err(if_it_is_ours)?;
            if file.has_its_name()? {
                std::mem::forget(locked);
                return Ok(FileLock { file, path: path.to_path_buf(), wanted });
            }
            if patience.left().is_zero() {
                let what = format!("no lock within {} s: the lock file was replaced", timeout.as_secs_f64());
                return Err(Error::new(Kind::LockTimeout, what)
                    .at(path)
                    .advise("nothing was written; see who removes or replaces lock files that are in use"));
            }
        }
    }

    fn try_take(path: &Path, wanted: Wanted) -> Result<Option<FileLock>> {
        loop {
            let file = LockFile::make_or_open(path)?;
            sys::reached("lock file opened");
            let Some(locked) = file.at_once(wanted)? else { return Ok(None) };
            if file.has_its_name()? {
                std::mem::forget(locked);
                return Ok(Some(FileLock { file, path: path.to_path_buf(), wanted }));
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        self.file.release();
    }
}

impl fmt::Debug for FileLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLock").field("path", &self.path).field("wanted", &self.wanted).finish()
    }
}

fn if_it_is_ours(error: Error) -> Error {
    if error.holder() != Some(std::process::id()) {
        return error;
    }
    error.advise(
        "nothing was written; this very process has it: another thread, which may need more time, or this one, which then waits \
         for itself",
    )
}

/// Removes the lock files in a directory, and not below it, that nobody has locked; returns how many.
///
/// Only empty regular files whose names end in `.lock` are taken for lock files: what has content may be something else. Each is
/// removed while it is locked, so nobody has it, and a [`FileLock`] that waits for it finds out and begins again.
/// *A program that does not check, after locking, whether its file is still there* may hold a lock that nobody else
/// sees: while such programs run, leave their lock files alone. Where the system does not tell files apart, nothing is
/// removed.
///
/// # Errors
/// `is_invalid` for the directory of a cohort, whose locks must stay; else what listing, locking or removing says.
pub fn cleanup_lock_files(directory: impl AsRef<Path>) -> Result<usize> {
    let directory = directory.as_ref();
    let names = sys::list(directory)?;
    if names.iter().any(|name| name == COHORT) {
        return Err(Error::invalid("this is the directory of a cohort: its lock files must stay")
            .at(directory)
            .advise("name a directory of plain files"));
    }
    let mut removed = 0;
    for name in names.iter().filter(|name| is_lock_file(name)) {
        removed += usize::from(remove_if_free(&directory.join(name))?);
    }
    Ok(removed)
}

fn remove_if_free(path: &Path) -> Result<bool> {
    let file = match LockFile::existing(path) {
        Ok(file) => file,
        // Gone, or no lock file at all.
        Err(e) if e.is_not_found() || e.is_unsafe_file() => return Ok(false),
        Err(e) => return Err(e),
    };
    let Some(locked) = file.at_once(Wanted::Exclusive)? else { return Ok(false) };
    if file.metadata()?.len() > 0 {
        return Ok(false);
    }
    locked.remove()
}
