//! The processes that take part, as the examination sees them: started, listened to for a while and no longer, ended.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::sys::Dir;

/// Far longer than any of them takes: who says nothing for so long hangs, in a lock most likely.
const SILENCE: Duration = Duration::from_secs(90);

/// A process that does a task. Dropping it ends it.
pub(super) struct Member {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    task: String,
}

impl Member {
    /// Starts one, which says `ready` and waits for [`begin`](Member::begin).
    pub(super) fn start(worker: &[OsString], task: &str, dir: &Dir, turns: u64) -> Result<Member> {
        let failed = |e| Error::io("cannot start a second process", dir.path(), e);
        let (program, arguments) = worker
            .split_first()
            .ok_or_else(|| Error::invalid("no program was named for a second process"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .args([OsStr::new(task), OsStr::new(&turns.to_string()), dir.path().as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (sender, lines) = mpsc::channel();
        if let (Some(out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) {
            thread::spawn(move || {
                let mut out = BufReader::new(out);
                let mut line = String::new();
                while matches!(out.read_line(&mut line), Ok(n) if n > 0) {
                    let _ = sender.send(line.trim_end().to_string());
                    line.clear();
                }
                // What is said last is why it ended, if it did not end well.
                let mut why = String::new();
                let _ = err.read_to_string(&mut why);
                let _ = sender.send(why.trim_end().to_string());
            });
        }
        let stdin = child.stdin.take();
        let member = Member { child, stdin, lines, task: task.to_string() };
        match member.hear()?.as_str() {
            "ready" => Ok(member),
            why => Err(member.failed(why)),
        }
    }

    /// Tells it to begin.
    pub(super) fn begin(&mut self) {
        if let Some(stdin) = &mut self.stdin {
            // One that has failed does not hear it; what it has to say about that comes when it is listened to.
            let _ = stdin.write_all(b"\n").and_then(|()| stdin.flush());
        }
    }

    /// Tells it that this was all.
    pub(super) fn end(&mut self) {
        self.stdin = None;
    }

    /// Kills it, and waits until it is gone.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The numbers that it says in the end.
    pub(super) fn numbers<const N: usize>(&self) -> Result<[u64; N]> {
        let line = self.hear()?;
        let numbers: Option<Vec<u64>> = line.split(' ').map(|number| number.parse().ok()).collect();
        numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| self.failed(&line))
    }

    fn hear(&self) -> Result<String> {
        self.lines.recv_timeout(SILENCE).map_err(|e| match e {
            RecvTimeoutError::Timeout => self.failed("it says nothing, and may hang in a call"),
            RecvTimeoutError::Disconnected => self.failed("it has ended"),
        })
    }

    fn failed(&self, why: &str) -> Error {
        let why = if why.is_empty() { "it has ended" } else { why };
        Error::new(Kind::Io, format!("a second process ({}) has failed: {why}", self.task))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}
