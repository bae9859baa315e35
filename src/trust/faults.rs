//! A fault at every operation of the workloads: nothing that was told is lost, and what could not be done is told for what it is.

use std::collections::BTreeMap;

use super::disk::Disk;
use super::ledger::{Note, Promise};
use super::recover::{After, check_view, read};
use super::scene::{COHORT, Recorded, Scene, directory};
use super::workload::Workload;
use super::{asked, begin_probes};
use crate::error::Kind;
use crate::settings::LockClass;
use crate::sys::{self, Event, Fault};
use crate::{Cohort, Store};

/// What an operation may meet. The second: whether all that follow meet it too.
const FAULTS: [(&str, Fault, bool); 13] = [
    ("ENOSPC", Fault::Errno(libc::ENOSPC), false),
    ("ENOSPC for ever", Fault::Errno(libc::ENOSPC), true),
    ("EDQUOT", Fault::Errno(libc::EDQUOT), false),
    ("EDQUOT for ever", Fault::Errno(libc::EDQUOT), true),
    ("EFBIG", Fault::Errno(libc::EFBIG), false),
    ("EFBIG for ever", Fault::Errno(libc::EFBIG), true),
    ("EIO", Fault::Errno(libc::EIO), false),
    ("EIO for ever", Fault::Errno(libc::EIO), true),
    ("EROFS", Fault::Errno(libc::EROFS), false),
    ("EROFS for ever", Fault::Errno(libc::EROFS), true),
    // Nothing is interrupted for ever.
    ("EINTR", Fault::Errno(libc::EINTR), false),
    ("a short write", Fault::Short, false),
    ("short writes for ever", Fault::Short, true),
];

/// After the fault, an append may have to be tried so often before it succeeds: the first finds what the fault has left.
const TRIES: usize = 2;

#[derive(Default)]
struct Count {
    runs: usize,
    errors: BTreeMap<String, usize>,
    cuts: usize,
    /// Runs after which a lost sync cannot be known.
    forgotten: usize,
    wrong: Vec<String>,
}

fn begin(workload: &Workload, class: LockClass) -> Scene {
    let mut scene = Scene::new(workload.settings(class));
    super::enter_probes(&mut scene);
    scene
}

fn fault_everywhere(class: LockClass) {
    let stride = asked("TALLYFOLD_FAULT_STRIDE", 9).max(1);
    let mut all = Count::default();
    for (number, workload) in super::workload::ALL.iter().enumerate() {
        let mut dry = begin(workload, class);
        workload.run(&mut dry);
        let passed = dry.watch.passed();
        drop(dry.end());
        for (i, (name, fault, for_ever)) in FAULTS.iter().enumerate() {
            // Another part of the operations for each fault, so that together they are all there.
            let first = (i + number) % stride;
            for at in (first..passed.len()).step_by(stride).filter(|at| passed[*at]) {
                let what = format!("{}, {name} at operation {at}", workload.name);
                let mut scene = begin(workload, class);
                scene.watch.plan(*fault, at, *for_ever);
                workload.run(&mut scene);
                all.runs += 1;
                check(scene, &mut all, &what);
            }
        }
    }
    println!(
        "faults, lock class {class:?}: {} runs, {} power cuts after them ({} runs left out), {} violations",
        all.runs,
        all.cuts,
        all.forgotten,
        all.wrong.len()
    );
    for (kind, times) in &all.errors {
        println!("  {times} operations ended with {kind}");
    }
    super::expect_none(&all.wrong);
}

fn check(mut scene: Scene, count: &mut Count, what: &str) {
    scene.watch.relent();
    let mut wrong = Vec::new();
    for e in std::mem::take(&mut scene.errors) {
        *count.errors.entry(format!("{:?}", e.kind())).or_default() += 1;
        // What the system could not do is no damage, and nobody else's fault.
        let allowed = [Kind::NoSpace, Kind::Io, Kind::DurabilityUnknown, Kind::Poisoned];
        if !allowed.contains(&e.kind()) {
            wrong.push(format!("an error of kind {:?}: {e}", e.kind()));
        }
    }
    let promise = promised(&scene);
    if !promise.made {
        scene.make();
        scene.open(0);
    }
    if let Err(e) = live(&mut scene, promise) {
        wrong.push(e);
    }
    let recorded = scene.end();
    if is_forgotten(&recorded) {
        count.forgotten += 1;
        count.wrong.extend(wrong.into_iter().map(|wrong| format!("{what}: {wrong}")));
        return;
    }
    // The power is cut now, and nothing reaches the disk that was not synced. Then everything does.
    let mut disk = Disk::new();
    let mut promise = Promise::default();
    for event in &recorded.events {
        disk.replay(event);
        if let Event::Note(note) = event {
            promise.note(recorded.notes[*note], &recorded.ledger);
        }
    }
    let elements = disk.elements();
    let newest = disk.in_order(&elements, usize::MAX);
    for picks in [vec![0; elements.len()], newest] {
        count.cuts += 1;
        let dir = directory();
        disk.cut(&elements, &picks).make(dir.path());
        let after = After {
            settings: &recorded.settings,
            ledger: &recorded.ledger,
            history: &promise.written.iter().map(|(seq, id)| (*seq, (0, *id))).collect(),
            made: !promise.durable.is_empty(),
            boot: Some(20),
            depth: 1,
        };
        let outcome = after.go_on(dir.path(), &mut |_| {});
        wrong.extend(outcome.wrong.iter().map(|wrong| format!("after a power cut: {wrong}")));
        if outcome.wrong.is_empty() {
            let mut promise = promise.clone();
            begin_probes(&mut promise, &recorded.ledger);
            let lost = promise.check(&outcome.after, &promise.durable, &recorded.ledger);
            wrong.extend(lost.iter().map(|wrong| format!("after a power cut: {wrong}")));
        }
    }
    count.wrong.extend(wrong.into_iter().map(|wrong| format!("{what}: {wrong}")));
}

/// Whether a sync has failed, no mark could be made, and who was told has gone: then nobody can know. One of the limits that the
/// documentation names. In the class `memory` shared memory remembers, until the system is started anew.
fn is_forgotten(recorded: &Recorded) -> bool {
    let shared = recorded.settings.lock == LockClass::Memory;
    let mut unmarked = false;
    for event in &recorded.events {
        match event {
            Event::Sync { failed: true, .. } => unmarked = true,
            Event::Create { at, .. } if at.extension().is_some_and(|extension| extension == "poison") => {
                unmarked = false;
            }
            Event::Note(note) if unmarked => match recorded.notes[*note] {
                Note::Closed if !shared => return true,
                Note::Boot(_) => return true,
                _ => {}
            },
            _ => {}
        }
    }
    false
}

fn promised(scene: &Scene) -> Promise {
    let mut promise = Promise::default();
    for note in &scene.notes {
        promise.note(*note, &scene.ledger);
    }
    promise
}

/// With the fault gone, and the same processes at it: what was told is there, and goes on.
fn live(scene: &mut Scene, mut promise: Promise) -> Result<(), String> {
    sys::pretend_boot(promise.boot);
    let told = |e: crate::Error| e.to_string();
    let store = Store::open_existing(scene.root().join("store")).map_err(told)?;
    let fresh = store.cohort(COHORT).map_err(told)?;
    let found = read(&fresh, &scene.ledger)?;
    begin_probes(&mut promise, &scene.ledger);
    let wrong = promise.check(&found, &promise.written, &scene.ledger);
    if let Some(wrong) = wrong.first() {
        return Err(format!("with the fault gone: {wrong}"));
    }
    let last = found.last().map_or(0, |place| place.seq);
    // The writer that has met the fault, if there is one, and one that has not.
    let writers: Vec<Cohort> = scene.writer(0).into_iter().chain([fresh.clone()]).collect();
    for writer in writers {
        append(scene, &writer)?;
    }
    let found = read(&fresh, &scene.ledger)?;
    if found.last().is_none_or(|place| place.seq <= last) {
        return Err("nothing was appended".into());
    }
    let promise = promised(scene);
    let history = promise.written.iter().map(|(seq, id)| (*seq, (0, *id))).collect();
    check_view(&fresh, &scene.ledger, &history, &found)?;
    let report = fresh.verify().map_err(told)?;
    if report.is_damaged() {
        return Err(format!("damage: {:?}", report.findings));
    }
    Ok(())
}

fn append(scene: &mut Scene, writer: &Cohort) -> Result<(), String> {
    let mut failed = None;
    for _ in 0..TRIES {
        let before = scene.errors.len();
        let records = scene.records(2, 60);
        scene.append_by(writer, &records, true);
        if scene.errors.len() == before {
            return Ok(());
        }
        failed = scene.errors.pop();
    }
    Err(format!("nothing can be appended with the fault gone: {}", failed.expect("an error")))
}

#[test]
fn a_fault_at_any_operation_loses_nothing_with_the_lock_class_file() {
    fault_everywhere(LockClass::File);
}

#[test]
fn a_fault_at_any_operation_loses_nothing_with_the_lock_class_memory() {
    super::with_memory(fault_everywhere);
}
