//! What makes written records durable: syncs, one for all who wait, and the last word of a process that detaches.
//!
//! A sync that fails is never repeated and trusted: the kernel may have marked the lost pages clean, and would say that all is
//! well to the next caller, and to every process that opens the file later. So a failure leaves a mark (`cut.rs`), and whoever
//! appends next first carries every record that is not known durable into a new segment.
//!
//! # One sync for all processes that wait (class `memory`)
//! 1. A waiter whose seq is durable by now returns.
//! 2. Else it tries to become the leader. Who does not sleeps until the running sync has ended if that covers its seq, else
//!    until the next one has, or it is woken to lead that; and begins again.
//! 3. The leader says that it syncs, reads the published end, and syncs every segment from the last durable one on.
//! 4. It publishes what is durable now. **Commit point.** It says that it has synced, steps down, and wakes all who waited for
//!    this sync, and one who waits for the next.
//!
//! So a waiter waits for two syncs at most: the one that ran when it came, and the next. A leader that dies is replaced; the
//! result of its sync is missing, and counts as a failure.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::attach::{Attachment, Writer};
use crate::chain::Joint;
use crate::error::{Error, Result};
use crate::format::Body;
use crate::journal::{Turn, durability_unknown};
use crate::names;
use crate::record::Seq;
use crate::segment::{Access, Found, Segment, Through};
use crate::sys::{self, Control, Patience};

/// How long a waiter sleeps before it asks whether the leader lives.
const TEST_AFTER: Duration = Duration::from_millis(20);

impl Attachment {
    /// Makes every record up to `seq` durable. The syncs run outside the append lock, so nobody waits for them who has not asked
    /// for it.
    ///
    /// # Errors
    /// `is_durability_unknown`: written as `seq`, and a sync has failed.
    pub(crate) fn sync(&self, seq: Seq, timeout: Duration) -> Result<()> {
        match self.control() {
            Some(control) => self.sync_together(control, seq, &Patience::of(timeout)),
            None => self.sync_alone(seq, timeout),
        }?;
        sys::count(&self.tally.counts().sync_waiters, 1);
        Ok(())
    }

    fn sync_together(&self, control: &Control, seq: Seq, patience: &Patience) -> Result<()> {
        let mut test = false;
        let mut slept_for = None;
        loop {
            // Before the last look at what is durable: so a sync that ends between the two is not slept through.
            let round = control.round();
            let poisoned = control.is_poisoned();
            if control.durable_seq() >= seq {
                if slept_for == Some(round) {
                    // Woken to lead it, with no need of it any more: let another one.
                    control.wake_leader();
                }
                return Ok(());
            }
            if poisoned {
                // Whoever comes first into the append lock moves the records to other pages, and they are durable there.
                self.under_lock(patience.timeout(), |_| Ok(Turn::Done(())))
                    .map_err(|e| durability_unknown(seq, e))?;
                continue;
            }
            if let Some(leading) = control.try_lock_sync(test) {
                let led = match control.durable_seq() >= seq {
                    true => Ok(()),
                    false => self.lead(control, patience),
                };
                drop(leading);
                control.end_round(control.is_poisoned());
                led.map_err(|e| durability_unknown(seq, e))?;
                slept_for = None;
                continue;
            }
            let left = patience.left();
            if left.is_zero() {
                let late =
                    Error::new(crate::error::Kind::LockTimeout, "another process does not end its sync")
                        .at(self.home.dir.path());
                return Err(durability_unknown(seq, late));
            }
            let until = if control.syncing_to() >= seq { round } else { round.wrapping_add(1) };
            test = !control.sleep_in_round(round, until, left.min(TEST_AFTER));
            slept_for = Some(until);
        }
    }

    /// Steps 3 and 4, by the owner of the sync lock. After a leader that died only the mark is made, and while records have to
    /// be moved nothing is: a sync of their pages would say that all is well. See [`sync_together`](Attachment::sync_together).
    fn lead(&self, control: &Control, patience: &Patience) -> Result<()> {
        let missing = control.begin_sync();
        sys::reached("sync begun");
        let led = if missing || control.is_poisoned() {
            Ok(())
        } else {
            let (begun, timed) = (control.now(), Instant::now());
            let durable_seq = control.durable_seq();
            let end = control.ends().read();
            control.set_syncing_to(end.next_seq.saturating_sub(1));
            let synced = self
                .first_sync(durable_seq)
                .and_then(|()| {
                    (control.unsynced_from().max(1)..=end.segment)
                        .try_for_each(|number| self.sync_segment(number))
                })
                .inspect(|()| sys::reached("synced"));
            let records = end.next_seq.saturating_sub(1).saturating_sub(durable_seq);
            self.tally.counts().synced(timed, synced.is_ok().then_some(records));
            synced.map(|()| {
                control.set_durable(end.next_seq.saturating_sub(1), end.segment);
                control.set_synced_at(begun);
            })
        };
        if missing || led.is_err() {
            self.poison(patience);
        }
        sys::reached("sync published");
        control.end_sync();
        led
    }

    /// While nothing is known to be durable, nor are the names that lead to it.
    fn first_sync(&self, durable_seq: Seq) -> Result<()> {
        if durable_seq == 0 { self.home.sync_names() } else { Ok(()) }
    }

    /// Syncs a segment, through the same descriptor as the last time: it is told of every failure since it was opened.
    fn sync_segment(&self, number: u64) -> Result<()> {
        let mut last = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = last.as_ref().filter(|segment| segment.number == number) {
            return segment.sync();
        }
        match Segment::open(&self.home.dir, number, &self.home.owner, Access::Write)? {
            Some(Found::Linked(linked)) => last.insert(linked.segment).sync(),
            // Retired, so synced before; or a number that a cut has left behind.
            None | Some(Found::Spare(_)) => Ok(()),
            Some(Found::Damaged(damaged)) => Err(damaged.error(self.home.dir.path())),
        }
    }

    fn sync_alone(&self, seq: Seq, timeout: Duration) -> Result<()> {
        let _turn = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let (segments, written, durable_seq) = {
            let journal = self.journal()?;
            let durable_seq = journal.durable_seq();
            if durable_seq >= seq {
                return Ok(());
            }
            (journal.unsynced(), journal.next_seq() - 1, durable_seq)
        };
        let from = segments.first().map_or(0, |segment| segment.number);
        let begun = Instant::now();
        let synced = self.first_sync(durable_seq).and_then(|()| self.sync_all(segments));
        let records = written.saturating_sub(durable_seq);
        self.tally.counts().synced(begun, synced.is_ok().then_some(records));
        if let Err(e) = synced {
            self.poison(&Patience::of(timeout));
            return Err(durability_unknown(seq, e));
        }
        // A failure of somebody else's, of which our own sync was not told because we opened the file after it. The mark is where
        // the journal ended for who was told, and that may be ahead of us.
        if self.journal()?.sync_failed || self.is_marked_from(from)? {
            return Err(durability_unknown(seq, self.failed_elsewhere()));
        }
        self.journal()?.synced(written);
        Ok(())
    }

    /// Whether a segment from this number on has a poison mark.
    fn is_marked_from(&self, number: u64) -> Result<bool> {
        let names = self.home.dir.names()?;
        Ok(names.iter().filter_map(|name| names::parse_poison(name)).any(|marked| marked >= number))
    }

    fn failed_elsewhere(&self) -> Error {
        Error::corruption("another sync of this segment has failed").at(self.home.dir.path())
    }

    fn sync_all(&self, segments: Vec<Joint>) -> Result<()> {
        segments.into_iter().try_for_each(|segment| segment.sync(&self.home.dir, &self.home.owner))
    }

    /// Syncs what this process wrote, and puts it on disk that it is durable: without that, damage to the last durable batch
    /// could not be told from a torn tail.
    pub(crate) fn detach(self: &Arc<Self>, timeout: Duration) -> Result<()> {
        let wrote = self.journal()?.wrote();
        if wrote == 0 {
            return Ok(());
        }
        self.sync(wrote, timeout)?;
        if self.journal()?.durable_seq_on_disk() < wrote {
            self.append(&Body::empty(), Through::File, timeout, |_| Ok(())).map_err(|e| {
                let kind = e.kind();
                e.become_kind(kind, "all records are durable; only the note of that could not be written")
            })?;
            self.sync_last_word(wrote, timeout)?;
        }
        self.journal()?.detached();
        Ok(())
    }

    /// The last word has no seq of its own to wait for.
    fn sync_last_word(&self, wrote: Seq, timeout: Duration) -> Result<()> {
        let patience = Patience::of(timeout);
        let synced = match self.control() {
            Some(control) => {
                let leading = control.lock_sync(&patience)?;
                let led = self.lead(control, &patience);
                drop(leading);
                control.end_round(control.is_poisoned());
                led
            }
            None => {
                let segments = self.journal()?.unsynced();
                let begun = Instant::now();
                let synced = self.sync_all(segments);
                self.tally.counts().synced(begun, synced.is_ok().then_some(0));
                synced.inspect_err(|_| self.poison(&patience))
            }
        };
        synced.map_err(|e| durability_unknown(wrote, e))
    }
}

impl Writer {
    /// See [`Attachment::detach`]. A process that has not used the cohort has nothing to say.
    pub(crate) fn detach(&self, timeout: Duration) -> Result<()> {
        self.attached().map_or(Ok(()), |attachment: &Arc<Attachment>| attachment.detach(timeout))
    }
}
