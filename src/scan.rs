//! A place in the journal that moves forward over whole frames, from segment to segment. It takes no lock and changes nothing.

use std::sync::Arc;

use crate::chain::{Chain, Floor, Joint, Missing};
use crate::error::Result;
use crate::format::Header;
use crate::frames::Frames;
use crate::names;
use crate::record::Seq;
use crate::segment::{Access, Found, Linked, Owner, Segment};
use crate::sys::{Dir, End, Reach};

/// See the module.
#[derive(Debug)]
pub(crate) struct Scan {
    dir: Arc<Dir>,
    owner: Arc<Owner>,
    access: Access,
    chain: Chain,
    /// Which segment of the chain the frames are read from; `None` while the chain has none.
    current: Option<(usize, Frames)>,
    /// The highest `durable_seq` met in a link or frame.
    durable_seq: Seq,
    /// Whether segments may be mapped.
    maps: bool,
    /// A segment, and the place in it up to which every frame is whole and will never change.
    bound: (u64, u64),
    /// The segment left behind last by a writer: to let go of a large mapping takes long, and need not be done under a lock.
    left: Option<Arc<Segment>>,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Step {
    Frame(Header),
    /// Nothing yet. Where zeros stand, nobody has written; anything else is being written, or torn, or damaged.
    Tail {
        blank: bool,
    },
    /// The journal goes on elsewhere: the segment was retired, or its frames were carried over. Begin anew at `next_seq`.
    Moved,
    /// No whole frame where the links promise one.
    Broken,
}

/// Where the next frame must begin, or where the journal is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// 0 if there is no segment.
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) next_seq: Seq,
    /// The CRC of what stands before it.
    pub(crate) last_crc: u32,
}

impl Scan {
    pub(crate) fn begin(dir: &Arc<Dir>, owner: &Arc<Owner>, floor: Floor, access: Access) -> Result<Scan> {
        let mut chain = Chain::resolve(dir, owner, floor, access)?;
        let durable_seq = chain.segments.iter().map(|joint| joint.link.durable_seq).max().unwrap_or(0);
        let current = match chain.segments.front_mut() {
            None => None,
            Some(first) => match first.open(dir, owner, access)? {
                Some(linked) => Some((0, Frames::begin(linked))),
                None => {
                    // Retired since its link was read.
                    chain.missing = Some(Missing { number: first.number, resumes_at: first.link.first_seq });
                    chain.segments.clear();
                    None
                }
            },
        };
        let (dir, owner) = (Arc::clone(dir), Arc::clone(owner));
        Ok(Scan { dir, owner, access, chain, current, durable_seq, maps: false, bound: (0, 0), left: None })
    }

    /// Reads what will never change from a mapping, if no other host can take the file away under it.
    pub(crate) fn mapping(mut self, reach: Reach) -> Scan {
        self.maps = reach == Reach::Local;
        self
    }

    /// Every frame before this place is whole and will never change: it was published, and is behind the tail for good. Sealed
    /// segments need no such word, for the link of the next one says where they end.
    pub(crate) fn bound(&mut self, segment: u64, offset: u64) {
        self.bound = self.bound.max((segment, offset));
    }

    /// What [`bound`](Scan::bound) was told last.
    pub(crate) fn bounded(&self) -> (u64, u64) {
        self.bound
    }

    /// A scan that has not begun: it can only jump.
    pub(crate) fn nowhere(dir: &Arc<Dir>, owner: &Arc<Owner>, access: Access) -> Scan {
        let (dir, owner) = (Arc::clone(dir), Arc::clone(owner));
        Scan {
            dir,
            owner,
            access,
            chain: Chain::default(),
            current: None,
            durable_seq: 0,
            maps: false,
            bound: (0, 0),
            left: None,
        }
    }

    /// Goes to a place that is known to be the tail, without reading what lies before it. `false`: there is no such segment.
    pub(crate) fn jump(&mut self, end: &End) -> Result<bool> {
        if self.current.as_ref().is_none_or(|(_, frames)| frames.segment().number != end.segment) {
            let found = Segment::open(&self.dir, end.segment, &self.owner, self.access)?;
            let Some(Found::Linked(linked)) = found else { return Ok(false) };
            self.durable_seq = self.durable_seq.max(linked.link.durable_seq);
            self.chain =
                Chain { segments: [Joint::of(&linked)].into(), floor: self.chain.floor, ..Chain::default() };
            self.leave();
            self.current = Some((0, Frames::begin(linked)));
        }
        if let Some((_, frames)) = &mut self.current {
            frames.jump(end.offset, end.next_seq, end.last_crc);
        }
        Ok(true)
    }

    /// Goes past all frames whose records have seqs below `seq`, without judging what it meets: the next step will.
    pub(crate) fn skip_to(&mut self, seq: Seq) -> Result<()> {
        while self.place().next_seq < seq {
            if !matches!(self.step()?, Step::Frame(_)) {
                break;
            }
        }
        Ok(())
    }

    /// Goes to where another scan of this journal was; or, if its segment is gone, to the same seq elsewhere.
    pub(crate) fn resume(&mut self, place: Place) -> Result<()> {
        self.skip_to(place.next_seq)?;
        // Frames without records stand between two seqs, and must not be met again.
        while self.place().segment == place.segment && self.place().offset < place.offset {
            if !matches!(self.step()?, Step::Frame(_)) {
                break;
            }
        }
        Ok(())
    }

    /// The next frame if it is in memory already: what [`step`](Scan::step) would return, with fewer questions.
    #[inline]
    pub(crate) fn next_at_hand(&mut self) -> Option<Header> {
        let (index, frames) = self.current.as_mut()?;
        let end = self.chain.segments.get(*index + 1).map_or(u64::MAX, |next| next.link.previous_end);
        let header = frames.next_at_hand(end)?;
        self.durable_seq = self.durable_seq.max(header.durable_seq);
        Some(header)
    }

    /// The next frame, or why there is none.
    pub(crate) fn step(&mut self) -> Result<Step> {
        loop {
            let Some((index, frames)) = &mut self.current else { return Ok(Step::Broken) };
            // A sealed segment ends where its successor's link says; what stands behind was cut off.
            if let Some(successor) = self.chain.segments.get_mut(*index + 1) {
                let link = &successor.link;
                if frames.at() != link.previous_end {
                    if self.maps {
                        frames.settled(link.previous_end);
                    }
                    return match frames.next()? {
                        Some(header) if frames.at() <= link.previous_end => {
                            self.durable_seq = self.durable_seq.max(header.durable_seq);
                            Ok(Step::Frame(header))
                        }
                        _ => Ok(Step::Broken),
                    };
                }
                if frames.last_crc() != link.previous_crc || frames.next_seq() != link.first_seq {
                    return Ok(Step::Broken);
                }
                let Some(linked) = successor.open(&self.dir, &self.owner, self.access)? else {
                    return Ok(Step::Moved);
                };
                *frames = Frames::begin(linked);
                *index += 1;
                // Behind us: closed. Readers have no use for its link either; writers may have to sync it.
                match self.access {
                    Access::Read => drop(self.chain.segments.drain(..std::mem::take(index))),
                    Access::Write => self.chain.segments[*index - 1].segment = None,
                }
                continue;
            }
            if self.maps && frames.segment().number == self.bound.0 {
                frames.settled(self.bound.1);
            }
            if let Some(header) = frames.next()? {
                self.durable_seq = self.durable_seq.max(header.durable_seq);
                return Ok(Step::Frame(header));
            }
            let blank = frames.found_blank();
            if !self.chain.strays.is_empty() {
                return Ok(Step::Broken);
            }
            match self.successor()? {
                Successor::Joins(linked) => {
                    self.durable_seq = self.durable_seq.max(linked.link.durable_seq);
                    self.chain.segments.push_back(Joint::of(&linked));
                }
                Successor::Elsewhere => return Ok(Step::Moved),
                Successor::None => return Ok(Step::Tail { blank }),
            }
        }
    }

    /// Whether the journal goes on behind the last segment we know.
    ///
    /// The order of the two questions carries the argument: segments are retired oldest first, so if ours still has its name
    /// *after* the next number was found absent, the next one cannot have come and gone.
    fn successor(&self) -> Result<Successor> {
        let Some((_, frames)) = &self.current else { return Ok(Successor::None) };
        let number = frames.segment().number;
        let mut next = number + 1;
        loop {
            match Segment::open(&self.dir, next, &self.owner, self.access)? {
                // Its predecessor may have grown between our last look at its frames and the rotation.
                Some(Found::Linked(linked))
                    if linked.link.previous == number && linked.link.previous_end >= frames.at() =>
                {
                    return Ok(Successor::Joins(linked));
                }
                Some(Found::Linked(_) | Found::Damaged(_)) => return Ok(Successor::Elsewhere),
                // A power cut may have taken its link while there was another spare already, which was begun since.
                Some(Found::Spare(_)) => next += 1,
                None => {
                    // A number may be missing: that of a spare which records could not be carried into, and which was removed. In
                    // the class `file` none is (`ready.rs`), and in both a failed sync has left its mark, where writers begin
                    // anew: so they need not list the directory at every append.
                    if self.access == Access::Read
                        && let Some(later) = self.after(next)?
                    {
                        next = later;
                        continue;
                    }
                    return match self.dir.exists(&names::segment(number))? {
                        true => Ok(Successor::None),
                        false => Ok(Successor::Elsewhere),
                    };
                }
            }
        }
    }

    /// The lowest number of a segment after this one.
    fn after(&self, number: u64) -> Result<Option<u64>> {
        let names = self.dir.names()?;
        Ok(names.iter().filter_map(|name| names::parse_segment(name)).filter(|other| *other > number).min())
    }

    /// The body of the frame of the last step.
    pub(crate) fn body(&self) -> &[u8] {
        match &self.current {
            Some((_, frames)) => frames.body(),
            None => &[],
        }
    }

    pub(crate) fn place(&self) -> Place {
        match &self.current {
            Some((_, frames)) => Place {
                segment: frames.segment().number,
                offset: frames.at(),
                next_seq: frames.next_seq(),
                last_crc: frames.last_crc(),
            },
            None => Place { segment: 0, offset: 0, next_seq: self.chain.floor + 1, last_crc: 0 },
        }
    }

    pub(crate) fn durable_seq(&self) -> Seq {
        self.durable_seq
    }

    /// Opens a segment by what the chain says of it, beside the scan.
    pub(crate) fn open(&self, joint: &Joint) -> Result<Option<Arc<Segment>>> {
        match &joint.segment {
            Some(segment) => Ok(Some(Arc::clone(segment))),
            None => match Segment::open(&self.dir, joint.number, &self.owner, self.access)? {
                Some(Found::Linked(linked)) => Ok(Some(linked.segment)),
                _ => Ok(None),
            },
        }
    }

    pub(crate) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The segment the next frame is expected in.
    pub(crate) fn linked(&self) -> Option<&Linked> {
        self.current.as_ref().map(|(_, frames)| frames.linked())
    }

    /// The segments from the one that holds `seq` on, up to the current one. Those left behind are not open.
    pub(crate) fn segments_from(&self, seq: Seq) -> Vec<Joint> {
        let from = self.chain.segments.iter().rposition(|joint| joint.link.first_seq <= seq).unwrap_or(0);
        self.chain.segments.iter().skip(from).cloned().collect()
    }

    /// Opens the current segment anew at the same place, for a network file system shows other hosts' writes only then.
    /// `false` if it is not there any more.
    pub(crate) fn reopen(&mut self) -> Result<bool> {
        let Some((index, frames)) = &mut self.current else { return Ok(false) };
        match Segment::open(&self.dir, frames.segment().number, &self.owner, self.access)? {
            Some(Found::Linked(linked)) => {
                linked.segment.learn_from(frames.segment());
                self.chain.segments[*index] = Joint::of(&linked);
                frames.reopened(linked);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Goes past a frame that this process has just written at this place.
    pub(crate) fn wrote(&mut self, frame_len: u64, next_seq: Seq, crc: u32, durable_seq: Seq) {
        if let Some((_, frames)) = &mut self.current {
            frames.wrote(frame_len, next_seq, crc);
            self.durable_seq = self.durable_seq.max(durable_seq);
        }
    }

    /// Goes on in a segment whose link this process has just written, at the end of the current one.
    pub(crate) fn rotated(&mut self, linked: Linked) {
        self.durable_seq = self.durable_seq.max(linked.link.durable_seq);
        if let Some(behind) = self.chain.segments.back_mut() {
            behind.segment = None;
        }
        self.chain.segments.push_back(Joint::of(&linked));
        self.leave();
        self.current = Some((self.chain.segments.len() - 1, Frames::begin(linked)));
    }

    fn leave(&mut self) {
        self.left = self.current.take().map(|(_, frames)| Arc::clone(frames.segment()));
    }

    /// Whether there is a segment to let go of.
    pub(crate) fn has_left(&self) -> bool {
        self.left.is_some()
    }

    /// The segment left behind last, to be let go of outside the lock.
    pub(crate) fn take_left(&mut self) -> Option<Arc<Segment>> {
        self.left.take()
    }

    /// Forgets segments before the one that holds `seq`: they are settled, and their files may be closed.
    pub(crate) fn forget_before(&mut self, seq: Seq) {
        while let (Some((index, _)), Some(second)) = (&mut self.current, self.chain.segments.get(1)) {
            if *index == 0 || second.link.first_seq > seq {
                break;
            }
            self.chain.segments.pop_front();
            *index -= 1;
        }
    }
}

enum Successor {
    None,
    Joins(Linked),
    Elsewhere,
}
