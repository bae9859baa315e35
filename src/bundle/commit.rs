//! How a staged bundle becomes a key's newest version, and how versions go: steps 2 to 4, and what the dead have left of them.

use std::sync::Arc;

use super::manifest::{BundleFile, Committed, Place};
use super::stage::{Staging, Value, remove_staging};
use super::{Bundle, Fold, Newest, Record};
use crate::cohort::Cohort;
use crate::error::Result;
use crate::home::Home;
use crate::names;
use crate::record::Batch;
use crate::sys::{self, Dir, LockFile, Names, Patience};

/// The most that `place.json` may hold: a key that fits a directory's name.
const PLACE_BYTES: u64 = 1 << 16;

/// A bundle with all its files on the medium.
pub(super) struct Prepared<'a> {
    pub(super) key: &'a str,
    pub(super) keep: usize,
    pub(super) value: Value,
    pub(super) files: Vec<BundleFile>,
    pub(super) manifest: String,
}

/// The directory of a cohort's bundles, made unless it is there.
pub(super) fn bundles_of(home: &Home) -> Result<Dir> {
    made_sub(&home.dir, names::BUNDLES)
}

fn made_sub(dir: &Dir, name: &str) -> Result<Dir> {
    match dir.sub(name) {
        Err(e) if e.is_not_found() => {
            dir.make_sub(name)?;
            dir.sub(name)
        }
        other => other,
    }
}

pub(super) fn run(cohort: &Cohort, staging: &Staging, prepared: Prepared<'_>) -> Result<Bundle> {
    let Prepared { key, keep, value, files, manifest } = prepared;
    let home = cohort.home();
    let key_dir = made_sub(&staging.bundles, &names::key_directory(key)?)?;
    // The names that lead to the version, whoever made them.
    staging.bundles.sync()?;
    home.dir.sync()?;
    // It stays as long as the cohort does: two files would be two locks.
    let lock = LockFile::open_or_make(&key_dir, names::LOCK)?;
    let _held = lock.exclusive(&Patience::of(cohort.timeout()))?;
    let mut committed = Committed {
        version: names::version(cohort.last_seq()?, staging.random),
        files: files.len() as u64,
        bytes: files.iter().map(|file| file.bytes).sum(),
        manifest_crc32: crc32fast::hash(manifest.as_bytes()),
        previous: Vec::new(),
    };
    if let Newest::Is(newest) = cohort.newest_bundle(key)? {
        for version in [newest.committed.version].into_iter().chain(newest.committed.previous).take(keep) {
            if key_dir.exists(&version)? {
                committed.previous.push(version);
            }
        }
    }
    let mut batch = Batch::new();
    batch.put_text(key, &committed.record(&value.json)?, value.nonfinite)?;
    staging.dir.rename_into(names::STAGED_FILES, &key_dir, &committed.version)?;
    let placed = key_dir.sync().and_then(|()| key_dir.sub(&committed.version));
    let (dir, seq) = match placed.and_then(|dir| Ok((dir, cohort.append_batch_durable(batch)?))) {
        Ok(appended) => appended,
        Err(e) => {
            // Nothing was written, mostly: the version goes if the state says so, too. If that cannot be done now, the next
            // writer does it.
            if !e.is_durability_unknown() {
                let _ = settle(cohort, key, &key_dir);
            }
            return Err(e);
        }
    };
    let unfinished = tidy(&key_dir, Some(&committed)).err().map(Arc::new);
    let Value { mut json, mut nonfinite } = value;
    if *cohort.settings().fold() == Fold::Merge
        && let Ok(Newest::Is(merged)) = cohort.newest_bundle(key)
        && merged.seq == seq
    {
        (json, nonfinite) = (merged.json, merged.nonfinite);
    }
    Ok(Bundle {
        key: key.to_string(),
        seq,
        json,
        nonfinite,
        committed,
        files,
        key_dir: Arc::new(key_dir),
        dir: Arc::new(dir),
        unfinished,
    })
}

/// Step 4: leads `latest` to the version that a durable record names, and removes every one that it does not name. For the
/// holder of the key's lock.
fn tidy(key_dir: &Dir, committed: Option<&Committed>) -> Result<()> {
    match committed {
        Some(committed) => lead_latest(key_dir, &committed.version)?,
        None if key_dir.read_link(names::LATEST)?.is_some() => drop(key_dir.remove(names::LATEST)?),
        None => {}
    }
    let mut gone = Vec::new();
    for name in key_dir.names()? {
        if names::parse_version(&name).is_some() && !committed.is_some_and(|committed| committed.names(&name))
        {
            let retired = names::retired(sys::random_u64());
            // At once, so that nobody who comes now sees a part of it.
            key_dir.rename(&name, &retired)?;
            gone.push(retired);
        } else if names::is_retired(&name) {
            gone.push(name);
        } else if names::is_fresh_latest(&name) {
            key_dir.remove(&name)?;
        }
    }
    // Else a power cut could bring the name back without the files.
    key_dir.sync()?;
    if gone.is_empty() {
        return Ok(());
    }
    gone.iter().try_for_each(|name| key_dir.remove_tree(name).map(drop))?;
    // Before staging goes, which would tell of them.
    key_dir.sync()
}

/// A link is replaced by a rename, and never followed here.
fn lead_latest(key_dir: &Dir, version: &str) -> Result<()> {
    if key_dir.read_link(names::LATEST)?.is_some_and(|leads_to| leads_to == version) {
        return Ok(());
    }
    let fresh = names::fresh_latest(sys::random_u64());
    match key_dir.symlink(version, &fresh)? {
        true => key_dir.rename(&fresh, names::LATEST),
        // A file system without links: then there is none.
        false => Ok(()),
    }
}

/// Makes the directory of a key what the state says. For the holder of the key's lock.
fn settle(cohort: &Cohort, key: &str, key_dir: &Dir) -> Result<()> {
    let newest = cohort.newest_bundle(key)?;
    // What is removed stays removed, so the records that say so must stay, too.
    cohort.sync()?;
    match newest {
        Newest::Is(Record { committed, .. }) => tidy(key_dir, Some(&committed)),
        Newest::None => tidy(key_dir, None),
        Newest::Unknown => Ok(()),
    }
}

/// Removes what the dead left in staging, and the versions that they placed and no record names. Who lives holds a lock.
pub(super) fn remove_abandoned(cohort: &Cohort, bundles: &Dir) -> Result<()> {
    let mut first = Ok(());
    for name in bundles.names()?.iter().filter(|name| names::is_staging(name)) {
        let removed = remove_if_abandoned(cohort, bundles, name);
        first = first.and(removed);
    }
    first
}

fn remove_if_abandoned(cohort: &Cohort, bundles: &Dir, name: &str) -> Result<()> {
    let Some(dir) = unless_gone(bundles.sub(name))? else { return Ok(()) };
    // Without a lock its writer has only just begun, and begins anew when it finds ours.
    let Some(lock) = unless_gone(LockFile::open_or_make(&dir, names::LOCK))? else { return Ok(()) };
    let Some(_held) = lock.try_exclusive()? else { return Ok(()) };
    if !lock.is_named(&dir, names::LOCK)? {
        return Ok(());
    }
    if !dir.exists(names::STAGED_FILES)?
        && let Some(key) = place(&dir)?
        && !settle_key(cohort, bundles, &key)?
    {
        return Ok(());
    }
    remove_staging(bundles, &dir, name)
}

/// The key of a staged version; `None` where that was not on the medium yet, and so no version was placed.
fn place(dir: &Dir) -> Result<Option<String>> {
    let Some(file) = unless_gone(dir.open_read(names::STAGED_PLACE, Names::One))? else { return Ok(None) };
    let bytes = file.read_all(PLACE_BYTES)?;
    Ok(serde_json::from_slice(&bytes).ok().map(|place: Place| place.key))
}

/// [`settle`], unless somebody else is at work there: then `false`.
fn settle_key(cohort: &Cohort, bundles: &Dir, key: &str) -> Result<bool> {
    let Some(key_dir) = unless_gone(bundles.sub(&names::key_directory(key)?))? else { return Ok(true) };
    let lock = LockFile::open_or_make(&key_dir, names::LOCK)?;
    match lock.try_exclusive()? {
        Some(_held) => settle(cohort, key, &key_dir).map(|()| true),
        None => Ok(false),
    }
}

fn unless_gone<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(e) if e.is_not_found() => Ok(None),
        other => other.map(Some),
    }
}

impl Cohort {
    /// Removes the versions of bundles that the state does not name any more: those of keys that were deleted or got a value
    /// that is no bundle, and what the dead have left. A commit does that for its own key. Keys that somebody is at work with
    /// are left out.
    ///
    /// # Errors
    /// The first that there was; the other keys have been seen to all the same.
    pub fn clean_bundles(&self) -> Result<()> {
        let Some(bundles) = unless_gone(self.home().dir.sub(names::BUNDLES))? else { return Ok(()) };
        self.writer().attachment(self.timeout())?;
        let mut first = remove_abandoned(self, &bundles);
        for key in bundles.names()?.iter().filter_map(|name| names::parse_key_directory(name)) {
            let settled = settle_key(self, &bundles, &key).map(drop);
            first = first.and(settled);
        }
        first
    }
}
