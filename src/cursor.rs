//! A reader's place in the journal: the records from a seq on, across segments, holding no lock. And following: waiting there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::attach::Published;
use crate::chain::Floor;
use crate::compact;
use crate::error::{Error, Kind, Result};
use crate::format::{Header, Unread};
use crate::home::Home;
use crate::names;
use crate::record::{Record, RecordRef, Seq};
use crate::recover;
use crate::scan::{Place, Scan, Step};
use crate::segment::Access;
use crate::sys::{LockFile, Patience};

/// How often a reader begins anew before it holds the compactor off.
const RESTARTS: u32 = 3;
/// How long a follower sleeps between two looks: the first time, and at most.
const FIRST_SLEEP: Duration = Duration::from_micros(500);
const LONGEST_SLEEP: Duration = Duration::from_millis(20);
/// A follower waits for ever, in pieces of this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A scan for those who hold no lock: what looks wrong may only have changed meanwhile, so it is looked at again from the
/// beginning before it is believed.
#[derive(Debug)]
pub(crate) struct Trail {
    home: Arc<Home>,
    scan: Scan,
    /// The journal must reach beyond this seq, for a snapshot does.
    watermark: Seq,
    /// A place already judged to be a torn tail, or a frame being written.
    torn_at: Option<Place>,
    published: Published,
    /// Whether the rest of the active segment has been seen to be blank: a power cut may leave a hole with frames behind it.
    settled: bool,
}

impl Trail {
    /// A trail from a floor on, in a journal that must reach beyond `watermark`.
    pub(crate) fn begin(
        home: &Arc<Home>,
        floor: Floor,
        watermark: Seq,
        published: Published,
    ) -> Result<Trail> {
        let scan = Scan::begin(&home.dir, &home.owner, floor, Access::Read)?.mapping(home.reach);
        Ok(Trail { home: Arc::clone(home), scan, watermark, torn_at: None, published, settled: false })
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

    pub(crate) fn published(&self) -> &Published {
        &self.published
    }

    /// The body of the frame that [`next`](Trail::next) returned last.
    pub(crate) fn body(&self) -> &[u8] {
        self.scan.body()
    }

    /// What is wrong with the frame that [`next`](Trail::next) returned last.
    #[cold]
    fn senseless(&self, header: &Header, what: &str) -> Error {
        self.placed(
            header,
            Error::corruption(format!("a frame makes no sense: {what}")).at_seq(header.first_seq),
        )
    }

    /// An error about the frame that [`next`](Trail::next) returned last, with the place of that.
    #[cold]
    pub(crate) fn placed(&self, header: &Header, e: Error) -> Error {
        let place = self.scan.place();
        e.at(&self.home.dir.path().join(names::segment(place.segment)))
            .in_segment(place.segment)
            .at_offset(place.offset - header.frame_len())
    }

    /// The next frame; `None` at the tail.
    ///
    /// # Errors
    /// `is_compacted` if compaction has folded away what comes next, `is_corruption` if it is damaged.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Header>> {
        match self.scan.next_at_hand() {
            Some(header) => Ok(Some(header)),
            None => self.step(),
        }
    }

    fn step(&mut self) -> Result<Option<Header>> {
        if let Some(end) = self.published.end() {
            let place = self.scan.place();
            if (place.segment, place.offset) == (end.segment, end.offset) {
                return Ok(None);
            }
            // What is published is whole and will never change.
            self.scan.bound(end.segment, end.offset);
        }
        let (mut restarts, mut held_off) = (0, None);
        loop {
            match self.scan.step()? {
                Step::Frame(header) => return Ok(Some(header)),
                Step::Tail { blank: true } if self.next_seq() > self.watermark && self.rest_is_blank()? => {
                    return Ok(None);
                }
                Step::Moved if restarts > RESTARTS => {
                    let place = self.scan.place();
                    return Err(recover::no_way_on(&place, self.home.dir.path()));
                }
                Step::Moved => {}
                Step::Tail { .. } | Step::Broken => {
                    let place = self.scan.place();
                    // While segments are there that do not join, only a look at all of them tells whether a writer has cut.
                    if self.torn_at == Some(place) && (restarts > 0 || self.scan.chain().strays.is_empty()) {
                        return Ok(None);
                    }
                    if restarts > 0 {
                        match recover::judge(&self.scan, self.watermark, self.home.dir.path()) {
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
            // Compaction overtook us again and again: hold it off until we have looked. Writers are not delayed by this.
            if restarts > RESTARTS
                && held_off.is_none()
                && !compact::runs_here()
                && let Ok(lock) = LockFile::open_read(&self.home.dir, names::COMPACT_LOCK)
            {
                lock.keep_shared(&Patience::of(self.home.timeout()))?;
                held_off = Some(lock);
            }
            let place = self.scan.place();
            let floor = Floor::Seq(place.next_seq - 1);
            let (segment, offset) = self.scan.bounded();
            let anew = Scan::begin(&self.home.dir, &self.home.owner, floor, Access::Read)?;
            self.scan = anew.mapping(self.home.reach);
            self.scan.bound(segment, offset);
            self.scan.resume(place)?;
        }
    }

    fn rest_is_blank(&mut self) -> Result<bool> {
        if !self.settled
            && let Some(active) = self.scan.linked()
        {
            self.settled = active.segment.is_blank_from(self.scan.place().offset)?;
        }
        Ok(self.settled)
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
    Error::new(
        Kind::Compacted,
        format!("record {asked} is folded away: the first one still there is {first}"),
    )
    .at(path)
    .at_seq(first)
    .advise(format!("read from {first} on, or read the state"))
}

/// The records of a cohort from a seq on, in order. See [`Cohort::cursor`](crate::Cohort::cursor).
///
/// As an iterator it ends at the tail, and goes on from there when asked again; after an error it ends for good. It survives
/// rotation and compaction, and takes no lock. [`next_ref`](Cursor::next_ref) gives records without copying them.
#[derive(Debug)]
pub struct Cursor {
    trail: Trail,
    frame: Option<Frame>,
    next: Seq,
    failed: bool,
}

/// The frame whose records are handed out.
#[derive(Clone, Copy, Debug)]
struct Frame {
    header: Header,
    unread: Unread,
}

impl Cursor {
    pub(crate) fn begin(home: &Arc<Home>, from: Seq, published: Published) -> Result<Cursor> {
        let next = from.max(1);
        let trail = Trail::begin(home, Floor::Seq(next - 1), home.watermark()?, published)?;
        let mut cursor = Cursor { trail, frame: None, next, failed: false };
        // So that history which is gone is told here, and not at the first record.
        cursor.fill()?;
        Ok(cursor)
    }

    /// The seq of the record that comes next.
    pub fn next_seq(&self) -> Seq {
        self.next
    }

    /// The epoch of the segment that this cursor is in, and so of the record it gave last. A cut begins a new one: until then
    /// (epoch, seq) names one content.
    pub fn epoch(&self) -> u64 {
        self.trail.scan().linked().map_or(0, |linked| linked.link.epoch)
    }

    /// The next record where it lies in its frame, without copying it; `None` at the tail.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?; let store = tallyfold::Store::open(dir.path().join("s"))?;
    /// # let log = store.create("metrics", tallyfold::Settings::log())?;
    /// # log.append("run-1", &0.5)?; log.append("run-1", &0.25)?;
    /// let mut cursor = log.cursor(1)?;
    /// let mut bytes = 0;
    /// while let Some(record) = cursor.next_ref()? {
    ///     bytes += record.bytes().len();
    /// }
    /// assert_eq!(bytes, "0.50.25".len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `is_corruption` with the place where the journal is damaged: everything before it has been returned. `is_compacted`
    /// if compaction has folded away what comes next.
    pub fn next_ref(&mut self) -> Result<Option<RecordRef<'_>>> {
        if !self.fill()? {
            return Ok(None);
        }
        let Some(Frame { header, unread }) = &mut self.frame else { return Ok(None) };
        match unread.next(self.trail.body()) {
            Some(Ok(record)) => {
                self.next = record.seq + 1;
                Ok(Some(record))
            }
            Some(Err(what)) => Err(self.trail.senseless(header, what)),
            None => Ok(None),
        }
    }

    /// The key of the record that comes next; `None` at the tail.
    pub(crate) fn peek_key(&mut self) -> Result<Option<&str>> {
        if !self.fill()? {
            return Ok(None);
        }
        let Some(Frame { header, mut unread }) = self.frame else { return Ok(None) };
        match unread.next(self.trail.body()) {
            Some(Ok(record)) => Ok(Some(record.key)),
            Some(Err(what)) => Err(self.trail.senseless(&header, what)),
            None => Ok(None),
        }
    }

    /// The next record, copied; `None` at the tail.
    ///
    /// # Errors
    /// As [`next_ref`](Cursor::next_ref).
    pub fn next_record(&mut self) -> Result<Option<Record>> {
        Ok(self.next_ref()?.map(RecordRef::to_record))
    }

    /// Waits until there is a record behind the tail, at most `timeout`. `false`: there was none.
    ///
    /// # Errors
    /// As [`next_ref`](Cursor::next_ref).
    pub fn wait(&mut self, timeout: Duration) -> Result<bool> {
        let begun = Instant::now();
        let mut sleep = FIRST_SLEEP;
        loop {
            let found = self.fill()?;
            let left = timeout.saturating_sub(begun.elapsed());
            if found || left.is_zero() {
                return Ok(found);
            }
            std::thread::sleep(sleep.min(left));
            sleep = (sleep * 2).min(LONGEST_SLEEP);
        }
    }

    /// An iterator that waits at the tail instead of ending there.
    pub fn follow(self) -> Follow {
        Follow { cursor: self }
    }

    /// Goes to the next frame with a record we want, unless one of this frame is left. `false` at the tail.
    fn fill(&mut self) -> Result<bool> {
        loop {
            if let Some(Frame { header, unread }) = &mut self.frame {
                // No record of a batch is handed out before all of it is known to make sense; a single one is checked as it is
                // handed out. What makes no sense is told again if asked again.
                if unread.is_untouched() && (header.count != 1 || header.first_seq < self.next) {
                    let body = self.trail.body();
                    unread.check(body).map_err(|what| self.trail.senseless(header, what))?;
                    unread.skip_to(self.next, body);
                }
                if !unread.is_empty() {
                    return Ok(true);
                }
            }
            let Some(header) = self.trail.next()? else { return Ok(false) };
            self.frame = Some(Frame { header, unread: Unread::of(&header) });
        }
    }
}

/// The records of the frame that a trail is at. All of them make sense before there is a first one.
pub(crate) fn records<'a>(header: &Header, trail: &'a Trail) -> Result<impl Iterator<Item = RecordRef<'a>>> {
    let body = trail.body();
    let mut unread = Unread::of(header);
    unread.check(body).map_err(|what| trail.senseless(header, what))?;
    Ok(std::iter::from_fn(move || unread.next(body)?.ok()))
}

impl Iterator for Cursor {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let record = self.next_record().transpose();
        self.failed = matches!(record, Some(Err(_)));
        record
    }
}

/// See [`Cursor::follow`]. After an error it ends.
#[derive(Debug)]
pub struct Follow {
    cursor: Cursor,
}

impl Iterator for Follow {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.cursor.next() {
                return Some(record);
            }
            if self.cursor.failed {
                return None;
            }
            if let Err(e) = self.cursor.wait(LONGEST_WAIT) {
                self.cursor.failed = true;
                return Some(Err(e));
            }
        }
    }
}
