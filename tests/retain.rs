//! Retention: which of the folded history stays, whatever the fold, and that nothing else depends on it.
#![allow(clippy::disallowed_methods, reason = "tests damage and remove files on purpose")]

mod fixture;

use std::fs;
use std::os::unix::fs::MetadataExt;

use fixture::{Fixture, flip, names, segment, segments, state};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use serde_json::json;
use tallyfold::{Batch, Cohort, Compaction, Fold, Retain, Settings};

/// A round of appends, each ended by a compaction.
fn rounds(cohort: &Cohort, rounds: std::ops::Range<u64>) {
    for i in rounds {
        cohort.append(&format!("k{}", i % 4), &json!({"i": i, "pad": "p".repeat(3000)})).unwrap();
        cohort.append("twice", &json!({ "i": i })).unwrap();
        cohort.compact().unwrap();
    }
}

/// The first seq that can still be read.
fn first(cohort: &Cohort) -> u64 {
    let seqs: Vec<u64> = cohort.history(None, ..).unwrap().map(|record| record.unwrap().seq()).collect();
    let last = cohort.last_seq().unwrap();
    let first = seqs.first().copied().unwrap_or(last + 1);
    assert!(seqs.iter().copied().eq(first..=last), "history is a suffix: {seqs:?}");
    if first > 1 {
        let gone = cohort.cursor(1).unwrap_err();
        assert!(gone.is_compacted() && gone.seq() == Some(first), "{gone}");
        let gone = cohort.history(None, first - 1..).unwrap_err();
        assert!(gone.is_compacted() && gone.seq() == Some(first), "{gone}");
    }
    first
}

fn settings(fold: &Fold, retain: Retain) -> Settings {
    Settings::new(fold.clone()).retain(retain).compact_bytes(0)
}

#[test]
fn the_last_records_asked_for_stay_readable_and_few_more() {
    for fold in [Fold::Latest, Fold::Merge, Fold::Log] {
        for kept in [1, 2, 5, 9, 1000] {
            let fixture = Fixture::new();
            let cohort = fixture.create("c", settings(&fold, Retain::Records(kept)));
            for round in 0..12 {
                rounds(&cohort, round..round + 1);
                let (first, last) = (first(&cohort), 2 * (round + 1));
                assert!(first + kept <= last + 1 || first == 1, "{fold:?} {kept}: {first} to {last}");
                // A segment holds two records; and what is needed stays: two segments at most.
                assert!(last + 1 - first <= kept + 1 + 4, "{fold:?} {kept}: {first} to {last}");
            }
            let report = cohort.verify().unwrap();
            assert!(!report.is_damaged(), "{:?}", report.findings);
            assert_eq!(report.records, (first(&cohort), 24));
            let again = fixture.die(cohort);
            assert_eq!(again.append("k", &1).unwrap(), 25);
            assert!(!again.verify().unwrap().is_damaged());
        }
    }
}

#[test]
fn the_history_that_is_kept_takes_at_most_so_many_bytes() {
    for fold in [Fold::Latest, Fold::Log] {
        for bytes in [0, 4096, 10_000, 33_000] {
            let fixture = Fixture::new();
            let cohort = fixture.create("c", settings(&fold, Retain::Bytes(bytes)));
            rounds(&cohort, 0..14);
            let allocated = |number: &u64| fs::metadata(segment(&cohort, *number)).unwrap().blocks() * 512;
            let there = segments(&cohort);
            // The active segment, and one (of a log) or one more that a previous snapshot needs.
            let (history, _) = there.split_at(there.len() - 2);
            let kept: u64 = history.iter().map(allocated).sum();
            assert!(kept <= bytes, "{fold:?} {bytes}: {kept} in {there:?}");
            // Each segment takes 5000 bytes and a bit, two pages: one more would have been too many.
            assert!(kept + 8192 > bytes, "{fold:?} {bytes}: only {kept} in {there:?}");
            first(&cohort);
        }
    }
}

#[test]
fn records_younger_than_asked_for_stay() {
    for fold in [Fold::Latest, Fold::Log] {
        for (seconds, all) in [(3600, true), (0, false)] {
            let fixture = Fixture::new();
            let cohort = fixture.create("c", settings(&fold, Retain::Age(seconds)));
            rounds(&cohort, 0..6);
            assert_eq!(first(&cohort) == 1, all, "{fold:?} {seconds}");
            assert!(all || segments(&cohort).len() == 2, "{fold:?}: {:?}", segments(&cohort));
        }
    }
}

#[test]
fn a_log_keeps_all_that_is_not_sealed_and_durable_whatever_is_retained() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", settings(&Fold::Log, Retain::Bytes(0)));
    for i in 0..5 {
        cohort.append("k", &i).unwrap();
    }
    assert_eq!(first(&cohort), 1);
    assert_eq!(cohort.compact().unwrap(), Compaction::Sealed { seq: 5 });
    assert_eq!(first(&cohort), 1, "the last sealed segment is needed");
    cohort.append("k", &5).unwrap();
    cohort.compact().unwrap();
    assert_eq!(first(&cohort), 6);
    assert_eq!(cohort.stats().unwrap().watermark, 5, "up to where the records are gone");
    // Neither of these removes anything from a log.
    for retain in [Retain::None, Retain::All] {
        let fixture = Fixture::new();
        let cohort = fixture.create("c", settings(&Fold::Log, retain));
        rounds(&cohort, 0..6);
        assert_eq!(first(&cohort), 1);
        assert!(!cohort.path().join("snapshot.json").exists());
    }
}

#[test]
fn a_lost_segment_of_a_limited_log_is_told_from_one_that_was_removed() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", settings(&Fold::Log, Retain::Records(6)));
    rounds(&cohort, 0..8);
    let (there, first) = (segments(&cohort), first(&cohort));
    assert!(first > 1 && there.len() > 3, "{there:?}");
    drop(cohort);
    let aside = fixture.copy();
    // The mark is lost: what is gone cannot be told from damage any more.
    fs::remove_file(aside.store.path().join("c/snapshot.json")).unwrap();
    let cohort = aside.reopen("c");
    assert!(cohort.cursor(1).unwrap_err().is_corruption());
    // A segment is lost.
    let cohort = fixture.reopen("c");
    fs::remove_file(segment(&cohort, there[0])).unwrap();
    let lost = cohort.cursor(first).unwrap_err();
    assert!(lost.is_corruption(), "{lost}");
    assert!(cohort.verify().unwrap().is_damaged());
    let before = segments(&cohort);
    cohort.append("k", &1).unwrap();
    cohort.compact().unwrap();
    assert_eq!(segments(&cohort)[..before.len()], before, "nothing is removed from a damaged log");
    assert!(cohort.verify().unwrap().is_damaged(), "and the damage is not forgotten");
}

/// The story: a power cut garbled the link of a segment that had just been begun. What a garbled link calls durable is not known,
/// so the log was looked for from its first record on, which was gone, and it could not be opened.
#[test]
fn a_limited_log_whose_newest_link_is_garbled_goes_on_from_what_is_there() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", settings(&Fold::Log, Retain::Records(2)));
    rounds(&cohort, 0..4);
    let first = first(&cohort);
    assert!(first > 1);
    drop(cohort);
    let cohort = fixture.reopen("c");
    flip(&segment(&cohort, *segments(&cohort).last().unwrap()), 512 + 20);
    assert_eq!(cohort.last_seq().unwrap(), 8);
    assert_eq!(cohort.append("after", &1).unwrap(), 9);
    assert_eq!(cohort.cursor(first).unwrap().count(), (10 - first) as usize);
    assert!(!cohort.verify().unwrap().is_damaged());
}

#[test]
fn the_mark_of_a_limited_log_that_is_damaged_is_made_anew_by_the_next_compaction() {
    for retain in [Retain::Records(3), Retain::All] {
        let fixture = Fixture::new();
        let cohort = fixture.create("c", settings(&Fold::Log, Retain::Records(3)));
        rounds(&cohort, 0..6);
        cohort.alter(|settings| Ok(settings.retain(retain))).unwrap();
        let whole = first(&cohort);
        flip(&cohort.path().join("snapshot.json"), 20);
        assert!(cohort.verify().unwrap().is_damaged());
        assert_eq!(cohort.cursor(whole).unwrap().count(), (13 - whole) as usize, "what is there is read");
        cohort.compact().unwrap();
        assert!(!cohort.verify().unwrap().is_damaged());
        assert_eq!(first(&cohort), whole);
        assert_eq!(names(&cohort.path().join("quarantine")).len(), 1);
    }
}

#[test]
fn a_compactor_that_died_while_it_removed_history_has_left_what_the_next_one_removes() {
    for fold in [Fold::Latest, Fold::Log] {
        let fixture = Fixture::new();
        let cohort = fixture.create("c", settings(&fold, Retain::All));
        rounds(&cohort, 0..8);
        let there = segments(&cohort);
        cohort.alter(|settings| Ok(settings.retain(Retain::Records(4)))).unwrap();
        drop(cohort);
        // What it leaves after each removal: the oldest are gone, and of a log the mark stands.
        let done = fixture.copy();
        done.reopen("c").compact().unwrap();
        let kept = segments(&done.reopen("c"));
        let gone: Vec<u64> = there.iter().copied().filter(|number| *number < kept[0]).collect();
        assert!(gone.len() > 3, "{there:?} {kept:?}");
        for removed in 0..=gone.len() {
            let left = fixture.copy();
            let path = left.store.path().join("c");
            if fold == Fold::Log {
                let mark = done.store.path().join("c/snapshot.json");
                fs::copy(mark, path.join("snapshot.json")).unwrap();
            }
            for number in &gone[..removed] {
                fs::remove_file(path.join(format!("{number:08}.journal"))).unwrap();
            }
            let cohort = left.reopen("c");
            assert!(!cohort.verify().unwrap().is_damaged(), "{fold:?} {removed}");
            assert_eq!(cohort.append("after", &1).unwrap(), 17);
            let begun = first(&cohort);
            assert_eq!(begun == 1, removed == 0, "{fold:?} {removed}");
            cohort.compact().unwrap();
            assert!(segments(&cohort)[0] >= kept[0], "{fold:?} {removed}");
            assert!(!cohort.verify().unwrap().is_damaged(), "{fold:?} {removed}");
        }
    }
}

#[test]
fn damage_to_history_is_told_and_the_state_does_not_need_it() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", settings(&Fold::Merge, Retain::Records(100)));
    rounds(&cohort, 0..6);
    let whole = state(&cohort.view().unwrap());
    drop(cohort);
    let cohort = fixture.reopen("c");
    flip(&segment(&cohort, 2), 1024 + 44);
    assert!(cohort.verify().unwrap().is_damaged());
    let read: Vec<_> = cohort.history(None, ..).unwrap().collect();
    assert_eq!(read.len(), 3, "the records before, and the damage");
    assert!(read[2].as_ref().is_err_and(tallyfold::Error::is_corruption), "{read:?}");
    assert_eq!(state(&cohort.view().unwrap()), whole);
    // Each snapshot can be rebuilt as without any history.
    flip(&cohort.path().join("snapshot.json"), 30);
    assert_eq!(state(&fixture.reopen("c").view().unwrap()), whole);
}

#[test]
fn the_space_behind_each_segment_sealed_since_the_last_compaction_is_given_back() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", settings(&Fold::Latest, Retain::All).segment_bytes(1 << 20));
    // One frame that leaves no room for the next: each segment is sealed with most of it unused.
    let large = json!("x".repeat(600_000));
    for i in 0..4 {
        cohort.append("small", &i).unwrap();
        cohort.append("large", &large).unwrap();
        cohort.append("large", &large).unwrap();
    }
    let allocated = || -> u64 {
        // Behind these are the active one, and at times a spare.
        let there = segments(&cohort);
        let sealed = &there[..8];
        sealed.iter().map(|number| fs::metadata(segment(&cohort, *number)).unwrap().blocks() * 512).sum()
    };
    let before = allocated();
    cohort.compact().unwrap();
    let records = 8 * 600_000;
    assert!(allocated() < records + 8 * 8192, "{} of {before} bytes, {records} of them records", allocated());
    assert_eq!(cohort.cursor(1).unwrap().count(), 12);
    assert!(!cohort.verify().unwrap().is_damaged());
}

#[test]
fn a_limited_log_is_compacted_without_being_asked_for() {
    let fixture = Fixture::new();
    let settings = Settings::log().retain(Retain::Records(10)).segment_bytes(4096).compact_bytes(1);
    let cohort = fixture.create("c", settings);
    let mut seq = 0;
    while cohort.cursor(1).is_ok() {
        seq = cohort.append("k", &json!({"pad": "p".repeat(500)})).unwrap();
        // A segment that has just been begun is left alone for a moment: so slowly that it grows older than that.
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(seq < 2000, "nothing was removed of {seq} records");
    }
    cohort.detach().unwrap();
    assert!(first(&cohort) + 10 <= seq + 1);
}

#[derive(Clone, Debug)]
struct Plan {
    retain: Retain,
    merge: bool,
    /// How many records are appended, in which batches, and after which there is a compaction or another process.
    steps: Vec<(u8, u8)>,
}

impl Arbitrary for Plan {
    fn arbitrary(g: &mut Gen) -> Plan {
        let retain = match u8::arbitrary(g) % 5 {
            0 => Retain::None,
            1 => Retain::All,
            2 => Retain::Bytes(u64::from(u16::arbitrary(g))),
            3 => Retain::Age(u64::from(u8::arbitrary(g) % 2) * 1000),
            _ => Retain::Records(u64::from(u8::arbitrary(g) % 40)),
        };
        Plan { retain, merge: bool::arbitrary(g), steps: Vec::arbitrary(g) }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Plan>> {
        let plan = self.clone();
        Box::new(self.steps.shrink().map(move |steps| Plan { steps, ..plan.clone() }))
    }
}

/// The state's bytes after a plan, and the first seq in its history.
fn run(plan: &Plan, retain: Retain) -> (String, u64) {
    let fixture = Fixture::in_memory();
    let fold = if plan.merge { Fold::Merge } else { Fold::Latest };
    let mut cohort = fixture.create("c", settings(&fold, retain).segment_bytes(4096));
    let mut i = 0;
    for (records, then) in &plan.steps {
        let mut batch = Batch::new();
        for _ in 0..records % 5 {
            i += 1;
            match i % 11 {
                0 => batch.delete(&format!("k{}", i % 7)).unwrap(),
                _ => batch
                    .put(&format!("k{}", i % 7), &json!({(format!("f{}", i % 3)): "x".repeat(i * 37 % 600)}))
                    .unwrap(),
            };
        }
        if !batch.is_empty() {
            cohort.append_batch(batch).unwrap();
        }
        match then % 6 {
            0 | 1 => drop(cohort.compact().unwrap()),
            2 => cohort = fixture.reopen("c"),
            _ => {}
        }
    }
    cohort.compact().unwrap();
    let first = first(&cohort);
    if let Retain::Records(kept) = retain {
        assert!(first + kept <= i as u64 + 1 || first == 1, "{first} of {i}, {kept} are to be kept");
    }
    assert!(retain != Retain::All || first == 1);
    let report = cohort.verify().unwrap();
    assert!(!report.is_damaged(), "{:?}", report.findings);
    (fs::read_to_string(cohort.path().join("snapshot.json")).unwrap_or_default(), first)
}

#[test]
fn whatever_is_retained_the_state_is_the_same_byte_for_byte_and_history_a_suffix() {
    fn holds(plan: Plan) -> bool {
        let (all, first) = run(&plan, Retain::All);
        assert_eq!(first, 1);
        run(&plan, plan.retain).0 == all
    }
    QuickCheck::new().tests(60).quickcheck(holds as fn(Plan) -> bool);
}
