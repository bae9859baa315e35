//! Tests that need what no user has: failing calls, deaths between any two of them, forks, and somebody who interferes.
#![allow(clippy::disallowed_methods, reason = "tests look at the files as others see them")]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::*;
use crate::sys::{self, Fault, Watch};

const PATIENCE: Duration = Duration::from_secs(60);

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("a.json")
    }

    fn lock(&self) -> PathBuf {
        lock_path(self.file(), LockName::Appended)
    }

    fn leftovers(&self) -> Vec<OsString> {
        sys::list(self.dir.path()).unwrap().into_iter().filter(|name| names::is_temporary(name)).collect()
    }

    /// Writes what was not there before, durably: the second step of a file that begins as `[1]`.
    fn update(&self) -> crate::Result<Vec<u64>> {
        update_json(self.file(), &Options::new().indent(None), |old: Option<Vec<u64>>| {
            let mut list = old.unwrap_or_default();
            list.push(2);
            list
        })
    }

    fn begin(&self) {
        fs::write(self.file(), "[1]").unwrap();
    }

    fn content(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }
}

/// How many operations an update takes that replaces a file.
fn operations() -> usize {
    let place = Place::new();
    place.begin();
    let watch = Watch::over(place.dir.path());
    place.update().unwrap();
    watch.passed().len()
}

#[test]
fn whatever_fails_in_an_update_the_file_is_the_old_or_the_new_one_and_nothing_is_left_over() {
    let operations = operations();
    // Make the lock file, make the temporary one, write, sync, rename, sync the directory.
    assert_eq!(operations, 6);
    for errno in [libc::EIO, libc::ENOSPC] {
        for before in 0..operations {
            let place = Place::new();
            place.begin();
            let watch = Watch::over(place.dir.path());
            watch.plan(Fault::Errno(errno), before, false);
            let error = place.update().unwrap_err();
            let replaced = before == operations - 1;
            assert_eq!(place.content(), if replaced { "[1,2]\n" } else { "[1]" }, "{before}: {error}");
            assert_eq!(error.is_durability_unknown(), replaced, "{before}: {error}");
            let no_space = errno == libc::ENOSPC && !replaced;
            assert_eq!(error.is_no_space(), no_space, "{before}: {error}");
            if no_space && before > 0 {
                assert!(error.to_string().contains("the file is as it was"), "{before}: {error}");
            }
            assert_eq!(place.leftovers().len(), 0, "{before}");
            assert_eq!(place.update().unwrap().last(), Some(&2), "the lock is free and all is well");
        }
    }
}

#[test]
fn a_write_that_is_short_is_gone_on_with() {
    for before in 0..operations() {
        let place = Place::new();
        place.begin();
        let watch = Watch::over(place.dir.path());
        watch.plan(Fault::Short, before, false);
        let written = place.update();
        assert_eq!((written.unwrap(), place.content().as_str()), (vec![1, 2], "[1,2]\n"));
    }
}

#[test]
fn a_process_killed_before_any_operation_leaves_the_old_or_the_new_file_and_what_is_left_over_goes_later() {
    for before in 0..operations() {
        let place = Place::new();
        place.begin();
        let watch = Watch::over(place.dir.path());
        watch.plan(Fault::Kill, before, false);
        assert_eq!(sys::in_forked_child(|| place.update().is_ok()), None, "killed");
        watch.relent();
        let replaced = before == operations() - 1;
        assert_eq!(place.content(), if replaced { "[1,2]\n" } else { "[1]" }, "{before}");
        let left = place.leftovers();
        assert_eq!(left.len(), usize::from((2..=4).contains(&before)), "{before}: {left:?}");
        for name in &left {
            age(&place.dir.path().join(name));
        }
        place.update().unwrap();
        assert_eq!(place.leftovers().len(), 0, "{before}");
    }
}

/// As if nothing had been done to the file for two days, which is enough on any file system.
fn age(path: &Path) {
    let then = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
    fs::OpenOptions::new().write(true).open(path).unwrap().set_modified(then).unwrap();
}

#[test]
fn what_a_living_writer_has_begun_is_left_alone_however_old_it_looks() {
    let place = Place::new();
    let begun = AtomicFile::create(place.file(), &Options::new()).unwrap();
    age(begun.path());
    // Another process, which has not looked yet.
    let other = place.dir.path().join("b.json");
    assert_eq!(sys::in_forked_child(|| atomic_write(&other, b"1", &Options::new()).is_ok()), Some(0));
    assert_eq!(place.leftovers().len(), 1);
    begun.commit().unwrap();
    assert_eq!((place.content().as_str(), place.leftovers().len()), ("", 0));
}

#[test]
fn a_leftover_that_has_just_been_written_to_is_left_alone_though_nobody_has_it_locked() {
    let place = Place::new();
    let fresh = place.dir.path().join(".a.tallyfold-00000000000000aa.json");
    let old = place.dir.path().join(".a.tallyfold-00000000000000bb.json");
    fs::write(&fresh, b"").unwrap();
    fs::write(&old, b"").unwrap();
    age(&old);
    place.update().unwrap();
    assert!(fresh.exists() && !old.exists());
}

/// The story: a child of a fork, or what it calls when it exits, drops the locks that it has inherited, and `flock` then
/// unlocks the parent's.
#[test]
fn a_forked_child_that_drops_its_parents_lock_does_not_unlock_it() {
    let place = Place::new();
    let mut lock = Some(FileLock::exclusive(place.lock(), PATIENCE).unwrap());
    let child = sys::in_forked_child(|| {
        let inherited = lock.take().unwrap();
        let held = inherited.is_held();
        drop(inherited);
        // It can take its own, or not, as anybody else.
        !held && FileLock::try_exclusive(place.lock()).unwrap().is_none()
    });
    assert_eq!(child, Some(0));
    assert!(lock.as_ref().unwrap().is_held());
    assert!(FileLock::try_shared(place.lock()).unwrap().is_none(), "still locked");
    drop(lock);
    assert!(FileLock::try_exclusive(place.lock()).unwrap().is_some());
}

#[test]
fn a_child_that_lives_on_does_not_keep_its_dead_parents_lock() {
    let place = Place::new();
    let pipe = sys::Pipe::new().unwrap();
    let parent = sys::in_forked_child(|| {
        std::mem::forget(FileLock::exclusive(place.lock(), PATIENCE).unwrap());
        sys::fork_and_linger(&pipe);
        sys::kill_self();
        false
    });
    assert_eq!(parent, None, "killed");
    // The child may not have run yet, and lets go of it as soon as it does.
    drop(FileLock::exclusive(place.lock(), PATIENCE).unwrap());
    pipe.release();
}

#[test]
fn a_forked_child_that_drops_a_file_being_written_does_not_remove_it() {
    let place = Place::new();
    let mut file = Some(AtomicFile::create(place.file(), &Options::new()).unwrap());
    file.as_mut().unwrap().put(b"parent").unwrap();
    let child = sys::in_forked_child(|| {
        let mut inherited = file.take().unwrap();
        inherited.put(b"child").unwrap();
        let error = inherited.commit().unwrap_err();
        error.to_string().contains("before a fork")
    });
    assert_eq!(child, Some(0));
    file.unwrap().commit().unwrap();
    assert_eq!(place.content(), "parent");
}

#[cfg(all(target_os = "linux", not(tallyfold_portable)))]
mod interfering {
    use super::*;

    /// The story: who unlocks removes the lock file, while another has opened it and then locks what has no name any more, and
    /// a third makes a new one: two have the lock.
    #[test]
    fn a_lock_file_that_is_removed_or_replaced_between_opening_and_locking_is_opened_again() {
        for replace in [false, true] {
            let place = Place::new();
            let (lock, new) = (place.lock(), place.dir.path().join("new"));
            sys::at_step("lock file opened", 0, move || {
                fs::remove_file(&lock).unwrap();
                if replace {
                    fs::write(&new, b"").unwrap();
                    fs::rename(&new, &lock).unwrap();
                }
            });
            let had = FileLock::exclusive(place.lock(), PATIENCE).unwrap();
            assert!(had.is_held());
            assert!(
                FileLock::try_exclusive(place.lock()).unwrap().is_none(),
                "it is the one that others see"
            );
        }
    }

    #[test]
    fn a_lock_that_was_removed_under_its_holder_is_told_before_anything_is_overwritten() {
        let place = Place::new();
        place.begin();
        let error = update_json(place.file(), &Options::new(), |old: Option<Vec<u64>>| {
            fs::remove_file(place.lock()).unwrap();
            // As somebody who has the new lock file may do.
            place.update().unwrap();
            old.unwrap()
        })
        .unwrap_err();
        assert!(error.is_conflict() && error.to_string().contains("nothing was written"), "{error}");
        assert_eq!((place.content().as_str(), place.leftovers().len()), ("[1,2]\n", 0));
    }

    #[test]
    fn a_temporary_file_that_is_removed_before_it_is_locked_is_made_again() {
        let place = Place::new();
        let dir = place.dir.path().to_path_buf();
        sys::at_step("temporary file made", 0, move || {
            for name in sys::list(&dir).unwrap().iter().filter(|name| names::is_temporary(name)) {
                fs::remove_file(dir.join(name)).unwrap();
            }
        });
        place.update().unwrap();
        assert_eq!((place.content().as_str(), place.leftovers().len()), ("[2]\n", 0));
    }
}
