//! What a forked child must not share with its parent.
//!
//! A `flock` belongs to the open description, which a fork shares: a child that unlocks drops its parent's lock, and a child
//! that merely keeps the descriptor keeps a dead parent's lock held. So a handler that runs in every forked child closes the
//! descriptors of all lock files and unlocks nothing, and counts the generation up, by which every handle sees that it must
//! attach anew.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering, fence};

use crate::error::Result;

/// Counts the forks between the first ancestor that used tallyfold and this process.
static GENERATION: AtomicU64 = AtomicU64::new(0);
/// All slots ever made, newest first. They are never freed, so the handler may walk them at any moment.
static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());

/// Forks of this process that have begun, and that have ended or failed: equal while no thread forks.
static FORKS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// How often a file is opened again because of a fork meanwhile, at most.
const TRIES: u32 = 1000;

/// Which process of a line of forks this is.
pub(super) fn generation() -> u64 {
    // No `Once`: the child of a fork in the middle of one would wait for ever for a thread that it does not have. Two threads
    // may register the handler twice, which does no harm: what it does can be done twice.
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.load(Ordering::Acquire) {
        // SAFETY: each is an `extern "C" fn` that lives as long as the program and does only what is async-signal-safe (see
        // there). The result can only be ENOMEM; then forks share descriptors, as without a handler.
        unsafe { libc::pthread_atfork(Some(before), Some(after), Some(in_child)) };
        REGISTERED.store(true, Ordering::Release);
    }
    GENERATION.load(Ordering::Acquire)
}

extern "C" fn before() {
    FORKS[0].fetch_add(1, Ordering::SeqCst);
}

extern "C" fn after() {
    FORKS[1].fetch_add(1, Ordering::SeqCst);
}

/// The number of forks that have begun, unless one is going on.
fn forks() -> Option<u64> {
    fence(Ordering::SeqCst);
    let ended = FORKS[1].load(Ordering::SeqCst);
    (FORKS[0].load(Ordering::SeqCst) == ended).then_some(ended)
}

/// Runs in the child, alone: the child has one thread. Only atomics and close(2), for another thread may have held any lock,
/// the allocator's among them, at the moment of the fork.
extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Release);
    FORKS[1].store(FORKS[0].load(Ordering::SeqCst), Ordering::SeqCst);
    let mut slot = SLOTS.load(Ordering::Acquire);
    while !slot.is_null() {
        // SAFETY: slots come from `Box::leak` and are never freed, and `next` is written before a slot is published.
        let s = unsafe { &*slot };
        let fd = s.descriptor.swap(FREE, Ordering::AcqRel);
        if fd != FREE {
            // SAFETY: the slot owned this descriptor in the parent, so the child owns its copy; whoever holds the `Kept` in
            // the child sees another generation and never uses or closes it.
            unsafe { libc::close(fd) };
        }
        slot = s.next;
    }
}

const FREE: i32 = -1;

struct Slot {
    descriptor: AtomicI32,
    next: *mut Slot,
}

/// A file whose descriptor is closed in every forked child.
pub(super) struct Kept {
    file: ManuallyDrop<File>,
    slot: &'static Slot,
    generation: u64,
}

// SAFETY: `next` is written once, before the slot is published by a compare-exchange with release order, and only read after.
unsafe impl Sync for Slot {}
// SAFETY: as for Sync; a slot has no thread of its own.
unsafe impl Send for Slot {}

impl Kept {
    pub(super) fn new(file: File) -> Kept {
        let generation = generation();
        let slot = claim(file.as_raw_fd());
        Kept { file: ManuallyDrop::new(file), slot, generation }
    }

    /// Opens a file that no forked child has a descriptor of: not even one that was forked after the file was opened and before
    /// its descriptor was noted here. Such a child has what was opened then, which nothing was locked through and nothing will
    /// be, and the file is opened again.
    pub(super) fn open(open: impl Fn() -> Result<super::File>) -> Result<Kept> {
        generation();
        let mut tries = 0;
        loop {
            let forks_before = forks();
            let file = open()?;
            super::reached("file to be locked opened");
            let kept = Kept::new(file.into_inner());
            tries += 1;
            if forks_before.is_some() && forks() == forks_before || tries == TRIES {
                return Ok(kept);
            }
            drop(kept);
            std::thread::yield_now();
        }
    }

    /// The file, unless this is a child of the process that opened it: there the descriptor is closed.
    pub(super) fn file(&self) -> Option<&File> {
        (self.generation == generation()).then_some(&*self.file)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // In a child the handler closed the descriptor, and its number may be another file's by now.
        if self.generation == generation() {
            self.slot.descriptor.store(FREE, Ordering::Release);
            // SAFETY: dropped once, here, and not used after.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

/// A free slot for this descriptor, else a new one.
fn claim(fd: i32) -> &'static Slot {
    let mut at = SLOTS.load(Ordering::Acquire);
    while !at.is_null() {
        // SAFETY: as in `in_child`.
        let slot: &'static Slot = unsafe { &*at };
        if slot.descriptor.compare_exchange(FREE, fd, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return slot;
        }
        at = slot.next;
    }
    let slot = Box::leak(Box::new(Slot { descriptor: AtomicI32::new(fd), next: ptr::null_mut() }));
    loop {
        let first = SLOTS.load(Ordering::Acquire);
        slot.next = first;
        if SLOTS.compare_exchange(first, slot, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return slot;
        }
    }
}

/// A value each process of a line of forks has for itself, made when first asked for.
///
/// A child's copy of its parent's value may be in the middle of a change by a thread that the child does not have, so it is
/// neither used nor dropped there: it is left as it is.
pub(crate) struct PerProcess<T> {
    current: AtomicPtr<Entry<T>>,
}

struct Entry<T> {
    generation: u64,
    value: T,
}

// SAFETY: a PerProcess<T> hands out `&T` to any thread and drops the T in any thread: what T must allow for both is Send + Sync.
unsafe impl<T: Send + Sync> Sync for PerProcess<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for PerProcess<T> {}

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess { current: AtomicPtr::new(ptr::null_mut()) }
    }

    pub(crate) fn get(&self, make: impl FnOnce() -> T) -> &T {
        let now = generation();
        let seen = self.current.load(Ordering::Acquire);
        // SAFETY: a non-null pointer came from `Box::into_raw` below, was published with release order, and is freed only by
        // `drop`, which no `&self` outlives.
        if let Some(entry) = unsafe { seen.as_ref() }
            && entry.generation == now
        {
            return &entry.value;
        }
        let fresh = Box::into_raw(Box::new(Entry { generation: now, value: make() }));
        match self.current.compare_exchange(seen, fresh, Ordering::AcqRel, Ordering::Acquire) {
            // What was there belongs to an ancestor: left alone, see above.
            // SAFETY: just made and published; as for `seen`.
            Ok(_) => unsafe { &(*fresh).value },
            Err(other) => {
                // SAFETY: `fresh` was never published, so this is its only owner.
                drop(unsafe { Box::from_raw(fresh) });
                // SAFETY: another thread of this process published it; as for `seen`. It is of this generation, for only a
                // fork changes the generation, and the child of a fork has one thread.
                unsafe { &(*other).value }
            }
        }
    }

    /// The value, if this process has one already.
    pub(crate) fn existing(&self) -> Option<&T> {
        // SAFETY: as for `seen` in `get`.
        let entry = unsafe { self.current.load(Ordering::Acquire).as_ref() }?;
        (entry.generation == generation()).then_some(&entry.value)
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        if self.existing().is_some() {
            // SAFETY: `&mut self`: nobody else has a reference, and the pointer came from `Box::into_raw`.
            drop(unsafe { Box::from_raw(*self.current.get_mut()) });
        }
    }
}
