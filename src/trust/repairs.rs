//! Repairs: every state that a crash may leave of one, a fault at every operation of it, a process killed before each.
//!
//! Whatever happens, the cohort can be repaired again, or is; and what comes of it is what the repair would have come to.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::disk::{Disk, Image};
use super::scene::directory;
use super::workload::classes;
use crate::settings::{LockClass, Retain};
use crate::sys::{self, Event, Fault, Watch};
use crate::{Settings, Store};

const COHORT: &str = "c";
/// What the next start of the system is called.
const NEXT_BOOT: u8 = 10;
const RECORDS: u64 = 60;

/// A kind of damage, and the cohort that it is done to.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    settings: fn() -> Settings,
    /// After how many records it is compacted.
    compacted: &'static [u64],
    damage: fn(&Path),
}

const KINDS: [Kind; 9] = [
    Kind { name: "a bad frame", settings: Settings::latest, compacted: &[], damage: |dir| spoil(dir, 20) },
    Kind {
        name: "a bad frame behind a snapshot",
        settings: Settings::merge,
        compacted: &[10, 20],
        damage: |dir| spoil(dir, 40),
    },
    Kind {
        name: "a missing segment",
        settings: Settings::latest,
        compacted: &[],
        damage: |dir| fs::remove_file(dir.join("00000003.journal")).unwrap(),
    },
    Kind {
        name: "a bad identity",
        settings: Settings::latest,
        compacted: &[],
        damage: |dir| flip(&dir.join("00000002.journal"), 30),
    },
    Kind {
        name: "a log that begins later",
        settings: Settings::log,
        compacted: &[],
        damage: |dir| spoil(dir, 3),
    },
    Kind {
        name: "a damaged snapshot",
        settings: Settings::latest,
        compacted: &[20, 40],
        damage: |dir| flip(&dir.join("snapshot.json"), 9),
    },
    Kind {
        name: "two damaged snapshots",
        settings: Settings::latest,
        compacted: &[20, 40, 50],
        damage: |dir| {
            flip(&dir.join("snapshot.json"), 9);
            flip(&dir.join("snapshot.prev.json"), 9);
        },
    },
    Kind {
        name: "a journal that ends below the watermark",
        settings: Settings::latest,
        compacted: &[30, RECORDS],
        damage: |dir| {
            let numbers = segments(dir);
            for number in &numbers[1..] {
                fs::remove_file(dir.join(format!("{number:08}.journal"))).unwrap();
            }
        },
    },
    Kind {
        name: "damaged history and settings",
        settings: history,
        compacted: &[30, 50],
        damage: |dir| {
            spoil(dir, 8);
            flip(&dir.join("cohort.json"), 3);
        },
    },
];

fn history() -> Settings {
    Settings::latest().retain(Retain::All)
}

fn segments(dir: &Path) -> Vec<u64> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut numbers: Vec<u64> = names.filter_map(|name| crate::names::parse_segment(&name)).collect();
    numbers.sort_unstable();
    numbers
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x11;
    fs::write(path, bytes).unwrap();
}

fn value(seq: u64) -> serde_json::Value {
    serde_json::json!({ "of": format!("<{seq}>"), "pad": "x".repeat(150) })
}

/// Flips a byte of the value of a record.
fn spoil(dir: &Path, seq: u64) {
    let wanted = format!("<{seq}>");
    for number in segments(dir) {
        let path = dir.join(format!("{number:08}.journal"));
        let bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(wanted.len()).position(|window| window == wanted.as_bytes()) {
            return flip(&path, at);
        }
    }
    panic!("record {seq} is in no segment");
}

/// A damaged cohort that nobody has open.
fn damaged(root: &Path, kind: &Kind, class: LockClass) {
    let store = Store::open(root.join("store")).unwrap();
    let settings = (kind.settings)().compact_bytes(0).sync_interval(Duration::ZERO).segment_bytes(4096);
    let cohort = store.create(COHORT, settings.lock(class)).unwrap();
    for seq in 1..=RECORDS {
        assert_eq!(cohort.append(&format!("k{}", seq % 7), &value(seq)).unwrap(), seq);
        if kind.compacted.contains(&seq) {
            cohort.compact().unwrap();
        }
    }
    cohort.detach().unwrap();
    drop(cohort);
    (kind.damage)(&root.join("store").join(COHORT));
}

/// What a cohort holds: its last seq, its entries, and the records still there of a log.
type Held = (u64, BTreeMap<String, String>, Vec<u64>);

fn repair(root: &Path) -> crate::Result<bool> {
    let store = Store::open_existing(root.join("store"))?;
    let plan = store.repair_plan(COHORT, None)?;
    let needed = plan.is_needed();
    if needed {
        plan.carry_out()?;
    }
    Ok(needed)
}

fn held(root: &Path) -> crate::Result<Held> {
    let cohort = Store::open_existing(root.join("store"))?.cohort(COHORT)?;
    let view = cohort.view()?;
    let mut entries = BTreeMap::new();
    for item in view.iter() {
        let (key, entry) = item?;
        entries.insert(key.into_owned(), format!("{} {}", entry.seq(), entry.json()));
    }
    let mut records = Vec::new();
    if *cohort.settings().fold() == crate::Fold::Log {
        for record in cohort.history(None, ..)? {
            records.push(record?.seq());
        }
    }
    Ok((cohort.last_seq()?, entries, records))
}

/// Goes on with what a crash has left. Returns what is wrong.
fn go_on(root: &Path, expected: &Held) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Err(e) = repair(root) {
        return vec![format!("it cannot be repaired again: {e}")];
    }
    match held(root) {
        Ok(held) if held == *expected => {}
        Ok(held) => wrong.push(format!("it holds {held:?}, and not {expected:?}")),
        Err(e) => return vec![format!("it cannot be read: {e}")],
    }
    let cohort = Store::open_existing(root.join("store")).unwrap().cohort(COHORT).unwrap();
    match cohort.append("k", &value(0)) {
        Ok(seq) if seq == expected.0 + 1 => {}
        other => wrong.push(format!("the next append: {other:?}")),
    }
    let report = cohort.verify().unwrap();
    if report.is_damaged() {
        wrong.push(format!("damage: {:?}", report.findings));
    }
    wrong
}

/// What the repair of this damage comes to.
fn expected(kind: &Kind, class: LockClass) -> Held {
    let dir = directory();
    damaged(dir.path(), kind, class);
    assert!(repair(dir.path()).unwrap(), "{}: nothing is damaged", kind.name);
    held(dir.path()).unwrap()
}

struct Tally<'a> {
    expected: &'a Held,
    states: usize,
    seen: HashSet<(u64, bool)>,
    wrong: Vec<String>,
}

impl Tally<'_> {
    fn look(&mut self, image: &Image, cut: bool, place: &str) {
        self.states += 1;
        if !self.seen.insert((image.number(), cut)) {
            return;
        }
        let dir = directory();
        image.make(dir.path());
        sys::pretend_boot(cut.then_some(NEXT_BOOT));
        let wrong = go_on(dir.path(), self.expected);
        sys::pretend_boot(None);
        self.wrong.extend(wrong.into_iter().map(|wrong| format!("{place}: {wrong}")));
    }

    /// All in order, each alone lost, and each alone there.
    fn power_cuts(&mut self, disk: &Disk, place: &str) {
        let elements = disk.elements();
        let pending = disk.pending_operations(&elements);
        let mut all: Vec<Vec<usize>> =
            pending.into_iter().map(|last| disk.in_order(&elements, last)).collect();
        let states: Vec<usize> = elements.iter().map(|element| disk.states_of(*element).0).collect();
        let (oldest, newest) = (vec![0; states.len()], disk.in_order(&elements, usize::MAX));
        for (i, n) in states.iter().enumerate() {
            for rest in [&oldest, &newest] {
                for pick in 0..*n {
                    let mut picks = rest.clone();
                    picks[i] = pick;
                    all.push(picks);
                }
            }
        }
        all.extend([oldest, newest]);
        for picks in all {
            self.look(&disk.cut(&elements, &picks).without_control(), true, &format!("power cut, {place}"));
        }
    }
}

fn explore(kind: &Kind, class: LockClass) -> Vec<String> {
    let expected = expected(kind, class);
    let dir = directory();
    damaged(dir.path(), kind, class);
    let watch = Watch::over(dir.path());
    watch.record();
    assert!(repair(dir.path()).unwrap());
    let events = watch.take();
    drop(watch);
    let mut disk = Disk::new();
    let mut tally = Tally { expected: &expected, states: 0, seen: HashSet::new(), wrong: Vec::new() };
    for (at, event) in events.iter().enumerate() {
        let told: String = format!("event {at} ({event:?})").chars().take(120).collect();
        if matches!(event, Event::Sync { .. } | Event::SyncDirectory { .. }) {
            tally.power_cuts(&disk, &format!("before {told}"));
        }
        disk.replay(event);
        let found =
            matches!(event, Event::Found { .. } | Event::FoundDirectory { .. } | Event::FoundSymlink { .. });
        if !found {
            tally.look(&disk.live(), false, &format!("process death after {told}"));
        }
    }
    tally.power_cuts(&disk, "at the end");
    println!(
        "repair of {}, lock class {class:?}: {} operations, {} states, {} distinct, {} violations",
        kind.name,
        events.iter().filter(|event| event.is_operation()).count(),
        tally.states,
        tally.seen.len(),
        tally.wrong.len()
    );
    tally.wrong.into_iter().map(|wrong| format!("{}, {class:?}: {wrong}", kind.name)).collect()
}

#[test]
fn no_crash_in_a_repair_leaves_anything_but_what_can_be_repaired_to_the_same() {
    let mut wrong = Vec::new();
    for class in classes() {
        for kind in &KINDS {
            wrong.extend(explore(kind, class));
        }
    }
    super::expect_none(&wrong);
}

#[test]
fn a_fault_at_any_operation_of_a_repair_leaves_what_can_be_repaired_to_the_same() {
    let (mut runs, mut wrong) = (0, Vec::new());
    for class in classes() {
        for kind in &KINDS {
            let expected = expected(kind, class);
            for fault in [Fault::Errno(libc::ENOSPC), Fault::Errno(libc::EIO), Fault::Short] {
                let mut at = 0;
                loop {
                    let dir = directory();
                    damaged(dir.path(), kind, class);
                    let watch = Watch::over(dir.path());
                    watch.plan(fault, at, false);
                    let repaired = repair(dir.path());
                    let operations = watch.passed().len();
                    watch.relent();
                    drop(watch);
                    runs += 1;
                    let what = format!("{}, {class:?}, {fault:?} at {at}, {repaired:?}", kind.name);
                    let found = go_on(dir.path(), &expected);
                    wrong.extend(found.into_iter().map(|wrong| format!("{what}: {wrong}")));
                    if at >= operations {
                        break;
                    }
                    at += 1;
                }
            }
        }
    }
    println!("repair: a fault met {runs} of them, {} violations", wrong.len());
    super::expect_none(&wrong);
}

#[test]
fn a_process_killed_before_any_operation_of_a_repair_leaves_what_can_be_repaired_to_the_same() {
    let (mut killed, mut wrong) = (0, Vec::new());
    for class in classes() {
        for kind in &KINDS {
            let expected = expected(kind, class);
            let mut at = 0;
            loop {
                let dir = directory();
                damaged(dir.path(), kind, class);
                let root = dir.path();
                let status = sys::in_forked_child(|| {
                    let watch = Watch::over(root);
                    watch.plan(Fault::Kill, at, false);
                    repair(root).unwrap()
                });
                killed += usize::from(status.is_none());
                let found = go_on(root, &expected);
                wrong
                    .extend(found.into_iter().map(|w| format!("{}, {class:?}, before {at}: {w}", kind.name)));
                if status == Some(0) {
                    break;
                }
                at += 1;
            }
        }
    }
    println!("repair: {killed} processes killed, {} violations", wrong.len());
    super::expect_none(&wrong);
}
