//! What cannot be had by mounting: network file systems, old kernels, clocks that are wrong. And that an answer can be no.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::check::Outcome::{Ok as Good, Skipped, Unsafe, Warning};
use super::exclusion::Counted;
use super::host::{judge_clock, judge_kernel};
use super::place::judge_options;
use super::*;
use crate::cohort::Cohort;
use crate::home::Home;
use crate::settings::{LockClass, Settings};
use crate::sys::{Clocks, LockFile, Reach};

fn on(path: &Path, name: &str, reach: Reach) -> Examination {
    let system = FileSystem { name: name.into(), reach, shares_memory: false };
    Examination::of(Dir::open(path).unwrap(), system, Vec::new())
}

fn only(checks: Result<Vec<Check>>) -> Check {
    let [check] = <[Check; 1]>::try_from(checks.unwrap()).unwrap();
    check
}

#[test]
fn a_network_file_system_is_unsafe_until_every_cohort_there_trusts_it() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("store");
    let store = Store::open(&path).unwrap();
    let nfs = || only(place::file_system(&on(&path, "nfs", Reach::Network)));
    let check = nfs();
    assert_eq!(check.outcome, Unsafe, "{check:?}");
    assert!(check.advice.is_some_and(|advice| advice.contains("\"trust_network_locks\": true")));

    let trusting = Settings::latest().lock(LockClass::File).trust_network_locks(true);
    store.create("trusting", trusting).unwrap();
    let check = nfs();
    assert_eq!((check.outcome, &check.figures["reach"]), (Warning, &"network".into()), "{check:?}");

    store.create("other", Settings::latest().lock(LockClass::File)).unwrap();
    let check = nfs();
    assert!(check.outcome == Unsafe && check.said.contains("that do not trust them"), "{check:?}");
    let class = only(place::lock_class(&on(&path, "nfs", Reach::Network)));
    assert_eq!((&class.figures["lock"], &class.figures["write"]), (&"file".into(), &"pwrite".into()));
}

#[test]
fn a_file_system_that_is_not_known_is_a_warning_and_so_is_memory() {
    let dir = tempfile::tempdir().unwrap();
    for (name, reach, outcome) in [
        ("type 0x1234", Reach::Unknown, Warning),
        ("tmpfs", Reach::Local, Warning),
        ("btrfs", Reach::Local, Good),
    ] {
        let check = only(place::file_system(&on(dir.path(), name, reach)));
        assert_eq!(check.outcome, outcome, "{check:?}");
    }
}

#[test]
fn a_cohort_whose_lock_class_does_not_fit_the_file_system_is_unsafe() {
    let temporary = tempfile::tempdir().unwrap();
    let store = Store::open(temporary.path().join("store")).unwrap();
    let made = store.create("c", Settings::latest().lock(LockClass::File)).unwrap();
    let home = |lock, reach| {
        let home = made.home();
        Cohort::new(Arc::new(Home {
            dir: Arc::clone(&home.dir),
            owner: Arc::clone(&home.owner),
            settings: home.settings.clone().lock(lock),
            reach,
            file_system: "overlay".into(),
            shares_memory: false,
        }))
    };
    assert_eq!(super::store::examine(&home(LockClass::File, Reach::Local), true).unwrap().outcome, Good);
    for (lock, reach) in [(LockClass::Memory, Reach::Local), (LockClass::File, Reach::Network)] {
        let error = super::store::examine(&home(lock, reach), true).unwrap_err();
        assert!(error.is_unsafe_file_system(), "{error}");
        assert_eq!(Check::failed("cohort", &error).outcome, Unsafe);
    }
}

#[test]
fn a_lock_that_somebody_keeps_is_told_with_its_holder() {
    let temporary = tempfile::tempdir().unwrap();
    let store = Store::open(temporary.path().join("store")).unwrap();
    let cohort = store.create("c", Settings::latest().lock(LockClass::File)).unwrap();
    let lock = LockFile::open(&cohort.home().dir, crate::names::LOCK).unwrap();
    let held = lock.try_exclusive().unwrap().unwrap();
    let check = super::store::examine(&cohort, true).unwrap();
    let holder = format!("process {} has had its lock", std::process::id());
    assert!(check.outcome == Warning && check.said.contains(&holder), "{check:?}");
    drop(held);
    let check = super::store::examine(&cohort, true).unwrap();
    assert_eq!((check.outcome, &check.figures["attachable"]), (Good, &true.into()), "{check:?}");
}

#[test]
fn options_of_a_mount_that_break_a_promise_are_told() {
    let judge = |kind: &str, options: &[&str]| {
        let options = options.iter().map(ToString::to_string).collect();
        let checks =
            judge_options(&Mount { kind: kind.into(), device: "d".into(), point: "/".into(), options });
        checks.iter().map(|check| check.outcome).max().unwrap()
    };
    assert_eq!(judge("ext4", &["rw", "relatime"]), Good);
    assert_eq!(judge("ext4", &["rw", "nobarrier"]), Warning);
    assert_eq!(judge("overlay", &["rw", "volatile"]), Warning);
    assert_eq!(judge("overlay", &["rw", "fsync=volatile"]), Warning);
    assert_eq!(judge("tmpfs", &["rw", "volatile"]), Good, "another file system's option");
    assert_eq!(judge("nfs4", &["rw", "local_lock=none"]), Good);
    for (kind, option) in
        [("nfs4", "local_lock=all"), ("nfs", "nolock"), ("cifs", "nobrl"), ("lustre", "localflock")]
    {
        assert_eq!(judge(kind, &["rw", option]), Unsafe, "{kind} {option}");
    }
}

#[test]
fn a_kernel_is_known_by_its_release() {
    for (release, outcome) in [
        ("6.1.0-18-amd64", Good),
        ("4.17", Good),
        ("4.16.3", Warning),
        ("3.14.79", Unsafe),
        ("5.15.153.1-microsoft-standard-WSL2", Warning),
        ("unknown", Skipped),
    ] {
        assert_eq!(judge_kernel(release).outcome, outcome, "{release}");
    }
}

#[test]
fn a_clock_that_is_wrong_goes_back_or_is_set_is_told_and_nothing_is_unsafe_for_it() {
    const NOW: i128 = 1_790_000_000_000_000_000;
    let tick = Duration::from_nanos(1);
    let said = |walls: [i128; 3], tick, boots| {
        let times = walls.iter().zip(1..);
        let readings: Vec<Clocks> =
            times.map(|(wall, at)| Clocks { wall_ns: *wall, monotonic: Duration::from_nanos(at) }).collect();
        let check = judge_clock(&readings, tick, boots);
        (check.outcome, check.said)
    };
    let good = [NOW, NOW + 1, NOW + 2];
    assert_eq!(said(good, tick, true).0, Good);
    for (walls, tick, boots, words) in [
        ([1, 2, 3], tick, true, "before 2020"),
        ([-1, 2, 3], tick, true, "before 2020"),
        ([NOW, NOW - 1, NOW + 2], tick, true, "went back"),
        ([NOW, NOW + 1, NOW + 3_600_000_000_000], tick, true, "was set"),
        (good, Duration::from_millis(16), true, "steps of 16ms"),
        (good, tick, false, "not told apart"),
    ] {
        let (outcome, said) = said(walls, tick, boots);
        assert!(outcome == Warning && said.contains(words), "{words}: {said}");
    }
}

#[test]
fn processes_that_were_not_alone_or_lost_counts_or_never_met_are_no_proof_of_a_lock() {
    let judged =
        |counted, met, waited| Counted { turns: 100, counted, met, waited }.check("flock", "flock").outcome;
    assert_eq!(judged(100, 0, 7), Good);
    assert_eq!(judged(100, 1, 7), Unsafe);
    assert_eq!(judged(99, 0, 7), Unsafe);
    assert_eq!(judged(100, 0, 0), Warning);
    let full = Error::io("cannot write", Path::new("p"), std::io::ErrorKind::StorageFull.into());
    assert_eq!(Check::failed("flock", &full).outcome, Unsafe, "what was not tried is not known");
}

#[test]
fn the_scratch_directory_of_the_dead_is_removed_and_that_of_the_living_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = |name: &str| {
        let path = dir.path().join(name);
        Dir::make(&path).unwrap();
        Dir::open(&path).unwrap()
    };
    let dead = scratch(".doctor-00000000000000aa");
    dead.create("owned").unwrap();
    dead.make_sub("room").unwrap();
    let living = Scratch::make(&Dir::open(dir.path()).unwrap()).unwrap();
    let other = Scratch::make(&Dir::open(dir.path()).unwrap()).unwrap();
    assert!(!dead.path().exists() && living.path().exists() && other.path().exists());
    remove_scratch(&other.path());
    assert!(!other.path().exists());
    drop((living, other));
    assert_eq!(Dir::open(dir.path()).unwrap().names().unwrap(), [""; 0]);
    // Only what is a scratch directory by its name.
    let else_ = scratch("precious");
    remove_scratch(else_.path());
    assert!(else_.path().exists());
}
