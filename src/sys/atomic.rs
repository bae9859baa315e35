//! The atomics of the shared-memory protocols: the processor's, or those of the model checker.

#[cfg(not(loom))]
pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// One turn of a loop that waits for another processor.
#[cfg(not(loom))]
pub(super) fn spin() {
    std::hint::spin_loop();
}

#[cfg(loom)]
pub(super) fn spin() {
    loom::thread::yield_now();
}
