//! What a second process gets of a `flock`, asked by forking one.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Wanted;

/// What the other process got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The lock.
    Had,
    /// Nothing, for somebody has it.
    Refused,
    /// An error: its number.
    Failed(i32),
    /// There was no other process, or it did not answer.
    None,
}

/// The child does three calls that do not wait: an answer that takes this long will not come.
const PATIENCE_MS: i32 = 10_000;

/// Another process opens the file, tries to lock it without waiting, and ends, with the lock if it had it.
pub(crate) fn ask_another_process(path: &Path, wanted: Wanted) -> Answer {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return Answer::None };
    let Ok((mut receive, send)) = io::pipe() else { return Answer::None };
    let lock = match wanted {
        Wanted::Exclusive => libc::LOCK_EX,
        Wanted::Shared => libc::LOCK_SH,
    };
    // SAFETY: the child does only what is async-signal-safe, in `answer`, and never returns from it.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        answer(&path, lock | libc::LOCK_NB, send.as_raw_fd());
    }
    drop(send);
    if pid < 0 {
        return Answer::None;
    }
    let mut wait = libc::pollfd { fd: receive.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut number = [0; 4];
    // SAFETY: one pollfd, which is ours.
    let answered = unsafe { libc::poll(&raw mut wait, 1, PATIENCE_MS) } == 1
        && io::Read::read_exact(&mut receive, &mut number).is_ok();
    let mut options = 0;
    if !answered {
        // It may hang in a call that no signal interrupts; then it is not waited for.
        // SAFETY: a child of ours that has not been waited for, so its number is no other's.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        options = libc::WNOHANG;
    }
    // So that it is gone, and its lock with it. A host that waits for all children itself may have been quicker.
    // SAFETY: waits for that child only.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), options) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
    match i32::from_ne_bytes(number) {
        _ if !answered => Answer::None,
        0 => Answer::Had,
        libc::EWOULDBLOCK => Answer::Refused,
        errno => Answer::Failed(errno),
    }
}

/// The child's part.
fn answer(path: &CString, lock: i32, send: i32) -> ! {
    // SAFETY: open, flock, write and _exit are system calls and no more; the path and the buffer live until the end.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        let failed = file < 0 || libc::flock(file, lock) < 0;
        let number = if failed { io::Error::last_os_error().raw_os_error().unwrap_or(-1) } else { 0 };
        let number = number.to_ne_bytes();
        libc::write(send, number.as_ptr().cast(), number.len());
        libc::_exit(0);
    }
}
