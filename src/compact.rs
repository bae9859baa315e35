//! Folds sealed segments into a new snapshot. The steps under the append lock are short; the fold is not under it.
//!
//! | step | what | a crash after it leaves |
//! |---|---|---|
//! | 1 | take `compact.lock` | nothing |
//! | 2 | append lock: seal the active segment | an empty active segment |
//! | 3 | sync the sealed segments: a snapshot never covers what a power cut could take | the same |
//! | 4 | fold them over the old snapshot's lines into a temporary file; sync it, read it back | a temporary file |
//! | 5 | the old snapshot becomes `snapshot.prev.json`, by a second name and a rename | two names of one snapshot |
//! | 6 | append lock: the new one becomes `snapshot.json`. **Commit point: the rename** | both snapshots |
//! | 7 | retire the segments that both snapshots cover (`retire.rs`) | segments that the next run retires |
//! | 8 | write the mirror, if there is to be one (`mirror.rs`) | the old mirror, which the next run replaces |
//!
//! Whatever is left over, the next run removes: it holds `compact.lock`, so nobody else is at it.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::attach::Attachment;
use crate::chain::{Chain, Floor};
use crate::error::{Error, Kind, Result};
use crate::fold::Fold;
use crate::format::FRAMES_BEGIN;
use crate::home::Home;
use crate::journal::{Sealed, Turn};
use crate::mirror::{self, Renew};
use crate::names::{self, Purpose};
use crate::record::Seq;
use crate::retire;
use crate::segment::Access;
use crate::settings::{DOCUMENT_VERSION, Settings};
use crate::snapshot::{self, Head, Snapshot};
use crate::sys::{self, LockFile, Names};
use crate::view::{Reader, View};

/// How much is copied at a time where a file cannot have a second name.
const COPY_BUFFER: usize = 1 << 20;

/// What a compaction has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compaction {
    /// Another process is compacting this cohort.
    Busy,
    /// There was nothing new.
    Nothing,
    /// The fold is `log`: the active segment was sealed and synced, through this seq.
    Sealed {
        /// The last seq in a sealed segment.
        seq: Seq,
    },
    /// There is a new snapshot.
    Folded {
        /// Its watermark.
        seq: Seq,
        /// How many records were folded in.
        records: u64,
        /// How many entries it has.
        entries: u64,
        /// Its size in bytes.
        bytes: u64,
    },
}

/// How old an active segment is before a tail that begins in it is folded without being asked for, in microseconds: each
/// compaction begins a new one, which every writer has to open.
const YOUNG_US: i64 = 50_000;
/// How many lines are merged between two questions whether to go on.
const LINES_BETWEEN: usize = 1024;

/// Compacts, whatever there is to fold. `between` is called between two steps; an error of its own abandons the rest, which
/// leaves what a crash would leave.
pub(crate) fn run(
    attachment: &Attachment,
    timeout: Duration,
    between: &mut dyn FnMut() -> Result<()>,
) -> Result<Compaction> {
    let home = &attachment.home;
    let lock = LockFile::open(&home.dir, names::COMPACT_LOCK)?;
    let Some(_held) = lock.try_exclusive()? else { return Ok(Compaction::Busy) };
    fold_and_count(attachment, timeout, between)
}

/// Compacts if the tail is as long as the snapshot, and `compact_bytes` at least: so what compactions write, in all, is a
/// small multiple of what was appended, however large the state is.
pub(crate) fn run_if_due(
    attachment: &Attachment,
    timeout: Duration,
    between: &mut dyn FnMut() -> Result<()>,
) -> Result<Compaction> {
    let home = &attachment.home;
    if !home.settings.compacts_by_itself() {
        return Ok(Compaction::Nothing);
    }
    // Before the lock: who only looks makes nobody find it busy. And under it: somebody may have done it meanwhile.
    if let Some(answer) = why_not(attachment, timeout)? {
        return Ok(answer);
    }
    let lock = LockFile::open(&home.dir, names::COMPACT_LOCK)?;
    let Some(_held) = lock.try_exclusive()? else { return Ok(Compaction::Busy) };
    match why_not(attachment, timeout)? {
        Some(answer) => Ok(answer),
        None => fold_and_count(attachment, timeout, between),
    }
}

/// `None`: compaction is due. `Nothing`: the tail is too short. `Busy`: somebody has compacted a moment ago.
fn why_not(attachment: &Attachment, timeout: Duration) -> Result<Option<Compaction>> {
    let home = &attachment.home;
    let (end, begun_us) = attachment.under_lock(timeout, |journal| {
        let begun_us = journal.scan.linked().map_or(0, |active| active.link.time_us);
        Ok(Turn::Done((journal.place(), begun_us)))
    })?;
    // By the wall clock, which may have been set: an age below zero is no age.
    let young = (0..YOUNG_US).contains(&sys::wall_clock_us().saturating_sub(begun_us));
    let due = young.then_some(Compaction::Busy);
    if home.settings.fold == Fold::Log {
        let retain = home.settings_now()?.retain;
        let something = retire::log_is_due(home, retain, end.next_seq - 1)?;
        return Ok(if something { due } else { Some(Compaction::Nothing) });
    }
    let (watermark, snapshot_bytes) = match home.snapshot(names::SNAPSHOT) {
        Ok(snapshot) => snapshot.map_or((0, 0), |snapshot| (snapshot.head.seq, snapshot.len())),
        // It has to be put right.
        Err(e) if e.is_corruption() => return Ok(None),
        Err(e) => return Err(e),
    };
    let chain = Chain::resolve(&home.dir, &home.owner, Floor::Seq(watermark), Access::Read)?;
    let ends = chain.segments.iter().skip(1).map(|next| next.link.previous_end).chain([end.offset]);
    let tail: u64 = ends.map(|end| end.saturating_sub(FRAMES_BEGIN)).sum();
    if tail < home.settings.compact_bytes.max(snapshot_bytes) {
        return Ok(Some(Compaction::Nothing));
    }
    Ok(due)
}

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread compacts: then it holds `compact.lock`, and its readers neither need it nor can have it.
pub(crate) fn runs_here() -> bool {
    RUNNING.get()
}

/// Makes [`runs_here`] true until it is dropped.
pub(crate) struct Running;

impl Running {
    pub(crate) fn begin() -> Running {
        RUNNING.set(true);
        Running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(false);
    }
}

/// Steps 2 to 7, by the holder of `compact.lock`; and what they came to.
fn fold_and_count(
    attachment: &Attachment,
    timeout: Duration,
    between: &mut dyn FnMut() -> Result<()>,
) -> Result<Compaction> {
    let begun = Instant::now();
    let mut abandoned = false;
    let done = fold_all(attachment, timeout, &mut || between().inspect_err(|_| abandoned = true));
    let counts = attachment.tally.counts();
    match &done {
        Ok(Compaction::Folded { records, bytes, .. }) => counts.compacted(begun, *records, *bytes),
        // Who lets go of the cohort in the middle of one has not failed.
        Err(_) if !abandoned => sys::count(&counts.failed_compactions, 1),
        _ => {}
    }
    done
}

/// Steps 2 to 7, by the holder of `compact.lock`.
fn fold_all(
    attachment: &Attachment,
    timeout: Duration,
    between: &mut dyn FnMut() -> Result<()>,
) -> Result<Compaction> {
    let _running = Running::begin();
    let home = &attachment.home;
    // Before anything is done: it may have been altered since this process opened the cohort.
    let Settings { retain, mirror, .. } = home.settings_now()?;
    let mirror = mirror.as_ref();
    remove_temporary(home)?;
    if home.settings.fold == Fold::Log && retain.is_limit() {
        // So that the next link calls durable what may be removed: a writer finds its way by that too, should the mark be lost.
        let last = attachment.under_lock(timeout, |journal| Ok(Turn::Done(journal.next_seq() - 1)))?;
        attachment.sync(last, timeout)?;
    }
    let Sealed { last, through, epoch } = attachment.seal(timeout)?;
    attachment.sync(through, timeout)?;
    home.dir.sync()?;
    if home.settings.fold == Fold::Log {
        retire::give_back(home, 0)?;
        retire::log(home, retain, through)?;
        return Ok(if last.is_some() { Compaction::Sealed { seq: through } } else { Compaction::Nothing });
    }

    sys::reached("journal sealed");
    let base = Base::find(home)?;
    retire::give_back(home, base.seq())?;
    if base.damage.is_none() && base.seq() == through {
        retire::folded(home, retain)?;
        mirror::renew(attachment, mirror, through, Renew::IfItDiffers, between);
        return Ok(Compaction::Nothing);
    }
    if base.seq() > through {
        return Err(overtaken(home, through));
    }
    let (temporary, made) = fold(home, base.damage.is_some(), through, epoch, between)?;
    keep_previous(home, &base)?;
    publish(attachment, &base, &temporary, timeout, through)?;
    let retired = retire::folded(home, retain);
    mirror::renew(attachment, mirror, through, Renew::Always, between);
    retired?;
    let records = through - base.seq().min(through);
    Ok(Compaction::Folded { seq: through, records, entries: made.entries, bytes: made.len() })
}

/// The snapshot to be replaced, as it was found.
struct Base {
    head: Option<Head>,
    damage: Option<Error>,
}

impl Base {
    fn find(home: &Home) -> Result<Base> {
        match home.snapshot(names::SNAPSHOT) {
            Ok(Some(snapshot)) => Ok(Base { head: Some(snapshot.head), damage: None }),
            Ok(None) => {
                let missing = home.dir.exists(names::SNAPSHOT_PREV)?;
                let damage =
                    missing.then(|| Error::corruption("snapshot.json is missing").at(home.dir.path()));
                Ok(Base { head: None, damage })
            }
            Err(damage) if damage.is_corruption() => Ok(Base { head: None, damage: Some(damage) }),
            Err(e) => Err(e),
        }
    }

    fn seq(&self) -> Seq {
        self.head.as_ref().map_or(0, |head| head.seq)
    }
}

/// Step 4. Damage in a block of the base shows only while it is read: then the previous snapshot serves as the base.
fn fold(
    home: &Arc<Home>,
    rebuild: bool,
    through: Seq,
    epoch: u64,
    between: &mut dyn FnMut() -> Result<()>,
) -> Result<(String, Snapshot)> {
    if !rebuild {
        match write(home, &Reader::open_at(home, through)?.into_view(), through, epoch, between) {
            Err(e) if e.is_corruption() && is_damaged(home)? => {}
            other => return other,
        }
        // Only now is it known that the base must not be kept as the previous snapshot.
        quarantine_snapshot(home)?;
    }
    write(home, &Reader::over_previous(home, through)?.into_view(), through, epoch, between)
}

/// Whether `snapshot.json` is: what could not be made of it need not be its fault.
fn is_damaged(home: &Home) -> Result<bool> {
    match home.snapshot(names::SNAPSHOT).and_then(|base| base.map_or(Ok(()), |base| base.verify())) {
        Ok(()) => Ok(false),
        Err(e) if e.is_corruption() => Ok(true),
        Err(e) => Err(e),
    }
}

/// Writes a view into a temporary file as a snapshot with the watermark `through`, and reads it back.
pub(crate) fn write(
    home: &Home,
    view: &View,
    through: Seq,
    epoch: u64,
    between: &mut dyn FnMut() -> Result<()>,
) -> Result<(String, Snapshot)> {
    if view.seq() != through {
        return Err(Error::corruption(format!(
            "the sealed journal ends at seq {}, not at {through}",
            view.seq()
        ))
        .at(home.dir.path())
        .at_seq(view.seq() + 1));
    }
    let head = Head {
        tallyfold: DOCUMENT_VERSION,
        cohort: home.owner.cohort.clone(),
        fold: home.settings.fold.clone(),
        epoch,
        seq: through,
    };
    let temporary = names::temporary(Purpose::Snapshot, sys::random_u64());
    let written = merge(home, view, &head, &temporary, between).and_then(|()| {
        sys::reached("snapshot written");
        // No damage to what was folded, which would be set aside and rebuilt: that is as it was.
        read_back(home, &head, &temporary).map_err(|e| match e.is_corruption() {
            true => e.become_kind(Kind::Io, "the new snapshot cannot be read back"),
            false => e,
        })
    });
    match written {
        Ok(made) => Ok((temporary, made)),
        Err(e) => {
            let _ = home.dir.remove(&temporary);
            Err(e)
        }
    }
}

/// The snapshot that was written, every byte of it checked.
fn read_back(home: &Home, head: &Head, temporary: &str) -> Result<Snapshot> {
    let lost = || snapshot::damaged(&home.dir.path().join(temporary), "it is not what was written".into());
    let made = home.snapshot(temporary)?.filter(|made| made.head == *head).ok_or_else(lost)?;
    made.verify()?;
    Ok(made)
}

/// Merges the base's lines with what the tail has made of its keys. Lines that did not change are copied as bytes.
fn merge(
    home: &Home,
    view: &View,
    head: &Head,
    temporary: &str,
    between: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    let mut writer = snapshot::Writer::begin(home.dir.create(temporary)?, head)?;
    let mut tail = view.tail().sorted("", false).peekable();
    if let Some(base) = view.base() {
        for (i, line) in base.all().enumerate() {
            let line = line?;
            if i % LINES_BETWEEN == 0 {
                between()?;
            }
            while let Some((key, entry)) = tail.next_if(|(key, _)| **key < *line.key) {
                if let Some(entry) = entry {
                    writer.entry(key, entry.as_entry_ref())?;
                }
            }
            match tail.next_if(|(key, _)| **key == *line.key) {
                None => writer.copy(&line)?,
                Some((key, Some(entry))) => writer.entry(key, entry.as_entry_ref())?,
                Some((_, None)) => {}
            }
        }
    }
    for (i, (key, entry)) in tail.enumerate() {
        if i % LINES_BETWEEN == 0 {
            between()?;
        }
        if let Some(entry) = entry {
            writer.entry(key, entry.as_entry_ref())?;
        }
    }
    writer.finish().map(|_| ())
}

/// Step 5. Until step 6 `snapshot.json` has two names; it never has none.
fn keep_previous(home: &Home, base: &Base) -> Result<()> {
    if base.damage.is_some() {
        return quarantine_snapshot(home);
    }
    // A damaged block may have sent it to quarantine meanwhile; then the previous one stays.
    if base.head.is_none() || !home.dir.exists(names::SNAPSHOT)? {
        return Ok(());
    }
    if home.dir.exists(names::SNAPSHOT_PREV)? {
        // Opened only to see that it is ours to replace.
        home.dir.open_read(names::SNAPSHOT_PREV, Names::Several)?;
    }
    let second = names::temporary(Purpose::Snapshot, sys::random_u64());
    if !home.dir.link(names::SNAPSHOT, &second)? {
        let from = home.dir.open_read(names::SNAPSHOT, Names::Several)?;
        let to = home.dir.create(&second)?;
        let mut buffer = vec![0; COPY_BUFFER];
        let mut at = 0;
        loop {
            let read = from.read_at(&mut buffer, at)?;
            if read == 0 {
                break;
            }
            to.write_at(&buffer[..read], at).map_err(|short| short.error)?;
            at += read as u64;
        }
        to.sync_all()?;
    }
    home.dir.rename(&second, names::SNAPSHOT_PREV)?;
    // A rename between two names of one file does nothing: so it is after a crash between this step and the next.
    home.dir.remove(&second)?;
    home.dir.sync()
}

/// A damaged snapshot is kept: somebody may want to see what is left of it.
pub(crate) fn quarantine_snapshot(home: &Home) -> Result<()> {
    if !home.dir.exists(names::SNAPSHOT)? {
        return Ok(());
    }
    home.dir.make_sub(names::QUARANTINE)?;
    let quarantine = home.dir.sub(names::QUARANTINE)?;
    home.dir.rename_into(names::SNAPSHOT, &quarantine, &names::damaged_snapshot(sys::random_u64()))?;
    quarantine.sync()?;
    home.dir.sync()
}

/// Step 6.
fn publish(
    attachment: &Attachment,
    base: &Base,
    temporary: &str,
    timeout: Duration,
    through: Seq,
) -> Result<()> {
    let home = &attachment.home;
    let published = attachment.under_lock(timeout, |_| {
        let now = match home.snapshot(names::SNAPSHOT) {
            Ok(snapshot) => snapshot.map(|snapshot| snapshot.head),
            Err(e) if e.is_corruption() => None,
            Err(e) => return Err(e),
        };
        // Cuts made meanwhile are behind what was folded, for that was synced. Another snapshot would mean another compactor.
        if now.is_some() && now != base.head {
            return Err(overtaken(home, through));
        }
        home.dir.rename(temporary, names::SNAPSHOT)?;
        Ok(Turn::Done(()))
    });
    if published.is_err() {
        let _ = home.dir.remove(temporary);
    }
    published?;
    home.dir.sync()
}

fn overtaken(home: &Home, through: Seq) -> Error {
    let what = format!("another snapshot was published while seq {through} was folded");
    Error::new(Kind::Conflict, what)
        .at(home.dir.path())
        .advise("nothing is lost; but see who compacts here without compact.lock")
}

/// What earlier runs left, and writers who died over a spare: one who lives makes another.
fn remove_temporary(home: &Home) -> Result<()> {
    for name in home.dir.names()?.iter().filter(|name| names::parse_temporary(name).is_some()) {
        home.dir.remove(name)?;
    }
    Ok(())
}
