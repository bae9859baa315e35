//! Names of cohorts, and names of directories that may be cohorts.
//!
//! The first byte of an input says which: even, the rest is a cohort's name; odd, it is the name of a directory.

use std::fs;

use tallyfold::{Settings, Store};

use super::scene::Scene;

pub fn run(input: &[u8]) {
    let Some((&flags, name)) = input.split_first() else { return };
    let name = String::from_utf8_lossy(name);
    match flags % 2 {
        0 => a_cohort(&name),
        _ => a_directory(&name),
    }
}

/// A cohort of this name can be made, found and used under it, in a directory of the store and nowhere else; or it is refused.
fn a_cohort(name: &str) {
    let scene = Scene::empty();
    let outside = scene.path().join("outside");
    let root = outside.join("store");
    fs::create_dir(&outside).expect("a directory can be made");
    let store = Store::open(&root).expect("a store can be made");
    match store.create(name, Settings::log()) {
        Err(e) => {
            assert!(e.is_invalid() && !e.what().is_empty(), "{name:?}: {e:?}");
            assert!(store.cohort(name).is_err_and(|e| e.is_invalid()));
            assert_eq!(store.cohorts().expect("it can be listed"), [""; 0]);
        }
        Ok(cohort) => {
            assert!((1..=128).contains(&name.len()));
            assert_eq!(cohort.name(), name);
            assert_eq!(cohort.path().parent(), Some(root.as_path()), "{name:?}");
            cohort.append("", &1).expect("it can be appended to");
            drop(cohort);
            assert_eq!(store.cohorts().expect("it can be listed"), [name]);
            let again = Store::open_existing(&root).and_then(|store| store.cohort(name));
            assert_eq!(again.and_then(|cohort| cohort.last_seq()).expect("it is found again"), 1);
            let count = fs::read_dir(&root).expect("it can be listed").count();
            assert_eq!(count, 2, "the cohort and store.json, and nothing else");
        }
    }
    assert_eq!(fs::read_dir(&outside).expect("it can be listed").count(), 1, "{name:?} has left the store");
}

/// A directory of this name, that looks like a cohort, is found under the name that makes this directory, or not at all.
fn a_directory(name: &str) {
    let scene = Scene::empty();
    let store = Store::open(scene.path().join("store")).expect("a store can be made");
    let path = store.path().join(name);
    if name.contains(['/', '\0']) || fs::create_dir(&path).is_err() {
        return;
    }
    fs::write(path.join("cohort.json"), "{\"fold\":{\"kind\":\"log\"}}").expect("a file can be written");
    for cohort in store.cohorts().expect("it can be listed") {
        let opened = store.cohort(&cohort).expect("what is listed can be opened");
        assert_eq!(opened.path(), path, "{cohort:?} leads elsewhere");
    }
}
