//! Compute once: of all who ask for a key one computes, whoever dies, fails, panics or is in a hurry.
#![allow(clippy::disallowed_methods, reason = "tests look at the locks' directory")]

mod fixture;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use fixture::{Fixture, names};
use serde_json::{Value, json};
use tallyfold::{Error, Settings, Store};

const WORKER: &str = "TALLYFOLD_TEST_WORKER";

/// Not a test of its own: what the worker processes run, each started as this program with this name. It says `computing` when
/// it does, and then waits for a line if it is told to.
#[test]
fn worker() {
    let Ok(spec) = std::env::var(WORKER) else { return };
    let spec: Value = serde_json::from_str(&spec).unwrap();
    let store = Store::open_existing(spec["store"].as_str().unwrap()).unwrap();
    let cohort = store.cohort("c").unwrap().with_timeout(Duration::from_secs(120));
    let worker = spec["worker"].as_u64().unwrap();
    println!("ready");
    let entry = cohort.once("k", || {
        let mut runs =
            fs::OpenOptions::new().create(true).append(true).open(spec["runs"].as_str().unwrap()).unwrap();
        runs.write_all(format!("{worker}\n").as_bytes()).unwrap();
        println!("computing");
        if spec["stay"].as_bool().unwrap() {
            std::thread::sleep(Duration::from_secs(120));
        }
        // So that the others come meanwhile, mostly.
        std::thread::sleep(Duration::from_millis(50));
        Ok::<_, Error>(json!({"computed by": worker}))
    });
    println!("entry {}", entry.unwrap().json());
}

fn start(fixture: &Fixture, runs: &Path, worker: u64, stay: bool) -> Child {
    let spec = json!({"store": fixture.store.path(), "runs": runs, "worker": worker, "stay": stay});
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker", "--nocapture", "--quiet"])
        .env(WORKER, spec.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until a worker has said a word, and returns the rest of that line.
fn heard(child: &mut Child, word: &str) -> String {
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let line = lines.map(Result::unwrap).find(|line| line.contains(word)).expect(word);
    line[line.find(word).unwrap() + word.len()..].trim().to_string()
}

#[test]
fn of_eight_processes_one_computes_and_all_have_its_value() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let runs = fixture.dir.path().join("runs");
    let mut workers: Vec<Child> = (1..=8).map(|worker| start(&fixture, &runs, worker, false)).collect();
    let entries: Vec<String> = workers.iter_mut().map(|worker| heard(worker, "entry")).collect();
    for mut worker in workers {
        assert!(worker.wait().unwrap().success());
    }
    let computed = fs::read_to_string(&runs).unwrap();
    assert_eq!(computed.lines().count(), 1, "{computed}");
    let expected = format!(r#"{{"computed by":{}}}"#, computed.trim());
    assert!(entries.iter().all(|entry| *entry == expected), "{entries:?}");
    assert_eq!(cohort.last_seq().unwrap(), 1);
    assert!(names(&cohort.path().join("once")).is_empty(), "no lock stays when nobody needs it");
}

#[test]
fn of_many_threads_one_computes_whether_they_share_a_handle_or_not() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::merge());
    for (key, shared) in [("shared", true), ("own", false)] {
        let runs = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let cohort = if shared { cohort.clone() } else { fixture.reopen("c") };
                let runs = &runs;
                scope.spawn(move || {
                    let entry = cohort.once(key, || {
                        std::thread::sleep(Duration::from_millis(20));
                        Ok::<_, Error>(runs.fetch_add(1, Ordering::Relaxed) + 7)
                    });
                    assert_eq!(entry.unwrap().to::<u32>().unwrap(), 7);
                });
            }
        });
        assert_eq!(runs.into_inner(), 1);
    }
}

#[test]
fn who_is_killed_while_it_computes_is_taken_over() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let runs = fixture.dir.path().join("runs");
    let mut first = start(&fixture, &runs, 1, true);
    heard(&mut first, "computing");
    let mut second = start(&fixture, &runs, 2, false);
    heard(&mut second, "ready");
    assert_eq!(fs::read_to_string(&runs).unwrap(), "1\n");
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(heard(&mut second, "entry"), r#"{"computed by":2}"#);
    assert!(second.wait().unwrap().success());
    assert_eq!(fs::read_to_string(&runs).unwrap(), "1\n2\n");
    assert_eq!(cohort.last_seq().unwrap(), 1);
}

#[test]
fn an_error_goes_to_its_caller_and_a_panic_on_and_another_may_try() {
    #[derive(Debug)]
    enum Mine {
        Own(&'static str),
        Store(Error),
    }
    impl From<Error> for Mine {
        fn from(e: Error) -> Mine {
            Mine::Store(e)
        }
    }
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest()).with_timeout(Duration::ZERO);
    let failed = cohort.once("k", || Err::<u8, Mine>(Mine::Own("not today")));
    assert!(matches!(failed, Err(Mine::Own("not today"))));
    let panicked =
        catch_unwind(AssertUnwindSafe(|| cohort.once("k", || -> Result<u8, Mine> { panic!("oh") })));
    assert!(panicked.is_err());
    // What JSON cannot hold is no value, and costs nobody the lock.
    let senseless = std::collections::BTreeMap::from([(vec![1], 2)]);
    let refused = cohort.once("k", || Ok::<_, Mine>(&senseless));
    assert!(matches!(refused, Err(Mine::Store(e)) if e.is_invalid()));
    assert!(cohort.once_json("k", || Ok::<_, Error>("{oh".into())).unwrap_err().is_invalid());
    assert_eq!(cohort.last_seq().unwrap(), 0);
    let entry = fixture.reopen("c").once_json("k", || Ok::<_, Error>(" [1.50] ".into())).unwrap();
    assert_eq!((entry.json(), entry.seq()), ("[1.50]", 1));
}

#[test]
fn who_waits_longer_than_its_timeout_is_told_and_others_are_not_disturbed() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let entry = cohort.once("k", || {
        let hurried = fixture.reopen("c").with_timeout(Duration::from_millis(30));
        let error = hurried.once("k", || Ok::<_, Error>("mine")).unwrap_err();
        assert!(error.is_lock_timeout(), "{error:?}");
        assert_eq!(error.holder(), Some(std::process::id()), "{error}");
        Ok::<_, Error>("ours")
    });
    assert_eq!(entry.unwrap().json(), r#""ours""#);
}

#[test]
fn two_keys_do_not_wait_for_each_other() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let (to_a, from_b) = mpsc::channel();
    let (to_b, from_a) = mpsc::channel();
    std::thread::scope(|scope| {
        // Each can end only while the other computes.
        let other = cohort.clone();
        scope.spawn(move || {
            let meet = || {
                to_a.send(()).unwrap();
                from_a.recv_timeout(Duration::from_secs(60)).unwrap();
                Ok::<_, Error>("b")
            };
            other.once("b", meet).unwrap();
        });
        let meet = || {
            to_b.send(()).unwrap();
            from_b.recv_timeout(Duration::from_secs(60)).unwrap();
            Ok::<_, Error>("a")
        };
        cohort.once("a", meet).unwrap();
    });
    // And one may ask for another.
    let nested = cohort.once("c", || Ok::<_, Error>(cohort.once("d", || Ok::<_, Error>(1))?.seq()));
    assert_eq!(nested.unwrap().json(), "3");
}

#[test]
fn what_is_there_is_returned_at_once_and_any_key_will_do() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    cohort.append("there", &1).unwrap();
    let unused = || -> Result<u8, Error> { panic!("it is there") };
    assert_eq!(fixture.reopen("c").once("there", unused).unwrap().json(), "1");
    assert!(!cohort.path().join("once").exists(), "nothing is made to read");
    for key in ["", ".", "..", "../x", "a/b", "nul", "\u{1b}[31m\n", &"k".repeat(60_000)] {
        assert_eq!(cohort.once(key, || Ok::<_, Error>(key)).unwrap().to::<String>().unwrap(), key);
        assert_eq!(cohort.once(key, unused).unwrap().to::<String>().unwrap(), key);
    }
    assert_eq!(names(fixture.dir.path()), ["store"]);
    // Deleted, it may be computed again.
    cohort.delete("there").unwrap();
    assert_eq!(cohort.once("there", || Ok::<_, Error>(2)).unwrap().json(), "2");
    let log = fixture.create("log", Settings::log());
    assert!(log.once("k", unused).unwrap_err().is_invalid());
}

#[test]
fn a_value_that_somebody_appends_meanwhile_without_asking_is_the_value() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let entry = cohort.once("k", || {
        fixture.reopen("c").append("k", &"theirs")?;
        Ok::<_, Error>("ours")
    });
    assert_eq!(entry.unwrap().json(), r#""theirs""#);
    assert_eq!(cohort.last_seq().unwrap(), 1);
}
