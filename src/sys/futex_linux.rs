//! Waiting for a word of shared memory to change: futex(2), between processes.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rustix::thread::futex::{self, Flags};

/// Sleeps while `word` holds `expected`, at most `timeout`. Wakes early for no reason at times: the caller looks again.
pub(super) fn wait(word: &AtomicU32, expected: u32, timeout: Duration) {
    let timeout = rustix::time::Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // EAGAIN: it holds something else. EINTR, ETIMEDOUT: time to look again. There is no other error for an aligned word.
    let _ = futex::wait(word, Flags::empty(), expected, Some(&timeout));
}

/// Wakes as many of those who sleep on `word` as there are, at most `count`.
pub(super) fn wake(word: &AtomicU32, count: u32) {
    let _ = futex::wake(word, Flags::empty(), count);
}

/// As [`wait`], to be woken only by [`wake_some`] with a bit in common.
pub(super) fn wait_for(word: &AtomicU32, expected: u32, timeout: Duration, bits: NonZeroU32) {
    // This one takes a moment and not a length of time.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let until = Duration::new(now.tv_sec as u64, now.tv_nsec as u32).saturating_add(timeout);
    let until = rustix::time::Timespec {
        tv_sec: i64::try_from(until.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: until.subsec_nanos().into(),
    };
    let _ = futex::wait_bitset(word, Flags::empty(), expected, Some(&until), bits);
}

/// Wakes some of those who sleep on `word` for one of these bits.
pub(super) fn wake_some(word: &AtomicU32, count: u32, bits: NonZeroU32) {
    let _ = futex::wake_bitset(word, Flags::empty(), count, bits);
}
