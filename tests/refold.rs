//! Altered settings, and cohorts made anew of the records of others.
#![allow(clippy::disallowed_methods, reason = "tests look at files and damage them")]

mod fixture;

use std::fs;

use fixture::{Fixture, flip, frames, names, segment, segments, state};
use quickcheck::QuickCheck;
use serde_json::json;
use tallyfold::{Batch, Cohort, Fold, LockClass, Record, Retain, Settings};

fn records(cohort: &Cohort) -> Vec<Record> {
    cohort.cursor(1).unwrap().map(|record| record.unwrap()).collect()
}

/// The batches: count and first seq of each frame that has records.
fn batches(cohort: &Cohort) -> Vec<(u32, u64)> {
    let frames = segments(cohort).into_iter().flat_map(|number| frames(&segment(cohort, number)).0);
    frames.filter(|(_, count, _)| *count > 0).map(|(_, count, seq)| (count, seq)).collect()
}

fn document(cohort: &Cohort) -> String {
    fs::read_to_string(cohort.path().join("cohort.json")).unwrap()
}

#[test]
fn settings_are_altered_for_good_and_all_but_retention_when_the_cohort_is_opened_again() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest().compact_bytes(0));
    for i in 0..4 {
        cohort.append("k", &i).unwrap();
        cohort.compact().unwrap();
    }
    assert!(cohort.cursor(1).is_err());
    let first = segments(&cohort)[0];
    let altered =
        cohort.alter(|old| old.with_json(r#"{"retain":"all","durable":true,"segment_bytes":4096}"#)).unwrap();
    let expected = cohort.settings().clone().retain(Retain::All).durable(true).segment_bytes(4096);
    assert_eq!(altered, expected);
    assert_eq!(*fixture.reopen("c").settings(), expected);
    assert_eq!(expected.clone(), Settings::from_json(&document(&cohort)).unwrap());
    // The handle that was open before retains all from now on.
    for i in 4..8 {
        cohort.append("k", &i).unwrap();
        cohort.compact().unwrap();
    }
    assert_eq!(segments(&cohort)[0], first);
    // And the other way round.
    fixture.reopen("c").alter(|old| Ok(old.retain(Retain::None))).unwrap();
    cohort.compact().unwrap();
    assert_eq!(segments(&cohort).len(), 2);
    assert!(!cohort.verify().unwrap().is_damaged());
    assert!(names(&cohort.path()).iter().all(|name| !name.ends_with(".tmp")));
}

#[test]
fn what_cannot_be_altered_is_refused_and_changes_nothing() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest().lock(LockClass::File));
    let before = document(&cohort);
    for (json, words) in [
        (r#"{"fold":{"kind":"log"}}"#, "refold"),
        (r#"{"lock":"memory"}"#, "refold"),
        (r#"{"segment_bytes":1}"#, "`segment_bytes` is 1"),
        (r#"{"colour":1}"#, "unknown field `colour`"),
        (r#"{"retain":{"records":-1}}"#, "`retain` is"),
        ("[", "cannot be taken"),
    ] {
        let error = cohort.alter(|old| old.with_json(json)).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains(words), "{json}: {error}");
        assert_eq!(document(&cohort), before, "{json}");
    }
    // What says the same, or leaves the choice, is no change.
    cohort.alter(|old| old.with_json(r#"{"fold":{"kind":"latest"},"lock":"auto"}"#)).unwrap();
    assert_eq!(document(&cohort), before);
    let lock = fs::File::open(cohort.path().join("compact.lock")).unwrap();
    fs4::FileExt::lock(&lock).unwrap();
    let patient = cohort.with_timeout(std::time::Duration::from_millis(20));
    assert!(patient.alter(|old| Ok(old.durable(true))).unwrap_err().is_lock_timeout());
}

/// A process may have opened the cohort with other limits than the next one: both go on.
#[test]
fn writers_with_older_settings_go_on_beside_those_with_newer_ones() {
    for lock in [LockClass::File, LockClass::Auto] {
        let fixture = Fixture::new();
        let old = fixture.create("c", Settings::latest().lock(lock).segment_bytes(1 << 20).compact_bytes(0));
        old.append("old", &0).unwrap();
        old.alter(|settings| settings.with_json(r#"{"segment_bytes":4096,"max_body_bytes":600}"#)).unwrap();
        let new = fixture.reopen("c");
        let large = json!("x".repeat(3000));
        for i in 0..10 {
            old.append("old", &large).unwrap();
            assert!(new.append("new", &large).unwrap_err().is_invalid());
            assert_eq!(new.append("new", &i).unwrap(), 2 * i + 3);
        }
        assert_eq!(records(&new).len(), 21, "a body is longer than the new limit, and read all the same");
        new.compact().unwrap();
        assert_eq!(state(&old.view().unwrap()), state(&fixture.reopen("c").view().unwrap()));
        assert!(!new.verify().unwrap().is_damaged());
    }
}

fn filled(fixture: &Fixture, sizes: &[(u8, u16)]) -> Cohort {
    let log = fixture.create("events", Settings::log().segment_bytes(4096));
    for (i, (count, size)) in sizes.iter().enumerate() {
        let mut batch = Batch::new();
        for j in 0..=count % 4 {
            let key = format!("run-{}", (usize::from(*size) + usize::from(j)) % 5);
            match (i + usize::from(j)) % 9 {
                0 => batch.delete(&key).unwrap(),
                1 => batch.put(&key, &std::collections::BTreeMap::from([("loss", f64::NAN)])).unwrap(),
                _ => batch
                    .put(&key, &json!({(format!("f{}", j % 3)): "x".repeat(usize::from(size % 3000))}))
                    .unwrap(),
            };
        }
        log.append_batch(batch).unwrap();
        if size % 10 == 0 {
            log.compact().unwrap();
        }
    }
    log
}

#[test]
fn a_refolded_cohort_has_the_same_records_batches_and_times_and_the_state_of_its_fold() {
    fn holds(sizes: Vec<(u8, u16)>) -> bool {
        let fixture = Fixture::in_memory();
        let log = filled(&fixture, &sizes);
        let last = log.last_seq().unwrap();
        for (name, settings) in [
            ("latest", Settings::latest()),
            ("merge", Settings::merge().lock(LockClass::File).segment_bytes(8192)),
            ("log", Settings::log().segment_bytes(4096)),
        ] {
            assert_eq!(fixture.store.refold("events", name, settings.clone()).unwrap(), last);
            let made = fixture.reopen(name);
            assert_eq!(made.settings().fold(), settings.fold());
            assert_eq!(records(&made), records(&log));
            assert_eq!(batches(&made), batches(&log));
            let report = made.verify().unwrap();
            assert!(report.findings.is_empty(), "{:?}", report.findings);
            assert_eq!(made.stats().unwrap().durable_seq, last, "all of it is durable, and says so");
            // The same as a cohort that had this fold from the beginning.
            let mut from_the_beginning = settings.clone();
            if *settings.fold() != Fold::Log {
                from_the_beginning = from_the_beginning.segment_bytes(4096);
                let other = fixture.create(&format!("{name} again"), from_the_beginning);
                for record in records(&log) {
                    let mut batch = Batch::new();
                    match record.json() {
                        None => drop(batch.delete(record.key()).unwrap()),
                        Some(_) if record.nonfinite() => {
                            let value: std::collections::BTreeMap<String, f64> = record.to().unwrap();
                            batch.put(record.key(), &value).unwrap();
                        }
                        Some(json) => drop(batch.put_json(record.key(), json).unwrap()),
                    }
                    other.append_batch(batch).unwrap();
                }
                assert_eq!(state(&made.view().unwrap()), state(&other.view().unwrap()));
            }
            assert_eq!(made.append("more", &1).unwrap(), last + 1);
            made.compact().unwrap();
            assert!(!made.verify().unwrap().is_damaged());
        }
        assert_eq!(log.last_seq().unwrap(), last, "the old one is as it was");
        true
    }
    assert!(holds(Vec::new()), "a cohort without records");
    QuickCheck::new().tests(25).quickcheck(holds as fn(Vec<(u8, u16)>) -> bool);
}

#[test]
fn a_refold_without_the_whole_history_is_refused_and_says_where_it_begins() {
    for (fold, retain) in [(Fold::Latest, Retain::None), (Fold::Log, Retain::Records(2))] {
        let fixture = Fixture::new();
        let cohort = fixture.create("c", Settings::new(fold).retain(retain));
        for i in 0..8 {
            cohort.append("k", &i).unwrap();
            cohort.compact().unwrap();
        }
        let first = cohort.history(None, ..).unwrap().next().unwrap().unwrap().seq();
        let error = fixture.store.refold("c", "new", Settings::merge()).unwrap_err();
        assert!(error.is_compacted() && error.seq() == Some(first) && first > 1, "{error}");
        assert!(error.to_string().contains(&format!("from seq {first} on")), "{error}");
        assert_eq!(names(fixture.store.path()), ["c", "store.json"], "nothing is left of it");
    }
}

#[test]
fn a_record_that_the_new_fold_refuses_refuses_the_whole_and_is_named() {
    let fixture = Fixture::new();
    let log = fixture.create("events", Settings::log());
    log.append("a", &json!({"n": 1})).unwrap();
    let mut batch = Batch::new();
    batch.put("a", &json!({"n": 2})).unwrap().put_raw("b", b"\xFF").unwrap();
    log.append_batch(batch).unwrap();
    log.append("text", &json!("no number")).unwrap();
    for (settings, seq, words) in [
        (Settings::latest(), 3, "raw bytes"),
        (Settings::new(Fold::Sum), 3, "raw bytes"),
        (Settings::log().max_body_bytes(40), 2, "max_body_bytes"),
    ] {
        let error = fixture.store.refold("events", "new", settings).unwrap_err();
        assert!(error.is_invalid() && error.seq() == Some(seq), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(names(fixture.store.path()), ["events", "store.json"], "nothing is left of it");
    }
    assert_eq!(fixture.store.refold("events", "new", Settings::log()).unwrap(), 4);
    assert_eq!(records(&fixture.reopen("new")), records(&log));
}

#[test]
fn a_name_that_is_taken_and_damage_are_refused_and_what_a_dead_maker_left_is_removed() {
    let fixture = Fixture::new();
    let log = filled(&fixture, &[(1, 10), (2, 20), (3, 30)]);
    fixture.create("taken", Settings::latest());
    let error = fixture.store.refold("events", "taken", Settings::latest()).unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("\"taken\""), "{error}");
    assert!(fixture.store.refold("nothing", "new", Settings::latest()).unwrap_err().is_not_found());
    let left = fixture.store.path().join(".new-00000000000000aa");
    fs::create_dir(&left).unwrap();
    for name in ["lock", "cohort.json", "00000001.journal", "00000002.journal"] {
        fs::write(left.join(name), b"half").unwrap();
    }
    flip(&segment(&log, 1), 1024 + 50);
    let error = fixture.store.refold("events", "new", Settings::latest()).unwrap_err();
    assert!(error.is_corruption(), "{error}");
    assert_eq!(names(fixture.store.path()), ["events", "store.json", "taken"]);
}

#[test]
fn bundles_go_along_with_the_versions_that_are_kept_and_each_cohort_has_files_of_its_own() {
    for fold in [Settings::merge(), Settings::log(), Settings::latest()] {
        let fixture = Fixture::new();
        let old = fixture.create("old", Settings::latest().retain(Retain::All));
        for n in 1..=4 {
            for key in ["a", "b:c"] {
                let mut new = old.bundle(key).unwrap();
                new.add_bytes("weights.bin", &[n; 5000]).unwrap().keep(1);
                new.commit(&json!({ "n": n })).unwrap();
            }
        }
        assert_eq!(fixture.store.refold("old", "new", fold).unwrap(), 8);
        let new = fixture.store.cohort("new").unwrap();
        for key in ["a", "b:c"] {
            let (before, after) =
                (old.open_bundle(key).unwrap().unwrap(), new.open_bundle(key).unwrap().unwrap());
            assert_eq!((after.version(), after.previous()), (before.version(), before.previous()));
            assert_eq!((after.seq(), after.json()), (before.seq(), before.json()));
            let (mine, others) = (after.file("weights.bin").unwrap(), before.file("weights.bin").unwrap());
            assert_eq!(fs::read(&mine).unwrap(), fs::read(&others).unwrap());
            flip(&others, 7);
            after.verify().unwrap();
        }
        let report = new.verify().unwrap();
        assert!(!report.is_damaged() && report.bundles == 2, "{report:?}");
        let mut next = new.bundle("a").unwrap();
        next.add_bytes("weights.bin", b"5").unwrap().keep(1);
        assert_eq!(next.commit(&5).unwrap().seq(), 9);
        assert!(!new.verify().unwrap().is_damaged());
    }
}

#[test]
fn a_bundle_that_is_damaged_is_not_refolded_and_nothing_is_left_of_the_try() {
    let fixture = Fixture::new();
    let old = fixture.create("old", Settings::latest().retain(Retain::All));
    let mut new = old.bundle("k").unwrap();
    new.add_bytes("weights.bin", &[7; 5000]).unwrap();
    let bundle = new.commit(&1).unwrap();
    flip(&bundle.file("weights.bin").unwrap(), 4000);
    let before = names(fixture.store.path());
    let error = fixture.store.refold("old", "new", Settings::log()).unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert!(
        error.to_string().contains("weights.bin") && error.to_string().contains("nothing was refolded"),
        "{error}"
    );
    assert_eq!(names(fixture.store.path()), before);
}

#[test]
fn every_flipped_byte_of_what_was_refolded_is_told_for_all_of_it_is_durable() {
    let fixture = Fixture::in_memory();
    filled(&fixture, &[(1, 10), (2, 700), (3, 30)]);
    let last = fixture.store.refold("events", "new", Settings::latest()).unwrap();
    let (all, tail) = frames(&segment(&fixture.reopen("new"), 1));
    let (last_word, count, _) = *all.last().unwrap();
    assert_eq!((count, tail), (0, last_word + 40), "the last frame says that all is durable");
    for offset in (1024..last_word).step_by(7) {
        let damaged = fixture.copy();
        let cohort = damaged.reopen("new");
        flip(&segment(&cohort, 1), offset);
        assert!(cohort.view().is_err_and(|e| e.is_corruption()), "byte {offset} of {last} records");
    }
}
