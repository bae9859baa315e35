//! A process that is killed for real before an operation, with another one attached all the time, or with nobody: what survives
//! is then not a copy of shared memory but the memory itself.

use std::io::Write;
use std::path::Path;

use super::asked;
use super::ledger::Promise;
use super::recover::{After, probes, read};
use super::scene::{COHORT, Scene, directory};
use super::workload::{ALL, Workload};
use crate::settings::LockClass;
use crate::sys::{self, Fault};
use crate::{Batch, Store};

/// The workload in a store that is there already, told of in a file: a byte for each note.
fn begin(workload: &Workload, class: LockClass, root: &Path) -> Scene {
    let mut scene = Scene::at(root, workload.settings(class));
    super::enter_probes(&mut scene);
    let told = root.join("told");
    scene.told = Some(Box::new(move |_| {
        let mut told = std::fs::OpenOptions::new().append(true).create(true).open(&told).unwrap();
        told.write_all(&[1]).unwrap();
    }));
    scene
}

fn made(workload: &Workload, class: LockClass) -> (tempfile::TempDir, Store) {
    let dir = directory();
    let store = Store::open(dir.path().join("store")).unwrap();
    store.create(COHORT, workload.settings(class)).unwrap();
    (dir, store)
}

fn killed_everywhere(class: LockClass) {
    let stride = asked("TALLYFOLD_KILL_STRIDE", 2).max(1);
    let (mut killed, mut wrong) = (0, Vec::new());
    for (number, workload) in ALL.iter().enumerate() {
        let (dir, _store) = made(workload, class);
        let mut dry = begin(workload, class, dir.path());
        workload.run(&mut dry);
        let operations = dry.watch.passed().len();
        let dry = dry.end();
        // A cut by hand, and another start of the system, are for those who are alone.
        for attached in [false, true].into_iter().filter(|attached| !(*attached && workload.cuts)) {
            for at in (number % stride..operations).step_by(stride) {
                let what = format!("{}, killed before operation {at}, survivor {attached}", workload.name);
                let (dir, store) = made(workload, class);
                let root = dir.path();
                let survivor = store.cohort(COHORT).unwrap();
                if attached {
                    survivor.writer().attachment(survivor.timeout()).unwrap();
                }
                let status = sys::in_forked_child(|| {
                    let mut scene = begin(workload, class, root);
                    scene.watch.plan(Fault::Kill, at, false);
                    workload.run(&mut scene);
                    drop(scene.end());
                    true
                });
                killed += usize::from(status.is_none());
                let told = std::fs::metadata(root.join("told")).map_or(0, |told| told.len() as usize);
                let mut promise = Promise::default();
                for note in &dry.notes[..told] {
                    promise.note(*note, &dry.ledger);
                }
                // Whatever it was at may be there, if it was whole.
                if let Some(next) = dry.notes.get(told) {
                    promise.begin(*next);
                }
                let mut found = Vec::new();
                if attached {
                    let mut batch = Batch::new();
                    for probe in &probes(2)[1] {
                        batch.put_json(&probe.key, &probe.value).unwrap();
                    }
                    match survivor.append_batch_durable(batch).map_err(|e| e.to_string()) {
                        Ok(_) => found.extend(read(&survivor, &dry.ledger).err()),
                        Err(e) => found.push(format!("the survivor cannot append: {e}")),
                    }
                }
                let history = promise.written.iter().map(|(seq, id)| (*seq, (0, *id))).collect();
                let after = After {
                    settings: &dry.settings,
                    ledger: &dry.ledger,
                    history: &history,
                    made: true,
                    boot: promise.boot,
                    depth: 0,
                };
                let outcome = after.go_on(root, &mut |_| {});
                found.extend(outcome.wrong.iter().cloned());
                if found.is_empty() {
                    super::begin_probes(&mut promise, &dry.ledger);
                    found = promise.check(&outcome.after, &promise.written, &dry.ledger);
                }
                wrong.extend(found.into_iter().map(|wrong| format!("{what}: {wrong}")));
            }
        }
    }
    println!("lock class {class:?}: {killed} processes killed, {} violations", wrong.len());
    super::expect_none(&wrong);
}

#[test]
fn a_process_killed_before_any_operation_takes_nothing_along_with_the_lock_class_file() {
    killed_everywhere(LockClass::File);
}

#[test]
fn a_process_killed_before_any_operation_takes_nothing_along_with_the_lock_class_memory() {
    super::with_memory(killed_everywhere);
}
