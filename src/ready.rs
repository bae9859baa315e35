//! What appends need made ready outside the append lock: reserved space, and the next segment.

use std::sync::Arc;

use crate::attach::Attachment;
use crate::cut::make_mark;
use crate::error::Result;
use crate::format::FRAMES_BEGIN;
use crate::home::Home;
use crate::journal::Journal;
use crate::names::{self, Purpose};
use crate::segment::{Access, Found, Segment};
use crate::sys::{self, Patience};

/// What a segment's file reserves when it is made, in bytes: little, for many cohorts stay small.
pub(crate) const FIRST_RESERVE: u64 = 32 << 10;
/// What it reserves when the one before has grown as large: for a journal that fills fast.
pub(crate) const LARGE_RESERVE: u64 = 1 << 20;

impl Attachment {
    /// Makes the next segment ready: reserved, its identity and its name on the medium. A link is only ever written into a
    /// segment that is known to be so, for whoever syncs that segment later syncs no name.
    pub(crate) fn make_spare(&self, frame_len: u64, patience: &Patience) -> Result<()> {
        let _alone = self.control().map(|control| control.lock_ready(patience)).transpose()?;
        // Somebody has made one while we waited for that. It may be part of the journal at any moment, and then a sync of ours
        // could be told of a failure in place of the leader's.
        if self.control().is_some_and(|control| control.spare() > control.ends().read().segment) {
            return Ok(());
        }
        let dir = &self.home.dir;
        let (known, reserved) = {
            let journal = self.journal()?;
            let active = journal.scan.linked();
            (journal.place().segment, active.map_or(0, |active| active.segment.reserved()))
        };
        let usual = reserved.clamp(FIRST_RESERVE, LARGE_RESERVE).min(self.home.settings.segment_bytes);
        let (least, len) = (FRAMES_BEGIN + frame_len, usual.max(FRAMES_BEGIN + frame_len));
        // A number is used once: the next one comes after all that were ever part of the journal, or are damaged.
        let (highest, left) = loop {
            let highest =
                dir.names()?.iter().filter_map(|name| names::parse_segment(name)).max().unwrap_or(0);
            match Segment::open(dir, highest, &self.home.owner, Access::Write)? {
                Some(Found::Spare(spare)) => break (highest, Some(spare)),
                // Removed since the listing, as a spare that records could not be carried into. The number after it would leave
                // a gap, and writers look for the next number only.
                None if highest != 0 => {}
                _ => break (highest, None),
            }
        };
        let (number, mut spare) = match left {
            Some(left) if left.is_blank_from(FRAMES_BEGIN)? => (highest, Some(left)),
            // Frames were being carried into it, by a process that is at it or dead. Its number may have been an epoch: it stays.
            _ => (highest + 1, None),
        };
        if spare.is_none() {
            spare = match self.name_new(number, known, len, patience) {
                Err(e) if e.is_no_space() && least < len => self.name_new(number, known, least, patience)?,
                other => other?,
            };
        }
        let Some(spare) = spare else { return Ok(()) };
        if !spare.has_room(least) {
            spare.grow(least, len)?;
        }
        if let Err(e) = spare.sync().and_then(|()| dir.sync()) {
            // Whoever syncs it again may be told that all is well: so it must not become part of the journal, or be left soon.
            let _inside = self.enter(patience)?;
            match Segment::open(dir, number, &self.home.owner, Access::Write)? {
                Some(Found::Spare(_)) => discard(&self.home, number)?,
                _ => {
                    if let Some(control) = self.control() {
                        control.set_poisoned(true);
                    }
                    make_mark(&self.home, &self.tally, number);
                }
            }
            return Err(e);
        }
        self.journal()?.spare = Some(spare);
        if let Some(control) = self.control() {
            control.set_spare(number);
        }
        Ok(())
    }

    /// Makes a segment under a temporary name and gives it its number, unless that is taken meanwhile.
    fn name_new(
        &self,
        number: u64,
        known: u64,
        len: u64,
        patience: &Patience,
    ) -> Result<Option<Arc<Segment>>> {
        let dir = &self.home.dir;
        let temporary = names::temporary(Purpose::Segment, sys::random_u64());
        let named =
            Segment::make(dir, &temporary, self.home.owner.identity(number), len).and_then(|mut segment| {
                // Who makes spares in the class `memory` has a lock of its own, and no rename need be waited for under the other.
                let _inside = match self.control() {
                    Some(_) => None,
                    None => Some(self.enter(patience)?),
                };
                // The number is given only while it still comes next. If the active segment we know has its name, none after it
                // has been retired; so a name that is free has never been given. And none is left out, should the spare before
                // this one have been removed.
                let name = names::segment(number);
                let there = |number| Ok(number == 0 || dir.exists(&names::segment(number))?);
                let free = !dir.exists(&name)? && there(known)? && there(number - 1)?;
                let named = match free.then(|| dir.rename(&temporary, &name)) {
                    None => false,
                    // A compactor took it for a dead writer's: the next turn makes another.
                    Some(Err(e)) if e.is_not_found() => false,
                    Some(renamed) => renamed.map(|()| true)?,
                };
                segment.file.renamed(dir.path().join(name));
                Ok(named.then_some(Arc::new(segment)))
            });
        if !matches!(named, Ok(Some(_))) {
            // Best effort: a compactor removes what stays.
            let _ = dir.remove(&temporary);
        }
        named
    }
}

/// Removes a spare that must not become part of the journal. With it go the spares behind it, for a writer looks for the next
/// number only. If the journal has gone on behind it, it stays: nobody takes it any more. Under the append lock.
pub(crate) fn discard(home: &Home, number: u64) -> Result<()> {
    let mut behind: Vec<u64> =
        home.dir.names()?.iter().filter_map(|name| names::parse_segment(name)).collect();
    behind.retain(|other| *other > number);
    behind.sort_unstable();
    for other in &behind {
        if !matches!(
            Segment::open(&home.dir, *other, &home.owner, Access::Write)?,
            None | Some(Found::Spare(_))
        ) {
            return Ok(());
        }
    }
    // From the last one on: a crash in between leaves no gap.
    for other in behind.iter().rev().chain([&number]) {
        home.dir.remove(&names::segment(*other))?;
    }
    Ok(())
}

impl Journal {
    /// The spare, if it is the next segment and has room for a frame. Under the lock.
    pub(crate) fn take_spare(&mut self, frame_len: u64) -> Result<Option<Arc<Segment>>> {
        let next = match &self.control {
            Some(control) => control.spare(),
            None => self.spare.as_ref().map_or(0, |spare| spare.number),
        };
        if next <= self.scan.place().segment {
            // Part of the journal by now. Who makes the next one must not take it for one that is ready.
            self.forget_spare();
            return Ok(None);
        }
        // Looked up by name again: after a failed sync somebody may have removed the file that our handle leads to.
        let Some(Found::Spare(named)) = Segment::open(&self.home.dir, next, &self.home.owner, Access::Write)?
        else {
            self.forget_spare();
            return Ok(None);
        };
        let ours = self.spare.take_if(|spare| spare.number == next && spare.salt() == named.salt());
        let spare = match (ours, &self.control) {
            (Some(ours), _) => ours,
            // Seen to be durable by the process that said so there.
            (None, Some(_)) => named,
            (None, None) => return Ok(None),
        };
        if !spare.has_room(FRAMES_BEGIN + frame_len) {
            self.forget_spare();
            return Ok(None);
        }
        Ok(Some(spare))
    }

    /// Whatever is there under the next number is no spare to rely on.
    pub(crate) fn forget_spare(&mut self) {
        self.spare = None;
        if let Some(control) = &self.control {
            control.set_spare(0);
        }
    }
}
