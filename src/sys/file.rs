//! One open file: positioned reads and writes, allocation, syncs. It is never shortened.

use std::io;
use std::path::{Path, PathBuf};

use super::seam::{Bytes, Op, Seam};
use super::seam_here::Here;
use super::{Window, dir};
use crate::error::{Error, Result};

/// A regular file opened through [`Dir`](super::Dir).
#[derive(Debug)]
pub(crate) struct File {
    inner: std::fs::File,
    path: PathBuf,
}

/// A write that stopped: how many bytes reached the file before it did. The caller must zero them or leave them as a torn tail.
#[derive(Debug)]
pub(crate) struct ShortWrite {
    pub(crate) written: usize,
    pub(crate) error: Error,
}

impl File {
    pub(super) fn new(inner: std::fs::File, path: PathBuf) -> File {
        File { inner, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its name has become another one.
    pub(crate) fn renamed(&mut self, path: PathBuf) {
        self.path = path;
    }

    pub(super) fn inner(&self) -> &std::fs::File {
        &self.inner
    }

    pub(super) fn into_inner(self) -> std::fs::File {
        self.inner
    }

    /// Bytes from the beginning to the end of the file, allocated or not.
    pub(crate) fn len(&self) -> Result<u64> {
        self.inner
            .metadata()
            .map(|m| m.len())
            .map_err(|e| Error::io("cannot ask for the length", &self.path, e))
    }

    /// Device and inode.
    #[cfg(unix)]
    #[cfg_attr(
        any(not(target_os = "linux"), tallyfold_portable),
        allow(dead_code, reason = "for the class memory")
    )]
    pub(crate) fn identity(&self) -> Result<(u64, u64)> {
        use std::os::unix::fs::MetadataExt;
        let meta = self.inner.metadata().map_err(|e| Error::io("cannot ask about", &self.path, e))?;
        Ok((meta.dev(), meta.ino()))
    }

    /// Fills `buffer` from `offset`; fewer bytes only at the end of the file.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match dir::read_at(&self.inner, &mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("cannot read", &self.path, e).at_offset(offset)),
            }
        }
        Ok(read)
    }

    /// The whole file, up to `limit` bytes.
    pub(crate) fn read_all(&self, limit: u64) -> Result<Vec<u8>> {
        let len = self.len()?;
        if len > limit {
            return Err(
                Error::corruption(format!("{len} bytes, at most {limit} are expected")).at(&self.path)
            );
        }
        // The length is within the limit, so it fits a usize wherever the limit does.
        let mut bytes = vec![0; len as usize];
        let read = self.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Writes all of `bytes` at `offset`, or says how many of them got there.
    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> std::result::Result<(), ShortWrite> {
        let mut written = 0;
        while written < bytes.len() {
            let (rest, at) = (&bytes[written..], offset + written as u64);
            let error = match Here::write(self.bytes(at), rest, |rest| dir::write_at(&self.inner, rest, at)) {
                Ok(0) => io::Error::from(io::ErrorKind::WriteZero),
                Ok(n) => {
                    written += n;
                    continue;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => e,
            };
            return Err(ShortWrite {
                written,
                error: Error::io("cannot write", &self.path, error).at_offset(offset),
            });
        }
        Ok(())
    }

    /// Stores `parts`, one behind the other, through a window on this file. See [`Window::write`].
    #[inline]
    pub(crate) fn store(&self, window: &Window, parts: [&[u8]; 2], offset: u64) {
        Here::store(self.bytes(offset), parts, || window.write(parts, offset));
    }

    fn bytes(&self, offset: u64) -> Bytes<'_> {
        Bytes { file: &self.inner, path: &self.path, offset }
    }

    /// Reserves disk space up to `len`, growing the file with zeros. `false`: this file system promises nothing, and a write
    /// past the end will have to allocate.
    pub(crate) fn allocate(&self, len: u64) -> Result<bool> {
        let op = Op::Allocate { file: &self.inner, path: &self.path };
        loop {
            return match Here::pass(op, || dir::allocate(&self.inner, len)) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(|e| Error::io(format!("cannot reserve {len} bytes"), &self.path, e)),
            };
        }
    }

    /// Reserves space for the holes in what the file has of length, if there are any.
    #[cfg(unix)]
    pub(crate) fn fill_holes(&self) -> Result<()> {
        use std::os::unix::fs::MetadataExt;
        let meta = self.inner.metadata().map_err(|e| Error::io("cannot ask about", &self.path, e))?;
        if meta.blocks() * 512 < meta.len() { self.allocate(meta.len()).map(|_| ()) } else { Ok(()) }
    }

    /// How many bytes of the disk it takes; where that is not told, its length.
    #[cfg(unix)]
    pub(crate) fn allocated(&self) -> Result<u64> {
        use std::os::unix::fs::MetadataExt;
        let meta = self.inner.metadata().map_err(|e| Error::io("cannot ask about", &self.path, e))?;
        Ok(meta.blocks() * 512)
    }

    #[cfg(not(unix))]
    pub(crate) fn allocated(&self) -> Result<u64> {
        self.len()
    }

    /// Gives the space between two offsets back; they read as zeros. The length stays. Best effort: where it cannot be done the
    /// space is given back when the file is removed.
    pub(crate) fn punch(&self, from: u64, to: u64) {
        if from < to {
            let op = Op::Punch { file: &self.inner, path: &self.path, from, to };
            let _ = Here::pass::<(), io::Error>(op, || {
                dir::punch(&self.inner, from, to - from);
                Ok(())
            });
        }
    }

    /// The first offset at or after `offset` where there may be something other than zeros; `None` to the end of the file.
    pub(crate) fn next_data(&self, offset: u64) -> Result<Option<u64>> {
        dir::next_data(&self.inner, offset).map_err(|e| Error::io("cannot look for data", &self.path, e))
    }

    /// Data, and what is needed to find it again, reaches the medium (fdatasync).
    ///
    /// A failure is final for everything written since the last success: the kernel may have marked the lost pages clean, and
    /// the next call would say all is well. Never call it again to find out.
    pub(crate) fn sync_data(&self) -> Result<()> {
        self.sync(|| self.inner.sync_data())
    }

    /// Data and metadata reach the medium (fsync). For files just made; see [`sync_data`](File::sync_data) on failures.
    pub(crate) fn sync_all(&self) -> Result<()> {
        self.sync(|| self.inner.sync_all())
    }

    fn sync(&self, act: impl FnOnce() -> io::Result<()>) -> Result<()> {
        Here::pass(Op::Sync { file: &self.inner, path: &self.path }, act)
            .map_err(|e| Error::io("cannot sync", &self.path, e))
    }
}
