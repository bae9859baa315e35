//! Locks on whole files (`flock` and its relatives), with a time limit and the holder's name.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs4::FileExt;

use super::fork::Kept;
use super::{Dir, File, Names, holder};
use crate::error::{Error, Kind, Result};

/// A file that is only locked: never truncated, never removed, its content means nothing.
pub(crate) struct LockFile {
    pub(super) kept: Kept,
    pub(super) path: PathBuf,
}

/// How long an operation may wait for locks in all, by the monotonic clock, from when it first has to wait.
#[derive(Debug)]
pub(crate) struct Patience {
    begun: OnceCell<Instant>,
    timeout: Duration,
}

impl Patience {
    pub(crate) fn of(timeout: Duration) -> Patience {
        Patience { begun: OnceCell::new(), timeout }
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.begun.get_or_init(Instant::now).elapsed())
    }
}

/// The lock is held as long as this lives. Dropping it in a forked child does nothing.
pub(crate) struct Locked<'a>(pub(super) &'a LockFile);

/// The first sleep between two tries; it doubles up to the longest. A holder has the append lock for microseconds, so short
/// sleeps lose little, and random phases among the waiters keep any one of them from starving.
const FIRST_SLEEP: Duration = Duration::from_micros(20);
const LONGEST_SLEEP: Duration = Duration::from_micros(640);
/// The same where a holder may take minutes.
const LONGEST_SLEEP_AT_WORK: Duration = Duration::from_millis(20);
/// Tries that only yield the processor before the first sleep.
const YIELDS: u32 = 8;

impl LockFile {
    pub(crate) fn new(file: File) -> LockFile {
        let path = file.path().to_path_buf();
        LockFile { kept: Kept::new(file.into_inner()), path }
    }

    /// Opens a file of a cohort to lock it for writing.
    pub(crate) fn open(dir: &Dir, name: &str) -> Result<LockFile> {
        let path = dir.path().join(name);
        Kept::open(|| dir.open_write(name)).map(|kept| LockFile { kept, path })
    }

    /// The same for those who only read: a shared lock asks for no right to write.
    pub(crate) fn open_read(dir: &Dir, name: &str) -> Result<LockFile> {
        let path = dir.path().join(name);
        Kept::open(|| dir.open_read(name, Names::One)).map(|kept| LockFile { kept, path })
    }

    /// The same of a file that is made if there is none, while others may make it or take its name away.
    pub(crate) fn open_or_make(dir: &Dir, name: &str) -> Result<LockFile> {
        loop {
            match LockFile::open(dir, name) {
                Err(e) if e.is_not_found() => {}
                other => return other,
            }
            match dir.create(name) {
                Err(e) if !e.is_taken() => return Err(e),
                _ => {}
            }
        }
    }

    /// The exclusive lock, or `None` if somebody else has it.
    pub(crate) fn try_exclusive(&self) -> Result<Option<Locked<'_>>> {
        self.attempt(FileExt::try_lock)
    }

    /// The exclusive lock, waiting for it as long as there is patience left.
    pub(crate) fn exclusive(&self, patience: &Patience) -> Result<Locked<'_>> {
        self.wait(patience, LONGEST_SLEEP, || self.try_exclusive())
    }

    /// The same of a lock that is held for as long as somebody's work takes, so that many may wait for long.
    pub(crate) fn exclusive_after_work(&self, patience: &Patience) -> Result<Locked<'_>> {
        self.wait(patience, LONGEST_SLEEP_AT_WORK, || self.try_exclusive())
    }

    /// The shared lock, likewise.
    pub(crate) fn shared(&self, patience: &Patience) -> Result<Locked<'_>> {
        self.wait(patience, LONGEST_SLEEP, || self.attempt(FileExt::try_lock_shared))
    }

    pub(super) fn attempt(
        &self,
        lock: impl Fn(&std::fs::File) -> std::result::Result<(), fs4::TryLockError>,
    ) -> Result<Option<Locked<'_>>> {
        let file = self.file()?;
        loop {
            return match lock(file) {
                Ok(()) => Ok(Some(Locked(self))),
                Err(fs4::TryLockError::WouldBlock) => Ok(None),
                Err(fs4::TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(fs4::TryLockError::Error(e)) => Err(Error::io("cannot lock", &self.path, e)),
            };
        }
    }

    /// Tries until the time is over. flock itself knows no time limit, and a signal to interrupt it is not a library's to send.
    fn wait<'a>(
        &'a self,
        patience: &Patience,
        longest: Duration,
        attempt: impl Fn() -> Result<Option<Locked<'a>>>,
    ) -> Result<Locked<'a>> {
        let mut sleep = FIRST_SLEEP;
        let mut tries = 0;
        loop {
            if let Some(locked) = attempt()? {
                return Ok(locked);
            }
            let left = patience.left();
            if left.is_zero() {
                return Err(timed_out(&self.path, self.kept.file().and_then(holder::of), patience));
            }
            tries += 1;
            if tries <= YIELDS {
                std::thread::yield_now();
            } else {
                std::thread::sleep(sleep.min(left));
                sleep = (sleep * 2).min(longest);
            }
        }
    }

    /// The shared lock, held until this file is closed.
    pub(crate) fn keep_shared(&self, patience: &Patience) -> Result<()> {
        self.shared(patience).map(std::mem::forget)
    }

    /// The exclusive lock, held until this file is closed; `false` if somebody else has it.
    pub(crate) fn keep_exclusive(&self) -> Result<bool> {
        Ok(self.try_exclusive()?.map(std::mem::forget).is_some())
    }

    /// Whether this process opened it: the child of a fork has nothing of what its parent locked.
    pub(crate) fn is_ours(&self) -> bool {
        self.kept.file().is_some()
    }

    /// Whether the file still has this name: if not, others lock another one.
    #[cfg(unix)]
    pub(crate) fn is_named(&self, dir: &Dir, name: &str) -> Result<bool> {
        match dir.open_read(name, super::Names::One) {
            Ok(there) => Ok(there.identity()? == self.identity()?),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Takes the name away from a lock that nobody needs any more. For its holder: who waits for it finds that it has lost its
    /// name ([`is_named`](LockFile::is_named)).
    #[cfg(unix)]
    pub(crate) fn remove_name(&self, dir: &Dir, name: &str) -> Result<bool> {
        dir.remove(name)
    }

    /// Without inodes nobody could tell, so the name stays.
    #[cfg(not(unix))]
    pub(crate) fn is_named(&self, _dir: &Dir, _name: &str) -> Result<bool> {
        Ok(true)
    }

    #[cfg(not(unix))]
    pub(crate) fn remove_name(&self, _dir: &Dir, _name: &str) -> Result<bool> {
        Ok(false)
    }

    /// Gives back what [`keep_shared`](LockFile::keep_shared) or [`keep_exclusive`](LockFile::keep_exclusive) took.
    pub(crate) fn release(&self) {
        drop(Locked(self));
    }

    /// Device and inode.
    #[cfg(unix)]
    pub(crate) fn identity(&self) -> Result<(u64, u64)> {
        use std::os::unix::fs::MetadataExt;
        let meta = self.file()?.metadata().map_err(|e| Error::io("cannot ask about", &self.path, e))?;
        Ok((meta.dev(), meta.ino()))
    }

    /// For other locks than those on the whole file.
    #[cfg(all(target_os = "linux", not(tallyfold_portable)))]
    pub(super) fn into_kept(self) -> Kept {
        self.kept
    }

    pub(super) fn file(&self) -> Result<&std::fs::File> {
        self.kept.file().ok_or_else(|| {
            Error::new(Kind::Io, "this lock was opened before a fork; the child must open its own")
                .at(&self.path)
        })
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Unlocked by name, not by closing: a child forked meanwhile shares the description and would keep the lock. In such a
        // child there is no file, so nothing is unlocked. The call fails only for a bad descriptor, which this is not.
        if let Some(file) = self.0.kept.file() {
            let _ = FileExt::unlock(file);
        }
    }
}

/// A lock was not had in time.
pub(super) fn timed_out(path: &Path, holder: Option<u32>, patience: &Patience) -> Error {
    let by = match holder {
        Some(pid) => format!("process {pid} holds it"),
        None => "the system does not tell who holds it".to_string(),
    };
    Error::new(Kind::LockTimeout, format!("no lock within {} s: {by}", patience.timeout.as_secs_f64()))
        .at(path)
        .held_by(holder)
        .advise("nothing was written; see what that process does (a stopped process keeps its locks), or allow more time")
}
