//! A cohort's directory as the model has it: segments, snapshots and marks, each with what a power cut may do to it.
//!
//! A frame or a link is whole at once, torn by a death, or a hole after a power cut. A segment's frames are numbered from 0:
//! its index stands for the offset.

pub type Seq = u8;
pub type Number = u8;
/// Which append, and in a batch which record of it: what stands for a record's content.
pub type Content = u8;

/// In the contents of a batch of two.
pub const BATCH: Content = 0x40;
/// In the second of them.
pub const SECOND: Content = 0x80;

/// Where bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kept {
    /// In the page cache, and the next sync takes them to the medium. A power cut may or may not have.
    Cache,
    Medium,
    /// A sync has failed: the kernel calls the page clean, and no later sync does anything for it.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bytes {
    Whole,
    /// Begun by a process that died.
    Torn,
    /// Zeros, where a power cut has taken a frame.
    Hole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    pub seq: Seq,
    pub count: u8,
    pub content: Content,
    /// The highest seq known durable when it was written.
    pub durable: Seq,
    pub bytes: Bytes,
    pub kept: Kept,
}

impl Frame {
    pub fn next(&self) -> Seq {
        self.seq + self.count
    }

    pub fn contents(&self) -> impl Iterator<Item = Content> {
        [self.content, self.content | SECOND].into_iter().take(self.count.into())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    pub epoch: u8,
    pub first: Seq,
    pub previous: Number,
    /// Where the one before ends.
    pub end: u8,
    pub durable: Seq,
    /// Which start of the system.
    pub boot: u8,
    pub kept: Kept,
}

/// A name in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    Never,
    /// Made, and the directory not synced since.
    Made,
    Durable,
    /// Removed, and the directory not synced since.
    Removed,
    Gone,
}

impl Name {
    pub fn is_there(self) -> bool {
        matches!(self, Name::Made | Name::Durable)
    }

    fn settle(&mut self) {
        *self = match *self {
            Name::Made => Name::Durable,
            Name::Removed => Name::Gone,
            settled => settled,
        }
    }

    pub fn make(&mut self) {
        if !self.is_there() {
            *self = Name::Made;
        }
    }

    pub fn remove(&mut self) {
        if self.is_there() {
            *self = Name::Removed;
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    pub name: Name,
    /// Which of the files that ever had this name: stands for the salt.
    pub file: u8,
    pub link: Option<Link>,
    pub frames: Vec<Frame>,
    pub poison: Name,
}

impl Segment {
    pub fn is_linked(&self) -> bool {
        self.name.is_there() && self.link.is_some()
    }

    pub fn is_spare(&self) -> bool {
        self.name.is_there() && self.link.is_none()
    }

    pub fn is_dirty(&self) -> bool {
        self.link.is_some_and(|link| link.kept == Kept::Cache)
            || self.frames.iter().any(|frame| frame.kept == Kept::Cache)
    }

    /// A sync of the file: all of it, or an error and nothing.
    pub fn sync(&mut self, fails: bool) {
        let to = if fails { Kept::Lost } else { Kept::Medium };
        let kept = self.link.iter_mut().map(|link| &mut link.kept);
        for kept in kept.chain(self.frames.iter_mut().map(|frame| &mut frame.kept)) {
            if *kept == Kept::Cache {
                *kept = to;
            }
        }
    }
}

/// Seq 0: there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Snapshot {
    pub seq: Seq,
    /// Folds are left out: a state is the records themselves, in their order.
    pub contents: Vec<Content>,
    pub synced: bool,
}

/// A name under which snapshots follow one another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Slot {
    pub now: Snapshot,
    /// When the directory was last synced.
    pub settled: Snapshot,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Disk {
    /// Number 1 stands first.
    pub segments: Vec<Segment>,
    pub snapshot: Slot,
    pub previous: Slot,
}

impl Disk {
    /// As a cohort is made: one segment, and all of it durable.
    pub fn new() -> Disk {
        let link = Link { epoch: 1, first: 1, previous: 0, end: 0, durable: 0, boot: 1, kept: Kept::Medium };
        let first = Segment {
            name: Name::Durable,
            file: 0,
            link: Some(link),
            frames: Vec::new(),
            poison: Name::Never,
        };
        Disk { segments: vec![first], snapshot: Slot::default(), previous: Slot::default() }
    }

    pub fn get(&self, number: Number) -> Option<&Segment> {
        self.segments.get(usize::from(number).checked_sub(1)?)
    }

    /// Of a segment that has been there.
    pub fn at(&self, number: Number) -> &Segment {
        &self.segments[usize::from(number) - 1]
    }

    pub fn at_mut(&mut self, number: Number) -> &mut Segment {
        &mut self.segments[usize::from(number) - 1]
    }

    pub fn is_there(&self, number: Number) -> bool {
        self.get(number).is_some_and(|segment| segment.name.is_there())
    }

    /// The link of a segment that is part of some journal.
    pub fn link(&self, number: Number) -> Option<Link> {
        self.get(number).filter(|segment| segment.is_linked())?.link
    }

    /// All names of segments that are there: what a listing of the directory gives.
    pub fn listed(&self) -> Vec<Number> {
        (1..=self.segments.len() as Number).filter(|number| self.is_there(*number)).collect()
    }

    pub fn name_new(&mut self, number: Number) {
        while self.segments.len() < usize::from(number) {
            let never =
                Segment { name: Name::Never, file: 0, link: None, frames: Vec::new(), poison: Name::Never };
            self.segments.push(never);
        }
        let segment = self.at_mut(number);
        segment.file += 1;
        segment.name = Name::Made;
        segment.link = None;
        segment.frames.clear();
    }

    /// A sync of the directory.
    pub fn sync_names(&mut self) {
        for segment in &mut self.segments {
            segment.name.settle();
            segment.poison.settle();
        }
        for slot in [&mut self.snapshot, &mut self.previous] {
            slot.settled = slot.now.clone();
        }
    }

    /// What `home.watermark()` says.
    pub fn watermark(&self) -> Seq {
        match self.snapshot.now.seq {
            0 => self.previous.now.seq,
            seq => seq,
        }
    }

    /// How many things a power cut may take or leave, each by itself.
    pub fn doubtful(&self) -> u32 {
        let mut doubtful = 0;
        self.clone().each_doubtful(|| {
            doubtful += 1;
            true
        });
        doubtful
    }

    /// The disk after a power cut. Of the things in doubt those stay, or happen, whose bit is set.
    pub fn after_cut(&self, mask: u32) -> Disk {
        let (mut disk, mut bit) = (self.clone(), 0);
        disk.each_doubtful(|| {
            bit += 1;
            mask >> (bit - 1) & 1 == 1
        });
        disk
    }

    fn each_doubtful(&mut self, mut stays: impl FnMut() -> bool) {
        for segment in &mut self.segments {
            if segment.poison == Name::Made {
                segment.poison = if stays() { Name::Durable } else { Name::Never };
            }
            match segment.name {
                Name::Never | Name::Gone | Name::Durable => {}
                Name::Made => segment.name = if stays() { Name::Durable } else { Name::Never },
                Name::Removed => segment.name = if stays() { Name::Gone } else { Name::Durable },
            }
            if segment.link.is_some_and(|link| link.kept != Kept::Medium) && !stays() {
                segment.link = None;
            }
            for frame in &mut segment.frames {
                if frame.kept != Kept::Medium && !stays() {
                    frame.bytes = Bytes::Hole;
                }
                frame.kept = Kept::Medium;
            }
            if let Some(link) = &mut segment.link {
                link.kept = Kept::Medium;
            }
            // Zeros at the end cannot be told from space that was never written.
            while segment.frames.last().is_some_and(|frame| frame.bytes == Bytes::Hole) {
                segment.frames.pop();
            }
            if !segment.name.is_there() {
                (segment.link, segment.frames) = (None, Vec::new());
            }
        }
        for slot in [&mut self.snapshot, &mut self.previous] {
            if slot.now != slot.settled {
                match stays() {
                    true => slot.settled = slot.now.clone(),
                    false => slot.now = slot.settled.clone(),
                }
            }
        }
    }
}
