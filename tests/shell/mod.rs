//! A shell with the built command first in its PATH: for what documents and help tell people to type.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// What is not ready by then hangs. It is no measure of speed: other tests have the same processors.
const PATIENCE: Duration = Duration::from_secs(100);

/// Programs that examples pipe into and that need not be installed.
const OPTIONAL: [&str; 7] = ["flock", "jq", "python3", "sqlite3", "duckdb", "curl", "script"];

/// How to run lines of shell as a person would, away from that person's own settings.
pub(crate) struct Shell {
    path: String,
    /// Holds `tallyfold`, and is the home directory, in which no configuration is.
    home: TempDir,
    bash: bool,
    missing: Vec<&'static str>,
}

/// How a script ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None: it was ended by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Shell {
    pub(crate) fn new() -> Shell {
        let home = tempfile::tempdir().expect("a temporary directory");
        symlink(env!("CARGO_BIN_EXE_tallyfold"), home.path().join("tallyfold")).expect("a link");
        let path = std::env::var("PATH").expect("a PATH");
        let found = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
        Shell {
            bash: found("bash"),
            missing: OPTIONAL.into_iter().filter(|program| !found(program)).collect(),
            path: format!("{}:{path}", home.path().display()),
            home,
        }
    }

    /// The optional program that a line needs and that is not installed.
    pub(crate) fn lacks(&self, line: &str) -> Option<&'static str> {
        let mut words = line.split(|c: char| !(c.is_alphanumeric() || "-_.".contains(c)));
        words.find_map(|word| self.missing.iter().copied().find(|missing| *missing == word))
    }

    /// A script in a directory, as the only thing that its group of processes does. A failure anywhere in a pipe is one of the whole,
    /// where the shell can tell.
    pub(crate) fn command(&self, dir: &Path, script: &str) -> Command {
        let mut command = Command::new(if self.bash { "bash" } else { "sh" });
        match self.bash {
            true => command.args(["-o", "pipefail", "-c", script]),
            false => command.args(["-c", script]),
        };
        command.current_dir(dir).process_group(0);
        command
            .env("PATH", &self.path)
            .env("HOME", self.home.path())
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8");
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("TALLYFOLD")
                || name.starts_with("XDG_")
                || name == "NO_COLOR"
                || name == "COLUMNS"
            {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a script to its end.
    #[track_caller]
    pub(crate) fn run(&self, dir: &Path, script: &str) -> Ended {
        Group::start(self.command(dir, script)).end()
    }

    /// Runs a script that goes on until Ctrl-C, which comes when it has printed something.
    #[track_caller]
    pub(crate) fn interrupt(&self, dir: &Path, script: &str) -> Ended {
        // Else some shells end by the signal, and the code of the command is not seen.
        let group = Group::start(self.command(dir, &format!("trap : INT\n{script}")));
        group.hear(script);
        group.signal("INT");
        group.end()
    }

    /// Runs a command that shows a screen in a terminal, in which Ctrl-C is a key. `None`: a terminal cannot be had here, which is
    /// said.
    #[track_caller]
    pub(crate) fn interrupt_screen(&self, dir: &Path, line: &str) -> Option<Ended> {
        if self.missing.contains(&"script") {
            println!("skipped: there is no script here to make a terminal: {line}");
            return None;
        }
        let mut command = self.command(dir, "exec script -qec \"stty cols 120 rows 40; $LINE\" /dev/null");
        command.env("LINE", line).env("SHELL", "/bin/sh").env("TERM", "xterm").stdin(Stdio::piped());
        let mut group = Group::start(command);
        group.hear(line);
        let mut keys = group.child.stdin.take().expect("a pipe");
        // Again, for a shell that is just about to start something may not pass it on.
        for _ in 0..PATIENCE.as_millis() / 100 {
            if group.child.try_wait().is_ok_and(|status| status.is_some()) || keys.write_all(b"\x03").is_err()
            {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        Some(group.end())
    }
}

/// The processes that a script is made of. None of them outlives this.
struct Group {
    child: Child,
    out: Option<JoinHandle<String>>,
    err: Option<JoinHandle<String>>,
    /// Whenever something was printed.
    heard: Receiver<()>,
}

impl Group {
    fn start(mut command: Command) -> Group {
        let mut child = command.spawn().expect("a shell");
        let (hearing, heard) = mpsc::channel();
        let out = child.stdout.take().map(|stream| listen(stream, hearing.clone()));
        let err = child.stderr.take().map(|stream| listen(stream, hearing));
        Group { child, out, err, heard }
    }

    /// Waits for something to be printed.
    #[track_caller]
    fn hear(&self, what: &str) {
        self.heard.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what}: nothing was printed"));
    }

    fn signal(&self, name: &str) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-s", name, "--", &group]).stderr(Stdio::null()).status();
    }

    #[track_caller]
    fn end(mut self) -> Ended {
        let begun = Instant::now();
        let status = loop {
            match self.child.try_wait().expect("it can be waited for") {
                Some(status) => break Some(status),
                None if begun.elapsed() > PATIENCE => break None,
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        // What it has left in the background, or all of it. It would keep the pipes open.
        self.signal("KILL");
        let said =
            |stream: Option<JoinHandle<String>>| stream.map(|s| s.join().expect("text")).unwrap_or_default();
        let (out, err) = (said(self.out.take()), said(self.err.take()));
        let status = status.unwrap_or_else(|| panic!("it did not end; it had printed:\n{out}{err}"));
        Ended { code: status.code(), out, err }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Once it was waited for, the number may be somebody else's.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("KILL");
            let _ = self.child.wait();
        }
    }
}

fn listen(mut stream: impl Read + Send + 'static, hearing: Sender<()>) -> JoinHandle<String> {
    thread::spawn(move || {
        let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            said.extend_from_slice(&buffer[..count]);
            let _ = hearing.send(());
        }
        String::from_utf8_lossy(&said).into_owned()
    })
}
