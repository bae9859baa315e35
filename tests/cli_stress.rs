//! `tallyfold stress`, as a sceptic runs it, and as one whose run goes wrong.
#![cfg(feature = "cli")]
#![allow(clippy::disallowed_methods, reason = "tests look at processes and files from outside")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{Ended, Fixture, Running, shares_memory};
use serde_json::{Value, json};

/// How long anything may take that has to happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

fn stress(fixture: &Fixture, args: &[&str]) -> Ended {
    fixture.run(&[&["stress", "--json"], args].concat())
}

/// The one object that a run prints.
#[track_caller]
fn report(ended: Ended) -> Value {
    let mut objects = ended.json();
    assert_eq!(objects.len(), 1, "{objects:?}");
    objects.remove(0)
}

fn count(report: &Value, figure: &str) -> u64 {
    report[figure].as_u64().unwrap_or_else(|| panic!("{figure} is missing in {report}"))
}

/// That nothing is wrong, and something was done.
#[track_caller]
fn is_clean(report: &Value) {
    for figure in ["lost", "duplicated", "corrupted", "misplaced", "unexpected", "stale_views", "hung"] {
        assert_eq!(count(report, figure), 0, "{figure}: {report}");
    }
    assert!(count(report, "acknowledged") > 0, "{report}");
    assert_eq!(
        count(report, "appended"),
        count(report, "acknowledged") + count(report, "unsaid"),
        "{report}"
    );
}

/// Waits until something is so.
#[track_caller]
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

/// The ids of the processes whose command line holds all of these words.
fn processes(words: &[&str]) -> Vec<String> {
    let of = |id: &String| fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let ids = names(Path::new("/proc")).into_iter().filter(|name| name.parse::<u32>().is_ok());
    ids.filter(|id| {
        let line = String::from_utf8_lossy(&of(id)).into_owned();
        words.iter().all(|word| line.contains(word))
    })
    .collect()
}

fn signal(fixture: &Fixture, name: &str, id: &str) {
    assert!(fixture.bare("kill", &[name, id]).status().unwrap().success(), "{name} {id}");
}

/// A run that has more to do than it has time, once its writers are at work: its process, and the word that is in the command lines of
/// its workers.
fn at_work(fixture: &Fixture, args: &[&str]) -> (Running, String) {
    let args = [&["stress", "--json", "--processes", "3", "--appends", "1000000"], args].concat();
    let mut command = fixture.command(&args);
    let running = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let place = fixture.dir().to_str().unwrap().to_string();
    // The first acts have made frames: the journal is longer than an empty one.
    eventually("writers at work", || {
        let store = fixture.store();
        let cohort = names(&store).into_iter().find(|name| name.starts_with("stress-"))?;
        let view = tallyfold::Store::open_existing(store).ok()?.cohort(&cohort).ok()?.last_seq().ok()?;
        (view > 0).then_some(())
    });
    (running, place)
}

fn wait(child: &mut Child) -> i32 {
    eventually("the end of the command", || child.try_wait().unwrap()).code().expect("it ends by itself")
}

fn is_cleared(fixture: &Fixture, place: &str) {
    eventually("the end of all workers", || processes(&["stress-worker", place]).is_empty().then_some(()));
    assert_eq!(names(&fixture.store()), ["store.json"], "nothing is left in the store");
}

#[test]
fn nothing_is_lost_with_either_class_of_lock_though_processes_are_killed_and_nothing_is_left_behind() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "index"]);
    let ended = stress(&fixture, &["--processes", "4", "--appends", "1500", "--kill9", "--seed", "5"]);
    let report = report(Ended { code: ended.code, out: ended.out, err: ended.err });
    is_clean(&report);
    assert!(count(&report, "kills") > 0, "{report}");
    assert!(count(&report, "views") > 0 && count(&report, "compactions") > 0, "{report}");
    let locks: Vec<&str> =
        report["runs"].as_array().unwrap().iter().map(|run| run["lock"].as_str().unwrap()).collect();
    let both = if shares_memory(&fixture) { vec!["memory", "file"] } else { vec!["file"] };
    assert_eq!(locks, both);
    for run in report["runs"].as_array().unwrap() {
        is_clean(run);
        assert_eq!(count(run, "acts"), 4 * 1500, "{run}");
        assert_eq!(run["latency_by_kind_us"].as_array().unwrap().len(), 3, "{run}");
        let latency = &run["latency_us"];
        let quantiles = ["p50", "p90", "p99", "p999", "max"].map(|name| latency[name].as_f64().unwrap());
        assert!(quantiles[0] > 0.0 && quantiles.is_sorted(), "{run}");
        assert!(run["per_second"].as_f64().unwrap() > 0.0, "{run}");
    }
    assert_eq!(fixture.run(&["ls", "--json"]).json().len(), 1, "only what was there before");
    assert_eq!(names(&fixture.store()), ["index", "store.json"]);
}

#[test]
fn without_a_store_it_makes_one_in_the_directory_and_removes_it() {
    let fixture = Fixture::new();
    let args = [
        "stress",
        "--processes",
        "2",
        "--appends",
        "200",
        "--lock",
        "file",
        "--load",
        "appends",
        "--durable",
    ];
    let ended: Ended = fixture.bare(common::TALLYFOLD, &args).output().unwrap().into();
    let table = ended.ok();
    assert!(
        table.contains("durable") && table.contains("all 400 acknowledged records are there once"),
        "{table}"
    );
    assert!(table.contains(fixture.dir().to_str().unwrap()), "it says where: {table}");
    let other = fixture.dir().join("data");
    fs::create_dir(&other).unwrap();
    let mut command = fixture.bare(common::TALLYFOLD, &args);
    Ended::from(command.arg("--store").arg(&other).output().unwrap()).ok();
    assert_eq!(names(fixture.dir()), ["data"]);
    assert!(names(&other).is_empty());
}

#[test]
fn without_a_lock_records_are_lost_and_counted_and_with_flock_they_are_not() {
    let fixture = Fixture::new();
    fixture.library();
    let args = ["--processes", "4", "--appends", "100"];
    let lossy = report(stress(&fixture, &[&args[..], &["--no-locking"]].concat()));
    assert!(count(&lossy, "lost") > 0, "{lossy}");
    assert_eq!(count(&lossy, "lost") + count(&lossy, "appended"), count(&lossy, "acknowledged"), "{lossy}");
    assert_eq!(count(&lossy, "corrupted"), 0, "each file that was read was whole: {lossy}");

    let ended = stress(&fixture, &[&args[..], &["--no-locking", "--flock", "--kill9"]].concat());
    assert_eq!(ended.code, 0, "{ended:?}");
    let both = report(ended);
    assert_eq!(
        (both["runs"][0]["lock"].as_str(), both["runs"][1]["lock"].as_str()),
        (Some("flock"), Some("none"))
    );
    assert_eq!(count(&both["runs"][0], "lost"), 0, "{both}");
    assert_eq!(names(&fixture.store()), ["store.json"]);
}

#[test]
fn each_fault_that_is_planted_is_found_and_ends_with_5() {
    let fixture = Fixture::new();
    fixture.library();
    for (fault, figure) in [("lost", "lost"), ("duplicated", "duplicated"), ("corrupted", "corrupted")] {
        for lock in ["memory", "file"] {
            if lock == "memory" && !shares_memory(&fixture) {
                println!("skipped: the class memory is not for the file system here");
                continue;
            }
            for load in ["mixed", "appends"] {
                let args = [
                    "--processes",
                    "2",
                    "--appends",
                    "100",
                    "--plant",
                    fault,
                    "--lock",
                    lock,
                    "--load",
                    load,
                ];
                let ended = stress(&fixture, &args).fails(5, &["not what was acknowledged", lock]);
                let report = report(ended);
                assert!(count(&report, figure) > 0, "{report}");
                if fault != "corrupted" {
                    let sum: u64 =
                        ["lost", "duplicated", "corrupted"].iter().map(|name| count(&report, name)).sum();
                    assert_eq!(sum, count(&report, figure), "nothing else is counted: {report}");
                }
                assert!(!report["runs"][0]["faults"].as_array().unwrap().is_empty(), "{report}");
            }
        }
    }
    assert_eq!(names(&fixture.store()), ["store.json"]);
}

#[test]
fn a_lock_that_is_not_had_in_time_is_counted_and_no_failure() {
    let fixture = Fixture::new();
    fixture.library();
    let (mut running, place) =
        at_work(&fixture, &["--lock", "file", "--timeout", "0.01", "--seconds", "2", "--readers", "0"]);
    let cohort = names(&fixture.store()).into_iter().find(|name| name.starts_with("stress-")).unwrap();
    let lock = fs::OpenOptions::new().read(true).write(true).open(fixture.file(&cohort, "lock")).unwrap();
    fs4::FileExt::lock(&lock).unwrap();
    // Nobody can have appended anything until this is over, whatever the time says.
    std::thread::sleep(Duration::from_millis(300));
    drop(lock);
    let mut out = String::new();
    std::io::Read::read_to_string(running.0.stdout.as_mut().unwrap(), &mut out).unwrap();
    assert_eq!(wait(&mut running.0), 0);
    let report: Value = serde_json::from_str(&out).unwrap();
    is_clean(&report);
    assert!(count(&report, "lock_timeouts") > 0, "{report}");
    assert!(count(&report, "acts") < 3_000_000, "the time was over before: {report}");
    is_cleared(&fixture, &place);
}

#[test]
fn ctrl_c_ends_it_with_130_and_leaves_nothing() {
    let fixture = Fixture::new();
    fixture.library();
    let (mut running, place) = at_work(&fixture, &["--kill9"]);
    signal(&fixture, "-INT", &running.0.id().to_string());
    assert_eq!(wait(&mut running.0), 130);
    is_cleared(&fixture, &place);
}

#[test]
fn when_the_command_is_killed_its_workers_end_and_clear_everything_away() {
    let fixture = Fixture::new();
    fixture.library();
    let (mut running, place) = at_work(&fixture, &[]);
    running.0.kill().unwrap();
    running.0.wait().unwrap();
    is_cleared(&fixture, &place);
}

#[test]
fn a_worker_that_hangs_is_killed_and_told_and_one_that_somebody_kills_is_replaced() {
    let fixture = Fixture::new();
    fixture.library();
    let (mut running, place) = at_work(&fixture, &["--lock", "file", "--timeout", "0.05", "--seconds", "3"]);
    let writers = processes(&["stress-worker", "\"Write\"", &place]);
    assert_eq!(writers.len(), 3, "{writers:?}");
    signal(&fixture, "-KILL", &writers[0]);
    signal(&fixture, "-STOP", &writers[1]);
    let mut out = String::new();
    std::io::Read::read_to_string(running.0.stdout.as_mut().unwrap(), &mut out).unwrap();
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((count(&report, "hung"), report["kills"].as_u64() >= Some(1)), (1, true), "{report}");
    assert_ne!(wait(&mut running.0), 0);
    assert_eq!((count(&report, "lost"), count(&report, "duplicated")), (0, 0), "{report}");
    is_cleared(&fixture, &place);
}

#[test]
fn the_same_seed_appends_the_same() {
    let fixture = Fixture::new();
    fixture.library();
    let run = |seed| {
        let args =
            ["--processes", "2", "--appends", "300", "--lock", "file", "--readers", "1", "--seed", seed];
        let report = report(stress(&fixture, &args));
        assert_eq!(report["seed"], json!(seed.parse::<u64>().unwrap()));
        count(&report, "acknowledged")
    };
    assert_eq!(run("1"), run("1"));
    assert_ne!(run("1"), run("2"));
}

#[test]
fn two_runs_at_once_in_one_store_do_not_meet() {
    let fixture = Fixture::new();
    fixture.library();
    let args = ["stress", "--json", "--processes", "2", "--appends", "400", "--lock", "file"];
    let runs =
        [0, 1].map(|_| fixture.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    for run in runs {
        let ended: Ended = run.wait_with_output().unwrap().into();
        assert_eq!(ended.code, 0, "{ended:?}");
        is_clean(&report(ended));
    }
    assert_eq!(names(&fixture.store()), ["store.json"]);
}

#[test]
fn what_makes_no_sense_or_cannot_be_is_told_before_anything_is_made() {
    let fixture = Fixture::new();
    for args in [
        &["--processes", "0"][..],
        &["--processes", "257"],
        &["--appends", "0"],
        &["--processes", "256", "--appends", "100000000"],
        &["--lock", "futex"],
        &["--seconds", "soon"],
        &["--plant", "gone"],
        &["--plant", "lost", "--no-locking"],
    ] {
        stress(&fixture, args).fails(2, &[]);
    }
    stress(&fixture, &[]).fails(3, &["there is no directory", "store"]);
    assert!(names(fixture.dir()).is_empty());
}

#[test]
fn a_closed_pipe_ends_it_quietly_and_a_directory_that_may_not_be_written_is_named() {
    let fixture = Fixture::new();
    fixture.library();
    let small = "stress --processes 2 --appends 50 --lock file";
    let script = format!("\"$0\" --store store {small} | head -n 1");
    let ended: Ended = fixture.bare("sh", &["-c", &script, common::TALLYFOLD]).output().unwrap().into();
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    assert_eq!(names(&fixture.store()), ["store.json"]);

    if fixture.bare("id", &["-u"]).output().is_ok_and(|output| output.stdout == b"0\n") {
        println!("skipped: root may write everywhere");
        return;
    }
    fixture.bare("chmod", &["555", "store"]).status().unwrap();
    let ended = fixture.run(&["stress", "--processes", "2", "--appends", "50"]);
    fixture.bare("chmod", &["755", "store"]).status().unwrap();
    ended.fails(1, &["store"]);
}
