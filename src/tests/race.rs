//! Processes that meet in the middle of what they do: a compactor and others over one generation, and what the model of the
//! protocol (`tests/protocol/`) has found.
#![allow(clippy::disallowed_methods, reason = "a test takes compact.lock away")]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{PATIENCE, fail_sync, names, store, stores, values};
use crate::cohort::Cohort;
use crate::compact::{self, Compaction};
use crate::sys::{self, Patience};
use crate::{LockClass, Settings};

/// Compacts, and does something once while the records are folded.
fn compact_beside(cohort: &Cohort, act: impl FnOnce()) -> crate::Result<Compaction> {
    let attachment = cohort.writer().attachment(PATIENCE)?;
    let act = RefCell::new(Some(act));
    compact::run(attachment, PATIENCE, &mut || {
        if let Some(act) = act.borrow_mut().take() {
            act();
        }
        Ok(())
    })
}

fn state(cohort: &Cohort) -> Vec<(String, u64, String)> {
    let view = cohort.view().unwrap();
    let entries = view.iter().map(|entry| entry.unwrap());
    entries.map(|(key, entry)| (key.to_string(), entry.seq(), entry.json().to_string())).collect()
}

fn is_whole(cohort: &Cohort) {
    let report = cohort.verify().unwrap();
    assert!(!report.is_damaged(), "{:?}", report.findings);
}

#[test]
fn two_compactors_and_a_writer_over_the_same_generation_make_one_snapshot_and_lose_nothing() {
    for (_dir, store, class) in stores() {
        let first = store.create("c", Settings::latest().lock(class)).unwrap();
        let (second, writer) = (store.cohort("c").unwrap(), store.cohort("c").unwrap());
        for i in 1..=4u64 {
            writer.append(&format!("k{i}"), &i).unwrap();
        }
        first.compact().unwrap();
        writer.append("k1", &5).unwrap();
        let made = compact_beside(&first, || {
            assert_eq!(
                second.compact().unwrap(),
                Compaction::Busy,
                "the other one has the same snapshot to begin with"
            );
            assert_eq!(writer.append("k2", &6).unwrap(), 6, "a writer does not wait for the fold");
        });
        assert!(matches!(made.unwrap(), Compaction::Folded { seq: 5, records: 1, entries: 4, .. }));
        assert!(matches!(
            second.compact().unwrap(),
            Compaction::Folded { seq: 6, records: 1, entries: 4, .. }
        ));
        let expected = [("k1", 5, "5"), ("k2", 6, "6"), ("k3", 3, "3"), ("k4", 4, "4")];
        assert!(state(&writer).iter().map(|(key, seq, json)| (&**key, *seq, &**json)).eq(expected));
        is_whole(&first);
    }
}

/// The story: somebody cleans up lock files, and two compactors begin with the same snapshot. The slower one must not put its
/// older state over the newer one.
#[test]
fn a_compactor_whose_lock_was_taken_away_does_not_replace_the_newer_snapshot_of_another() {
    for (_dir, store, class) in stores() {
        let first = store.create("c", Settings::latest().lock(class)).unwrap();
        let (second, writer) = (store.cohort("c").unwrap(), store.cohort("c").unwrap());
        writer.append("k1", &1).unwrap();
        first.compact().unwrap();
        writer.append("k2", &2).unwrap();
        let dir = first.home().dir.path();
        let made = compact_beside(&first, || {
            std::fs::remove_file(dir.join(crate::names::COMPACT_LOCK)).unwrap();
            std::fs::write(dir.join(crate::names::COMPACT_LOCK), []).unwrap();
            writer.append("k3", &3).unwrap();
            assert!(matches!(second.compact().unwrap(), Compaction::Folded { seq: 3, .. }));
        });
        assert!(made.is_err(), "{class:?}: {made:?}");
        assert_eq!(first.stats().unwrap().watermark, 3, "{class:?}: the newer snapshot is there still");
        assert_eq!(state(&writer).len(), 3, "{class:?}");
        is_whole(&first);
        writer.append("k4", &4).unwrap();
        assert!(matches!(first.compact().unwrap(), Compaction::Folded { seq: 4, entries: 4, .. }));
        is_whole(&first);
    }
}

/// The same, with the other one done before the first looks at the snapshot: it is newer than what was sealed, and no damage.
#[test]
fn a_snapshot_newer_than_what_a_compactor_has_sealed_is_left_where_it_is() {
    for (_dir, store, class) in stores() {
        let first = store.create("c", Settings::latest().lock(class)).unwrap();
        let (second, writer) = (store.cohort("c").unwrap(), store.cohort("c").unwrap());
        writer.append("k1", &1).unwrap();
        let path = first.home().dir.path().join(crate::names::COMPACT_LOCK);
        let others = (store.cohort("c").unwrap(), second);
        sys::at_step("journal sealed", 0, move || {
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, []).unwrap();
            others.0.append("k2", &2).unwrap();
            assert!(matches!(others.1.compact().unwrap(), Compaction::Folded { seq: 2, .. }));
        });
        assert!(first.compact().is_err(), "{class:?}");
        assert_eq!(first.stats().unwrap().watermark, 2, "{class:?}");
        assert!(!names(&first).contains(&"quarantine".into()), "{class:?}: it was whole");
        is_whole(&first);
        assert_eq!(state(&writer).len(), 2, "{class:?}");
    }
}

/// The story: a sync fails, and the spare that its records are carried into cannot be synced either and is removed. Meanwhile
/// somebody was about to give the number after that: one was missing then. Who was in the first segment all the time looked for
/// the next number only, took that segment for the end, and cut it off with everything that had been appended since.
#[test]
fn a_spare_made_while_the_one_before_it_is_removed_leaves_no_number_out() {
    let (_dir, store) = store();
    let settings = Settings::log().lock(LockClass::File).sync_interval(Duration::ZERO);
    let carrier = store.create("c", settings).unwrap();
    let (maker, stale) = (store.cohort("c").unwrap(), store.cohort("c").unwrap());
    stale.append("k", &1).unwrap();
    maker.append("k", &2).unwrap();
    fail_sync(&carrier, "00000001.journal", 0);
    assert!(carrier.append_durable("k", &3).unwrap_err().is_durability_unknown());

    fail_sync(&carrier, "00000002.journal", 1);
    let made = Rc::new(RefCell::new(None));
    let (making, home) = (Rc::clone(&made), Arc::clone(carrier.home()));
    let maker_of_spares = Arc::clone(maker.writer().attachment(PATIENCE).unwrap());
    sys::at_step("frame carried", 0, move || {
        let thread = std::thread::spawn(move || maker_of_spares.make_spare(0, &Patience::of(PATIENCE)));
        // It has chosen a number, and waits for the lock to use it.
        while !home.dir.names().unwrap().iter().any(|name| name.ends_with(".tmp")) {
            std::thread::yield_now();
        }
        *making.borrow_mut() = Some(thread);
    });
    assert!(carrier.append("k", &0).unwrap_err().is_poisoned());
    made.borrow_mut().take().unwrap().join().unwrap().unwrap();
    let segments = names(&carrier);
    assert!(!segments.iter().any(|name| ["00000002.journal", "00000003.journal"].contains(&&**name)));

    assert_eq!(maker.append("k", &4).unwrap(), 4);
    assert_eq!(stale.append("k", &5).unwrap(), 5, "it has found what was appended elsewhere");
    assert_eq!(carrier.append("k", &6).unwrap(), 6);
    assert!(values(&carrier).into_iter().eq((1..=6).map(|n| (n, n))));
    is_whole(&carrier);
}

/// The story: of two processes with records in a segment that is sealed by now, one is told that its sync has failed. It leaves
/// the mark at the active segment. The other one's sync of the sealed segment says that all is well, and it looked for a mark
/// only where it was itself.
#[test]
fn a_failed_sync_that_another_was_told_of_is_known_to_one_who_is_behind() {
    let (_dir, store) = store();
    // Nothing is synced in the background.
    let settings = Settings::log().lock(LockClass::File).segment_bytes(4096).sync_interval(Duration::ZERO);
    let behind = store.create("c", settings).unwrap();
    let told = store.cohort("c").unwrap();
    let long = "x".repeat(2500);
    behind.append("k", &long).unwrap();
    behind.append("k", &long).unwrap();
    told.append("k", &long).unwrap();
    assert!(names(&behind).contains(&"00000003.journal".into()));
    fail_sync(&told, "00000001.journal", 0);
    assert!(told.sync().unwrap_err().is_durability_unknown());
    // The second half of a durable append. The kernel tells a descriptor that is opened later that all is well.
    let attachment = behind.writer().attachment(PATIENCE).unwrap();
    assert!(attachment.sync(2, PATIENCE).unwrap_err().is_durability_unknown());
    assert_eq!(behind.append_durable("k", &4).unwrap(), 4);
    assert_eq!(behind.cursor(1).unwrap().count(), 4);
    assert!(behind.stats().unwrap().durable_seq >= 3);
    is_whole(&behind);
}
