//! The writer's side of the journal: lock, find the tail, write, publish, rotate.
//!
//! # An append
//! 1. The body is encoded and its CRC computed. (no lock)
//! 2. The append lock is taken, and the tail found: where shared memory says, or by reading on from where this process was.
//! 3. A tail in doubt is cut off first, a poisoned segment left behind (`cut.rs`); a frame that does not fit rotates.
//! 4. The header is finished, the frame written at the tail, its end published. **Commit point: the frame is whole.**
//! 5. The lock is released. If durable was asked for, the segment is synced (`durable.rs`).
//!
//! What an append needs allocated or synced is made ready between two turns under the lock (`ready.rs`): a turn that lacks
//! space or a spare segment gives the lock back, has it made, and begins again. Only a cut allocates and syncs under the lock,
//! for nothing may follow before it is on the medium; and a network file system, where the lock's release is what publishes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::attach::Attachment;
use crate::chain::Joint;
use crate::counters::Tally;
use crate::error::{Error, Kind, Result};
use crate::format::{self, Body, FRAMES_BEGIN, Header, Link};
use crate::home::Home;
use crate::housekeeping;
use crate::ready;
use crate::record::Seq;
use crate::recover;
use crate::scan::{Place, Scan, Step};
use crate::segment::{Access, Linked, Segment, Through};
use crate::sys::{self, Control, End, Patience, Reach};

/// What one process knows of a cohort's journal. Changed under the append lock.
pub(crate) struct Journal {
    pub(crate) home: Arc<Home>,
    /// The class `memory`: where the tail and what is durable are published.
    pub(crate) control: Option<Arc<Control>>,
    pub(crate) tally: Tally,
    /// At the tail, as of the last turn under the lock.
    pub(crate) scan: Scan,
    /// Whether a turn under the lock has looked at the whole rest of the active segment.
    attached: bool,
    /// Whether a sync of this process has failed, and its records have not been moved yet.
    pub(crate) sync_failed: bool,
    /// The highest seq this process knows to be durable: it said so on disk, or a sync of ours did.
    durable_seq: Seq,
    /// The segment that was begun by a cut, and whose link is known to be on the medium.
    pub(crate) cut: u64,
    /// The last seq that this process wrote.
    wrote: Seq,
    /// The segment and the offset at which compaction was last asked for.
    looked_at: (u64, u64),
    /// The segment that is known to be durable as a spare.
    pub(crate) spare: Option<Arc<Segment>>,
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
    pub(crate) fn then<U>(self, next: impl FnOnce(T) -> Result<Turn<U>>) -> Result<Turn<U>> {
        match self {
            Turn::Done(done) => next(done),
            Turn::Grow { segment, end } => Ok(Turn::Grow { segment, end }),
            Turn::Spare { frame_len } => Ok(Turn::Spare { frame_len }),
            Turn::Again => Ok(Turn::Again),
        }
    }
}

/// What a compactor may fold.
pub(crate) struct Sealed {
    /// The segment that has just been sealed, and where its frames end; `None`: the active one had no frame.
    pub(crate) last: Option<(Arc<Segment>, u64)>,
    /// The last seq in a sealed segment.
    pub(crate) through: Seq,
    pub(crate) epoch: u64,
}

impl Attachment {
    /// Appends a body and returns its last seq. `admit` is asked under the lock, with the journal at its tail, whether it may.
    /// A body that will be synced does not go through memory: syncing a page that was stored to costs several times as much.
    pub(crate) fn append(
        self: &Arc<Self>,
        body: &Body,
        through: Through,
        timeout: Duration,
        mut admit: impl FnMut(&Journal) -> Result<()>,
    ) -> Result<Seq> {
        let len = format::frame_len(body.bytes.len());
        let time_us = sys::wall_clock_us();
        let (mut pages, mut wanted) = (None, 0);
        let seq = self.under_lock(timeout, |journal| {
            admit(journal)?;
            let at = journal.scan.place().offset;
            let fits = at + len <= journal.home.settings.segment_bytes || at == FRAMES_BEGIN;
            let turn = if fits { Turn::Done(()) } else { journal.rotate(len)? };
            turn.then(|()| {
                let Some(active) = journal.scan.linked() else { return Ok(Turn::Again) };
                let (segment, end) = (&active.segment, journal.scan.place().offset + len);
                if !segment.has_room(end) {
                    return Ok(Turn::Grow { segment: Arc::clone(segment), end });
                }
                let seq = journal.write(body, time_us, through)?;
                pages = (through == Through::Memory).then(|| journal.wants_pages()).flatten();
                wanted = journal.wants(through);
                Ok(Turn::Done(seq))
            })
        })?;
        if let Some((segment, end)) = pages {
            segment.populate(end);
        }
        self.ask(wanted);
        Ok(seq)
    }

    /// Seals the active segment if there is anything in it. For a compactor, which folds sealed segments only.
    pub(crate) fn seal(&self, timeout: Duration) -> Result<Sealed> {
        self.under_lock(timeout, |journal| {
            let end = journal.scan.place().offset;
            let active = journal.scan.linked().map(|active| Arc::clone(&active.segment));
            let last = active.filter(|_| end > FRAMES_BEGIN).map(|segment| (segment, end));
            let turn = if last.is_some() { journal.rotate(0)? } else { Turn::Done(()) };
            turn.then(|()| {
                let through = journal.scan.linked().map_or(0, |active| active.link.first_seq - 1);
                Ok(Turn::Done(Sealed { last, through, epoch: journal.epoch() }))
            })
        })
    }

    /// Runs `step` under the append lock with the scan at a tail that is beyond doubt, as often as it needs something made
    /// ready first.
    pub(crate) fn under_lock<T>(
        &self,
        timeout: Duration,
        mut step: impl FnMut(&mut Journal) -> Result<Turn<T>>,
    ) -> Result<T> {
        let patience = Patience::of(timeout);
        loop {
            let inside = self.enter(&patience)?;
            sys::reached("lock taken");
            let turn = {
                let mut journal = self.journal()?;
                journal.find_tail()?.then(|()| step(&mut journal))?
            };
            drop(inside);
            match turn {
                Turn::Done(done) => return Ok(done),
                Turn::Grow { segment, end } => {
                    segment.grow(end, self.home.settings.segment_bytes).map_err(nothing_written)?
                }
                Turn::Spare { frame_len } => {
                    self.make_spare(frame_len, &patience).map_err(nothing_written)?
                }
                Turn::Again => {}
            }
        }
    }
}

impl Journal {
    /// Finds the tail without a lock; the first turn under the lock makes sure of it.
    pub(crate) fn find(home: Arc<Home>, control: Option<Arc<Control>>, tally: Tally) -> Result<Journal> {
        let known = control.as_ref().map(|control| control.ends().read()).filter(|end| end.segment != 0);
        let mut scan = Scan::nowhere(&home.dir, &home.owner, Access::Write);
        if !match known {
            Some(end) => scan.jump(&end)?,
            None => false,
        } {
            scan = begin(&home)?;
        }
        if control.is_some()
            && let Some(active) = scan.linked()
        {
            // A copy of the directory may have holes, and a store into a hole of a full disk would be SIGBUS.
            active.segment.reserve_again()?;
        }
        let mut journal = Journal { control, tally, ..Journal::over(home, scan) };
        journal.open_window();
        Ok(journal)
    }

    /// A journal without shared memory, known as far as a scan has come.
    pub(crate) fn over(home: Arc<Home>, scan: Scan) -> Journal {
        Journal {
            home,
            control: None,
            tally: Tally::new(None),
            scan,
            attached: false,
            sync_failed: false,
            durable_seq: 0,
            cut: 0,
            wrote: 0,
            looked_at: (0, 0),
            spare: None,
        }
    }

    /// The first seq that no record has yet.
    pub(crate) fn next_seq(&self) -> Seq {
        self.scan.place().next_seq
    }

    pub(crate) fn place(&self) -> Place {
        self.scan.place()
    }

    /// What this process wrote is settled; it has nothing to say on its way out.
    pub(crate) fn detached(&mut self) {
        self.wrote = 0;
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.scan.chain().epoch()
    }

    pub(crate) fn durable_seq(&self) -> Seq {
        match &self.control {
            Some(control) => control.durable_seq(),
            None => self.durable_seq,
        }
    }

    /// The last seq this process wrote and has not detached from; 0: none.
    pub(crate) fn wrote(&self) -> Seq {
        self.wrote
    }

    /// The highest durable seq that a frame or link on disk names.
    pub(crate) fn durable_seq_on_disk(&self) -> Seq {
        match &self.control {
            Some(control) => control.said_seq(),
            None => self.scan.durable_seq(),
        }
    }

    /// Everything up to a seq is durable: a sync of this process has made it so, or the disk says so.
    pub(crate) fn synced(&mut self, seq: Seq) {
        self.durable_seq = self.durable_seq.max(seq);
        self.scan.forget_before(self.durable_seq + 1);
    }

    /// The segments that hold records not known to be durable.
    pub(crate) fn unsynced(&self) -> Vec<Joint> {
        self.scan.segments_from(self.durable_seq() + 1)
    }

    /// Step 4 of an append.
    fn write(&mut self, body: &Body, time_us: i64, through: Through) -> Result<Seq> {
        let Some(active) = self.scan.linked() else { return Err(no_segment(&self.home)) };
        let place = self.scan.place();
        let durable_seq = self.durable_seq();
        let header = Header::new(body, place.next_seq, durable_seq, time_us);
        self.begin();
        sys::reached("frame begun");
        let crc =
            active.segment.write_frame(&header, body, place.offset, through).map_err(nothing_written)?;
        sys::reached("frame written");
        self.scan.wrote(header.frame_len(), header.next_seq(), crc, durable_seq);
        self.publish();
        sys::reached("frame published");
        self.tally.stripe().appended(header.count, header.frame_len());
        if body.count > 0 {
            self.wrote = header.next_seq() - 1;
        }
        if let Some(control) = &self.control {
            control.said(durable_seq);
        }
        if self.home.reach == Reach::Network {
            self.sync_under_lock(header.next_seq() - 1)?;
        }
        Ok(header.next_seq() - 1)
    }

    /// Another host sees what is on the server when the lock is free, and nothing else.
    fn sync_under_lock(&mut self, seq: Seq) -> Result<()> {
        let Some(active) = self.scan.linked() else { return Err(no_segment(&self.home)) };
        let begun = Instant::now();
        let names = if self.durable_seq == 0 { self.home.sync_names() } else { Ok(()) };
        let synced = names.and_then(|()| active.segment.sync());
        let records = seq.saturating_sub(self.durable_seq);
        self.tally.counts().synced(begun, synced.is_ok().then_some(records));
        if let Err(e) = synced {
            self.mark_poisoned();
            return Err(durability_unknown(seq, e));
        }
        self.synced(seq);
        Ok(())
    }

    /// Seals the active segment and begins the spare. **Commit point: the write of the link.**
    fn rotate(&mut self, frame_len: u64) -> Result<Turn<()>> {
        let Some(spare) = self.take_spare(frame_len)? else { return Ok(Turn::Spare { frame_len }) };
        let place = self.scan.place();
        let link = self.link(self.epoch(), place);
        self.begin();
        sys::reached("link begun");
        spare.write_link(&link)?;
        sys::reached("link written");
        if self.home.reach == Reach::Network {
            spare.sync()?;
        }
        self.scan.rotated(Linked { segment: spare, link });
        self.open_window();
        self.publish();
        sys::count(&self.tally.counts().rotations, 1);
        Ok(Turn::Done(()))
    }

    /// Says in shared memory that bytes behind the tail are about to change.
    #[inline]
    pub(crate) fn begin(&self) {
        if let Some(control) = &self.control {
            control.ends().begin();
        }
    }

    /// Publishes the tail in shared memory. **Its commit point there.**
    #[inline]
    pub(crate) fn publish(&self) {
        if let Some(control) = &self.control {
            control.ends().publish(&self.scan.place().into());
        }
    }

    /// Frames go out through memory where a file system keeps what it has reserved: so in every cohort with a control.
    pub(crate) fn open_window(&mut self) {
        if self.control.is_some()
            && let Some(active) = self.scan.linked()
        {
            active.segment.open_window(self.home.settings.segment_bytes);
        }
    }

    /// The active segment and the tail, if pages should be made present there before the next append comes.
    fn wants_pages(&self) -> Option<(Arc<Segment>, u64)> {
        let active = self.scan.linked().filter(|_| self.control.is_some())?;
        let end = self.scan.place().offset;
        active.segment.wants_pages(end).then(|| (Arc::clone(&active.segment), end))
    }

    /// What should be done in the background after a frame was written.
    #[inline]
    fn wants(&mut self, through: Through) -> u32 {
        let mut wanted = 0;
        let Place { segment, offset, .. } = self.scan.place();
        let settings = &self.home.settings;
        if through == Through::Memory && settings.sync_interval_ms > 0 && self.home.reach != Reach::Network {
            wanted |= housekeeping::WRITTEN;
        }
        let room = self.scan.linked().is_some_and(|active| {
            active.segment.wants_space(offset, settings.segment_bytes)
                || through == Through::Memory && active.segment.wants_pages_ahead(offset)
        });
        if room || self.scan.has_left() || self.wants_spare() {
            wanted |= housekeeping::ROOM;
        }
        if settings.compacts_by_itself() {
            let (known, from) = self.looked_at;
            if known != segment {
                wanted |= if known == 0 { 0 } else { housekeeping::GROWN };
                self.looked_at = (segment, FRAMES_BEGIN);
            } else if offset.saturating_sub(from) >= settings.compact_bytes / 2 {
                wanted |= housekeeping::GROWN;
                self.looked_at = (segment, offset);
            }
        }
        wanted
    }

    /// Whether the next segment should be made ready: this one is half full, and not full before a thread is awake.
    #[inline]
    pub(crate) fn wants_spare(&self) -> bool {
        let Place { segment, offset, .. } = self.scan.place();
        let full = self.home.settings.segment_bytes;
        offset > full / 2
            && full >= ready::LARGE_RESERVE
            && match &self.control {
                Some(control) => control.spare() <= segment,
                None => self.spare.is_none(),
            }
    }

    /// Step 2 of an append.
    #[inline]
    pub(crate) fn find_tail(&mut self) -> Result<Turn<()>> {
        let Some(control) = &self.control else { return self.catch_up(true) };
        let end = control.ends().current();
        if !control.ends().is_settled() || end.segment == 0 {
            return self.recover(&end);
        }
        let poisoned = control.is_poisoned();
        if !self.scan.jump(&end)? {
            return Err(recover::no_way_on(&end.into(), self.home.dir.path()));
        }
        self.open_window();
        if poisoned { self.cut(self.scan.place()) } else { Ok(Turn::Done(())) }
    }

    /// An owner of the append lock has died in the middle of something, or nothing is known yet: the journal itself tells what
    /// is there. A whole frame counts, for readers may have seen it; so does a link; anything else is cut off. A death in
    /// here changes nothing, and the next one begins again.
    #[cold]
    fn recover(&mut self, end: &End) -> Result<Turn<()>> {
        // If nothing is known, this process has read the journal when it attached, and goes on from there.
        let known = end.segment != 0 && self.scan.jump(end)?;
        self.attached = false;
        self.catch_up(known)?.then(|()| {
            if let Some(control) = &self.control {
                control.said(self.scan.durable_seq());
            }
            self.open_window();
            self.publish();
            Ok(Turn::Done(()))
        })
    }

    /// Reads on to the tail. Under the lock nobody else writes, so what is found there is what a crash has left. `known`: shared
    /// memory, if there is any, knows what is durable.
    fn catch_up(&mut self, known: bool) -> Result<Turn<()>> {
        // Opened after the lock: before it, another host's writes may not have been in this host's cache.
        if self.home.reach == Reach::Network && !self.scan.reopen()? {
            self.scan = begin(&self.home)?;
        }
        let (mut moved, mut anew, mut torn) = (false, false, false);
        let end = loop {
            match self.scan.step()? {
                Step::Frame(_) => {}
                Step::Moved if !moved => {
                    moved = true;
                    self.scan = begin(&self.home)?;
                }
                Step::Moved => return Err(recover::no_way_on(&self.scan.place(), self.home.dir.path())),
                Step::Tail { blank } if blank && self.rest_is_settled()? => {
                    if !self.is_poisoned()? && !self.is_of_another_boot() {
                        break None;
                    }
                    // A cut here must find the end. Behind this segment a number may be missing: that of a spare which records
                    // could not be carried into. Only a listing tells what comes after it.
                    if anew {
                        break Some(self.scan.place());
                    }
                    anew = true;
                    self.scan = begin(&self.home)?;
                }
                // Some of what led here was read before the lock was taken, and may have changed since.
                Step::Tail { .. } | Step::Broken if !anew => {
                    anew = true;
                    self.scan = begin(&self.home)?;
                }
                Step::Tail { .. } | Step::Broken => {
                    torn = true;
                    break Some(recover::judge(&self.scan, self.home.watermark()?, self.home.dir.path())?);
                }
            }
        };
        let settled = self.scan.chain().floor.min(self.next_seq() - 1);
        self.synced(self.scan.durable_seq().max(settled));
        if !known && let Some(control) = &self.control {
            // Before a cut, which may have to carry what is not.
            let unsynced = self.scan.segments_from(self.durable_seq + 1);
            control.set_durable(self.durable_seq, unsynced.first().map_or(0, |joint| joint.number));
        }
        match end {
            Some(end) => {
                let turn = self.cut(end)?;
                if torn && matches!(turn, Turn::Again) {
                    sys::count(&self.tally.counts().torn_tails, 1);
                }
                Ok(turn)
            }
            None => self.settle_cut().map(|()| Turn::Done(())),
        }
    }

    /// Nothing is appended behind a cut before its link is on the medium. Who made it may have died over that.
    fn settle_cut(&mut self) -> Result<()> {
        let Some(Linked { segment, link }) = self.scan.linked() else { return Ok(()) };
        // An epoch is the number of the segment that it begins with.
        let is_cut = link.previous != 0 && link.epoch == segment.number;
        if self.scan.place().offset != FRAMES_BEGIN || !is_cut || self.cut == segment.number {
            return Ok(());
        }
        let number = segment.number;
        if let Err(e) = segment.sync() {
            self.mark_poisoned();
            return Err(nothing_written(e));
        }
        self.cut = number;
        Ok(())
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

    pub(crate) fn link(&self, epoch: u64, place: Place) -> Link {
        Link {
            epoch,
            first_seq: place.next_seq,
            previous: place.segment,
            previous_end: place.offset,
            previous_crc: place.last_crc,
            durable_seq: self.durable_seq(),
            time_us: sys::wall_clock_us(),
            boot: sys::boot_id(),
        }
    }
}

impl From<Place> for End {
    fn from(place: Place) -> End {
        End {
            segment: place.segment,
            offset: place.offset,
            next_seq: place.next_seq,
            last_crc: place.last_crc,
        }
    }
}

impl From<End> for Place {
    fn from(end: End) -> Place {
        Place { segment: end.segment, offset: end.offset, next_seq: end.next_seq, last_crc: end.last_crc }
    }
}

fn no_segment(home: &Home) -> Error {
    Error::corruption("the journal has no segment").at(home.dir.path())
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

pub(crate) fn nothing_written(e: Error) -> Error {
    let kind = e.kind();
    e.become_kind(kind, "nothing was written")
}

/// A scan from the floor to the tail, or to whatever stops it.
pub(crate) fn begin(home: &Home) -> Result<Scan> {
    let mut scan = Scan::begin(&home.dir, &home.owner, home.floor()?, Access::Write)?;
    while let Step::Frame(_) = scan.step()? {}
    Ok(scan)
}
