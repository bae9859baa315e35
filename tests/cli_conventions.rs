//! What holds for every verb: the config file, Ctrl-C, a reader that goes away, colours.
#![allow(clippy::disallowed_methods, reason = "tests write config files and take names away")]

mod common;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use common::{Ended, Fixture, Running, TALLYFOLD};
use serde_json::json;

/// The config file in the directory where the fixture's commands look for it.
fn configure(fixture: &Fixture, text: &str) {
    fs::create_dir_all(fixture.dir().join("tallyfold")).unwrap();
    fs::write(fixture.dir().join("tallyfold/config.json"), text).unwrap();
}

fn bare(fixture: &Fixture, variables: &[(&str, &str)], args: &[&str]) -> Ended {
    let mut command = fixture.bare(TALLYFOLD, args);
    command.envs(variables.iter().copied()).output().unwrap().into()
}

#[test]
fn a_flag_counts_more_than_the_environment_and_that_more_than_the_config_file() {
    let fixture = Fixture::new();
    configure(&fixture, r#"{"store":"of-config"}"#);
    bare(&fixture, &[], &["create", "a"]).ok();
    bare(&fixture, &[("TALLYFOLD_STORE", "of-environment")], &["create", "b"]).ok();
    bare(&fixture, &[("TALLYFOLD_STORE", "of-environment")], &["create", "c", "--store", "of-flag"]).ok();
    for place in ["of-config/a", "of-environment/b", "of-flag/c"] {
        assert!(fixture.dir().join(place).join("cohort.json").exists(), "{place}");
    }
}

#[test]
fn the_class_of_lock_and_the_patience_come_from_the_config_file_too() {
    let fixture = Fixture::new();
    configure(&fixture, r#"{"lock":"file","timeout":0.01,"color":"never"}"#);
    fixture.ok(&["create", "c"]);
    assert!(fs::read_to_string(fixture.file("c", "cohort.json")).unwrap().contains(r#""lock":"file""#));
    let lock = fs::OpenOptions::new().read(true).write(true).open(fixture.file("c", "lock")).unwrap();
    lock.lock().unwrap();
    fixture.feed(&["append", "c", "--key", "k"], "1").fails(4, &["no lock within 0.01 s"]);
    let mut command = fixture.command(&["append", "c", "--key", "k"]);
    command.env("TALLYFOLD_TIMEOUT", "0.02");
    common::feed(command, b"1").fails(4, &["no lock within 0.02 s"]);
}

#[test]
fn a_config_file_that_cannot_be_understood_is_refused_with_its_name_and_place() {
    let fixture = Fixture::new();
    for (text, words) in [
        (r#"{"shop":"x"}"#, "unknown field `shop`"),
        (r#"{"store":}"#, "line 1 column 10"),
        (r#"{"timeout":-1}"#, "timeout: it must be a number of seconds, 0 or more"),
        (r#"{"color":"green"}"#, "unknown variant `green`"),
    ] {
        configure(&fixture, text);
        fixture.run(&["ls"]).fails(1, &["config.json is refused", words]);
    }
    configure(&fixture, r#"{"lock":"none"}"#);
    fixture.run(&["create", "c"]).fails(1, &["the config file", "lock"]);
    assert!(!fixture.store().join("c").exists());
}

#[test]
fn a_config_file_that_is_named_must_be_there() {
    let fixture = Fixture::new();
    fs::write(fixture.dir().join("mine.json"), r#"{"store":"of-mine"}"#).unwrap();
    bare(&fixture, &[("TALLYFOLD_CONFIG", "mine.json")], &["create", "a"]).ok();
    assert!(fixture.dir().join("of-mine/a").exists());
    bare(&fixture, &[("TALLYFOLD_CONFIG", "other.json")], &["ls"]).fails(1, &["cannot open other.json"]);
}

#[test]
fn an_append_that_waits_for_input_is_ended_by_ctrl_c_and_tells_what_it_has_appended() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "c"]);
    let mut command = fixture.command(&["append", "c", "--key", "k"]);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(&mut command);
    let mut stdin = running.0.stdin.take().unwrap();
    stdin.write_all(b"1\n2\n").unwrap();
    let cohort = fixture.library().cohort("c").unwrap();
    while cohort.last_seq().unwrap() < 2 {
        std::thread::yield_now();
    }
    running.interrupt();
    let ended = running.ended();
    assert_eq!(ended.code, 130, "{ended:?}");
    ended.says(&["2 records were appended before, the last as seq 2"]);
    assert_eq!(cohort.stats().unwrap().durable_seq, 2, "synced on the way out");
    drop(stdin);
}

#[test]
fn who_waits_for_records_is_ended_by_ctrl_c_with_130_and_nothing_to_say() {
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("k", "1")]);
    let mut command = fixture.command(&["log", "c", "-f", "--json"]);
    command.stderr(Stdio::piped());
    let mut running = Running::start(&mut command);
    let mut lines = running.lines();
    assert!(lines.next().contains(r#""value":1"#));
    running.interrupt();
    let ended = running.ended();
    assert_eq!((ended.code, ended.err.as_str()), (130, ""), "{ended:?}");
}

#[test]
fn ctrl_c_that_was_to_be_ignored_stays_ignored() {
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("k", "1")]);
    // A shell ignores it for what it runs in the background.
    let mut command = fixture.bare("sh", &["-c", r#"trap '' INT; exec "$@""#, "sh", TALLYFOLD]);
    command.args(["log", "c", "-f", "--json", "--store"]).arg(fixture.store()).stderr(Stdio::piped());
    let mut running = Running::start(&mut command);
    let mut lines = running.lines();
    assert!(lines.next().contains(r#""value":1"#));
    running.interrupt();
    fixture.feed(&["append", "c", "--key", "k"], "2").ok();
    assert!(lines.next().contains(r#""value":2"#), "it goes on");
}

#[test]
fn ctrl_c_is_the_affair_of_the_command_that_once_runs() {
    let fixture = Fixture::new();
    let begin = r#"trap 'echo "[7]"; exit 0' INT; echo begun >&2; while :; do sleep 0.01; done"#;
    let mut command = fixture.command(&["once", "c", "k"]);
    command.args(["--", "sh", "-c", begin]).stderr(Stdio::piped());
    let mut running = Running::start(&mut command);
    let child = first_child(&mut running);
    running.interrupt();
    let sent = std::process::Command::new("sh").args(["-c", "kill -INT \"$0\"", &child]).status();
    assert!(sent.unwrap().success());
    let ended = running.ended();
    assert_eq!((ended.code, ended.out.as_str()), (0, "[7]\n"), "{ended:?}");
    assert_eq!(
        json!([7]),
        serde_json::from_str::<serde_json::Value>(&fixture.ok(&["get", "c", "k"])).unwrap()
    );
}

/// Waits until the child says that it has begun, and returns its process id.
fn first_child(running: &mut Running) -> String {
    use std::io::Read;
    let mut stderr = running.0.stderr.take().unwrap();
    let (mut said, mut byte) = (String::new(), [0]);
    while !said.ends_with("begun\n") {
        assert_eq!(stderr.read(&mut byte).unwrap(), 1, "{said}");
        said.push(char::from(byte[0]));
    }
    running.0.stderr = Some(stderr);
    let id = running.0.id();
    fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap().trim().to_string()
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let fixture = Fixture::new();
    let lines: String = (0..20_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    fixture.feed(&["append", "c", "--batch", "1000"], &lines).ok();
    for verb in [&["log", "c"][..], &["history", "c"]] {
        let mut command = fixture.command(verb);
        command.stderr(Stdio::piped());
        let mut running = Running::start(&mut command);
        let mut first = running.lines();
        assert!(first.next().contains("\"seq\":1,"));
        drop(first);
        let ended = running.ended();
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{verb:?}");
    }
}
