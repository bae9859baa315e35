//! The wall clock in tests: as it is, and set forward or back.

use std::sync::atomic::{AtomicI64, Ordering};

static AHEAD_US: AtomicI64 = AtomicI64::new(0);

/// Sets the clock of this process, for all of its threads, ahead of the real one. So it is for a forked child to do.
#[cfg(unix)]
pub(crate) fn set_clock(ahead_us: i64) {
    AHEAD_US.store(ahead_us, Ordering::Relaxed);
}

/// See `clock_unix.rs`.
pub(crate) fn wall_clock_us() -> i64 {
    super::clock::wall_clock_us().saturating_add(AHEAD_US.load(Ordering::Relaxed))
}
