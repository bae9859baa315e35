//! `top`: as text, as JSON, and on a terminal.
#![allow(clippy::disallowed_methods, reason = "tests damage and remove files on purpose")]

mod common;
mod terminal;

use std::fs;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{Fixture, Running, shares_memory};
use serde_json::{Value, json};
use tallyfold::{Cohort, Settings};

/// Appends all the time while something else is done.
fn while_appending<T>(cohort: &Cohort, act: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                cohort.append("k", &json!({"loss": 0.5})).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        let result = act();
        done.store(true, Ordering::Relaxed);
        result
    })
}

fn row<'a>(sample: &'a Value, cohort: &str) -> Option<&'a Value> {
    sample["cohorts"].as_array().unwrap().iter().find(|row| row["cohort"] == cohort)
}

#[test]
fn one_line_of_json_tells_what_is_appended_each_second() {
    let fixture = Fixture::new();
    let store = fixture.library();
    let busy = store.create("busy", Settings::latest()).unwrap();
    store.create("idle", Settings::latest()).unwrap().append("k", &1).unwrap();
    let samples =
        while_appending(&busy, || fixture.run(&["top", "--json", "--once", "--every", "300ms"]).json());
    let [sample] = samples.as_slice() else { panic!("{samples:?}") };
    assert!(sample["interval_s"].as_f64().unwrap() >= 0.3 && sample["time"].as_str().unwrap().ends_with('Z'));
    let (busy, idle) = (row(sample, "busy").unwrap(), row(sample, "idle").unwrap());
    assert!(busy["records_s"].as_f64().unwrap() > 0.0 && busy["bytes_s"].as_f64().unwrap() > 0.0, "{busy}");
    assert!(busy["tail_records"].as_u64().unwrap() > 0 && busy["tail_bytes"].as_u64().unwrap() > 0, "{busy}");
    assert_eq!((idle["records_s"].as_f64(), idle["seq"].as_u64()), (Some(0.0), Some(1)));
    if shares_memory(&fixture) {
        assert!(busy["appends_s"].as_f64().unwrap() > 0.0 && busy["attached"] == 1, "{busy}");
    }
}

#[test]
fn a_cohort_of_the_lock_class_file_has_rates_and_dashes_for_what_nobody_counts() {
    let fixture = Fixture::new();
    let cohort =
        fixture.library().create("c", Settings::latest().with_json(r#"{"lock":"file"}"#).unwrap()).unwrap();
    let text = while_appending(&cohort, || fixture.ok(&["top", "--once", "--every", "300ms"]));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("1 cohort") && !text.contains('\x1b'), "{text}");
    let cells = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
    let row: Vec<(String, &str)> = lines[2]
        .replace("WAIT P99", "WAIT")
        .replace("PER SYNC", "GROUP")
        .split_whitespace()
        .map(String::from)
        .zip(cells(3))
        .collect();
    let cell = |title: &str| row.iter().find(|(name, _)| name.starts_with(title)).unwrap().1;
    assert_eq!((cell("COHORT"), cell("STATE")), ("c", "fine"));
    for title in ["APPENDS/S", "CONTENDED", "WAIT", "SYNCS/S", "GROUP", "ATTACHED"] {
        assert_eq!(cell(title), "-", "{title}: {text}");
    }
    assert!(!["-", "0"].contains(&cell("RECORDS/S")) && !["-", "0"].contains(&cell("SEQ")), "{text}");
}

#[test]
fn where_there_is_no_terminal_it_names_what_to_ask_for_instead() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "c"]);
    fixture.run(&["top"]).fails(2, &["--once", "--json"]);
    fixture.run(&["top", "--every", "soon"]).fails(2, &["1s, 200ms or 1m"]);
}

#[test]
fn a_store_that_is_not_there_ends_with_3_and_an_empty_one_is_told() {
    let fixture = Fixture::new();
    fixture.run(&["top", "--once"]).fails(3, &["no store"]);
    fixture.library();
    let empty = fixture.run(&["top", "--once", "--every", "50ms"]).says(&["there is no cohort"]);
    assert_eq!(empty.ok(), "");
    let lines = fixture.run(&["top", "--json", "--once", "--every", "50ms"]).json();
    assert_eq!(lines[0]["cohorts"], json!([]));
}

#[test]
fn a_damaged_cohort_is_shown_with_what_is_wrong_and_stops_no_other() {
    let fixture = Fixture::new();
    fixture.fill("good", &[], &[("k", "1")]);
    fixture.fill("bad", &[], &[("k", "\"abcdefgh\""), ("k", "\"ijklmnop\"")]);
    fixture.damage("bad", "00000001.journal", "abcdefgh");
    let ended = fixture.run(&["top", "--once", "--every", "50ms", "--sort", "state"]);
    let ended = ended.says(&["cohort \"bad\"", "00000001.journal"]);
    let text = ended.ok();
    assert!(text.contains("2 cohorts, 1 of them needs a look"), "{text}");
    let rows: Vec<Vec<&str>> =
        text.lines().skip(3).map(|line| line.split_whitespace().take(2).collect()).collect();
    assert_eq!(rows, [["bad", "damaged"], ["good", "fine"]]);
}

#[test]
fn cohorts_that_come_and_go_are_seen_line_by_line_until_ctrl_c() {
    let fixture = Fixture::new();
    let store = fixture.library();
    store.create("a", Settings::latest()).unwrap();
    let mut command = fixture.command(&["top", "--json", "--every", "50ms"]);
    let mut running = Running::start(command.stderr(Stdio::piped()));
    let mut lines = running.lines();
    let mut next = |wanted: &dyn Fn(&Value) -> bool| {
        for _ in 0..1000 {
            let line = lines.next();
            if wanted(&serde_json::from_str(&line).unwrap()) {
                return;
            }
        }
        panic!("it was never seen");
    };
    next(&|sample| row(sample, "a").is_some() && row(sample, "b").is_none());
    store.create("b", Settings::log()).unwrap().append("k", &1).unwrap();
    next(&|sample| row(sample, "b").is_some_and(|b| b["seq"] == 1));
    fs::remove_dir_all(fixture.store().join("b")).unwrap();
    next(&|sample| row(sample, "b").is_some_and(|b| b["state"] == "gone"));
    next(&|sample| row(sample, "b").is_none() && row(sample, "a").is_some());
    running.interrupt();
    let ended = running.ended();
    assert_eq!((ended.code, ended.err.as_str()), (130, ""), "{ended:?}");
}

#[test]
fn keys_choose_show_and_leave_and_the_terminal_is_given_back() {
    let fixture = Fixture::new();
    fixture.fill("index", &[], &[("k", "1")]);
    fixture.fill("metrics", &["--fold", "log"], &[("k", "1")]);
    let steps = json!([
        {"wait": "metrics"}, {"keys": "j"}, {"keys": "\r"}, {"wait": "watermark"},
        {"size": [50, 160]}, {"wait": "watermark"}, {"keys": "\u{1b}"}, {"wait": "COHORT"}, {"keys": "q"},
    ]);
    let Some(ended) = terminal::run(&fixture, &["top", "--every", "100ms"], steps) else { return };
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.has_given_back();
}

#[test]
fn ctrl_c_leaves_with_130_and_the_terminal_is_given_back_whether_it_is_a_key_or_a_signal() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "c"]);
    for end in [json!({"keys": "\u{3}"}), json!({"signal": 2})] {
        let steps = json!([{"wait": "COHORT"}, end]);
        let Some(ended) = terminal::run(&fixture, &["top"], steps) else { return };
        assert_eq!(ended.code, 130, "{ended:?}");
        ended.has_given_back();
        assert!(!ended.output.contains("tallyfold:"), "{ended:?}");
    }
}

#[test]
fn a_cohort_that_vanishes_while_it_is_watched_is_told_on_the_screen() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "c"]);
    let names = [fixture.store().join("c"), fixture.dir().join("away")];
    let steps = json!([{"wait": "fine"}, {"move": names}, {"wait": "gone"}, {"wait": "yet"}, {"keys": "q"}]);
    let Some(ended) = terminal::run(&fixture, &["top", "--every", "100ms"], steps) else { return };
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.has_given_back();
}

#[test]
fn without_colours_there_are_none_on_the_screen() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "c"]);
    let colors = |args: &[&str]| {
        let steps = json!([{"wait": "fine"}, {"keys": "q"}]);
        let ended = terminal::run(&fixture, &[&["top"], args].concat(), steps)?;
        Some(["\x1b[32", "\x1b[38;5;2"].iter().any(|green| ended.output.contains(green)))
    };
    let Some(colored) = colors(&[]) else { return };
    assert_eq!((colored, colors(&["--color", "never"])), (true, Some(false)));
}
