//! A reader's place in the journal: the records from a seq on, across segments, holding no lock. And following: waiting there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::chain::Floor;
use crate::error::{Error, Kind, Result};
use crate::format::{self, Header};
use crate::names;
use crate::recover;
use crate::record::{Record, RecordRef, Seq};
use crate::scan::{Place, Scan, Step};
use crate::segment::Access;
use crate::home::Home;
use crate::sys::{LockFile, Names};

/// How often a reader begins anew before it holds the compactor off.
const RESTARTS: u32 = 3;
/// How long a follower sleeps between two looks: the first time, and at most.
const FIRST_SLEEP: Duration = Duration::from_micros(500);
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// A scan for those who hold no lock: what looks wrong may only have changed meanwhile, so it is looked at again from the
/// beginning before it is believed.
#[derive(Debug)]
pub(crate) struct Trail {
    home: Arc<Home>,
    scan: Scan,
    /// A place already judged to be a torn tail, or a frame being written.
    torn_at: Option<Place>,
}

impl Trail {
    pub(crate) fn begin(home: &Arc<Home>, floor: Floor) -> Result<Trail> {
        let scan = Scan::begin(&home.dir, &home.owner, floor, Access::Read)?;
        Ok(Trail { home: Arc::clone(home), scan, torn_at: None })
    }

    /// The seq that the next record will have.
    pub(crate) fn next_seq(&self) -> Seq {
        self.scan.place().next_seq
    }

    /// Whether the tail is a place where something stands that is no frame.
    pub(crate) fn is_torn(&self) -> bool {
        self.torn_at == Some(self.scan.place())
    }

    pub(crate) fn scan(&self) -> &Scan {
        &self.scan
    }

    /// The body of the frame that [`next`](Trail::next) returned last.
    pub(crate) fn body(&self) -> &[u8] {
        self.scan.body()
    }

    /// The next frame; `None` at the tail.
    ///
    /// # Errors
    /// `is_compacted` if compaction has folded away what comes next, `is_corruption` if it is damaged.
    pub(crate) fn next(&mut self) -> Result<Option<Header>> {
        let mut restarts = 0;
        loop {
            match self.scan.step()? {
                Step::Frame(header) => return Ok(Some(header)),
                Step::Tail { blank: true } if self.next_seq() > self.scan.chain().floor => return Ok(None),
                Step::Moved if restarts > RESTARTS => {
                    let place = self.scan.place();
                    return Err(recover::no_way_on(&place, self.home.dir.path()));
                }
                Step::Moved => {}
                Step::Tail { .. } | Step::Broken => {
                    let place = self.scan.place();
                    if self.torn_at == Some(place) {
                        return Ok(None);
                    }
                    if restarts > 0 {
                        match recover::judge(&self.scan, self.scan.chain().floor, self.home.dir.path()) {
                            Ok(torn) => {
                                self.torn_at = Some(torn);
                                return Ok(None);
                            }
                            Err(e) if restarts > RESTARTS => return Err(self.explained(e)?),
                            Err(_) => {}
                        }
                    }
                }
            }
            restarts += 1;
            // Compaction overtook us again and again: hold it off while we look. Writers are not delayed by this.
            let compact_lock = match restarts {
                ..=RESTARTS => None,
                _ => self.home.dir.open_read(names::COMPACT_LOCK, Names::One).ok().map(LockFile::new),
            };
            let _held = match &compact_lock {
                Some(lock) => Some(lock.shared(self.home.timeout())?),
                None => None,
            };
            let place = self.scan.place();
            let floor = Floor::Seq(place.next_seq - 1);
            self.scan = Scan::begin(&self.home.dir, &self.home.owner, floor, Access::Read)?;
            self.scan.resume(place)?;
        }
    }

    /// What a missing segment means: folded away if a snapshot covers it, else what `e` says.
    fn explained(&self, e: Error) -> Result<Error> {
        match self.scan.chain().missing {
            Some(missing) if self.home.watermark()? >= self.next_seq() => {
                Ok(compacted(self.next_seq(), missing.resumes_at, self.home.dir.path()))
            }
            _ => Ok(e),
        }
    }
}

fn compacted(asked: Seq, first: Seq, path: &std::path::Path) -> Error {
    Error::new(Kind::Compacted, format!("record {asked} is folded away: the first one still there is {first}"))
        .at(path)
        .at_seq(first)
        .advise(format!("read from {first} on, or read the state"))
}

/// The records of a cohort from a seq on, in order. See [`Cohort::cursor`](crate::Cohort::cursor).
///
/// As an iterator it ends at the tail, and goes on from there when asked again. It survives rotation and compaction, and takes
/// no lock.
#[derive(Debug)]
pub struct Cursor {
    trail: Trail,
    pending: VecDeque<Record>,
    next: Seq,
}

impl Cursor {
    pub(crate) fn begin(home: &Arc<Home>, from: Seq) -> Result<Cursor> {
        let next = from.max(1);
        let mut cursor =
            Cursor { trail: Trail::begin(home, Floor::Seq(next - 1))?, pending: VecDeque::new(), next };
        // So that history which is gone is told here, and not at the first record.
        cursor.fill()?;
        Ok(cursor)
    }

    /// The seq of the record that comes next.
    pub fn next_seq(&self) -> Seq {
        self.next
    }

    /// The next record; `None` at the tail.
    ///
    /// # Errors
    /// `is_corruption` with the place where the journal is damaged: everything before it has been returned. `is_compacted`
    /// if compaction has folded away what comes next.
    pub fn next_record(&mut self) -> Result<Option<Record>> {
        if self.pending.is_empty() {
            self.fill()?;
        }
        let record = self.pending.pop_front();
        if let Some(record) = &record {
            self.next = record.seq() + 1;
        }
        Ok(record)
    }

    /// Waits until there is a record behind the tail, at most `timeout`. `false`: there was none.
    ///
    /// # Errors
    /// As [`next_record`](Cursor::next_record).
    pub fn wait(&mut self, timeout: Duration) -> Result<bool> {
        let begun = Instant::now();
        let mut sleep = FIRST_SLEEP;
        loop {
            if self.pending.is_empty() {
                self.fill()?;
            }
            let left = timeout.saturating_sub(begun.elapsed());
            if !self.pending.is_empty() || left.is_zero() {
                return Ok(!self.pending.is_empty());
            }
            std::thread::sleep(sleep.min(left));
            sleep = (sleep * 2).min(LONGEST_SLEEP);
        }
    }

    /// An iterator that waits at the tail instead of ending there.
    pub fn follow(self) -> Follow {
        Follow { cursor: self, failed: false }
    }

    /// Reads the next frame that holds a record we want.
    fn fill(&mut self) -> Result<()> {
        while self.pending.is_empty() {
            let Some(header) = self.trail.next()? else { break };
            let next = self.next;
            self.pending.extend(
                records(&header, &self.trail)?.into_iter().filter(|r| r.seq >= next).map(RecordRef::to_record),
            );
        }
        Ok(())
    }
}

/// The records of the frame that a trail is at.
pub(crate) fn records<'a>(header: &Header, trail: &'a Trail) -> Result<Vec<RecordRef<'a>>> {
    format::records(header, trail.body()).collect::<std::result::Result<Vec<_>, _>>().map_err(|what| {
        let place = trail.scan().place();
        Error::corruption(format!("a frame makes no sense: {what}"))
            .in_segment(place.segment)
            .at_offset(place.offset - header.frame_len())
            .at_seq(header.first_seq)
    })
}

impl Iterator for Cursor {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record().transpose()
    }
}

/// See [`Cursor::follow`]. After an error it ends.
#[derive(Debug)]
pub struct Follow {
    cursor: Cursor,
    failed: bool,
}

impl Iterator for Follow {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            match self.cursor.next_record().transpose() {
                Some(Err(e)) => {
                    self.failed = true;
                    return Some(Err(e));
                }
                Some(record) => return Some(record),
                None => {
                    if let Err(e) = self.cursor.wait(Duration::from_secs(1)) {
                        self.failed = true;
                        return Some(Err(e));
                    }
                }
            }
        }
        None
    }
}
