//! The face of `fork_unix.rs` where processes do not fork.

use std::fs::File;
use std::sync::OnceLock;

use crate::error::Result;

/// A file; nothing to guard it from.
pub(super) struct Kept(File);

impl Kept {
    pub(super) fn new(file: File) -> Kept {
        Kept(file)
    }

    pub(super) fn open(open: impl Fn() -> Result<super::File>) -> Result<Kept> {
        open().map(|file| Kept(file.into_inner()))
    }

    pub(super) fn file(&self) -> Option<&File> {
        Some(&self.0)
    }
}

/// A value made when first asked for.
pub(crate) struct PerProcess<T>(OnceLock<T>);

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess(OnceLock::new())
    }

    pub(crate) fn get(&self, make: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(make)
    }

    pub(crate) fn existing(&self) -> Option<&T> {
        self.0.get()
    }
}
