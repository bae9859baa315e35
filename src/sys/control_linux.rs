//! `control`: the memory that the processes attached to a cohort share. An accelerator, never the truth: what it says can be
//! found in the journal again, and is whenever there is doubt. What stands in it is in `layout_linux.rs`.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::ends::{End, Ends};
use super::fork::Kept;
#[cfg(test)]
pub(super) use super::layout::adopt;
pub(crate) use super::layout::prepare;
use super::layout::{Append, Durability, MAGIC, Mapped, SIZE, VERSION, is_same, map, map_read_only};
use super::slots::{claim, count_locked, is_locked, unlock_byte};
use super::word::{Owner, Word};
use super::{Counts, Dir, LockFile, Names, Patience, Stripe, boot_id, futex};
use crate::counters::Counters;
use crate::error::{Error, Kind, Result};
use crate::names;

/// What is counted in a cohort, for a process that is not attached. `None`: there is no control, or it tells of another start of
/// the system or another directory.
pub(crate) fn read_counters(dir: &Dir) -> Result<Option<Counters>> {
    let found = dir.open_read(names::CONTROL, Names::One).and_then(|control| {
        let lock = dir.open_read(names::LOCK, Names::One)?;
        Ok((control, lock))
    });
    let (file, lock) = match found {
        Ok((file, lock)) if file.len()? == SIZE => (file, lock),
        Ok(_) => return Ok(None),
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Err(e),
    };
    let mapped = map_read_only(&file)?;
    let layout = mapped.layout();
    let ((device, control_inode), (_, lock_inode)) = (file.identity()?, lock.identity()?);
    if !is_same(&layout.identity.0, boot_id(), [control_inode, lock_inode, device]) {
        return Ok(None);
    }
    let counters = layout.counts.read();
    Ok(Some(Counters { attached: count_locked(file.inner(), &layout.slots.0).ok(), ..counters }))
}

/// Control as an attached process has it.
pub(crate) struct Control {
    mapped: Mapped,
    /// Holds the lock on our slot's byte as long as it is open.
    file: Kept,
    /// Holds the shared lock on `lock`.
    attached: LockFile,
    me: Owner,
    path: std::path::PathBuf,
}

/// The append lock is held as long as this lives.
pub(crate) struct Owned<'a>(&'a Word);

impl Drop for Owned<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.unlock();
    }
}

impl Control {
    /// Opens `control` and takes a slot. `lock` holds the shared lock on `lock`. `None`: control is not ready.
    pub(crate) fn open(dir: &Dir, lock: LockFile) -> Result<std::result::Result<Control, LockFile>> {
        let file = match dir.open_write(names::CONTROL) {
            Ok(file) if file.len()? == SIZE => file,
            Ok(_) => return Ok(Err(lock)),
            Err(e) if e.is_not_found() => return Ok(Err(lock)),
            Err(e) => return Err(e),
        };
        let mapped = map(&file)?;
        let identity = &mapped.layout().identity.0;
        if identity.ready.load(Ordering::Acquire) != 1 || identity.magic.load(Ordering::Relaxed) != MAGIC {
            return Ok(Err(lock));
        }
        let version = identity.version.load(Ordering::Relaxed);
        if version != VERSION {
            let what = format!("attached processes use layout {version} of control, this is {VERSION}");
            return Err(Error::new(Kind::Unsupported, what)
                .at(file.path())
                .advise("let them end, or use their version of tallyfold"));
        }
        let path = file.path().to_path_buf();
        // Through a description of its own: a mapping keeps the one it was made from, and its locks, until it is gone, and a
        // forked child has that mapping for as long as it lives.
        let own = match LockFile::open(dir, names::CONTROL) {
            Ok(own) if own.identity()? == file.identity()? => own,
            Ok(_) => return Ok(Err(lock)),
            Err(e) if e.is_not_found() => return Ok(Err(lock)),
            Err(e) => return Err(e),
        };
        let file = own.into_kept();
        let me = claim(&file, &mapped.layout().slots.0, &path)?;
        Ok(Ok(Control { mapped, file, attached: lock, me, path }))
    }

    fn append(&self) -> &Append {
        &self.mapped.layout().append.0
    }

    fn durability(&self) -> &Durability {
        &self.mapped.layout().durability.0
    }

    pub(crate) fn ends(&self) -> &Ends {
        &self.append().ends
    }

    /// The published end, for readers of this process. `None`: nothing is known, or this is a child of the process that
    /// attached, which nothing keeps from becoming another file's memory.
    #[inline]
    pub(crate) fn end(&self) -> Option<End> {
        self.file.file()?;
        Some(self.ends().read()).filter(|end| end.segment != 0)
    }

    /// The append lock, if it is free.
    #[inline]
    pub(crate) fn try_lock_append(&self) -> Option<Owned<'_>> {
        let word = &self.append().lock;
        word.try_lock(self.me).then(|| Owned(word))
    }

    /// The append lock, which was not free a moment ago; and whether it had to be slept for.
    #[cold]
    pub(crate) fn wait_append(&self, patience: &Patience) -> Result<(Owned<'_>, bool)> {
        let word = &self.append().lock;
        match word.wait(self.me, patience, |owner| self.is_alive(owner)) {
            Ok(slept) => Ok((Owned(word), slept)),
            Err(owner) => Err(self.timed_out(owner, patience)),
        }
    }

    /// Where all attached processes count.
    #[inline]
    pub(crate) fn counts(&self) -> &Counts {
        &self.mapped.layout().counts
    }

    /// Where this one counts what it does under the append lock.
    #[inline]
    pub(crate) fn stripe(&self) -> &Stripe {
        self.counts().stripe(self.me.slot())
    }

    /// How many handles are attached, this one among them.
    pub(crate) fn attached(&self) -> Option<u64> {
        // Our own lock does not stand in our own way.
        count_locked(self.file.file()?, &self.mapped.layout().slots.0).ok().map(|others| others + 1)
    }

    /// The lock of those who make spares and reserve space.
    pub(crate) fn lock_ready(&self, patience: &Patience) -> Result<Owned<'_>> {
        self.lock(&self.mapped.layout().ready.0.lock, patience)
    }

    /// The lock of those who sync. Under the append lock only to cut.
    pub(crate) fn lock_sync(&self, patience: &Patience) -> Result<Owned<'_>> {
        self.lock(&self.durability().lock, patience)
    }

    #[inline]
    fn lock<'a>(&'a self, word: &'a Word, patience: &Patience) -> Result<Owned<'a>> {
        match word.lock(self.me, patience, |owner| self.is_alive(owner)) {
            Ok(()) => Ok(Owned(word)),
            Err(owner) => Err(self.timed_out(owner, patience)),
        }
    }

    /// The lock of those who sync, if it is free or its owner is dead. `test`: ask whether he is.
    pub(crate) fn try_lock_sync(&self, test: bool) -> Option<Owned<'_>> {
        let word = &self.durability().lock;
        let taken =
            word.try_lock(self.me) || test && word.take_from_dead(self.me, |owner| self.is_alive(owner));
        // Made only if it is ours: to drop one is to give the lock back.
        taken.then(|| Owned(word))
    }

    #[cold]
    fn timed_out(&self, owner: Owner, patience: &Patience) -> Error {
        let slot = self.mapped.layout().slots.0.get(owner.slot() as usize);
        let pid = slot.map(|slot| slot.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0);
        super::lock::timed_out(&self.path, pid, patience)
    }

    /// Whether the owner of a word is attached still.
    fn is_alive(&self, owner: Owner) -> bool {
        if owner == self.me {
            return true;
        }
        let slot = owner.slot();
        let Some(entry) = self.mapped.layout().slots.0.get(slot as usize) else { return false };
        // Who claims a slot counts its incarnation up before it takes any word. So another incarnation means that the owner is
        // gone, and a byte that is free too. A byte locked by one who has not counted yet: the next test tells.
        owner.is_incarnation(entry.incarnation.load(Ordering::Acquire))
            && slot != self.me.slot()
            && is_locked(&self.file, slot).unwrap_or(true)
    }

    pub(crate) fn durable_seq(&self) -> u64 {
        self.durability().durable_seq.load(Ordering::Acquire)
    }

    pub(crate) fn unsynced_from(&self) -> u64 {
        self.durability().unsynced_from.load(Ordering::Acquire)
    }

    /// Everything up to a seq is durable, and every segment before this one. For the owner of the sync lock, or of the append
    /// lock before anybody can sync.
    pub(crate) fn set_durable(&self, seq: u64, unsynced_from: u64) {
        self.durability().unsynced_from.fetch_max(unsynced_from, Ordering::Release);
        self.durability().durable_seq.fetch_max(seq, Ordering::Release);
    }

    pub(crate) fn said_seq(&self) -> u64 {
        self.durability().said_seq.load(Ordering::Relaxed)
    }

    /// A frame or link says that everything up to a seq is durable. For the owner of the append lock.
    #[inline]
    pub(crate) fn said(&self, seq: u64) {
        if self.said_seq() < seq {
            self.durability().said_seq.store(seq, Ordering::Relaxed);
        }
    }

    /// Says that a sync begins. `true`: the result of an earlier one is missing. For the owner of the sync lock.
    pub(crate) fn begin_sync(&self) -> bool {
        self.durability().syncing.swap(1, Ordering::AcqRel) != 0
    }

    /// Says that the result is recorded. For the owner of the sync lock, before it gives the lock back.
    pub(crate) fn end_sync(&self) {
        self.durability().syncing.store(0, Ordering::Release);
    }

    /// How long ago the last sync that went well began.
    pub(crate) fn since_last_sync(&self) -> Duration {
        match self.durability().synced_at.load(Ordering::Relaxed) {
            0 => Duration::MAX,
            // Another process may have another clock, in a namespace of its own: then it says nothing.
            at => self.now().checked_sub(Duration::from_millis(at)).unwrap_or(Duration::MAX),
        }
    }

    pub(crate) fn set_synced_at(&self, now: Duration) {
        self.durability().synced_at.store(now.as_millis() as u64, Ordering::Relaxed);
    }

    /// The time, by a clock that all processes share.
    pub(crate) fn now(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    }

    /// The highest seq that the sync which is running makes durable.
    pub(crate) fn syncing_to(&self) -> u64 {
        self.durability().syncing_to.load(Ordering::Acquire)
    }

    /// For the owner of the sync lock, before it syncs.
    pub(crate) fn set_syncing_to(&self, seq: u64) {
        self.durability().syncing_to.store(seq, Ordering::Release);
    }

    /// Ends a round: wakes who slept for it, and one of those who sleep for the next, to lead it. `all`: whoever sleeps. After
    /// the sync lock was given back, so that one of them can have it.
    pub(crate) fn end_round(&self, all: bool) {
        let sync = self.durability();
        let ended = sync.rounds.fetch_add(1, Ordering::Release);
        if sync.sleepers.load(Ordering::Relaxed) != 0 {
            let bits = if all { NonZeroU32::MAX } else { round_bit(ended) };
            futex::wake_some(&sync.rounds, i32::MAX as u32, bits);
            self.wake_leader();
        }
    }

    /// Wakes one of those who sleep for the next round, to lead it.
    pub(crate) fn wake_leader(&self) {
        let sync = self.durability();
        futex::wake_some(&sync.rounds, 1, round_bit(self.round()));
    }

    /// The number of the sync that is running or comes next.
    pub(crate) fn round(&self) -> u32 {
        self.durability().rounds.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub(crate) fn sleepers(&self) -> u32 {
        self.durability().sleepers.load(Ordering::Relaxed)
    }

    /// Sleeps, while `round` is the one that is running or comes next, until `until` has ended or somebody is needed to lead
    /// it, at most `timeout`. `false`: nothing has ended.
    pub(crate) fn sleep_in_round(&self, round: u32, until: u32, timeout: Duration) -> bool {
        let sync = self.durability();
        sync.sleepers.fetch_add(1, Ordering::Relaxed);
        futex::wait_for(&sync.rounds, round, timeout, round_bit(until));
        // Not below 0, should somebody have begun anew meanwhile.
        let _ = sync.sleepers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        self.round() != round
    }

    /// Whether a sync has failed and its records have not been moved.
    #[inline]
    pub(crate) fn is_poisoned(&self) -> bool {
        self.durability().poisoned.load(Ordering::Acquire) != 0
    }

    pub(crate) fn set_poisoned(&self, poisoned: bool) {
        self.durability().poisoned.store(poisoned.into(), Ordering::Release);
    }

    /// The number of the spare that is ready; 0: none.
    pub(crate) fn spare(&self) -> u64 {
        self.mapped.layout().ready.0.spare.load(Ordering::Acquire)
    }

    pub(crate) fn set_spare(&self, number: u64) {
        self.mapped.layout().ready.0.spare.store(number, Ordering::Release);
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // By name, not by closing, as for every lock: a child forked meanwhile may share the descriptions. In such a child there
        // is no file, so nothing is unlocked. A slot first, and then the word that nobody is attached.
        unlock_byte(&self.file, self.me.slot());
        self.attached.release();
    }
}

/// Who sleeps for a round sleeps for a bit: of the running one and the next, for there are no others.
fn round_bit(round: u32) -> NonZeroU32 {
    if round & 1 == 0 { NonZeroU32::MIN } else { NonZeroU32::MIN.saturating_add(1) }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Control({:?}, {:?})", self.me, self.ends().read())
    }
}

#[cfg(test)]
mod tests {
    use super::super::slots::{SLOTS, byte};
    use super::*;

    /// A cohort's directory as far as this module knows it.
    struct Place {
        _temporary: tempfile::TempDir,
        dir: Dir,
    }

    impl Place {
        fn new() -> Place {
            let temporary = tempfile::tempdir().unwrap();
            let dir = Dir::open(temporary.path()).unwrap();
            dir.create(names::LOCK).unwrap();
            Place { _temporary: temporary, dir }
        }

        fn lock(&self) -> LockFile {
            LockFile::new(self.dir.open_write(names::LOCK).unwrap())
        }

        /// As a process that finds nobody attached.
        fn prepare(&self) {
            let lock = self.lock();
            let _alone = lock.try_exclusive().unwrap().unwrap();
            prepare(&self.dir, &lock, || Ok(())).unwrap();
        }

        /// As a process of its own attaches: what is locked by one open file description is locked for all others.
        fn attach(&self) -> Result<Control> {
            let lock = self.lock();
            lock.keep_shared(&patience()).unwrap();
            Control::open(&self.dir, lock).map(|opened| opened.ok().unwrap())
        }
    }

    fn patience() -> Patience {
        Patience::of(Duration::from_millis(30))
    }

    /// The story: who tried for the sync lock and did not get it made a guard all the same, and dropping it freed the lock for a
    /// third: two leaders at once, of whom one took the other's sync for one whose result is missing.
    #[test]
    fn who_does_not_get_the_sync_lock_does_not_free_it() {
        let place = Place::new();
        place.prepare();
        let (leader, other) = (place.attach().unwrap(), place.attach().unwrap());
        let leading = leader.try_lock_sync(false).unwrap();
        for test in [false, true, false, true] {
            assert!(other.try_lock_sync(test).is_none());
        }
        assert!(other.lock_sync(&patience()).is_err());
        drop(leading);
        assert!(other.try_lock_sync(false).is_some());
    }

    #[test]
    fn when_every_slot_is_taken_that_is_said_and_one_who_leaves_makes_room() {
        let place = Place::new();
        place.prepare();
        let first = place.attach().unwrap();
        let second = place.attach().unwrap();
        assert_eq!((first.me.slot(), second.me.slot()), (0, 1), "each handle has one");
        // All the others at once, as a thousand more processes.
        let others = place.dir.open_write(names::CONTROL).unwrap();
        let mut range = byte(2, libc::F_WRLCK);
        range.l_len = libc::off_t::from(SLOTS - 2);
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open as long as `others` lives; the struct is ours.
        let taken = unsafe { libc::fcntl(others.inner().as_raw_fd(), libc::F_OFD_SETLK, &raw const range) };
        assert_eq!(taken, 0);
        let error = place.attach().unwrap_err();
        assert!(error.is_lock_timeout(), "{error}");
        let text = error.to_string();
        assert!(text.contains("1024 processes") && text.contains("control"), "{text}");
        assert!(text.contains("nothing was written; let some of them end"), "{text}");
        let before = second.me;
        drop(second);
        let third = place.attach().unwrap();
        assert_eq!(third.me.slot(), before.slot());
        assert!(third.me != before, "it counts as another owner");
        assert!(!first.is_alive(before) && first.is_alive(third.me) && third.is_alive(first.me));
        assert!(place.attach().is_err());
        drop(others);
        assert_eq!(place.attach().unwrap().me.slot(), 2);
    }

    #[test]
    fn a_layout_of_another_version_is_refused_while_somebody_uses_it_and_made_anew_after_that() {
        let place = Place::new();
        place.prepare();
        let attached = place.attach().unwrap();
        let version = &attached.mapped.layout().identity.0.version;
        version.store(VERSION + 1, Ordering::Relaxed);
        let error = place.attach().unwrap_err();
        assert!(error.is_unsupported(), "{error}");
        let text = error.to_string();
        let layouts = format!("layout {} of control, this is {VERSION}", VERSION + 1);
        for words in [&layouts, "control]", "let them end"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(place.lock().try_exclusive().unwrap().is_none(), "who is attached stays attached");
        drop(attached);
        place.prepare();
        place.attach().unwrap();
    }

    #[test]
    fn a_failed_sync_is_not_forgotten_with_the_memory_that_says_so() {
        let place = Place::new();
        let prepare = || {
            let lock = place.lock();
            let _alone = lock.try_exclusive().unwrap().unwrap();
            let mut doubted = false;
            let doubt = || {
                doubted = true;
                Ok(())
            };
            prepare(&place.dir, &lock, doubt).unwrap();
            doubted
        };
        assert!(!prepare(), "there was none before");
        place.attach().unwrap().set_poisoned(true);
        assert!(prepare(), "a mark");
        assert!(!prepare());
        assert!(!place.attach().unwrap().begin_sync());
        assert!(prepare(), "a result that is missing");
        let attached = place.attach().unwrap();
        attached.begin_sync();
        attached.mapped.layout().identity.0.boot[0].fetch_add(1, Ordering::Relaxed);
        drop(attached);
        assert!(
            !prepare(),
            "of another start of the system: its memory is gone, and the link of the segment tells"
        );
    }
}
