//! The same face as `dir_unix.rs` with nothing but std: by path, so weaker against somebody who swaps directories under us.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::seam::{At, Op, Seam};
use super::seam_here::Here;
use super::{File, Names, PerProcess};
use crate::error::{Error, Kind, Result};

/// A directory, by its path.
#[derive(Debug)]
pub(crate) struct Dir {
    path: PathBuf,
}

impl Dir {
    pub(crate) fn open(path: &Path) -> Result<Dir> {
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => Ok(Dir { path: path.to_path_buf() }),
            Ok(_) => Err(refused(path, "is not a directory")),
            Err(e) => Err(Error::io("cannot open the directory", path, e)),
        }
    }

    pub(crate) fn make(path: &Path) -> Result<()> {
        let op = Op::MakeDirectory(At { dir: path, name: "" });
        Here::pass(op, || fs::create_dir_all(path))
            .map_err(|e| Error::io("cannot make the directory", path, e))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn at<'a>(&'a self, name: &'a str) -> At<'a> {
        At { dir: &self.path, name }
    }

    pub(crate) fn sub(&self, name: &str) -> Result<Dir> {
        let path = self.path.join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => Ok(Dir { path }),
            Ok(_) => Err(refused(&path, "is no directory of ours")),
            Err(e) => Err(Error::io("cannot open the directory", &path, e)),
        }
    }

    pub(crate) fn make_sub(&self, name: &str) -> Result<bool> {
        let path = self.path.join(name);
        match Here::pass(Op::MakeDirectory(self.at(name)), || fs::create_dir(&path)) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(Error::io("cannot make the directory", &path, e)),
        }
    }

    pub(crate) fn open_read(&self, name: &str, _names: Names) -> Result<File> {
        self.open_file(name, fs::OpenOptions::new().read(true))
    }

    pub(crate) fn open_write(&self, name: &str) -> Result<File> {
        self.open_file(name, fs::OpenOptions::new().read(true).write(true))
    }

    fn open_file(&self, name: &str, options: &fs::OpenOptions) -> Result<File> {
        let path = self.path.join(name);
        // Asked before the open, for opening a fifo would hang; a swap in between is the weakness named above.
        let meta = fs::symlink_metadata(&path).map_err(|e| Error::io("cannot open", &path, e))?;
        if meta.is_symlink() {
            return Err(refused(&path, "is a symbolic link"));
        }
        if !meta.is_file() {
            return Err(refused(&path, "is not a regular file"));
        }
        match options.open(&path) {
            Ok(file) => Ok(File::new(file, path)),
            Err(e) => Err(Error::io("cannot open", &path, e)),
        }
    }

    pub(crate) fn create(&self, name: &str) -> Result<File> {
        let path = self.path.join(name);
        let create = || fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        match Here::pass(Op::Create(self.at(name)), create) {
            Ok(file) => Ok(File::new(file, path)),
            Err(e) => Err(Error::io("cannot create", &path, e)),
        }
    }

    pub(crate) fn exists(&self, name: &str) -> Result<bool> {
        let path = self.path.join(name);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("cannot ask about", &path, e)),
        }
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.rename_into(from, self, to)
    }

    pub(crate) fn rename_into(&self, from: &str, target: &Dir, to: &str) -> Result<()> {
        let path = self.path.join(from);
        let op = Op::Rename { from: self.at(from), to: target.at(to) };
        Here::pass(op, || fs::rename(&path, target.path.join(to)))
            .map_err(|e| Error::io(format!("cannot rename to {to}"), &path, e))
    }

    pub(crate) fn rename_directory(&self, from: &str, to: &str) -> Result<bool> {
        let op = Op::Rename { from: self.at(from), to: self.at(to) };
        match Here::pass(op, || fs::rename(self.path.join(from), self.path.join(to))) {
            Ok(()) => Ok(true),
            Err(_) if self.exists(to)? => Ok(false),
            Err(e) => Err(Error::io(format!("cannot rename to {to}"), &self.path.join(from), e)),
        }
    }

    pub(crate) fn link(&self, from: &str, to: &str) -> Result<bool> {
        let op = Op::Link { from: self.at(from), to: self.at(to) };
        match Here::pass(op, || fs::hard_link(self.path.join(from), self.path.join(to))) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(Error::io(format!("cannot link to {to}"), &self.path.join(from), e))
            }
            Err(_) => Ok(false),
        }
    }

    pub(crate) fn symlink(&self, target: &str, name: &str) -> Result<bool> {
        let op = Op::Symlink { at: self.at(name), target };
        match Here::pass(op, || make_symlink(target, &self.path.join(name))) {
            Ok(()) => Ok(true),
            Err(e) if matches!(e.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
                Ok(false)
            }
            Err(e) => Err(Error::io("cannot make the link", &self.path.join(name), e)),
        }
    }

    pub(crate) fn read_link(&self, name: &str) -> Result<Option<String>> {
        let path = self.path.join(name);
        match fs::read_link(&path) {
            Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => Ok(None),
            Err(e) => Err(Error::io("cannot read the link", &path, e)),
        }
    }

    pub(crate) fn remove(&self, name: &str) -> Result<bool> {
        let remove = || fs::remove_file(self.path.join(name));
        self.removed(name, Here::pass(Op::Remove(self.at(name)), remove))
    }

    pub(crate) fn remove_directory(&self, name: &str) -> Result<bool> {
        let remove = || fs::remove_dir(self.path.join(name));
        self.removed(name, Here::pass(Op::Remove(self.at(name)), remove))
    }

    fn removed(&self, name: &str, result: io::Result<()>) -> Result<bool> {
        match result {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("cannot remove", &self.path.join(name), e)),
        }
    }

    pub(crate) fn remove_tree(&self, name: &str) -> Result<bool> {
        self.removed(name, Here::pass(Op::Remove(self.at(name)), || fs::remove_dir_all(self.path.join(name))))
    }

    /// Systems that cannot open a directory as a file write its entries through; the others sync it.
    pub(crate) fn sync(&self) -> Result<()> {
        match fs::File::open(&self.path) {
            Ok(dir) => Here::pass(Op::SyncDirectory(self.at("")), || dir.sync_all())
                .map_err(|e| Error::io("cannot sync the directory", &self.path, e)),
            Err(_) if cfg!(not(unix)) => Ok(()),
            Err(e) => Err(Error::io("cannot sync the directory", &self.path, e)),
        }
    }

    pub(crate) fn names(&self) -> Result<Vec<String>> {
        Ok(self.all_names()?.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    pub(crate) fn all_names(&self) -> Result<Vec<OsString>> {
        let failed = |e| Error::io("cannot list", &self.path, e);
        let entries = fs::read_dir(&self.path).map_err(failed)?;
        entries.map(|entry| Ok(entry.map_err(failed)?.file_name())).collect()
    }
}

#[cfg(unix)]
use std::os::unix::fs::symlink as make_symlink;

/// Elsewhere a link may take privileges that a user does not have.
#[cfg(not(unix))]
fn make_symlink(_target: &str, _path: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn refused(path: &Path, what: &str) -> Error {
    Error::new(Kind::UnsafeFile, format!("refused: it {what}"))
        .at(path)
        .advise("tallyfold opens only regular files and directories that it made; move this one away")
}

/// A file has one position, and std alone cannot read at another: so seek and read happen under one lock.
static POSITION: PerProcess<Mutex<()>> = PerProcess::new();

pub(super) fn read_at(mut file: &fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let _position = POSITION.get(Mutex::default).lock().unwrap_or_else(|e| e.into_inner());
    file.seek(SeekFrom::Start(offset))?;
    file.read(buffer)
}

pub(super) fn write_at(mut file: &fs::File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    let _position = POSITION.get(Mutex::default).lock().unwrap_or_else(|e| e.into_inner());
    file.seek(SeekFrom::Start(offset))?;
    file.write(bytes)
}

/// Where nothing is mapped for writing it does not matter.
pub(crate) fn page_size() -> u64 {
    4096
}

/// std reserves nothing.
pub(super) fn allocate(_file: &fs::File, _len: u64) -> io::Result<bool> {
    Ok(false)
}

/// std gives nothing back.
pub(super) fn punch(_file: &std::fs::File, _offset: u64, _len: u64) {}

/// std cannot tell: everything up to the end may be data.
pub(super) fn next_data(file: &fs::File, offset: u64) -> io::Result<Option<u64>> {
    Ok((offset < file.metadata()?.len()).then_some(offset))
}
