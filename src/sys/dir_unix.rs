//! A directory held open, and everything done by name inside it: relative to the descriptor, never following a link.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags, SeekFrom};

use super::seam::{At, Errno, Op, Seam};
use super::seam_here::Here;
use super::{File, Names};
use crate::error::{Error, Kind, Result};

/// A directory held open. What is inside is reached relative to it, so a directory swapped for another one changes nothing.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens the directory; its own path may lead through links, for it is the user's.
    pub(crate) fn open(path: &Path) -> Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|e| Error::io("cannot open the directory", path, e.into()))?;
        Ok(Dir { fd, path: path.to_path_buf() })
    }

    /// Makes the directory (mode 0700) and its parents (by the umask) unless they exist.
    pub(crate) fn make(path: &Path) -> Result<()> {
        let made = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => std::fs::create_dir_all(parent),
            _ => Ok(()),
        };
        let op = Op::MakeDirectory(At { dir: path, name: "" });
        let make = || Here::pass(op, || rustix::fs::mkdir(path, Mode::from_raw_mode(0o700)));
        made.and_then(|()| match make() {
            Err(rustix::io::Errno::EXIST) => Ok(()),
            other => Ok(other?),
        })
        .map_err(|e| Error::io("cannot make the directory", path, e))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn at<'a>(&'a self, name: &'a str) -> At<'a> {
        At { dir: &self.path, name }
    }

    pub(crate) fn sub(&self, name: &str) -> Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = self.path.join(name);
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Dir { fd, path }),
            // Linux says ENOTDIR for a link opened with O_DIRECTORY | O_NOFOLLOW, others ELOOP.
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
                Err(refused(&path, "is no directory of ours"))
            }
            Err(e) => Err(Error::io("cannot open the directory", &path, e.into())),
        }
    }

    /// Makes a directory (mode 0700) in this one; `false` if the name is taken.
    pub(crate) fn make_sub(&self, name: &str) -> Result<bool> {
        let make = || rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o700));
        match Here::pass(Op::MakeDirectory(self.at(name)), make) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::EXIST) => Ok(false),
            Err(e) => Err(Error::io("cannot make the directory", &self.path.join(name), e.into())),
        }
    }

    pub(crate) fn open_read(&self, name: &str, names: Names) -> Result<File> {
        self.open_file(name, OFlags::RDONLY, names)
    }

    pub(crate) fn open_write(&self, name: &str) -> Result<File> {
        self.open_file(name, OFlags::RDWR, Names::One)
    }

    fn open_file(&self, name: &str, access: OFlags, names: Names) -> Result<File> {
        let path = self.path.join(name);
        // O_NONBLOCK: opening a fifo that somebody put there must not hang before fstat can tell what it is.
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::LOOP) => return Err(refused(&path, "is a symbolic link")),
            Err(rustix::io::Errno::NXIO) => {
                return Err(refused(&path, "is a fifo or socket, not a regular file"));
            }
            Err(rustix::io::Errno::ISDIR) => {
                return Err(refused(&path, "is a directory, not a regular file"));
            }
            Err(e) => return Err(Error::io("cannot open", &path, e.into())),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|e| Error::io("cannot ask about", &path, e.into()))?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(refused(&path, "is not a regular file"));
        }
        if names == Names::One && stat.st_nlink > 1 {
            return Err(refused(&path, "has more than one name (a hard link)"));
        }
        Ok(File::new(fd.into(), path))
    }

    /// Makes a new file (mode 0600); an existing name is an error.
    pub(crate) fn create(&self, name: &str) -> Result<File> {
        let path = self.path.join(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o600));
        let fd = Here::pass(Op::Create(self.at(name)), create)
            .map_err(|e| Error::io("cannot create", &path, e.into()))?;
        Ok(File::new(fd.into(), path))
    }

    /// Whether the name exists, whatever it is.
    pub(crate) fn exists(&self, name: &str) -> Result<bool> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(e) => Err(Error::io("cannot ask about", &self.path.join(name), e.into())),
        }
    }

    /// Atomically gives `from` the name `to`, replacing what had it.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.rename_into(from, self, to)
    }

    /// The same into another directory.
    pub(crate) fn rename_into(&self, from: &str, target: &Dir, to: &str) -> Result<()> {
        let op = Op::Rename { from: self.at(from), to: target.at(to) };
        Here::pass(op, || rustix::fs::renameat(&self.fd, from, &target.fd, to))
            .map_err(|e| Error::io(format!("cannot rename to {to}"), &self.path.join(from), e.into()))
    }

    /// Gives a directory the name `to` unless something that is not an empty directory has it: then `false`.
    pub(crate) fn rename_directory(&self, from: &str, to: &str) -> Result<bool> {
        let op = Op::Rename { from: self.at(from), to: self.at(to) };
        match Here::pass(op, || rustix::fs::renameat(&self.fd, from, &self.fd, to)) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::EXIST | rustix::io::Errno::NOTEMPTY | rustix::io::Errno::NOTDIR) => {
                Ok(false)
            }
            Err(e) => Err(Error::io(format!("cannot rename to {to}"), &self.path.join(from), e.into())),
        }
    }

    /// A second name for a file; `false` where the name is taken or the file system has no links.
    pub(crate) fn link(&self, from: &str, to: &str) -> Result<bool> {
        use rustix::io::Errno;
        let op = Op::Link { from: self.at(from), to: self.at(to) };
        match Here::pass(op, || rustix::fs::linkat(&self.fd, from, &self.fd, to, AtFlags::empty())) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST | Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => Ok(false),
            Err(e) => Err(Error::io(format!("cannot link to {to}"), &self.path.join(from), e.into())),
        }
    }

    /// Makes a symbolic link; `false` where the file system has none.
    pub(crate) fn symlink(&self, target: &str, name: &str) -> Result<bool> {
        use rustix::io::Errno;
        let op = Op::Symlink { at: self.at(name), target };
        match Here::pass(op, || rustix::fs::symlinkat(target, &self.fd, name)) {
            Ok(()) => Ok(true),
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(e) => Err(Error::io("cannot make the link", &self.path.join(name), e.into())),
        }
    }

    /// Where a symbolic link leads; `None` if there is none of that name.
    pub(crate) fn read_link(&self, name: &str) -> Result<Option<String>> {
        use rustix::io::Errno;
        match rustix::fs::readlinkat(&self.fd, name, Vec::new()) {
            Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(e) => Err(Error::io("cannot read the link", &self.path.join(name), e.into())),
        }
    }

    /// Removes a file; `false` if it was gone already.
    pub(crate) fn remove(&self, name: &str) -> Result<bool> {
        self.remove_as(name, AtFlags::empty())
    }

    /// Removes an empty directory; `false` if it was gone already.
    pub(crate) fn remove_directory(&self, name: &str) -> Result<bool> {
        self.remove_as(name, AtFlags::REMOVEDIR)
    }

    fn remove_as(&self, name: &str, flags: AtFlags) -> Result<bool> {
        match Here::pass(Op::Remove(self.at(name)), || rustix::fs::unlinkat(&self.fd, name, flags)) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(rustix::io::Errno::ISDIR) => {
                Err(refused(&self.path.join(name), "is a directory, not a regular file"))
            }
            Err(e) => Err(Error::io("cannot remove", &self.path.join(name), e.into())),
        }
    }

    /// Removes a directory with all that is in it, whatever that is, following no link; `false` if it was gone already.
    pub(crate) fn remove_tree(&self, name: &str) -> Result<bool> {
        let dir = match self.sub(name) {
            Ok(dir) => dir,
            Err(e) if e.is_not_found() => return Ok(false),
            Err(e) => return Err(e),
        };
        for inside in dir.names()? {
            // A directory stays, and what is not UTF-8: that is what the next call is for.
            let _ = dir.remove(&inside);
        }
        let path = self.path.join(name);
        match self.remove_directory(name) {
            Err(_) => match Here::pass(Op::Remove(self.at(name)), || std::fs::remove_dir_all(&path)) {
                Ok(()) => Ok(true),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(e) => Err(Error::io("cannot remove", &path, e)),
            },
            removed => removed,
        }
    }

    /// Names made, renamed and removed in this directory reach the medium.
    pub(crate) fn sync(&self) -> Result<()> {
        Here::pass(Op::SyncDirectory(self.at("")), || rustix::fs::fsync(&self.fd))
            .map_err(|e| Error::io("cannot sync the directory", &self.path, e.into()))
    }

    /// Every name in it but `.` and `..`; names that are not UTF-8 are not ours and left out.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        Ok(self.all_names()?.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    /// Every name in it but `.` and `..`.
    pub(crate) fn all_names(&self) -> Result<Vec<OsString>> {
        let failed = |e: rustix::io::Errno| Error::io("cannot list", &self.path, e.into());
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_os_string());
            }
        }
        Ok(names)
    }

    #[cfg(target_os = "linux")]
    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.fd
    }
}

impl Errno for rustix::io::Errno {
    fn of(errno: i32) -> rustix::io::Errno {
        rustix::io::Errno::from_raw_os_error(errno)
    }
}

fn refused(path: &Path, what: &str) -> Error {
    Error::new(Kind::UnsafeFile, format!("refused: it {what}"))
        .at(path)
        .advise("tallyfold opens only regular files and directories that it made; move this one away")
}

pub(super) fn read_at(file: &std::fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buffer, offset)
}

pub(super) fn write_at(file: &std::fs::File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    file.write_at(bytes, offset)
}

pub(crate) fn page_size() -> u64 {
    // SAFETY: asks for a number.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

pub(super) fn allocate(file: &std::fs::File, len: u64) -> io::Result<bool> {
    use rustix::io::Errno;
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

#[cfg(target_os = "linux")]
pub(super) fn punch(file: &std::fs::File, offset: u64, len: u64) {
    let _ = rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len);
}

#[cfg(not(target_os = "linux"))]
pub(super) fn punch(_file: &std::fs::File, _offset: u64, _len: u64) {}

pub(super) fn next_data(file: &std::fs::File, offset: u64) -> io::Result<Option<u64>> {
    use rustix::io::Errno;
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(at) => Ok(Some(at)),
        Err(Errno::NXIO) => Ok(None),
        // Not every file system can tell: then everything may be data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(offset)),
        Err(e) => Err(e.into()),
    }
}
