//! Files in memory: mapped where that is safe, read where it is not.
//!
//! What makes a mapping sound is that the bytes behind it stay as they are while somebody may look at them: nobody writes them,
//! and nobody shortens the file, for a look behind its new end would be SIGBUS. tallyfold never shortens a file. Who edits or
//! shortens one by other means breaks this for the readers that have it mapped: CRCs are checked before anything is believed
//! and every length is held against the bytes there are, so the worst is a wrong value, or SIGBUS. A medium that cannot be
//! read any more is SIGBUS too, where a read would be an error.

use std::ops::Deref;

use super::{File, Reach};
use crate::error::{Error, Result};

/// Bytes of a file that do not change.
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
        // SAFETY: see the module. A snapshot is written under a temporary name, synced, and only then given its own; from then
        // on it is replaced by rename and removed, never written or shortened, and a mapping keeps the inode alive.
        let map = unsafe { memmap2::Mmap::map(file.inner()) };
        map.map(Mapping::Mapped).map_err(|e| Error::io("cannot map", file.path(), e))
    }

    /// Maps a part of a segment that is *settled*: its frames are whole and will never be written again. `None` where that
    /// cannot be done, or the file is shorter: then a read tells more. The caller sees to it that the segment is on a file
    /// system of this host.
    pub(crate) fn settled(file: &File, from: u64, len: usize) -> Option<Mapping> {
        if from.checked_add(len as u64)? > file.len().ok()? {
            return None;
        }
        let mut options = memmap2::MmapOptions::new();
        // All of it will be read, so one call brings the pages instead of a fault for each few of them.
        options.offset(from).len(len).populate();
        // SAFETY: see the module. Frames are added behind the settled part, under the append lock, and never written again; a
        // cut overwrites nothing, and what is punched out of a sealed segment lies behind its end. The page that holds the end
        // may be written behind it; the slice ends before. A retired segment is removed, and the mapping keeps the inode.
        unsafe { options.map(file.inner()) }.ok().map(Mapping::Mapped)
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
