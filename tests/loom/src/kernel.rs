//! What the kernel does for those who share memory: it puts them to sleep and wakes them, and knows who is dead.
//!
//! A sleep has a time-out, but no check may lean on it: else a lost wake-up would pass for a short sleep. So time is over when
//! a check says so; and after a death for one sleeper, and for who goes to sleep on what the dead one owns. The other sleepers
//! have to be woken.

use std::time::Duration;

use loom::sync::{Condvar, Mutex};

use crate::atomic::{AtomicU32, Ordering, step};
use crate::word::Owner;

/// Of one execution of a check. There is one word in it that anybody sleeps on.
#[derive(Default)]
struct Kernel {
    queue: Mutex<()>,
    sleepers: Condvar,
    /// A bit for each slot whose owner has died.
    dead: loom::sync::atomic::AtomicU32,
}

loom::lazy_static! {
    static ref KERNEL: Kernel = Kernel::default();
}

/// To be called before there is a second thread: who makes a thing later would synchronize with all who come to use it.
pub(crate) fn boot() {
    let _ = &KERNEL.queue;
}

/// Compares and falls asleep at once, as seen by [`wake`].
pub(crate) fn wait(word: &AtomicU32, expected: u32, _timeout: Duration) {
    // The low bits name the slot; see `word.rs`.
    let is_over = || !lives((expected & Owner::SLOTS) - 1, Ordering::Relaxed);
    // Before the mutex, too: who wakes by its own clock has synchronized with nobody.
    if is_over() {
        return;
    }
    let queue = KERNEL.queue.lock().unwrap();
    if word.load(Ordering::Relaxed) == expected && !is_over() {
        drop(KERNEL.sleepers.wait(queue).unwrap());
    }
}

pub(crate) fn wake(_word: &AtomicU32, count: u32) {
    assert_eq!(count, 1);
    step();
    let _queue = KERNEL.queue.lock().unwrap();
    KERNEL.sleepers.notify_one();
}

/// The time of everybody who sleeps is over.
pub(crate) fn time_out() {
    let _queue = KERNEL.queue.lock().unwrap();
    KERNEL.sleepers.notify_all();
}

/// The kernel has stopped the owner of a slot.
pub(crate) fn bury(slot: u32) {
    KERNEL.dead.fetch_or(1 << slot, Ordering::Release);
    let _queue = KERNEL.queue.lock().unwrap();
    KERNEL.sleepers.notify_one();
}

/// Whether the owner of a slot lives: the answer is never out of date. With `Acquire`, all that a dead one has stored is there.
pub(crate) fn lives(slot: u32, ordering: Ordering) -> bool {
    KERNEL.dead.fetch_or(0, ordering) & 1 << slot == 0
}
