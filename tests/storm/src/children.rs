//! The processes of a storm: started, stopped, killed, and all gone at the end.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::board::Board;
use crate::{reader, writer};

/// How long processes may take that have been told to end.
const PATIENCE: Duration = Duration::from_secs(120);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What a child is for; told on its command line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Role {
    Write(writer::Task),
    Read(reader::Task),
    Compact(reader::Compact),
    Witness(writer::Place),
}

impl Role {
    pub fn play(json: &str) -> Result<()> {
        match serde_json::from_str(json)? {
            Role::Write(task) => writer::run(&task),
            Role::Read(task) => reader::run(&task),
            Role::Compact(task) => reader::compact(&task),
            Role::Witness(place) => reader::witness(&place),
        }
    }

    pub fn outside(&self) -> &std::path::Path {
        match self {
            Role::Write(task) => &task.place.outside,
            Role::Read(task) => &task.place.outside,
            Role::Compact(task) => &task.place.outside,
            Role::Witness(place) => &place.outside,
        }
    }
}

/// Makes Ctrl-C end the storm as its end does, and orphans of killed writers ours.
pub fn take_charge() {
    extern "C" fn interrupted(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, interrupted as *const () as libc::sighandler_t) };
    }
    // SAFETY: takes no pointer.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
}

pub fn check_interrupted() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(()) }
}

/// Sleeps, unless interrupted.
pub fn sleep(time: Duration) -> Result<()> {
    let begun = Instant::now();
    loop {
        check_interrupted()?;
        let left = time.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// Whether the other end of the lifeline is closed: only the storm's own process has it.
pub fn parent_is_gone(lifeline: RawFd) -> bool {
    let mut poll = libc::pollfd { fd: lifeline, events: 0, revents: 0 };
    // SAFETY: one struct, which is ours; does not wait.
    unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
}

/// The processes of a round. When this is dropped none is left.
pub struct Crew {
    board: Board,
    children: Vec<(Child, Role)>,
    /// Closed when this process ends, however it does.
    _lifeline: OwnedFd,
    end: OwnedFd,
    killed_forks: Vec<i32>,
}

impl Crew {
    pub fn new(board: Board) -> Result<Crew> {
        let mut ends = [0; 2];
        // SAFETY: writes two descriptors into the array.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        // SAFETY: both were just opened and are nobody else's. The reading end is for the children, which must inherit it.
        let (end, lifeline) = unsafe {
            libc::fcntl(ends[0], libc::F_SETFD, 0);
            (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
        };
        Ok(Crew { board, children: Vec::new(), _lifeline: lifeline, end, killed_forks: Vec::new() })
    }

    /// What children poll.
    pub fn lifeline(&self) -> RawFd {
        self.end.as_raw_fd()
    }

    pub fn start(&mut self, role: Role) -> Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("child").arg(serde_json::to_string(&role)?).stdin(Stdio::null());
        // SAFETY: between fork and exec only this call, which is a plain system call.
        unsafe {
            command.pre_exec(|| {
                // Killed with the storm's own process, even while stopped. Forked children of it lose this and poll the lifeline;
                // they are never stopped.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            })
        };
        self.children.push((command.spawn()?, role));
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.children.len()
    }

    pub fn id(&self, at: usize) -> u32 {
        self.children[at].0.id()
    }

    /// The place of a child by its id; `None`: it is not there any more.
    pub fn find(&self, id: u32) -> Option<usize> {
        self.children.iter().position(|(child, _)| child.id() == id)
    }

    /// Sends a signal to a child that has not been waited for, so its id is its own.
    pub fn signal(&self, at: usize, signal: libc::c_int) {
        // SAFETY: takes no pointer.
        unsafe { libc::kill(self.id(at) as i32, signal) };
    }

    /// Kills a child and waits for it. `Err`: it had ended by itself.
    pub fn kill(&mut self, at: usize) -> Result<Role> {
        let (mut child, role) = self.children.swap_remove(at);
        child.kill()?;
        let status = child.wait()?;
        match status.signal() {
            Some(libc::SIGKILL) => Ok(role),
            _ => Err(format!("a child ended by itself ({status}): {role:?}").into()),
        }
    }

    /// Kills one of the forked children, which nobody waits for before the round ends: so its id is its own. `false`: there is
    /// none.
    pub fn kill_a_fork(&mut self) -> bool {
        let Some(pid) = self.board.forks().find(|pid| !self.killed_forks.contains(pid)) else { return false };
        self.killed_forks.push(pid);
        // SAFETY: takes no pointer.
        unsafe { libc::kill(pid, libc::SIGKILL) == 0 }
    }

    /// Children that have ended by themselves, which none does before it is told to.
    pub fn ended(&mut self) -> Result<Vec<String>> {
        let mut ended = Vec::new();
        let mut at = 0;
        while at < self.children.len() {
            match self.children[at].0.try_wait()? {
                Some(status) => {
                    let (_, role) = self.children.swap_remove(at);
                    ended.push(format!("a child ended by itself ({status}): {role:?}"));
                }
                None => at += 1,
            }
        }
        Ok(ended)
    }

    /// Waits until all children that were started here have ended by themselves, and tells which did not end well.
    pub fn wait(&mut self) -> Result<Vec<String>> {
        let begun = Instant::now();
        let mut bad = Vec::new();
        while !self.children.is_empty() {
            sleep(Duration::from_millis(5))?;
            let mut at = 0;
            while at < self.children.len() {
                match self.children[at].0.try_wait()? {
                    Some(status) => {
                        let (_, role) = self.children.swap_remove(at);
                        if !status.success() {
                            bad.push(format!("a child ended badly ({status}): {role:?}"));
                        }
                    }
                    None => at += 1,
                }
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("{} children did not end in time", self.children.len()).into());
            }
        }
        Ok(bad)
    }

    /// Kills all there are, forked ones too. Returns how many were alive, and which had ended otherwise.
    pub fn kill_all(&mut self) -> Result<(u64, Vec<String>)> {
        let (mut killed, mut bad) = (0, Vec::new());
        for (mut child, role) in self.children.drain(..) {
            let _ = child.kill();
            let status = child.wait()?;
            match status.signal() {
                Some(libc::SIGKILL) => killed += 1,
                _ => bad.push(format!("a child ended by itself ({status}): {role:?}")),
            }
        }
        // Their parents are dead, so we are the parent of what is left.
        let begun = Instant::now();
        loop {
            let mut status = 0;
            // SAFETY: writes one integer, which is ours.
            match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
                -1 => return Ok((killed, bad)),
                0 => {
                    while self.kill_a_fork() {
                        killed += 1;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                pid if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL => {
                    let _ = pid;
                }
                pid => bad.push(format!("the forked writer {pid} ended by itself (status {status})")),
            }
            if begun.elapsed() > PATIENCE {
                return Err("forked children did not end in time".into());
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let _ = self.kill_all();
    }
}
