//! How much memory a compaction takes. In a file, and so a process, of its own: the kernel counts by process.
#![cfg(all(target_os = "linux", not(tallyfold_portable)))]
#![allow(clippy::disallowed_methods, reason = "it asks the kernel, not a store")]

mod fixture;

use std::fs;

use fixture::Fixture;
use tallyfold::{Compaction, Settings};

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap() << 10
}

#[test]
fn a_compaction_takes_memory_for_what_is_new_and_not_for_the_state() {
    const STATE: u64 = 96 << 20;
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let value = "v".repeat(100_000);
    // Little by little, so that no compaction has much that is new.
    for i in 0..STATE / value.len() as u64 {
        cohort.append(&format!("k{i:04}"), &value).unwrap();
        if i % 100 == 99 {
            cohort.compact().unwrap();
        }
    }
    cohort.compact().unwrap();
    cohort.append("k0001", &1).unwrap();
    // Sets the highest memory back to what is taken now.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS:");
    let Compaction::Folded { bytes, .. } = cohort.compact().unwrap() else {
        panic!("there was something new")
    };
    let taken = status("VmHWM:").saturating_sub(before);
    assert!(bytes > STATE * 9 / 10, "a state of {bytes} bytes");
    assert!(taken < 24 << 20, "{taken} bytes for a state of {bytes}");
}
