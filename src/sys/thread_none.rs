//! The face of `thread_unix.rs` where threads take no signals.

/// Starts a thread. `false`: the system gives none.
pub(crate) fn spawn_quietly(name: &str, act: impl FnOnce() + Send + 'static) -> bool {
    std::thread::Builder::new().name(name.into()).spawn(act).is_ok()
}

/// Nothing is called when the process exits: an exit is as a death is.
pub(crate) fn at_exit(_act: extern "C" fn()) {}
