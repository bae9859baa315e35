//! `lock`: a command that runs while a lock is held, and who else takes the same one.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests look at the lock files")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Ended, Fixture, python};
use tallyfold::files::FileLock;

/// A command under a lock that says when it has begun, and ends when its input does.
struct Holder(Child);

impl Holder {
    fn start(fixture: &Fixture, args: &[&str]) -> Holder {
        let waits = ["--", "sh", "-c", "echo begun; read line || true"];
        let mut command = fixture.command(&[]);
        // What stands behind `--` is the command's, so the store comes first.
        command.args([&["lock"], args, &waits].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "begun\n");
        Holder(child)
    }

    fn id(&self) -> u32 {
        self.0.id()
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn lock(fixture: &Fixture, args: &[&str], command: &[&str]) -> Ended {
    let mut whole = fixture.command(&[]);
    whole.args([&["lock"], args, &["--"], command].concat()).output().unwrap().into()
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn the_commands_input_output_and_exit_code_are_those_of_lock() {
    let fixture = Fixture::new();
    let mut command = fixture.command(&["lock", "./a.lock"]);
    command.args(["--", "sh", "-c", "cat; echo to stderr >&2; exit 7"]);
    let ended = common::feed(command, b"from stdin\n");
    assert_eq!((ended.code, &*ended.out, &*ended.err), (7, "from stdin\n", "to stderr\n"));
    assert_eq!(lock(&fixture, &["./a.lock"], &["sh", "-c", "kill -TERM $$"]).code, 128 + 15);
    assert_eq!(lock(&fixture, &["./a.lock"], &["true"]).ok(), "");
    assert_eq!(fs::read(fixture.dir().join("a.lock")).unwrap(), b"", "it stays, and stays empty");
}

#[test]
fn a_command_that_is_not_there_ends_as_in_a_shell() {
    let fixture = Fixture::new();
    lock(&fixture, &["./a.lock"], &["./no-such-command"]).fails(127, &["no-such-command", "cannot be run"]);
    fs::write(fixture.dir().join("text"), "").unwrap();
    lock(&fixture, &["./a.lock"], &["./text"]).fails(126, &["cannot be run"]);
}

#[test]
fn a_file_is_locked_for_everybody_who_locks_it_and_the_holder_is_named() {
    let fixture = Fixture::new();
    let path = fixture.dir().join("a.json.lock");
    let holder = Holder::start(&fixture, &["./a.json.lock"]);
    assert!(
        FileLock::try_exclusive(&path).unwrap().is_none() && FileLock::try_shared(&path).unwrap().is_none()
    );
    let names = format!("process {} holds it", holder.id());
    for how in [&["--nonblock"][..], &["--timeout", "0.1"], &["--shared", "--nonblock"]] {
        let args = [how, &["./a.json.lock"]].concat();
        let ended = lock(&fixture, &args, &["sh", "-c", "echo ran"]);
        assert_eq!(ended.fails(4, &[&names, "the command was not run"]).out, "", "{how:?}");
    }
    if let Some(python) = python() {
        let tries = "import fcntl, sys\n\
                     fcntl.flock(open('a.json.lock'), fcntl.LOCK_EX | fcntl.LOCK_NB)";
        let tried = fixture.bare(python, &["-c", tries]).output().unwrap();
        assert!(String::from_utf8_lossy(&tried.stderr).contains("BlockingIOError"), "{tried:?}");
    }
    holder.end();
    let held = FileLock::exclusive(&path, Duration::from_secs(60)).unwrap();
    let names = format!("process {} holds it", std::process::id());
    lock(&fixture, &["--nonblock", "--file", "a.json.lock"], &["true"]).fails(4, &[&names]);
    drop(held);
    lock(&fixture, &["--nonblock", "--file", "a.json.lock"], &["true"]).ok();
}

#[test]
fn those_who_share_a_lock_run_together_and_keep_out_who_wants_it_alone() {
    let fixture = Fixture::new();
    let first = Holder::start(&fixture, &["--shared", "./a.lock"]);
    let second = Holder::start(&fixture, &["--shared", "./a.lock"]);
    lock(&fixture, &["--nonblock", "./a.lock"], &["true"]).fails(4, &["holds it"]);
    first.end();
    lock(&fixture, &["--nonblock", "./a.lock"], &["true"]).fails(4, &["holds it"]);
    second.end();
    lock(&fixture, &["--nonblock", "./a.lock"], &["true"]).ok();
}

#[test]
fn the_lock_of_a_cohort_is_for_users_and_keeps_no_append_waiting() {
    let fixture = Fixture::new();
    fixture.fill("index", &[], &[("k", "1")]);
    let holder = Holder::start(&fixture, &["index"]);
    fixture.feed(&["append", "index", "--key", "k", "--timeout", "5"], "2").ok();
    fixture.ok(&["compact", "index", "--timeout", "5"]);
    assert_eq!(fixture.ok(&["get", "index", "k"]), "2\n");
    lock(&fixture, &["--nonblock", "index"], &["true"]).fails(4, &["user.lock", "holds it"]);
    let cohort = fixture.library().cohort("index").unwrap();
    assert!(FileLock::try_exclusive(cohort.user_lock().unwrap()).unwrap().is_none());
    fixture.fill("other", &[], &[]);
    lock(&fixture, &["--nonblock", "other"], &["true"]).ok();
    holder.end();
    // The store is as whole as before with that file in it.
    fixture.ok(&["verify"]);
}

#[test]
fn a_name_is_a_cohorts_unless_there_is_a_slash_in_it_or_the_option_says_otherwise() {
    let fixture = Fixture::new();
    lock(&fixture, &["index"], &["true"]).fails(3, &["there is no store"]);
    fixture.library();
    lock(&fixture, &["index"], &["true"]).fails(3, &["no cohort \"index\"", "./index or --file"]);
    assert!(!fixture.dir().join("index").exists());
    lock(&fixture, &["--file", "index"], &["true"]).ok();
    assert!(fixture.dir().join("index").exists());
    lock(&fixture, &["./nowhere/a.lock"], &["true"]).fails(3, &["nowhere"]);
    lock(&fixture, &["./"], &["true"]).fails(1, &["no lock file"]);
    lock(&fixture, &["index"], &[]).fails(2, &[]);
}

#[test]
fn what_is_left_in_the_background_does_not_keep_the_lock() {
    let fixture = Fixture::new();
    let (mut ours, theirs) = std::io::pipe().unwrap();
    let mut command = fixture.command(&["lock", "./a.lock"]);
    // It lives until the test lets go of what it reads from.
    command.args(["--", "sh", "-c", "cat >/dev/null 2>&1 <&0 & echo begun"]);
    let (stdin, keep) = std::io::pipe().unwrap();
    command.stdin(stdin).stdout(theirs).stderr(Stdio::null());
    assert!(command.status().unwrap().success());
    drop(command);
    let mut said = String::new();
    ours.read_to_string(&mut said).unwrap();
    assert_eq!(said, "begun\n");
    lock(&fixture, &["--nonblock", "./a.lock"], &["true"]).ok();
    drop(keep);
}

#[test]
fn ctrl_c_is_the_commands_affair_and_the_lock_is_held_until_it_has_ended() {
    let fixture = Fixture::new();
    let mut holder = Holder::start(&fixture, &["./a.lock"]);
    // To this process alone, as if the command took no notice of it.
    signal(holder.id(), "-INT");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(holder.0.try_wait().unwrap(), None);
    lock(&fixture, &["--nonblock", "./a.lock"], &["true"]).fails(4, &[]);
    holder.end();
}

#[test]
fn who_waits_for_the_lock_ends_by_ctrl_c_and_runs_nothing() {
    let fixture = Fixture::new();
    let holder = Holder::start(&fixture, &["./a.lock"]);
    let mut waiting = fixture.command(&["lock", "./a.lock"]);
    waiting.args(["--", "touch", "ran"]);
    let mut waiting = waiting.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    signal(waiting.id(), "-INT");
    let status = waiting.wait().unwrap();
    // On a busy machine it may not listen yet; then the signal just ends it, which is the same to a shell.
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    assert_eq!(code, Some(130));
    holder.end();
    assert!(!fixture.dir().join("ran").exists());
}

#[test]
#[cfg(target_os = "linux")]
fn should_lock_be_killed_its_command_is_sent_a_signal_and_the_lock_is_free() {
    let fixture = Fixture::new();
    let mut command = fixture.command(&["lock", "./a.lock"]);
    command.args(["--", "sh", "-c", "trap 'echo told; exit' TERM; echo begun; while :; do sleep 0.1; done"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "told");
    lock(&fixture, &["--timeout", "30", "./a.lock"], &["true"]).ok();
}

#[test]
fn a_lock_file_that_is_removed_meanwhile_is_told() {
    let fixture = Fixture::new();
    lock(&fixture, &["./a.lock"], &["rm", "a.lock"])
        .says(&["was removed or replaced meanwhile", "a.lock"])
        .ok();
}

#[test]
fn a_command_that_prints_into_a_closed_pipe_decides_how_it_ends() {
    let fixture = Fixture::new();
    let mut command = fixture.command(&["lock", "./a.lock"]);
    command.args(["--", "sh", "-c", "echo a line; exit 0"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = command.stdin(Stdio::piped()).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(b"");
    let status = child.wait().unwrap();
    // By SIGPIPE or by an exit code, as its shell has it.
    assert!(status.code().is_some(), "{status:?}");
}
