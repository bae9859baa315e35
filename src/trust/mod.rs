//! That nothing is lost: every state that a crash can leave of recorded workloads, and a fault at every operation of them.
//!
//! | file | what |
//! |---|---|
//! | `scene.rs`, `workload.rs` | a store under watch, and what it is put through |
//! | `disk.rs` | what a crash leaves of what was recorded |
//! | `ledger.rs` | what was asked for and told, and must be found again |
//! | `recover.rs` | going on after a crash |
//! | `explore.rs` | every state that a crash can leave |
//! | `bundles.rs` | commits of bundles, by all of these |
//! | `repairs.rs` | repairs of each kind of damage, likewise |
//! | `death.rs` | processes that are killed for real |
//! | `faults.rs` | a fault at every operation |
//!
//! `docs/reliability.md` says what is modelled, and what is not.
#![allow(clippy::disallowed_methods, reason = "tests make directories as crashes leave them")]

mod bundles;
mod death;
mod disk;
mod explore;
mod faults;
mod ledger;
mod recover;
mod repairs;
mod scene;
mod workload;

use self::explore::{Limits, Tally, explore};
use self::ledger::{Ledger, Note, Promise};
use self::recover::probes;
use self::scene::{Recorded, Scene};
use self::workload::Workload;
use crate::settings::LockClass;

/// A number from the environment: how far to go.
fn asked(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// Crashes in crashes need so many sets of probes.
const DEPTHS: usize = 3;

fn record(workload: &Workload, class: LockClass) -> Recorded {
    let mut scene = Scene::new(workload.settings(class));
    enter_probes(&mut scene);
    workload.run(&mut scene);
    for e in &scene.errors {
        // A workload may let a sync fail, and nothing else.
        assert!(e.is_durability_unknown(), "{}: {e}", workload.name);
    }
    scene.end()
}

fn explore_all(class: LockClass) {
    let limits = Limits {
        all: asked("TALLYFOLD_CRASH_ALL", 16),
        samples: asked("TALLYFOLD_CRASH_SAMPLES", 6),
        at_every_operation: asked("TALLYFOLD_CRASH_EVERY", 0) > 0,
        again: asked("TALLYFOLD_CRASH_AGAIN", 300),
    };
    let seed = asked("TALLYFOLD_CRASH_SEED", 1) as u64;
    let mut all = Tally::default();
    let only = std::env::var("TALLYFOLD_CRASH_ONLY").unwrap_or_default();
    for (i, workload) in
        workload::ALL.iter().enumerate().filter(|(_, workload)| workload.name.contains(&only))
    {
        let recorded = record(workload, class);
        let tally = explore(workload.name, &recorded, &limits, seed.wrapping_mul(31) + i as u64);
        print(&format!("{}, lock class {class:?}", workload.name), &tally);
        all.add(tally);
    }
    print(&format!("all workloads, lock class {class:?}"), &all);
    expect_none(&all.wrong);
}

/// All of what is wrong goes to a file, if one is named, and the first of it to whoever looks.
fn expect_none(wrong: &[String]) {
    if let Some(path) = std::env::var_os("TALLYFOLD_CRASH_WRONG") {
        std::fs::write(path, wrong.join("\n")).unwrap();
    }
    let told: Vec<_> = wrong.iter().take(5).cloned().collect();
    assert!(wrong.is_empty(), "{} violations, such as:\n{}", wrong.len(), told.join("\n"));
}

fn enter_probes(scene: &mut Scene) {
    for probe in (0..DEPTHS).flat_map(probes) {
        scene.ledger.enter(&probe);
    }
}

fn begin_probes(promise: &mut Promise, ledger: &Ledger) {
    for probe in (0..DEPTHS).flat_map(probes) {
        let id = ledger.id(&probe[0]).expect("probes are in the ledger");
        promise.note(Note::Begun(ledger.batch_of(id)), ledger);
    }
}

fn with_memory(act: fn(LockClass)) {
    match workload::classes().contains(&LockClass::Memory) {
        true => act(LockClass::Memory),
        false => println!("skipped: no shared memory on the file system of the temporary directory"),
    }
}

fn print(name: &str, tally: &Tally) {
    let (states, distinct) = tally.states.values().fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1));
    println!(
        "{name}: {} operations, {states} states, {distinct} distinct, {} violations",
        tally.operations,
        tally.wrong.len()
    );
    for (kind, (states, distinct)) in &tally.states {
        println!("  {kind}: {states} states, {distinct} distinct");
    }
}

#[test]
fn no_crash_loses_what_was_promised_with_the_lock_class_file() {
    explore_all(LockClass::File);
}

#[test]
fn no_crash_loses_what_was_promised_with_the_lock_class_memory() {
    with_memory(explore_all);
}
