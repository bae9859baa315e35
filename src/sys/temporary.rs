//! A temporary file beside the one that it will replace.
//!
//! It is locked (`flock`) as long as its process writes it. So who finds one that can be locked knows that its writer is dead.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::fork::Kept;
use super::plain::{Target, at, is_at, lock_at_once, refused, remove};
use super::seam::{Bytes, Op, Seam};
use super::seam_here::Here;
use super::{Dir, plain_here, random_u64};
use crate::error::{Error, Kind, Result};

/// See the module. Dropped before it is published, it is removed; in a forked child it is left alone.
pub(crate) struct Temporary {
    kept: Kept,
    path: PathBuf,
    written: u64,
    published: bool,
}

/// How often a name may be taken, or its file be removed before it is locked.
const TRIES: u32 = 100;

impl Temporary {
    /// Makes a new file in the directory of `target`, under a name that `name` makes of a random number. If it will replace a
    /// file it is for this user alone until it does; else the umask says who may read it.
    pub(crate) fn make(target: &Target, name: impl Fn(u64) -> OsString) -> Result<Temporary> {
        for _ in 0..TRIES {
            let path = target.path.with_file_name(name(random_u64()));
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true);
            if target.meta.is_some() {
                plain_here::private(&mut options);
            }
            let file = match Here::pass(Op::Create(at(&path)), || options.open(&path)) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(failed("cannot make a temporary file", &path, e)),
            };
            // A child that is forked before this line keeps the lock for as long as it lives: then what is left of this file, should
            // its writer die, is removed later. No more depends on it.
            let temporary = Temporary { kept: Kept::new(file), path, written: 0, published: false };
            super::reached("temporary file made");
            // Where there are no locks nobody who looks for leftovers gets one either.
            if temporary
                .file()
                .is_ok_and(|file| lock_at_once(file).unwrap_or(true) && temporary.is_there(file))
            {
                return Ok(temporary);
            }
            // Somebody has taken it for a leftover in the moment before it was locked.
        }
        Err(Error::new(Kind::Io, "no temporary file can be made: each name is taken")
            .at(target.directory())
            .advise("see what is in that directory, and who removes files there"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self) -> Result<&fs::File> {
        self.kept.file().ok_or_else(|| {
            Error::new(Kind::Io, "this file was begun before a fork; only the parent can end it")
                .at(&self.path)
        })
    }

    fn is_there(&self, file: &fs::File) -> bool {
        is_at(file, &self.path).unwrap_or(false)
    }

    /// The time that the file system put on this file: its own clock.
    pub(crate) fn made_at(&self) -> Option<SystemTime> {
        self.file().ok()?.metadata().ok()?.modified().ok()
    }

    /// Writes all of `bytes` behind what was written before.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let to = Bytes { file: self.file()?, path: &self.path, offset: self.written };
            match Here::write(to, bytes, |bytes| super::dir::write_at(to.file, bytes, to.offset)) {
                Ok(0) => return Err(failed("cannot write", &self.path, io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    self.written += n as u64;
                    bytes = &bytes[n..];
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(failed("cannot write", &self.path, e)),
            }
        }
        Ok(())
    }

    /// Gives the file the mode and owner of the one that it will replace, and has it reach the medium if it is to be durable.
    pub(crate) fn settle(&self, target: &Target, durable: bool) -> Result<()> {
        let mine = self.file()?;
        // Who was given the path may have put another file there.
        let another = if self.is_there(mine) { None } else { Some(self.open_again()?) };
        let file = another.as_ref().unwrap_or(mine);
        if let Some(meta) = &target.meta {
            plain_here::keep_mode(file, meta)
                .map_err(|e| failed("cannot set the mode of the replaced file on", &self.path, e))?;
        }
        if durable {
            Here::pass(Op::Sync { file, path: &self.path }, || file.sync_all())
                .map_err(|e| failed("cannot sync", &self.path, e))?;
        }
        Ok(())
    }

    fn open_again(&self) -> Result<fs::File> {
        let mut options = OpenOptions::new();
        plain_here::without_following(options.read(true));
        let open = |e| failed("the temporary file is gone: cannot open", &self.path, e);
        let file = options.open(&self.path).map_err(open)?;
        if file.metadata().map_err(open)?.is_file() {
            Ok(file)
        } else {
            Err(refused(&self.path, "is not a regular file", "write a file to the path given"))
        }
    }

    /// Gives the settled file the name of its target, atomically.
    pub(crate) fn publish(mut self, target: &Target, durable: bool) -> Result<()> {
        self.file()?;
        let op = Op::Rename { from: at(&self.path), to: at(&target.path) };
        Here::pass(op, || fs::rename(&self.path, &target.path))
            .map_err(|e| failed("cannot replace the file by its temporary one", &target.path, e))?;
        self.published = true;
        if durable {
            let synced = Dir::open(target.directory()).and_then(|directory| directory.sync());
            synced.map_err(|e| {
                let what =
                    "the file is written and in its place; whether that survives a power cut is not known";
                e.become_kind(Kind::DurabilityUnknown, what)
            })?;
        }
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.published && self.kept.file().is_some() {
            // What cannot be removed now is a leftover, which somebody removes later.
            let _ = remove(&self.path);
        }
    }
}

fn failed(what: &str, path: &Path, source: io::Error) -> Error {
    let error = Error::io(what, path, source);
    if error.is_no_space() {
        return error.advise("make room (or raise the limit) and try again; the file is as it was");
    }
    error
}
