//! Bundles: what is committed together is found together, whoever dies, writes at the same time or puts odd things in.
#![allow(clippy::disallowed_methods, reason = "tests write and damage files")]

mod fixture;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use fixture::{Fixture, flip, names};
use serde_json::{Value, json};
use tallyfold::{Bundle, Cohort, Error, Settings, Severity, Store};

const WORKER: &str = "TALLYFOLD_TEST_WORKER";

/// What is done to a staging directory, with things from another place.
type Spoil = fn(&Path, &Path);
/// What is done to a version's directory.
type Damage = fn(&Path);

/// Commits weights, an empty file and a value that belong together by their number.
fn commit(cohort: &Cohort, key: &str, n: u64, keep: usize) -> Result<Bundle, Error> {
    let mut new = cohort.bundle(key)?;
    new.add_bytes("weights.bin", &n.to_le_bytes().repeat(5000))?.add_bytes("empty", b"")?;
    new.add_bytes("n.txt", n.to_string().as_bytes())?;
    new.keep(keep);
    new.commit(&json!({ "n": n }))
}

/// The number that a bundle's value and files agree on.
fn number(bundle: &Bundle) -> Result<u64, Error> {
    bundle.verify()?;
    let n = bundle.to::<BTreeMap<String, u64>>()?["n"];
    assert_eq!(
        bundle.files().iter().map(|file| file.name()).collect::<Vec<_>>(),
        ["empty", "n.txt", "weights.bin"]
    );
    assert_eq!(bundle.files()[2].bytes(), 40_000);
    assert_eq!(bundle.files()[2].crc32(), crc32fast::hash(&n.to_le_bytes().repeat(5000)));
    if let Ok(text) = fs::read_to_string(bundle.file("n.txt").unwrap()) {
        assert_eq!(text, n.to_string());
    }
    Ok(n)
}

fn key_dir(cohort: &Cohort, encoded: &str) -> std::path::PathBuf {
    cohort.path().join("bundles").join(encoded)
}

/// Nothing is there but the lock, the link and the versions that a bundle names; the link leads to the newest.
fn assert_tidy(cohort: &Cohort, encoded: &str, bundle: &Bundle) {
    let mut expected = vec!["latest".to_string(), "lock".into(), bundle.version().into()];
    expected.extend(bundle.previous().iter().cloned());
    expected.sort_unstable();
    assert_eq!(names(&key_dir(cohort, encoded)), expected);
    assert_eq!(fs::read_link(key_dir(cohort, encoded).join("latest")).unwrap(), Path::new(bundle.version()));
}

#[test]
fn what_was_committed_together_is_found_together_with_every_fold() {
    for settings in [Settings::latest(), Settings::merge(), Settings::log()] {
        let fixture = Fixture::new();
        let cohort = fixture.create("c", settings.segment_bytes(4096));
        assert!(cohort.open_bundle("run-1").unwrap().is_none());
        for n in 1..=4 {
            let committed = commit(&cohort, "run-1", n, 2).unwrap();
            assert!(committed.unfinished().is_none());
            commit(&cohort, "run-2", 100 + n, 0).unwrap();
            cohort.append("other", &json!({"bundle": {"version": "not one"}})).unwrap();
            cohort.compact().unwrap();
            for cohort in [&cohort, &fixture.reopen("c")] {
                let found = cohort.open_bundle("run-1").unwrap().unwrap();
                assert_eq!(number(&found).unwrap(), n);
                assert_eq!((found.version(), found.seq()), (committed.version(), committed.seq()));
                assert_eq!(found.previous().len(), (n as usize - 1).min(2));
                assert_eq!(number(&cohort.open_bundle("run-2").unwrap().unwrap()).unwrap(), 100 + n);
                assert!(cohort.open_bundle("other").unwrap().is_none());
            }
            assert_tidy(&cohort, "run-1", &committed);
        }
        let found = cohort.open_bundle("run-1").unwrap().unwrap();
        assert!(found.version() > found.previous()[0].as_str() && found.previous()[0] > found.previous()[1]);
        for (version, n) in found.previous().iter().zip(["3", "2"]) {
            let path = found.path().with_file_name(version);
            assert_eq!(fs::read_to_string(path.join("n.txt")).unwrap(), n);
            let manifest: Value =
                serde_json::from_slice(&fs::read(path.join("manifest.json")).unwrap()).unwrap();
            assert_eq!(
                (&manifest["key"], &manifest["value"]["n"]),
                (&json!("run-1"), &json!(n.parse::<u64>().unwrap()))
            );
        }
        cohort.delete("run-1").unwrap();
        assert!(cohort.open_bundle("run-1").unwrap().is_none());
        cohort.clean_bundles().unwrap();
        assert_eq!(names(&key_dir(&cohort, "run-1")), ["lock"]);
        assert_eq!(number(&cohort.open_bundle("run-2").unwrap().unwrap()).unwrap(), 104);
        assert!(!cohort.verify().unwrap().is_damaged());
    }
}

#[test]
fn an_entry_of_a_view_leads_to_its_bundle_until_that_retires() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    commit(&cohort, "k", 1, 0).unwrap();
    let view = cohort.view().unwrap();
    let entry = view.get("k").unwrap().unwrap();
    let bundle = cohort.bundle_of("k", entry.as_entry_ref()).unwrap().unwrap();
    assert_eq!(number(&bundle).unwrap(), 1);
    let mut open = fs::File::open(bundle.file("weights.bin").unwrap()).unwrap();
    commit(&cohort, "k", 2, 0).unwrap();
    // Who has it open reads it to the end; who comes later is told.
    let mut weights = Vec::new();
    open.read_to_end(&mut weights).unwrap();
    assert_eq!(weights, 1u64.to_le_bytes().repeat(5000));
    assert!(bundle.verify().unwrap_err().is_not_found());
    assert!(cohort.bundle_of("k", entry.as_entry_ref()).unwrap_err().is_not_found());
    // With one older version kept, which is the default, a path is good for one more commit.
    let path = cohort.open_bundle("k").unwrap().unwrap().file("n.txt").unwrap();
    let mut new = cohort.bundle("k").unwrap();
    new.add_bytes("x", b"").unwrap();
    new.commit(&Value::Null).unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "2");
}

#[test]
fn values_keep_their_text_and_numbers_that_are_none() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let deep: Value = serde_json::from_str(&format!("{}1{}", "[".repeat(126), "]".repeat(126))).unwrap();
    let committed = cohort.bundle("").unwrap().commit(&deep).unwrap();
    assert_eq!(committed.to::<Value>().unwrap(), deep);
    assert!(committed.files().is_empty());
    let deeper = json!([deep]);
    assert!(
        cohort.bundle("").unwrap().commit(&deeper).unwrap_err().is_invalid(),
        "its record would be too deep"
    );
    let raw = serde_json::value::RawValue::from_string(r#"{ "b":1.50, "a":12345678901234567890123 }"#.into())
        .unwrap();
    assert_eq!(
        cohort.bundle("").unwrap().commit(&raw).unwrap().json(),
        r#"{"b":1.50,"a":12345678901234567890123}"#
    );
    cohort.bundle("").unwrap().commit(&("NaN", f64::NAN)).unwrap();
    let found = cohort.open_bundle("").unwrap().unwrap();
    let (text, number): (String, f64) = found.to().unwrap();
    assert!(text == "NaN" && number.is_nan() && found.nonfinite());
    assert_tidy(&cohort, "%", &found);
}

#[test]
fn a_merge_merges_the_values_and_replaces_the_files() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::merge());
    let mut new = cohort.bundle("k").unwrap();
    new.add_bytes("old.bin", b"1").unwrap();
    new.commit(&json!({"auc": 0.5, "seed": 7})).unwrap();
    let mut new = cohort.bundle("k").unwrap();
    new.add_bytes("new.bin", b"2").unwrap();
    assert_eq!(new.commit(&json!({"auc": 0.6})).unwrap().json(), r#"{"auc":0.6,"seed":7}"#);
    let found = cohort.open_bundle("k").unwrap().unwrap();
    assert_eq!(found.json(), r#"{"auc":0.6,"seed":7}"#);
    assert_eq!(found.files().len(), 1);
    assert!(found.file("old.bin").is_none());
}

#[test]
fn odd_names_links_and_special_files_are_refused_and_the_old_bundle_stays() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    commit(&cohort, "k", 1, 1).unwrap();
    let place = fixture.dir.path().join("place");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("file"), b"x").unwrap();
    symlink(place.join("file"), place.join("link")).unwrap();
    assert!(Command::new("mkfifo").arg(place.join("fifo")).status().unwrap().success());

    let mut new = cohort.bundle("k").unwrap();
    for name in ["", ".", "..", "../x", "a/b", "/etc/passwd", "manifest.json", "a\0b"] {
        for error in [
            new.add_bytes(name, b"x").unwrap_err(),
            new.create(name).unwrap_err(),
            new.add_file(name, place.join("file")).unwrap_err(),
        ] {
            assert!(error.is_invalid() && error.advice().is_some(), "{name:?}: {error}");
        }
    }
    for source in ["link", "fifo", "."] {
        let error = new.add_file("x", place.join(source)).unwrap_err();
        assert!(error.is_unsafe_file() || error.is_invalid(), "{source}: {error:?}");
    }
    assert!(new.add_file("x", place.join("none")).unwrap_err().is_not_found());
    new.add_file("x", place.join("file")).unwrap();
    assert!(new.add_bytes("x", b"").unwrap_err().to_string().contains("already"));
    drop(new);

    let spoil: [(&str, Spoil); 7] = [
        ("symbolic link", |dir, place| symlink(place.join("file"), dir.join("odd")).unwrap()),
        ("not a regular file", |dir, _| {
            assert!(Command::new("mkfifo").arg(dir.join("odd")).status().unwrap().success())
        }),
        ("not a regular file", |dir, _| fs::create_dir_all(dir.join("odd/inside")).unwrap()),
        ("more than one name", |dir, place| fs::hard_link(place.join("file"), dir.join("odd")).unwrap()),
        ("own list", |dir, _| fs::write(dir.join("manifest.json"), b"{}").unwrap()),
        ("UTF-8", |dir, _| {
            use std::os::unix::ffi::OsStrExt;
            fs::write(dir.join(std::ffi::OsStr::from_bytes(b"od\xffd")), b"x").unwrap();
        }),
        ("not what was copied", |dir, _| fs::write(dir.join("copied"), b"something else").unwrap()),
    ];
    for (words, spoil) in spoil {
        let mut new = cohort.bundle("k").unwrap();
        new.add_bytes("copied", b"x").unwrap();
        spoil(new.path(), &place);
        let error = new.commit(&2).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
        let found = cohort.open_bundle("k").unwrap().unwrap();
        assert_eq!(number(&found).unwrap(), 1);
        assert_tidy(&cohort, "k", &found);
    }
    assert_eq!(names(&cohort.path().join("bundles")), ["k"], "whatever was staged is gone");
    assert_eq!(cohort.last_seq().unwrap(), 1);
    assert!(cohort.bundle(&"x".repeat(300)).unwrap_err().is_invalid());
    assert!(cohort.bundle("$serde_json::private::x").unwrap_err().is_invalid());
}

#[test]
fn a_function_may_save_to_a_path_by_a_rename_and_several_files_at_once() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let mut new = cohort.bundle("runs/../7").unwrap();
    let path = new.create("weights.pt").unwrap();
    fs::write(new.path().join("temporary"), b"weights").unwrap();
    fs::rename(new.path().join("temporary"), &path).unwrap();
    fs::write(new.path().join("config.json"), b"{}").unwrap();
    new.create("never written").unwrap();
    let bundle = new.commit(&json!(null)).unwrap();
    let files: Vec<_> = bundle.files().iter().map(|file| (file.name(), file.bytes())).collect();
    assert_eq!(files, [("config.json", 2), ("never written", 0), ("weights.pt", 7)]);
    assert_eq!(bundle.path().parent().unwrap(), key_dir(&cohort, "runs%2F..%2F7"));
    assert_eq!(fs::read(key_dir(&cohort, "runs%2F..%2F7").join("latest/weights.pt")).unwrap(), b"weights");
}

#[test]
fn thousands_of_files_are_one_act() {
    let fixture = Fixture::in_memory();
    let cohort = fixture.create("c", Settings::latest());
    let mut new = cohort.bundle("k").unwrap();
    for i in 0..3000 {
        new.add_bytes(&format!("part-{i:05}"), i.to_string().as_bytes()).unwrap();
    }
    new.commit(&"many").unwrap();
    let found = fixture.reopen("c").open_bundle("k").unwrap().unwrap();
    found.verify().unwrap();
    assert_eq!(found.files().len(), 3000);
    assert_eq!(fs::read_to_string(found.file("part-02999").unwrap()).unwrap(), "2999");
    // The record does not grow with the number of files.
    assert!(cohort.view().unwrap().get("k").unwrap().unwrap().json().len() < 300);
}

#[test]
fn what_is_not_what_was_committed_is_told_with_its_path() {
    let spoil: [(&str, &str, Damage); 6] = [
        ("verify", "weights.bin", |dir| flip(&dir.join("weights.bin"), 20_000)),
        ("open", "weights.bin", |dir| fixture::cut(&dir.join("weights.bin"), 39_999)),
        ("open", "n.txt", |dir| fs::remove_file(dir.join("n.txt")).unwrap()),
        ("open", "manifest.json", |dir| flip(&dir.join("manifest.json"), 30)),
        ("open", "manifest.json", |dir| fs::remove_file(dir.join("manifest.json")).unwrap()),
        ("open", "-", |dir| fs::remove_dir_all(dir).unwrap()),
    ];
    for (when, place, spoil) in spoil {
        let fixture = Fixture::new();
        let cohort = fixture.create("c", Settings::latest());
        let bundle = commit(&cohort, "k", 1, 1).unwrap();
        spoil(bundle.path());
        let error = match cohort.open_bundle("k") {
            Ok(found) if when == "verify" => found.unwrap().verify().unwrap_err(),
            other => other.unwrap_err(),
        };
        assert!(error.is_corruption(), "{when}, {place}: {error:?}");
        assert!(error.path().unwrap().to_str().unwrap().contains(place), "{error}");
        assert_eq!(damaged_files(&cohort), (1, vec![error.path().unwrap().to_path_buf()]));
        // What is damaged is no reason not to commit the next one.
        assert_eq!(number(&commit(&cohort, "k", 2, 1).unwrap()).unwrap(), 2);
    }
}

/// How many bundles `verify` has found, and where they are damaged.
fn damaged_files(cohort: &Cohort) -> (u64, Vec<std::path::PathBuf>) {
    let report = cohort.verify().unwrap();
    let damage = report.findings.iter().filter(|finding| finding.severity == Severity::Damage);
    (report.bundles, damage.map(|finding| finding.path.clone().unwrap()).collect())
}

#[test]
fn verify_looks_into_the_bundles_of_every_key_and_into_the_versions_that_are_kept() {
    for settings in [Settings::latest(), Settings::log()] {
        let fixture = Fixture::new();
        let cohort = fixture.create("c", settings);
        for (key, n) in [("a", 1), ("b", 2), ("b", 3)] {
            commit(&cohort, key, n, 1).unwrap();
        }
        cohort.append("no bundle", &json!({"bundle": 7})).unwrap();
        assert_eq!(damaged_files(&cohort), (2, vec![]));
        let newest = cohort.open_bundle("b").unwrap().unwrap();
        let older = newest.path().with_file_name(&newest.previous()[0]);
        flip(&older.join("n.txt"), 0);
        assert_eq!(damaged_files(&cohort), (2, vec![older.join("n.txt")]));
        fs::remove_dir_all(&older).unwrap();
        assert_eq!(damaged_files(&cohort), (2, vec![older]));
        // The next commit keeps the other one instead, and what was damaged is nobody's any more.
        commit(&cohort, "b", 4, 1).unwrap();
        assert_eq!(damaged_files(&cohort), (2, vec![]));
    }
}

#[test]
fn the_staging_of_who_lives_is_left_alone_and_that_of_the_dead_is_removed() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let mut living = cohort.bundle("a").unwrap();
    living.add_bytes("x", b"1").unwrap();
    let mut worker = start(&fixture, json!({"do": "stage"}));
    let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("staged")));
    assert_eq!(names(&cohort.path().join("bundles")).len(), 2);
    worker.kill().unwrap();
    worker.wait().unwrap();
    // What somebody else has put there is in nobody's way; a directory without a lock is one that was only begun.
    fs::create_dir(cohort.path().join("bundles/.new-0123456789abcdef")).unwrap();
    commit(&cohort, "b", 1, 1).unwrap();
    assert_eq!(names(&cohort.path().join("bundles")).len(), 2, "the living one's and b");
    living.commit(&1).unwrap();
    assert_eq!(names(&cohort.path().join("bundles")), ["a", "b"]);
    drop(cohort.bundle("a").unwrap());
    assert_eq!(names(&cohort.path().join("bundles")), ["a", "b"]);
}

#[test]
fn a_link_that_leads_elsewhere_is_mended_and_never_followed() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    commit(&cohort, "k", 1, 0).unwrap();
    let latest = key_dir(&cohort, "k").join("latest");
    let away = fixture.dir.path().join("away");
    fs::create_dir(&away).unwrap();
    fs::write(away.join("keep"), b"").unwrap();
    fs::remove_file(&latest).unwrap();
    symlink(&away, &latest).unwrap();
    assert_eq!(number(&cohort.open_bundle("k").unwrap().unwrap()).unwrap(), 1);
    cohort.clean_bundles().unwrap();
    assert_tidy(&cohort, "k", &cohort.open_bundle("k").unwrap().unwrap());
    assert_eq!(names(&away), ["keep"]);
    // A version that is a link is no version of ours.
    let bundle = cohort.open_bundle("k").unwrap().unwrap();
    fs::rename(bundle.path(), away.join("moved")).unwrap();
    symlink(away.join("moved"), bundle.path()).unwrap();
    assert!(cohort.open_bundle("k").unwrap_err().is_unsafe_file());
}

#[test]
fn processes_that_commit_at_once_each_leave_a_whole_bundle_and_readers_see_no_other() {
    const COMMITS: u64 = 12;
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    commit(&cohort, "k", 0, 1).unwrap();
    let mut workers: Vec<Child> = (1..=2)
        .map(|worker| start(&fixture, json!({"do": "commit", "from": worker * 100, "commits": COMMITS})))
        .collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (reader, mut last) = (fixture.reopen("c"), 0);
            while !done.load(Ordering::Relaxed) {
                let found = reader.open_bundle("k").unwrap().unwrap();
                assert!(found.seq() >= last);
                last = found.seq();
                match number(&found) {
                    Ok(_) => {}
                    Err(e) => assert!(e.is_not_found(), "retired meanwhile, or whole: {e:?}"),
                }
            }
        });
        for worker in &mut workers {
            assert!(worker.wait().unwrap().success());
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(cohort.last_seq().unwrap(), 1 + 2 * COMMITS);
    let found = cohort.open_bundle("k").unwrap().unwrap();
    assert_eq!(number(&found).unwrap() % 100, COMMITS - 1);
    assert_eq!(found.seq(), 1 + 2 * COMMITS);
    assert_tidy(&cohort, "k", &found);
    assert_eq!(names(&cohort.path().join("bundles")), ["k"]);
}

fn start(fixture: &Fixture, spec: Value) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker", "--nocapture", "--quiet"])
        .env(WORKER, spec.to_string())
        .env("TALLYFOLD_STORE", fixture.store.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test of its own: what the worker processes run, each started as this program with this name.
#[test]
fn worker() {
    let Ok(spec) = std::env::var(WORKER) else { return };
    let spec: Value = serde_json::from_str(&spec).unwrap();
    let cohort =
        Store::open_existing(std::env::var_os("TALLYFOLD_STORE").unwrap()).unwrap().cohort("c").unwrap();
    if spec["do"] == "stage" {
        let mut new = cohort.bundle("dead").unwrap();
        new.add_bytes("weights.bin", &[7; 10_000]).unwrap();
        fs::create_dir_all(new.path().join("odd/inside")).unwrap();
        println!("staged");
        std::thread::sleep(std::time::Duration::from_secs(120));
        panic!("it should have been killed");
    }
    for n in 0..spec["commits"].as_u64().unwrap() {
        commit(&cohort, "k", spec["from"].as_u64().unwrap() + n, 1).unwrap();
    }
}

#[test]
fn a_full_disk_leaves_the_old_bundle_and_when_there_is_room_the_next_one_is_committed() {
    let root = fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0);
    if !root {
        println!(
            "skipped: mounting a small file system takes root; the command's tests use a file size limit instead"
        );
        return;
    }
    let script =
        "mount -t tmpfs -o size=3m tmpfs \"$1\" && exec \"$2\" --exact fills_what_it_is_told --nocapture";
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .env("TALLYFOLD_TEST_FILL", dir.path())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            assert!(String::from_utf8_lossy(&output.stdout).contains("filled and emptied"), "{output:?}");
        }
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("unshare") => {
            println!("skipped: no mount namespace here: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(output) => panic!("{output:?}"),
        Err(e) => println!("skipped: unshare cannot be started: {e}"),
    }
}

/// Not a test of its own: what the test above runs on a small file system.
#[test]
fn fills_what_it_is_told() {
    let Ok(path) = std::env::var("TALLYFOLD_TEST_FILL") else { return };
    let path = Path::new(&path);
    let cohort = Store::open(path.join("store"))
        .unwrap()
        .create("c", Settings::latest().segment_bytes(64 << 10))
        .unwrap();
    commit(&cohort, "k", 1, 1).unwrap();
    // What others take leaves less and less, so that the disk is full at one step after the other.
    let mut refused = 0;
    for room in (0..120).map(|pages| pages * 4096) {
        let ballast = path.join("ballast");
        fs::write(&ballast, vec![1; 4 << 20]).unwrap_err();
        let full = fs::metadata(&ballast).unwrap().len();
        fixture::cut(&ballast, full.saturating_sub(room));
        let committed = commit(&cohort, "k", 2 + room, 0);
        let found = cohort.open_bundle("k").unwrap().unwrap();
        match committed {
            Ok(_) => assert_eq!(number(&found).unwrap(), 2 + room),
            Err(e) => {
                assert!(e.is_no_space(), "{e:?}");
                assert_ne!(number(&found).unwrap(), 2 + room);
                refused += 1;
            }
        }
        fs::remove_file(&ballast).unwrap();
    }
    assert!(refused > 8, "{refused}");
    assert_eq!(number(&commit(&cohort, "k", 7, 0).unwrap()).unwrap(), 7);
    assert_tidy(&cohort, "k", &cohort.open_bundle("k").unwrap().unwrap());
    println!("filled and emptied");
}
