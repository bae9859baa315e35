//! What is counted in a cohort: by all who are attached together, by a handle alone, and what outlives whom. And that the sizes
//! that links tell are those that frames have.
#![allow(clippy::disallowed_methods, reason = "tests change files on purpose")]

mod fixture;

use std::fs;
use std::sync::mpsc::channel;
use std::time::Duration;

use fixture::writers::{Heard, Writer, acknowledge, told};
use fixture::{Fixture, overwrite, segment, shares_memory};
use serde_json::json;
use tallyfold::{Cohort, Compaction, Counters, LockClass, Scope, Settings, Store};

/// Not a test of its own: what the worker processes run. It appends for ever.
#[test]
fn worker() {
    let Some(spec) = told() else { return };
    let cohort = Store::open_existing(spec["store"].as_str().unwrap()).unwrap().cohort("c").unwrap();
    let writer = spec["writer"].as_u64().unwrap();
    for n in 0.. {
        let seq = cohort.append("k", &json!({"writer": writer, "n": n})).unwrap();
        acknowledge(writer, n, seq);
    }
}

/// A cohort of the lock class `memory` that does nothing by itself, so that all that is counted was asked for.
fn shared(fixture: &Fixture, settings: Settings) -> Option<Cohort> {
    if !shares_memory() {
        println!("skipped: no shared memory on the file system of the temporary directory");
        return None;
    }
    Some(fixture.store.create("c", quiet(settings).lock(LockClass::Memory)).unwrap())
}

fn quiet(settings: Settings) -> Settings {
    settings.sync_interval(Duration::ZERO).compact_bytes(0)
}

fn counters(cohort: &Cohort) -> Counters {
    cohort.counters().unwrap().expect("counters")
}

#[test]
fn all_attached_handles_count_together_and_one_who_is_not_attached_reads_the_same() {
    let fixture = Fixture::new();
    let Some(one) = shared(&fixture, Settings::log()) else { return };
    assert_eq!(one.counters().unwrap(), None, "nobody was ever attached");
    let other = fixture.reopen("c");
    for n in 0..100 {
        one.append("k", &n).unwrap();
        other.append("k", &n).unwrap();
    }
    let mut batch = tallyfold::Batch::new();
    for n in 0..10 {
        batch.put("k", &n).unwrap();
    }
    other.append_batch(batch).unwrap();
    let counted = counters(&one);
    assert_eq!((counted.scope, counted.attached), (Scope::Cohort, Some(2)));
    assert_eq!((counted.batches, counted.records), (201, 210));
    assert_eq!(
        counted.bytes,
        one.stats().unwrap().tail_bytes,
        "nothing is folded, so all of it is in the tail"
    );
    assert!(counted.turns >= 201, "{counted:?}");
    let timed = counted.holds.count();
    assert!((counted.turns / 64..=counted.turns / 64 + 2).contains(&timed), "one in 64 of each: {counted:?}");
    assert_eq!(counters(&other), counted);
    assert_eq!(counters(&fixture.reopen("c")), counted, "through a mapping that is only read");
}

#[test]
fn counters_outlive_the_last_who_is_attached_and_the_next_one_goes_on() {
    let fixture = Fixture::new();
    let Some(first) = shared(&fixture, Settings::log()) else { return };
    first.append("k", &1).unwrap();
    let before = counters(&first);
    drop(first);
    let cohort = fixture.reopen("c");
    let after = counters(&cohort);
    assert_eq!((after.attached, after.records, after.since_us), (Some(0), 1, before.since_us));
    cohort.append("k", &2).unwrap();
    let next = counters(&cohort);
    assert_eq!((next.attached, next.records, next.since_us), (Some(1), 2, before.since_us));
    let since = next.since(&before);
    assert_eq!(since.records, 1);
}

#[test]
fn shared_memory_that_is_another_cohorts_or_of_another_layout_tells_nothing() {
    let fixture = Fixture::new();
    let Some(cohort) = shared(&fixture, Settings::log()) else { return };
    cohort.append("k", &1).unwrap();
    let since = counters(&cohort).since_us;
    drop(cohort);
    let copy = fixture.copy().store.cohort("c").unwrap();
    assert_eq!(copy.counters().unwrap(), None, "a copy is another cohort");

    let cohort = fixture.reopen("c");
    let control = cohort.path().join("control");
    let whole = fs::read(&control).unwrap();
    // Magic, version, ready, boot, inode: whatever of it differs.
    for at in [0, 8, 12, 16, 32] {
        let mut other = whole.clone();
        other[at] ^= 1;
        fs::write(&control, other).unwrap();
        assert_eq!(cohort.counters().unwrap(), None, "byte {at}");
    }
    fs::write(&control, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(cohort.counters().unwrap(), None, "another size");
    fs::write(&control, &whole).unwrap();
    assert_eq!(counters(&cohort).records, 1, "as it was");
    overwrite(&control, 8, &[0xff]);
    cohort.append("k", &2).unwrap();
    let anew = counters(&cohort);
    assert_eq!(anew.records, 1, "made anew, for it was of another layout");
    assert!(anew.since_us >= since);
    fs::remove_file(&control).unwrap();
    assert_eq!(fixture.reopen("c").counters().unwrap(), None);
}

#[test]
fn in_the_class_file_each_handle_counts_for_itself() {
    let fixture = Fixture::new();
    let settings = quiet(Settings::log()).lock(LockClass::File);
    let one = fixture.store.create("c", settings).unwrap();
    let other = fixture.reopen("c");
    assert_eq!(one.counters().unwrap(), None, "it has done nothing");
    one.append("k", &1).unwrap();
    one.clone().append("k", &2).unwrap();
    let counted = counters(&one);
    assert_eq!((counted.scope, counted.attached, counted.records), (Scope::Handle, None, 2));
    assert_eq!(other.counters().unwrap(), None);
    other.append("k", &3).unwrap();
    assert_eq!((counters(&one).records, counters(&other).records), (2, 1));
}

#[test]
fn a_lock_that_was_not_had_in_time_is_counted_and_so_is_one_that_was_waited_for() {
    let fixture = Fixture::new();
    let settings = quiet(Settings::log()).lock(LockClass::File);
    let cohort = fixture.store.create("c", settings).unwrap();
    cohort.append("k", &1).unwrap();
    let lock = Fixture::lock_of(&cohort);
    lock.lock().unwrap();
    let impatient = cohort.clone().with_timeout(Duration::from_millis(5));
    assert!(impatient.append("k", &2).unwrap_err().is_lock_timeout());
    let refused = counters(&cohort);
    assert_eq!((refused.lock_timeouts, refused.contended, refused.records), (1, 0, 1));
    std::thread::scope(|scope| {
        scope.spawn(|| cohort.append("k", &3).unwrap());
        // Long enough for the other to find it taken, nearly always; a time is not what is checked.
        std::thread::sleep(Duration::from_millis(50));
        lock.unlock().unwrap();
    });
    let waited = counters(&cohort);
    assert_eq!((waited.lock_timeouts, waited.records), (1, 2));
    assert_eq!(waited.contended, waited.waits.count(), "in the class file all who wait sleep");
}

#[test]
fn syncs_and_what_they_cover_are_counted_in_both_classes() {
    for class in [LockClass::Memory, LockClass::File] {
        if class == LockClass::Memory && !shares_memory() {
            println!("skipped: no shared memory on the file system of the temporary directory");
            continue;
        }
        let fixture = Fixture::new();
        let cohort = fixture.store.create("c", quiet(Settings::log()).lock(class)).unwrap();
        for n in 1..=9 {
            cohort.append("k", &n).unwrap();
        }
        cohort.append_durable("k", &10).unwrap();
        let counted = counters(&cohort);
        assert_eq!((counted.syncs, counted.failed_syncs), (1, 0), "{class:?}");
        assert_eq!((counted.synced_records, counted.sync_waiters), (10, 1), "{class:?}");
        assert_eq!(counted.sync_times.count(), 1, "{class:?}");
        assert!(counted.sync_times.sum_ns > 0, "{class:?}");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..5 {
                        cohort.append_durable("k", &n).unwrap();
                    }
                });
            }
        });
        let counted = counters(&cohort);
        assert_eq!((counted.synced_records, counted.sync_waiters), (30, 21), "{class:?}");
        assert!((2..=21).contains(&counted.syncs), "{class:?}: {counted:?}");
    }
}

#[test]
fn compactions_their_bytes_and_rotations_are_counted() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", quiet(Settings::latest()));
    for n in 0..20 {
        cohort.append(&format!("key-{}", n % 5), &n).unwrap();
    }
    let Compaction::Folded { records, bytes, .. } = cohort.compact().unwrap() else {
        panic!("there was something to fold")
    };
    let counted = counters(&cohort);
    assert_eq!((counted.compactions, counted.failed_compactions, counted.rotations), (1, 0, 1));
    assert_eq!((counted.compacted_records, counted.compacted_bytes), (records, bytes));
    assert_eq!((records, bytes), (20, cohort.stats().unwrap().snapshot_bytes));
    assert!(counted.compaction_ns > 0);
    assert_eq!(cohort.compact().unwrap(), Compaction::Nothing);
    assert_eq!(counters(&cohort).compactions, 1, "one that finds nothing is none");
    let time = cohort.stats().unwrap().snapshot_time_us.expect("a time");
    assert!((counted.since_us - 60_000_000..).contains(&time), "{time} {}", counted.since_us);

    // A directory in the snapshot's place: it cannot be folded into.
    cohort.append("k", &1).unwrap();
    fs::rename(cohort.path().join("snapshot.json"), cohort.path().join("away")).unwrap();
    fs::create_dir(cohort.path().join("snapshot.json")).unwrap();
    cohort.compact().unwrap_err();
    assert_eq!((counters(&cohort).compactions, counters(&cohort).failed_compactions), (1, 1));
    fs::remove_dir(cohort.path().join("snapshot.json")).unwrap();
    fs::rename(cohort.path().join("away"), cohort.path().join("snapshot.json")).unwrap();
}

#[test]
fn a_torn_tail_that_is_cut_off_is_counted() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", quiet(Settings::log()));
    cohort.append("k", &1).unwrap();
    let end = fixture::FRAMES_BEGIN + cohort.stats().unwrap().tail_bytes;
    let cohort = fixture.die(cohort);
    overwrite(&segment(&cohort, 1), end, b"the beginning of a frame");
    assert_eq!(cohort.append("k", &2).unwrap(), 2);
    let counted = counters(&cohort);
    assert_eq!((counted.cuts, counted.torn_tails, counted.records), (1, 1, 1), "{counted:?}");
}

#[test]
fn of_processes_that_are_killed_at_most_one_record_each_is_not_counted() {
    const KILLS: u64 = 12;
    let fixture = Fixture::new();
    let Some(cohort) = shared(&fixture, Settings::log()) else { return };
    let (send, receive) = channel();
    let mut heard = Heard::default();
    for writer in 1..=KILLS {
        let pair = [writer * 2, writer * 2 + 1].map(|writer| {
            let told = json!({"store": fixture.store.path(), "writer": writer});
            Writer::start(&["env"], &told, send.clone())
        });
        for _ in 0..50 + writer * 7 {
            heard.next(&receive);
        }
        pair.into_iter().for_each(Writer::kill);
        heard.rest(&receive);
    }
    heard.rest(&receive);
    let (last, _) = heard.is_held_by(&cohort);
    let counted = counters(&cohort);
    assert!(counted.records <= last && counted.records + 2 * KILLS >= last, "{last} {counted:?}");
    assert_eq!(counted.attached, Some(0), "the dead are not attached");
}

#[test]
fn what_links_say_of_the_tail_is_what_its_frames_take() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", quiet(Settings::latest()).segment_bytes(64 << 10));
    // Kept from the beginning, and asked again and again; attached to nothing.
    let kept = fixture.reopen("c");
    let pad = "x".repeat(500);
    let mut expected = 0;
    for round in 0..6 {
        for n in 0..150 {
            let before = counters_bytes(&cohort);
            cohort.append(&format!("key-{n}"), &json!({"round": round, "pad": pad})).unwrap();
            expected += counters_bytes(&cohort) - before;
        }
        let (again, anew) = (kept.stats().unwrap(), fixture.reopen("c").stats().unwrap());
        assert_eq!((again.tail_bytes, anew.tail_bytes), (expected, expected), "round {round}");
        assert_eq!((again.seq, anew.seq), (cohort.last_seq().unwrap(), cohort.last_seq().unwrap()));
        if round % 3 == 2 {
            cohort.compact().unwrap();
            expected = 0;
            let (again, anew) = (kept.stats().unwrap(), fixture.reopen("c").stats().unwrap());
            assert_eq!((again.tail_bytes, anew.tail_bytes), (0, 0));
            assert_eq!(again.watermark, again.seq);
        }
    }
    assert!(counters(&cohort).rotations > 6, "over several segments");
}

fn counters_bytes(cohort: &Cohort) -> u64 {
    cohort.counters().unwrap().map_or(0, |counters| counters.bytes)
}
