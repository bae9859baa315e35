//! The face of `plain_unix.rs` where files have no inodes, modes and owners that std knows of.

use std::fs::{File, Metadata, OpenOptions};
use std::io;

/// Whether [`same`] knows.
pub(super) const TELLS_FILES_APART: bool = false;

/// Nobody tells, and an open file keeps its name there.
pub(super) fn same(_a: &Metadata, _b: &Metadata) -> bool {
    true
}

pub(super) fn without_waiting(_options: &mut OpenOptions) {}

pub(super) fn without_following(_options: &mut OpenOptions) {}

pub(super) fn private(_options: &mut OpenOptions) {}

/// What std knows of a file's rights.
pub(super) fn keep_mode(file: &File, of: &Metadata) -> io::Result<()> {
    file.set_permissions(of.permissions())
}
