//! The built command and a store for it: the verbs of the tests of the command line.
#![allow(dead_code, reason = "each test file uses its part")]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread;

use serde_json::Value;
use tallyfold::Store;
use tempfile::TempDir;

pub(crate) const TALLYFOLD: &str = env!("CARGO_BIN_EXE_tallyfold");

/// A place for a store, which the first `create` or `append` makes.
pub(crate) struct Fixture {
    dir: TempDir,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        Ended {
            code: output.status.code().expect("a command ends by itself"),
            out: String::from_utf8(output.stdout).expect("output is UTF-8"),
            err: String::from_utf8(output.stderr).expect("messages are UTF-8"),
        }
    }
}

impl Ended {
    /// The standard output of a command that had to end well.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Each line of the output as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    /// Ended with this code, saying all of these, as this program.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &[&str]) -> Ended {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.starts_with("tallyfold: "), "{self:?}");
        self.says(words)
    }

    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Ended {
        for word in words {
            assert!(self.err.contains(word), "{word:?} is missing in {self:?}");
        }
        self
    }
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        Fixture { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// The store as the library opens it, for what no command can make.
    pub(crate) fn library(&self) -> Store {
        Store::open(self.store()).expect("a store")
    }

    /// The command in the fixture's directory, with no variable of ours and no input.
    pub(crate) fn bare<S: AsRef<OsStr>>(&self, program: impl AsRef<OsStr>, args: &[S]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.dir()).stdin(Stdio::null());
        for variable in
            ["TALLYFOLD_STORE", "TALLYFOLD_LOCK", "TALLYFOLD_TIMEOUT", "TALLYFOLD_CONFIG", "NO_COLOR"]
        {
            command.env_remove(variable);
        }
        // Where the config file of whoever runs the tests is not.
        command.env("XDG_CONFIG_HOME", self.dir());
        command
    }

    /// The command on the fixture's store.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bare(TALLYFOLD, args);
        command.arg("--store").arg(self.store());
        command
    }

    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.command(args).output().expect("the command runs").into()
    }

    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.run(args).ok()
    }

    #[track_caller]
    pub(crate) fn feed(&self, args: &[&str], input: impl AsRef<[u8]>) -> Ended {
        feed(self.command(args), input.as_ref())
    }

    /// A cohort with values under keys, each a record.
    #[track_caller]
    pub(crate) fn fill(&self, cohort: &str, settings: &[&str], entries: &[(&str, &str)]) {
        self.ok(&[&["create", cohort], settings].concat());
        for (key, value) in entries {
            self.feed(&["append", cohort, "--key", key], value).ok();
        }
    }

    pub(crate) fn file(&self, cohort: &str, name: &str) -> PathBuf {
        self.store().join(cohort).join(name)
    }

    /// Changes one byte of a file, in the middle of where `found` stands.
    #[track_caller]
    pub(crate) fn damage(&self, cohort: &str, name: &str, found: &str) {
        let path = self.file(cohort, name);
        let mut bytes = fs::read(&path).expect("the file can be read");
        let at =
            bytes.windows(found.len()).position(|window| window == found.as_bytes()).expect("it is in there");
        bytes[at + found.len() / 2] ^= 0x20;
        fs::write(&path, bytes).expect("the file can be written");
    }
}

/// Runs a command on an input. One that stops reading early is no failure of ours.
#[track_caller]
pub(crate) fn feed(mut command: Command, input: &[u8]) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    thread::scope(|scope| {
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("the command ends").into()
    })
}

/// A process that is killed with its test, whatever becomes of that.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Running {
        Running(command.stdout(Stdio::piped()).spawn().expect("the command runs"))
    }

    pub(crate) fn lines(&mut self) -> Lines {
        Lines(BufReader::new(self.0.stdout.take().expect("a pipe")))
    }
}

impl Running {
    /// As Ctrl-C does it.
    pub(crate) fn interrupt(&self) {
        let sent = Command::new("sh").args(["-c", "kill -INT \"$0\"", &self.0.id().to_string()]).status();
        assert!(sent.expect("a shell runs").success(), "the process has ended before");
    }

    /// How it ended. What it printed and nobody has read yet is part of that.
    pub(crate) fn ended(mut self) -> Ended {
        let (mut out, mut err) = (String::new(), String::new());
        if let Some(mut stdout) = self.0.stdout.take() {
            stdout.read_to_string(&mut out).expect("output is UTF-8");
        }
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut err).expect("messages are UTF-8");
        }
        let status = self.0.wait().expect("the process is ours");
        Ended { code: status.code().expect("a command ends by itself"), out, err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The output of a running process, a line at a time as it comes.
pub(crate) struct Lines(BufReader<ChildStdout>);

impl Lines {
    /// Waits for the next line.
    #[track_caller]
    pub(crate) fn next(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        line
    }
}

/// Whether a cohort made in the fixture's directory is of the lock class `memory` unless told otherwise: where ext4, xfs or
/// tmpfs of Linux is beneath it, by what the system says.
pub(crate) fn shares_memory(fixture: &Fixture) -> bool {
    let type_of = fixture.bare("stat", &["-f", "-c", "%T", "."]).output();
    cfg!(target_os = "linux")
        && type_of.is_ok_and(|output| {
            ["ext2/ext3", "xfs", "tmpfs"].contains(&String::from_utf8_lossy(&output.stdout).trim())
        })
}

/// Python, or `None` with a word about what is not tested.
pub(crate) fn python() -> Option<&'static str> {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: there is no python3 here");
    }
    found.then_some("python3")
}
