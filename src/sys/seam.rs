//! The seam: every operation that changes a file or a directory passes here on its way to the system.
//!
//! Outside of tests there is nothing in it. In tests it records what passes, and lets it fail (`seam_testing.rs`). Locks and
//! reads do not pass, nor do stores to `control`, which is never the truth.

use std::fs::File;
use std::io;
use std::path::Path;

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(all(test, unix)), allow(dead_code, reason = "only tests look at what passes"))]
pub(super) struct At<'a> {
    pub(super) dir: &'a Path,
    /// Empty: the directory itself.
    pub(super) name: &'a str,
}

/// What is about to be done.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(all(test, unix)), allow(dead_code, reason = "only tests look at what passes"))]
pub(super) enum Op<'a> {
    Create(At<'a>),
    MakeDirectory(At<'a>),
    Rename {
        from: At<'a>,
        to: At<'a>,
    },
    Link {
        from: At<'a>,
        to: At<'a>,
    },
    /// A symbolic link: nothing of ours is ever reached through one.
    Symlink {
        at: At<'a>,
        target: &'a str,
    },
    Remove(At<'a>),
    SyncDirectory(At<'a>),
    Allocate {
        file: &'a File,
        path: &'a Path,
    },
    Punch {
        file: &'a File,
        path: &'a Path,
        from: u64,
        to: u64,
    },
    Sync {
        file: &'a File,
        path: &'a Path,
    },
}

/// Bytes on their way into a file.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(all(test, unix)), allow(dead_code, reason = "only tests look at what passes"))]
pub(super) struct Bytes<'a> {
    pub(super) file: &'a File,
    pub(super) path: &'a Path,
    pub(super) offset: u64,
}

/// What an operation's error is made of.
pub(super) trait Errno {
    #[cfg_attr(not(all(test, unix)), allow(dead_code, reason = "only tests make errors up"))]
    fn of(errno: i32) -> Self;
}

impl Errno for io::Error {
    fn of(errno: i32) -> io::Error {
        io::Error::from_raw_os_error(errno)
    }
}

/// See the module.
pub(super) trait Seam {
    /// Does an operation by `act`.
    fn pass<T, E: Errno>(op: Op<'_>, act: impl FnOnce() -> Result<T, E>) -> Result<T, E>;

    /// Writes by `act`, which is given the bytes to write and returns how many it has written.
    fn write(to: Bytes<'_>, bytes: &[u8], act: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<usize>;

    /// Stores through memory by `act`, which cannot fail.
    fn store(to: Bytes<'_>, parts: [&[u8]; 2], act: impl FnOnce());

    /// Which start of the system this is, where `told` is what the system says.
    fn boot(told: [u8; 16]) -> [u8; 16];
}
