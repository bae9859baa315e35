//! Numbers that processes of the command share, in a file outside of any store.

use std::fs::OpenOptions;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};

use super::File;
use crate::error::{Error, Result};

/// Atomic numbers, 0 at first. What a process has stored is there for the others at once, and stays if it is killed the moment
/// after: so a note costs a store, and no call to the kernel.
#[derive(Debug)]
pub struct SharedNumbers {
    map: MmapRaw,
}

impl SharedNumbers {
    /// Makes a file of so many numbers, on a local file system, with its space reserved where that can be.
    ///
    /// # Errors
    /// If there is such a file already, or it cannot be made.
    pub fn make(path: &Path, count: usize) -> Result<SharedNumbers> {
        let len = (count as u64).saturating_mul(size_of::<AtomicU64>() as u64);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = File::new(file.map_err(|e| Error::io("cannot make", path, e))?, path.to_path_buf());
        if !file.allocate(len)? {
            file.inner().set_len(len).map_err(|e| Error::io("cannot make room in", path, e))?;
        }
        SharedNumbers::of(&file)
    }

    /// Those that another process has made.
    ///
    /// # Errors
    /// If the file is not there or cannot be opened.
    pub fn open(path: &Path) -> Result<SharedNumbers> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        SharedNumbers::of(&File::new(
            file.map_err(|e| Error::io("cannot open", path, e))?,
            path.to_path_buf(),
        ))
    }

    fn of(file: &File) -> Result<SharedNumbers> {
        let map = MmapOptions::new()
            .map_raw(file.inner())
            .map_err(|e| Error::io("cannot map for writing", file.path(), e))?;
        Ok(SharedNumbers { map })
    }
}

impl Deref for SharedNumbers {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        let count = self.map.len() / size_of::<AtomicU64>();
        // SAFETY: the mapping begins at a page, is that long, and lives as long as `self`. All that touch it take it for atomics,
        // for which any bytes are valid. Nobody shortens the file: its directory is its makers' own.
        unsafe { std::slice::from_raw_parts(self.map.as_mut_ptr().cast::<AtomicU64>(), count) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_one_mapping_stores_is_in_the_other_and_there_is_one_maker() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("numbers");
        assert!(SharedNumbers::open(&path).unwrap_err().is_not_found());
        let made = SharedNumbers::make(&path, 1000).unwrap();
        let opened = SharedNumbers::open(&path).unwrap();
        assert_eq!((made.len(), opened.len()), (1000, 1000));
        assert!(opened.iter().all(|number| number.load(Ordering::Relaxed) == 0));
        made[999].store(7, Ordering::Release);
        assert_eq!(opened[999].load(Ordering::Acquire), 7);
        assert!(SharedNumbers::make(&path, 1).unwrap_err().is_taken());
    }
}
