//! Memory that all processes of a storm share: numbers to hand out, what is acknowledged so far, what is counted.

use std::fs::OpenOptions;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::Result;
use crate::act::KEYS;

/// How many forked children a round can have.
const FORKS: usize = 1 << 14;

/// What is going on outside of the store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Run = 0,
    /// The file system has been cut off, or will be in a moment: any error may be met.
    Cut = 1,
    /// Writers finish what they are at, and end.
    End = 2,
}

impl Phase {
    /// Whether a sync that returned before this was asked can be believed. While ext4 cuts itself off it drops what is written
    /// back, and a sync may return without an error until its journal is aborted too: no power cut does that.
    pub fn keeps_syncs(self) -> bool {
        self != Phase::Cut
    }
}

#[repr(C)]
pub struct Layout {
    phase: AtomicU64,
    next_worker: AtomicU64,
    acknowledged: AtomicU64,
    /// For each key the highest acknowledged seq of a record of it.
    keys: [AtomicU64; KEYS],
    forks: AtomicU64,
    forked: [AtomicI32; FORKS],
    pub acks: AtomicU64,
    pub durable_acks: AtomicU64,
    pub checks: AtomicU64,
    pub no_space: AtomicU64,
    pub unknown: AtomicU64,
    pub poisoned: AtomicU64,
    pub failed: AtomicU64,
}

/// The mapped layout. It stays mapped as long as the process lives.
#[derive(Clone, Copy)]
pub struct Board(&'static Layout);

impl Board {
    pub fn open(path: &Path) -> Result<Board> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let len = size_of::<Layout>();
        file.set_len(len as u64)?;
        // SAFETY: a new mapping of an open file; the result is checked.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error().into());
        }
        // SAFETY: page-aligned, as long as the layout, never unmapped, and nobody shortens the file. All fields are atomics, for
        // which any bytes are valid.
        Ok(Board(unsafe { &*at.cast::<Layout>() }))
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            1 => Phase::Cut,
            2 => Phase::End,
            _ => Phase::Run,
        }
    }

    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u64, Ordering::Release);
    }

    /// A number that no worker of this board has had.
    pub fn new_worker(&self) -> u64 {
        self.next_worker.fetch_add(1, Ordering::Relaxed)
    }

    /// A record of a key is acknowledged, after its report is written.
    pub fn acknowledge(&self, key: usize, seq: u64) {
        self.keys[key].fetch_max(seq, Ordering::AcqRel);
        self.acknowledged.fetch_max(seq, Ordering::AcqRel);
    }

    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    pub fn acknowledged_of(&self, key: usize) -> u64 {
        self.keys[key].load(Ordering::Acquire)
    }

    /// After a cut: records that were acknowledged and not durable may be gone.
    pub fn forget_acknowledged(&self) {
        self.acknowledged.store(0, Ordering::Release);
        self.keys.iter().for_each(|key| key.store(0, Ordering::Release));
    }

    /// A forked child names itself.
    pub fn note_fork(&self) {
        let at = self.forks.fetch_add(1, Ordering::Relaxed) as usize;
        if let Some(slot) = self.forked.get(at) {
            slot.store(std::process::id() as i32, Ordering::Release);
        }
    }

    pub fn forks(&self) -> impl Iterator<Item = i32> + '_ {
        let forks = self.forks.load(Ordering::Acquire) as usize;
        self.forked.iter().take(forks).map(|pid| pid.load(Ordering::Acquire)).filter(|pid| *pid > 0)
    }
}

impl Deref for Board {
    type Target = Layout;

    fn deref(&self) -> &Layout {
        self.0
    }
}
