//! What `word.rs` and `ends.rs` share memory through. `tests/loom` builds those two files with others in the place of these,
//! to try every order in which the steps of several threads can be seen.
#![cfg_attr(
    any(not(target_os = "linux"), tallyfold_portable),
    allow(unused_imports, dead_code, reason = "no lock in a word there")
)]

pub(super) use std::hint::spin_loop;
pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// How many times a waiter looks before it goes to sleep: some microseconds, many times a holder's turn.
pub(super) const SPINS: u32 = 100;
