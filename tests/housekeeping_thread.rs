//! The one background thread: alone in its program, for it looks at the process's threads.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "it asks the kernel, not a store")]

mod fixture;

use std::fs;
use std::time::{Duration, Instant};

use fixture::Fixture;
use tallyfold::Settings;

/// How many threads have the name of the background's.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    // One that ends while we look has no name any more.
    tasks
        .filter(|task| {
            fs::read_to_string(task.as_ref().unwrap().path().join("comm")).is_ok_and(|n| n == "tallyfold\n")
        })
        .count()
}

#[test]
fn one_thread_serves_all_cohorts_goes_when_it_is_idle_and_is_never_there_for_a_reader() {
    let fixture = Fixture::new();
    let settings = || Settings::latest().sync_interval(Duration::from_millis(1));
    {
        let cohort = fixture.create("a", settings());
        assert_eq!(cohort.view().unwrap().seq(), 0);
        cohort.reader().unwrap().refresh().unwrap();
        assert_eq!(cohort.cursor(1).unwrap().count(), 0);
        assert_eq!(cohort.stats().unwrap().seq, 0);
        assert!(!cohort.verify().unwrap().is_damaged());
        assert_eq!(threads(), 0, "reading starts none");
    }
    let cohorts = [fixture.reopen("a"), fixture.create("b", settings())];
    for round in 0..2 {
        for cohort in &cohorts {
            cohort.append("k", &round).unwrap();
        }
        // It gives itself its name, a moment after it began.
        for (number, what) in [(1, "it never begins"), (0, "it never ends")] {
            let begun = Instant::now();
            while threads() != number {
                assert!(threads() <= 1, "one for all");
                assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}
