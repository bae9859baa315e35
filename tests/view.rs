//! A view is its snapshot and its tail, merged: held against a plain map, however the two share the keys.
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

mod fixture;

use std::collections::BTreeMap;
use std::fs;

use fixture::{Fixture, flip, state};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use serde_json::json;
use tallyfold::{Batch, Cohort, Settings, View};

/// Keys that need escapes, sort otherwise than their escaped text, or begin like one another.
const KEYS: [&str; 14] = [
    "",
    "a",
    "a\"",
    "a\\",
    "a\n",
    "a\u{1}",
    "a!",
    "aa",
    "b:{\"seq\":1",
    "\u{e4}",
    "\u{7f}",
    "\u{10FFFF}",
    "}",
    "],",
];

#[derive(Clone, Debug)]
enum Step {
    /// A key, and how long its value is.
    Put(String, usize),
    Delete(String),
    Compact,
    Refresh,
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Step {
        let key = match u8::arbitrary(g) % 4 {
            0 => String::arbitrary(g),
            1 => format!("run-{:03}", u8::arbitrary(g)),
            _ => g.choose(&KEYS).unwrap().to_string(),
        };
        match u8::arbitrary(g) % 16 {
            0 => Step::Compact,
            1 => Step::Refresh,
            2..=4 => Step::Delete(key),
            // Some are so long that a few of them fill a block, or one does.
            5 => Step::Put(key, *g.choose(&[20_000, 70_000]).unwrap()),
            _ => Step::Put(key, usize::arbitrary(g) % 50),
        }
    }
}

type Model = BTreeMap<String, (u64, String)>;

fn assert_same(view: &View, model: &Model) {
    assert_eq!(&state(view), model, "all in order");
    for key in KEYS.into_iter().chain(model.keys().map(String::as_str)) {
        let expected = model.get(key);
        let found = view.get_ref(key).unwrap();
        assert_eq!(
            found.map(|entry| (entry.seq(), entry.json())),
            expected.map(|(seq, json)| (*seq, &**json))
        );
        assert_eq!(view.get(key).unwrap(), found.map(|entry| entry.to_entry()));
    }
    let sorted: Vec<String> = view.iter().map(|item| item.unwrap().0.into_owned()).collect();
    assert!(sorted.is_sorted_by(|a, b| a < b), "each key once");
}

#[test]
fn a_view_is_a_plain_map_whatever_is_in_the_snapshot_and_what_in_the_tail() {
    fn holds(steps: Vec<Step>) -> bool {
        let fixture = Fixture::in_memory();
        let cohort = fixture.create("c", Settings::latest().segment_bytes(100_000));
        let mut reader = cohort.reader().unwrap();
        let mut model = Model::new();
        for step in &steps {
            match step {
                Step::Put(key, len) => {
                    let value = json!("v".repeat(*len));
                    let seq = cohort.append(key, &value).unwrap();
                    model.insert(key.clone(), (seq, value.to_string()));
                }
                Step::Delete(key) => {
                    cohort.delete(key).unwrap();
                    model.remove(key);
                }
                Step::Compact => drop(cohort.compact().unwrap()),
                Step::Refresh => {
                    reader.refresh().unwrap();
                    assert_eq!(state(&reader), model);
                }
            }
        }
        reader.refresh().unwrap();
        assert_same(&reader, &model);
        assert_same(&cohort.view().unwrap(), &model);
        cohort.compact().unwrap();
        assert_same(&fixture.reopen("c").view().unwrap(), &model);
        true
    }
    QuickCheck::new().tests(60).quickcheck(holds as fn(Vec<Step>) -> bool);
}

/// Two snapshots of many blocks, and a tail that changes something in each block.
fn many_blocks(fixture: &Fixture) -> (Cohort, Model) {
    let cohort = fixture.create("c", Settings::latest());
    let mut model = Model::new();
    for round in 0..3 {
        let mut batch = Batch::new();
        let keys: Vec<String> = (0..900).map(|i| format!("run\n{i:04}")).collect();
        let chosen: Vec<&String> = keys.iter().step_by(1 + 6 * round).collect();
        for key in &chosen {
            batch.put(key, &json!([round, "x".repeat(300)])).unwrap();
        }
        let last = cohort.append_batch(batch).unwrap();
        for (key, seq) in chosen.iter().rev().zip((1..=last).rev()) {
            model.insert(key.to_string(), (seq, json!([round, "x".repeat(300)]).to_string()));
        }
        if round < 2 {
            cohort.compact().unwrap();
        }
    }
    (cohort, model)
}

#[test]
fn a_block_found_damaged_half_way_is_gone_around_without_a_gap_or_a_second_time() {
    let fixture = Fixture::in_memory();
    let (cohort, model) = many_blocks(&fixture);
    assert_eq!(state(&cohort.view().unwrap()), model);
    let len = fs::metadata(cohort.path().join("snapshot.json")).unwrap().len();
    for offset in (400..len - 1000).step_by(30_011) {
        let damaged = fixture.copy();
        flip(&damaged.reopen("c").path().join("snapshot.json"), offset);
        let view = damaged.reopen("c").view().unwrap();
        assert_same(&view, &model);
        assert!(view.damage().is_some(), "byte {offset}");
    }
}

#[test]
fn a_kept_reader_with_much_in_memory_moves_on_to_a_newer_snapshot() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest().compact_bytes(0));
    let mut reader = cohort.reader().unwrap();
    let value = "v".repeat(1 << 20);
    let append = |keys: std::ops::Range<u32>| {
        for i in keys {
            cohort.append(&format!("k{i}"), &value).unwrap();
        }
        cohort.last_seq().unwrap()
    };
    // Little: it goes on with what it has in memory.
    let seq = append(0..4);
    cohort.compact().unwrap();
    assert_eq!((reader.refresh().unwrap(), reader.get("k0").unwrap().unwrap().seq()), (seq, 1));
    assert_eq!(reader.blocks_read(), 0);
    // Much: what is folded is taken from the snapshot.
    append(4..20);
    cohort.compact().unwrap();
    let seq = append(20..21);
    assert_eq!((reader.refresh().unwrap(), reader.get("k0").unwrap().unwrap().seq()), (seq, 1));
    assert!(reader.blocks_read() > 0);
    assert_eq!(reader.get("k20").unwrap().unwrap().seq(), 21);
    assert_eq!(reader.iter().count(), 21);
}
