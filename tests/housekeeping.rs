//! What a process does for its cohorts without being asked: in a program of its own, for it counts threads.
#![allow(clippy::disallowed_methods, reason = "tests look at files and locks directly")]

mod fixture;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fixture::{Fixture, state};
use tallyfold::{Compaction, LockClass, Settings, Store};

const WORKER: &str = "TALLYFOLD_TEST_WORKER";

/// Waits for what the background does at a time of its own. Far longer than it takes; a test that gets there has failed.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn both_classes() -> [LockClass; 2] {
    // Where memory cannot be shared, the class `file` twice.
    let probe = Fixture::new().store.create("c", Settings::log().lock(LockClass::Memory));
    [LockClass::File, if probe.is_ok() { LockClass::Memory } else { LockClass::File }]
}

#[test]
fn what_is_written_is_synced_without_being_asked_for() {
    for lock in both_classes() {
        let fixture = Fixture::new();
        let settings = Settings::log().lock(lock).sync_interval(Duration::from_millis(5));
        let cohort = fixture.store.create("c", settings).unwrap();
        let seq = cohort.append("k", &1).unwrap();
        // Each frame says what was durable before it.
        until("a sync", || {
            cohort.append("k", &2).unwrap();
            cohort.stats().unwrap().durable_seq >= seq
        });
        assert_eq!(cohort.stats().unwrap().background_failure, None);
    }
}

#[test]
fn a_long_tail_is_folded_without_being_asked_for_and_a_log_or_a_short_one_is_not() {
    for lock in both_classes() {
        let fixture = Fixture::new();
        let create =
            |name: &str, settings: Settings| fixture.store.create(name, settings.lock(lock)).unwrap();
        let state_of = create("state", Settings::merge().compact_bytes(64 << 10));
        let by_hand = create("by-hand", Settings::latest().compact_bytes(0));
        let log = create("log", Settings::log().compact_bytes(1));
        for i in 0..2000u64 {
            for cohort in [&state_of, &by_hand, &log] {
                cohort
                    .append(&format!("k{}", i % 50), &serde_json::json!({"i": i, "pad": "p".repeat(40)}))
                    .unwrap();
            }
        }
        until("a snapshot", || state_of.stats().unwrap().watermark > 0);
        // And again, as often as it takes.
        let first = state_of.stats().unwrap().watermark;
        until("a second one", || {
            for i in 0..100 {
                state_of.append("more", &i).unwrap();
            }
            state_of.stats().unwrap().watermark > first
        });
        for cohort in [&by_hand, &log] {
            assert_eq!(cohort.compact_if_due().unwrap(), Compaction::Nothing);
            assert_eq!(cohort.stats().unwrap().watermark, 0);
        }
        assert!(!state_of.verify().unwrap().is_damaged());
        assert_eq!(state(&state_of.view().unwrap()).len(), 51);
        assert_eq!(state_of.stats().unwrap().background_failure, None);
    }
}

#[test]
fn compaction_is_due_when_the_tail_is_as_long_as_the_snapshot() {
    let fixture = Fixture::new();
    // The background asks at every half of this; the foreground, here, before that.
    let cohort = fixture.create("c", Settings::latest().compact_bytes(4 << 20));
    let value = "v".repeat(1000);
    let due = |n: u64| {
        for i in 0..n {
            cohort.append(&format!("k{i}"), &value).unwrap();
        }
        // One that was begun a moment ago is left alone.
        let mut answer = cohort.compact_if_due().unwrap();
        until("an answer", || {
            answer = cohort.compact_if_due().unwrap();
            answer != Compaction::Busy
        });
        answer
    };
    assert_eq!(due(1000), Compaction::Nothing, "1 MB is not enough");
    assert_eq!(cohort.stats().unwrap().watermark, 0);
    due(6000);
    assert!(cohort.stats().unwrap().watermark > 0, "7 MB is, whoever has done it");
    until("a compaction by hand", || {
        cohort.append("k", &1).unwrap();
        matches!(cohort.compact().unwrap(), Compaction::Folded { .. })
    });
    let bytes = cohort.stats().unwrap().snapshot_bytes;
    assert!(bytes > 5 << 20, "{bytes}");
    let watermark = cohort.stats().unwrap().watermark;
    assert_eq!(due(4500), Compaction::Nothing, "more than compact_bytes, less than the snapshot");
    assert_eq!(cohort.stats().unwrap().watermark, watermark);
}

#[test]
fn a_handle_that_is_gone_has_let_go_of_the_cohort() {
    for lock in both_classes() {
        let fixture = Fixture::new();
        let settings =
            Settings::latest().lock(lock).sync_interval(Duration::from_millis(1)).compact_bytes(1 << 10);
        drop(fixture.store.create("c", settings).unwrap());
        let flock = std::fs::File::open(fixture.store.path().join("c/lock")).unwrap();
        for round in 0..50u64 {
            let cohort = fixture.reopen("c");
            // Now more, now less, so that the thread is at this and that.
            for i in 0..round * 20 {
                cohort.append(&format!("k{}", i % 30), &i).unwrap();
            }
            drop(cohort);
            flock.try_lock().expect("nobody is attached");
            flock.unlock().unwrap();
        }
        assert!(!fixture.reopen("c").verify().unwrap().is_damaged());
    }
}

#[test]
fn what_fails_in_the_background_is_told_and_stops_no_append() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest().compact_bytes(1 << 10));
    let lock = cohort.path().join("compact.lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    let append = || cohort.append("k", &"v".repeat(200)).unwrap();
    until("a failure", || {
        append();
        cohort.stats().unwrap().background_failure.is_some()
    });
    let failure = cohort.stats().unwrap().background_failure.unwrap();
    assert!(failure.contains("compact.lock") && failure.contains("regular"), "{failure}");
    std::fs::remove_dir(&lock).unwrap();
    std::fs::write(&lock, b"").unwrap();
    until("a compaction", || {
        append();
        let stats = cohort.stats().unwrap();
        stats.watermark > 0 && stats.background_failure.is_none()
    });
}

/// Not a test of its own: appends and exits, with the handle still there and a sync at work.
#[test]
fn worker() {
    let Ok(store) = std::env::var(WORKER) else { return };
    let cohort = Store::open_existing(store).unwrap().cohort("c").unwrap();
    for i in 0..400 {
        cohort.append("k", &i).unwrap();
    }
    std::mem::forget(cohort);
    std::process::exit(0);
}

#[test]
fn a_process_that_exits_in_the_middle_of_a_sync_leaves_no_doubt() {
    for lock in both_classes() {
        let fixture = Fixture::new();
        let settings = Settings::log().lock(lock).sync_interval(Duration::from_millis(1));
        let cohort = fixture.store.create("c", settings).unwrap();
        cohort.append("k", &0).unwrap();
        for _ in 0..10 {
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "worker", "--quiet"])
                .env(WORKER, fixture.store.path())
                .stdout(Stdio::null())
                .status()
                .unwrap();
            assert!(status.success());
        }
        cohort.append_durable("k", &1).unwrap();
        let stats = cohort.stats().unwrap();
        assert_eq!((stats.seq, stats.epoch, stats.poisoned), (4002, 1, false));
    }
}
