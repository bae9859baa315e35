//! Inodes, modes and owners, and the flags of open(2).

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};

/// Whether [`same`] knows.
pub(super) const TELLS_FILES_APART: bool = true;

/// Whether both are of one file.
pub(super) fn same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Opening a fifo or a terminal does not hang.
pub(super) fn without_waiting(options: &mut OpenOptions) {
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
}

/// The same, and a link is refused.
pub(super) fn without_following(options: &mut OpenOptions) {
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
}

/// A file that is made with these is for its owner alone.
pub(super) fn private(options: &mut OpenOptions) {
    options.mode(0o600);
}

/// Gives a file the mode of another one, and its owner and group as far as this process may.
///
/// Where the group cannot be had, its rights are not given to another one: it keeps those that everybody has. The bits that
/// lend an owner's rights (setuid, setgid) go with that owner.
pub(super) fn keep_mode(file: &File, of: &Metadata) -> io::Result<()> {
    let now = file.metadata()?;
    let mut mode = of.mode() & 0o7777;
    if now.uid() != of.uid() && fchown(file, Some(of.uid()), None).is_err() {
        mode &= 0o1777;
    }
    if now.gid() != of.gid() && fchown(file, None, Some(of.gid())).is_err() {
        mode &= 0o1707 | (mode & 0o7) << 3;
    }
    file.set_permissions(Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_cannot_be_had_leaves_its_rights_to_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let open =
            |name: &str| OpenOptions::new().write(true).create_new(true).open(dir.path().join(name)).unwrap();
        let (old, new) = (open("old"), open("new"));
        old.set_permissions(Permissions::from_mode(0o664)).unwrap();
        // SAFETY: asks for a number.
        if unsafe { libc::geteuid() } == 0 {
            fchown(&old, Some(12_345), Some(54_321)).unwrap();
            keep_mode(&new, &old.metadata().unwrap()).unwrap();
            let meta = new.metadata().unwrap();
            assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (12_345, 54_321, 0o664));
            return;
        }
        // Of a file of another owner and group: what is in /proc is root's.
        let other = File::open("/proc/1/stat").and_then(|file| file.metadata());
        let Ok(other) = other else { return println!("skipped: no file of another owner to be had") };
        keep_mode(&new, &other).unwrap();
        let mode = new.metadata().unwrap().mode() & 0o7777;
        assert_eq!(mode, other.mode() & 0o707 | (other.mode() & 0o7) << 3 & other.mode());
    }
}
