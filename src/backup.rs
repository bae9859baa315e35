//! Backups: a consistent copy of cohorts while writers go on, and what is made of one again.
//!
//! # A backup
//! 1. For each cohort: hold `compact.lock`, shared, so that nothing is folded or retired. Writers wait for nothing.
//! 2. Read the journal to its end. What was acknowledged before is in it; what comes after is left out.
//! 3. Copy settings, snapshots and segments up to there, without locks and shared memory; then the bundles that this state names.
//! 4. Sync all, and check every byte of the copy as `verify` would.
//! 5. Write `backup.json`, with the length and the CRC of each file; sync it. Rename the directory to its name. **Commit point:
//!    the rename.**
//!
//! # A restore
//! 1. Copy what `backup.json` names, each file held against its length and CRC, into a directory that nobody sees.
//! 2. Begin an epoch: a new segment behind the last record, whose number, and so its epoch, is drawn from numbers that the
//!    original does not reach by counting. So (epoch, seq) names one content, though the original goes on, and though the same
//!    backup is restored twice.
//! 3. Check every byte. Rename the directory. **Commit point: the rename.**

mod copy;
mod restore;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::copy::{Copier, backup_cohort};
pub use self::restore::RestoredCohort;
use crate::error::{Error, Kind, Result};
use crate::names;
use crate::record::Seq;
use crate::settings::DOCUMENT_VERSION;
use crate::store::Store;
use crate::sys::{self, Dir, Names};

/// The most that `backup.json` may hold.
const DOCUMENT_BYTES: u64 = 1 << 30;
const CRC_FIELD: &str = ",\"crc32\":\"";

/// How far a backup or a restore has come.
#[derive(Clone, Copy, Debug)]
pub struct Copied<'a> {
    /// How many bytes have been copied or read.
    pub bytes: u64,
    /// The directory that is being filled, beside the one that it will become; `None`: nothing is written, or what is written is
    /// removed by the next one who makes a cohort in that store.
    pub incomplete: Option<&'a Path>,
}

/// Is told how far it has come, and whether to go on is asked.
pub type Progress<'a> = dyn FnMut(Copied<'_>) -> ControlFlow<()> + 'a;

/// A complete backup.
#[derive(Debug)]
pub struct Backup {
    dir: Arc<Dir>,
    document: Document,
}

/// What `backup.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Document {
    tallyfold: u32,
    store: String,
    began_us: i64,
    ended_us: i64,
    store_file: BackedUpFile,
    cohorts: Vec<BackedUp>,
}

/// A cohort in a backup: a prefix of its order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackedUp {
    /// The cohort's name.
    pub cohort: String,
    /// The last seq in it; 0: there is no record.
    pub seq: Seq,
    /// The epoch of the journal.
    pub epoch: u64,
    /// What belongs to the cohort's directory and is not in the backup.
    pub left_out: Vec<String>,
    files: Vec<BackedUpFile>,
    links: Vec<BackedUpLink>,
}

/// A file in a backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct BackedUpFile {
    /// From the backup's directory, with `/` between names.
    path: String,
    bytes: u64,
    crc32: u32,
}

/// A symbolic link in a backup: made again, never followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct BackedUpLink {
    path: String,
    to: String,
}

impl BackedUp {
    /// How many bytes its files have.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// How many files it has.
    pub fn files(&self) -> u64 {
        self.files.len() as u64
    }
}

impl Store {
    /// Backs up the cohorts named, or all of them, to a directory that does not exist or is empty. Each is a prefix of its order
    /// that holds every record acknowledged before this began. No writer waits for it; compactions do. If `progress` breaks off,
    /// nothing is left.
    ///
    /// ```
    /// # use std::ops::ControlFlow::Continue;
    /// # let dir = tempfile::tempdir()?; let store = tallyfold::Store::open(dir.path().join("s"))?;
    /// # let index = store.create("index", tallyfold::Settings::latest())?;
    /// # index.append("run-1", &0.5)?;
    /// let backup = store.backup(&[], dir.path().join("backup"), &mut |_| Continue(()))?;
    /// assert_eq!(backup.cohorts()[0].seq, 1);
    /// let (restored, _) = backup.restore(dir.path().join("again"), &mut |_| Continue(()))?;
    /// assert_eq!(restored.cohort("index")?.append("run-1", &0.25)?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `is_conflict` if the directory holds anything; `is_corruption` if a cohort is damaged: it has to be repaired first.
    pub fn backup(
        &self,
        cohorts: &[&str],
        to: impl AsRef<Path>,
        progress: &mut Progress<'_>,
    ) -> Result<Backup> {
        let named: Vec<String> = match cohorts {
            [] => self.cohorts()?,
            named => named.iter().map(ToString::to_string).collect(),
        };
        let fresh = Fresh::make(to.as_ref())?;
        let incomplete = fresh.dir.path().to_path_buf();
        let mut copier = Copier::new(progress, Some(&incomplete));
        let made = self.fill_backup(&named, &fresh.dir, &mut copier);
        match made {
            Ok(()) => fresh.name()?,
            Err(e) => {
                fresh.remove();
                return Err(e);
            }
        }
        Backup::open(to)
    }

    fn fill_backup(&self, cohorts: &[String], dir: &Dir, copier: &mut Copier<'_>) -> Result<()> {
        let began_us = sys::wall_clock_us();
        let store = Dir::open(self.path())?;
        let (bytes, crc32) =
            copier.copy(&store.open_read(names::STORE, Names::Several)?, dir, names::STORE, None)?;
        let store_file = BackedUpFile { path: names::STORE.to_string(), bytes, crc32 };
        let mut backed_up = Vec::new();
        for name in cohorts {
            backed_up.push(backup_cohort(self, name, dir, copier)?);
        }
        let document = Document {
            tallyfold: DOCUMENT_VERSION,
            store: self.id(),
            began_us,
            ended_us: sys::wall_clock_us(),
            store_file,
            cohorts: backed_up,
        };
        let text = document.text()?;
        // The last document: without it the directory is no backup.
        sys::reached("backup copied");
        let file = dir.create(names::BACKUP)?;
        file.write_at(text.as_bytes(), 0).map_err(|short| short.error)?;
        file.sync_all()?;
        dir.sync()
    }
}

impl Backup {
    /// Opens a backup by its last document.
    ///
    /// # Errors
    /// `is_not_found` if there is no such directory; `is_corruption` if its document is damaged, or is not there: then the backup
    /// was interrupted, and is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Backup> {
        let dir = Dir::open(path.as_ref())?;
        let at = dir.path().join(names::BACKUP);
        let damaged =
            |what: String| Error::corruption(what).at(&at).advise("use another backup; nothing was changed");
        let bytes = match dir.open_read(names::BACKUP, Names::Several) {
            Err(e) if e.is_not_found() => {
                return Err(damaged("this is no complete backup: its last document is not there".into()));
            }
            other => other?.read_all(DOCUMENT_BYTES)?,
        };
        let text =
            String::from_utf8(bytes).map_err(|_| damaged("the backup's document is not UTF-8".into()))?;
        let document = Document::parse(&text).map_err(&damaged)?;
        if document.tallyfold > DOCUMENT_VERSION {
            return Err(Error::new(Kind::Unsupported, "the backup was made by a newer version")
                .at(&at)
                .advise("use that version of tallyfold"));
        }
        Ok(Backup { dir: Arc::new(dir), document })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Its cohorts, in the order in which they were backed up.
    pub fn cohorts(&self) -> &[BackedUp] {
        &self.document.cohorts
    }

    /// The id of the store that it was made of.
    pub fn store_id(&self) -> &str {
        &self.document.store
    }

    /// When it was begun and ended, in microseconds since 1970.
    pub fn times_us(&self) -> (i64, i64) {
        (self.document.began_us, self.document.ended_us)
    }

    /// The bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.document.store_file.bytes + self.cohorts().iter().map(BackedUp::bytes).sum::<u64>()
    }

    /// Reads every byte and holds it against `backup.json`. Returns what is not as it was written, with its path.
    ///
    /// # Errors
    /// If `progress` breaks off.
    pub fn verify(&self, progress: &mut Progress<'_>) -> Result<Vec<Error>> {
        let mut copier = Copier::new(progress, None);
        let mut wrong = Vec::new();
        let files = self.cohorts().iter().flat_map(|cohort| &cohort.files);
        for file in [&self.document.store_file].into_iter().chain(files) {
            match self.open_file(&file.path).and_then(|opened| copier.measure(&opened)) {
                Ok(found) => wrong.extend(self.differs(file, found).err()),
                Err(e) if e.is_not_found() || e.is_unsafe_file() || e.is_io() => wrong.push(e),
                Err(e) => return Err(e),
            }
        }
        Ok(wrong)
    }

    fn differs(&self, file: &BackedUpFile, found: (u64, u32)) -> Result<()> {
        if found == (file.bytes, file.crc32) {
            return Ok(());
        }
        let what = format!(
            "a file of the backup is not what was written: {} bytes with the CRC {:08x}, not {} with {:08x}",
            found.0, found.1, file.bytes, file.crc32
        );
        Err(Error::corruption(what)
            .at(&self.path().join(&file.path))
            .advise("use another backup; nothing was restored"))
    }

    fn open_file(&self, path: &str) -> Result<sys::File> {
        let (dir, name) = self.place(path)?;
        dir.open_read(&name, Names::Several)
    }

    /// The directory that a path leads to, going through directories only, and the last name.
    fn place(&self, path: &str) -> Result<(Arc<Dir>, String)> {
        let mut names: Vec<&str> = path.split('/').collect();
        let last = names.pop().unwrap_or_default().to_string();
        let enter = |dir: Arc<Dir>, name: &&str| dir.sub(name).map(Arc::new);
        Ok((names.iter().try_fold(Arc::clone(&self.dir), enter)?, last))
    }
}

impl Document {
    /// One JSON object whose last member is the CRC of all before it.
    fn text(&self) -> Result<String> {
        let text = serde_json::to_string(self).map_err(|e| Error::invalid(e.to_string()))?;
        let text = text.strip_suffix('}').unwrap_or(&text);
        Ok(format!("{text}{CRC_FIELD}{:08x}\"}}\n", crc32fast::hash(text.as_bytes())))
    }

    fn parse(text: &str) -> std::result::Result<Document, String> {
        let damaged = |what: &str| format!("the backup's document is damaged: {what}");
        let (covered, crc) = text.rsplit_once(CRC_FIELD).ok_or_else(|| damaged("it is cut short"))?;
        if crc != format!("{:08x}\"}}\n", crc32fast::hash(covered.as_bytes())) {
            return Err(damaged("its CRC does not match"));
        }
        let document: Document =
            serde_json::from_str(&format!("{covered}}}")).map_err(|e| damaged(&e.to_string()))?;
        // Whoever has written it, no path in it leads out of the directory it is restored to.
        let plain =
            |path: &str| path.split('/').all(|name| !["", ".", ".."].contains(&name) && !name.contains('\0'));
        for cohort in &document.cohorts {
            let begin = names::cohort_directory(&cohort.cohort).map_err(|e| damaged(e.what()))? + "/";
            let paths =
                cohort.files.iter().map(|file| &file.path).chain(cohort.links.iter().map(|link| &link.path));
            for path in paths {
                if !plain(path) || !path.starts_with(&begin) {
                    return Err(damaged(&format!("{path:?} is no path in the cohort {:?}", cohort.cohort)));
                }
            }
        }
        Ok(document)
    }
}

/// A directory that is filled under another name beside its own.
struct Fresh {
    parent: Dir,
    dir: Dir,
    incomplete: String,
    name: String,
}

impl Fresh {
    /// Refuses a name that something other than an empty directory has.
    fn make(path: &Path) -> Result<Fresh> {
        let taken = || {
            Error::new(Kind::Conflict, "there is something already")
                .at(path)
                .advise("name a directory that does not exist, or is empty")
        };
        let path: PathBuf =
            std::path::absolute(path).map_err(|e| Error::io("cannot tell where it is", path, e))?;
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
            Error::invalid("it must have a name, in UTF-8").at(&path).advise("name a new directory")
        })?;
        let above = path.parent().unwrap_or(Path::new("/"));
        Dir::make(above)?;
        let parent = Dir::open(above)?;
        match parent.sub(name) {
            Ok(there) if there.all_names()?.is_empty() => {}
            Err(e) if e.is_not_found() => {}
            Ok(_) => return Err(taken()),
            Err(e) if e.is_unsafe_file() => return Err(taken()),
            Err(e) => return Err(e),
        }
        let incomplete = names::incomplete(name, sys::random_u64());
        parent.make_sub(&incomplete)?;
        let dir = parent.sub(&incomplete)?;
        Ok(Fresh { parent, dir, incomplete, name: name.to_string() })
    }

    /// **The commit point: the rename.**
    fn name(&self) -> Result<()> {
        self.dir.sync()?;
        if !self.parent.rename_directory(&self.incomplete, &self.name)? {
            self.remove();
            return Err(Error::new(Kind::Conflict, "something was put there meanwhile")
                .at(&self.parent.path().join(&self.name))
                .advise("name another directory"));
        }
        self.parent.sync()
    }

    fn remove(&self) {
        let _ = self.parent.remove_tree(&self.incomplete);
    }
}
