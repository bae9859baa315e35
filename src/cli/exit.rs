//! How a command ends: the exit codes, in one place.

use std::io;

/// Everything went well.
pub(crate) const OK: u8 = 0;
/// Something failed; the message says what.
pub(crate) const FAILURE: u8 = 1;
/// The command line could not be understood (clap's own code).
pub(crate) const USAGE: u8 = 2;
/// The store, cohort or key does not exist.
pub(crate) const NOT_FOUND: u8 = 3;
/// The lock was not had in time.
pub(crate) const LOCK_TIMEOUT: u8 = 4;
/// Something is damaged.
pub(crate) const CORRUPTION: u8 = 5;
/// Repaired, and something was lost.
pub(crate) const REPAIRED_WITH_LOSS: u8 = 6;
/// An expectation did not hold, or settings differ.
pub(crate) const CONFLICT: u8 = 7;
/// The file system does not give the guarantees that many writers need.
pub(crate) const UNSAFE_FILE_SYSTEM: u8 = 8;
/// Ended by Ctrl-C: 128 and the number of the signal, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }
}

impl From<tallyfold::Error> for Failure {
    fn from(e: tallyfold::Error) -> Failure {
        let code = match () {
            () if e.is_not_found() => NOT_FOUND,
            () if e.is_lock_timeout() => LOCK_TIMEOUT,
            () if e.is_corruption() => CORRUPTION,
            () if e.is_conflict() => CONFLICT,
            () if e.is_unsafe_file_system() => UNSAFE_FILE_SYSTEM,
            () => FAILURE,
        };
        Failure::new(code, e.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Failure {
        // Whoever read our output has seen enough: that is no failure.
        let code = if e.kind() == io::ErrorKind::BrokenPipe { OK } else { FAILURE };
        Failure::new(code, e.to_string())
    }
}
