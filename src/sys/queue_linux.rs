//! Who waits for a lock file: shared locks of open file descriptions (fcntl(2)) on two of its bytes.
//!
//! They exclude nobody, and vanish with the process that waits, however it ends. Only on local file systems, where they and
//! `flock` know nothing of each other; on a network they might be one.

use std::fs::File;
use std::os::fd::AsRawFd;

use super::Wanted;
use super::mount;

/// The two bytes lie far behind whatever is in a lock file: who waits for the exclusive lock, and for the shared one.
const EXCLUSIVE: libc::off_t = 1 << 30;
const SHARED: libc::off_t = EXCLUSIVE + 1;

/// Those who wait for a lock file.
pub(super) struct Queue<'a>(Option<&'a File>);

impl<'a> Queue<'a> {
    pub(super) fn of(file: &'a File) -> Queue<'a> {
        Queue(mount::is_local(file).then_some(file))
    }

    /// Whether others wait who are to have their turn before a newcomer who wants this. A shared lock comes before nobody who
    /// wants a shared one.
    pub(super) fn is_before(&self, wanted: Wanted) -> bool {
        let bytes = match wanted {
            Wanted::Exclusive => 2,
            Wanted::Shared => 1,
        };
        let Some(file) = self.0 else { return false };
        let mut found = range(libc::F_WRLCK, EXCLUSIVE, bytes);
        // SAFETY: the descriptor is open as long as `file` is borrowed; the struct is ours.
        let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut found) };
        asked == 0 && i32::from(found.l_type) != libc::F_UNLCK
    }

    /// Says that one waits, until what it returns is dropped. A file system that takes no such locks makes it say nothing.
    pub(super) fn join(&self, wanted: Wanted) -> Waiting<'a> {
        let at = match wanted {
            Wanted::Exclusive => EXCLUSIVE,
            Wanted::Shared => SHARED,
        };
        let waiting = Waiting { file: self.0, at };
        waiting.set(libc::F_RDLCK);
        waiting
    }
}

/// See [`Queue::join`].
pub(super) struct Waiting<'a> {
    file: Option<&'a File>,
    at: libc::off_t,
}

impl Waiting<'_> {
    fn set(&self, kind: i32) {
        if let Some(file) = self.file {
            let byte = range(kind, self.at, 1);
            // SAFETY: as in `is_before`.
            unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const byte) };
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.set(libc::F_UNLCK);
    }
}

fn range(kind: i32, from: libc::off_t, bytes: libc::off_t) -> libc::flock {
    // SAFETY: all fields are numbers; for locks of open file descriptions `l_pid` has to be 0.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = from;
    range.l_len = bytes;
    range
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_sees_who_waits_until_that_one_has_gone() {
        let dir = tempfile::tempdir_in(".").unwrap();
        let path = dir.path().join("lock");
        let open =
            || File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        let (first, second) = (open(), open());
        if !mount::is_local(&first) {
            return println!("skipped: this is no local file system");
        }
        let sees = |wanted| Queue::of(&second).is_before(wanted);
        assert!(!sees(Wanted::Exclusive) && !sees(Wanted::Shared));
        let waiting = Queue::of(&first).join(Wanted::Shared);
        assert!(sees(Wanted::Exclusive) && !sees(Wanted::Shared));
        drop(waiting);
        let waiting = Queue::of(&first).join(Wanted::Exclusive);
        assert!(sees(Wanted::Exclusive) && sees(Wanted::Shared));
        assert!(!Queue::of(&first).is_before(Wanted::Exclusive), "nobody waits for itself");
        drop(waiting);
        assert!(!sees(Wanted::Exclusive) && !sees(Wanted::Shared));
        std::mem::forget(Queue::of(&first).join(Wanted::Exclusive));
        drop(first);
        assert!(!sees(Wanted::Exclusive), "who dies waits no more");
    }
}
