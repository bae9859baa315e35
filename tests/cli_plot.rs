//! `plot`: curves as text, their points as JSON, and drawn anew on a terminal.
#![allow(clippy::disallowed_methods, reason = "tests look at and damage files")]

mod common;
mod terminal;

use std::process::Stdio;

use common::{Ended, Fixture, Running};
use serde_json::{Value, json};
use tallyfold::{Batch, Settings};

/// A log of metric points without keys: two runs of so many steps.
fn metrics(fixture: &Fixture, steps: u32) {
    let log = fixture.library().create("metrics", Settings::log()).unwrap();
    let mut batch = Batch::new();
    for step in 0..steps {
        for (run, rate) in [("run-1", 0.1), ("run-2", 0.2)] {
            let loss = (-rate * f64::from(step)).exp();
            let point = json!({"run_id": run, "stage": "TRAINING", "step": step, "loss": loss, "outputs": {"auc": 1.0 - loss}});
            batch.put("", &point).unwrap();
        }
    }
    log.append_batch(batch).unwrap();
}

fn points(ended: Ended) -> Vec<(String, f64, Value)> {
    assert_eq!(ended.code, 0, "{ended:?}");
    let point = |point: Value| {
        (point["curve"].as_str().unwrap().to_string(), point["x"].as_f64().unwrap(), point["y"].clone())
    };
    ended.json().into_iter().map(point).collect()
}

#[test]
fn each_run_is_a_curve_with_its_letter_and_what_it_has_come_to() {
    let fixture = Fixture::new();
    metrics(&fixture, 30);
    let ended = fixture.run(&["plot", "metrics", "loss"]);
    assert_eq!(ended.err, "");
    let text = ended.ok();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 25, "{text}");
    assert!(lines.iter().all(|line| line.chars().count() <= 100) && !text.contains('\x1b'), "{text}");
    assert_eq!(lines[0], "loss of metrics");
    assert!(lines[21].trim_start().starts_with("step") && lines[21].trim_end().ends_with("29"), "{text}");
    let legend: Vec<Vec<&str>> = lines[22..].iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(legend[0], ["curve", "last", "min", "max", "points"]);
    assert_eq!(legend[1], ["a", "run-1", "0.0550232", "0.0550232", "1", "30"]);
    assert_eq!(legend[2], ["b", "run-2", "3.02755e-3", "3.02755e-3", "1", "30"]);
    // Both fall: in the first row is their beginning, in the last one their end.
    let plot = &lines[1..20];
    assert!(
        plot.iter().any(|line| line.contains('a')) && plot.iter().any(|line| line.contains('b')),
        "{text}"
    );
}

#[test]
fn size_scale_and_letters_are_as_asked_for() {
    let fixture = Fixture::new();
    metrics(&fixture, 50);
    let args = [
        "plot",
        "metrics",
        "outputs.auc",
        "--ascii",
        "--log-y",
        "--width",
        "60",
        "--height",
        "14",
        "--x",
        "seq",
    ];
    let ended = fixture.run(&args).says(&["2 points are not positive"]);
    let text = ended.ok();
    assert!(text.is_ascii() && text.contains("aaa") && text.contains("bbb"), "{text}");
    assert_eq!(text.lines().count(), 14);
    assert!(text.lines().all(|line| line.len() <= 60));
    assert_eq!(text.lines().next(), Some("outputs.auc of metrics, on a logarithmic scale"));
    fixture.run(&["plot", "metrics", "loss", "--smooth", "1"]).fails(2, &["less than 1"]);
    fixture.run(&["plot", "metrics", "a..b"]).fails(2, &["joined by dots"]);
}

#[test]
fn the_points_are_lines_of_json_in_their_order_and_infinity_is_told() {
    let fixture = Fixture::new();
    let log = fixture.library().create("c", Settings::log()).unwrap();
    for (key, y) in [("b", 1.5), ("a", f64::NAN), ("b", f64::NEG_INFINITY), ("b", 2.0)] {
        log.append(key, &json!({"n": 1})).unwrap();
        log.append(key, &std::collections::BTreeMap::from([("y", y)])).unwrap();
    }
    let text = fixture.ok(&["plot", "c", "y", "--json"]);
    let expected = [
        r#"{"curve":"b","seq":2,"x":2,"y":1.5}"#,
        r#"{"curve":"a","seq":4,"x":4,"y":"NaN","nonfinite":true}"#,
        r#"{"curve":"b","seq":6,"x":6,"y":"-Infinity","nonfinite":true}"#,
        r#"{"curve":"b","seq":8,"x":8,"y":2.0}"#,
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    let by_count = points(fixture.run(&["plot", "c", "y", "--json", "--key", "b", "--x", "count"]));
    assert_eq!(by_count.iter().map(|(_, x, _)| *x).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
    fixture.run(&["plot", "c", "y"]).says(&["2 points are NaN or infinite: they leave gaps"]).ok();
}

#[test]
fn curves_are_named_by_the_fields_asked_for_and_lie_where_a_field_says() {
    let fixture = Fixture::new();
    metrics(&fixture, 3);
    let found = points(fixture.run(&[
        "plot",
        "metrics",
        "step",
        "--json",
        "--by",
        "stage,run_id,none",
        "--x",
        "loss",
    ]));
    assert_eq!(found[0], ("TRAINING:run-1:-".to_string(), 1.0, json!(0.0)));
    assert_eq!(found.len(), 6);
    let args = ["plot", "metrics", "step", "--json", "--where", "run_id=run-2", "--from", "3"];
    let some: Vec<(String, Value)> =
        points(fixture.run(&args)).into_iter().map(|(curve, _, y)| (curve, y)).collect();
    assert_eq!(some, [("run-2".to_string(), json!(1.0)), ("run-2".to_string(), json!(2.0))]);
    let time = points(fixture.run(&["plot", "metrics", "step", "--json", "--x", "time"]));
    assert!(time.iter().all(|(_, x, _)| *x > 1.7e15));
    fixture
        .run(&["plot", "metrics", "step", "--x", "stage"])
        .fails(3, &["6 records", "no number in the field stage", "--x"]);
}

#[test]
fn a_metric_that_no_record_has_ends_with_3_and_tells_those_there_are() {
    let fixture = Fixture::new();
    metrics(&fixture, 2);
    for args in [&["plot", "metrics", "los"][..], &["plot", "metrics", "los", "--json"]] {
        fixture.run(args).fails(3, &["\"los\"", "loss, outputs.auc, step"]);
    }
    fixture.run(&["plot", "metrics", "loss", "--key", "run-1"]).fails(3, &["of those asked for", "no field"]);
    fixture.ok(&["create", "empty"]);
    fixture.run(&["plot", "empty", "loss"]).fails(3, &["no record of \"empty\""]);
    fixture.run(&["plot", "nowhere", "loss"]).fails(3, &["nowhere"]);
}

#[test]
fn of_a_series_the_points_it_keeps_are_drawn() {
    let fixture = Fixture::new();
    let settings = Settings::from_json(r#"{"fold":{"kind":"series","points":3}}"#).unwrap();
    let series = fixture.library().create("curves", settings).unwrap();
    for y in 1..=5 {
        series.append("run-1", &json!({"loss": y, "acc": 0.5})).unwrap();
        series.append("run-2", &json!({"acc": 0.5})).unwrap();
    }
    for compacted in [false, true] {
        if compacted {
            fixture.ok(&["compact", "curves"]);
        }
        let found = points(fixture.run(&["plot", "curves", "loss", "--json"]));
        let expected = [(5.0, json!(3.0)), (7.0, json!(4.0)), (9.0, json!(5.0))]
            .map(|(x, y)| ("run-1".to_string(), x, y));
        assert_eq!(found, expected);
        let counts =
            points(fixture.run(&["plot", "curves", "acc", "--json", "--x", "count", "--key", "run-2"]));
        assert_eq!(counts.iter().map(|(_, x, _)| *x).collect::<Vec<_>>(), [3.0, 4.0, 5.0]);
    }
    fixture.run(&["plot", "curves", "acc"]).says(&["4 older points are not drawn"]).ok();
    fixture.run(&["plot", "curves", "acc", "--x", "step"]).fails(2, &["--x takes seq or count"]);
    fixture.run(&["plot", "curves", "acc", "--where", "acc>0"]).fails(2, &["--key, --parts and --prefix"]);
    fixture.run(&["plot", "curves", "los"]).fails(3, &["acc, loss"]);
}

#[test]
fn of_many_curves_those_with_the_newest_records_are_drawn() {
    let fixture = Fixture::new();
    let log = fixture.library().create("c", Settings::log()).unwrap();
    let mut batch = Batch::new();
    for run in 0..200 {
        for value in 0..3 {
            batch.put(&format!("run-{run:03}"), &json!(value)).unwrap();
        }
    }
    batch.put("run-007", &json!(9)).unwrap();
    log.append_batch(batch).unwrap();
    let ended = fixture.run(&["plot", "c", ".", "--curves", "3"]).says(&["3 of 200 curves are drawn"]);
    let text = ended.ok();
    let legend: Vec<Vec<&str>> =
        text.lines().skip(22).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(legend[0], ["a", "run-007", "9", "0", "9", "4"], "{text}");
    assert_eq!((legend[1][1], legend[2][1]), ("run-198", "run-199"), "{text}");
}

#[test]
fn what_is_folded_away_and_what_is_damaged_is_told_beside_what_is_left() {
    let fixture = Fixture::new();
    let cohort = fixture.library().create("c", Settings::latest()).unwrap();
    for round in 0..3 {
        cohort.append("k", &json!({"auc": round})).unwrap();
        cohort.compact().unwrap();
    }
    cohort.append("k", &json!({"auc": 3, "text": "abcdefgh"})).unwrap();
    let drawn = fixture.run(&["plot", "c", "auc"]).says(&["are folded away"]);
    assert!(drawn.ok().contains("auc of c"));
    cohort.append_durable("k", &json!({"auc": 4})).unwrap();
    drop(cohort);
    let name = std::fs::read_dir(fixture.store().join("c"))
        .unwrap()
        .filter_map(|it| it.unwrap().file_name().into_string().ok());
    let name = name.filter(|name| name.ends_with(".journal")).find(|name| {
        std::fs::read(fixture.file("c", name)).unwrap().windows(8).any(|bytes| bytes == b"abcdefgh")
    });
    fixture.damage("c", &name.unwrap(), "abcdefgh");
    let ended = fixture.run(&["plot", "c", "auc"]);
    assert!(ended.out.is_empty() || ended.out.starts_with("auc of c"), "{ended:?}");
    ended.fails(5, &[".journal"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let fixture = Fixture::new();
    metrics(&fixture, 5000);
    let mut command = fixture.command(&["plot", "metrics", "loss", "--json"]);
    let mut running = Running::start(command.stderr(Stdio::piped()));
    let mut lines = running.lines();
    assert!(lines.next().starts_with(r#"{"curve":"run-1""#));
    drop(lines);
    let ended = running.ended();
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
}

#[test]
fn points_come_as_they_are_appended_until_ctrl_c() {
    let fixture = Fixture::new();
    for (cohort, settings) in
        [("log", Settings::log()), ("series", Settings::from_json(r#"{"fold":{"kind":"series"}}"#).unwrap())]
    {
        let cohort = fixture.library().create(cohort, settings).unwrap();
        cohort.append("k", &json!({"y": 1})).unwrap();
        let mut command = fixture.command(&["plot", cohort.name(), "y", "--json", "--watch"]);
        let mut running = Running::start(command.stderr(Stdio::piped()));
        let mut lines = running.lines();
        for y in 1..5 {
            assert_eq!(lines.next(), format!("{{\"curve\":\"k\",\"seq\":{y},\"x\":{y},\"y\":{y}.0}}\n"));
            cohort.append("k", &json!({"y": y + 1})).unwrap();
        }
        running.interrupt();
        let ended = running.ended();
        assert_eq!((ended.code, ended.err.as_str()), (130, ""), "{ended:?}");
    }
    fixture.run(&["plot", "log", "y", "--watch"]).fails(2, &["--watch", "--json"]);
}

#[test]
fn on_a_terminal_it_is_drawn_in_colours_without_another_screen() {
    let fixture = Fixture::new();
    metrics(&fixture, 30);
    let Some(ended) = terminal::run(&fixture, &["plot", "metrics", "loss"], json!([])) else { return };
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.output.contains("\x1b[0;36m") && !ended.output.contains("\x1b[?1049h"), "{ended:?}");
    assert_eq!(ended.output.lines().count(), 23, "{}", ended.output);
    let Some(plain) = terminal::run(&fixture, &["plot", "metrics", "loss", "--color", "never"], json!([]))
    else {
        return;
    };
    assert!(!plain.output.contains('\x1b'), "{plain:?}");
}

#[test]
fn watched_on_a_terminal_it_goes_on_until_q_and_the_terminal_is_given_back() {
    let fixture = Fixture::new();
    metrics(&fixture, 30);
    for (end, code) in
        [(json!({"keys": "q"}), 0), (json!({"keys": "\u{3}"}), 130), (json!({"signal": 2}), 130)]
    {
        let steps = json!([{"wait": "run-2"}, {"size": [40, 100]}, {"wait": "run-2"}, end]);
        let Some(ended) = terminal::run(&fixture, &["plot", "metrics", "loss", "--watch"], steps) else {
            return;
        };
        assert_eq!(ended.code, code, "{ended:?}");
        ended.has_given_back();
    }
}
