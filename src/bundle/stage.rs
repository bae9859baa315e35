//! A bundle while it is made: its files in a staging directory that is locked as long as its writer lives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::commit;
use super::manifest::{BundleFile, Manifest, Place, check_name, copy, measure};
use super::{Bundle, Fold};
use crate::cohort::Cohort;
use crate::error::{Error, Kind, Result};
use crate::names;
use crate::record::Batch;
use crate::sys::{self, Dir, LockFile, Names};
use crate::value;

/// How often staging begins anew after a cleaner took it for abandoned.
const TRIES: u32 = 16;
/// How many older versions are kept unless something else is asked for.
const KEEP: usize = 1;

/// A bundle that is being put together. What stands in its directory at the commit is what it has. Dropped without a commit, it
/// leaves nothing.
#[derive(Debug)]
pub struct NewBundle {
    cohort: Cohort,
    key: String,
    keep: usize,
    staging: Staging,
    /// What was copied here, to be held against what is there at the commit.
    copied: BTreeMap<String, (u64, u32)>,
}

/// A value that is about to be committed.
pub(super) struct Value {
    pub(super) json: String,
    pub(super) nonfinite: bool,
}

impl Value {
    fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Value> {
        let refused = |what: String| Error::invalid(format!("the value cannot be taken as JSON: {what}"));
        let mut text = Vec::new();
        let nonfinite = value::encode(value, &mut text).map_err(|fault| refused(fault.to_string()))?;
        let json = String::from_utf8(text).map_err(|e| refused(e.to_string()))?;
        // In its record it stands one level deeper.
        value::check(&format!("{{\"value\":{json}}}"), &mut Vec::new())
            .map_err(|fault| refused(fault.to_string()))?;
        Ok(Value { json, nonfinite })
    }
}

impl NewBundle {
    pub(super) fn begin(cohort: &Cohort, key: &str) -> Result<NewBundle> {
        names::key_directory(key)?;
        Batch::new().delete(key)?;
        if !matches!(cohort.settings().fold(), Fold::Latest | Fold::Merge | Fold::Log) {
            let fold = cohort.settings().fold().name();
            return Err(Error::invalid(format!(
                "the fold `{fold}` makes something else of a bundle's record"
            ))
            .advise("commit bundles to a cohort whose fold is latest, merge or log"));
        }
        // Attached first: a file system whose locks cannot be believed is refused before anything is made.
        cohort.writer().attachment(cohort.timeout())?;
        let bundles = commit::bundles_of(cohort.home())?;
        // What cannot be removed now is no reason not to commit; `clean_bundles` tells of it.
        let _ = commit::remove_abandoned(cohort, &bundles);
        let staging = Staging::begin(bundles)?;
        let (cohort, key) = (cohort.clone(), key.to_string());
        Ok(NewBundle { cohort, key, keep: KEEP, staging, copied: BTreeMap::new() })
    }

    /// How many older versions are kept beside the new one; 1 unless this is called. Those that are not kept are removed after
    /// the commit, so who has the path of a version can read it while no more than so many follow.
    pub fn keep(&mut self, versions: usize) -> &mut NewBundle {
        self.keep = versions;
        self
    }

    /// Copies a file into the bundle.
    ///
    /// # Errors
    /// `is_conflict` if it was changed meanwhile, as far as its length and time tell; `is_unsafe_file` for a link, a fifo or a
    /// directory; `is_invalid` for a name that is taken or that no file of a bundle can have; `is_no_space`.
    pub fn add_file(&mut self, name: &str, source: impl AsRef<Path>) -> Result<&mut NewBundle> {
        let source = source.as_ref();
        check_name(name)?;
        let (Some(file), Some(dir)) = (source.file_name().and_then(|file| file.to_str()), source.parent())
        else {
            return Err(Error::invalid("no file has this path, or its name is not UTF-8").at(source));
        };
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let from = Dir::open(dir)?.open_read(file, Names::Several).map_err(|e| match e.is_unsafe_file() {
            true => e.advise("add a regular file: of a link, the file that it leads to"),
            false => e,
        })?;
        self.add(name, |to| copy(&from, to))
    }

    /// Adds a file with these bytes.
    ///
    /// # Errors
    /// As [`add_file`](NewBundle::add_file).
    pub fn add_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<&mut NewBundle> {
        check_name(name)?;
        self.add(name, |to| {
            to.write_at(bytes, 0).map_err(|short| short.error)?;
            Ok((bytes.len() as u64, crc32fast::hash(bytes)))
        })
    }

    fn add(
        &mut self,
        name: &str,
        fill: impl FnOnce(&sys::File) -> Result<(u64, u32)>,
    ) -> Result<&mut NewBundle> {
        self.staging.check_ours()?;
        let files = &self.staging.files;
        if files.exists(name)? {
            return Err(taken(name));
        }
        let file = files.create(name)?;
        let filled = fill(&file).and_then(|measured| file.sync_all().map(|()| measured));
        match filled {
            Ok(measured) => {
                self.copied.insert(name.to_string(), measured);
                Ok(self)
            }
            Err(e) => {
                let _ = files.remove(name);
                Err(e)
            }
        }
    }

    /// Makes an empty file and returns its path, for functions that save to one. They may write to the file or replace it, and are
    /// done with it before the commit, which syncs it.
    ///
    /// # Errors
    /// As [`add_bytes`](NewBundle::add_bytes).
    pub fn create(&mut self, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        self.add(name, |_| Ok((0, 0)))?;
        self.copied.remove(name);
        Ok(self.path().join(name))
    }

    /// The directory that the files stand in until the commit: for functions that save several files into one.
    pub fn path(&self) -> &Path {
        self.staging.files.path()
    }

    /// Commits the files with a value: all of it is the key's bundle from now on, and survives a power cut; or none of it.
    ///
    /// # Errors
    /// `is_unsafe_file` or `is_invalid` for a link, a directory or anything else in its directory that is no file of a bundle, and
    /// `is_corruption` for a copied file that is not what was copied. Else as [`append_durable`](Cohort::append_durable). After
    /// any error but `is_durability_unknown` the key has the bundle that it had.
    pub fn commit<T: Serialize + ?Sized>(self, value: &T) -> Result<Bundle> {
        self.staging.check_ours()?;
        let value = Value::encode(value)?;
        let files = self.settle()?;
        let manifest = Manifest::text(&self.key, &value.json, value.nonfinite, &files)?;
        self.staging.finish(&self.key, &manifest)?;
        let prepared = commit::Prepared { key: &self.key, keep: self.keep, value, files, manifest };
        commit::run(&self.cohort, &self.staging, prepared)
    }

    /// Every file reaches the medium, and is measured there.
    fn settle(&self) -> Result<Vec<BundleFile>> {
        let dir = &self.staging.files;
        let mut names = Vec::new();
        for name in dir.all_names()? {
            let name = name.into_string().map_err(|name| {
                Error::invalid("the name of a file in a bundle must be UTF-8").at(&dir.path().join(name))
            })?;
            check_name(&name)?;
            names.push(name);
        }
        names.sort_unstable();
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            let file = dir.open_read(&name, Names::One).map_err(|e| match e.is_unsafe_file() {
                true => e.advise("a bundle has regular files only, each with one name; remove what is none"),
                false => e,
            })?;
            file.sync_all()?;
            let (bytes, crc32) = measure(&file)?;
            if self.copied.get(&name).is_some_and(|copied| *copied != (bytes, crc32)) {
                return Err(Error::corruption("the file is not what was copied here").at(file.path()));
            }
            files.push(BundleFile { name, bytes, crc32 });
        }
        match self.copied.keys().find(|name| files.binary_search_by(|file| file.name.cmp(name)).is_err()) {
            Some(gone) => Err(Error::new(Kind::NotFound, "a file that was copied here is gone")
                .at(&dir.path().join(gone))
                .advise("see who removes files there")),
            None => Ok(files),
        }
    }
}

fn taken(name: &str) -> Error {
    Error::invalid(format!("there is a file {name:?} in the bundle already")).advise("give it another name")
}

/// A directory that becomes a version, in one that is locked as long as its writer lives.
pub(super) struct Staging {
    pub(super) bundles: Dir,
    pub(super) files: Dir,
    pub(super) dir: Dir,
    pub(super) random: u64,
    lock: LockFile,
}

impl Staging {
    fn begin(bundles: Dir) -> Result<Staging> {
        for _ in 0..TRIES {
            let random = sys::random_u64();
            if let Some((dir, lock)) = make_locked(&bundles, &names::staging(random))? {
                dir.make_sub(names::STAGED_FILES)?;
                let files = dir.sub(names::STAGED_FILES)?;
                return Ok(Staging { bundles, files, dir, random, lock });
            }
        }
        Err(Error::new(Kind::Io, "every staging directory was removed by others as soon as it was made")
            .at(bundles.path())
            .advise("nothing was written; see who removes directories there"))
    }

    /// A forked child has its parent's staging directory in view, and nothing to do with it.
    fn check_ours(&self) -> Result<()> {
        if self.lock.is_ours() {
            return Ok(());
        }
        Err(Error::invalid("the bundle was begun before a fork: it is the parent's")
            .at(self.dir.path())
            .advise("begin another one in the child"))
    }

    /// Writes the manifest and where this goes, and syncs all of it but the version's name.
    fn finish(&self, key: &str, manifest: &str) -> Result<()> {
        for (dir, name, text) in [
            (&self.files, names::MANIFEST, manifest),
            (&self.dir, names::STAGED_PLACE, Place::text(key)?.as_str()),
        ] {
            let file = dir.create(name)?;
            file.write_at(text.as_bytes(), 0).map_err(|short| short.error)?;
            file.sync_all()?;
            dir.sync()?;
        }
        // So that after a power cut, too, what is left of staging tells of a version that no record names.
        self.bundles.sync()
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Whatever stays is found by the next writer.
        if self.lock.is_ours() {
            let _ = remove(&self.bundles, &self.dir, self.random);
        }
    }
}

impl std::fmt::Debug for Staging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Staging({})", self.dir.path().display())
    }
}

/// The lock goes last: while there is anything else, who finds it can tell whether its writer lives.
fn remove(bundles: &Dir, dir: &Dir, random: u64) -> Result<()> {
    remove_staging(bundles, dir, &names::staging(random))
}

pub(super) fn remove_staging(bundles: &Dir, dir: &Dir, name: &str) -> Result<()> {
    dir.remove_tree(names::STAGED_FILES)?;
    dir.remove(names::STAGED_PLACE)?;
    dir.remove(names::LOCK)?;
    bundles.remove_tree(name).map(drop)
}

/// Makes a directory with a lock that is held; `None`: a cleaner has taken it for abandoned meanwhile.
fn make_locked(bundles: &Dir, name: &str) -> Result<Option<(Dir, LockFile)>> {
    bundles.make_sub(name)?;
    let dir = match bundles.sub(name) {
        Err(e) if e.is_not_found() => return Ok(None),
        other => other?,
    };
    match dir.create(names::LOCK) {
        // A cleaner has made one, or has removed the directory already.
        Err(e) if e.is_taken() || e.is_not_found() => return Ok(None),
        made => drop(made?),
    }
    let lock = match LockFile::open(&dir, names::LOCK) {
        Err(e) if e.is_not_found() => return Ok(None),
        other => other?,
    };
    let held = lock.keep_exclusive()? && lock.is_named(&dir, names::LOCK)?;
    Ok(held.then_some((dir, lock)))
}

#[cfg(all(test, target_os = "linux", not(tallyfold_portable)))]
mod tests {
    #![allow(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        reason = "tests write the files that are added"
    )]

    use std::fs;

    use crate::{Cohort, Settings, Store, sys};

    fn cohort() -> (tempfile::TempDir, Cohort) {
        let dir = tempfile::tempdir().unwrap();
        let cohort = Store::open(dir.path().join("store")).unwrap().create("c", Settings::latest()).unwrap();
        (dir, cohort)
    }

    #[test]
    fn a_file_that_is_changed_while_it_is_copied_is_refused() {
        let (dir, cohort) = cohort();
        let source = dir.path().join("source");
        let change: [fn(&std::path::Path); 3] = [
            |source| fs::write(source, vec![1; 3 << 20]).unwrap(),
            |source| fs::OpenOptions::new().write(true).open(source).unwrap().set_len(1 << 20).unwrap(),
            |source| {
                let later = std::time::SystemTime::now() + std::time::Duration::from_secs(7);
                fs::OpenOptions::new().write(true).open(source).unwrap().set_modified(later).unwrap();
            },
        ];
        for change in change {
            fs::write(&source, vec![0; 2 << 20]).unwrap();
            let mut new = cohort.bundle("k").unwrap();
            let changed = source.clone();
            sys::at_step("a part of a file copied", 0, move || change(&changed));
            let error = new.add_file("x", &source).unwrap_err();
            assert!(error.is_conflict() && error.to_string().contains("changed while"), "{error}");
            // Its writer has ended.
            new.add_file("x", &source).unwrap();
            let bundle = new.commit(&1).unwrap();
            assert_eq!(fs::read(bundle.file("x").unwrap()).unwrap(), fs::read(&source).unwrap());
        }
    }

    #[test]
    fn the_child_of_a_fork_leaves_its_parents_bundle_alone_and_may_commit_one_of_its_own() {
        let (_dir, cohort) = cohort();
        let mut new = cohort.bundle("k").unwrap();
        new.add_bytes("x", b"parent").unwrap();
        let mut slot = Some(new);
        let status = sys::in_forked_child(|| {
            let mut inherited = slot.take().unwrap();
            let refused = inherited.add_bytes("y", b"child").is_err_and(|e| e.to_string().contains("fork"));
            let refused = refused && inherited.commit(&"child").is_err_and(|e| e.is_invalid());
            // It is its parent who lives: the child must not take what is staged for abandoned either.
            let mut own = cohort.bundle("k").unwrap();
            own.add_bytes("x", b"child").unwrap();
            refused && own.commit(&"child").is_ok()
        });
        assert_eq!(status, Some(0));
        let bundle = slot.unwrap().commit(&"parent").unwrap();
        assert_eq!(fs::read(bundle.file("x").unwrap()).unwrap(), b"parent");
        assert_eq!((bundle.seq(), bundle.files().len()), (2, 1));
    }

    #[test]
    fn a_child_that_lives_on_does_not_keep_its_dead_parents_staging() {
        let (dir, cohort) = cohort();
        let root = dir.path();
        let pipe = sys::Pipe::new().unwrap();
        let status = sys::in_forked_child(|| {
            let cohort = Store::open_existing(root.join("store")).unwrap().cohort("c").unwrap();
            let _new = cohort.bundle("k").unwrap();
            sys::fork_and_linger(&pipe);
            sys::kill_self();
            false
        });
        assert_eq!(status, None, "it was killed");
        cohort.bundle("other").unwrap().commit(&1).unwrap();
        let left: Vec<_> = fs::read_dir(cohort.path().join("bundles"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["other"]);
        pipe.release();
    }
}
