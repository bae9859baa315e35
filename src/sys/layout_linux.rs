//! What stands in `control`, and how it is made anew.
//!
//! Everything in it is an atomic, so a process that scribbles over it can make others fail, but not misbehave in Rust's sense.
//! Who may change what stands at each field.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};

use super::counters::Counts;
use super::ends::{End, Ends};
use super::slots::{SLOTS, Slot};
use super::word::Word;
use super::{Dir, File, LockFile, boot_id, wall_clock_us};
use crate::error::{Error, Kind, Result};
use crate::names;

pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"TALLYCTL");
/// Of this layout. Another one is rebuilt by whoever is alone, and refused by the others.
pub(super) const VERSION: u32 = 2;
pub(super) const SIZE: u64 = size_of::<Layout>() as u64;

#[repr(C, align(128))]
pub(super) struct Lines<T>(pub(super) T);

#[repr(C)]
pub(super) struct Layout {
    pub(super) identity: Lines<Identity>,
    pub(super) append: Lines<Append>,
    pub(super) durability: Lines<Durability>,
    pub(super) ready: Lines<Ready>,
    pub(super) slots: Lines<[Slot; SLOTS as usize]>,
    /// See there for who writes what. Behind all else: no line of it is one that appends wait for.
    pub(super) counts: Counts,
}

/// Whose control this is. Written by who is alone with the cohort (has the exclusive lock on `lock`), before `ready`.
#[repr(C)]
pub(super) struct Identity {
    pub(super) magic: AtomicU64,
    pub(super) version: AtomicU32,
    pub(super) ready: AtomicU32,
    /// A control of another start of the system describes memory that is gone.
    pub(super) boot: [AtomicU64; 2],
    /// A copy of the directory is another cohort.
    pub(super) control_inode: AtomicU64,
    pub(super) lock_inode: AtomicU64,
    pub(super) device: AtomicU64,
}

/// Written by the owner of the append lock; `ends` is read by everybody.
#[repr(C)]
pub(super) struct Append {
    pub(super) lock: Word,
    pub(super) ends: Ends,
}

/// Written by the owner of the sync lock unless said otherwise.
#[repr(C)]
pub(super) struct Durability {
    pub(super) lock: Word,
    /// 1 from before a sync until its result is here: a result that is missing counts as a failure.
    pub(super) syncing: AtomicU32,
    /// 1 after a sync has failed. Set by who was told; cleared by the owner of both locks who has moved the records.
    pub(super) poisoned: AtomicU32,
    /// Counts the syncs; who waits for one sleeps on it.
    pub(super) rounds: AtomicU32,
    /// How many sleep there. A hint, too high once a sleeper is killed: then waking costs a call for nothing.
    pub(super) sleepers: AtomicU32,
    /// Everything up to this seq is durable. Only rises.
    pub(super) durable_seq: AtomicU64,
    /// Segments before this one are durable.
    pub(super) unsynced_from: AtomicU64,
    /// The highest durable seq that a frame or link says. Written by the owner of the append lock.
    pub(super) said_seq: AtomicU64,
    /// The highest seq that the running sync makes durable; written before it begins.
    pub(super) syncing_to: AtomicU64,
    /// When the last sync that went well began, in milliseconds of CLOCK_MONOTONIC; 0: none has. A hint.
    pub(super) synced_at: AtomicU64,
}

/// What was made ready outside the append lock.
#[repr(C)]
pub(super) struct Ready {
    /// Held by the one process that makes a spare or reserves space.
    pub(super) lock: Word,
    /// The spare's number, on the medium with its name; 0: none. Written by the owner of the lock above, and of the append lock.
    pub(super) spare: AtomicU64,
}

/// A cohort's control in this process's memory, which may be a read-only mapping.
pub(super) struct Mapped {
    map: MmapRaw,
}

// SAFETY: the memory is atomics only; see `layout`.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    pub(super) fn layout(&self) -> &Layout {
        // SAFETY: the mapping is as long as Layout (checked when it was made), aligned to a page, and lives as long as
        // `self`. Every field is an atomic, valid for any bits and for changes by other processes. The file keeps its length:
        // control is never shortened, only unlinked.
        unsafe { &*self.map.as_ptr().cast::<Layout>() }
    }
}

/// Makes `control` anew, alone with the cohort: it knows nothing of the journal. If a sync had failed, or has an unknown result,
/// in what stood there before, `doubt` says so elsewhere first: for should that fail, or we die over it, it stands here still.
pub(crate) fn prepare(dir: &Dir, lock: &LockFile, doubt: impl FnOnce() -> Result<()>) -> Result<()> {
    let file = match dir.open_write(names::CONTROL) {
        Ok(file) if file.len()? == SIZE => file,
        Ok(_) => {
            dir.remove(names::CONTROL)?;
            create(dir)?
        }
        Err(e) if e.is_not_found() => create(dir)?,
        Err(e) => return Err(e),
    };
    let mapped = map(&file)?;
    let layout = mapped.layout();
    let identity = &layout.identity.0;
    let (device, control_inode) = file.identity()?;
    let (_, lock_inode) = lock.identity()?;
    let boot = boot_id();
    let same = is_same(identity, boot, [control_inode, lock_inode, device]);
    let (append, sync) = (&layout.append.0, &layout.durability.0);
    if same && (sync.poisoned.load(Ordering::Relaxed) | sync.syncing.load(Ordering::Relaxed)) != 0 {
        doubt()?;
    }
    identity.ready.store(0, Ordering::Release);
    append.lock.reset();
    append.ends.publish(&End::default());
    append.ends.begin();
    sync.lock.reset();
    layout.ready.0.lock.reset();
    for word in [&sync.syncing, &sync.poisoned, &sync.rounds, &sync.sleepers] {
        word.store(0, Ordering::Relaxed);
    }
    for number in [
        &sync.durable_seq,
        &sync.unsynced_from,
        &sync.said_seq,
        &sync.syncing_to,
        &sync.synced_at,
        &layout.ready.0.spare,
    ] {
        number.store(0, Ordering::Relaxed);
    }
    // What was counted here stays counted.
    if !same {
        layout.counts.reset(wall_clock_us());
    }
    identity.version.store(VERSION, Ordering::Relaxed);
    for (word, bytes) in identity.boot.iter().zip(boot.as_chunks::<8>().0) {
        word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
    }
    identity.control_inode.store(control_inode, Ordering::Relaxed);
    identity.lock_inode.store(lock_inode, Ordering::Relaxed);
    identity.device.store(device, Ordering::Relaxed);
    identity.magic.store(MAGIC, Ordering::Relaxed);
    identity.ready.store(1, Ordering::Release);
    Ok(())
}

/// Whether what stands there was made for this directory, in this layout and this start of the system.
pub(super) fn is_same(identity: &Identity, boot: [u8; 16], inodes_and_device: [u64; 3]) -> bool {
    // A relaxed load and a fence, for a reader's mapping may be read-only: there Rust allows no other load of an atomic.
    let ready = identity.ready.load(Ordering::Relaxed) == 1;
    fence(Ordering::Acquire);
    let known = [&identity.control_inode, &identity.lock_inode, &identity.device];
    ready
        && identity.magic.load(Ordering::Relaxed) == MAGIC
        && identity.version.load(Ordering::Relaxed) == VERSION
        && boot != [0; 16]
        && is_boot(identity, boot)
        && known.map(|number| number.load(Ordering::Relaxed)) == inodes_and_device
}

/// Makes a copied control one of this directory: then it is what a dead process has left here.
#[cfg(test)]
pub(super) fn adopt(dir: &Dir) -> Result<()> {
    let file = match dir.open_write(names::CONTROL) {
        Ok(file) if file.len()? == SIZE => file,
        _ => return Ok(()),
    };
    let mapped = map(&file)?;
    let identity = &mapped.layout().identity.0;
    let (device, control_inode) = file.identity()?;
    let (_, lock_inode) = dir.open_write(names::LOCK)?.identity()?;
    identity.control_inode.store(control_inode, Ordering::Relaxed);
    identity.lock_inode.store(lock_inode, Ordering::Relaxed);
    identity.device.store(device, Ordering::Relaxed);
    Ok(())
}

pub(super) fn create(dir: &Dir) -> Result<File> {
    let file = dir.create(names::CONTROL)?;
    // Reserved, because a store into a hole of a full disk would be SIGBUS.
    if file.allocate(SIZE)? {
        return Ok(file);
    }
    let _ = dir.remove(names::CONTROL);
    Err(Error::new(Kind::UnsafeFileSystem, "refused: the file system reserves no space for shared memory")
        .at(file.path())
        .advise("make the cohort with \"lock\": \"file\""))
}

pub(super) fn map(file: &File) -> Result<Mapped> {
    let map = MmapOptions::new()
        .len(size_of::<Layout>())
        .map_raw(file.inner())
        .map_err(|e| Error::io("cannot map", file.path(), e))?;
    Ok(Mapped { map })
}

/// Maps it for one who changes nothing. Only relaxed loads are allowed there.
pub(super) fn map_read_only(file: &File) -> Result<Mapped> {
    let map = MmapOptions::new()
        .len(size_of::<Layout>())
        .map_raw_read_only(file.inner())
        .map_err(|e| Error::io("cannot map", file.path(), e))?;
    Ok(Mapped { map })
}

pub(super) fn is_boot(identity: &Identity, boot: [u8; 16]) -> bool {
    let mut words = identity.boot.iter().zip(boot.as_chunks::<8>().0);
    words.all(|(word, bytes)| word.load(Ordering::Relaxed) == u64::from_le_bytes(*bytes))
}
