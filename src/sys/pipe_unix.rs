//! What has become of those who read standard output.

/// Whether nobody reads standard output any more: it is a pipe whose other end is closed, so that a write would fail. For programs
/// that wait for long before they write again.
pub fn output_is_closed() -> bool {
    let mut asked = libc::pollfd { fd: libc::STDOUT_FILENO, events: 0, revents: 0 };
    // SAFETY: there is one entry, it outlives the call, and a timeout of 0 does not wait.
    let answered = unsafe { libc::poll(&raw mut asked, 1, 0) };
    answered == 1 && asked.revents & libc::POLLERR != 0
}
