//! Processes for tests: forks that do one thing and end.

use std::os::fd::{AsRawFd, OwnedFd};

/// Runs `act` in a forked child and returns the child's exit status: 0 if `act` returned true; `None` if it was killed.
pub(crate) fn in_forked_child(act: impl FnOnce() -> bool) -> Option<i32> {
    // SAFETY: the child runs `act` and ends with _exit, never returning into the test harness. It allocates, which glibc and
    // musl allow in the child of a process with threads; it takes no lock that another thread of the parent may have held.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork");
    if pid == 0 {
        // SAFETY: a child that hangs is ended, rather than hanging the test.
        unsafe { libc::alarm(60) };
        let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).unwrap_or(false);
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(if good { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made; `status` is ours.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
}

/// Keeps a grandchild alive until its other end is dropped.
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    pub(crate) fn new() -> std::io::Result<Pipe> {
        let (read, write) = std::io::pipe()?;
        Ok(Pipe { read: read.into(), write: write.into() })
    }

    /// Lets whoever lingers go.
    pub(crate) fn release(self) {
        drop(self);
    }
}

/// Forks a process that lives until the pipe is released by the test, or for ten seconds.
pub(crate) fn fork_and_linger(pipe: &Pipe) {
    // SAFETY: as in `in_forked_child`; the child only polls and ends.
    if unsafe { libc::fork() } == 0 {
        // SAFETY: the descriptors are open in this process; the buffer is one pollfd.
        unsafe {
            libc::close(pipe.write.as_raw_fd());
            let mut wait = libc::pollfd { fd: pipe.read.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            libc::poll(&raw mut wait, 1, 10_000);
            libc::_exit(0);
        }
    }
}

pub(crate) fn kill_self() {
    // SAFETY: ends this process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}
