//! Bundles: every state that a crash may leave of commits, a fault at every operation of one, a process killed before each.
//!
//! Whatever happens, a key has the bundle that it had or the one that was being committed, with all its files and the value that
//! belongs to them; the one that was acknowledged, once it was; and the next commit leaves nothing of what the dead were at.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use super::disk::{Disk, Element};
use super::scene::directory;
use super::workload::classes;
use crate::names;
use crate::settings::LockClass;
use crate::sys::{self, Event, Fault, Watch};
use crate::{Cohort, Fold, Result, Settings, Store};

const COHORT: &str = "models";
/// The key of the commits that are there before anything happens: they are never lost.
const OTHER: &str = "other";
/// What the next start of the system is called.
const NEXT_BOOT: u8 = 10;

/// Commits: a key, and how many older versions are kept. The n-th has the number n + 1.
const COMMITS: [(&str, usize); 5] = [("run", 1), ("run", 0), ("a/b", 1), ("run", 1), ("run", 1)];

fn settings(class: LockClass, fold: Fold) -> Settings {
    // Quiet: nothing is done in the background.
    Settings::new(fold).compact_bytes(0).sync_interval(Duration::ZERO).lock(class)
}

fn files(n: usize) -> [(&'static str, Vec<u8>); 3] {
    [
        ("weights.bin", vec![n as u8 + 1; 700 * (n % 3 + 1)]),
        ("empty", vec![]),
        ("n", n.to_string().into_bytes()),
    ]
}

fn commit(cohort: &Cohort, n: usize) -> Result<()> {
    let (key, keep) = COMMITS.get(n.wrapping_sub(1)).copied().unwrap_or((OTHER, 0));
    let mut new = cohort.bundle(key)?;
    for (name, bytes) in files(n) {
        new.add_bytes(name, &bytes)?;
    }
    new.keep(keep);
    new.commit(&serde_json::json!({ "n": n })).map(drop)
}

fn made(root: &Path, class: LockClass, fold: Fold) -> Cohort {
    let store = Store::open(root.join("store")).unwrap();
    let cohort = store.create(COHORT, settings(class, fold)).unwrap();
    commit(&cohort, 0).unwrap();
    cohort.detach().unwrap();
    cohort
}

/// The number of a key's bundle, which is whole; 0 for none.
fn number(cohort: &Cohort, key: &str) -> std::result::Result<usize, String> {
    let Some(bundle) = cohort.open_bundle(key).map_err(|e| e.to_string())? else { return Ok(0) };
    bundle.verify().map_err(|e| e.to_string())?;
    let value: HashMap<String, usize> = bundle.to().map_err(|e| e.to_string())?;
    let n = value["n"];
    for (name, bytes) in files(n) {
        let path = bundle.file(name).ok_or_else(|| format!("no file {name:?} in the bundle {n}"))?;
        if std::fs::read(path).map_err(|e| e.to_string())? != bytes {
            return Err(format!("{name:?} is not what belongs to the value {n}"));
        }
    }
    // A version that is kept is whole, too.
    for version in bundle.previous() {
        let n: usize = std::fs::read_to_string(bundle.path().with_file_name(version).join("n"))
            .map_err(|e| format!("the version before {n}: {e}"))?
            .parse()
            .map_err(|_| format!("the version before {n} is no version"))?;
        for (name, bytes) in files(n) {
            let path = bundle.path().with_file_name(version).join(name);
            if std::fs::read(path).map_err(|e| e.to_string())? != bytes {
                return Err(format!("{name:?} of the older version {n} is not what it was"));
            }
        }
    }
    Ok(n)
}

/// What is left over: staging directories, versions that the state does not name, links that lead elsewhere.
fn leftovers(cohort: &Cohort) -> Vec<String> {
    let bundles = cohort.path().join(names::BUNDLES);
    let list = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let mut left = Vec::new();
    for directory in list(&bundles) {
        let Some(key) = names::parse_key_directory(&directory) else {
            left.push(directory);
            continue;
        };
        let bundle = match cohort.open_bundle(&key) {
            Ok(bundle) => bundle,
            Err(e) => {
                left.push(format!("{key}: what cannot be opened: {e}"));
                continue;
            }
        };
        let mut expected: HashSet<String> = HashSet::from([names::LOCK.to_string()]);
        if let Some(bundle) = &bundle {
            expected.extend(bundle.previous().iter().cloned());
            expected.extend([bundle.version().to_string(), names::LATEST.to_string()]);
            let latest = std::fs::read_link(bundles.join(&directory).join(names::LATEST));
            if latest.ok().as_deref() != Some(Path::new(bundle.version())) {
                left.push(format!("{key}: the link `latest`"));
            }
        }
        left.extend(
            list(&bundles.join(&directory))
                .into_iter()
                .filter(|name| !expected.contains(name))
                .map(|name| format!("{key}: {name}")),
        );
    }
    left
}

/// What each key may have: `acknowledged` commits have returned, and one more may have happened.
fn allowed(key: &str, acknowledged: usize, begun: bool) -> Vec<usize> {
    let of = |n: usize| (1..=n).rev().find(|n| COMMITS[n - 1].0 == key).unwrap_or(0);
    let mut allowed = vec![of(acknowledged)];
    if begun && acknowledged < COMMITS.len() {
        allowed.push(of(acknowledged + 1));
    }
    allowed
}

/// Goes on with what a crash has left. Returns what is wrong.
fn go_on(root: &Path, acknowledged: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    let cohort = Store::open_existing(root.join("store")).unwrap().cohort(COHORT).unwrap();
    let mut check = |when: &str, key: &str, allowed: &[usize]| match number(&cohort, key) {
        Ok(n) if allowed.contains(&n) => {}
        Ok(n) => wrong.push(format!("{when}: {key} has the bundle {n}, not one of {allowed:?}")),
        Err(e) => wrong.push(format!("{when}: {key}: {e}")),
    };
    for key in ["run", "a/b"] {
        check("before", key, &allowed(key, acknowledged, true));
    }
    check("before", OTHER, &[0]);
    let found: Vec<usize> = ["run", "a/b"].map(|key| number(&cohort, key).unwrap_or(usize::MAX)).to_vec();
    // Of another key: what was left is its writer's to remove all the same.
    if let Err(e) = commit(&cohort, 0) {
        wrong.push(format!("the next commit: {e}"));
        return wrong;
    }
    let mut check = |when: &str, key: &str, allowed: &[usize]| match number(&cohort, key) {
        Ok(n) if allowed.contains(&n) => {}
        other => wrong.push(format!("{when}: {key} has {other:?}, not one of {allowed:?}")),
    };
    for (key, n) in ["run", "a/b"].into_iter().zip(found) {
        check("after", key, &[n]);
    }
    wrong.extend(leftovers(&cohort).into_iter().map(|left| format!("left over: {left}")));
    let report = cohort.verify().unwrap();
    if report.is_damaged() {
        wrong.push(format!("damage: {:?}", report.findings));
    }
    wrong
}

struct Tally {
    states: usize,
    seen: HashSet<(u64, usize, bool)>,
    wrong: Vec<String>,
}

impl Tally {
    fn look(&mut self, image: &super::disk::Image, acknowledged: usize, cut: bool, place: &str) {
        self.states += 1;
        if !self.seen.insert((image.number(), acknowledged, cut)) {
            return;
        }
        let dir = directory();
        image.make(dir.path());
        sys::pretend_boot(cut.then_some(NEXT_BOOT));
        let wrong = go_on(dir.path(), acknowledged);
        sys::pretend_boot(None);
        self.wrong.extend(wrong.into_iter().map(|wrong| format!("{place}: {wrong}")));
    }

    /// All in order, each alone lost, each alone there, and some at random.
    fn power_cuts(&mut self, disk: &Disk, acknowledged: usize, place: &str) {
        let elements = disk.elements();
        let mut all: Vec<Vec<usize>> = disk
            .pending_operations(&elements)
            .into_iter()
            .map(|last| disk.in_order(&elements, last))
            .collect();
        let states: Vec<usize> =
            elements.iter().map(|element: &Element| disk.states_of(*element).0).collect();
        let oldest = vec![0; states.len()];
        let newest = disk.in_order(&elements, usize::MAX);
        all.extend([oldest.clone(), newest.clone()]);
        for (i, n) in states.iter().enumerate() {
            for pick in 0..*n {
                for rest in [&oldest, &newest] {
                    let mut picks = rest.clone();
                    picks[i] = pick;
                    all.push(picks);
                }
            }
        }
        let mut random = (place.len() as u64).wrapping_mul(0x9E37_79B9) | 1;
        for _ in 0..super::asked("TALLYFOLD_CRASH_SAMPLES", 6) {
            let picks = states.iter().map(|n| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                (random % *n as u64) as usize
            });
            all.push(picks.collect());
        }
        for picks in all {
            let image = disk.cut(&elements, &picks).without_control();
            self.look(&image, acknowledged, true, &format!("power cut, {place}"));
        }
    }
}

fn explore(class: LockClass, fold: Fold) {
    let dir = directory();
    let cohort = made(dir.path(), class, fold.clone());
    let watch = Watch::over(dir.path());
    watch.record();
    for n in 1..=COMMITS.len() {
        commit(&cohort, n).unwrap();
        watch.note(n);
    }
    drop(cohort);
    let events = watch.take();
    let (mut disk, mut acknowledged) = (Disk::new(), 0);
    let mut tally = Tally { states: 0, seen: HashSet::new(), wrong: Vec::new() };
    let found = |event: &Event| {
        matches!(event, Event::Found { .. } | Event::FoundDirectory { .. } | Event::FoundSymlink { .. })
    };
    for (at, event) in events.iter().enumerate() {
        let told: String = format!("event {at} ({event:?})").chars().take(120).collect();
        if matches!(event, Event::Sync { .. } | Event::SyncDirectory { .. }) {
            tally.power_cuts(&disk, acknowledged, &format!("before {told}"));
        }
        disk.replay(event);
        if let Event::Note(n) = event {
            acknowledged = *n;
        }
        if !found(event) {
            tally.look(&disk.live(), acknowledged, false, &format!("process death after {told}"));
        }
    }
    tally.power_cuts(&disk, acknowledged, "at the end");
    println!(
        "bundles, fold {}, lock class {class:?}: {} operations, {} states, {} distinct, {} violations",
        fold.name(),
        events.iter().filter(|event| event.is_operation()).count(),
        tally.states,
        tally.seen.len(),
        tally.wrong.len()
    );
    assert_eq!(acknowledged, COMMITS.len());
    super::expect_none(&tally.wrong);
}

#[test]
fn no_crash_leaves_anything_but_the_old_bundle_or_the_new_one() {
    for class in classes() {
        explore(class, Fold::Latest);
    }
}

#[test]
fn no_crash_leaves_anything_but_the_old_bundle_or_the_new_one_in_a_log_and_in_a_merge() {
    for fold in [Fold::Log, Fold::Merge] {
        explore(LockClass::File, fold);
    }
}

/// A fault at each operation of a commit that replaces a version: once, and from then on for ever.
#[test]
fn a_fault_at_any_operation_of_a_commit_leaves_the_old_bundle_or_the_new_one() {
    let (mut runs, mut wrong) = (0, Vec::new());
    for class in classes() {
        for fault in
            [libc::ENOSPC, libc::EIO, libc::EROFS].map(Fault::Errno).into_iter().chain([Fault::Short])
        {
            for for_ever in [false, true] {
                if fault == Fault::Short && for_ever {
                    continue;
                }
                let mut at = 0;
                loop {
                    let dir = directory();
                    let cohort = made(dir.path(), class, Fold::Latest);
                    (1..=3).for_each(|n| commit(&cohort, n).unwrap());
                    let watch = Watch::over(dir.path());
                    watch.plan(fault, at, for_ever);
                    let committed = commit(&cohort, 4);
                    let operations = watch.passed().len();
                    watch.relent();
                    runs += 1;
                    let allowed: &[usize] = match &committed {
                        Ok(()) => &[4],
                        Err(e) if e.is_durability_unknown() => &[2, 4],
                        Err(_) => &[2],
                    };
                    let mut found = Vec::new();
                    match number(&cohort, "run") {
                        Ok(n) if allowed.contains(&n) => {}
                        other => found.push(format!("there is {other:?} after {committed:?}")),
                    }
                    // The second try at the latest, as with every append.
                    if let Err(e) = commit(&cohort, 0).or_else(|_| commit(&cohort, 0)) {
                        found.push(format!("the next commit: {e}"));
                    }
                    // Who lives sees to what it could not remove with the next commit of its key.
                    if let Err(e) = cohort.clean_bundles() {
                        found.push(format!("cleaning: {e}"));
                    }
                    found.extend(leftovers(&cohort).into_iter().map(|left| format!("left over: {left}")));
                    let what = format!("{class:?}, {fault:?} at {at}, for ever {for_ever}");
                    wrong.extend(found.into_iter().map(|wrong| format!("{what}: {wrong}")));
                    if at >= operations {
                        break;
                    }
                    at += 1;
                }
            }
        }
    }
    println!("bundles: a fault met {runs} commits, {} violations", wrong.len());
    super::expect_none(&wrong);
}

#[test]
fn a_process_killed_before_any_operation_of_a_commit_leaves_the_old_bundle_or_the_new_one() {
    let stride = super::asked("TALLYFOLD_KILL_STRIDE", 2).max(1);
    let (mut killed, mut wrong) = (0, Vec::new());
    for class in classes() {
        let mut at = 0;
        loop {
            let dir = directory();
            let cohort = made(dir.path(), class, Fold::Latest);
            (1..=3).for_each(|n| commit(&cohort, n).unwrap());
            let root = dir.path();
            let status = sys::in_forked_child(|| {
                let cohort = Store::open_existing(root.join("store")).unwrap().cohort(COHORT).unwrap();
                // Attached before, for what attaching does is tried elsewhere.
                cohort.writer().attachment(cohort.timeout()).unwrap();
                let watch = Watch::over(root);
                watch.plan(Fault::Kill, at, false);
                commit(&cohort, 4).unwrap();
                std::fs::write(root.join("told"), b"").unwrap();
                true
            });
            let acknowledged = if root.join("told").exists() { 4 } else { 3 };
            killed += usize::from(status.is_none());
            drop(cohort);
            wrong.extend(
                go_on(root, acknowledged)
                    .into_iter()
                    .map(|wrong| format!("{class:?}, killed before {at}: {wrong}")),
            );
            if status == Some(0) {
                break;
            }
            at += stride;
        }
    }
    println!("bundles: {killed} processes killed, {} violations", wrong.len());
    super::expect_none(&wrong);
}
