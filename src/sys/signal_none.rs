//! The face of `signal_unix.rs` where there is no such signal.

/// There is nothing to ignore here.
pub fn ignore_file_size_signal() {}
