//! The processes of a run as the parent sees them: started, killed, waited for. None outlives it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ExitStatus};

use super::worker::{Role, Task};
use crate::cli::again::Again;
use crate::cli::exit::{self, Failure};

/// Starts a process for a task. Ctrl-C at the terminal is its parent's affair, and not its own.
pub(super) fn start(task: &Task, paths: &[PathBuf]) -> Result<Again, Failure> {
    let task = serde_json::to_string(task).map_err(|e| Failure::new(exit::FAILURE, e.to_string()))?;
    Again::start("stress-worker", |command| {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        command.arg(task).args(paths);
    })
}

/// Those of one run.
pub(super) struct Crew {
    task: Task,
    paths: [PathBuf; 2],
    members: Vec<Member>,
}

pub(super) struct Member {
    pub(super) role: Role,
    process: Again,
    /// Its input, which ends when we do.
    input: Option<ChildStdin>,
}

/// A process that has ended by itself.
pub(super) struct Ended {
    pub(super) role: Role,
    pub(super) code: u8,
    /// What it had to say.
    pub(super) message: String,
    /// Whether somebody else has killed it.
    pub(super) killed: bool,
}

impl Crew {
    /// `task`: what all have in common.
    pub(super) fn new(task: Task, store: &Path, board: &Path) -> Crew {
        Crew { task, paths: [store.to_path_buf(), board.to_path_buf()], members: Vec::new() }
    }

    /// Starts one that waits for [`begin`](Crew::begin).
    pub(super) fn start(&mut self, role: Role) -> Result<(), Failure> {
        let mut process = start(&Task { role, ..self.task.clone() }, &self.paths)?;
        let input = process.stdin.take();
        self.members.push(Member { role, process, input });
        Ok(())
    }

    /// Tells those who wait to begin.
    pub(super) fn begin(&mut self) {
        for input in self.members.iter_mut().filter_map(|member| member.input.as_mut()) {
            // One that has ended does not hear it. What it has to say about that comes when it is reaped.
            let _ = input.write_all(b"\n");
        }
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// Takes note of those that have ended by themselves.
    pub(super) fn reap(&mut self) -> Result<Vec<Ended>, Failure> {
        let mut ended = Vec::new();
        let mut at = 0;
        while at < self.members.len() {
            match self.members[at].process.try_wait()? {
                Some(status) => ended.push(self.members.swap_remove(at).ended(status)),
                None => at += 1,
            }
        }
        Ok(ended)
    }

    /// Kills one of them. It may have ended before by itself.
    pub(super) fn kill(&mut self, at: usize) -> Result<Ended, Failure> {
        let mut member = self.members.swap_remove(at);
        member.process.kill()?;
        let status = member.process.wait()?;
        Ok(member.ended(status))
    }

    /// Kills those of some roles, and says what they were.
    pub(super) fn kill_those(&mut self, of: impl Fn(Role) -> bool) -> Vec<(Role, u32)> {
        let mut killed = Vec::new();
        // Dropping a member ends it.
        self.members.retain(|member| {
            let stays = !of(member.role);
            if !stays {
                killed.push((member.role, member.process.id()));
            }
            stays
        });
        killed
    }
}

impl Member {
    fn ended(mut self, status: ExitStatus) -> Ended {
        let mut message = String::new();
        if let Some(stderr) = &mut self.process.stderr {
            let _ = stderr.read_to_string(&mut message);
        }
        let message = message.trim_end().trim_start_matches("tallyfold: ").to_string();
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        let message = match (code, message.is_empty()) {
            (Some(exit::OK), _) | (_, false) => message,
            _ => format!("it ended by itself, {status}"),
        };
        let (role, killed) = (self.role, was_killed(status));
        Ended { role, code: code.unwrap_or(exit::FAILURE), message, killed }
    }
}

#[cfg(unix)]
fn was_killed(status: ExitStatus) -> bool {
    const SIGKILL: i32 = 9;
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(SIGKILL)
}

#[cfg(not(unix))]
fn was_killed(status: ExitStatus) -> bool {
    !status.success()
}
