//! A thread that stays out of its host's way, and a last word before the process ends.

use std::sync::atomic::{AtomicBool, Ordering};

/// Starts a thread that takes none of the process's signals. `false`: the system gives no thread.
pub(crate) fn spawn_quietly(name: &str, act: impl FnOnce() + Send + 'static) -> bool {
    // SAFETY: both sets are ours and are written before they are read; a new thread inherits the mask of this one, which gets
    // its own back.
    unsafe {
        let mut all = std::mem::zeroed();
        let mut before = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let spawned = std::thread::Builder::new().name(name.into()).spawn(act);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        spawned.is_ok()
    }
}

/// Has `act` called when the process exits, other than by a signal. Only the first call counts.
pub(crate) fn at_exit(act: extern "C" fn()) {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::AcqRel) {
        // SAFETY: a function lives as long as the program. Without memory for it exits are as deaths are.
        unsafe { libc::atexit(act) };
    }
}
