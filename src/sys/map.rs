//! A snapshot in memory: mapped where that is safe, read where it is not.

use std::ops::Deref;

use super::{File, Reach};
use crate::error::{Error, Result};

/// The bytes of an immutable file.
#[derive(Debug)]
pub(crate) enum Mapping {
    Mapped(memmap2::Mmap),
    Read(Vec<u8>),
}

impl Mapping {
    /// Maps a snapshot. Over a network another host may remove the file and the page fault would kill the process, so there it
    /// is read instead.
    pub(crate) fn snapshot(file: &File, reach: Reach) -> Result<Mapping> {
        if reach == Reach::Network || file.len()? == 0 {
            return Ok(Mapping::Read(file.read_all(isize::MAX as u64)?));
        }
        // SAFETY: the bytes behind a mapping must not change or go away. A snapshot is written under a temporary name, synced,
        // and only then given its own; from then on it is replaced by rename and removed, never written or shortened, and a
        // mapping keeps the inode alive. Somebody who edits the file in place breaks this promise for himself: the CRCs catch
        // a change before the check, and JSON is parsed with bounds, so the worst is a wrong value or SIGBUS.
        let map = unsafe { memmap2::Mmap::map(file.inner()) };
        map.map(Mapping::Mapped).map_err(|e| Error::io("cannot map", file.path(), e))
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Mapping::Mapped(map) => map,
            Mapping::Read(bytes) => bytes,
        }
    }
}
