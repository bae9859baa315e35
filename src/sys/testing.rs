//! Processes for tests: forks that do one thing and end.

use std::os::fd::{AsRawFd, OwnedFd};

/// Runs `act` in a forked child and returns the child's exit status: 0 if `act` returned true; `None` if it was killed.
pub(crate) fn in_forked_child(act: impl FnOnce() -> bool) -> Option<i32> {
    Forked::begin(act).end()
}

/// A forked child at work; killed and waited for with the test that has made it, whatever becomes of that.
pub(crate) struct Forked {
    pid: libc::pid_t,
    ended: bool,
}

#[cfg_attr(
    any(not(target_os = "linux"), tallyfold_portable),
    allow(dead_code, reason = "for the class memory")
)]
impl Forked {
    /// Its exit status will be 0 if `act` returns true.
    pub(crate) fn begin(act: impl FnOnce() -> bool) -> Forked {
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
        Forked { pid, ended: false }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid as u32
    }

    /// Waits until it has ended, and returns its exit status; `None` if it was killed.
    pub(crate) fn end(mut self) -> Option<i32> {
        let status = self.wait(0);
        self.ended = true;
        libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
    }

    /// Waits until it has stopped itself.
    pub(crate) fn stopped(&self) {
        assert!(libc::WIFSTOPPED(self.wait(libc::WUNTRACED)), "it has stopped, and not ended");
    }

    /// Lets it go on after it has stopped.
    pub(crate) fn go_on(&self) {
        self.signal(libc::SIGCONT);
    }

    pub(crate) fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    fn signal(&self, signal: i32) {
        // SAFETY: a child of ours that has not been waited for: its id is no other's.
        assert_eq!(unsafe { libc::kill(self.pid, signal) }, 0);
    }

    fn wait(&self, options: i32) -> i32 {
        let mut status = 0;
        // SAFETY: waits for a child of ours; `status` is ours.
        let waited = unsafe { libc::waitpid(self.pid, &raw mut status, options) };
        assert_eq!(waited, self.pid);
        status
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        if !self.ended {
            self.kill();
            self.wait(0);
        }
    }
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

    /// In a child: waits until the test has released its pipe, or for ten seconds.
    pub(crate) fn linger(&self) -> bool {
        // SAFETY: the descriptors are open in this process, which does nothing more with them; the buffer is one pollfd.
        unsafe {
            libc::close(self.write.as_raw_fd());
            let mut wait = libc::pollfd { fd: self.read.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            libc::poll(&raw mut wait, 1, 10_000);
        }
        true
    }

    /// Lets whoever lingers go.
    pub(crate) fn release(self) {
        drop(self);
    }
}

/// Forks a process that lives until the pipe is released by the test, or for ten seconds.
pub(crate) fn fork_and_linger(pipe: &Pipe) {
    // SAFETY: as in `Forked::begin`; the child only polls and ends.
    if unsafe { libc::fork() } == 0 {
        pipe.linger();
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(0) };
    }
}

/// Stops this process until somebody lets it go on.
#[cfg_attr(
    any(not(target_os = "linux"), tallyfold_portable),
    allow(dead_code, reason = "for the class memory")
)]
pub(crate) fn stop_self() {
    // SAFETY: a signal to this process.
    unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
}

pub(crate) fn kill_self() {
    // SAFETY: ends this process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}
