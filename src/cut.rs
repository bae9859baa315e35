//! Ending the journal at a place that was in doubt, and going on in a new segment and epoch. And what a failed sync asks for.

use crate::attach::Attachment;
use crate::chain::Floor;
use crate::counters::Tally;
use crate::error::{Error, Kind, Result};
use crate::format::{Body, FRAMES_BEGIN};
use crate::home::Home;
use crate::journal::{Journal, Turn, begin, nothing_written};
use crate::names;
use crate::ready;
use crate::record::Seq;
use crate::recover;
use crate::scan::{Place, Scan, Step};
use crate::segment::{Access, Found, Linked, Segment};
use crate::sys::{self, Patience};

impl Attachment {
    /// Leaves the mark of a failed sync where every writer looks before it writes: in shared memory, and at the active segment.
    /// Best effort in all its parts, for the disk is failing; this process remembers in any case.
    pub(crate) fn poison(&self, patience: &Patience) {
        if let Some(control) = self.control() {
            control.set_poisoned(true);
            leave_mark(self, control.ends().read().segment);
            return;
        }
        // At once where this process believes the tail to be, and again where it is: meanwhile it may have moved on.
        if let Ok(mut journal) = self.journal() {
            journal.mark_poisoned();
        }
        if let Ok(_inside) = self.enter(patience)
            && let Ok(mut journal) = self.journal()
        {
            while let Ok(Step::Frame(_)) = journal.scan.step() {}
            journal.mark_poisoned();
        }
    }
}

fn leave_mark(attachment: &Attachment, number: u64) {
    make_mark(&attachment.home, &attachment.tally, number);
    let _ = attachment.home.dir.sync();
}

/// Makes the poison mark of a segment, unless it has one.
pub(crate) fn make_mark(home: &Home, tally: &Tally, number: u64) {
    if home.dir.create(&names::poison(number)).is_ok() {
        sys::count(&tally.counts().poison_marks, 1);
    }
}

impl Journal {
    /// Whether a sync of the active segment has failed, here or anywhere.
    pub(crate) fn is_poisoned(&self) -> Result<bool> {
        let known = match &self.control {
            Some(control) => control.is_poisoned(),
            None => self.sync_failed,
        };
        Ok(known || self.home.dir.exists(&names::poison(self.scan.place().segment))?)
    }

    pub(crate) fn mark_poisoned(&mut self) {
        self.sync_failed = true;
        if let Some(control) = &self.control {
            control.set_poisoned(true);
        }
        make_mark(&self.home, &self.tally, self.scan.place().segment);
        let _ = self.home.dir.sync();
    }

    /// Ends the journal at `end` and goes on in a new segment and epoch. Nothing is shortened or overwritten: the link of the
    /// new segment names the place, and what stands behind it stays where it is. **Commit point: the write of the link.**
    ///
    /// What is kept must be durable before the link says so. If a sync of it has failed, the pages cannot be trusted to reach
    /// the disk by another one: then the frames after the last durable seq are carried into the new segment, with their seqs,
    /// and the old one ends before them. Until this has succeeded nothing is appended.
    pub(crate) fn cut(&mut self, end: Place) -> Result<Turn<()>> {
        let Some(spare) = self.take_spare(0)? else { return Ok(Turn::Spare { frame_len: 0 }) };
        let Some(control) = self.control.clone() else {
            return self.cut_into(&spare, end).map(|()| Turn::Again);
        };
        // What is synced here is synced as its leader, so that its result counts for all who wait.
        let patience = Patience::of(self.home.timeout());
        let syncing = control.lock_sync(&patience)?;
        // A tail that shared memory named says nothing of the segments before it, which may have to be synced too.
        self.scan = begin(&self.home)?;
        if self.scan.place() != end {
            // Something has gone bad in what was written before. Going on would give its seqs to other records.
            recover::judge(&self.scan, self.home.watermark()?, self.home.dir.path())?;
            return Err(recover::no_way_on(&self.scan.place(), self.home.dir.path()));
        }
        if control.begin_sync() {
            self.mark_poisoned();
        }
        control.ends().begin();
        let cut = self.cut_into(&spare, end);
        if cut.is_ok() {
            control.set_durable(end.next_seq - 1, spare.number);
            control.set_poisoned(false);
            control.said(self.scan.durable_seq());
            self.open_window();
            self.publish();
            sys::reached("cut published");
        }
        control.end_sync();
        drop(syncing);
        control.end_round(true);
        cut.map(|()| Turn::Again)
    }

    /// The same into a segment that may have no name yet: then its name is the commit point.
    pub(crate) fn cut_into(&mut self, spare: &Segment, end: Place) -> Result<()> {
        let mut from = end;
        // The number of the segment, for that is used once: also if a power cut takes a link that readers have seen. The name is
        // on the medium by then, and so are frames that were carried; only a spare without any is ever used again.
        let epoch = spare.number.max(self.epoch() + 1);
        if self.durable_seq() == 0 {
            self.home.sync_names().map_err(nothing_written)?;
        }
        if self.is_poisoned()? {
            from = self.carry(spare, end.next_seq).map_err(|e| {
                // Its number will be missing. Whoever is in this segment looks behind that only if there is a mark here, and if
                // somebody else has cut since our own sync failed there is none.
                self.mark_poisoned();
                // Its pages may be as doubtful as those they come from: it must never become part of the journal.
                self.forget_spare();
                let _ = ready::discard(&self.home, spare.number);
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
            self.synced(end.next_seq - 1);
        }
        let durable_seq = self.durable_seq().max(if from == end { end.next_seq - 1 } else { 0 });
        spare.write_link(&crate::format::Link { durable_seq, ..self.link(epoch, from) })?;
        sys::reached("cut written");
        if let Err(e) = spare.sync() {
            self.sync_failed = true;
            if let Some(control) = &self.control {
                control.set_poisoned(true);
            }
            make_mark(&self.home, &self.tally, spare.number);
            return Err(e);
        }
        self.cut = spare.number;
        self.synced(end.next_seq - 1);
        self.sync_failed = false;
        sys::count(&self.tally.counts().cuts, 1);
        self.scan = begin(&self.home)?;
        Ok(())
    }

    /// Copies all frames after the last durable seq and before `until` into `target`, and syncs it. Returns where the first
    /// of them stood.
    fn carry(&mut self, target: &Segment, until: Seq) -> Result<Place> {
        let durable_seq = self.durable_seq();
        let mut old = Scan::begin(&self.home.dir, &self.home.owner, Floor::Seq(durable_seq), Access::Write)?;
        old.skip_to(durable_seq + 1)?;
        let place = self.behind_what_is_durable(&old)?;
        // From here on it is no blank spare, and will never be one again.
        self.forget_spare();
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
            let end = at + frame.len() as u64;
            if !target.has_room(end) {
                target.grow(end, self.home.settings.segment_bytes)?;
            }
            target.write(&frame, at)?;
            sys::reached("frame carried");
            at = end;
        }
        target.sync()?;
        sys::count(&self.tally.counts().carried_records, until.saturating_sub(place.next_seq));
        Ok(place)
    }

    /// Where a scan is, seen from a segment whose link is durable. One in which no record is durable may lose its link with the
    /// rest of it, and then nothing may lead through it: it is left out.
    fn behind_what_is_durable(&self, scan: &Scan) -> Result<Place> {
        let mut place = scan.place();
        let mut linked = scan.linked().cloned();
        while let Some(Linked { link, .. }) = linked.filter(|linked| linked.link.previous != 0)
            && place.offset == FRAMES_BEGIN
        {
            place = Place {
                segment: link.previous,
                offset: link.previous_end,
                last_crc: link.previous_crc,
                next_seq: place.next_seq,
            };
            linked = match Segment::open(&self.home.dir, place.segment, &self.home.owner, Access::Read)? {
                Some(Found::Linked(linked)) => Some(linked),
                _ => None,
            };
        }
        Ok(place)
    }
}
