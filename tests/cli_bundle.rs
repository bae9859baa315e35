//! `tallyfold bundle` and `tallyfold once`.
#![allow(clippy::disallowed_methods, reason = "tests write the files that are added, and damage them")]

mod common;

use std::fs;
use std::path::Path;

use common::{Ended, Fixture, Running};
use serde_json::json;

fn with_files() -> Fixture {
    let fixture = Fixture::new();
    fixture.ok(&["create", "models"]);
    fs::write(fixture.dir().join("weights.pt"), b"weights 1").unwrap();
    fs::create_dir(fixture.dir().join("conf")).unwrap();
    fs::write(fixture.dir().join("conf/run-1.yaml"), b"seed: 7\n").unwrap();
    fixture
}

#[test]
fn files_and_a_value_are_committed_and_their_directory_is_printed() {
    let fixture = with_files();
    let commit = ["bundle", "models", "--key", "run-1"];
    let files = ["--value", r#"{"auc": 0.610}"#, "weights.pt", "config=conf/run-1.yaml"];
    let first = fixture.ok(&[&commit[..], &files].concat());
    let first = Path::new(first.trim_end());
    assert_eq!(fs::read(first.join("weights.pt")).unwrap(), b"weights 1");
    assert_eq!(fs::read(first.join("config")).unwrap(), b"seed: 7\n");
    let key = r#"{"bundle":{"version":"#;
    assert!(fixture.ok(&["get", "models", "run-1"]).starts_with(key));

    fs::write(fixture.dir().join("weights.pt"), b"weights 2").unwrap();
    let second = fixture.ok(&[&commit[..], &["weights.pt", "--keep", "3"]].concat());
    assert_eq!(fixture.ok(&commit), second);
    assert_eq!(fixture.ok(&[&commit[..], &["--verify"]].concat()), second);
    assert_eq!(fixture.ok(&[&commit[..], &["--list"]].concat()), format!("{second}{}\n", first.display()));
    let latest = fixture.file("models", "bundles/run-1/latest/weights.pt");
    assert_eq!(fs::read(latest).unwrap(), b"weights 2");

    let shown = &fixture.run(&[&commit[..], &["--json"]].concat()).json()[0];
    assert_eq!(shown["value"], json!(null));
    assert_eq!(
        shown["files"],
        json!([{"name": "weights.pt", "bytes": 9, "crc32": format!("{:08x}", crc32fast::hash(b"weights 2"))}])
    );
    assert_eq!(shown["previous"][0], json!(first.file_name().unwrap().to_str().unwrap()));
    assert_eq!((&shown["key"], &shown["seq"]), (&json!("run-1"), &json!(2)));

    fixture.ok(&["delete", "models", "run-1"]);
    fixture.ok(&["bundle", "models", "--clean"]);
    assert!(!Path::new(second.trim_end()).exists());
    fixture.run(&commit).fails(3, &["no bundle of the key"]);
}

#[test]
fn what_cannot_be_committed_is_refused_with_its_exit_code_and_changes_nothing() {
    let fixture = with_files();
    let commit = ["bundle", "models", "--key", "k"];
    fixture.ok(&[&commit[..], &["weights.pt"]].concat());
    for (args, code, words) in [
        (vec!["none.pt"], 1, "none.pt"),
        (vec!["../x=weights.pt"], 1, "directories"),
        (vec!["weights.pt", "weights.pt"], 1, "already"),
        (vec!["weights.pt", "--value", "{"], 1, "no JSON"),
        (vec!["--value", "1"], 2, "FILE"),
        (vec!["--verify", "weights.pt"], 2, "cannot be used"),
    ] {
        fixture.run(&[&commit[..], &args].concat()).fails(code, &[words]);
    }
    fixture.run(&["bundle", "none", "--key", "k"]).fails(3, &["no cohort"]);
    fixture.run(&["bundle", "new", "--key", "k", "weights.pt"]).says(&["made the cohort \"new\""]).ok();
    fixture.run(&["bundle", "models", "weights.pt"]).fails(2, &["--key"]);
    fixture.run(&["bundle", "models", "--key", "other"]).fails(3, &["other"]);
    assert_eq!(fixture.run(&["stats", "models", "--json"]).json()[0]["seq"], json!(1));
    let path = fixture.ok(&commit);
    fs::write(Path::new(path.trim_end()).join("weights.pt"), b"weights X").unwrap();
    fixture.run(&[&commit[..], &["--verify"]].concat()).fails(5, &["not what was committed", "weights.pt"]);
    fs::write(Path::new(path.trim_end()).join("weights.pt"), b"w").unwrap();
    fixture.run(&commit).fails(5, &["has 1 bytes"]);
}

#[test]
fn a_file_size_limit_leaves_the_old_bundle() {
    let fixture = with_files();
    let commit = ["bundle", "models", "--key", "k"];
    let first = fixture.ok(&[&commit[..], &["weights.pt"]].concat());
    fs::write(fixture.dir().join("large"), vec![1; 3 << 20]).unwrap();
    // Of 512 bytes each: 1 MiB.
    let script = "ulimit -f 2048; exec \"$0\" \"$@\"";
    let mut limited = fixture.bare("sh", &["-c", script, common::TALLYFOLD]);
    limited.args(commit).arg("large").arg("--store").arg(fixture.store());
    let ended: Ended = limited.output().unwrap().into();
    ended.fails(1, &["make room", "large"]);
    assert_eq!(fixture.ok(&[&commit[..], &["--verify"]].concat()), first);
    assert_eq!(fs::read_dir(fixture.file("models", "bundles")).unwrap().count(), 1, "nothing staged is left");
}

/// What stands behind `--` is the command's, so the store is named in the environment.
fn once(fixture: &Fixture, args: &[&str]) -> std::process::Command {
    let mut command = fixture.bare(common::TALLYFOLD, &[&["once"], args].concat());
    command.env("TALLYFOLD_STORE", fixture.store());
    command
}

fn run_once(fixture: &Fixture, args: &[&str]) -> Ended {
    once(fixture, args).output().unwrap().into()
}

#[test]
fn a_command_runs_once_and_what_it_prints_is_the_value() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "cache"]);
    let script = "echo run >> runs; echo '{\"n\": 1.50}'";
    let args = ["cache", "k", "--", "sh", "-c", script];
    for _ in 0..2 {
        assert_eq!(run_once(&fixture, &args).ok(), "{\"n\":1.50}\n");
    }
    assert_eq!(fs::read_to_string(fixture.dir().join("runs")).unwrap(), "run\n");
    assert_eq!(
        run_once(&fixture, &[&["--json"], &args[..]].concat()).json()[0],
        json!({"seq": 1, "value": {"n": 1.5}})
    );
    for (script, words) in [
        ("echo '[1'; exit 3", "has failed"),
        ("echo no JSON", "JSON"),
        ("printf '\\377'", "UTF-8"),
        ("kill -9 $$", "has failed"),
    ] {
        run_once(&fixture, &["cache", "other", "--", "sh", "-c", script]).fails(1, &[words]);
    }
    run_once(&fixture, &["cache", "other", "--", "./no such command"]).fails(1, &["cannot be run"]);
    run_once(&fixture, &["new", "k", "--", "echo", "1"]).says(&["made the cohort \"new\""]).ok();
    run_once(&fixture, &["cache", "k"]).fails(2, &["COMMAND"]);
    assert_eq!(run_once(&fixture, &["cache", "other", "--", "echo", "2"]).ok(), "2\n");
}

#[test]
fn who_waits_too_long_for_a_command_ends_with_4_and_takes_over_when_that_one_is_killed() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "cache"]);
    // It ends when its input does: with this test at the latest.
    let script = "echo started >&2; read line; echo 1";
    let mut command = once(&fixture, &["cache", "k", "--", "sh", "-c", script]);
    command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut computing = Running::start(&mut command);
    let mut told = std::io::BufReader::new(computing.0.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut told, &mut line).unwrap();
    assert_eq!(line, "started\n");
    let holder = format!("process {}", computing.0.id());
    let again = ["cache", "k", "--timeout", "0.05", "--", "echo", "2"];
    run_once(&fixture, &again).fails(4, &["no lock within", &holder]);
    computing.0.kill().unwrap();
    computing.0.wait().unwrap();
    assert_eq!(run_once(&fixture, &again).ok(), "2\n");
}
