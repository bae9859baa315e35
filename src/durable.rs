//! What makes written records durable: syncs, what follows when one fails, and the last word of a process that detaches.
//!
//! A sync that fails is never repeated and trusted: the kernel may have marked the lost pages clean, and would say that all is
//! well to the next caller, and to every process that opens the file later. So a failure leaves a mark at the active segment
//! (`<number>.poison`), and whoever appends next first carries every record that is not known durable into a new segment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::chain::Joint;
use crate::error::{Error, Result};
use crate::format::Body;
use crate::home::Home;
use crate::journal::{Journal, durability_unknown};
use crate::record::Seq;
use crate::sys::PerProcess;

/// The writing half of a cohort handle: attached when first used, once in each process of a line of forks.
pub(crate) struct Writer {
    home: Arc<Home>,
    slot: PerProcess<Mutex<Option<Journal>>>,
    /// Held by the thread that syncs. The threads share descriptors, and the kernel tells a failure to one caller of each: the
    /// others must not ask before that one has left the mark. And what they wait for is mostly done when their turn comes.
    syncing: PerProcess<Mutex<()>>,
}

/// The journal of this process, while nobody else in it uses it.
pub(crate) struct JournalSlot<'a> {
    home: &'a Arc<Home>,
    slot: MutexGuard<'a, Option<Journal>>,
}

impl Writer {
    pub(crate) fn new(home: Arc<Home>) -> Writer {
        Writer { home, slot: PerProcess::new(), syncing: PerProcess::new() }
    }

    /// Whether this process has used it.
    pub(crate) fn is_attached(&self) -> bool {
        self.slot.existing().is_some()
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    pub(crate) fn journal(&self) -> Result<JournalSlot<'_>> {
        let mutex = self.slot.get(|| Mutex::new(None));
        let slot = mutex.lock().unwrap_or_else(|poisoned| {
            // A thread panicked in the middle: what it knew is dropped, and found again on disk.
            let mut slot = PoisonError::into_inner(poisoned);
            *slot = None;
            mutex.clear_poison();
            slot
        });
        Ok(JournalSlot { home: &self.home, slot })
    }
}

impl JournalSlot<'_> {
    /// The last seq this process wrote and has not detached from; 0: none.
    pub(crate) fn wrote(&self) -> Seq {
        self.slot.as_ref().map_or(0, Journal::wrote)
    }

    pub(crate) fn get(&mut self) -> Result<&mut Journal> {
        match &mut *self.slot {
            Some(journal) => Ok(journal),
            empty => Ok(empty.insert(Journal::attach(Arc::clone(self.home))?)),
        }
    }
}

impl Writer {
    /// Makes every record up to `seq` durable. The syncs run outside the append lock and outside the mutex of this process, so
    /// nobody waits for them who has not asked for it.
    ///
    /// # Errors
    /// `is_durability_unknown`: written as `seq`, and a sync has failed.
    pub(crate) fn sync(&self, seq: Seq, timeout: Duration) -> Result<()> {
        let _turn = self.syncing.get(|| Mutex::new(())).lock().unwrap_or_else(PoisonError::into_inner);
        let (segments, written) = {
            let mut journal = self.journal()?;
            let journal = journal.get()?;
            if journal.durable_seq() >= seq {
                return Ok(());
            }
            (journal.unsynced(), journal.next_seq() - 1)
        };
        let synced = self.sync_all(segments);
        let mut journal = self.journal()?;
        let journal = journal.get()?;
        if let Err(e) = synced {
            journal.poison(timeout);
            return Err(durability_unknown(seq, e));
        }
        // A failure of somebody else's, of which our own sync was not told because we opened the file after it.
        if journal.is_poisoned()? {
            let mark = Error::corruption("another sync of this segment has failed").at(self.home.dir.path());
            return Err(durability_unknown(seq, mark));
        }
        journal.synced(written);
        Ok(())
    }

    fn sync_all(&self, segments: Vec<Joint>) -> Result<()> {
        segments.into_iter().try_for_each(|segment| segment.sync(&self.home.dir, &self.home.owner))
    }

    /// Syncs what this process wrote, and puts it on disk that it is durable: without that, damage to the last durable batch
    /// could not be told from a torn tail.
    pub(crate) fn detach(&self, timeout: Duration) -> Result<()> {
        let wrote = self.journal()?.wrote();
        if wrote == 0 {
            return Ok(());
        }
        self.sync(wrote, timeout)?;
        let last_word = {
            let mut journal = self.journal()?;
            let journal = journal.get()?;
            if journal.durable_seq_on_disk() < wrote {
                journal.append(&Body::empty(), timeout, |_| Ok(())).map_err(|e| {
                    let kind = e.kind();
                    e.become_kind(kind, "all records are durable; only the note of that could not be written")
                })?;
                journal.unsynced()
            } else {
                Vec::new()
            }
        };
        if let Err(e) = self.sync_all(last_word) {
            self.journal()?.get()?.poison(timeout);
            return Err(durability_unknown(wrote, e));
        }
        self.journal()?.get()?.detached();
        Ok(())
    }
}
