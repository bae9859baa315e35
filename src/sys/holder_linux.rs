//! Who holds a lock, from `/proc/locks` (see proc_locks(5)).

use std::fs::File;
use std::os::unix::fs::MetadataExt;

/// The process holding a `flock` on the file, if the kernel names one that this process may know.
pub(super) fn of(file: &File) -> Option<u32> {
    let meta = file.metadata().ok()?;
    holder_in(&std::fs::read_to_string("/proc/locks").ok()?, meta.dev(), meta.ino())
}

/// Lines read `1: FLOCK  ADVISORY  WRITE 3384 fe:00:10010705 0 EOF`; a waiter's line has `->` after the number.
fn holder_in(locks: &str, dev: u64, ino: u64) -> Option<u32> {
    // Device numbers as glibc splits them. Overlay and btrfs show another device there than stat does, so the inode alone
    // will do where no line has both.
    let (major, minor) = ((dev >> 8) & 0xfff | (dev >> 32) & !0xfff, dev & 0xff | (dev >> 12) & !0xff);
    let exact = format!("{major:02x}:{minor:02x}:{ino}");
    let inode = format!(":{ino}");
    let mut by_inode = None;
    for line in locks.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, place, ..] = words[..] else { continue };
        // 0 and -1: a process of another pid namespace.
        let pid = pid.parse().ok().filter(|pid| *pid > 0);
        if place == exact {
            return pid;
        }
        if place.ends_with(&inode) {
            by_inode = by_inode.or(pid);
        }
    }
    by_inode
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_and_waiters_and_other_locks_are_not_mistaken_for_it() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fe:00:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 fe:00:78 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 13 fe:00:77 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 14 fe:00:77 0 EOF\n";
        assert_eq!(holder_in(locks, 0xfe00, 77), Some(13));
        assert_eq!(holder_in(locks, 0x2a, 78), Some(12), "another device number, as on overlay");
        assert_eq!(holder_in(locks, 0xfe00, 79), None);
        assert_eq!(holder_in("1: FLOCK  ADVISORY  WRITE 0 fe:00:77 0 EOF", 0xfe00, 77), None);
    }
}
