//! What a process does for its cohorts beside its appends: one thread for all of them, started when first asked, gone when
//! nobody has asked for a while, and never there in a process that only reads.
//!
//! | asked for | when | what |
//! |---|---|---|
//! | [`ROOM`] | the active segment is half full, or fills fast | space and pages in it, or the next one, before an append has to wait |
//! | [`WRITTEN`] | something was written that is not synced | a sync, at most `sync_interval_ms` later |
//! | [`GROWN`] | the tail has grown | compaction, if it is due (`compact.rs`) |
//!
//! None of it is needed for anything promised but the sync: an append that finds no room makes it, and who compacts by hand
//! finds what there is. So whatever fails here is tried again when it is next asked for, and told in
//! [`Stats`](crate::Stats).
//!
//! A handle that is dropped waits until the thread has let go of it, for another process may want to be alone with the cohort;
//! and a process that exits waits for a running sync, whose missing result would count as a failure.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::attach::Attachment;
use crate::compact::{self, Compaction};
use crate::error::{Error, Kind, Result};
use crate::sys::{self, Patience, PerProcess};

/// The active segment needs space, pages or a successor; or the one before is to be let go of.
pub(crate) const ROOM: u32 = 1;
/// Something was written that is not synced.
pub(crate) const WRITTEN: u32 = 2;
/// The tail has grown.
pub(crate) const GROWN: u32 = 4;

/// How long the thread stays with nothing to do.
const IDLE: Duration = Duration::from_secs(2);
/// How long it leaves alone what it has just looked at: the tail after a compaction, and anything that failed.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a process that exits waits for the thread.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);

static KEEPER: PerProcess<Keeper> = PerProcess::new();

/// What was asked for on behalf of one attachment.
#[derive(Default)]
pub(crate) struct Chores {
    /// Asked for and not begun: so that an append asks once, and else only looks.
    asked: AtomicU32,
    /// The handle is being dropped.
    closing: AtomicBool,
    plan: Mutex<Plan>,
}

/// When to do what.
#[derive(Default)]
struct Plan {
    room: Due,
    sync: Due,
    compact: Due,
    failure: Option<String>,
    /// Of the last try to write the mirror. Apart, for a sync that goes well says nothing of it.
    mirror_failure: Option<String>,
}

#[derive(Default)]
struct Due {
    /// `None`: not asked for.
    at: Option<Instant>,
    /// It has just been tried.
    not_before: Option<Instant>,
}

impl Due {
    fn after(&mut self, wait: Duration) {
        let now = Instant::now();
        self.at = now.checked_add(wait).max(self.not_before);
    }

    fn pause(&mut self) {
        self.not_before = Instant::now().checked_add(PAUSE);
    }
}

impl Plan {
    fn next(&self) -> Option<Instant> {
        [&self.room, &self.sync, &self.compact].into_iter().filter_map(|due| due.at).min()
    }
}

impl Chores {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the last thing done in the background failed, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.plan().failure.clone()
    }

    /// Why the last try to write the mirror failed, if it did.
    pub(crate) fn mirror_failure(&self) -> Option<String> {
        self.plan().mirror_failure.clone()
    }

    /// The mirror was written, or why not.
    pub(crate) fn mirrored(&self, failure: Option<String>) {
        self.plan().mirror_failure = failure;
    }

    /// Takes what is due; what is asked for from here on is asked for anew.
    fn take_due(&self, bit: u32, due: impl FnOnce(&mut Plan) -> &mut Due) -> bool {
        let now = Instant::now();
        let taken = due(&mut self.plan()).at.take_if(|at| *at <= now).is_some();
        if taken {
            self.asked.fetch_and(!bit, Ordering::AcqRel);
        }
        taken
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

impl Attachment {
    /// Asks for what an append has found wanting. Costs a look if that was asked for before.
    #[inline]
    pub(crate) fn ask(self: &Arc<Self>, wanted: u32) {
        if wanted & !self.chores.asked.load(Ordering::Relaxed) != 0 {
            self.ask_anew(wanted);
        }
    }

    #[cold]
    fn ask_anew(self: &Arc<Self>, wanted: u32) {
        let new = wanted & !self.chores.asked.fetch_or(wanted, Ordering::AcqRel);
        let mut plan = self.chores.plan();
        if new & ROOM != 0 {
            plan.room.after(Duration::ZERO);
        }
        if new & WRITTEN != 0 {
            plan.sync.after(self.home.settings.unsynced_at_most().unwrap_or(Duration::MAX));
        }
        if new & GROWN != 0 {
            plan.compact.after(Duration::ZERO);
        }
        drop(plan);
        if !KEEPER.get(Keeper::default).attend(self) {
            // Without a thread appends make their own room, and the next one asks again.
            self.chores.asked.store(0, Ordering::Release);
        }
    }

    /// What cannot wait for a compaction to end.
    fn do_what_is_short(&self) {
        let chores = &self.chores;
        if chores.take_due(ROOM, |plan| &mut plan.room) {
            let made = self.make_room();
            let mut plan = chores.plan();
            if let Err(e) = made {
                plan.room.pause();
                plan.failure = Some(e.to_string());
            }
        }
        if chores.take_due(WRITTEN, |plan| &mut plan.sync) {
            let synced = self.sync_what_is_written();
            chores.plan().failure = synced.err().map(|e| e.to_string());
        }
    }

    fn do_all(&self, keeper: &Keeper) {
        self.do_what_is_short();
        let chores = &self.chores;
        if chores.take_due(GROWN, |plan| &mut plan.compact) {
            let done = compact::run_if_due(self, self.home.timeout(), &mut || keeper.between(self));
            let mut plan = chores.plan();
            plan.compact.pause();
            match done {
                Ok(Compaction::Nothing) => plan.failure = None,
                // More may have come meanwhile; and it may be due as soon as the other one is done.
                Ok(_) => {
                    plan.failure = None;
                    plan.compact.after(PAUSE);
                }
                Err(e) if !chores.is_closing() => plan.failure = Some(e.to_string()),
                Err(_) => {}
            }
        }
    }

    /// Syncs what this process wrote, unless somebody has. Of many processes that write, one does it for all: what is not
    /// durable was written after the last sync began, so it may wait until the interval since then is over.
    fn sync_what_is_written(&self) -> Result<()> {
        let wrote = self.journal()?.wrote();
        if self.journal()?.durable_seq() >= wrote {
            return Ok(());
        }
        if let (Some(control), Some(interval)) = (self.control(), self.home.settings.unsynced_at_most()) {
            let since = control.since_last_sync();
            if since < interval {
                self.chores.asked.fetch_or(WRITTEN, Ordering::AcqRel);
                self.chores.plan().sync.after(interval - since);
                return Ok(());
            }
        }
        self.sync(wrote, self.home.timeout())
    }

    /// Space and pages in the active segment, and the next one once this is half full. The one before is let go of.
    fn make_room(&self) -> Result<()> {
        let patience = Patience::of(self.home.timeout());
        let (segment, end, wants_spare, _left) = {
            let mut journal = self.journal()?;
            let left = journal.scan.take_left();
            let Some(active) = journal.scan.linked() else { return Ok(()) };
            (Arc::clone(&active.segment), journal.scan.place().offset, journal.wants_spare(), left)
        };
        if segment.wants_space(end, self.home.settings.segment_bytes) {
            segment.grow(segment.reserved() + 1, self.home.settings.segment_bytes)?;
        }
        if segment.wants_pages_ahead(end) {
            segment.populate_ahead(end);
        }
        if wants_spare {
            self.make_spare(0, &patience)?;
        }
        Ok(())
    }
}

/// The thread's side. See the module.
#[derive(Default)]
struct Keeper {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    attended: Vec<Arc<Attachment>>,
    /// The addresses of what the thread is at: of several while it looks after others between two steps of a compaction.
    at: Vec<usize>,
    running: bool,
    exiting: bool,
}

fn address(attachment: &Arc<Attachment>) -> usize {
    Arc::as_ptr(attachment).addr()
}

impl State {
    /// What has to be done next, and when.
    fn next(&self) -> Option<(Instant, &Arc<Attachment>)> {
        let due = self.attended.iter().filter_map(|a| a.chores.plan().next().map(|at| (at, a)));
        due.min_by_key(|(at, _)| *at)
    }

    /// Begins what is due. Nobody lets go of it until it is [`end`](Keeper::end)ed.
    fn begin(&mut self) -> Option<Arc<Attachment>> {
        let (_, attachment) = self.next().filter(|(at, _)| *at <= Instant::now())?;
        let attachment = Arc::clone(attachment);
        self.at.push(address(&attachment));
        Some(attachment)
    }
}

impl Keeper {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that the thread looks at the attachment's plan. `false`: there is no thread.
    fn attend(&'static self, attachment: &Arc<Attachment>) -> bool {
        let mut state = self.state();
        if state.exiting || attachment.chores.is_closing() {
            return false;
        }
        if !state.attended.iter().any(|attended| Arc::ptr_eq(attended, attachment)) {
            state.attended.push(Arc::clone(attachment));
        }
        if !state.running {
            sys::at_exit(stop);
            state.running = sys::spawn_quietly("tallyfold", || self.keep());
        }
        self.changed.notify_all();
        state.running
    }

    fn keep(&self) {
        let _gone = Gone(self);
        let mut state = self.state();
        let mut idle_since = Instant::now();
        while !state.exiting {
            if let Some(attachment) = state.begin() {
                drop(state);
                self.end(attachment, |attachment| attachment.do_all(self));
                state = self.state();
                idle_since = Instant::now();
                continue;
            }
            let idle = idle_since.elapsed();
            let wait = match state.next() {
                Some((at, _)) => at.saturating_duration_since(Instant::now()),
                None if idle >= IDLE => break,
                None => IDLE - idle,
            };
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        // Under the same lock as the last look: who asks after it starts another thread.
        state.running = false;
    }

    /// Does what was begun, and ends it.
    fn end(&self, attachment: Arc<Attachment>, act: impl FnOnce(&Arc<Attachment>)) {
        let _ended = Ended(self);
        // Dropped before it is told that we have let go: it may be the last one.
        let attachment = attachment;
        act(&attachment);
    }

    /// Between two steps of a compaction: what is short, for all.
    fn between(&self, compacted: &Attachment) -> Result<()> {
        let begun = {
            let mut state = self.state();
            if state.exiting || compacted.chores.is_closing() {
                let what = "the compaction was abandoned: its process lets go of the cohort";
                return Err(Error::new(Kind::Conflict, what));
            }
            state.begin()
        };
        if let Some(attachment) = begun {
            self.end(attachment, |attachment| attachment.do_what_is_short());
        }
        Ok(())
    }

    fn leave(&self, attachment: &Arc<Attachment>) {
        attachment.chores.closing.store(true, Ordering::Release);
        let mut state = self.state();
        state.attended.retain(|attended| !Arc::ptr_eq(attended, attachment));
        while state.at.contains(&address(attachment)) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The thread has ended, even if by a panic.
struct Gone<'a>(&'a Keeper);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state().running = false;
        }
    }
}

/// The thread has let go of what it was at last.
struct Ended<'a>(&'a Keeper);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.state().at.pop();
        self.0.changed.notify_all();
    }
}

/// Lets go of an attachment: when this returns, the thread does not use it and will not again.
pub(crate) fn leave(attachment: &Arc<Attachment>) {
    if let Some(keeper) = KEEPER.existing() {
        keeper.leave(attachment);
    }
}

/// The process exits.
extern "C" fn stop() {
    let Some(keeper) = KEEPER.existing() else { return };
    let begun = Instant::now();
    let mut state = keeper.state();
    state.exiting = true;
    keeper.changed.notify_all();
    while !state.at.is_empty() && begun.elapsed() < EXIT_TIMEOUT {
        state = keeper.changed.wait_timeout(state, EXIT_TIMEOUT).unwrap_or_else(PoisonError::into_inner).0;
    }
}
