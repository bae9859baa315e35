//! Waiting for a word of shared memory to change: futex(2), between processes.

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
