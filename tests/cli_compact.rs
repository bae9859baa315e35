//! `compact --every`: it goes on, finds what is new, and says of what fails no more than it has to.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

mod common;

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use common::{Fixture, Running};
use serde_json::Value;

fn interrupt(running: &mut Running) -> Option<i32> {
    let pid = running.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    running.0.wait().unwrap().code()
}

fn every(fixture: &Fixture, args: &[&str]) -> Running {
    let mut command = fixture.command(&[&["compact", "--every", "20ms"], args].concat());
    Running::start(command.stderr(Stdio::piped()))
}

fn said(running: &mut Running) -> String {
    let mut said = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    said
}

#[test]
fn it_goes_on_finds_new_cohorts_and_prints_only_what_it_has_done() {
    let fixture = Fixture::new();
    fixture.fill("a", &[], &[("k", "1")]);
    let mut running = every(&fixture, &[]);
    let mut lines = running.lines();
    assert!(lines.next().starts_with("a: folded 1 records up to seq 1: "));
    fixture.fill("b", &["--fold", "log"], &[("k", "1")]);
    assert!(lines.next().starts_with("b: sealed up to seq 1"));
    fixture.feed(&["append", "a", "--key", "l"], "2").ok();
    assert!(lines.next().starts_with("a: folded 1 records up to seq 2: 2 entries"));
    assert_eq!(interrupt(&mut running), Some(130));
    assert_eq!(said(&mut running), "");
}

#[test]
fn a_cohort_that_fails_is_told_once_and_stops_no_other() {
    let fixture = Fixture::new();
    fixture.fill("bad", &[], &[]);
    fixture.fill("good", &[], &[("k", "1")]);
    let document = fs::read(fixture.file("bad", "cohort.json")).unwrap();
    fs::write(fixture.file("bad", "cohort.json"), "{}").unwrap();
    let mut running = every(&fixture, &["--json"]);
    let mut lines = running.lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next()).unwrap();
    for seq in 1..4 {
        let line = next();
        assert_eq!(
            (&line["cohort"], &line["result"], &line["seq"]),
            (&"good".into(), &"folded".into(), &seq.into())
        );
        fixture.feed(&["append", "good", "--key", "k"], "2").ok();
    }
    next();
    fs::write(fixture.file("bad", "cohort.json"), document).unwrap();
    fixture.feed(&["append", "bad", "--key", "k"], "1").ok();
    assert_eq!(next()["cohort"], "bad");
    assert_eq!(interrupt(&mut running), Some(130));
    let said = said(&mut running);
    assert!(said.lines().count() == 1 && said.contains("cohort \"bad\": "), "{said}");
}

#[test]
fn while_another_process_compacts_that_is_told_once() {
    let fixture = Fixture::new();
    fixture.fill("a", &[], &[("k", "1")]);
    let held = tallyfold::files::FileLock::try_exclusive(fixture.file("a", "compact.lock")).unwrap().unwrap();
    fixture.fill("b", &[], &[("k", "1")]);
    let mut running = every(&fixture, &[]);
    let mut lines = running.lines();
    for seq in 1..4 {
        assert!(lines.next().starts_with(&format!("b: folded 1 records up to seq {seq}: ")));
        fixture.feed(&["append", "b", "--key", "k"], "2").ok();
    }
    drop(held);
    while !lines.next().starts_with("a: folded 1 records") {}
    interrupt(&mut running);
    let said = said(&mut running);
    assert!(
        said.lines().count() == 1 && said.contains("cohort \"a\": another process is compacting it"),
        "{said}"
    );
}

#[test]
fn a_mirror_that_cannot_be_written_is_told_once_and_the_compaction_counts() {
    let fixture = Fixture::new();
    let mirror = fixture.dir().join("mirror.json");
    fs::create_dir(&mirror).unwrap();
    let settings = serde_json::json!({"fold":{"kind":"latest"},"mirror":mirror}).to_string();
    fixture.fill("a", &["--settings", &settings], &[("k", "1")]);
    let mut running = every(&fixture, &["a"]);
    let mut lines = running.lines();
    assert!(lines.next().starts_with("a: folded 1 records"));
    fixture.feed(&["append", "a", "--key", "k"], "2").ok();
    assert!(lines.next().starts_with("a: folded 1 records"));
    interrupt(&mut running);
    let said = said(&mut running);
    assert!(said.lines().count() == 1 && said.contains("mirror could not be written"), "{said}");
}

#[test]
fn what_is_not_there_in_the_beginning_is_a_mistake() {
    let fixture = Fixture::new();
    fixture.run(&["compact", "--every", "1s"]).fails(3, &["there is no store"]);
    fixture.library();
    fixture.run(&["compact", "a", "--every", "1s"]).fails(3, &["no cohort \"a\""]);
    for time in ["30", "0s", "-1s", "soon"] {
        fixture.run(&["compact", &format!("--every={time}")]).fails(2, &["such as 30s"]);
    }
}

#[test]
fn it_ends_quietly_when_nobody_reads_any_more() {
    let fixture = Fixture::new();
    fixture.fill("a", &[], &[("k", "1")]);
    let mut running = every(&fixture, &[]);
    drop(running.lines());
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    assert_eq!(said(&mut running), "");
}
