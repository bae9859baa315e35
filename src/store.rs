//! A store: a directory of cohorts. How it and they come into being.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cohort::Cohort;
use crate::error::{Error, Kind, Result};
use crate::format::Link;
use crate::home::{Home, no_shared_memory};
use crate::names::{self, Purpose};
use crate::ready::FIRST_RESERVE;
use crate::record::Seq;
use crate::refold;
use crate::segment::{Owner, Segment};
use crate::settings::{DOCUMENT_VERSION, LockClass, Settings};
use crate::sys::{self, Dir, LockFile, Names, Reach};

/// The most that `store.json` and `cohort.json` may hold.
const DOCUMENT_BYTES: u64 = 1 << 20;
/// How often the making of a cohort begins anew after a cleaner took it for abandoned.
const CREATE_TRIES: u32 = 16;
/// A directory of cohorts.
///
/// ```
/// # let dir = tempfile::tempdir()?; let path = dir.path().join("store");
/// use tallyfold::{Settings, Store};
///
/// let store = Store::open(&path)?;
/// let index = store.create("index", Settings::latest())?;
/// index.append("run-1:TRAINING", &serde_json::json!({"auc": 0.61}))?;
/// assert_eq!(store.cohorts()?, ["index"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    dir: Arc<Dir>,
    id: [u8; 16],
}

#[derive(Serialize, Deserialize)]
struct Document {
    tallyfold: u32,
    id: String,
}

impl Store {
    /// Opens the store at a path, making it (mode 0700) if there is nothing there. Of several processes that make it at once,
    /// one does and the others use what it made.
    ///
    /// # Errors
    /// `is_invalid` if the directory holds other things and no `store.json`.
    pub fn open(path: impl AsRef<Path>) -> Result<Store> {
        let path = path.as_ref();
        match Store::open_existing(path) {
            Err(e) if e.is_not_found() => {}
            other => return other,
        }
        Dir::make(path)?;
        let dir = Dir::open(path)?;
        let ours = |name: &String| {
            name == names::STORE
                || names::is_new_cohort(name)
                || names::is_scratch(name)
                || names::parse_temporary(name).is_some()
        };
        if let Some(other) = dir.names()?.iter().find(|name| !ours(name)) {
            // Another process may have made the store, and a cohort in it, since we looked.
            if dir.exists(names::STORE)? {
                return Store::open_existing(path);
            }
            return Err(Error::invalid(format!(
                "not a store: there is no {} in it, but {other:?}",
                names::STORE
            ))
            .at(path)
            .advise("name an empty or a new directory"));
        }
        let document = Document { tallyfold: DOCUMENT_VERSION, id: new_uuid() };
        let text = serde_json::to_string(&document).map_err(|e| Error::invalid(e.to_string()))? + "\n";
        let temporary = names::temporary(Purpose::Json, sys::random_u64());
        let written = dir.create(&temporary).and_then(|file| {
            file.write_at(text.as_bytes(), 0).map_err(|short| short.error)?;
            file.sync_all()
        });
        if let Err(e) = written {
            let _ = dir.remove(&temporary);
            return Err(e);
        }
        // A link does not replace: the loser of a race uses the winner's.
        if dir.link(&temporary, names::STORE)? || dir.exists(names::STORE)? {
            dir.remove(&temporary)?;
        } else {
            dir.rename(&temporary, names::STORE)?;
        }
        dir.sync()?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Dir::open(parent)?.sync()?;
        Store::open_existing(path)
    }

    /// Opens the store at a path, changing nothing: also on read-only media.
    ///
    /// # Errors
    /// `is_not_found` if there is none.
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Store> {
        let path = path.as_ref();
        let none = |e: Error| match e.is_not_found() {
            true => e.become_kind(Kind::NotFound, "there is no store here"),
            false => e,
        };
        let dir = Dir::open(path).map_err(none)?;
        let text = read_document(&dir, names::STORE, Names::Several).map_err(none)?;
        let damaged = |what: String| Error::corruption(what).at(&path.join(names::STORE));
        let document: Document = serde_json::from_str(&text)
            .map_err(|e| damaged(format!("the store's document is damaged: {e}")))?;
        if document.tallyfold > DOCUMENT_VERSION {
            return Err(Error::new(Kind::Unsupported, "the store was made by a newer version")
                .at(path)
                .advise("use that version of tallyfold"));
        }
        let id = parse_uuid(&document.id).ok_or_else(|| damaged("the store's id is no UUID".into()))?;
        Ok(Store { dir: Arc::new(dir), id })
    }

    /// Its id, a UUID that it got when it was made: no other store has it, but for copies of this one.
    pub fn id(&self) -> String {
        uuid(u128::from_be_bytes(self.id))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The names of all cohorts, sorted. Other things in the store's directory are left out.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn cohorts(&self) -> Result<Vec<String>> {
        let mut cohorts = Vec::new();
        for name in self.dir.names()? {
            let Some(cohort) = names::parse_cohort_directory(&name) else { continue };
            // One that has lost its document is still a cohort: opening it tells what is wrong.
            if let Ok(dir) = self.dir.sub(&name)
                && (dir.exists(names::COHORT)? || dir.exists(names::LOCK)?)
            {
                cohorts.push(cohort);
            }
        }
        cohorts.sort_unstable();
        Ok(cohorts)
    }

    /// Opens a cohort. Nothing is locked or written until it is used.
    ///
    /// # Errors
    /// `is_not_found` if there is none, `is_invalid` for a name no cohort can have.
    pub fn cohort(&self, name: &str) -> Result<Cohort> {
        let directory = names::cohort_directory(name)?;
        let none = |e: Error| match e.is_not_found() {
            true => e.become_kind(Kind::NotFound, format!("there is no cohort {name:?} in this store")),
            false => e,
        };
        let dir = self.dir.sub(&directory).map_err(none)?;
        let settings = settings(&dir).map_err(none)?;
        Ok(Cohort::new(self.home(Arc::new(dir), name, settings)?))
    }

    /// A cohort's directory.
    pub(crate) fn directory(&self, name: &str) -> Result<Dir> {
        self.dir.sub(&names::cohort_directory(name)?)
    }

    pub(crate) fn reach(&self) -> Reach {
        sys::file_system(&self.dir).map_or(Reach::Unknown, |system| system.reach)
    }

    /// Settings with the class of lock that they get here.
    pub(crate) fn fitted(&self, mut settings: Settings) -> Result<Settings> {
        settings.check()?;
        settings.lock = self.fitting(settings.lock)?;
        Ok(settings)
    }

    pub(crate) fn home(&self, dir: Arc<Dir>, name: &str, settings: Settings) -> Result<Arc<Home>> {
        let system = sys::file_system(&dir)?;
        Ok(Arc::new(Home {
            dir,
            owner: Arc::new(Owner { store: self.id, cohort: name.to_string() }),
            settings,
            reach: system.reach,
            file_system: system.name,
            shares_memory: system.shares_memory,
        }))
    }

    /// Makes a cohort, whole and on the medium before it can be seen, or opens the one of that name if its settings are the
    /// same.
    ///
    /// # Errors
    /// `is_conflict` if it exists with other settings, `is_invalid` for a name or settings that cannot be.
    pub fn create(&self, name: &str, mut settings: Settings) -> Result<Cohort> {
        settings.check()?;
        let directory = names::cohort_directory(name)?;
        let any_lock = settings.lock == LockClass::Auto;
        settings.lock = self.fitting(settings.lock)?;
        if !self.dir.exists(&directory)? {
            self.remove_abandoned()?;
            for _ in 0..CREATE_TRIES {
                if !matches!(self.make(&directory, |dir| self.fill(dir, name, &settings))?, Made::Lost) {
                    break;
                }
            }
        }
        let cohort = self.cohort(name)?;
        if any_lock {
            settings.lock = cohort.settings().lock;
        }
        if *cohort.settings() != settings {
            return Err(Error::new(
                Kind::Conflict,
                format!("the cohort {name:?} exists with other settings"),
            )
            .at(&cohort.home().dir.path().join(names::COHORT))
            .advise("open it as it is, or choose another name"));
        }
        Ok(cohort)
    }

    /// The lock class of a cohort that is made here.
    fn fitting(&self, lock: LockClass) -> Result<LockClass> {
        let system = sys::file_system(&self.dir)?;
        match lock {
            LockClass::Auto if system.shares_memory => Ok(LockClass::Memory),
            LockClass::Auto => Ok(LockClass::File),
            LockClass::Memory if !system.shares_memory => Err(no_shared_memory(&system.name)
                .at(self.dir.path())
                .advise("name the class \"file\", or \"auto\"")),
            named => Ok(named),
        }
    }

    /// Makes a new cohort of all records of another one, with another fold or other settings: the same seqs, the same batches,
    /// the same times, copies of the bundles that they name. Returns the last seq in it, which was the last one when this began;
    /// what is appended to the old cohort after that stays there alone. The old cohort is not changed.
    ///
    /// The new one is whole and on the medium before it can be seen; a crash leaves nothing else but what the next one who makes
    /// a cohort here removes.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?; let store = tallyfold::Store::open(dir.path().join("s"))?;
    /// use tallyfold::Settings;
    /// let events = store.create("events", Settings::log())?;
    /// events.append("run-1", &serde_json::json!({"auc": 0.61}))?;
    /// assert_eq!(store.refold("events", "index", Settings::latest())?, 1);
    /// assert_eq!(store.cohort("index")?.view()?.get("run-1")?.unwrap().json(), r#"{"auc":0.61}"#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `is_conflict` if there is a cohort of the new name, or a bundle was replaced meanwhile; `is_compacted` if records are gone ([`Error::seq`]: the first one
    /// still there), `is_invalid` if the new fold or `max_body_bytes` refuses a record ([`Error::seq`]).
    pub fn refold(&self, cohort: &str, new: &str, mut settings: Settings) -> Result<Seq> {
        settings.check()?;
        names::cohort_directory(new)?;
        let old = self.cohort(cohort)?;
        settings.lock = self.fitting(settings.lock)?;
        self.make_new(new, |dir| {
            self.fill(dir, new, &settings)?;
            let home = self.home(Arc::clone(dir), new, settings.clone())?;
            refold::run(&old, &home)
        })
    }

    /// Makes a cohort that is filled from elsewhere; refused if its name is taken.
    pub(crate) fn make_new<T>(&self, name: &str, mut fill: impl FnMut(&Arc<Dir>) -> Result<T>) -> Result<T> {
        let directory = names::cohort_directory(name)?;
        let taken = || {
            let what = format!("there is a cohort {name:?} already");
            Error::new(Kind::Conflict, what).at(self.path()).advise("choose another name, or remove it")
        };
        if self.dir.exists(&directory)? {
            return Err(taken());
        }
        self.remove_abandoned()?;
        for _ in 0..CREATE_TRIES {
            match self.make(&directory, &mut fill)? {
                Made::Whole(made) => return Ok(made),
                Made::Taken => return Err(taken()),
                Made::Lost => {}
            }
        }
        let what = "what was made was removed again and again before it was whole";
        Err(Error::new(Kind::Conflict, what)
            .at(self.path())
            .advise("see who removes directories in this store"))
    }

    /// Makes a cohort under a name of its own and renames it into place. **Commit point: the rename.**
    fn make<T>(&self, directory: &str, fill: impl FnOnce(&Arc<Dir>) -> Result<T>) -> Result<Made<T>> {
        let fresh = names::new_cohort(sys::random_u64());
        if !self.dir.make_sub(&fresh)? {
            return Ok(Made::Lost);
        }
        let Some(dir) = unless_gone(self.dir.sub(&fresh))? else { return Ok(Made::Lost) };
        let Some(file) = unless_gone(dir.create(names::LOCK))? else { return Ok(Made::Lost) };
        // Held while the cohort is made: who finds it free knows that its maker is dead.
        let lock = LockFile::new(file);
        let Some(_held) = lock.try_exclusive()? else { return Ok(Made::Lost) };
        if !dir.exists(names::LOCK)? {
            return Ok(Made::Lost);
        }
        let dir = Arc::new(dir);
        // The store's document is on the medium before a cohort is: whoever made the store may have died over it.
        let made = fill(&dir).and_then(|made| {
            self.dir.sync()?;
            Ok((made, self.dir.rename_directory(&fresh, directory)?))
        });
        match made {
            Ok((made, true)) => {
                self.dir.sync()?;
                Ok(Made::Whole(made))
            }
            // Somebody else has made it meanwhile: what we made is of no use.
            Ok((_, false)) => {
                remove_with_content(&self.dir, &dir, &fresh)?;
                Ok(Made::Taken)
            }
            Err(e) => {
                let _ = remove_with_content(&self.dir, &dir, &fresh);
                Err(e)
            }
        }
    }

    fn fill(&self, dir: &Dir, name: &str, settings: &Settings) -> Result<()> {
        let document = dir.create(names::COHORT)?;
        document.write_at(settings.document()?.as_bytes(), 0).map_err(|short| short.error)?;
        document.sync_all()?;
        dir.create(names::COMPACT_LOCK)?.sync_all()?;
        let identity = Owner { store: self.id, cohort: name.to_string() }.identity(1);
        let first =
            Segment::make(dir, &names::segment(1), identity, FIRST_RESERVE.min(settings.segment_bytes))?;
        first.write_link(&Link::first(sys::wall_clock_us(), sys::boot_id()))?;
        first.sync()?;
        dir.sync()
    }

    /// Removes what makers of cohorts left who died over it. One that is at work holds its lock.
    fn remove_abandoned(&self) -> Result<()> {
        for name in self.dir.names()?.iter().filter(|name| names::is_new_cohort(name)) {
            let Ok(dir) = self.dir.sub(name) else { continue };
            match dir.open_write(names::LOCK) {
                Ok(file) => self.remove_if_abandoned(name, &dir, &LockFile::new(file))?,
                // It died before, or has only just begun: then it begins anew.
                Err(e) if e.is_not_found() => {
                    let _ = self.dir.remove_directory(name);
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Its maker renames it while it holds the lock: so if the lock can be had and it has its first name still, it is nobody's.
    fn remove_if_abandoned(&self, name: &str, dir: &Dir, lock: &LockFile) -> Result<()> {
        match lock.try_exclusive()? {
            Some(_held) if self.dir.exists(name)? => remove_with_content(&self.dir, dir, name),
            _ => Ok(()),
        }
    }
}

/// What became of the making of a cohort.
enum Made<T> {
    Whole(T),
    /// Somebody else has made one of that name.
    Taken,
    /// A cleaner took what we were making for abandoned.
    Lost,
}

fn unless_gone<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(e) if e.is_not_found() => Ok(None),
        other => other.map(Some),
    }
}

fn remove_with_content(parent: &Dir, dir: &Dir, name: &str) -> Result<()> {
    for inside in dir.names()? {
        match inside.as_str() {
            names::BUNDLES => drop(dir.remove_tree(&inside)?),
            _ => drop(dir.remove(&inside)?),
        }
    }
    parent.remove_directory(name).map(|_| ())
}

/// What a cohort's document says.
pub(crate) fn settings(dir: &Dir) -> Result<Settings> {
    let text = read_document(dir, names::COHORT, Names::One)?;
    let settings = Settings::from_json(&text).map_err(|e| match e.kind() {
        Kind::Invalid => e
            .become_kind(Kind::Corruption, "the cohort's document is damaged")
            .advise("restore it from a copy, or see what `tallyfold repair` would write in its place"),
        _ => e,
    });
    settings.map_err(|e| e.at(&dir.path().join(names::COHORT)))
}

fn read_document(dir: &Dir, name: &str, names: Names) -> Result<String> {
    let file = dir.open_read(name, names)?;
    String::from_utf8(file.read_all(DOCUMENT_BYTES)?)
        .map_err(|_| Error::corruption("the document is not UTF-8").at(file.path()))
}

fn new_uuid() -> String {
    // Version 4, variant 1, as RFC 9562 lays them out.
    let (high, low) = (sys::random_u64(), sys::random_u64());
    let high = high & 0xFFFF_FFFF_FFFF_0FFF | 0x4000;
    let low = low & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000;
    uuid(u128::from(high) << 64 | u128::from(low))
}

/// Its text.
fn uuid(number: u128) -> String {
    let hex = format!("{number:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

pub(crate) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&hex, 16).ok()?;
    (hex.len() == 32 && text.len() == 36).then(|| number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_store_is_the_one_in_its_document() {
        let temporary = tempfile::tempdir().unwrap();
        let store = Store::open(temporary.path().join("store")).unwrap();
        let document = read_document(&store.dir, names::STORE, Names::Several).unwrap();
        assert!(document.contains(&format!("\"{}\"", store.id())), "{document}");
        assert_eq!(Store::open_existing(store.path()).unwrap().id(), store.id());
    }

    /// The story: a cleaner opened the directory while its maker was at work; when the cleaner got the lock, the directory was a
    /// cohort with records in it, and the cleaner's descriptors led there.
    #[test]
    fn a_cohort_that_was_finished_while_a_cleaner_looked_at_it_is_not_removed() {
        let temporary = tempfile::tempdir().unwrap();
        let store = Store::open(temporary.path().join("store")).unwrap();
        let cohort = store.create("c", Settings::log()).unwrap();
        cohort.append("k", &1).unwrap();
        let dir = store.dir.sub("c").unwrap();
        let lock = LockFile::new(dir.open_write(names::LOCK).unwrap());
        store.remove_if_abandoned(&names::new_cohort(7), &dir, &lock).unwrap();
        assert_eq!(store.cohort("c").unwrap().append("k", &2).unwrap(), 2);
    }
}
