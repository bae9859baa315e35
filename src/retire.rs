//! The end of a segment's life: the space behind its frames is given back when it is sealed, and one that nothing needs any more
//! is removed, as far as the cohort does not retain it. By the holder of `compact.lock`.
//!
//! What is needed is decided first, and by the snapshots alone; retention, and with it the wall clock, decides about the rest. So
//! a clock that jumps may remove or keep history, and never what is needed.
//!
//! A `log` is its own history. There a writer that attaches needs the segments that the newest link does not call durable; and
//! where others are removed, an empty snapshot says up to which seq, so that a segment that is lost is still told from one that
//! was removed.

use std::collections::BTreeMap;

use crate::chain::{Chain, Floor, Joint};
use crate::compact::quarantine_snapshot;
use crate::error::Result;
use crate::format::{FRAMES_BEGIN, Link};
use crate::home::Home;
use crate::names::{self, Purpose};
use crate::record::Seq;
use crate::segment::{Access, Found, Linked, Segment};
use crate::settings::{DOCUMENT_VERSION, Retain};
use crate::snapshot::{self, Head};
use crate::sys;

/// File systems give space back by the page.
const PAGE: u64 = 4096;

/// Gives back the space behind the frames of every segment that was sealed since the compaction up to seq `folded`. A segment
/// with cut-off bytes there keeps them.
pub(crate) fn give_back(home: &Home, folded: Seq) -> Result<()> {
    let active = Chain::resolve(&home.dir, &home.owner, Floor::Seq(Seq::MAX), Access::Read)?;
    let Some(mut next) = active.active().map(|active| active.link) else { return Ok(()) };
    while next.previous != 0 && next.first_seq > folded + 1 {
        let found = Segment::open(&home.dir, next.previous, &home.owner, Access::Write)?;
        let Some(Found::Linked(Linked { segment, link })) = found else { break };
        let (from, len) = (next.previous_end.next_multiple_of(PAGE), segment.file.len()?);
        if len > from + PAGE && segment.file.allocated()? <= from + PAGE {
            // Those before it were seen to by whoever did this.
            break;
        }
        if segment.is_blank_from(next.previous_end)? {
            segment.file.punch(from, len);
        }
        next = link;
    }
    Ok(())
}

/// Step 7 of a compaction. What the previous snapshot does not cover is needed, to rebuild a damaged one.
pub(crate) fn folded(home: &Home, retain: Retain) -> Result<()> {
    let Some(previous) = home.snapshot(names::SNAPSHOT_PREV)? else { return Ok(()) };
    let Some(newest) = home.snapshot(names::SNAPSHOT)? else { return Ok(()) };
    if retain == Retain::All {
        return Ok(());
    }
    let needed = Chain::resolve(&home.dir, &home.owner, Floor::Seq(previous.head.seq), Access::Read)?;
    let Some(needed) = needed.segments.front() else { return Ok(()) };
    let behind = Behind::of(home, needed)?;
    let keep = behind.first_retained(retain, newest.head.seq, sys::wall_clock_us());
    behind.remove_before(home, keep.map_or(needed.number, |oldest| oldest.number))
}

/// The same for a `log` that is sealed and durable up to seq `through`.
pub(crate) fn log(home: &Home, retain: Retain, through: Seq) -> Result<()> {
    let (gone, damaged) = match home.snapshot(names::SNAPSHOT) {
        Err(e) if e.is_corruption() => (0, true),
        other => (other?.map_or(0, |mark| mark.head.seq), false),
    };
    if !retain.is_limit() && !damaged {
        return Ok(());
    }
    let Some(needed) = needed_of_log(home)? else { return Ok(()) };
    let behind = Behind::of(home, &needed)?;
    let there = behind.segments.first().map_or((needed.number, needed.link.first_seq), Past::begin);
    let keep = match retain.is_limit() {
        true => behind.first_retained(retain, through, sys::wall_clock_us()),
        false => behind.segments.first(),
    };
    let keep = keep.map_or((needed.number, needed.link.first_seq), Past::begin);
    if damaged {
        quarantine_snapshot(home)?;
    } else if there.1 > gone + 1 {
        // A segment is lost: that is for whoever reads it to tell, and nothing to build on.
        return Ok(());
    }
    if keep.1 > gone + 1 && (damaged || keep != there) {
        mark(home, keep.1 - 1, needed.link.epoch)?;
    }
    if retain.is_limit() { behind.remove_before(home, keep.0) } else { Ok(()) }
}

/// Whether a `log` has segments that are not retained.
pub(crate) fn log_is_due(home: &Home, retain: Retain, last: Seq) -> Result<bool> {
    if !retain.is_limit() {
        return Ok(false);
    }
    let Some(needed) = needed_of_log(home)? else { return Ok(false) };
    let behind = Behind::of(home, &needed)?;
    let keep = behind.first_retained(retain, last, sys::wall_clock_us());
    let keep = keep.map_or(needed.number, |oldest| oldest.number);
    Ok(behind.segments.first().is_some_and(|oldest| oldest.number < keep))
}

/// The first segment of a `log` that who attaches may have to read. The link of the active segment may still be lost in a power
/// cut; that of the last segment with records in it, sealed and synced, is not. It tells.
fn needed_of_log(home: &Home) -> Result<Option<Joint>> {
    let chain = Chain::resolve(&home.dir, &home.owner, Floor::Seq(Seq::MAX), Access::Read)?;
    let Some(mut next) = chain.active().map(|active| active.link) else { return Ok(None) };
    let durable = loop {
        match Segment::open(&home.dir, next.previous, &home.owner, Access::Read)? {
            Some(Found::Linked(linked)) if linked.link.first_seq < next.first_seq => {
                break linked.link.durable_seq;
            }
            Some(Found::Linked(linked)) => next = linked.link,
            _ => return Ok(None),
        }
    };
    let mut chain = Chain::resolve(&home.dir, &home.owner, Floor::Seq(durable), Access::Read)?;
    Ok(chain.segments.pop_front())
}

/// Says for good up to which seq a `log` is gone. **The commit point of its removal: the rename.**
fn mark(home: &Home, gone: Seq, epoch: u64) -> Result<()> {
    let head = Head {
        tallyfold: DOCUMENT_VERSION,
        cohort: home.owner.cohort.clone(),
        fold: home.settings.fold.clone(),
        epoch,
        seq: gone,
    };
    let temporary = names::temporary(Purpose::Snapshot, sys::random_u64());
    let made = home.dir.create(&temporary).and_then(|file| snapshot::Writer::begin(file, &head)?.finish());
    if let Err(e) = made.and_then(|_| home.dir.rename(&temporary, names::SNAPSHOT)) {
        let _ = home.dir.remove(&temporary);
        return Err(e);
    }
    home.dir.sync()
}

/// The segments that are older than what is needed.
struct Behind {
    /// Those that the links lead back to, oldest first: the history that may be retained.
    segments: Vec<Past>,
    /// The numbers of all, those among them that were cut off with all that is in them.
    numbers: Vec<u64>,
}

/// A segment of the history. Most of it is told by the link of the one after it.
struct Past {
    number: u64,
    first_seq: Seq,
    end: u64,
    /// The first seq behind it.
    next_seq: Seq,
    /// When the one after it was begun: no record in it is younger.
    until_us: i64,
}

impl Behind {
    fn of(home: &Home, needed: &Joint) -> Result<Behind> {
        let mut numbers: Vec<u64> =
            home.dir.names()?.iter().filter_map(|name| names::parse_segment(name)).collect();
        numbers.retain(|number| *number < needed.number);
        numbers.sort_unstable();
        let mut links: BTreeMap<u64, Link> = BTreeMap::new();
        for number in &numbers {
            if let Some(Found::Linked(linked)) = open(home, *number)? {
                links.insert(*number, linked.link);
            }
        }
        let mut segments = Vec::new();
        let mut next = needed.link;
        // Taken out, so that links that lead in a circle end there.
        while let Some(link) = links.remove(&next.previous) {
            segments.push(Past {
                number: next.previous,
                first_seq: link.first_seq,
                end: next.previous_end,
                next_seq: next.first_seq,
                until_us: next.time_us,
            });
            next = link;
        }
        segments.reverse();
        Ok(Behind { segments, numbers })
    }

    /// The oldest segment that is retained, and with it all that come after it; `None`: not one.
    fn first_retained(&self, retain: Retain, last: Seq, now_us: i64) -> Option<&Past> {
        let mut bytes: u64 = self.segments.iter().map(Past::bytes).sum();
        self.segments.iter().find(|segment| {
            let with_all_after_it = bytes;
            bytes -= segment.bytes();
            match retain {
                Retain::None => false,
                Retain::All => true,
                Retain::Bytes(most) => with_all_after_it <= most,
                Retain::Records(records) => segment.next_seq.saturating_add(records) > last.saturating_add(1),
                Retain::Age(seconds) => {
                    i128::from(now_us) - i128::from(segment.until_us) < i128::from(seconds) * 1_000_000
                }
            }
        })
    }

    /// Removes what is older than segment `keep`, oldest first: so a segment that is there vouches for all that come after it.
    fn remove_before(&self, home: &Home, keep: u64) -> Result<()> {
        let ends: BTreeMap<u64, u64> = self.segments.iter().map(|past| (past.number, past.end)).collect();
        for number in self.numbers.iter().filter(|number| **number < keep) {
            let name = names::segment(*number);
            let cut = match (open(home, *number)?, ends.get(number)) {
                (None, _) => continue,
                (Some(Found::Linked(linked)), Some(end)) => !linked.segment.is_blank_from(*end)?,
                (Some(Found::Spare(segment)), _) => !segment.is_blank_from(FRAMES_BEGIN)?,
                (Some(Found::Linked(_)), None) | (Some(Found::Damaged(_)), _) => true,
            };
            if cut {
                home.dir.make_sub(names::QUARANTINE)?;
                let quarantine = home.dir.sub(names::QUARANTINE)?;
                home.dir.rename_into(&name, &quarantine, &name)?;
                quarantine.sync()?;
            } else {
                home.dir.remove(&name)?;
            }
        }
        for number in
            home.dir.names()?.iter().filter_map(|name| names::parse_poison(name)).filter(|mark| *mark < keep)
        {
            home.dir.remove(&names::poison(number))?;
        }
        home.dir.sync()
    }
}

impl Past {
    /// Its number and its first seq.
    fn begin(&self) -> (u64, Seq) {
        (self.number, self.first_seq)
    }

    /// What it takes of the disk once the space behind its frames is given back.
    fn bytes(&self) -> u64 {
        self.end.next_multiple_of(PAGE)
    }
}

fn open(home: &Home, number: u64) -> Result<Option<Found>> {
    Segment::open(&home.dir, number, &home.owner, Access::Read)
}
