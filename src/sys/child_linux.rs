//! A child process that is not to outlive us.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The command is sent SIGTERM when the thread that starts it ends, however this process ends. What it starts itself is not.
pub fn end_with_parent(command: &mut Command) {
    // SAFETY: asks for a number.
    let parent = unsafe { libc::getpid() };
    let act = move || {
        // SAFETY: a request without pointers, and one for a number.
        let (set, now) =
            unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM, 0, 0, 0), libc::getppid()) };
        // Who has lost its parent before it could ask for the signal will not get it.
        if set != 0 || now != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: runs in the forked child and makes two system calls: nothing there allocates or takes a lock.
    unsafe { command.pre_exec(act) };
}
