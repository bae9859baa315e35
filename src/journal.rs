//! The writer's side of the journal: lock, find the tail, write, publish, rotate, and cut where the end was in doubt.
//!
//! # An append
//! 1. The body is encoded and its CRC computed. (no lock)
//! 2. The append lock is taken, and the scan reads on to the tail from where this process last was.
//! 3. A tail in doubt is cut off first, a poisoned segment left behind; a frame that does not fit rotates.
//! 4. The header is finished and the frame written at the tail. **Commit point: the frame is whole.**
//! 5. The lock is released. If durable was asked for, the segment is synced (`durable.rs`).
//!
//! What an append needs allocated or synced is made ready between two turns under the lock: a turn that lacks space or a spare
//! segment gives the lock back, has it made, and begins again. Only a cut allocates and syncs under the lock, for nothing may
//! follow before it is on the medium; and a network file system, where the lock's release is what publishes.

use std::sync::Arc;
use std::time::Duration;

use crate::chain::{Floor, Joint};
use crate::error::{Error, Kind, Result};
use crate::format::{self, Body, FRAMES_BEGIN, Header, Link};
use crate::home::Home;
use crate::names::{self, Purpose};
use crate::record::Seq;
use crate::recover;
use crate::scan::{Place, Scan, Step};
use crate::segment::{Access, Found, Linked, Segment};
use crate::sys::{self, LockFile, Patience, Reach};

/// What a segment's file reserves when it is made, in bytes: little, for many cohorts stay small.
pub(crate) const FIRST_RESERVE: u64 = 32 << 10;

/// The journal of one cohort as one process writes it.
pub(crate) struct Journal {
    home: Arc<Home>,
    lock: Arc<LockFile>,
    /// At the tail, as of the last turn under the lock.
    scan: Scan,
    /// Whether a turn under the lock has looked at the whole rest of the active segment.
    attached: bool,
    /// Whether a sync of this process has failed, and its records have not been moved yet.
    sync_failed: bool,
    /// The highest seq this process knows to be durable: it said so on disk, or a sync of ours did.
    durable_seq: Seq,
    /// The last seq that this process wrote.
    wrote: Seq,
    /// The segment that this process has seen to be durable as a spare.
    spare: Option<Arc<Segment>>,
}

/// How a turn under the lock ends.
pub(crate) enum Turn<T> {
    Done(T),
    /// Reserve space to `end` in the active segment, then begin again.
    Grow {
        segment: Arc<Segment>,
        end: u64,
    },
    /// Have a spare with room for a frame of this length, then begin again.
    Spare {
        frame_len: u64,
    },
    /// Begin again.
    Again,
}

impl<T> Turn<T> {
    /// Goes on with what is done, or passes on what has to be made ready.
    fn then<U>(self, next: impl FnOnce(T) -> Result<Turn<U>>) -> Result<Turn<U>> {
        match self {
            Turn::Done(done) => next(done),
            Turn::Grow { segment, end } => Ok(Turn::Grow { segment, end }),
            Turn::Spare { frame_len } => Ok(Turn::Spare { frame_len }),
            Turn::Again => Ok(Turn::Again),
        }
    }
}

/// A segment that has just been sealed, and where its frames end.
pub(crate) struct Sealed {
    pub(crate) segment: Arc<Segment>,
    pub(crate) end: u64,
}

impl Journal {
    /// Finds the tail without a lock; the first turn under the lock makes sure of it.
    pub(crate) fn attach(home: Arc<Home>) -> Result<Journal> {
        home.check_file_system()?;
        let lock = Arc::new(LockFile::new(home.dir.open_write(names::LOCK)?));
        let scan = begin(&home)?;
        Ok(Journal {
            home,
            lock,
            scan,
            attached: false,
            sync_failed: false,
            durable_seq: 0,
            wrote: 0,
            spare: None,
        })
    }

    /// The first seq that no record has yet.
    pub(crate) fn next_seq(&self) -> Seq {
        self.scan.place().next_seq
    }

    pub(crate) fn place(&self) -> Place {
        self.scan.place()
    }

    /// The last seq in a sealed segment.
    pub(crate) fn sealed_through(&self) -> Seq {
        self.scan.linked().map_or(0, |active| active.link.first_seq - 1)
    }

    /// What this process wrote is settled; it has nothing to say on its way out.
    pub(crate) fn detached(&mut self) {
        self.wrote = 0;
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.scan.chain().epoch()
    }

    pub(crate) fn durable_seq(&self) -> Seq {
        self.durable_seq
    }

    pub(crate) fn wrote(&self) -> Seq {
        self.wrote
    }

    /// The highest durable seq that a frame or link on disk names.
    pub(crate) fn durable_seq_on_disk(&self) -> Seq {
        self.scan.durable_seq()
    }

    /// Everything up to a seq is durable: a sync of this process has made it so, or the disk says so.
    pub(crate) fn synced(&mut self, seq: Seq) {
        self.durable_seq = self.durable_seq.max(seq);
        self.scan.forget_before(self.durable_seq + 1);
    }

    /// The segments that hold records not known to be durable.
    pub(crate) fn unsynced(&self) -> Vec<Joint> {
        self.scan.segments_from(self.durable_seq + 1)
    }

    /// Appends a body and returns its last seq. `admit` is asked under the lock, with the journal at its tail, whether it may.
    pub(crate) fn append(
        &mut self,
        body: &Body,
        timeout: Duration,
        mut admit: impl FnMut(&Journal) -> Result<()>,
    ) -> Result<Seq> {
        let len = format::frame_len(body.bytes.len());
        self.under_lock(timeout, |journal| {
            admit(journal)?;
            let at = journal.scan.place().offset;
            let fits = at + len <= journal.home.settings.segment_bytes || at == FRAMES_BEGIN;
            let turn = if fits { Turn::Done(()) } else { journal.rotate(len)? };
            turn.then(|()| {
                let Some(active) = journal.scan.linked() else { return Ok(Turn::Again) };
                let (segment, end) = (Arc::clone(&active.segment), journal.scan.place().offset + len);
                match segment.has_room(end) {
                    true => journal.write(&segment, body).map(Turn::Done),
                    false => Ok(Turn::Grow { segment, end }),
                }
            })
        })
    }

    /// Step 4 of an append.
    fn write(&mut self, segment: &Arc<Segment>, body: &Body) -> Result<Seq> {
        let place = self.scan.place();
        let header = Header::new(body, place.next_seq, self.durable_seq, sys::wall_clock_us());
        let (frame, crc) = body.frame(&header, segment.salt());
        segment.write(&frame, place.offset).map_err(nothing_written)?;
        self.scan.wrote(frame.len() as u64, header.next_seq(), crc, self.durable_seq);
        if body.count > 0 {
            self.wrote = header.next_seq() - 1;
        }
        if self.home.reach == Reach::Network {
            // Another host sees what is on the server when the lock is free, and nothing else.
            if let Err(e) = segment.sync() {
                self.mark_poisoned();
                return Err(durability_unknown(header.next_seq() - 1, e));
            }
            self.synced(header.next_seq() - 1);
        }
        Ok(header.next_seq() - 1)
    }

    /// Seals the active segment and begins the spare. **Commit point: the write of the link.**
    fn rotate(&mut self, frame_len: u64) -> Result<Turn<()>> {
        let Some(spare) = self.take_spare(frame_len)? else { return Ok(Turn::Spare { frame_len }) };
        let place = self.scan.place();
        let link = self.link(self.epoch(), place);
        spare.write_link(&link)?;
        if self.home.reach == Reach::Network {
            spare.sync()?;
        }
        self.scan.rotated(Linked { segment: spare, link });
        Ok(Turn::Done(()))
    }

    /// Seals the active segment if there is anything in it. For a compactor, which folds sealed segments only.
    pub(crate) fn seal(&mut self, timeout: Duration) -> Result<Option<Sealed>> {
        self.under_lock(timeout, |journal| {
            let end = journal.scan.place().offset;
            let Some(active) = journal.scan.linked().filter(|_| end > FRAMES_BEGIN) else {
                return Ok(Turn::Done(None));
            };
            let segment = Arc::clone(&active.segment);
            journal.rotate(0)?.then(|()| Ok(Turn::Done(Some(Sealed { segment, end }))))
        })
    }

    /// Runs `step` under the append lock with the scan at a tail that is beyond doubt, as often as it needs something made
    /// ready first.
    pub(crate) fn under_lock<T>(
        &mut self,
        timeout: Duration,
        mut step: impl FnMut(&mut Journal) -> Result<Turn<T>>,
    ) -> Result<T> {
        let patience = Patience::of(timeout);
        let lock = Arc::clone(&self.lock);
        loop {
            let held = lock.exclusive(patience)?;
            let turn = self.catch_up()?.then(|()| step(self))?;
            drop(held);
            match turn {
                Turn::Done(done) => return Ok(done),
                Turn::Grow { segment, end } => {
                    segment.grow(end, self.home.settings.segment_bytes).map_err(nothing_written)?;
                }
                Turn::Spare { frame_len } => self.make_spare(frame_len, patience).map_err(nothing_written)?,
                Turn::Again => {}
            }
        }
    }

    /// Reads on to the tail. Under the lock nobody else writes, so what is found there is what a crash has left.
    fn catch_up(&mut self) -> Result<Turn<()>> {
        // Opened after the lock: before it, another host's writes may not have been in this host's cache.
        if self.home.reach == Reach::Network && !self.scan.reopen()? {
            self.scan = begin(&self.home)?;
        }
        let (mut moved, mut anew) = (false, false);
        let end = loop {
            match self.scan.step()? {
                Step::Frame(_) => {}
                Step::Moved if !moved => {
                    moved = true;
                    self.scan = begin(&self.home)?;
                }
                Step::Moved => return Err(recover::no_way_on(&self.scan.place(), self.home.dir.path())),
                Step::Tail { blank } if blank && self.rest_is_settled()? => break None,
                // Some of what led here was read before the lock was taken, and may have changed since.
                Step::Tail { .. } | Step::Broken if !anew => {
                    anew = true;
                    self.scan = begin(&self.home)?;
                }
                Step::Tail { .. } | Step::Broken => {
                    break Some(recover::judge(&self.scan, self.home.watermark()?, self.home.dir.path())?);
                }
            }
        };
        let settled = self.scan.chain().floor.min(self.next_seq() - 1);
        self.synced(self.scan.durable_seq().max(settled));
        match end {
            Some(end) => self.cut(end),
            None if self.is_poisoned()? || self.is_of_another_boot() => self.cut(self.scan.place()),
            None => Ok(Turn::Done(())),
        }
    }

    /// Once for each process: whether nothing stands behind the tail, and the journal reaches the snapshot's watermark. After
    /// a power cut whole frames may stand behind a hole, and the next frame must not join them.
    fn rest_is_settled(&mut self) -> Result<bool> {
        if self.attached {
            return Ok(true);
        }
        let place = self.scan.place();
        let blank = match self.scan.linked() {
            Some(active) => active.segment.is_blank_from(place.offset)?,
            None => false,
        };
        self.attached = blank && place.next_seq > self.home.watermark()?;
        Ok(self.attached)
    }

    /// Whether the system has been started anew since the active segment was begun. A power cut may have taken the last frames
    /// without leaving a trace, and readers may have seen them: what follows must not have the same (epoch, seq). On a network
    /// every host has a boot of its own, and nothing is visible there before it is synced.
    fn is_of_another_boot(&self) -> bool {
        const UNKNOWN: [u8; 16] = [0; 16];
        let (then, now) = (self.scan.linked().map_or(UNKNOWN, |active| active.link.boot), sys::boot_id());
        self.home.reach != Reach::Network && then != now && then != UNKNOWN && now != UNKNOWN
    }

    /// Whether a sync of the active segment has failed, here or anywhere.
    pub(crate) fn is_poisoned(&self) -> Result<bool> {
        Ok(self.sync_failed || self.home.dir.exists(&names::poison(self.scan.place().segment))?)
    }

    /// Leaves the mark of a failed sync where every writer looks before it writes: at the active segment. Best effort in all
    /// its parts, for the disk is failing; this process remembers in any case.
    pub(crate) fn poison(&mut self, timeout: Duration) {
        // At once where this process believes the tail to be, and again where it is: meanwhile it may have moved on.
        self.mark_poisoned();
        let lock = Arc::clone(&self.lock);
        if let Ok(_held) = lock.exclusive(Patience::of(timeout)) {
            while let Ok(Step::Frame(_)) = self.scan.step() {}
            self.mark_poisoned();
        }
    }

    fn mark_poisoned(&mut self) {
        self.sync_failed = true;
        let _ = self.home.dir.create(&names::poison(self.scan.place().segment));
        let _ = self.home.dir.sync();
    }

    /// Ends the journal at `end` and goes on in a new segment and epoch. Nothing is shortened or overwritten: the link of the
    /// new segment names the place, and what stands behind it stays where it is. **Commit point: the write of the link.**
    ///
    /// What is kept must be durable before the link says so. If a sync of it has failed, the pages cannot be trusted to reach
    /// the disk by another one: then the frames after the last durable seq are carried into the new segment, with their seqs,
    /// and the old one ends before them. Until this has succeeded nothing is appended.
    fn cut(&mut self, end: Place) -> Result<Turn<()>> {
        let Some(spare) = self.take_spare(0)? else { return Ok(Turn::Spare { frame_len: 0 }) };
        let mut from = end;
        if self.is_poisoned()? {
            from = self.carry(&spare, end.next_seq).map_err(|e| {
                // Its pages may be as doubtful as those they come from: it must never become part of the journal.
                let _ = self.home.dir.remove(&names::segment(spare.number));
                e.become_kind(
                    Kind::Poisoned,
                    "a sync has failed and its records cannot be moved; nothing was written",
                )
                .advise("check the disk; every append tries again to move them")
            })?;
        } else {
            for segment in self.unsynced() {
                if let Err(e) = segment.sync(&self.home.dir, &self.home.owner) {
                    self.mark_poisoned();
                    return Err(nothing_written(e));
                }
            }
            self.durable_seq = self.durable_seq.max(end.next_seq - 1);
        }
        spare.write_link(&self.link(self.epoch() + 1, from))?;
        if let Err(e) = spare.sync() {
            self.sync_failed = true;
            let _ = self.home.dir.create(&names::poison(spare.number));
            return Err(e);
        }
        self.durable_seq = self.durable_seq.max(end.next_seq - 1);
        self.sync_failed = false;
        self.scan = begin(&self.home)?;
        Ok(Turn::Again)
    }

    /// Copies all frames after the last durable seq and before `until` into `target`, and syncs it. Returns where the first
    /// of them stood.
    fn carry(&self, target: &Segment, until: Seq) -> Result<Place> {
        let mut old =
            Scan::begin(&self.home.dir, &self.home.owner, Floor::Seq(self.durable_seq), Access::Write)?;
        old.skip_to(self.durable_seq + 1)?;
        let place = old.place();
        let mut at = FRAMES_BEGIN;
        while old.place().next_seq < until {
            let Step::Frame(header) = old.step()? else {
                return Err(Error::corruption("a frame that was whole is not any more")
                    .in_segment(old.place().segment)
                    .at_offset(old.place().offset)
                    .at_seq(old.place().next_seq));
            };
            let body = Body { bytes: old.body().to_vec(), count: header.count, crc: header.body_crc };
            let (frame, _) = body.frame(&header, target.salt());
            target.write(&frame, at)?;
            at += frame.len() as u64;
        }
        target.sync()?;
        Ok(place)
    }

    fn link(&self, epoch: u64, place: Place) -> Link {
        Link {
            epoch,
            first_seq: place.next_seq,
            previous: place.segment,
            previous_end: place.offset,
            previous_crc: place.last_crc,
            durable_seq: self.durable_seq,
            time_us: sys::wall_clock_us(),
            boot: sys::boot_id(),
        }
    }

    /// The spare, if it is the next segment and has room for a frame. Under the lock.
    fn take_spare(&mut self, frame_len: u64) -> Result<Option<Arc<Segment>>> {
        let next = self.scan.chain().next_number;
        let Some(spare) = self.spare.take_if(|spare| spare.number == next) else { return Ok(None) };
        // Looked up by name again: after a failed sync somebody may have removed the file that this handle leads to.
        match Segment::open(&self.home.dir, next, &self.home.owner, Access::Write)? {
            Some(Found::Spare(named)) if named.salt() == spare.salt() => {}
            _ => return Ok(None),
        }
        if !spare.has_room(FRAMES_BEGIN + frame_len) {
            self.spare = Some(spare);
            return Ok(None);
        }
        Ok(Some(spare))
    }

    /// Makes the next segment ready, outside the lock: reserved, its identity and its name on the medium. A link is only ever
    /// written into a segment that the same process has seen to be so, for whoever syncs that segment later syncs no name.
    pub(crate) fn make_spare(&mut self, frame_len: u64, patience: Patience) -> Result<()> {
        let len = (FRAMES_BEGIN + frame_len).max(FIRST_RESERVE.min(self.home.settings.segment_bytes));
        let number = self.scan.chain().next_number;
        let dir = &self.home.dir;
        let known = self.scan.place().segment;
        let lock = Arc::clone(&self.lock);
        let mut spare = match Segment::open(dir, number, &self.home.owner, Access::Write)? {
            Some(Found::Spare(spare)) => Some(spare),
            // Somebody has begun it meanwhile, or it is damaged: the next turn under the lock will see.
            Some(_) => return Ok(()),
            None => None,
        };
        if let Some(left) = &spare
            && !left.is_blank_from(FRAMES_BEGIN)?
        {
            // Frames were being carried into it, by a process that is at it or dead. Under the lock, it is dead.
            let _held = lock.exclusive(patience)?;
            if let Some(Found::Spare(left)) = Segment::open(dir, number, &self.home.owner, Access::Write)?
                && !left.is_blank_from(FRAMES_BEGIN)?
            {
                dir.remove(&names::segment(number))?;
            }
            spare = None;
        }
        if spare.is_none() {
            let temporary = names::temporary(Purpose::Segment, sys::random_u64());
            let named = Segment::make(dir, &temporary, self.home.owner.identity(number), len).and_then(
                |mut segment| {
                    let _held = lock.exclusive(patience)?;
                    // A number is used once: it is given only while it still comes next. If the active segment we know has its
                    // name, none after it has been retired; so a name that is free has never been given.
                    let name = names::segment(number);
                    let free = !dir.exists(&name)? && (known == 0 || dir.exists(&names::segment(known))?);
                    let named = match free.then(|| dir.rename(&temporary, &name)) {
                        None => false,
                        // A compactor took it for a dead writer's: the next turn makes another.
                        Some(Err(e)) if e.is_not_found() => false,
                        Some(renamed) => renamed.map(|()| true)?,
                    };
                    segment.file.renamed(dir.path().join(name));
                    Ok(named.then_some(Arc::new(segment)))
                },
            );
            if !matches!(named, Ok(Some(_))) {
                // Best effort: a compactor removes what stays.
                let _ = dir.remove(&temporary);
            }
            spare = named?;
        }
        let Some(spare) = spare else { return Ok(()) };
        if !spare.has_room(len) {
            spare.grow(len, len)?;
        }
        if let Err(e) = spare.sync().and_then(|()| dir.sync()) {
            // Whoever syncs it again may be told that all is well: so it must not become part of the journal, or be left soon.
            let _held = lock.exclusive(patience)?;
            match Segment::open(dir, number, &self.home.owner, Access::Write)? {
                Some(Found::Spare(_)) => drop(dir.remove(&names::segment(number))?),
                _ => drop(dir.create(&names::poison(number))),
            }
            return Err(e);
        }
        self.spare = Some(spare);
        Ok(())
    }
}

/// A sync after the commit point has failed: the record is there, and must not be appended again.
pub(crate) fn durability_unknown(seq: Seq, e: Error) -> Error {
    e.become_kind(
        Kind::DurabilityUnknown,
        format!("written as seq {seq}, durability unknown: a sync has failed"),
    )
    .at_seq(seq)
    .advise("check the disk; the next append moves the records to a new segment")
}

fn nothing_written(e: Error) -> Error {
    let kind = e.kind();
    e.become_kind(kind, "nothing was written")
}

/// A scan from the floor to the tail, or to whatever stops it.
fn begin(home: &Home) -> Result<Scan> {
    let mut scan = Scan::begin(&home.dir, &home.owner, home.floor()?, Access::Write)?;
    while let Step::Frame(_) = scan.step()? {}
    Ok(scan)
}
