//! Which segments make up the journal, in which order: the links tell, from the newest back.
//!
//! A new segment gets the number after the highest, so the linked segment with the highest number is the active one, and each
//! link names its predecessor. A segment that no link leads to was cut off with all that is in it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::Link;
use crate::names;
use crate::record::Seq;
use crate::segment::{Access, Damaged, Found, Linked, Owner, Segment};
use crate::sys::Dir;

/// How far back a chain has to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floor {
    /// To the segment that holds the seq after this one.
    Seq(Seq),
    /// To what the newest link does not call durable: older segments of a log are settled, and need not be read to append. To
    /// the seq after this one at most, for those up to it have been removed.
    Durable(Seq),
}

/// A segment of the journal by its link. A journal may have many more segments than a process may have files open, so it is
/// open only while it is read or written.
#[derive(Clone, Debug)]
pub(crate) struct Joint {
    pub(crate) number: u64,
    pub(crate) link: Link,
    pub(crate) segment: Option<Arc<Segment>>,
}

impl Joint {
    pub(crate) fn of(linked: &Linked) -> Joint {
        Joint { number: linked.segment.number, link: linked.link, segment: Some(Arc::clone(&linked.segment)) }
    }

    /// Opens the segment; `None` if it is not what it was any more: retired, most likely.
    pub(crate) fn open(&mut self, dir: &Dir, owner: &Owner, access: Access) -> Result<Option<Linked>> {
        if self.segment.is_none() {
            match Segment::open(dir, self.number, owner, access)? {
                Some(Found::Linked(linked)) if linked.link == self.link => {
                    self.segment = Some(linked.segment)
                }
                _ => return Ok(None),
            }
        }
        Ok(self.segment.clone().map(|segment| Linked { segment, link: self.link }))
    }

    /// Syncs the segment, whoever wrote it; one that is retired was synced before. A failure that nobody has been told of yet
    /// is told to a descriptor opened after it, too (errseq_t in the kernel's documentation); one that somebody has been told
    /// of has left its mark.
    pub(crate) fn sync(self, dir: &Dir, owner: &Owner) -> Result<()> {
        if let Some(segment) = self.segment {
            return segment.sync();
        }
        match Segment::open(dir, self.number, owner, Access::Write)? {
            None => Ok(()),
            Some(Found::Linked(linked)) if linked.link == self.link => linked.segment.sync(),
            Some(_) => Err(Error::corruption("a segment that was written is not the same any more")
                .at(&dir.path().join(names::segment(self.number)))
                .in_segment(self.number)),
        }
    }
}

/// The journal's segments from a floor on.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// Oldest first; each one's link names the one before.
    pub(crate) segments: VecDeque<Joint>,
    /// Newer segments that could not be joined to them: part of a journal whose middle is gone.
    pub(crate) strays: Vec<Stray>,
    /// A segment that a link names and that is not there.
    pub(crate) missing: Option<Missing>,
    pub(crate) floor: Seq,
}

#[derive(Debug)]
pub(crate) enum Stray {
    Linked(Joint),
    Damaged(Damaged),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing {
    pub(crate) number: u64,
    /// The first seq behind the gap.
    pub(crate) resumes_at: Seq,
}

impl Chain {
    /// Reads the links of as many segments as it takes.
    pub(crate) fn resolve(dir: &Dir, owner: &Owner, floor: Floor, access: Access) -> Result<Chain> {
        let mut numbers: Vec<u64> =
            dir.names()?.iter().filter_map(|name| names::parse_segment(name)).collect();
        numbers.sort_unstable();
        let mut chain = Chain::default();
        let (Floor::Seq(seq) | Floor::Durable(seq)) = floor;
        chain.floor = seq;
        while let Some(number) = numbers.pop() {
            let begun = match Segment::open(dir, number, owner, access)? {
                // Removed since the listing, or a spare: neither is part of the journal.
                None | Some(Found::Spare(_)) => continue,
                Some(Found::Damaged(damaged)) => {
                    chain.strays.push(Stray::Damaged(damaged));
                    continue;
                }
                Some(Found::Linked(linked)) => linked,
            };
            if chain.strays.is_empty() && matches!(floor, Floor::Durable(_)) {
                chain.floor = chain.floor.max(begun.link.durable_seq);
            }
            let lowest = chain.walk_back(dir, owner, access, begun)?;
            if !chain.segments.is_empty() {
                break;
            }
            // Something on the way back is gone. What is newer cannot be joined; what is older may be a journal of its own.
            numbers.retain(|n| *n < lowest);
        }
        Ok(chain)
    }

    /// Follows the links back from `newest`. Fills `segments` if the floor is reached, else turns all it met into strays.
    /// Returns the lowest number it saw.
    fn walk_back(&mut self, dir: &Dir, owner: &Owner, access: Access, newest: Linked) -> Result<u64> {
        let mut met = VecDeque::from([Joint::of(&newest)]);
        let mut lowest = u64::MAX;
        while let Some(oldest) = met.front() {
            let (number, link) = (oldest.number, oldest.link);
            lowest = lowest.min(number);
            if link.first_seq <= self.floor.saturating_add(1) {
                self.segments = met;
                return Ok(lowest);
            }
            // A link that names a later segment, or itself, would lead in a circle: it is as good as none.
            if link.previous == 0 || link.previous >= number {
                break;
            }
            match Segment::open(dir, link.previous, owner, access)? {
                Some(Found::Linked(previous)) => {
                    met.push_front(Joint { segment: None, ..Joint::of(&previous) });
                }
                Some(Found::Damaged(damaged)) => {
                    lowest = lowest.min(damaged.number);
                    self.strays.push(Stray::Damaged(damaged));
                    break;
                }
                Some(Found::Spare(spare)) => {
                    lowest = lowest.min(spare.number);
                    break;
                }
                None => {
                    lowest = lowest.min(link.previous);
                    self.missing = Some(Missing { number: link.previous, resumes_at: link.first_seq });
                    break;
                }
            }
        }
        self.strays.extend(met.into_iter().map(Stray::Linked));
        Ok(lowest)
    }

    /// The active segment; `None` if nothing could be joined.
    pub(crate) fn active(&self) -> Option<&Joint> {
        self.segments.back()
    }

    /// The highest epoch seen in any link.
    pub(crate) fn epoch(&self) -> u64 {
        let strays = self.strays.iter().filter_map(|stray| match stray {
            Stray::Linked(joint) => Some(joint.link.epoch),
            Stray::Damaged(_) => None,
        });
        self.segments.iter().map(|joint| joint.link.epoch).chain(strays).max().unwrap_or(0)
    }
}
