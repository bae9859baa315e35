//! Repair, from the outside: each kind of damage, what it costs, and that the cohort goes on as if nothing else had been.
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

mod fixture;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use fixture::{
    FRAMES_BEGIN, Fixture, copy_all, cut, flip, frames, names, overwrite, segment, segments, state,
};
use serde_json::json;
use tallyfold::{Cohort, Kind, LockClass, RepairPlan, Repaired, Retain, SeqRange, Settings, Severity};

type State = BTreeMap<String, (u64, String)>;

/// Every file below a directory, with its content.
fn content(dir: &Path) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for path in names(dir).into_iter().map(|name| dir.join(name)) {
        match path.is_dir() {
            true => all.extend(content(&path)),
            false => all.push(fs::read(&path).unwrap()),
        }
    }
    all
}

/// Repairs a cohort and holds it to what every repair promises; returns what it said.
fn repair(fixture: &Fixture) -> (Repaired, Cohort) {
    let plan = fixture.store.repair_plan("c", None).unwrap();
    assert!(plan.is_needed(), "something is damaged");
    carry_out(fixture, plan)
}

fn carry_out(fixture: &Fixture, plan: RepairPlan) -> (Repaired, Cohort) {
    let path = fixture.store.path().join("c");
    let before = content(&path);
    let next_seq = plan.next_seq();
    let repaired = plan.carry_out().unwrap();
    let findings = &repaired.report.findings;
    assert!(findings.iter().all(|finding| finding.severity == Severity::Note), "{findings:?}");
    let after = content(&path);
    for bytes in before {
        // A segment may have grown zeros; a lock or a mark is empty.
        let kept = after.iter().any(|now| now.len() >= bytes.len() && now[..bytes.len()] == bytes[..]);
        assert!(kept, "{} bytes are nowhere any more", bytes.len());
    }
    let cohort = fixture.reopen("c");
    assert!(!fixture.store.repair_plan("c", None).unwrap().is_needed(), "once is enough");
    assert_eq!(cohort.last_seq().unwrap() + 1, next_seq);
    assert_eq!(repaired.next_seq, next_seq);
    (repaired, cohort)
}

/// Records 1 to `count`, five keys, detached; small segments.
fn filled(fixture: &Fixture, settings: Settings, count: u64) -> Vec<State> {
    let cohort =
        fixture.create("c", settings.segment_bytes(4096).compact_bytes(0).sync_interval(Duration::ZERO));
    let states = fill(&cohort, count);
    cohort.detach().unwrap();
    states
}

fn fill(cohort: &Cohort, count: u64) -> Vec<State> {
    let mut states = vec![State::new()];
    for i in 1..=count {
        let (key, value) = (format!("k{}", i % 5), json!({"i": i, "pad": "x".repeat(100)}));
        assert_eq!(cohort.append(&key, &value).unwrap(), i);
        let mut state = states.last().unwrap().clone();
        state.insert(key, (i, value.to_string()));
        states.push(state);
    }
    states
}

/// Flips a byte in the frame that begins with a seq. Returns its segment.
fn spoil(cohort: &Cohort, seq: u64) -> u64 {
    for number in segments(cohort) {
        let path = segment(cohort, number);
        if let Some((at, ..)) = frames(&path).0.iter().find(|(_, count, first)| *count > 0 && *first == seq) {
            flip(&path, at + 60);
            return number;
        }
    }
    panic!("no frame begins with seq {seq}");
}

fn log_values(cohort: &Cohort) -> Vec<(u64, u64)> {
    let cursor = match cohort.cursor(1) {
        Err(e) if e.is_compacted() => cohort.cursor(e.seq().unwrap()).unwrap(),
        other => other.unwrap(),
    };
    let value = |record: &tallyfold::Record| record.to::<serde_json::Value>().unwrap()["i"].as_u64().unwrap();
    cursor.map(|record| record.unwrap()).map(|record| (record.seq(), value(&record))).collect()
}

#[test]
fn a_bad_frame_that_was_durable_is_cut_off_and_the_records_behind_it_can_be_read_for_the_user() {
    for class in [LockClass::File, LockClass::Auto] {
        let fixture = Fixture::new();
        let states = filled(&fixture, Settings::latest().lock(class), 60);
        let cohort = fixture.reopen("c");
        assert!(segments(&cohort).len() > 2);
        spoil(&cohort, 20);
        assert!(cohort.append("k", &1).unwrap_err().is_corruption());
        let plan = cohort.repair_plan().unwrap();
        assert_eq!(plan.lost(), [SeqRange { first: 20, last: 60 }]);
        assert_eq!(plan.rescued(), 40, "all but the one that is bad");
        let rescued: Vec<_> = plan.rescue().map(Result::unwrap).collect();
        assert_eq!(rescued.iter().map(|r| r.seq()).collect::<Vec<_>>(), (21..=60).collect::<Vec<_>>());
        let back: Vec<_> =
            plan.went_back().iter().map(|back| (back.key.as_str(), back.seq, back.back_to)).collect();
        assert_eq!(
            back,
            [
                ("k0", 60, Some(15)),
                ("k1", 56, Some(16)),
                ("k2", 57, Some(17)),
                ("k3", 58, Some(18)),
                ("k4", 59, Some(19))
            ]
        );
        assert!(plan.loses());
        let epoch = cohort.stats().map_or(1, |stats| stats.epoch);
        drop(cohort);
        let (repaired, cohort) = carry_out(&fixture, plan);
        assert!(repaired.epoch > epoch);
        assert_eq!(state(&cohort.view().unwrap()), states[19]);
        for record in &rescued {
            cohort.append(record.key(), &record.to::<serde_json::Value>().unwrap()).unwrap();
        }
        assert_eq!(cohort.last_seq().unwrap(), 59);
        for _ in 0..3 {
            cohort.append("k", &1).unwrap();
            cohort.compact().unwrap();
        }
        assert!(!cohort.verify().unwrap().is_damaged());
    }
}

#[test]
fn a_plan_changes_nothing_and_a_whole_or_torn_or_empty_cohort_needs_none() {
    let fixture = Fixture::new();
    fixture.create("empty", Settings::latest());
    assert!(!fixture.store.repair_plan("empty", None).unwrap().is_needed());
    filled(&fixture, Settings::log(), 10);
    let cohort = fixture.reopen("c");
    let (_, tail) = frames(&segment(&cohort, 1));
    overwrite(&segment(&cohort, 1), tail, &[7; 60]);
    assert!(!cohort.repair_plan().unwrap().is_needed(), "the next append cuts it off");
    assert_eq!(cohort.append("k", &json!({"i": 11})).unwrap(), 11);
    cohort.detach().unwrap();
    drop(cohort);
    spoil(&fixture.reopen("c"), 3);
    let before = (names(&fixture.store.path().join("c")), content(fixture.store.path()));
    let plan = fixture.reopen("c").repair_plan().unwrap();
    assert!(plan.is_needed());
    drop(plan);
    assert_eq!((names(&fixture.store.path().join("c")), content(fixture.store.path())), before);
}

#[test]
fn a_missing_segment_in_the_middle_ends_the_journal_before_it_and_a_log_keeps_its_longer_side() {
    for missing in [2, 5] {
        let fixture = Fixture::new();
        filled(&fixture, Settings::log(), 120);
        let cohort = fixture.reopen("c");
        let all = segments(&cohort);
        assert!(all.len() >= 6, "{all:?}");
        let (lost, _) = frames(&segment(&cohort, missing));
        let (first, behind) = (lost[0].2, lost.last().unwrap().2 + 1);
        fs::remove_file(segment(&cohort, missing)).unwrap();
        let plan = cohort.repair_plan().unwrap();
        drop(cohort);
        let (_, cohort) = carry_out(&fixture, plan);
        let values = log_values(&cohort);
        let expected: Vec<u64> = if missing == 2 { (behind..=120).collect() } else { (1..first).collect() };
        assert_eq!(values.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), expected, "{missing}");
        assert!(values.iter().all(|(seq, value)| seq == value));
        assert_eq!(cohort.append("k", &json!({"i": 0})).unwrap(), expected.last().unwrap() + 1);
    }
}

#[test]
fn a_limited_log_whose_snapshot_is_damaged_too_keeps_what_was_not_removed() {
    for spoilt in [None, Some(66), Some(115)] {
        let fixture = Fixture::new();
        filled(&fixture, Settings::log().retain(Retain::Records(60)), 120);
        let cohort = fixture.reopen("c");
        cohort.compact().unwrap();
        let first = log_values(&cohort)[0].0;
        assert!(first > 1, "some are removed");
        flip(&cohort.path().join("snapshot.json"), 5);
        if let Some(seq) = spoilt {
            spoil(&cohort, seq);
        }
        drop(cohort);
        let plan = fixture.store.repair_plan("c", None).unwrap();
        assert_eq!(plan.loses(), spoilt.is_some(), "{:?}", plan.lost());
        let (_, cohort) = carry_out(&fixture, plan);
        let seqs: Vec<u64> = log_values(&cohort).into_iter().map(|(seq, _)| seq).collect();
        let expected = match spoilt {
            None => first..=120,
            // The longer side; where it begins is for the segments to say.
            Some(66) => seqs[0]..=120,
            Some(seq) => first..=seq - 1,
        };
        assert_eq!(seqs, expected.collect::<Vec<_>>(), "{spoilt:?}");
        assert!(seqs.len() >= 25);
        assert_eq!(cohort.append("k", &json!({"i": 0})).unwrap(), seqs.last().unwrap() + 1);
    }
}

#[test]
fn a_damaged_identity_or_link_ends_the_journal_before_its_segment() {
    for offset in [30, 50, 600] {
        let fixture = Fixture::new();
        let states = filled(&fixture, Settings::latest(), 80);
        let cohort = fixture.reopen("c");
        let first = frames(&segment(&cohort, 3)).0[0].2;
        flip(&segment(&cohort, 3), offset);
        let plan = cohort.repair_plan().unwrap();
        assert_eq!(plan.lost(), [SeqRange { first, last: 80 }], "byte {offset}");
        // With the salt gone nobody can tell a frame from rubbish.
        let all = 80 - first + 1;
        match offset {
            50 => assert!(plan.rescued() < all && plan.rescued() > 0),
            _ => assert_eq!(plan.rescued(), all, "byte {offset}"),
        }
        drop(cohort);
        let (_, cohort) = carry_out(&fixture, plan);
        assert_eq!(state(&cohort.view().unwrap()), states[first as usize - 1]);
        assert_eq!(cohort.append("k", &1).unwrap(), first);
    }
}

#[test]
fn a_damaged_snapshot_is_made_anew_without_loss_of_the_previous_one_or_of_the_journal() {
    for (retain, snapshots) in [
        (Retain::None, &["snapshot.json"][..]),
        (Retain::None, &["snapshot.prev.json"]),
        (Retain::All, &["snapshot.json", "snapshot.prev.json"]),
    ] {
        for gone in [false, true] {
            let fixture = Fixture::new();
            let cohort =
                fixture.create("c", Settings::latest().retain(retain).segment_bytes(4096).compact_bytes(0));
            let mut whole = State::new();
            for round in 0..3 {
                for i in 0..20 {
                    cohort.append(&format!("k{}", i % 7), &json!([round, i])).unwrap();
                }
                whole = state(&cohort.view().unwrap());
                if round < 2 {
                    cohort.compact().unwrap();
                }
            }
            cohort.detach().unwrap();
            drop(cohort);
            for name in snapshots {
                let path = fixture.store.path().join("c").join(name);
                if gone { fs::remove_file(path).unwrap() } else { flip(&path, 10) }
            }
            let plan = fixture.store.repair_plan("c", None).unwrap();
            if !plan.is_needed() {
                assert!(gone && snapshots != ["snapshot.json"], "{snapshots:?}");
                continue;
            }
            assert!(!plan.loses(), "{snapshots:?} {gone}: {:?}", plan.lost());
            let (_, cohort) = carry_out(&fixture, plan);
            assert_eq!(state(&cohort.view().unwrap()), whole, "{snapshots:?} {gone}");
            assert_eq!(cohort.append("k", &1).unwrap(), 61);
        }
    }
}

#[test]
fn of_two_damaged_snapshots_without_the_records_the_whole_blocks_are_kept_and_the_lost_keys_are_told() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest().compact_bytes(0));
    for round in 0..3 {
        for i in 0..30 {
            cohort.append(&format!("k{i:02}"), &format!("{round} {}", "v".repeat(10_000))).unwrap();
        }
        cohort.compact().unwrap();
    }
    cohort.append("after", &1).unwrap();
    let whole = state(&cohort.view().unwrap());
    cohort.detach().unwrap();
    drop(cohort);
    let dir = fixture.store.path().join("c");
    flip(&dir.join("snapshot.prev.json"), 5);
    flip(&dir.join("snapshot.json"), 120_000);
    let plan = fixture.store.repair_plan("c", None).unwrap();
    let [lost] = plan.lost_keys() else { panic!("{:?}", plan.lost_keys()) };
    let lost = lost.clone();
    let (_, cohort) = carry_out(&fixture, plan);
    let expected: State = whole
        .into_iter()
        .filter(|(key, _)| *key < lost.from || lost.until.as_ref().is_some_and(|until| key >= until))
        .collect();
    assert!(expected.len() > 10 && expected.len() < 31);
    assert_eq!(state(&cohort.view().unwrap()), expected);
    assert_eq!(cohort.append("k", &1).unwrap(), 92);
    cohort.compact().unwrap();
    assert!(!cohort.verify().unwrap().is_damaged());
}

#[test]
fn two_snapshots_of_which_nothing_is_left_leave_what_the_journal_still_has() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest().compact_bytes(0));
    for i in 1..=9 {
        cohort.append(&format!("k{i}"), &i).unwrap();
        if i % 2 == 0 {
            cohort.compact().unwrap();
        }
    }
    cohort.detach().unwrap();
    drop(cohort);
    let dir = fixture.store.path().join("c");
    for name in ["snapshot.json", "snapshot.prev.json"] {
        flip(&dir.join(name), 5);
    }
    let first =
        frames(&dir.join(names(&dir).into_iter().find(|name| name.ends_with(".journal")).unwrap())).0[0].2;
    let plan = fixture.store.repair_plan("c", None).unwrap();
    assert_eq!(plan.lost(), [SeqRange { first: 1, last: first - 1 }]);
    let (_, cohort) = carry_out(&fixture, plan);
    let left: Vec<u64> = state(&cohort.view().unwrap()).values().map(|(seq, _)| *seq).collect();
    assert_eq!(left, (first..=9).collect::<Vec<_>>());
    assert_eq!(cohort.append("k", &1).unwrap(), 10);
}

#[test]
fn a_journal_that_ends_below_the_watermark_goes_on_behind_it() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    fill(&cohort, 3);
    let early = fixture.copy();
    for i in 4..=6 {
        cohort.append("k", &i).unwrap();
    }
    cohort.compact().unwrap();
    let whole = state(&cohort.view().unwrap());
    fs::copy(cohort.path().join("snapshot.json"), early.store.path().join("c/snapshot.json")).unwrap();
    let plan = early.store.repair_plan("c", None).unwrap();
    assert_eq!(plan.lost(), [], "the snapshot holds what they have come to");
    assert_eq!(plan.history(), Some(SeqRange { first: 1, last: 6 }));
    let (repaired, cohort) = carry_out(&early, plan);
    assert!(repaired.epoch > 1);
    assert_eq!(state(&cohort.view().unwrap()), whole);
    assert_eq!(cohort.append("k", &7).unwrap(), 7);
    cohort.compact().unwrap();
    assert!(!cohort.verify().unwrap().is_damaged());
    assert!(cohort.cursor(1).unwrap_err().is_compacted());
}

#[test]
fn damage_in_history_goes_to_quarantine_and_costs_the_state_nothing() {
    let fixture = Fixture::new();
    let settings = Settings::latest().retain(Retain::All).segment_bytes(4096).compact_bytes(0);
    let cohort = fixture.create("c", settings);
    fill(&cohort, 60);
    cohort.compact().unwrap();
    cohort.append("k", &1).unwrap();
    cohort.compact().unwrap();
    cohort.append("k", &2).unwrap();
    let whole = state(&cohort.view().unwrap());
    cohort.detach().unwrap();
    let bad = spoil(&cohort, 30);
    drop(cohort);
    let plan = fixture.store.repair_plan("c", None).unwrap();
    assert_eq!(plan.cut(), None, "the journal goes on where it ends");
    assert!(plan.lost().is_empty() && plan.loses(), "history that was to be retained");
    let (_, cohort) = carry_out(&fixture, plan);
    assert_eq!(state(&cohort.view().unwrap()), whole);
    assert!(segments(&cohort).iter().all(|number| *number > bad));
    assert_eq!(cohort.append("k", &3).unwrap(), 63);
}

#[test]
fn settings_that_are_gone_are_known_from_a_snapshot_or_have_to_be_given() {
    for gone in [false, true] {
        let fixture = Fixture::new();
        let spoil = |name: &str| {
            let path = fixture.store.path().join(name).join("cohort.json");
            if gone { fs::remove_file(path).unwrap() } else { flip(&path, 3) }
        };
        filled(&fixture, Settings::merge(), 10);
        fixture.reopen("c").compact().unwrap();
        fixture.create("events", Settings::log()).append("k", &1).unwrap();
        spoil("c");
        spoil("events");
        assert!(fixture.store.cohort("c").is_err());
        let plan = fixture.store.repair_plan("c", None).unwrap();
        assert!(!plan.loses() || plan.history().is_some());
        let (_, cohort) = carry_out(&fixture, plan);
        assert_eq!(cohort.settings().fold().name(), "merge");
        assert_eq!(cohort.view().unwrap().seq(), 10);
        assert_eq!(cohort.append("k", &json!({"i": 1})).unwrap(), 11);
        let error = fixture.store.repair_plan("events", None).unwrap_err();
        assert!(error.is_corruption() && error.to_string().contains("--settings"), "{error}");
        let plan = fixture.store.repair_plan("events", Some(Settings::log())).unwrap();
        plan.carry_out().unwrap();
        assert_eq!(fixture.reopen("events").append("k", &2).unwrap(), 2);
        let error = fixture.store.repair_plan("events", Some(Settings::log())).unwrap_err();
        assert!(error.is_conflict(), "{error}");
    }
}

#[test]
fn missing_locks_are_made_and_nobody_is_repaired_under_who_is_attached() {
    let fixture = Fixture::new();
    filled(&fixture, Settings::log(), 5);
    for name in ["lock", "compact.lock"] {
        fs::remove_file(fixture.store.path().join("c").join(name)).unwrap();
    }
    let plan = fixture.store.repair_plan("c", None).unwrap();
    assert!(plan.is_needed() && !plan.loses());
    let (_, cohort) = carry_out(&fixture, plan);
    assert_eq!(cohort.append("k", &json!({"i": 6})).unwrap(), 6);
    spoil(&cohort, 2);
    let plan = fixture.store.repair_plan("c", None).unwrap().with_timeout(Duration::from_millis(50));
    let lock = Fixture::lock_of(&cohort);
    fs4::FileExt::lock_shared(&lock).unwrap();
    let before = content(fixture.store.path());
    let error = plan.carry_out().unwrap_err();
    assert!(error.is_lock_timeout(), "{error}");
    assert_eq!(content(fixture.store.path()), before);
}

#[test]
fn a_cohort_that_changes_between_the_plan_and_the_repair_is_not_touched() {
    let fixture = Fixture::new();
    filled(&fixture, Settings::log(), 30);
    spoil(&fixture.reopen("c"), 25);
    let plan = fixture.store.repair_plan("c", None).unwrap();
    spoil(&fixture.reopen("c"), 20);
    let before = content(fixture.store.path());
    let error = plan.carry_out().unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert_eq!(content(fixture.store.path()), before);
}

/// The story: a writer of the class `file` looks for the number after its own. It had been idle since before the damage, and its
/// segment was not the last one of the journal any more.
#[test]
fn a_writer_that_was_idle_meanwhile_goes_on_where_the_repaired_journal_does() {
    let fixture = Fixture::new();
    filled(&fixture, Settings::log().lock(LockClass::File), 10);
    let idle = fixture.reopen("c");
    assert_eq!(idle.append("k", &json!({"i": 11})).unwrap(), 11);
    let other = fixture.reopen("c");
    for i in 12..=80 {
        other.append("k", &json!({"i": i, "pad": "x".repeat(100)})).unwrap();
    }
    other.detach().unwrap();
    drop(other);
    let mine = frames(&segment(&idle, 1)).0.iter().any(|(.., first)| *first == 11);
    assert!(mine, "the idle one is in segment 1");
    // The end of its own segment is bad, and the next one is gone.
    let last = frames(&segment(&idle, 1)).0.iter().rev().find(|(_, count, _)| *count > 0).unwrap().2;
    spoil(&idle, last);
    fs::remove_file(segment(&idle, 2)).unwrap();
    let plan = fixture.store.repair_plan("c", None).unwrap();
    let next = plan.next_seq();
    plan.carry_out().unwrap();
    assert_eq!(idle.append("k", &json!({"i": next})).unwrap(), next);
    assert_eq!(fixture.reopen("c").last_seq().unwrap(), next);
    assert!(!idle.verify().unwrap().is_damaged());
}

#[test]
fn every_flipped_byte_is_repaired_and_what_is_left_is_a_prefix_or_the_longer_side() {
    let fixture = Fixture::in_memory();
    let states = filled(&fixture, Settings::latest(), 25);
    let step = 17;
    for number in segments(&fixture.reopen("c")) {
        let (_, tail) = frames(&segment(&fixture.reopen("c"), number));
        for offset in (0..tail).step_by(step) {
            let damaged = fixture.copy();
            flip(&segment(&damaged.reopen("c"), number), offset);
            let what = format!("segment {number}, byte {offset}");
            let plan = damaged.store.repair_plan("c", None).unwrap();
            if plan.is_needed() {
                let (_, cohort) = carry_out(&damaged, plan);
                let view = cohort.view().unwrap();
                assert_eq!(state(&view), states[view.seq() as usize], "{what}");
            }
            let cohort = damaged.reopen("c");
            let last = cohort.last_seq().unwrap();
            assert_eq!(cohort.append("k", &json!({"i": 1})).unwrap(), last + 1, "{what}");
            assert!(!cohort.verify().unwrap().is_damaged(), "{what}");
        }
    }
}

#[test]
fn every_length_of_a_sealed_segment_is_repaired() {
    let fixture = Fixture::in_memory();
    let states = filled(&fixture, Settings::latest(), 40);
    let (_, tail) = frames(&segment(&fixture.reopen("c"), 1));
    for len in (0..tail).step_by(37).chain([512, FRAMES_BEGIN]) {
        let damaged = fixture.copy();
        cut(&segment(&damaged.reopen("c"), 1), len);
        let (_, cohort) = repair(&damaged);
        let view = cohort.view().unwrap();
        assert_eq!(state(&view), states[view.seq() as usize], "{len}");
        assert_eq!(cohort.append("k", &1).unwrap(), view.seq() + 1);
    }
}

#[test]
fn deletes_and_raw_bytes_behind_the_damage_are_rescued_too() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::log());
    cohort.append_durable("k", &1).unwrap();
    cohort.append_durable("k", &2).unwrap();
    let mut batch = tallyfold::Batch::new();
    batch.put_raw("r", &[0, 255]).unwrap().delete("k").unwrap();
    cohort.append_batch_durable(batch).unwrap();
    cohort.detach().unwrap();
    let (path, all) = (segment(&cohort, 1), frames(&segment(&cohort, 1)).0);
    drop(cohort);
    flip(&path, all[1].0 + 45);
    let plan = fixture.store.repair_plan("c", None).unwrap();
    let rescued: Vec<_> =
        plan.rescue().map(Result::unwrap).map(|r| (r.seq(), r.kind(), r.bytes().to_vec())).collect();
    assert_eq!(rescued, [(3, Kind::Raw, vec![0, 255]), (4, Kind::Delete, vec![])]);
    let copy = tempfile::tempdir().unwrap();
    copy_all(fixture.store.path(), copy.path());
    carry_out(&fixture, plan);
}
