//! Reading the journal: which segments it is made of, a place that moves over whole frames, and what it means that there is
//! no more. The counterpart of `chain.rs`, `scan.rs` and `recover.rs` in the store, question by question.

use crate::disk::{Bytes, Content, Disk, Frame, Number, Seq};

/// Where the next frame must begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// 0: nowhere.
    pub segment: Number,
    pub index: u8,
    pub next: Seq,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    Read,
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Frame(Frame),
    /// No frame, and no segment behind. The name of this one has still to be looked at: see [`Scan::tail`].
    End {
        blank: bool,
    },
    Tail {
        blank: bool,
    },
    Moved,
    Broken,
}

/// That the journal is not what it should be. Nothing in the model damages it, so nobody may ever say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scan {
    access: Access,
    /// The segments from the one it stands in on, as far as the links told.
    chain: Vec<Number>,
    strays: Vec<Number>,
    missing: bool,
    floor: Seq,
    index: u8,
    next: Seq,
    /// The highest durable seq that a link or frame named.
    durable: Seq,
}

impl Scan {
    /// Which segments make up the journal from a floor on, among those that a listing gave.
    pub fn resolve(disk: &Disk, mut listed: Vec<Number>, floor: Seq, access: Access) -> Scan {
        let mut scan = Scan {
            access,
            chain: Vec::new(),
            strays: Vec::new(),
            missing: false,
            floor,
            index: 0,
            next: floor + 1,
            durable: 0,
        };
        while let Some(number) = listed.pop() {
            if disk.link(number).is_none() {
                continue;
            }
            let lowest = scan.walk_back(disk, number);
            if !scan.chain.is_empty() {
                break;
            }
            listed.retain(|other| *other < lowest);
        }
        let links = scan.chain.iter().filter_map(|number| disk.link(*number));
        scan.durable = links.map(|link| link.durable).max().unwrap_or(0);
        if let Some(link) = scan.segment().and_then(|first| disk.link(first)) {
            scan.next = link.first;
        }
        scan
    }

    fn walk_back(&mut self, disk: &Disk, newest: Number) -> Number {
        let (mut met, mut lowest) = (vec![newest], newest);
        while let Some(link) = met.first().and_then(|oldest| disk.link(*oldest)) {
            if link.first <= self.floor + 1 {
                self.chain = met;
                return lowest;
            }
            if link.previous == 0 {
                break;
            }
            lowest = link.previous;
            if disk.link(link.previous).is_none() {
                self.missing |= !disk.is_there(link.previous);
                break;
            }
            met.insert(0, link.previous);
        }
        self.strays.extend(met);
        lowest
    }

    /// A scan from a floor on that has gone as far as it gets.
    pub fn begin(disk: &Disk, floor: Seq, access: Access) -> Scan {
        let mut scan = Scan::resolve(disk, disk.listed(), floor, access);
        scan.run(disk);
        scan
    }

    /// A scan at a place that was known before.
    pub fn jump(disk: &Disk, place: Place, access: Access) -> Scan {
        let durable = disk.at(place.segment).link.map_or(0, |link| link.durable);
        Scan {
            access,
            chain: vec![place.segment],
            strays: Vec::new(),
            missing: false,
            floor: 0,
            index: place.index,
            next: place.next,
            durable,
        }
    }

    /// Goes on over whole frames, and returns what ended that.
    pub fn run(&mut self, disk: &Disk) -> Step {
        loop {
            match self.step_to_end(disk) {
                Step::Frame(_) => {}
                other => return other,
            }
        }
    }

    /// The next frame, or why there is none.
    pub fn step_to_end(&mut self, disk: &Disk) -> Step {
        match self.step(disk) {
            Step::End { blank } => self.tail(disk, blank),
            other => other,
        }
    }

    /// The same, but for the last question.
    pub fn step(&mut self, disk: &Disk) -> Step {
        loop {
            let Some(number) = self.segment() else { return Step::Broken };
            let frame = self.whole(disk, number);
            let Some((successor, link)) =
                self.chain.get(1).and_then(|next| Some((*next, disk.at(*next).link?)))
            else {
                if let Some(frame) = frame {
                    return self.take(frame);
                }
                if !self.strays.is_empty() {
                    return Step::Broken;
                }
                let blank = disk.at(number).frames.len() <= usize::from(self.index);
                match self.successor(disk, number) {
                    Some(Ok(successor)) => self.chain.push(successor),
                    Some(Err(())) => return Step::Moved,
                    None => return Step::End { blank },
                }
                self.durable = self.durable.max(disk.link(self.chain[1]).map_or(0, |link| link.durable));
                continue;
            };
            if self.index != link.end {
                return match frame.filter(|_| self.index < link.end) {
                    Some(frame) => self.take(frame),
                    None => Step::Broken,
                };
            }
            if self.next != link.first {
                return Step::Broken;
            }
            if !disk.is_there(successor) {
                return Step::Moved;
            }
            self.chain.remove(0);
            self.index = 0;
        }
    }

    fn whole(&self, disk: &Disk, number: Number) -> Option<Frame> {
        let frame = disk.at(number).frames.get(usize::from(self.index))?;
        (frame.bytes == Bytes::Whole && frame.seq == self.next).then_some(*frame)
    }

    fn take(&mut self, frame: Frame) -> Step {
        self.index += 1;
        self.next = frame.next();
        self.durable = self.durable.max(frame.durable);
        Step::Frame(frame)
    }

    /// Whether the journal goes on behind the last segment we know: there, or elsewhere.
    fn successor(&self, disk: &Disk, number: Number) -> Option<Result<Number, ()>> {
        let mut next = number + 1;
        loop {
            match disk.link(next) {
                Some(link) if link.previous == number && link.end >= self.index => return Some(Ok(next)),
                Some(_) => return Some(Err(())),
                None if disk.is_there(next) => next += 1,
                None => match disk.listed().into_iter().find(|other| *other > next) {
                    Some(later) if self.access == Access::Read => next = later,
                    _ => return None,
                },
            }
        }
    }

    /// The last question: our segment has its name still, so the one behind it cannot have come and gone.
    pub fn tail(&self, disk: &Disk, blank: bool) -> Step {
        match self.segment().is_some_and(|number| disk.is_there(number)) {
            true => Step::Tail { blank },
            false => Step::Moved,
        }
    }

    /// A torn tail, or corruption.
    pub fn judge(&self, disk: &Disk, watermark: Seq) -> Result<Place, Corrupt> {
        if self.missing {
            return Err(Corrupt);
        }
        let here = self.segment().map(|number| (number, self.index));
        let later = self.chain.iter().skip(1).map(|number| (*number, 0));
        let strays = self.strays.iter().map(|number| (*number, 0));
        let links = self.strays.iter().filter_map(|number| Some(disk.link(*number)?.durable));
        let behind = here.into_iter().chain(later).chain(strays).flat_map(|(number, from)| {
            disk.at(number).frames.iter().skip(from.into()).filter_map(|frame| {
                let counts =
                    frame.bytes == Bytes::Whole && frame.seq > self.next && frame.durable < frame.seq;
                counts.then_some(frame.durable)
            })
        });
        let durable = links.chain(behind).max().unwrap_or(0).max(watermark).max(self.durable);
        if self.next > durable { Ok(self.place()) } else { Err(Corrupt) }
    }

    pub fn place(&self) -> Place {
        Place { segment: self.segment().unwrap_or(0), index: self.index, next: self.next }
    }

    /// Goes past what is no frame: nobody may.
    pub fn pass(&mut self) {
        self.index += 1;
    }

    pub fn segment(&self) -> Option<Number> {
        self.chain.first().copied()
    }

    pub fn durable(&self) -> Seq {
        self.durable
    }

    pub fn missing(&self) -> bool {
        self.missing
    }

    /// The highest epoch of any link it has met.
    pub fn epoch(&self, disk: &Disk) -> u8 {
        let met = self.chain.iter().chain(&self.strays);
        met.filter_map(|number| Some(disk.at(*number).link?.epoch)).max().unwrap_or(0)
    }
}

/// The segments that hold records from a seq on, up to a place: back along the links.
pub fn segments_from(disk: &Disk, place: Place, seq: Seq) -> Vec<Number> {
    let mut numbers = Vec::new();
    let mut number = place.segment;
    while number != 0 {
        numbers.insert(0, number);
        match disk.at(number).link {
            Some(link) if link.first > seq => number = link.previous,
            _ => break,
        }
    }
    numbers
}

/// What a reader finds that nobody disturbs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub contents: Vec<Content>,
    /// Of those that stand in a frame: epoch, seq and content.
    pub epochs: Vec<(u8, Seq, Content)>,
}

/// Reads snapshot and journal as they are.
pub fn read_all(disk: &Disk) -> Result<Found, Corrupt> {
    let base = match disk.snapshot.now.seq {
        0 => &disk.previous.now,
        _ => &disk.snapshot.now,
    };
    let mut found = Found { contents: base.contents.clone(), epochs: Vec::new() };
    let mut scan = Scan::resolve(disk, disk.listed(), base.seq, Access::Read);
    loop {
        match scan.step_to_end(disk) {
            Step::Frame(frame) => {
                let epoch = scan.segment().and_then(|number| disk.link(number)).map_or(0, |link| link.epoch);
                for (seq, content) in (frame.seq..).zip(frame.contents()) {
                    if seq > base.seq {
                        found.contents.push(content);
                    }
                    found.epochs.push((epoch, seq, content));
                }
            }
            Step::Tail { blank: true } if scan.place().next > base.seq => return Ok(found),
            _ => return scan.judge(disk, base.seq).map(|_| found),
        }
    }
}
