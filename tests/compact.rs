//! Compaction: what it leaves at each step, what damage to a snapshot costs, what a read costs.
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

mod fixture;

use std::fs;

use fixture::{Fixture, flip, names, segment, segments, state};
use serde_json::json;
use tallyfold::{Cohort, Compaction, Retain, Settings};

/// Two snapshots and a tail.
fn compacted(fixture: &Fixture, settings: Settings) -> Cohort {
    let cohort = fixture.create("c", settings);
    for round in 0..3 {
        for i in 0..12 {
            cohort.append(&format!("k{i:02}"), &json!({"round": round, "i": i})).unwrap();
        }
        if round < 2 {
            cohort.compact().unwrap();
        }
    }
    cohort.delete("k03").unwrap();
    cohort.detach().unwrap();
    cohort
}

#[test]
fn every_flipped_byte_of_a_snapshot_is_rebuilt_around_and_put_right_by_the_next_compaction() {
    let fixture = Fixture::in_memory();
    let cohort = compacted(&fixture, Settings::merge());
    let whole = state(&cohort.view().unwrap());
    let len = fs::metadata(cohort.path().join("snapshot.json")).unwrap().len();
    for offset in 0..len {
        let damaged = fixture.copy();
        let cohort = damaged.reopen("c");
        flip(&cohort.path().join("snapshot.json"), offset);
        let view = cohort.view().unwrap();
        assert_eq!(state(&view), whole, "byte {offset}");
        assert!(view.damage().is_some_and(|e| e.is_corruption()), "byte {offset}: rebuilt without a word");
        assert_eq!(
            view.get("k01").unwrap().map(|e| e.json().to_string()),
            whole.get("k01").map(|e| e.1.clone())
        );
        assert!(cohort.verify().unwrap().is_damaged(), "byte {offset}");
        // Too slow for every byte, and the same for all of one part.
        if offset % 11 == 0 {
            assert_eq!(cohort.append("k99", &1).unwrap(), 38, "a damaged snapshot stops no writer");
            assert!(matches!(cohort.compact().unwrap(), Compaction::Folded { seq: 38, entries: 12, .. }));
            let report = cohort.verify().unwrap();
            assert!(!report.is_damaged(), "byte {offset}: {:?}", report.findings);
            assert_eq!(names(&cohort.path().join("quarantine")).len(), 1, "the damaged one is kept");
            let mut expected = whole.clone();
            expected.insert("k99".into(), (38, "1".into()));
            assert_eq!(state(&cohort.view().unwrap()), expected, "byte {offset}");
        }
    }
}

#[test]
fn one_snapshot_can_be_lost_and_both_are_corruption() {
    for (lost, readable) in [
        (&["snapshot.json"][..], true),
        (&["snapshot.prev.json"], true),
        (&["snapshot.json", "snapshot.prev.json"], false),
    ] {
        let fixture = Fixture::new();
        let cohort = compacted(&fixture, Settings::latest());
        let whole = state(&cohort.view().unwrap());
        for name in lost {
            flip(&cohort.path().join(name), 20);
        }
        // Who is attached knows where the journal ends, and would not look.
        drop(cohort);
        let cohort = fixture.reopen("c");
        match readable {
            true => {
                assert_eq!(state(&cohort.view().unwrap()), whole, "{lost:?}");
                cohort.append("k", &1).unwrap();
                cohort.compact().unwrap();
                assert_eq!(fixture.reopen("c").view().unwrap().get("k").unwrap().unwrap().json(), "1");
            }
            false => {
                let error = cohort.view().unwrap_err();
                assert!(error.is_corruption(), "{error}");
                assert!(cohort.compact().is_err());
                assert!(cohort.append("k", &1).unwrap_err().is_corruption());
            }
        }
    }
}

#[test]
fn a_damaged_first_snapshot_is_rebuilt_from_the_journal_alone() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    cohort.append("k", &1).unwrap();
    cohort.compact().unwrap();
    cohort.append("l", &2).unwrap();
    flip(&cohort.path().join("snapshot.json"), 30);
    assert_eq!(state(&cohort.view().unwrap()).len(), 2);
    cohort.compact().unwrap();
    assert!(!cohort.verify().unwrap().is_damaged());
    assert_eq!(state(&cohort.view().unwrap()).len(), 2);
}

#[test]
fn what_a_compactor_left_that_died_at_any_step_is_used_or_removed() {
    let fixture = Fixture::new();
    let cohort = compacted(&fixture, Settings::latest());
    let whole = state(&cohort.view().unwrap());
    let path = cohort.path();
    // Step 4: half a snapshot. Step 5: a second name, and then the same snapshot under both names.
    fs::write(path.join("snapshot.00000000000000aa.tmp"), b"{\"tallyfold\":1").unwrap();
    fs::hard_link(path.join("snapshot.json"), path.join("snapshot.00000000000000bb.tmp")).unwrap();
    assert_eq!(state(&fixture.reopen("c").view().unwrap()), whole);
    fs::rename(path.join("snapshot.00000000000000bb.tmp"), path.join("snapshot.prev.json")).unwrap();
    assert_eq!(state(&fixture.reopen("c").view().unwrap()), whole);
    assert!(!cohort.verify().unwrap().is_damaged());
    assert!(matches!(cohort.compact().unwrap(), Compaction::Folded { .. }));
    assert_eq!(state(&fixture.reopen("c").view().unwrap()), whole);
    assert!(names(&path).iter().all(|name| !name.ends_with(".tmp")));
    assert!(!cohort.verify().unwrap().is_damaged());
}

#[test]
fn segments_that_both_snapshots_cover_are_removed_unless_all_is_retained() {
    for (retain, most) in [(Retain::None, 2), (Retain::All, 11)] {
        let fixture = Fixture::new();
        let cohort = fixture.create("c", Settings::latest().retain(retain));
        for i in 0..10 {
            cohort.append("k", &i).unwrap();
            cohort.compact().unwrap();
        }
        assert_eq!(segments(&cohort).len(), most, "{retain:?}");
        assert_eq!(cohort.cursor(1).is_ok(), retain == Retain::All);
        assert_eq!(cohort.compact().unwrap(), Compaction::Nothing);
        assert!(!cohort.verify().unwrap().is_damaged());
    }
}

#[test]
fn compacting_a_log_only_seals() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::log());
    cohort.append("k", &1).unwrap();
    assert_eq!(cohort.compact().unwrap(), Compaction::Sealed { seq: 1 });
    assert_eq!(cohort.compact().unwrap(), Compaction::Nothing);
    assert_eq!(segments(&cohort), [1, 2]);
    assert!(!cohort.path().join("snapshot.json").exists());
    assert_eq!(cohort.append("k", &2).unwrap(), 2);
    assert_eq!(cohort.cursor(1).unwrap().count(), 2);
}

#[test]
fn while_another_compacts_that_is_an_answer_and_no_error() {
    let fixture = Fixture::new();
    let cohort = compacted(&fixture, Settings::latest());
    let lock = fs::File::open(cohort.path().join("compact.lock")).unwrap();
    fs4::FileExt::lock(&lock).unwrap();
    assert_eq!(cohort.compact().unwrap(), Compaction::Busy);
}

/// The story: a block of the snapshot was damaged, and one of the previous snapshot too. Each was rebuilt from the previous one, and
/// so on, until the stack was full and the process was gone.
#[test]
fn a_block_damaged_in_both_snapshots_is_an_error_and_not_the_end_of_the_process() {
    for settings in [Settings::latest(), Settings::merge()] {
        let fixture = Fixture::new();
        let cohort = fixture.create("c", settings.compact_bytes(0));
        cohort.append("old", &json!({"i": 0})).unwrap();
        for i in 1..3 {
            cohort.append("new", &json!({"i": i})).unwrap();
            cohort.compact().unwrap();
        }
        cohort.append("new", &json!({"more": 1})).unwrap();
        drop(cohort);
        let cohort = fixture.reopen("c");
        for name in ["snapshot.json", "snapshot.prev.json"] {
            let path = cohort.path().join(name);
            let text = fs::read_to_string(&path).unwrap();
            flip(&path, text.find("\"old\"").unwrap() as u64 + 1);
        }
        // A merge reads what was there before; a view of the latest values finds it when it is asked for a line.
        let found = cohort.view().and_then(|view| view.get("old"));
        assert!(found.unwrap_err().is_corruption());
        let found = cohort.view().and_then(|view| view.iter().map(|item| item.map(|_| ())).collect());
        let found: tallyfold::Result<Vec<()>> = found;
        assert!(found.unwrap_err().is_corruption());
        assert!(cohort.compact().unwrap_err().is_corruption());
        assert!(cohort.verify().unwrap().is_damaged());
    }
}

/// The story: a segment went bad under a process that was attached. Its compaction held `compact.lock`, and its own reader waited
/// for that until the time was over, and named this process as the one that holds it.
#[test]
fn a_compaction_that_finds_damage_says_so_and_does_not_wait_for_itself() {
    for settings in [Settings::latest(), Settings::merge()] {
        let fixture = Fixture::new();
        let settings = settings.compact_bytes(0).lock_timeout(std::time::Duration::from_millis(50));
        let cohort = fixture.create("c", settings);
        for i in 0..3 {
            cohort.append_durable("k", &json!({"i": i})).unwrap();
        }
        flip(&segment(&cohort, 1), 1024 + 50);
        let error = cohort.compact().unwrap_err();
        assert!(error.is_corruption() && error.segment() == Some(1), "{error}");
        assert!(cohort.verify().unwrap().is_damaged(), "and the lock is free again");
    }
}

/// The story: power was cut while segments were removed, twice, and some of the names came back: an older piece of the journal,
/// a gap, another piece, another gap. Verify took the second gap for damage.
#[test]
fn retired_segments_that_come_back_with_gaps_between_them_are_no_damage() {
    let (fixture, aside) = (Fixture::new(), tempfile::tempdir().unwrap());
    let cohort = fixture.create("c", Settings::latest().compact_bytes(0));
    for i in 0..6 {
        cohort.append("k", &i).unwrap();
        if let number @ (1 | 3) = *segments(&cohort).last().unwrap() {
            fs::copy(segment(&cohort, number), aside.path().join(number.to_string())).unwrap();
        }
        cohort.compact().unwrap();
    }
    let whole = state(&cohort.view().unwrap());
    assert!(*segments(&cohort).first().unwrap() > 4);
    for number in [1, 3] {
        fs::copy(aside.path().join(number.to_string()), segment(&cohort, number)).unwrap();
    }
    let report = cohort.verify().unwrap();
    assert!(!report.is_damaged(), "{:?}", report.findings);
    assert_eq!(report.records, (6, 6), "what the newest snapshot was folded from");
    cohort.append("k", &6).unwrap();
    cohort.compact().unwrap();
    assert!(*segments(&cohort).first().unwrap() > 4, "and they go with the next compaction");
    assert!(!cohort.verify().unwrap().is_damaged());
    assert_ne!(state(&cohort.view().unwrap()), whole);
}

#[test]
fn a_point_read_checks_one_block_of_many() {
    let fixture = Fixture::in_memory();
    let cohort = fixture.create("c", Settings::latest());
    let mut batch = tallyfold::Batch::new();
    for i in 0..10_000 {
        batch
            .put(&format!("run-{i:05}:TRAINING"), &json!({"auc": f64::from(i) / 1e4, "pad": "x".repeat(60)}))
            .unwrap();
    }
    cohort.append_batch(batch).unwrap();
    cohort.compact().unwrap();
    let view = fixture.reopen("c").view().unwrap();
    assert_eq!(view.blocks_read(), 0, "opening reads the first and the last line");
    assert_eq!(view.get("run-04321:TRAINING").unwrap().unwrap().seq(), 4322);
    assert_eq!(view.blocks_read(), 1);
    assert_eq!(view.get("run-99999").unwrap(), None);
    assert_eq!(view.get("a").unwrap(), None, "before the first key there is no block");
    assert_eq!(view.blocks_read(), 2);
    assert_eq!(view.iter().count(), 10_000);
    assert!(view.blocks_read() > 15, "{}", view.blocks_read());
}

#[test]
fn keys_and_values_of_every_shape_survive_the_snapshot_to_the_letter() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let huge = format!("\"{}\"", "y".repeat(200_000));
    let values = [
        "1.50",
        "1e400".trim_end_matches("00"),
        "123456789012345678901234567890",
        "{\"b\":1,\"a\":2}",
        &huge,
        "\"\\u00e4\\n\"",
    ];
    let keys = ["", "\"", "\\", "a\nb\u{1}", "\u{e4}", "\u{10FFFF}", "a", "a:b", "\u{7f}", "}", ","];
    for (i, key) in keys.iter().enumerate() {
        let mut batch = tallyfold::Batch::new();
        batch.put_json(key, &format!(" {} \n", values[i % values.len()])).unwrap();
        cohort.append_batch(batch).unwrap();
    }
    let before = state(&cohort.view().unwrap());
    cohort.compact().unwrap();
    let view = cohort.view().unwrap();
    assert_eq!(state(&view), before);
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(view.get(key).unwrap().unwrap().json(), values[i % values.len()], "{key:?}");
    }
    let text = fs::read_to_string(cohort.path().join("snapshot.json")).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["entries"], json!(keys.len()));
}

#[test]
fn a_cohort_of_ten_records_takes_at_most_128_kib_before_and_after_a_compaction() {
    use std::os::unix::fs::MetadataExt;
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    for compacted in [false, true] {
        for i in 0..5 {
            cohort.append(&format!("k{i}"), &json!({"loss": 0.123456, "acc": 0.98})).unwrap();
        }
        cohort.detach().unwrap();
        if compacted {
            cohort.compact().unwrap();
        }
        let blocks = |path: std::path::PathBuf| fs::metadata(path).unwrap().blocks() * 512;
        let files: u64 = names(&cohort.path()).iter().map(|name| blocks(cohort.path().join(name))).sum();
        let all = files + blocks(cohort.path());
        assert!(all <= 128 << 10, "{all} bytes are allocated, compacted: {compacted}");
    }
}
