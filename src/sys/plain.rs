//! Files that are not ours: found by path as their owners name them, through links, in any directory.
//!
//! What is owned by a store is opened through [`Dir`](super::Dir). Here the path is the user's, and others, who know nothing of
//! tallyfold, work on the same files.

use std::ffi::OsString;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fs4::FileExt;

use super::fork::Kept;
use super::seam::{At, Op, Seam};
use super::seam_here::Here;
use super::{Dir, File, LockFile, Locked, plain_here};
use crate::error::{Error, Kind, Result};

/// More links than this on the way to a file are taken for a circle, as Linux does.
const MOST_LINKS: u32 = 40;
/// How often a lock file may vanish or appear between two looks at it.
const TRIES: u32 = 100;

/// A path as the seam names it.
pub(super) fn at(path: &Path) -> At<'_> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    At { dir: directory_of(path), name }
}

/// The directory of a file, which for a bare name is the current one.
pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The file that a path leads to, through all links, and what is known of it; it need not be there yet.
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    pub(super) meta: Option<Metadata>,
}

impl Target {
    pub(crate) fn find(path: &Path) -> Result<Target> {
        let mut found = path.to_path_buf();
        for _ in 0..MOST_LINKS {
            let meta = match fs::symlink_metadata(&found) {
                Ok(meta) => meta,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    return Ok(Target { path: found, meta: None });
                }
                Err(e) => return Err(Error::io("cannot ask about", &found, e)),
            };
            if meta.is_file() {
                return Ok(Target { path: found, meta: Some(meta) });
            }
            if !meta.is_symlink() {
                return Err(refused(&found, "is not a regular file", "name a regular file"));
            }
            let to = fs::read_link(&found).map_err(|e| Error::io("cannot read the link", &found, e))?;
            found = directory_of(&found).join(to);
        }
        Err(refused(path, "leads through too many links", "see whether its links lead in a circle"))
    }

    /// The directory that the file is in.
    pub(crate) fn directory(&self) -> &Path {
        directory_of(&self.path)
    }
}

/// The bytes of a file. Opening a fifo does not hang, and reading one is refused.
pub(crate) fn read_whole(path: &Path) -> Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    plain_here::without_waiting(options.read(true));
    let mut file = options.open(path).map_err(|e| Error::io("cannot open", path, e))?;
    let meta = file.metadata().map_err(|e| Error::io("cannot ask about", path, e))?;
    if !meta.is_file() {
        return Err(refused(path, "is not a regular file", "name a regular file"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
    file.read_to_end(&mut bytes).map_err(|e| Error::io("cannot read", path, e))?;
    Ok(bytes)
}

/// Makes the directory that a file is to be in, and those above it, unless they are there.
pub(crate) fn make_parents(file: &Path, durable: bool) -> Result<()> {
    let mut missing = Vec::new();
    let mut directory = directory_of(file);
    while !directory.try_exists().map_err(|e| Error::io("cannot ask about", directory, e))? {
        missing.push(directory);
        directory = directory_of(directory);
    }
    for made in missing.into_iter().rev() {
        match Here::pass(Op::MakeDirectory(at(made)), || fs::create_dir(made)) {
            Ok(()) => {}
            // Somebody else was quicker.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io("cannot make the directory", made, e)),
        }
        if durable {
            Dir::open(directory_of(made))?.sync()?;
        }
    }
    Ok(())
}

/// Every name in a directory, whatever bytes it is made of.
pub(crate) fn list(directory: &Path) -> Result<Vec<OsString>> {
    let failed = |e| Error::io("cannot list", directory, e);
    let names = fs::read_dir(directory).map_err(failed)?.map(|entry| entry.map(|entry| entry.file_name()));
    names.collect::<io::Result<_>>().map_err(failed)
}

impl LockFile {
    /// Opens a lock file of the user's, making it if it is not there: empty, with the rights that the umask leaves.
    pub(crate) fn make_or_open(path: &Path) -> Result<LockFile> {
        LockFile::of_plain(path, true)
    }

    /// Opens a file that is there, to lock it.
    pub(crate) fn existing(path: &Path) -> Result<LockFile> {
        LockFile::of_plain(path, false)
    }

    fn of_plain(path: &Path, make: bool) -> Result<LockFile> {
        let open = || open_to_lock(path, make).map(|file| File::new(file, path.to_path_buf()));
        Ok(LockFile { kept: Kept::open(open)?, path: path.to_path_buf() })
    }

    /// Whether the path still leads to the file that was opened. If not, others lock another one.
    pub(crate) fn has_its_name(&self) -> Result<bool> {
        let Some(file) = self.kept.file() else { return Ok(false) };
        is_at(file, &self.path)
    }

    /// What the system knows of the file.
    pub(crate) fn metadata(&self) -> Result<Metadata> {
        self.file()?.metadata().map_err(|e| Error::io("cannot ask about", &self.path, e))
    }
}

impl Locked<'_> {
    /// Removes the locked file, if it still has its name. Who waits for it finds that it has none, and begins again with the
    /// next one. Where the system does not tell files apart nothing is removed.
    pub(crate) fn remove(self) -> Result<bool> {
        let LockFile { kept, path } = self.0;
        if plain_here::TELLS_FILES_APART && kept.file().is_some_and(|file| is_at(file, path).unwrap_or(false))
        {
            remove(path)
        } else {
            Ok(false)
        }
    }
}

/// Removes a file; `false` if it was gone already.
pub(crate) fn remove(path: &Path) -> Result<bool> {
    match Here::pass(Op::Remove(at(path)), || fs::remove_file(path)) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("cannot remove", path, e)),
    }
}

/// Whether an open file is the one that stands at a path.
pub(super) fn is_at(file: &fs::File, path: &Path) -> Result<bool> {
    let failed = |e| Error::io("cannot ask about", path, e);
    match fs::symlink_metadata(path) {
        Ok(there) => Ok(plain_here::same(&file.metadata().map_err(failed)?, &there)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(failed(e)),
    }
}

/// The lock that nobody waits for, on a file just made.
pub(super) fn lock_at_once(file: &fs::File) -> io::Result<bool> {
    match FileExt::try_lock(file) {
        Ok(()) => Ok(true),
        Err(fs4::TryLockError::WouldBlock) => Ok(false),
        Err(fs4::TryLockError::Error(e)) => Err(e),
    }
}

fn open_to_lock(path: &Path, make: bool) -> Result<fs::File> {
    for _ in 0..TRIES {
        let mut options = OpenOptions::new();
        plain_here::without_following(options.read(true).write(true));
        let error = match options.open(path) {
            Ok(file) => return regular(file, path),
            Err(e) => e,
        };
        match error.kind() {
            io::ErrorKind::NotFound if make => {
                let create = || options.create_new(true).open(path);
                match Here::pass(Op::Create(at(path)), create) {
                    Ok(file) => return Ok(file),
                    // A link that leads nowhere is found by the next look.
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                    Err(e) => return Err(Error::io("cannot make the lock file", path, e)),
                }
            }
            // A lock takes no right to write, and another user's lock file may give none.
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                let mut options = OpenOptions::new();
                plain_here::without_following(options.read(true));
                if let Ok(file) = options.open(path) {
                    return regular(file, path);
                }
            }
            _ => {}
        }
        return Err(match fs::symlink_metadata(path) {
            Ok(meta) if !meta.is_file() => no_lock_file(path),
            _ => Error::io("cannot open the lock file", path, error),
        });
    }
    Err(Error::new(Kind::Io, "the lock file vanishes as often as it is made")
        .at(path)
        .advise("see who removes it; a lock file must stay"))
}

fn regular(file: fs::File, path: &Path) -> Result<fs::File> {
    let meta = file.metadata().map_err(|e| Error::io("cannot ask about", path, e))?;
    if meta.is_file() { Ok(file) } else { Err(no_lock_file(path)) }
}

fn no_lock_file(path: &Path) -> Error {
    refused(path, "is a link, a directory or a special file, and no lock file", "move it away")
}

pub(super) fn refused(path: &Path, what: &str, advice: &str) -> Error {
    Error::new(Kind::UnsafeFile, format!("refused: it {what}")).at(path).advise(advice)
}
