//! A wall clock that is set while a cohort is used: nothing depends on it.
#![allow(clippy::disallowed_methods, reason = "tests read what was written")]

use std::time::{Duration, Instant};

use super::{PATIENCE, stores};
use crate::cohort::Cohort;
use crate::sys;
use crate::{Batch, LockClass, Settings, Store};

const YEAR_US: i64 = 365 * 24 * 3600 * 1_000_000;
/// Where the clock is set, one after the other, in years: also to before 1970.
const YEARS: [i64; 8] = [0, 1, -1, 0, -80, 200, -1, 1];

/// The same acts of a writer, a kept reader, a cursor and a compactor, with the clock set before each round. What was said of
/// the journal at the end, and the snapshot.
fn rounds(store: &Store, class: LockClass, years: &[i64]) -> (String, Vec<u8>) {
    let settings = Settings::latest().segment_bytes(4096).compact_bytes(0).lock(class);
    let cohort = store.create("c", settings).unwrap();
    let (mut reader, mut cursor) = (cohort.reader().unwrap(), cohort.cursor(1).unwrap());
    let mut seq = 0;
    for (round, year) in years.iter().enumerate() {
        sys::set_clock(year * YEAR_US);
        let before = sys::wall_clock_us();
        for i in 0..10 {
            let key = format!("k{}", (round + i) % 7);
            seq += 1;
            assert_eq!(cohort.append(&key, &(round, "x".repeat(100 * i))).unwrap(), seq);
        }
        let mut batch = Batch::new();
        batch.put("k0", &round).unwrap().delete(&format!("k{}", round % 7)).unwrap();
        seq += 2;
        assert_eq!(cohort.append_batch_durable(batch).unwrap(), seq);
        assert_eq!(
            cohort.update("n", |old| Ok(Some(old.map_or(0, |n| n.to::<u64>().unwrap()) + 1))).unwrap(),
            Some(seq + 1)
        );
        seq += 1;
        let after = sys::wall_clock_us();
        let times: Vec<i64> = (&mut cursor)
            .map(|record| record.unwrap())
            .inspect(|record| assert!(record.seq() <= seq))
            .map(|record| record.time_us())
            .collect();
        assert_eq!((times.len(), cursor.next_seq()), (13, seq + 1));
        assert!(times.iter().all(|time| (before..=after).contains(time)), "a time is what the clock said");
        assert_eq!(reader.refresh().unwrap(), seq);
        assert_eq!(reader.get("n").unwrap().unwrap().json(), (round + 1).to_string());
        // Compacted after another jump than it was written after.
        sys::set_clock(-year * YEAR_US);
        let folded = cohort.compact().unwrap();
        assert!(matches!(folded, crate::Compaction::Folded { .. }), "{folded:?}");
        assert!(!cohort.verify().unwrap().is_damaged());
    }
    cohort.detach().unwrap();
    let stats = cohort.stats().unwrap();
    assert_eq!((stats.epoch, stats.watermark, stats.durable_seq), (1, seq, seq), "nothing was cut");
    let said = format!("{:?}", super::names(&cohort));
    (said, std::fs::read(cohort.path().join("snapshot.json")).unwrap())
}

#[test]
fn a_clock_set_by_years_in_either_direction_changes_no_order_no_state_and_no_retirement() {
    for (_dir, store, class) in stores() {
        let path = store.path().to_path_buf();
        let child = sys::in_forked_child(|| {
            let (names, state) = rounds(&store, class, &YEARS);
            let other = Store::open(path.join("../other")).unwrap();
            let (undisturbed, expected) = rounds(&other, class, &[0; YEARS.len()]);
            assert_eq!(names, undisturbed, "the same segments are left");
            assert_eq!(String::from_utf8(state).unwrap(), String::from_utf8(expected).unwrap());
            true
        });
        assert_eq!(child, Some(0), "class {class:?}");
    }
}

/// Whether it comes true while a test waits.
fn comes(mut what: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !what() {
        if begun.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

#[test]
fn what_happens_in_the_background_does_not_wait_for_a_clock_that_was_set() {
    for (_dir, store, class) in stores() {
        let child = sys::in_forked_child(|| {
            let settings = Settings::latest().lock(class);
            let settings = settings.compact_bytes(4096).sync_interval(Duration::from_millis(1));
            let cohort = store.create("c", settings).unwrap();
            let durable = |cohort: &Cohort| {
                let attachment = cohort.writer().attachment(PATIENCE).unwrap();
                attachment.journal().unwrap().durable_seq()
            };
            for year in YEARS {
                sys::set_clock(year * YEAR_US);
                let seq = cohort.append("k", &year).unwrap();
                assert!(comes(|| durable(&cohort) >= seq), "synced in the year {year}");
                let before = cohort.stats().unwrap().watermark;
                let folded = comes(|| {
                    cohort.append("k", &"x".repeat(500)).unwrap();
                    cohort.stats().unwrap().watermark > before
                });
                assert!(folded, "folded in the year {year}");
            }
            cohort.detach().is_ok()
        });
        assert_eq!(child, Some(0), "class {class:?}");
    }
}
