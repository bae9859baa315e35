//! Whatever is appended, and whenever it is compacted or reopened: the state is that of a plain replay, and snapshots depend on
//! the records alone.
#![allow(clippy::disallowed_methods, reason = "tests compare files")]

mod fixture;

use std::collections::BTreeMap;
use std::fs;

use fixture::{Fixture, state};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use serde_json::{Value, json};
use tallyfold::{Batch, Cohort, Compaction, Expect, Settings};

#[derive(Clone, Debug)]
enum Change {
    Put(String, Value),
    Delete(String),
}

#[derive(Clone, Debug)]
enum Step {
    One(Change),
    Durable(Change),
    Batch(Vec<Change>),
    Compact,
    Reopen,
    /// The handle is left behind as a killed process leaves it.
    Abandon,
}

fn key(g: &mut Gen) -> String {
    let plain = ["a", "b", "run-1:TRAINING", "run-10:TRAINING", "", "ä", "\"q\"\n", "z", "\u{10FFFF}", "~"];
    (*g.choose(&plain).unwrap()).to_string()
}

fn value(g: &mut Gen) -> Value {
    match u8::arbitrary(g) % 8 {
        0 => Value::Null,
        1 => json!(u64::arbitrary(g)),
        2 => json!("NaN"),
        3 => {
            json!({"deep": {"x": u8::arbitrary(g) % 3, "gone": null}, "pad": "p".repeat(usize::arbitrary(g) % 900)})
        }
        4 => json!([1.5, {"a": []}, String::arbitrary(g)]),
        _ => json!({"x": u8::arbitrary(g) % 4, "deep": {"y": bool::arbitrary(g)}, "n": null}),
    }
}

impl Arbitrary for Change {
    fn arbitrary(g: &mut Gen) -> Change {
        if u8::arbitrary(g) % 5 == 0 { Change::Delete(key(g)) } else { Change::Put(key(g), value(g)) }
    }
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Step {
        match u8::arbitrary(g) % 16 {
            0 => Step::Compact,
            1 => Step::Reopen,
            2 => Step::Abandon,
            3 => Step::Durable(Change::arbitrary(g)),
            4..=6 => Step::Batch((0..1 + usize::arbitrary(g) % 5).map(|_| Change::arbitrary(g)).collect()),
            _ => Step::One(Change::arbitrary(g)),
        }
    }
}

/// RFC 7396, as its section 2 puts it.
fn merge_patch(target: Option<Value>, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut target = match target {
        Some(Value::Object(target)) => target,
        _ => serde_json::Map::new(),
    };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            let old = target.remove(name);
            target.insert(name.clone(), merge_patch(old, value));
        }
    }
    Value::Object(target)
}

type Model = BTreeMap<String, (u64, Value)>;

fn apply(model: &mut Model, merge: bool, seq: u64, change: &Change) {
    match change {
        Change::Delete(key) => drop(model.remove(key)),
        Change::Put(key, value) => {
            let value = match merge {
                true => merge_patch(model.get(key).map(|(_, old)| old.clone()), value),
                false => value.clone(),
            };
            model.insert(key.clone(), (seq, value));
        }
    }
}

fn batch(changes: &[Change]) -> Batch {
    let mut batch = Batch::new();
    for change in changes {
        match change {
            Change::Put(key, value) => batch.put(key, value).unwrap(),
            Change::Delete(key) => batch.delete(key).unwrap(),
        };
    }
    batch
}

fn run(fixture: &Fixture, settings: &Settings, steps: &[Step], scheduled: bool) -> (Cohort, Model) {
    let merge = *settings.fold() == tallyfold::Fold::Merge;
    let mut cohort = fixture.create("c", settings.clone());
    let mut reader = cohort.reader().unwrap();
    let (mut model, mut seq) = (Model::new(), 0);
    for step in steps {
        let (changes, durable) = match step {
            Step::One(change) => (vec![change.clone()], false),
            Step::Durable(change) => (vec![change.clone()], true),
            Step::Batch(changes) => (changes.clone(), false),
            _ if !scheduled => continue,
            Step::Compact => {
                assert_ne!(cohort.compact().unwrap(), Compaction::Busy);
                continue;
            }
            Step::Reopen => {
                cohort = fixture.reopen("c");
                continue;
            }
            Step::Abandon => {
                std::mem::forget(std::mem::replace(&mut cohort, fixture.reopen("c")));
                continue;
            }
        };
        let batch = batch(&changes);
        let last =
            if durable { cohort.append_batch_durable(batch) } else { cohort.append_batch(batch) }.unwrap();
        for change in &changes {
            seq += 1;
            apply(&mut model, merge, seq, change);
        }
        assert_eq!(last, seq, "seqs are handed out without gaps");
        if seq % 3 == 0 {
            assert_eq!(reader.refresh().unwrap(), seq);
            let probe = changes.last().map(|(Change::Put(key, _) | Change::Delete(key))| key).unwrap();
            let found = reader.get(probe).unwrap().map(|entry| (entry.seq(), entry.to::<Value>().unwrap()));
            assert_eq!(found, model.get(probe).cloned());
        }
    }
    (cohort, model)
}

fn values(state: &BTreeMap<String, (u64, String)>) -> Model {
    state.iter().map(|(k, (seq, json))| (k.clone(), (*seq, serde_json::from_str(json).unwrap()))).collect()
}

fn any_schedule_gives_the_replayed_state(settings: &Settings, steps: &[Step]) {
    let (one, other) = (Fixture::in_memory(), Fixture::in_memory());
    let (cohort, model) = run(&one, settings, steps, true);
    let (plain, _) = run(&other, settings, steps, false);
    let seen = state(&cohort.view().unwrap());
    assert_eq!(values(&seen), model, "the state is the replayed one");
    assert_eq!(seen, state(&plain.view().unwrap()), "to the letter, whatever was compacted");
    assert_eq!(state(&cohort.reader().unwrap()), seen);

    cohort.compact().unwrap();
    plain.compact().unwrap();
    assert_eq!(state(&cohort.view().unwrap()), seen, "compaction changes no state");
    let file = |cohort: &Cohort| fs::read_to_string(cohort.path().join("snapshot.json")).ok();
    assert_eq!(file(&cohort), file(&plain), "snapshot files are the same bytes for the same records");
    if let Some(text) = file(&cohort) {
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["state"].as_object().unwrap().len(), model.len());
    }
    let report = cohort.verify().unwrap();
    assert!(!report.is_damaged(), "{:?}", report.findings);
}

#[test]
fn the_latest_state_is_a_plain_replay_whatever_is_compacted_and_reopened() {
    fn property(steps: Vec<Step>) -> bool {
        any_schedule_gives_the_replayed_state(&Settings::latest().segment_bytes(4096), &steps);
        true
    }
    QuickCheck::new().tests(150).quickcheck(property as fn(Vec<Step>) -> bool);
}

#[test]
fn the_merged_state_is_a_plain_replay_whatever_is_compacted_and_reopened() {
    fn property(steps: Vec<Step>) -> bool {
        any_schedule_gives_the_replayed_state(&Settings::merge().segment_bytes(4096), &steps);
        true
    }
    QuickCheck::new().tests(150).quickcheck(property as fn(Vec<Step>) -> bool);
}

#[test]
fn a_log_returns_every_record_in_order_whatever_is_sealed() {
    fn property(steps: Vec<Step>) -> bool {
        let fixture = Fixture::in_memory();
        let (cohort, _) = run_log(&fixture, &steps);
        let records: Vec<_> = cohort.cursor(1).unwrap().map(|record| record.unwrap()).collect();
        let expected: Vec<&Change> = steps
            .iter()
            .flat_map(|step| match step {
                Step::One(change) | Step::Durable(change) => std::slice::from_ref(change),
                Step::Batch(changes) => changes,
                _ => &[],
            })
            .collect();
        assert_eq!(records.len(), expected.len());
        for (i, (record, change)) in records.iter().zip(expected).enumerate() {
            assert_eq!(record.seq(), i as u64 + 1);
            match change {
                Change::Put(key, value) => {
                    assert_eq!((record.key(), record.to::<Value>().unwrap()), (key.as_str(), value.clone()));
                }
                Change::Delete(key) => assert_eq!((record.key(), record.json()), (key.as_str(), None)),
            }
        }
        true
    }
    QuickCheck::new().tests(100).quickcheck(property as fn(Vec<Step>) -> bool);
}

fn run_log(fixture: &Fixture, steps: &[Step]) -> (Cohort, u64) {
    let mut cohort = fixture.create("c", Settings::log().segment_bytes(4096));
    let mut seq = 0;
    for step in steps {
        seq = match step {
            Step::One(change) => cohort.append_batch(batch(std::slice::from_ref(change))).unwrap(),
            Step::Durable(change) => {
                cohort.append_batch_durable(batch(std::slice::from_ref(change))).unwrap()
            }
            Step::Batch(changes) => cohort.append_batch(batch(changes)).unwrap(),
            Step::Compact => {
                cohort.compact().unwrap();
                seq
            }
            Step::Reopen | Step::Abandon => {
                cohort = fixture.reopen("c");
                seq
            }
        };
    }
    (cohort, seq)
}

#[test]
fn non_finite_numbers_come_back_as_floats_and_the_snapshot_stays_json() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::merge());
    cohort.append("k", &BTreeMap::from([("loss", f64::NAN), ("low", f64::NEG_INFINITY)])).unwrap();
    cohort.append("k", &json!({"name": "NaN"})).unwrap();
    for compacted in [false, true] {
        let entry = cohort.view().unwrap().get("k").unwrap().unwrap();
        assert!(entry.nonfinite(), "compacted: {compacted}");
        assert_eq!(entry.json(), r#"{"loss":"NaN","low":"-Infinity","name":"~NaN"}"#);
        #[derive(serde::Deserialize)]
        struct Back {
            loss: f64,
            low: f64,
            name: String,
        }
        let back: Back = entry.to().unwrap();
        assert!(back.loss.is_nan() && back.low == f64::NEG_INFINITY && back.name == "NaN");
        cohort.compact().unwrap();
    }
    let text = fs::read_to_string(cohort.path().join("snapshot.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["state"]["k"]["nonfinite"], json!(true));
}

#[test]
fn append_if_writes_only_while_what_is_expected_holds() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let one = |key: &str| batch(&[Change::Put(key.into(), json!(1))]);
    assert_eq!(cohort.append_if(Expect::Head(0), one("a")).unwrap(), 1);
    let error = cohort.append_if(Expect::Head(0), one("a")).unwrap_err();
    assert!(error.is_conflict() && error.seq() == Some(1), "{error}");
    assert_eq!(cohort.append_if(Expect::Key("b", 0), one("b")).unwrap(), 2);
    assert!(cohort.append_if(Expect::Key("b", 0), one("b")).unwrap_err().is_conflict());
    assert_eq!(cohort.append_if(Expect::Key("a", 1), one("a")).unwrap(), 3);
    cohort.delete("a").unwrap();
    assert!(cohort.append_if(Expect::Key("a", 3), one("a")).unwrap_err().is_conflict());
    cohort.compact().unwrap();
    assert_eq!(cohort.append_if(Expect::Key("a", 0), one("a")).unwrap(), 5);
    assert_eq!(cohort.last_seq().unwrap(), 5, "what was refused left nothing");
}

#[test]
fn updates_of_many_threads_lose_none() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            // Two with a handle of their own, two shared.
            let own = fixture.reopen("c");
            let shared = cohort.clone();
            for cohort in [own, shared] {
                scope.spawn(move || {
                    for _ in 0..25 {
                        cohort
                            .update("n", |old| {
                                Ok(Some(old.map_or(0, |entry| entry.to::<u64>().unwrap()) + 1))
                            })
                            .unwrap();
                    }
                });
            }
        }
        scope.spawn(|| {
            for _ in 0..5 {
                cohort.compact().unwrap();
            }
        });
    });
    assert_eq!(cohort.view().unwrap().get("n").unwrap().unwrap().json(), "200");
}
