//! Keys of parts: what a prefix finds and what it reads; and the previous entry or record, by seq and fields.

mod fixture;

use fixture::Fixture;
use quickcheck::QuickCheck;
use serde_json::{Value, json};
use tallyfold::{Batch, Cohort, Query, Settings, View, key, key_parts};

fn keys<'a>(
    items: impl Iterator<Item = tallyfold::Result<(std::borrow::Cow<'a, str>, tallyfold::EntryRef<'a>)>>,
) -> Vec<String> {
    items.map(|item| item.unwrap().0.into_owned()).collect()
}

/// Part of it in the snapshot, part of it in the tail, some of it gone.
fn index(fixture: &Fixture, all: &[String]) -> Cohort {
    let cohort = fixture.create("index", Settings::latest().compact_bytes(0));
    for (i, key) in all.iter().enumerate() {
        cohort.append(key, &i).unwrap();
        if i % 3 == 0 {
            cohort.delete(&all[i / 2]).unwrap();
        }
        if i == all.len() / 2 {
            cohort.compact().unwrap();
        }
    }
    cohort
}

#[test]
fn a_prefix_of_parts_finds_the_keys_that_begin_with_them_in_order_and_no_others() {
    fn holds(keys_of: Vec<Vec<u8>>, prefix: Vec<u8>) -> bool {
        let part =
            |byte: &u8| ["run-1", "run-10", "run", "", "a:b", "100%", ";", "-"][usize::from(*byte) % 8];
        let parts = |bytes: &[u8]| -> Vec<&str> { bytes.iter().take(3).map(part).collect() };
        let all: Vec<String> = keys_of.iter().map(|bytes| key(parts(bytes))).collect();
        let fixture = Fixture::in_memory();
        let view = index(&fixture, &all).view().unwrap();
        let prefix = parts(&prefix);
        let mut expected = keys(view.iter());
        expected.retain(|key| {
            prefix.is_empty()
                || key_parts(key).starts_with(&prefix.iter().map(|part| (*part).into()).collect::<Vec<_>>())
        });
        assert_eq!(keys(view.prefix(&prefix)), expected, "{prefix:?}");
        let from = key(&prefix);
        let mut behind = keys(view.iter());
        behind.retain(|key| *key >= from);
        keys(view.iter_from(&from)) == behind
    }
    QuickCheck::new().tests(100).quickcheck(holds as fn(Vec<Vec<u8>>, Vec<u8>) -> bool);
}

/// Six fields make a row of the index, as the pipelines key theirs.
fn row(run: usize, target: &str, attempt: usize) -> (String, Value) {
    let (run, attempt_id) = (format!("run-{run:04}"), attempt.to_string());
    let key = key([&*run, "TRAINING", target, "CROSS_SECTIONAL", "ALL", &*attempt_id]);
    let value = json!({"run_id": run, "stage": "TRAINING", "target": target, "view": "CROSS_SECTIONAL", "symbol": "ALL",
        "attempt_id": attempt, "outputs": {"metrics": {"auc": 0.5 + attempt as f64 / 100.0}}, "n_models": 5, "pos_rate": null});
    (key, value)
}

const TARGETS: [&str; 3] = ["fwd_ret_5d", "fwd_ret_10d", "y_will_peak_60m_0.8"];

#[test]
fn twenty_attempts_at_three_targets_of_one_run_are_sixty_rows() {
    let fixture = Fixture::new();
    let cohort = fixture.create("index", Settings::latest());
    for attempt in 0..20 {
        for target in TARGETS {
            for run in [7, 70] {
                let (key, value) = row(run, target, attempt);
                cohort.append(&key, &value).unwrap();
            }
        }
    }
    for compacted in [false, true] {
        let view = cohort.view().unwrap();
        assert_eq!(view.prefix(["run-0007"]).count(), 60);
        assert_eq!(view.prefix(["run-0007", "TRAINING", TARGETS[2]]).count(), 20);
        assert_eq!(view.prefix(["run-00"]).count(), 0, "a part is the whole part");
        assert_eq!(view.iter().count(), 120);
        if !compacted {
            cohort.compact().unwrap();
        }
    }
}

fn large(fixture: &Fixture, runs: usize) -> View {
    let cohort = fixture.create("index", Settings::latest().compact_bytes(0));
    for first in (0..runs).step_by(500) {
        let mut batch = Batch::new();
        for run in first..runs.min(first + 500) {
            for target in TARGETS {
                for attempt in 0..2 {
                    let (key, value) = row(run, target, attempt);
                    batch.put(&key, &value).unwrap();
                }
            }
        }
        cohort.append_batch(batch).unwrap();
    }
    cohort.compact().unwrap();
    drop(cohort);
    fixture.reopen("index").view().unwrap()
}

#[test]
fn a_point_read_and_a_prefix_read_the_blocks_they_need_and_not_the_rest() {
    let fixture = Fixture::in_memory();
    let view = large(&fixture, 8_000);
    assert_eq!(view.blocks_read(), 0);
    assert!(view.get(&row(4321, TARGETS[0], 1).0).unwrap().is_some());
    assert_eq!(view.blocks_read(), 1);
    assert_eq!(view.prefix(["run-5000"]).count(), 6);
    let read = view.blocks_read();
    assert!(read <= 4, "the block of the run, perhaps the next one: {read}");
    assert_eq!(view.prefix(["run-9999"]).count() + view.prefix(["a"]).count(), 0);
    assert!(view.blocks_read() <= read + 2, "{}", view.blocks_read());
    assert_eq!(view.iter_from("run-7999").count(), 6);
    assert!(view.blocks_read() <= read + 4, "{}", view.blocks_read());
    assert_eq!(view.iter().count(), 48_000);
    assert!(view.blocks_read() > 100, "{}", view.blocks_read());
}

#[test]
fn a_damaged_block_in_the_middle_of_a_prefix_is_rebuilt_around() {
    let fixture = Fixture::new();
    let cohort = fixture.create("index", Settings::latest().compact_bytes(0));
    for round in 0..2 {
        for attempt in 0..300 {
            let (key, mut value) = row(7, TARGETS[0], attempt);
            value["round"] = round.into();
            value["pad"] = "p".repeat(400).into();
            cohort.append(&key, &value).unwrap();
        }
        cohort.append("run-0007", &round).unwrap();
        cohort.append("run-0008", &round).unwrap();
        cohort.compact().unwrap();
    }
    let whole = keys(cohort.view().unwrap().prefix(["run-0007"]));
    assert_eq!(whole.len(), 301);
    let path = cohort.path().join("snapshot.json");
    fixture::flip(&path, std::fs::metadata(&path).unwrap().len() * 3 / 4);
    drop(cohort);
    let view = fixture.reopen("index").view().unwrap();
    assert_eq!(keys(view.prefix(["run-0007"])), whole);
    assert!(view.damage().is_some());
}

fn previous(view: &View, query: &Query) -> Option<u64> {
    view.previous(query).unwrap().map(|(_, entry)| entry.seq())
}

#[test]
fn fields_are_equal_if_they_mean_the_same() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let values = [
        r#"{"n":1}"#,
        r#"{"n":1.0}"#,
        r#"{"n":"1"}"#,
        r#"{"n":true}"#,
        r#"{"n":null}"#,
        r#"{"m":null}"#,
        r#"{"n":"T\u0052UE"}"#,
        r#"{"n":9007199254740993}"#,
        r#"{"n":[1]}"#,
        r#"{"n":{"n":{"a.b":"deep"}}}"#,
        r#"{"n":0,"n":10e-1}"#,
        r#"[1]"#,
        r#"{"n":"NaN"}"#,
    ];
    for (i, value) in values.iter().enumerate() {
        let mut batch = Batch::new();
        batch.put_json(&format!("k{i:02}"), value).unwrap();
        cohort.append_batch(batch).unwrap();
    }
    cohort.append("k13", &std::collections::BTreeMap::from([("n", f64::NAN)])).unwrap();
    cohort.append("k14", &std::collections::BTreeMap::from([("n", f64::NEG_INFINITY)])).unwrap();
    let query = Query::new;
    for compacted in [false, true] {
        let view = cohort.view().unwrap();
        // Each is asked for below some seq, so that all that are equal are found one after the other.
        let all = |query: &dyn Fn() -> Query| {
            let (mut before, mut found) = (u64::MAX, Vec::new());
            while let Some(seq) = previous(&view, &query().before(before)) {
                found.insert(0, seq);
                before = seq;
            }
            found
        };
        assert_eq!(all(&|| query().field("n", &1).unwrap()), [1, 2, 11]);
        assert_eq!(all(&|| query().field("n", &1.0).unwrap()), [1, 2, 11]);
        assert_eq!(all(&|| query().field("n", "1").unwrap()), [3]);
        assert_eq!(all(&|| query().field_word("n", "1").unwrap()), [1, 2, 3, 11]);
        assert_eq!(all(&|| query().field("n", &true).unwrap()), [4]);
        assert_eq!(all(&|| query().field("n", &Value::Null).unwrap()), [5]);
        assert_eq!(all(&|| query().field("n", "TRUE").unwrap()), [7]);
        assert_eq!(all(&|| query().field("n", &9007199254740992u64).unwrap()), [0; 0]);
        assert_eq!(all(&|| query().field("n", &9007199254740993u64).unwrap()), [8]);
        assert_eq!(all(&|| query().field(r"n.n.a\.b", "deep").unwrap()), [10]);
        assert_eq!(all(&|| query().field("n", "NaN").unwrap()), [13]);
        assert_eq!(all(&|| query().field("n", &f64::NAN).unwrap()), [14]);
        assert_eq!(all(&|| query().field_word("n", "NaN").unwrap()), [13, 14]);
        assert_eq!(all(&|| query().field_word("n", "-Infinity").unwrap()), [15]);
        assert_eq!(
            all(&|| query().not_word("n", "1").unwrap().not("n", &f64::NAN).unwrap()),
            [4, 5, 6, 7, 8, 9, 10, 12, 13, 15]
        );
        assert_eq!(previous(&view, &query()), Some(15), "the newest of all");
        assert_eq!(previous(&view, &query().before(1)), None);
        assert_eq!(previous(&view, &query().before_key("k03")), Some(3));
        assert!(view.previous(&query().before_key("k99")).unwrap_err().is_not_found());
        if !compacted {
            cohort.compact().unwrap();
        }
    }
    assert!(query().field("n", &json!([1])).unwrap_err().is_invalid());
    assert!(query().field("n.", &1).unwrap_err().is_invalid());
}

#[test]
fn the_previous_entry_is_the_newest_of_a_plain_search_whatever_is_compacted() {
    fn holds(runs: Vec<(u8, u8, u8)>, asked: (u8, u8), cut: u8) -> bool {
        let fixture = Fixture::in_memory();
        let cohort = fixture.create("index", Settings::latest().compact_bytes(0));
        let log = fixture.create("log", Settings::log().segment_bytes(4096));
        let mut model: std::collections::BTreeMap<String, (u64, Value)> = Default::default();
        for (i, (run, stage, n)) in runs.iter().enumerate() {
            let (key, value) = (
                format!("run-{}", run % 16),
                json!({"stage": stage % 3, "deep": {"n": n % 2}, "pad": "p".repeat(200)}),
            );
            let seq = cohort.append(&key, &value).unwrap();
            log.append(&key, &value).unwrap();
            model.insert(key, (seq, value));
            if i % 20 == usize::from(cut) % 20 {
                cohort.compact().unwrap();
                log.compact().unwrap();
            }
        }
        let view = cohort.view().unwrap();
        let holds = |value: &Value| value["stage"] == asked.0 % 3 && value["deep"]["n"] != asked.1 % 2;
        let query = |query: Query| {
            query.field("stage", &(asked.0 % 3)).unwrap().not("deep.n", &(asked.1 % 2)).unwrap()
        };
        for (key, (bound, _)) in &model {
            let before =
                model.values().filter(|(seq, value)| seq < bound && holds(value)).map(|(seq, _)| *seq);
            assert_eq!(previous(&view, &query(Query::new().before_key(key))), before.max());
            // Of a log every record counts, but for those of the same key.
            let records = log.cursor(1).unwrap().map(|record| record.unwrap());
            let before = records.filter(|record| {
                record.seq() < *bound && record.key() != key && holds(&record.to().unwrap())
            });
            let found = log.previous(&query(Query::new().before_key(key))).unwrap();
            assert_eq!(found.map(|record| record.seq()), before.map(|record| record.seq()).max(), "{key}");
        }
        true
    }
    QuickCheck::new().tests(40).quickcheck(holds as fn(Vec<(u8, u8, u8)>, (u8, u8), u8) -> bool);
}

#[test]
fn among_many_entries_the_previous_one_is_found_in_whatever_order_the_keys_are() {
    const ENTRIES: u64 = 10_007;
    let fixture = Fixture::in_memory();
    for step in [1, ENTRIES - 1, 7919] {
        let cohort = fixture.create(&format!("by {step}"), Settings::latest().compact_bytes(0));
        let mut batch = Batch::new();
        for i in 0..ENTRIES {
            batch
                .put(
                    &format!("{:05}", i * step % ENTRIES),
                    &json!({"odd": i % 2 == 1, "rare": i % 5000 == 17}),
                )
                .unwrap();
        }
        cohort.append_batch(batch).unwrap();
        cohort.compact().unwrap();
        let view = cohort.view().unwrap();
        let (odd, rare) =
            (Query::new().field("odd", &true).unwrap(), Query::new().field("rare", &true).unwrap());
        // The record with the number i has the seq i + 1.
        assert_eq!(previous(&view, &odd), Some(10_006));
        assert_eq!(previous(&view, &odd.clone().before(10_006)), Some(10_004));
        assert_eq!(previous(&view, &odd.before(2)), None);
        assert_eq!(previous(&view, &rare), Some(5_018));
        assert_eq!(previous(&view, &rare.clone().before(5_018)), Some(18));
        assert_eq!(previous(&view, &rare.before(18)), None);
    }
}

#[test]
fn deletes_and_raw_records_of_a_log_are_not_looked_into() {
    let fixture = Fixture::new();
    let log = fixture.create("log", Settings::log());
    log.append("a", &json!({"n": 1})).unwrap();
    log.delete("a").unwrap();
    let mut batch = Batch::new();
    batch.put_raw("b", br#"{"n":1}"#).unwrap();
    log.append_batch(batch).unwrap();
    assert_eq!(log.previous(&Query::new()).unwrap().unwrap().seq(), 1);
    assert_eq!(log.previous(&Query::new().before_key("b")).unwrap().unwrap().seq(), 1);
    assert!(log.previous(&Query::new().before_key("a")).unwrap().is_none(), "all else is of the same key");
    assert!(log.previous(&Query::new().before_key("c")).unwrap_err().is_not_found());
}
