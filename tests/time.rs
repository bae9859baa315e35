//! Processes whose monotonic clocks differ: a time namespace has one of its own. What the wall clock does is tested within the
//! crate, for a test cannot set it.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "a test asks the system how long it is up")]

mod fixture;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use fixture::{Fixture, shares_memory};
use tallyfold::{LockClass, Settings, Store};

const STORE: &str = "TALLYFOLD_TEST_STORE";

/// This program again, with its test `worker` alone, where the monotonic clock is a year ahead; prints why it cannot be.
fn a_year_ahead(fixture: &Fixture) -> Option<Output> {
    let alone = ["--time", "--monotonic=31536000", "--boottime=31536000", "--fork", "--kill-child"];
    for as_a_user in [&[][..], &["--user", "--map-root-user"]] {
        let mut command = Command::new("unshare");
        command.args(as_a_user).args(alone).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "worker", "--nocapture"]).env(STORE, fixture.store.path());
        match command.output() {
            Ok(output) if String::from_utf8_lossy(&output.stdout).contains("running 1 test") => {
                return Some(output);
            }
            Ok(output) => println!("no time namespace: {}", String::from_utf8_lossy(&output.stderr)),
            Err(e) => println!("unshare cannot be started: {e}"),
        }
    }
    None
}

/// Appends, and waits until the background has synced it: each frame says what was durable before it.
fn is_synced_in_the_background(store: &Store) {
    let cohort = store.cohort("c").unwrap();
    let seq = cohort.append("k", &1).unwrap();
    let begun = Instant::now();
    while cohort.stats().unwrap().durable_seq < seq {
        assert!(begun.elapsed() < Duration::from_secs(60), "never synced");
        std::thread::sleep(Duration::from_millis(2));
        cohort.append("k", &2).unwrap();
    }
    cohort.append_durable("k", &3).unwrap();
}

/// Not a test of its own: what runs in another time namespace.
#[test]
fn worker() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let store = Store::open_existing(path).unwrap();
    let up = std::fs::read_to_string("/proc/uptime").unwrap();
    assert!(up.split('.').next().unwrap().parse::<u64>().unwrap() >= 31_536_000, "a year ahead: {up}");
    is_synced_in_the_background(&store);
    let cohort = store.cohort("held").unwrap().with_timeout(Duration::from_millis(50));
    assert!(cohort.append("k", &1).unwrap_err().is_lock_timeout());
    println!("synced, and gave up in time");
}

#[test]
fn processes_whose_monotonic_clocks_are_a_year_apart_sync_and_give_up_as_any() {
    let mut classes = vec![LockClass::File];
    if shares_memory() {
        classes.push(LockClass::Memory);
    }
    for class in classes {
        let fixture = Fixture::new();
        let settings = || Settings::log().lock(class).sync_interval(Duration::from_millis(5));
        let cohort = fixture.store.create("c", settings()).unwrap();
        let held = fixture.store.create("held", settings()).unwrap();
        let lock = Fixture::lock_of(&held);
        fs4::FileExt::lock(&lock).unwrap();
        // Attached all the time, so that what they share in memory is what the other has left there.
        is_synced_in_the_background(&fixture.store);
        cohort.append("k", &0).unwrap();
        let Some(output) = a_year_ahead(&fixture) else { return println!("skipped: see above") };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("synced, and gave up in time"), "{output:?}");
        is_synced_in_the_background(&fixture.store);
        let seqs: Vec<u64> = cohort.cursor(1).unwrap().map(|record| record.unwrap().seq()).collect();
        assert!(seqs.iter().copied().eq(1..=seqs.len() as u64));
        assert_eq!(cohort.stats().unwrap().epoch, 1, "nothing was cut");
        assert!(!cohort.verify().unwrap().is_damaged());
    }
}
