//! Files that are replaced as a whole or not at all.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use super::{FileLock, Options, names};
use crate::error::{Error, Kind, Result};
use crate::sys::{self, LockFile, PerProcess, Reach, Target, Temporary, Wanted};

/// A file being written that will replace another one, when it is [committed](AtomicFile::commit).
///
/// It stands beside that one under a temporary name, `.<stem>.tallyfold-<16 hex digits>.<extension>`. Dropped before, it is
/// removed; if its process dies, a later writer in that directory removes it.
///
/// Write to it, or hand its [path](AtomicFile::path) to something that wants to write a file by itself:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?; let path = dir.path().join("model.bin");
/// use tallyfold::files::{AtomicFile, Options};
///
/// let model = AtomicFile::create(&path, &Options::new())?;
/// std::fs::write(model.path(), b"weights")?;
/// assert!(!path.exists());
/// model.commit()?;
/// assert_eq!(std::fs::read(&path)?, b"weights");
/// # Ok(())
/// # }
/// ```
///
/// In a forked child it can be dropped, which does nothing, and nothing else.
#[must_use = "dropped before it is committed, it is removed"]
pub struct AtomicFile {
    temporary: Temporary,
    target: Target,
    buffer: Vec<u8>,
    durable: bool,
}

/// So much is gathered before it is written.
const BUFFER: usize = 64 << 10;

/// Replaces a file by these bytes, or makes it.
///
/// What is there is the old file or the new one, for readers at any moment, after the death of the process, and after a power
/// cut (unless `durable` is switched off). If `path` is a link, the file that it leads to is replaced. A replaced file's mode
/// is kept, a new one's is what the umask leaves; the process must be allowed to write the *directory*, and no more.
/// Heeds `durable` and `parents` of the options. No lock is taken.
///
/// # Errors
/// `is_no_space`, `is_unsafe_file` (there is something that is no file), `is_not_found` (no directory), else `is_io`: the old
/// file is as it was, and the temporary one is removed. Only `is_durability_unknown` means that the new file is in its
/// place, but that this may not survive a power cut.
pub fn atomic_write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>, options: &Options) -> Result<()> {
    let mut file = AtomicFile::create(path, options)?;
    file.put(bytes.as_ref())?;
    file.commit()
}

/// The same with what `write` writes. If that fails the old file stays as it was.
///
/// # Errors
/// As [`atomic_write`]; an error of `write` itself is `is_io` or what its kind says.
pub fn atomic_write_with(
    path: impl AsRef<Path>,
    options: &Options,
    write: impl FnOnce(&mut AtomicFile) -> io::Result<()>,
) -> Result<()> {
    let mut file = AtomicFile::create(path.as_ref(), options)?;
    write(&mut file).map_err(|e| match e.downcast::<Error>() {
        Ok(error) => error,
        Err(e) => Error::io("the new content could not be written; the file is as it was", path.as_ref(), e),
    })?;
    file.commit()
}

impl AtomicFile {
    /// Begins a file that will replace the one at `path`, or the one that a link there leads to.
    ///
    /// # Errors
    /// As [`atomic_write`].
    pub fn create(path: impl AsRef<Path>, options: &Options) -> Result<AtomicFile> {
        let target = Target::find(path.as_ref())?;
        let Some(name) = target.path.file_name() else {
            return Err(Error::invalid("this path names no file")
                .at(path.as_ref())
                .advise("add a file name"));
        };
        if options.parents {
            sys::make_parents(&target.path, options.durable)?;
        }
        let temporary = Temporary::make(&target, |random| names::temporary(name, random))?;
        remove_leftovers(&target, &temporary);
        Ok(AtomicFile { temporary, target, buffer: Vec::new(), durable: options.durable })
    }

    /// Where it stands until it is committed. A library may write to this path, or put another file there.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// The file that it will replace or become: where the links of the path given led.
    pub fn target(&self) -> &Path {
        &self.target.path
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// As [`atomic_write`].
    pub fn commit(mut self) -> Result<()> {
        self.settle()?;
        self.publish()
    }

    /// Puts it in its place, if that lock is still held then: it is asked as late as can be, for what somebody else wrote
    /// under another lock file must not be overwritten.
    ///
    /// # Errors
    /// As [`atomic_write`]; `is_conflict` if the lock file was removed or replaced meanwhile. Nothing is written then.
    pub fn commit_under(mut self, lock: &FileLock) -> Result<()> {
        self.settle()?;
        if !lock.is_held() {
            return Err(lock_was_replaced(lock.path()));
        }
        self.publish()
    }

    /// The first half of `commit`: whatever can fail for long or with reason.
    fn settle(&mut self) -> Result<()> {
        self.write_out()?;
        self.temporary.settle(&self.target, self.durable)
    }

    /// The second half: the rename.
    fn publish(self) -> Result<()> {
        self.temporary.publish(&self.target, self.durable)
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.write_out()?;
        }
        if bytes.len() > BUFFER {
            self.temporary.write(bytes)
        } else {
            self.buffer.extend_from_slice(bytes);
            Ok(())
        }
    }

    fn write_out(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        self.temporary.write(&buffer)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.write_out()?)
    }
}

impl fmt::Debug for AtomicFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtomicFile").field("path", &self.path()).field("target", &self.target()).finish()
    }
}

/// A process looks for leftovers in a directory when it first writes there, and then so often at most.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// So many directories it remembers.
const REMEMBERED: usize = 1024;
/// A leftover must not have been written to for so long, beside that its lock is free: who was given the path may have put a file
/// there that nobody has locked. By the file system's clock.
const LEFT_FOR: Duration = Duration::from_secs(60);
/// The same where another host may write, whose lock is not seen here.
const LEFT_FOR_ELSEWHERE: Duration = Duration::from_secs(24 * 60 * 60);

/// When this process looked last, by directory.
static LOOKED: PerProcess<Mutex<HashMap<PathBuf, Instant>>> = PerProcess::new();

/// Removes what dead writers left in a directory. What cannot be removed stays: it is in nobody's way.
fn remove_leftovers(target: &Target, mine: &Temporary) {
    let directory = target.directory();
    {
        let mut looked = LOOKED.get(Mutex::default).lock().unwrap_or_else(|e| e.into_inner());
        if looked.get(directory).is_some_and(|last| last.elapsed() < LOOK_EVERY) {
            return;
        }
        if looked.len() == REMEMBERED {
            looked.clear();
        }
        looked.insert(directory.to_path_buf(), Instant::now());
    }
    let Some(now) = mine.made_at() else { return };
    let local = sys::Dir::open(directory)
        .and_then(|directory| sys::file_system(&directory))
        .is_ok_and(|file_system| file_system.reach == Reach::Local);
    let left_for = if local { LEFT_FOR } else { LEFT_FOR_ELSEWHERE };
    for name in sys::list(directory).unwrap_or_default() {
        if names::is_temporary(&name) {
            let _ = remove_leftover(&directory.join(name), now, left_for);
        }
    }
}

fn remove_leftover(path: &Path, now: SystemTime, left_for: Duration) -> Result<bool> {
    let file = LockFile::existing(path)?;
    let changed = file.metadata()?.modified().map_err(|e| Error::io("cannot ask about", path, e))?;
    if now.duration_since(changed).unwrap_or_default() < left_for {
        return Ok(false);
    }
    match file.at_once(Wanted::Exclusive)? {
        Some(locked) => locked.remove(),
        None => Ok(false),
    }
}

/// What is said when a lock has become worthless under its holder.
fn lock_was_replaced(lock: &Path) -> Error {
    Error::new(Kind::Conflict, "the lock file was removed or replaced while it was held")
        .at(lock)
        .advise("nothing was written; see who removes lock files that are in use, and try again")
}
