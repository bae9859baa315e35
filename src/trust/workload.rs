//! The workloads: what a store is put through while it is recorded.

use std::time::Duration;

use super::scene::{FIRST_BOOT, Scene};
use crate::settings::{LockClass, Retain};
use crate::{Settings, Store};

/// See the module.
#[derive(Clone, Copy)]
pub(super) struct Workload {
    pub(super) name: &'static str,
    settings: fn() -> Settings,
    run: fn(&mut Scene),
    /// Whether the end of the journal is spoiled by hand on the way.
    pub(super) cuts: bool,
}

pub(super) const ALL: [Workload; 8] = [
    Workload { name: "append to a log", settings: Settings::log, run: append, cuts: false },
    Workload { name: "compact, fold latest", settings: Settings::latest, run: compact, cuts: false },
    Workload { name: "compact, fold merge", settings: Settings::merge, run: compact, cuts: false },
    Workload { name: "history kept", settings: history, run: compact, cuts: false },
    Workload { name: "a log that is limited", settings: limited, run: limit, cuts: false },
    Workload { name: "two writers", settings: Settings::latest, run: two_writers, cuts: false },
    Workload { name: "cuts of a log", settings: Settings::log, run: cuts, cuts: true },
    Workload { name: "cuts, fold merge", settings: Settings::merge, run: cuts, cuts: true },
];

fn history() -> Settings {
    Settings::latest().retain(Retain::Records(6))
}

fn limited() -> Settings {
    Settings::log().retain(Retain::Records(4))
}

impl Workload {
    /// Quiet: nothing is done in the background. Small segments, so that few records fill one.
    pub(super) fn settings(&self, class: LockClass) -> Settings {
        let quiet = (self.settings)().compact_bytes(0).sync_interval(Duration::ZERO);
        quiet.segment_bytes(4096).lock(class)
    }

    pub(super) fn run(&self, scene: &mut Scene) {
        scene.make();
        if !scene.errors.is_empty() {
            scene.make();
        }
        scene.open(0);
        (self.run)(scene);
    }
}

/// The lock classes that can be used in a directory.
pub(super) fn classes() -> Vec<LockClass> {
    let dir = super::scene::directory();
    let store = Store::open(dir.path().join("store")).unwrap();
    match store.create("c", Settings::log()).unwrap().settings().lock {
        LockClass::Memory => vec![LockClass::File, LockClass::Memory],
        _ => vec![LockClass::File],
    }
}

fn append(scene: &mut Scene) {
    for i in 0..3 {
        scene.put(0, 150);
        scene.batch(0, 3, 100);
        scene.put_durable(0, 300 + 100 * i);
        scene.put(0, 700);
        scene.batch(0, 2, 500);
    }
    scene.sync(0);
    // Longer than a segment.
    scene.batch(0, 4, 1500);
    scene.put(0, 10);
    scene.compact(0);
    scene.put(0, 20);
    scene.close(0);
}

fn compact(scene: &mut Scene) {
    for i in 0..3 {
        scene.put(0, 300);
        scene.put_and_delete(0);
        scene.batch(0, 2, 900);
        scene.put(0, 1500 + i);
        scene.compact(0);
        scene.put(0, 40);
        if i == 1 {
            scene.put_durable(0, 50);
        }
    }
    scene.compact(0);
    scene.close(0);
    scene.open(0);
    scene.put_durable(0, 60);
    scene.put(0, 70);
}

fn limit(scene: &mut Scene) {
    for i in 0..3 {
        scene.put(0, 900);
        scene.batch(0, 2, 900);
        scene.put_durable(0, 1500 + i);
        scene.compact(0);
    }
    scene.put(0, 40);
    scene.compact(0);
    scene.close(0);
    scene.open(0);
    scene.put_durable(0, 60);
    scene.put(0, 70);
}

fn two_writers(scene: &mut Scene) {
    scene.open(1);
    for i in 0..4 {
        scene.put(0, 400);
        scene.put(1, 500);
        scene.batch(1, 2, 300);
        scene.put_durable(i % 2, 600);
        scene.put_and_delete(0);
        if i == 2 {
            scene.compact(1);
            scene.put(0, 30);
        }
    }
    scene.close(1);
    scene.put(0, 80);
    scene.sync(0);
    scene.put(0, 90);
}

fn cuts(scene: &mut Scene) {
    // A dead writer's half frame.
    scene.put(0, 100);
    scene.put_durable(0, 200);
    scene.put(0, 300);
    scene.close(0);
    scene.tear();
    scene.open(0);
    scene.batch(0, 2, 100);
    // A failed sync: the records are carried.
    scene.put(0, 150);
    scene.fail_sync();
    scene.put_durable(0, 250);
    scene.put(0, 350);
    scene.put_durable(0, 120);
    scene.compact(0);
    // Another start of the system.
    scene.put(0, 130);
    scene.close(0);
    scene.start(Some(FIRST_BOOT + 1));
    scene.open(0);
    scene.put(0, 140);
    scene.put_durable(0, 160);
    scene.compact(0);
    scene.put(0, 170);
    scene.close(0);
}
