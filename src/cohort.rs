//! A cohort as its user sees it: append, read, compact, check. No I/O of its own.

use std::ops::RangeBounds;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::alter;
use crate::attach::Writer;
use crate::bundle;
use crate::compact::{self, Compaction};
use crate::counters::Counters;
use crate::cursor::Cursor;
use crate::error::{Error, Kind, Result};
use crate::fold::{Entry, Fold};
use crate::format::Body;
use crate::history::{self, History};
use crate::home::Home;
use crate::journal::Turn;
use crate::mirror::{self, Mirrored};
use crate::previous::{self, Query};
use crate::record::{Batch, Record, Seq};
use crate::segment::Through;
use crate::settings::{LockClass, Settings};
use crate::stats::{self, Stats};
use crate::sys::{self, PerProcess};
use crate::verify::{self, Report};
use crate::view::{Reader, View};

/// How long a handle that is dropped waits for the lock to write its last word.
const DROP_TIMEOUT: Duration = Duration::from_secs(1);
/// How far behind the tail a reader may be for the rest to be read under the append lock, in bytes.
const READ_UNDER_LOCK: u64 = 256 << 10;

struct Inner {
    writer: Writer,
    /// Kept for `update` and `append_if`, so that they read only what is new.
    reader: PerProcess<Mutex<Option<Reader>>>,
    /// Kept for `stats`, likewise.
    kept: PerProcess<Mutex<Option<stats::Kept>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A child's copy of its parent's handle has nothing of its own to sync. An error has nowhere to go from here: who
        // wants to know calls `detach`.
        let _ = self.writer.detach(DROP_TIMEOUT.min(self.writer.home().timeout()));
    }
}

/// What must still hold for an [`append_if`](Cohort::append_if).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect<'a> {
    /// The cohort's last seq is this (0: it has no record).
    Head(Seq),
    /// The entry of this key has this seq (0: there is no entry).
    Key(&'a str, Seq),
}

/// One journal with its snapshot: the unit of order, locking and compaction.
///
/// Cheap to clone; threads may share it, and a forked child may go on using it (it attaches anew). When the last clone is
/// dropped, what was written through it is synced.
#[derive(Clone)]
pub struct Cohort {
    inner: Arc<Inner>,
    timeout: Duration,
}

impl Cohort {
    pub(crate) fn new(home: Arc<Home>) -> Cohort {
        let timeout = home.timeout();
        let inner = Inner { writer: Writer::new(home), reader: PerProcess::new(), kept: PerProcess::new() };
        Cohort { inner: Arc::new(inner), timeout }
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        self.inner.writer.home()
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.inner.writer
    }

    /// The patience for locks of this handle.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.home().owner.cohort
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.home().dir.path().to_path_buf()
    }

    /// Its settings, as they were when it was opened.
    pub fn settings(&self) -> &Settings {
        &self.home().settings
    }

    /// The same cohort with another patience for the lock than `lock_timeout_s` in its settings.
    pub fn with_timeout(mut self, timeout: Duration) -> Cohort {
        self.timeout = timeout;
        self
    }

    /// Appends a value under a key and returns its seq. When this returns, the record survives the death of any process;
    /// unless the cohort is `durable`, a power cut may still take it.
    ///
    /// # Errors
    /// `is_invalid` for a value JSON cannot hold, `is_lock_timeout`, `is_no_space`, `is_corruption`, `is_poisoned`,
    /// `is_unsafe_file_system`: nothing was written. `is_durability_unknown` (durable cohorts only): written.
    pub fn append<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<Seq> {
        self.put(key, value, self.settings().durable)
    }

    /// As [`append`](Cohort::append), and synced: when this returns, the record survives a power cut.
    ///
    /// # Errors
    /// As [`append`](Cohort::append).
    pub fn append_durable<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<Seq> {
        self.put(key, value, true)
    }

    fn put<T: Serialize + ?Sized>(&self, key: &str, value: &T, durable: bool) -> Result<Seq> {
        let mut batch = Batch::new();
        batch.put(key, value)?;
        self.write(batch, durable, None)
    }

    /// Appends a delete of a key. The key need not exist.
    ///
    /// # Errors
    /// As [`append`](Cohort::append).
    pub fn delete(&self, key: &str) -> Result<Seq> {
        let mut batch = Batch::new();
        batch.delete(key)?;
        self.append_batch(batch)
    }

    /// Appends a batch: all of it or nothing, for readers, for crashes and for power cuts. Returns the seq of its last record;
    /// the others have the seqs before it.
    ///
    /// # Errors
    /// As [`append`](Cohort::append); `is_invalid` also for an empty batch and one beyond `max_body_bytes`.
    pub fn append_batch(&self, batch: Batch) -> Result<Seq> {
        let durable = self.settings().durable;
        self.write(batch, durable, None)
    }

    /// As [`append_batch`](Cohort::append_batch), and synced.
    ///
    /// # Errors
    /// As [`append_batch`](Cohort::append_batch).
    pub fn append_batch_durable(&self, batch: Batch) -> Result<Seq> {
        self.write(batch, true, None)
    }

    /// Appends a batch if what is expected still holds; checked and appended under one lock.
    ///
    /// # Errors
    /// `is_conflict` if it does not: nothing was written, and [`Error::seq`] is what was found instead. Else as
    /// [`append_batch`](Cohort::append_batch).
    pub fn append_if(&self, expect: Expect<'_>, batch: Batch) -> Result<Seq> {
        let durable = self.settings().durable;
        self.write(batch, durable, Some(expect))
    }

    /// Reads the entry of a key, lets `f` make a new value of it (`None`: leave it as it is), and appends that if the entry has
    /// not changed meanwhile; else begins again. `f` runs with no lock held, as often as it takes.
    ///
    /// Returns the seq of the record written, or `None` if `f` wanted none.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?; let store = tallyfold::Store::open(dir.path().join("s"))?;
    /// # let counters = store.create("counters", tallyfold::Settings::latest())?;
    /// let add_one = |old: Option<&tallyfold::Entry>| {
    ///     let n: u64 = old.map_or(Ok(0), |entry| entry.to())?;
    ///     Ok(Some(n + 1))
    /// };
    /// counters.update("episodes", add_one)?;
    /// counters.update("episodes", add_one)?;
    /// assert_eq!(counters.view()?.get("episodes")?.unwrap().json(), "2");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What `f` returns; else as [`append`](Cohort::append).
    pub fn update<T: Serialize>(
        &self,
        key: &str,
        mut f: impl FnMut(Option<&Entry>) -> Result<Option<T>>,
    ) -> Result<Option<Seq>> {
        loop {
            let old = self.with_reader(|reader| {
                reader.refresh()?;
                reader.get(key)
            })?;
            let Some(new) = f(old.as_ref())? else { return Ok(None) };
            let mut batch = Batch::new();
            batch.put(key, &new)?;
            let expect = Expect::Key(key, old.map_or(0, |entry| entry.seq()));
            match self.write(batch, self.settings().durable, Some(expect)) {
                Err(e) if e.is_conflict() => {}
                other => return other.map(Some),
            }
        }
    }

    fn write(&self, batch: Batch, durable: bool, expect: Option<Expect<'_>>) -> Result<Seq> {
        let settings = self.settings();
        settings.fold.check(&batch)?;
        if batch.is_empty() {
            return Err(Error::invalid("the batch is empty: there is nothing to append"));
        }
        if batch.bytes() > settings.max_body_bytes as usize {
            return Err(Error::invalid(format!(
                "the batch takes {} bytes, {} are allowed (max_body_bytes)",
                batch.bytes(),
                settings.max_body_bytes
            ))
            .advise("append smaller batches, or make the cohort with a larger limit"));
        }
        let body = batch.into_body();
        let timeout = self.timeout();
        let through = if durable { Through::File } else { Through::Memory };
        let attachment = self.writer().attachment(self.timeout())?;
        let last = match expect {
            None => attachment.append(&body, through, timeout, |_| Ok(()))?,
            Some(Expect::Head(expected)) => attachment.append(&body, through, timeout, |journal| {
                let head = journal.next_seq() - 1;
                if head == expected { Ok(()) } else { Err(conflict("the cohort", expected, head)) }
            })?,
            Some(Expect::Key(key, expected)) => {
                if settings.fold == Fold::Log {
                    return Err(Error::invalid(
                        "a cohort whose fold is log has no entries to expect anything of",
                    ));
                }
                self.with_reader(|reader| self.append_if_key(reader, &body, through, key, expected))?
            }
        };
        if durable {
            attachment.sync(last, timeout)?;
        }
        Ok(last)
    }

    /// Catches up outside the lock, and checks only a bounded rest inside.
    fn append_if_key(
        &self,
        reader: &mut Reader,
        body: &Body,
        through: Through,
        key: &str,
        expected: Seq,
    ) -> Result<Seq> {
        let attachment = self.writer().attachment(self.timeout())?;
        loop {
            reader.refresh()?;
            let mut too_far = false;
            let appended = attachment.append(body, through, self.timeout(), |journal| {
                let (place, (segment, offset)) = (journal.place(), reader.position());
                too_far = segment != place.segment || place.offset.saturating_sub(offset) > READ_UNDER_LOCK;
                if too_far {
                    return Err(conflict("the cohort", 0, journal.next_seq() - 1));
                }
                reader.refresh()?;
                let found = reader.get_ref(key)?.map_or(0, |entry| entry.seq());
                if found == expected {
                    Ok(())
                } else {
                    Err(conflict(&format!("the key {key:?}"), expected, found))
                }
            });
            match appended {
                Err(_) if too_far => {}
                other => return other,
            }
        }
    }

    pub(crate) fn with_reader<T>(&self, act: impl FnOnce(&mut Reader) -> Result<T>) -> Result<T> {
        let mutex = self.inner.reader.get(|| Mutex::new(None));
        let mut slot = mutex.lock().unwrap_or_else(|poisoned| {
            let mut slot = PoisonError::into_inner(poisoned);
            *slot = None;
            mutex.clear_poison();
            slot
        });
        let mut reader = match slot.take() {
            Some(reader) => reader,
            None => {
                // Attached first, so that the reader learns where the journal ends without asking the kernel.
                self.writer().attachment(self.timeout())?;
                self.reader()?
            }
        };
        // Kept only after success: a reader that failed begins anew.
        let result = act(&mut reader);
        if !matches!(&result, Err(e) if e.is_corruption()) {
            *slot = Some(reader);
        }
        result
    }

    /// The state now: it holds every record acknowledged on this host before the call. Takes no lock that a
    /// writer waits for, and changes nothing.
    ///
    /// # Errors
    /// `is_corruption` if the journal is damaged; [`view_until_damage`](Cohort::view_until_damage) shows what is before.
    pub fn view(&self) -> Result<View> {
        self.reader().map(Reader::into_view)
    }

    /// The state up to the first damaged record, and the damage if there is any.
    ///
    /// # Errors
    /// If nothing at all can be read.
    pub fn view_until_damage(&self) -> Result<(View, Option<Error>)> {
        Reader::open(self.home(), &self.writer().published())
            .map(|(reader, damage)| (reader.into_view(), damage))
    }

    /// A view that can be brought up to date at the cost of what is new.
    ///
    /// # Errors
    /// As [`view`](Cohort::view).
    pub fn reader(&self) -> Result<Reader> {
        match Reader::open(self.home(), &self.writer().published())? {
            (reader, None) => Ok(reader),
            (_, Some(damage)) => Err(damage),
        }
    }

    /// The records from seq `from` on (0 and 1: from the first), in order.
    ///
    /// # Errors
    /// `is_compacted` if `from` is folded away: [`Error::seq`] is the first one still there.
    pub fn cursor(&self, from: Seq) -> Result<Cursor> {
        Cursor::begin(self.home(), from, self.writer().published())
    }

    /// The records that are still in the journal, of one key or of all, in order. A range without a beginning begins with the
    /// first one still there.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?; let store = tallyfold::Store::open(dir.path().join("s"))?;
    /// # let index = store.create("index", tallyfold::Settings::latest())?;
    /// for (key, auc) in [("run-1", 0.61), ("run-2", 0.58), ("run-1", 0.64)] {
    ///     index.append(key, &auc)?;
    /// }
    /// let seqs: tallyfold::Result<Vec<_>> = index.history(Some("run-1"), ..)?.map(|record| Ok(record?.seq())).collect();
    /// assert_eq!(seqs?, [1, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `is_compacted` if the record that it is to begin with is gone: [`Error::seq`] is the first one still there. So does the
    /// iterator, should compaction remove what comes next.
    pub fn history(&self, key: Option<&str>, range: impl RangeBounds<Seq>) -> Result<History> {
        history::of(self.home(), &self.writer().published(), key, range)
    }

    /// The newest put still in the journal that is what the query asks for; `None` if there is none. For cohorts whose fold is
    /// `log`, which have no entries; [`View::previous`] finds those.
    ///
    /// # Errors
    /// `is_not_found` if there is no record with the key named in [`before_key`](Query::before_key); `is_corruption` if the
    /// journal is damaged where it is looked for.
    pub fn previous(&self, query: &Query) -> Result<Option<Record>> {
        previous::record(self.home(), &self.writer().published(), query)
    }

    /// The last seq handed out, without taking a lock. 0: none.
    ///
    /// # Errors
    /// As [`view`](Cohort::view).
    pub fn last_seq(&self) -> Result<Seq> {
        stats::last_seq(self.home(), &self.writer().published())
    }

    /// Folds the journal into the snapshot (`log`: only seals it). One process compacts at a time; if another does, that is
    /// said and nothing is done.
    ///
    /// # Errors
    /// Whatever stops it leaves the old snapshot with every segment it needs.
    pub fn compact(&self) -> Result<Compaction> {
        compact::run(self.writer().attachment(self.timeout())?, self.timeout(), &mut || Ok(()))
    }

    /// As [`compact`](Cohort::compact), if the tail is as long as the snapshot and `compact_bytes` at least. A process that goes
    /// on appending does this by itself; one that appends a little and ends may want to call it.
    ///
    /// # Errors
    /// As [`compact`](Cohort::compact).
    pub fn compact_if_due(&self) -> Result<Compaction> {
        compact::run_if_due(self.writer().attachment(self.timeout())?, self.timeout(), &mut || Ok(()))
    }

    /// Alters the settings, all but the fold and the class of lock: `change` is given those that are there and returns those that
    /// are to be, which are returned. What `retain` says counts from the next compaction on, also in processes that run; the
    /// others count in a process when it next opens the cohort.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?; let store = tallyfold::Store::open(dir.path().join("s"))?;
    /// # let index = store.create("index", tallyfold::Settings::latest())?;
    /// use tallyfold::Retain;
    /// index.alter(|settings| Ok(settings.retain(Retain::Records(1000))))?;
    /// index.alter(|settings| settings.with_json(r#"{"retain":{"bytes":1048576}}"#))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A program that [creates](crate::Store::create) the cohort with the old settings is then told that they conflict.
    ///
    /// # Errors
    /// What `change` returns; `is_invalid` for settings that cannot be, or another fold or class of lock; `is_lock_timeout`
    /// while somebody compacts. The document is as it was.
    pub fn alter(&self, change: impl FnOnce(Settings) -> Result<Settings>) -> Result<Settings> {
        alter::run(self.home(), self.timeout(), change)
    }

    /// Writes the mirror that the settings name, with the state as it is now, and says what it shows. Waits for a compaction that
    /// is under way, for that may be at the same file.
    ///
    /// # Errors
    /// `is_invalid` if the settings name none, or a key that has no entry; else what stopped it. The file is the old one or the
    /// new one.
    pub fn mirror(&self) -> Result<Mirrored> {
        let mirrored = mirror::write(self.home(), self.timeout(), || self.view());
        if let Some(attachment) = self.writer().attached() {
            attachment.chores.mirrored(mirrored.as_ref().err().map(ToString::to_string));
        }
        mirrored
    }

    /// Writes the state as it is now, as a mirror would be written, to any path: all entries, or the value of one key.
    ///
    /// # Errors
    /// As [`mirror`](Cohort::mirror).
    pub fn mirror_to(&self, path: impl AsRef<Path>, key: Option<&str>) -> Result<Mirrored> {
        mirror::write_to(self.home(), path.as_ref(), key, || self.view())
    }

    /// What the last try of this process to write the mirror has failed with, if it has: a compaction does not fail for it. The
    /// next compaction tries again.
    pub fn mirror_failure(&self) -> Option<String> {
        self.writer().attached().and_then(|attachment| attachment.chores.mirror_failure())
    }

    /// Checks every byte: segments, links, frames, both snapshots, that the snapshot is what its records fold into, and the files
    /// of bundles. Changes nothing.
    ///
    /// # Errors
    /// Damage is in the report; an error means that the check itself could not be done.
    pub fn verify(&self) -> Result<Report> {
        let mut report = verify::run(self.home(), self.timeout())?;
        let (bundles, damaged) = bundle::check::all(self)?;
        report.add_bundles(bundles, &damaged);
        Ok(report)
    }

    /// Sizes and positions. A handle that is asked again reads only what is new.
    ///
    /// # Errors
    /// `is_not_found` if the cohort was removed; else as [`view`](Cohort::view).
    pub fn stats(&self) -> Result<Stats> {
        let background_failure = self.writer().attached().and_then(|attachment| attachment.chores.failure());
        let mirror_failure = self.mirror_failure();
        let kept = self.inner.kept.get(Mutex::default);
        let gathered = match kept.try_lock() {
            Ok(mut kept) => stats::gather(self.home(), &mut kept),
            // Another thread is at it, or has panicked over it: without what is kept.
            Err(_) => stats::gather(self.home(), &mut None),
        };
        Ok(Stats { background_failure, mirror_failure, ..gathered? })
    }

    /// What was done in this cohort, counted: in the lock class `memory` by all attached processes together, in the class `file`
    /// by this handle and its clones alone. Nothing is attached and nobody delayed for it.
    ///
    /// `None`: nothing is counted. No process has attached since the system was started, or, in the class `file`, this handle has
    /// not been used for writing.
    ///
    /// # Errors
    /// The shared memory cannot be read.
    pub fn counters(&self) -> Result<Option<Counters>> {
        match self.writer().attached() {
            Some(attachment) => Ok(Some(attachment.tally.read())),
            None if self.settings().lock == LockClass::Memory => sys::read_counters(&self.home().dir),
            None => Ok(None),
        }
    }

    /// Makes everything written so far in this cohort durable.
    ///
    /// # Errors
    /// `is_durability_unknown` if the sync fails.
    pub fn sync(&self) -> Result<()> {
        let attachment = self.writer().attachment(self.timeout())?;
        let last = attachment.under_lock(self.timeout(), |journal| Ok(Turn::Done(journal.next_seq() - 1)))?;
        attachment.sync(last, self.timeout())
    }

    /// Syncs what this process wrote and puts it on disk that it is durable. Dropping the last handle does the same, and cannot
    /// report what goes wrong.
    ///
    /// # Errors
    /// `is_durability_unknown` if a sync fails, `is_lock_timeout` if the last word could not be written.
    pub fn detach(&self) -> Result<()> {
        self.writer().detach(self.timeout())
    }
}

impl std::fmt::Debug for Cohort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cohort({:?} in {})", self.name(), self.home().dir.path().display())
    }
}

fn conflict(what: &str, expected: Seq, found: Seq) -> Error {
    Error::new(Kind::Conflict, format!("{what} is at seq {found}, not {expected}: nothing was written"))
        .at_seq(found)
        .advise("read again and decide anew")
}
