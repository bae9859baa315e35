//! Backups of what is being written, and what is made of them again.
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

mod fixture;

use std::fs;
use std::ops::ControlFlow::{self, Break, Continue};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fixture::{Fixture, names, segments, state};
use quickcheck::{QuickCheck, TestResult};
use serde_json::json;
use tallyfold::{Backup, Batch, Cohort, Copied, LockClass, Mirror, Record, Retain, Settings, Store};

fn on(_: Copied<'_>) -> ControlFlow<()> {
    Continue(())
}

fn records(cohort: &Cohort) -> Vec<Record> {
    cohort.history(None, ..).unwrap().map(Result::unwrap).collect()
}

fn quiet(settings: Settings) -> Settings {
    settings.segment_bytes(4096).compact_bytes(0).sync_interval(Duration::ZERO)
}

#[test]
fn a_restored_store_holds_what_was_backed_up_and_goes_on_in_epochs_of_its_own() {
    let fixture = Fixture::new();
    for (name, settings) in
        [("index", Settings::latest()), ("metrics", Settings::log()), ("a/b ü", Settings::merge())]
    {
        let cohort = fixture.create(name, quiet(settings));
        for i in 1..=50 {
            cohort.append(&format!("k{}", i % 7), &json!({"i": i, "pad": "x".repeat(150)})).unwrap();
            if i % 20 == 0 {
                cohort.compact().unwrap();
            }
        }
        cohort.detach().unwrap();
    }
    fixture.create("empty", Settings::latest());
    let to = fixture.dir.path().join("backup");
    let backup = fixture.store.backup(&[], &to, &mut on).unwrap();
    assert_eq!(names(&to), ["a%2Fb%20%C3%BC", "backup.json", "empty", "index", "metrics", "store.json"]);
    assert!(backup.verify(&mut on).unwrap().is_empty());
    let mut epochs = Vec::new();
    for again in ["one", "two"] {
        let (restored, cohorts) = backup.restore(fixture.dir.path().join(again), &mut on).unwrap();
        assert_eq!(restored.cohorts().unwrap(), fixture.store.cohorts().unwrap());
        for cohort in cohorts {
            let (old, new) = (fixture.reopen(&cohort.cohort), restored.cohort(&cohort.cohort).unwrap());
            assert_eq!(state(&new.view().unwrap()), state(&old.view().unwrap()), "{}", cohort.cohort);
            assert_eq!(records(&new), records(&old), "{}", cohort.cohort);
            assert!(!new.verify().unwrap().is_damaged());
            assert_eq!(new.append("k", &json!({"i": 0})).unwrap(), cohort.seq + 1);
            let epoch = new.stats().unwrap().epoch;
            assert_eq!(epoch, cohort.epoch);
            assert!(epoch > 1 << 40 && epoch < 1 << 53, "{epoch}");
            epochs.push(epoch);
            for _ in 0..3 {
                new.append("k", &json!({"i": 1})).unwrap();
                new.compact().unwrap();
            }
            new.detach().unwrap();
            assert!(!new.verify().unwrap().is_damaged());
        }
    }
    let drawn = epochs.len();
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len(), drawn, "the same backup, restored twice");
    assert!(names(fixture.dir.path()).iter().all(|name| !name.contains("incomplete")));
}

/// What is done to the original: a batch of so many records, or a compaction.
type History = Vec<u8>;

/// Backs up at a random moment, with a writer and a compactor at work; returns what was acknowledged before.
fn prefix(history: History, kind: u8) -> TestResult {
    let fixture = Fixture::in_memory();
    let settings = match kind % 4 {
        0 => Settings::log(),
        1 => Settings::latest(),
        2 => Settings::merge().retain(Retain::All),
        _ => Settings::latest().lock(LockClass::File),
    };
    let cohort = fixture.create("c", quiet(settings));
    let all = fixture.create("all", quiet(Settings::log()));
    let (ended, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let to = fixture.dir.path().join("backup");
    let (before, backup) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let write = |i: usize, step: u8| {
                let mut batch = Batch::new();
                let mut copy = Batch::new();
                for n in 0..=step % 5 {
                    let (key, value) = (
                        format!("k{}", (i + n as usize) % 9),
                        json!({"i": i, "n": n, "pad": "x".repeat(step as usize)}),
                    );
                    for batch in [&mut batch, &mut copy] {
                        if n == 3 {
                            batch.delete(&key).unwrap()
                        } else {
                            batch.put(&key, &value).unwrap()
                        };
                    }
                }
                // What was appended, where nothing is folded away.
                all.append_batch(copy).unwrap();
                acknowledged.store(cohort.append_batch(batch).unwrap(), Ordering::SeqCst);
            };
            let mut i = 0;
            loop {
                for step in history.iter().copied().chain([1]) {
                    write(i, step);
                    i += 1;
                    if step % 11 == 0 {
                        let _ = cohort.compact().unwrap();
                    }
                }
                if ended.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        let wait = history.len() as u64 % 7;
        while acknowledged.load(Ordering::SeqCst) < wait {
            std::thread::yield_now();
        }
        let before = acknowledged.load(Ordering::SeqCst);
        let backup = fixture.store.backup(&["c"], &to, &mut on);
        ended.store(true, Ordering::SeqCst);
        (before, backup)
    });
    let backup = backup.unwrap();
    let seq = backup.cohorts()[0].seq;
    assert!(seq >= before, "{before} were acknowledged, {seq} are there");
    let (restored, _) = backup.restore(fixture.dir.path().join("restored"), &mut on).unwrap();
    let restored = restored.cohort("c").unwrap();
    assert_eq!(restored.last_seq().unwrap(), seq);
    // The prefix of everything, folded afresh.
    let reference = fixture.store.create("prefix", restored.settings().clone()).unwrap();
    let mut there = restored.history(None, ..).unwrap().map(Result::unwrap).peekable();
    for record in records(&all).into_iter().take(seq as usize) {
        let mut batch = Batch::new();
        match record.json() {
            Some(json) => batch.put_json(record.key(), json).unwrap(),
            None => batch.delete(record.key()).unwrap(),
        };
        reference.append_batch(batch).unwrap();
        if there.peek().is_some_and(|there| there.seq() == record.seq()) {
            let there = there.next().unwrap();
            assert_eq!((there.key(), there.json()), (record.key(), record.json()));
        }
    }
    assert!(there.next().is_none());
    assert_eq!(state(&restored.view().unwrap()), state(&reference.view().unwrap()));
    assert_eq!(restored.append("k", &json!({})).unwrap(), seq + 1);
    assert!(!restored.verify().unwrap().is_damaged());
    TestResult::passed()
}

#[test]
fn a_backup_under_writers_is_a_prefix_that_holds_what_was_acknowledged_before() {
    QuickCheck::new().tests(40).quickcheck(prefix as fn(History, u8) -> TestResult);
}

#[test]
fn every_flipped_byte_of_a_backup_is_found_and_nothing_is_restored_of_it() {
    let fixture = Fixture::in_memory();
    let cohort = fixture.create("c", quiet(Settings::latest()));
    for i in 0..3 {
        cohort.append("k", &i).unwrap();
        cohort.compact().unwrap();
    }
    cohort.detach().unwrap();
    let to = fixture.dir.path().join("backup");
    fixture.store.backup(&[], &to, &mut on).unwrap();
    let mut files: Vec<PathBuf> = names(&to.join("c")).iter().map(|name| to.join("c").join(name)).collect();
    files.extend([to.join("backup.json"), to.join("store.json")]);
    for path in files {
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(13).chain([whole.len() - 1]) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x04;
            fs::write(&path, &bytes).unwrap();
            let what = format!("{}, byte {at}", path.display());
            let again = fixture.dir.path().join("again");
            match Backup::open(&to) {
                Err(e) => assert!(e.is_corruption(), "{what}: {e}"),
                Ok(backup) => {
                    assert_eq!(backup.verify(&mut on).unwrap().len(), 1, "{what}");
                    assert!(backup.restore(&again, &mut on).unwrap_err().is_corruption(), "{what}");
                    if path.parent() == Some(&to.join("c")) {
                        let error = backup.restore_cohort("c", &fixture.store, "new", &mut on).unwrap_err();
                        assert!(error.is_corruption(), "{what}: {error}");
                    }
                }
            }
            assert!(!again.exists(), "{what}");
        }
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(fixture.store.cohorts().unwrap(), ["c"]);
    assert!(Backup::open(&to).unwrap().verify(&mut on).unwrap().is_empty());
    assert_eq!(names(fixture.store.path()), ["c", "store.json"], "and nothing is left lying about");
    fs::remove_file(to.join("c/00000001.journal")).ok();
    fs::remove_file(to.join("c/cohort.json")).unwrap();
    assert!(!Backup::open(&to).unwrap().verify(&mut on).unwrap().is_empty());
    assert!(Backup::open(&to).unwrap().restore(fixture.dir.path().join("again"), &mut on).is_err());
}

#[test]
fn a_backup_that_was_broken_off_or_killed_is_none() {
    let fixture = Fixture::new();
    fixture.create("c", Settings::log()).append("k", &"x".repeat(3_000_000)).unwrap();
    let to = fixture.dir.path().join("backup");
    let before = names(fixture.dir.path());
    let mut told = 0;
    let error = fixture
        .store
        .backup(&[], &to, &mut |copied| {
            told += 1;
            assert!(copied.incomplete.unwrap().join("store.json").exists());
            if copied.bytes > 1_500_000 { Break(()) } else { Continue(()) }
        })
        .unwrap_err();
    assert!(told > 1 && error.to_string().contains("stopped"), "{error}");
    assert_eq!(names(fixture.dir.path()), before, "nothing is left");
    // What a kill leaves has another name, and no last document.
    let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        fixture.store.backup(&[], &to, &mut |_| panic!("killed")).map(|_| ())
    }));
    assert!(left.is_err() && !to.exists());
    let left: Vec<String> =
        names(fixture.dir.path()).into_iter().filter(|name| name.ends_with(".incomplete")).collect();
    let [left] = &left[..] else { panic!("{left:?}") };
    let error = Backup::open(fixture.dir.path().join(left)).unwrap_err();
    assert!(error.is_corruption() && error.to_string().contains("no complete backup"), "{error}");
    fixture.store.backup(&[], &to, &mut on).unwrap();
}

#[test]
fn what_is_in_the_way_is_not_touched_and_a_damaged_cohort_is_not_backed_up() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::log());
    for i in 0..3 {
        cohort.append_durable("k", &i).unwrap();
    }
    cohort.detach().unwrap();
    let dir = fixture.dir.path();
    fs::create_dir(dir.join("full")).unwrap();
    fs::write(dir.join("full/thesis.tex"), b"").unwrap();
    fs::write(dir.join("file"), b"").unwrap();
    for taken in ["full", "file", "store"] {
        assert!(fixture.store.backup(&[], dir.join(taken), &mut on).unwrap_err().is_conflict(), "{taken}");
    }
    fs::create_dir(dir.join("empty")).unwrap();
    let backup = fixture.store.backup(&["c"], dir.join("empty"), &mut on).unwrap();
    assert!(backup.restore(dir.join("full"), &mut on).unwrap_err().is_conflict());
    let error = backup.restore_cohort("c", &fixture.store, "c", &mut on).unwrap_err();
    assert!(error.is_conflict(), "{error}");
    let error = backup.restore_cohort("d", &fixture.store, "d", &mut on).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(fixture.store.backup(&["d"], dir.join("new"), &mut on).unwrap_err().is_not_found());
    assert!(Backup::open(dir.join("nothing")).unwrap_err().is_not_found());
    assert_eq!(names(&dir.join("full")), ["thesis.tex"]);
    let (first, ..) = fixture::frames(&fixture::segment(&cohort, 1)).0[0];
    drop(cohort);
    fixture::flip(&fixture.store.path().join("c/00000001.journal"), first + 44);
    let error = fixture.store.backup(&[], dir.join("new"), &mut on).unwrap_err();
    assert!(error.is_corruption() && error.to_string().contains("tallyfold repair"), "{error}");
    assert!(!dir.join("new").exists());
}

#[test]
fn one_cohort_is_restored_into_another_store_under_another_name_with_its_bundles() {
    let fixture = Fixture::new();
    let mirrored =
        quiet(Settings::latest()).mirror(Mirror::new(fixture.dir.path().join("m.json").to_str().unwrap()));
    let models = fixture.create("models", mirrored);
    for n in 1..=3u8 {
        let mut new = models.bundle("run/1").unwrap();
        new.add_bytes("weights.bin", &[n; 5000]).unwrap();
        new.commit(&json!({"n": n})).unwrap();
        models.append("other", &n).unwrap();
        models.compact().unwrap();
    }
    models.detach().unwrap();
    let backup = fixture.store.backup(&["models"], fixture.dir.path().join("backup"), &mut on).unwrap();
    let other = Store::open(fixture.dir.path().join("other")).unwrap();
    let restored = backup.restore_cohort("models", &other, "again", &mut on).unwrap();
    assert_eq!(restored.changed.len(), 1, "two cohorts do not write one mirror: {:?}", restored.changed);
    let again = other.cohort("again").unwrap();
    assert_eq!(state(&again.view().unwrap()), state(&models.view().unwrap()));
    let bundle = again.open_bundle("run/1").unwrap().unwrap();
    bundle.verify().unwrap();
    assert_eq!(fs::read(bundle.file("weights.bin").unwrap()).unwrap(), [3; 5000]);
    let before = bundle.path().with_file_name(&bundle.previous()[0]);
    assert_eq!(fs::read(before.join("weights.bin")).unwrap(), [2; 5000]);
    let latest = fs::read_link(bundle.path().with_file_name("latest")).unwrap();
    assert_eq!(latest, Path::new(bundle.version()));
    let mut new = again.bundle("run/1").unwrap();
    new.add_bytes("weights.bin", &[4; 10]).unwrap();
    new.commit(&json!({"n": 4})).unwrap();
    for _ in 0..3 {
        again.append("k", &1).unwrap();
        again.compact().unwrap();
    }
    assert!(!again.verify().unwrap().is_damaged());
    assert!(segments(&again).iter().all(|number| *number >= restored.epoch), "the old segments retire");
}

#[test]
fn bundles_that_are_committed_meanwhile_are_whole_in_the_backup() {
    let fixture = Fixture::in_memory();
    let models = fixture.create("models", quiet(Settings::latest()));
    let commit = |n: u64| {
        let mut new = models.bundle("run").unwrap();
        new.add_bytes("n", n.to_string().as_bytes()).unwrap();
        new.commit(&json!({"n": n})).unwrap();
    };
    commit(0);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 1;
            while !ended.load(Ordering::SeqCst) {
                commit(n);
                n += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        for i in 0..4 {
            let to = fixture.dir.path().join(format!("backup-{i}"));
            let backup = fixture.store.backup(&[], &to, &mut on);
            if backup.is_err() {
                ended.store(true, Ordering::SeqCst);
            }
            let (store, _) =
                backup.unwrap().restore(fixture.dir.path().join(format!("restored-{i}")), &mut on).unwrap();
            let bundle = store.cohort("models").unwrap().open_bundle("run").unwrap().unwrap();
            bundle.verify().unwrap();
            let n: serde_json::Value = bundle.to().unwrap();
            assert_eq!(fs::read_to_string(bundle.file("n").unwrap()).unwrap(), n["n"].to_string());
        }
        ended.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_path_in_a_backup_that_leads_elsewhere_is_refused() {
    let fixture = Fixture::new();
    fixture.create("c", Settings::log()).append("k", &1).unwrap();
    let to = fixture.dir.path().join("backup");
    fixture.store.backup(&[], &to, &mut on).unwrap();
    let text = fs::read_to_string(to.join("backup.json")).unwrap();
    for path in ["c/../../evil.json", "/evil", "d/cohort.json", "c//cohort.json"] {
        let changed = text.replace("c/cohort.json", path);
        let (covered, _) = changed.rsplit_once(",\"crc32\":\"").unwrap();
        let forged = format!("{covered},\"crc32\":\"{:08x}\"}}\n", crc32fast::hash(covered.as_bytes()));
        fs::write(to.join("backup.json"), forged).unwrap();
        let error = Backup::open(&to).unwrap_err();
        assert!(error.is_corruption() && error.to_string().contains("no path"), "{path}: {error}");
    }
}
