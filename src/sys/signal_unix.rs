//! Signals a command wants to see as errors.

/// A write beyond the process's file size limit becomes an error ([`Error::is_no_space`](crate::Error::is_no_space)) instead of
/// death by SIGXFSZ. For programs that own their process, at start; a library must not decide this for its host.
pub fn ignore_file_size_signal() {
    // SAFETY: setting a disposition to SIG_IGN runs no code of ours in signal context.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
