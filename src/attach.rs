//! Attaching: how a process comes to write in a cohort, and the append lock that it then takes for each turn.
//!
//! Two classes of lock, fixed when the cohort is made. **file**: an exclusive `flock` on `lock` for each turn. **memory**: a word
//! in `control`, memory that all attached processes share. Who is attached there holds `lock` *shared*, so that whoever gets it
//! exclusively is alone and makes `control` anew:
//!
//! 1. Try to have `lock` exclusively. Who gets it wipes `control`, and gives the lock back. Where the journal ends is not known
//!    then, and the first turn under the append lock reads it from the snapshot's watermark on, as the class `file` does.
//! 2. Take `lock` shared. It is never converted from the one to the other, for a conversion that fails drops the lock.
//! 3. Open `control` and take a slot in it. If it is not ready (nobody was ever alone, or it was replaced): begin again.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use crate::chain::Chain;
use crate::counters::Tally;
use crate::error::Result;
use crate::home::Home;
use crate::housekeeping::{self, Chores};
use crate::journal::Journal;
use crate::names;
use crate::segment::{Access, Segment};
use crate::settings::LockClass;
use crate::sys::{self, Control, End, Held, LockFile, Locked, Owned, Patience, PerProcess};

/// The writing half of a cohort handle: attached when first used, once in each process of a line of forks.
pub(crate) struct Writer {
    home: Arc<Home>,
    slot: PerProcess<Slot>,
}

#[derive(Default)]
struct Slot {
    attachment: OnceLock<Arc<Attachment>>,
    attaching: Mutex<()>,
}

impl Writer {
    pub(crate) fn new(home: Arc<Home>) -> Writer {
        Writer { home, slot: PerProcess::new() }
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// The attachment, if this process has used it.
    pub(crate) fn attached(&self) -> Option<&Arc<Attachment>> {
        self.slot.existing().and_then(|slot| slot.attachment.get())
    }

    /// For readers of this cohort in this process.
    pub(crate) fn published(&self) -> Published {
        Published(self.attached().and_then(|attachment| attachment.control()).map(Arc::downgrade))
    }

    /// The attachment, made now if this process has not used it before.
    #[inline]
    pub(crate) fn attachment(&self, timeout: Duration) -> Result<&Arc<Attachment>> {
        match self.attached() {
            Some(attachment) => Ok(attachment),
            None => self.attach(timeout),
        }
    }

    #[cold]
    fn attach(&self, timeout: Duration) -> Result<&Arc<Attachment>> {
        let slot = self.slot.get(Slot::default);
        let _attaching = slot.attaching.lock().unwrap_or_else(PoisonError::into_inner);
        match slot.attachment.get() {
            Some(attachment) => Ok(attachment),
            None => {
                let attachment = Attachment::make(&self.home, &Patience::of(timeout))?;
                Ok(slot.attachment.get_or_init(|| Arc::new(attachment)))
            }
        }
    }
}

/// Where the journal ends, as shared memory says: for readers in a process that is attached. By default they are not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published(Option<Weak<Control>>);

impl Published {
    /// The end that was published last. `None`: it is not known, or not told any more, and the journal has to be asked.
    #[inline]
    pub(crate) fn end(&self) -> Option<End> {
        self.0.as_ref()?.upgrade()?.end()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(attachment) = self.attached() {
            housekeeping::leave(attachment);
        }
    }
}

/// A cohort as one process writes it.
pub(crate) struct Attachment {
    pub(crate) home: Arc<Home>,
    gate: Gate,
    /// Used under the append lock only, and to look at for a moment: so nobody waits for it longer than for the lock.
    journal: Mutex<Journal>,
    /// Held by the thread that syncs, in the class `file`. The threads share descriptors, and the kernel tells a failure to one
    /// caller of each: the others must not ask before that one has left the mark. And what they wait for is mostly done when
    /// their turn comes.
    pub(crate) syncing: Mutex<()>,
    /// The segment that a leader of this process has synced last, in the class `memory`. Used under the sync lock.
    pub(crate) synced: Mutex<Option<Arc<Segment>>>,
    pub(crate) chores: Chores,
    pub(crate) tally: Tally,
}

/// The append lock.
enum Gate {
    /// A `flock` excludes other handles, the mutex the threads of this one.
    File {
        lock: LockFile,
        threads: Mutex<()>,
    },
    Memory(Arc<Control>),
}

/// The append lock is held as long as this lives.
pub(crate) struct Inside<'a> {
    // The fields are dropped in this order: a turn is counted by who has the lock.
    _held: Held<'a>,
    _lock: Lock<'a>,
}

enum Lock<'a> {
    // And these: no thread of ours may find the file still locked by us.
    File { _lock: Locked<'a>, _thread: MutexGuard<'a, ()> },
    Memory { _lock: Owned<'a> },
}

impl Attachment {
    fn make(home: &Arc<Home>, patience: &Patience) -> Result<Attachment> {
        home.check_file_system()?;
        let (gate, control) = match home.settings.lock {
            LockClass::Memory => {
                let control = Arc::new(share(home, patience)?);
                (Gate::Memory(Arc::clone(&control)), Some(control))
            }
            _ => {
                let lock = LockFile::open(&home.dir, names::LOCK)?;
                (Gate::File { lock, threads: Mutex::new(()) }, None)
            }
        };
        let tally = Tally::new(control.as_ref());
        let journal = Mutex::new(Journal::find(Arc::clone(home), control, tally.clone())?);
        Ok(Attachment {
            home: Arc::clone(home),
            gate,
            journal,
            syncing: Mutex::new(()),
            synced: Mutex::new(None),
            chores: Chores::default(),
            tally,
        })
    }

    /// Shared memory, if the cohort's lock class is `memory`.
    #[inline]
    pub(crate) fn control(&self) -> Option<&Arc<Control>> {
        match &self.gate {
            Gate::File { .. } => None,
            Gate::Memory(control) => Some(control),
        }
    }

    /// The append lock, waiting for it as long as there is patience left.
    #[inline]
    pub(crate) fn enter(&self, patience: &Patience) -> Result<Inside<'_>> {
        let lock = match self.try_enter()? {
            Some(lock) => lock,
            None => self.wait(patience)?,
        };
        Ok(Inside { _held: self.tally.stripe().begin_turn(), _lock: lock })
    }

    #[inline]
    fn try_enter(&self) -> Result<Option<Lock<'_>>> {
        match &self.gate {
            Gate::Memory(control) => Ok(control.try_lock_append().map(|lock| Lock::Memory { _lock: lock })),
            Gate::File { lock, threads } => {
                let thread = match threads.try_lock() {
                    Ok(thread) => thread,
                    Err(TryLockError::Poisoned(panicked)) => panicked.into_inner(),
                    Err(TryLockError::WouldBlock) => return Ok(None),
                };
                Ok(lock.try_exclusive()?.map(|lock| Lock::File { _lock: lock, _thread: thread }))
            }
        }
    }

    /// What was not to be had at once. The clock is read here and nowhere on the way of who need not wait; and again, by then
    /// under the lock, only by who has slept.
    #[cold]
    fn wait(&self, patience: &Patience) -> Result<Lock<'_>> {
        let begun = Instant::now();
        let waited = match &self.gate {
            Gate::Memory(control) => {
                control.wait_append(patience).map(|(lock, slept)| (Lock::Memory { _lock: lock }, slept))
            }
            Gate::File { lock, threads } => {
                let thread = threads.lock().unwrap_or_else(PoisonError::into_inner);
                lock.exclusive(patience).map(|lock| (Lock::File { _lock: lock, _thread: thread }, true))
            }
        };
        let (lock, slept) = waited.inspect_err(|e| {
            if e.is_lock_timeout() {
                self.tally.counts().lock_timed_out();
            }
        })?;
        self.tally.stripe().contended(slept.then(|| begun.elapsed()));
        Ok(lock)
    }

    /// What this process knows of the journal.
    #[inline]
    pub(crate) fn journal(&self) -> Result<MutexGuard<'_, Journal>> {
        match self.journal.lock() {
            Ok(journal) => Ok(journal),
            Err(panicked) => {
                // A thread panicked in the middle: what it knew is dropped, and found again.
                let mut journal = panicked.into_inner();
                *journal =
                    Journal::find(Arc::clone(&self.home), self.control().cloned(), self.tally.clone())?;
                self.journal.clear_poison();
                Ok(journal)
            }
        }
    }
}

/// Attaches to a cohort's shared memory.
fn share(home: &Home, patience: &Patience) -> Result<Control> {
    let mut lock = LockFile::open(&home.dir, names::LOCK)?;
    loop {
        if let Some(alone) = lock.try_exclusive()? {
            sys::prepare_control(&home.dir, &lock, || doubt_last_sync(home))?;
            drop(alone);
        }
        lock.keep_shared(patience)?;
        match Control::open(&home.dir, lock)? {
            Ok(control) => return Ok(control),
            Err(not_ready) => lock = not_ready,
        }
        lock.release();
        if patience.left().is_zero() {
            let what = "the cohort's shared memory does not become ready";
            return Err(crate::error::Error::new(crate::error::Kind::LockTimeout, what)
                .at(home.dir.path())
                .advise("nothing was written; see who replaces the file `control`"));
        }
        std::thread::yield_now();
    }
}

/// A sync had failed, or its result was missing, in shared memory that is not kept: the mark on disk says so instead. At the
/// active segment, where every writer looks; a spare with a higher number may stand behind it.
fn doubt_last_sync(home: &Home) -> Result<()> {
    let chain = Chain::resolve(&home.dir, &home.owner, home.floor()?, Access::Read)?;
    let Some(active) = chain.active() else { return Ok(()) };
    let mark = names::poison(active.number);
    if !home.dir.exists(&mark)? {
        home.dir.create(&mark)?;
    }
    home.dir.sync()
}
