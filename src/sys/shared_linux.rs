//! Memory that processes share and write: the active segment, and `control`.

use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use super::File;
use crate::error::{Error, Result};

/// A window on a file through which frames go out without a call to the kernel.
#[derive(Debug)]
pub(crate) struct Window {
    map: MmapRaw,
    /// Up to where pages have been made present.
    populated: AtomicUsize,
    /// How many bytes were made present the last time.
    run: AtomicUsize,
}

impl Window {
    /// Maps the first `len` bytes of a file. The file may be shorter and grow into the window later (Linux does that): what
    /// lies behind its end must not be touched, for that is SIGBUS.
    pub(crate) fn open(file: &File, len: u64) -> Result<Option<Window>> {
        let Some(len) = usize::try_from(len).ok().filter(|len| *len > 0) else { return Ok(None) };
        let map = MmapOptions::new()
            .len(len)
            .map_raw(file.inner())
            .map_err(|e| Error::io("cannot map for writing", file.path(), e))?;
        Ok(Some(Window { map, populated: AtomicUsize::new(0), run: AtomicUsize::new(0) }))
    }

    pub(crate) fn len(&self) -> u64 {
        self.map.len() as u64
    }

    /// Copies `parts`, one behind the other, to `offset`. The bytes must lie inside the window and inside the file.
    #[inline]
    pub(super) fn write(&self, parts: [&[u8]; 2], offset: u64) {
        let mut at = offset as usize;
        for part in parts {
            assert!(
                at <= self.map.len() && part.len() <= self.map.len() - at,
                "a write outside of its window"
            );
            // SAFETY: the destination is inside the mapping (asserted), which lives as long as `self`, and does not overlap a
            // slice of this process: `part` is memory of its own, and nobody makes slices of a segment behind the tail. Who
            // calls this owns the append lock, so nobody else writes there; other processes that read there check CRCs and
            // know that it may be changing. That the file is as long as that, and its space reserved, is what
            // `Segment::has_room` was asked; files of the journal are never shortened.
            unsafe {
                std::ptr::copy_nonoverlapping(part.as_ptr(), self.map.as_mut_ptr().add(at), part.len())
            };
            at += part.len();
        }
    }

    /// Makes pages present from `from` or where they are missing on, and not beyond `to`, so that no fault happens under the
    /// lock. Best effort: older kernels cannot.
    pub(crate) fn populate(&self, from: u64, to: u64) {
        const PAGE: usize = 4096;
        let from = self.populated.load(Ordering::Relaxed).max(from as usize) / PAGE * PAGE;
        let to = (to as usize).min(self.map.len());
        if from < to {
            // SAFETY: the range lies inside the mapping and begins at a page; populating changes no byte. Behind the end of the
            // file it ends with an error and without a signal.
            unsafe {
                libc::madvise(self.map.as_mut_ptr().add(from).cast(), to - from, libc::MADV_POPULATE_WRITE);
            }
            self.populated.fetch_max(to, Ordering::Relaxed);
            self.run.store(to - from, Ordering::Relaxed);
        }
    }

    /// Up to where pages have been made present.
    pub(crate) fn populated(&self) -> u64 {
        self.populated.load(Ordering::Relaxed) as u64
    }

    /// How many bytes were made present the last time.
    pub(crate) fn run(&self) -> u64 {
        self.run.load(Ordering::Relaxed) as u64
    }
}
