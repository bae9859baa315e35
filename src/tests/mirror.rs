//! A mirror whose writer is killed, or whose disk fails, between any two steps: the old file or the new one, whole.
#![allow(clippy::disallowed_methods, reason = "tests look at the user's files")]

use std::fs;
use std::path::{Path, PathBuf};

use super::store;
use crate::sys::{self, Fault, Watch};
use crate::{Cohort, Mirror, Settings, Store};

/// A cohort with a mirror in a directory of its own, which shows one state; there is another one to be shown.
struct Scene {
    _dir: tempfile::TempDir,
    store: Store,
    path: PathBuf,
    old: Vec<u8>,
}

const NAMES: &[&str] = if cfg!(feature = "parquet") { &["m.json", "m.parquet"] } else { &["m.json"] };

impl Scene {
    fn new(name: &str) -> Scene {
        let (dir, store) = store();
        let out = dir.path().join("out");
        fs::create_dir(&out).unwrap();
        let path = out.join(name);
        let settings = Settings::latest().mirror(Mirror::new(path.to_str().unwrap()));
        let cohort = store.create("c", settings).unwrap();
        // More than is written at once.
        for (i, letter) in ["a", "b", "c"].into_iter().enumerate() {
            cohort.append(letter, &format!("{i}{}", letter.repeat(300_000))).unwrap();
        }
        cohort.compact().unwrap();
        assert_eq!(cohort.mirror_failure(), None);
        let old = fs::read(&path).unwrap();
        cohort.append("d", &"new").unwrap();
        Scene { _dir: dir, store, path, old }
    }

    fn out(&self) -> &Path {
        self.path.parent().unwrap()
    }

    fn cohort(&self) -> Cohort {
        self.store.cohort("c").unwrap()
    }

    /// What the mirror is to show in the end.
    fn new_file(&self) -> Vec<u8> {
        let suffix = self.path.extension().unwrap().to_str().unwrap();
        let beside = self.path.with_file_name(format!("expected.{suffix}"));
        self.cohort().mirror_to(&beside, None).unwrap();
        let expected = fs::read(&beside).unwrap();
        fs::remove_file(&beside).unwrap();
        assert_ne!(expected.len(), self.old.len());
        expected
    }

    /// How many operations writing the mirror takes.
    fn operations(name: &str) -> usize {
        let scene = Scene::new(name);
        let watch = Watch::over(scene.out());
        scene.cohort().mirror().unwrap();
        watch.passed().len()
    }

    fn is_old_or_new(&self, new: &[u8], what: &str) {
        let now = fs::read(&self.path).unwrap();
        assert!(now == self.old || now == new, "{what}: {} bytes", now.len());
    }

    /// Whoever writes it next leaves the new one, and nothing else.
    fn is_put_right(&self, new: &[u8], what: &str) {
        self.cohort().mirror().unwrap();
        assert!(fs::read(&self.path).unwrap() == new, "{what}");
        assert_eq!(fs::read_dir(self.out()).unwrap().count(), 1, "{what}: something is left lying about");
    }
}

#[test]
fn a_writer_killed_between_any_two_steps_leaves_the_old_mirror_or_the_new_one() {
    for name in NAMES {
        let operations = Scene::operations(name);
        assert!(operations >= 5, "create, write, sync, rename, sync: {operations}");
        let mut killed = 0;
        for at in 0..operations {
            let scene = Scene::new(name);
            let new = scene.new_file();
            let status = sys::in_forked_child(|| {
                let watch = Watch::over(scene.out());
                watch.plan(Fault::Kill, at, false);
                scene.cohort().mirror().unwrap();
                true
            });
            killed += usize::from(status.is_none());
            let what = format!("{name}, killed before operation {at} of {operations}");
            scene.is_old_or_new(&new, &what);
            scene.is_put_right(&new, &what);
        }
        assert_eq!(killed, operations);
    }
}

#[test]
fn a_disk_that_fails_at_any_step_leaves_the_old_mirror_or_the_new_one_and_is_told() {
    for name in NAMES {
        let operations = Scene::operations(name);
        for at in 0..operations {
            for fault in [Fault::Errno(libc::ENOSPC), Fault::Errno(libc::EIO), Fault::Short] {
                let scene = Scene::new(name);
                let new = scene.new_file();
                let what = format!("{name}, {fault:?} at operation {at} of {operations}");
                let watch = Watch::over(scene.out());
                watch.plan(fault, at, false);
                let mirrored = scene.cohort().mirror();
                match fault {
                    // The rest is written by another call.
                    Fault::Short => assert!(mirrored.is_ok(), "{what}"),
                    Fault::Errno(errno) => {
                        let e = mirrored.unwrap_err();
                        assert_eq!(e.is_no_space(), errno == libc::ENOSPC, "{what}: {e}");
                    }
                    Fault::Kill => unreachable!("it is not among them"),
                }
                drop(watch);
                scene.is_old_or_new(&new, &what);
                scene.is_put_right(&new, &what);
            }
        }
    }
}

/// The story: a compaction publishes its snapshot and dies, or fails, over the mirror. There is nothing new after that, and yet
/// the next one has something to do.
#[test]
fn a_mirror_that_a_compaction_could_not_write_is_written_by_the_next_though_nothing_is_new() {
    for at in 0..Scene::operations("m.json") {
        let scene = Scene::new("m.json");
        let new = scene.new_file();
        let cohort = scene.cohort();
        let watch = Watch::over(scene.out());
        watch.plan(Fault::Errno(libc::EIO), at, false);
        assert!(matches!(cohort.compact().unwrap(), crate::Compaction::Folded { seq: 4, .. }));
        assert!(cohort.mirror_failure().is_some(), "operation {at}");
        drop(watch);
        assert_eq!(cohort.compact().unwrap(), crate::Compaction::Nothing);
        assert_eq!(cohort.mirror_failure(), None);
        scene.is_put_right(&new, &format!("operation {at}"));
    }
}
