//! One file of the journal: its identity, its link, and the frames behind them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::error::{Error, Kind, Result};
use crate::format::{self, BLOCK, BadBlock, Body, HEADER, Header, Identity, Link};
use crate::names;
use crate::record::Seq;
use crate::sys::{self, Dir, File, Names, ShortWrite, Window};

/// The most of a segment that is mapped for writing: address space is not endless. Behind it frames are written.
const LARGEST_WINDOW: u64 = 1 << 30;
/// How many bytes of pages an append makes present at once: the fewest, for who appends little must not dirty much, and the most.
const FEWEST_PAGES: u64 = 64 << 10;
const MOST_PAGES: u64 = 256 << 10;
/// How far ahead of the tail they are made present in the background.
const PAGES_AHEAD: u64 = 8 << 20;

/// Whose segments these are. A segment of another store or cohort is damage, whatever it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) store: [u8; 16],
    pub(crate) cohort: String,
}

impl Owner {
    /// The identity of a new segment, with a salt of its own.
    pub(crate) fn identity(&self, number: u64) -> Identity {
        let salt = sys::random_u64() as u32;
        Identity { number, store: self.store, salt, cohort: self.cohort.clone(), read_only: false }
    }
}

/// What segments are opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A segment with a valid identity.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) identity: Identity,
    pub(crate) file: File,
    /// Bytes known to be reserved on disk (the file's length at some moment; it only grows).
    reserved: AtomicU64,
    /// Whether the file system reserves at all.
    reserves: AtomicBool,
    /// Frames go out through this, where they may.
    window: OnceLock<Option<Window>>,
}

/// How a frame gets into its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Through {
    /// A store into shared memory, if the segment has a window: no call to the kernel.
    Memory,
    /// A write: what is synced next goes this way, for a sync after a store takes several times as long.
    File,
}

/// A segment that is part of the journal.
#[derive(Clone, Debug)]
pub(crate) struct Linked {
    pub(crate) segment: Arc<Segment>,
    pub(crate) link: Link,
}

/// What stands under a segment's name.
#[derive(Debug)]
pub(crate) enum Found {
    Linked(Linked),
    /// Ready to become part of the journal, and not yet begun.
    Spare(Arc<Segment>),
    Damaged(Damaged),
}

/// A segment that cannot be what it should.
#[derive(Debug)]
pub(crate) struct Damaged {
    pub(crate) number: u64,
    pub(crate) offset: u64,
    pub(crate) what: String,
    pub(crate) newer: bool,
    /// Present if only the link is bad: then frames behind it can still be told from rubbish.
    pub(crate) segment: Option<Arc<Segment>>,
}

/// What is reserved ends with a page. Where a file ends in the middle of one, ext4 puts zeros into the rest of that page when the
/// file grows, and does so after its new length can be seen: over what another process, which has seen it, has stored there.
fn whole_pages(len: u64) -> u64 {
    len.next_multiple_of(sys::page_size())
}

impl Damaged {
    pub(crate) fn error(&self, dir: &Path) -> Error {
        let path = dir.join(names::segment(self.number));
        if self.newer {
            return Error::new(
                Kind::Unsupported,
                format!("a segment was written by a newer version: {}", self.what),
            )
            .at(&path)
            .in_segment(self.number)
            .advise("use that version of tallyfold; nothing was changed");
        }
        Error::corruption(format!("a segment is damaged: {}", self.what))
            .at(&path)
            .in_segment(self.number)
            .at_offset(self.offset)
            .advise("restore the file from a copy, or see what `tallyfold repair` would keep; nothing was changed")
    }
}

impl Segment {
    /// Opens what stands under a segment's name; `None` if nothing does.
    pub(crate) fn open(dir: &Dir, number: u64, owner: &Owner, access: Access) -> Result<Option<Found>> {
        let name = names::segment(number);
        let file = match access {
            Access::Read => dir.open_read(&name, Names::One),
            Access::Write => dir.open_write(&name),
        };
        let file = match file {
            Ok(file) => file,
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e.in_segment(number)),
        };
        let mut blocks = [0; 2 * BLOCK];
        let read = file.read_at(&mut blocks, 0).map_err(|e| e.in_segment(number))?;
        let damaged = |offset, what: &str, segment| {
            Some(Found::Damaged(Damaged { number, offset, what: what.into(), newer: false, segment }))
        };
        let identity = match Identity::decode(&blocks[..read.min(BLOCK)]) {
            Ok(identity) => identity,
            Err(BadBlock::Newer(what)) => {
                return Ok(Some(Found::Damaged(Damaged {
                    number,
                    offset: 0,
                    what,
                    newer: true,
                    segment: None,
                })));
            }
            Err(BadBlock::Damaged(what)) => return Ok(damaged(0, what, None)),
            // The identity is on the medium before the name is.
            Err(BadBlock::Blank) => return Ok(damaged(0, "the identity block is blank", None)),
        };
        if identity.number != number || identity.store != owner.store || identity.cohort != owner.cohort {
            return Ok(damaged(0, "it is a segment of another cohort, or under another's name", None));
        }
        if identity.read_only && access == Access::Write {
            return Err(Error::new(
                Kind::Unsupported,
                "a segment uses features that this version only reads",
            )
            .at(file.path())
            .in_segment(number)
            .advise("write with the version of tallyfold that made it"));
        }
        let reserved = AtomicU64::new(file.len()?);
        let segment = Arc::new(Segment {
            number,
            identity,
            file,
            reserved,
            reserves: AtomicBool::new(true),
            window: OnceLock::new(),
        });
        match Link::decode(&blocks[BLOCK..read.max(BLOCK)], segment.salt()) {
            Ok(link) => Ok(Some(Found::Linked(Linked { segment, link }))),
            Err(BadBlock::Blank) => Ok(Some(Found::Spare(segment))),
            Err(BadBlock::Damaged(what)) => Ok(damaged(BLOCK as u64, what, Some(segment))),
            Err(BadBlock::Newer(what)) => Ok(damaged(BLOCK as u64, &what, Some(segment))),
        }
    }

    /// Makes a new segment under a temporary name: space reserved, identity written, file synced. Renaming it and syncing the
    /// directory are left to the caller, under the append lock and outside it.
    pub(crate) fn make(dir: &Dir, temporary: &str, identity: Identity, len: u64) -> Result<Segment> {
        let file = dir.create(temporary)?;
        let reserves = file.allocate(whole_pages(len))?;
        file.write_at(&identity.encode(), 0).map_err(|short| short.error)?;
        // The link block is part of the file from the beginning, so that its place is never past the end.
        file.write_at(&[0; BLOCK], BLOCK as u64).map_err(|short| short.error)?;
        file.sync_all()?;
        let reserved = AtomicU64::new(file.len()?);
        Ok(Segment {
            number: identity.number,
            identity,
            file,
            reserved,
            reserves: AtomicBool::new(reserves),
            window: OnceLock::new(),
        })
    }

    pub(crate) fn salt(&self) -> u32 {
        self.identity.salt
    }

    /// Whether bytes up to `end` can be written without allocating, or nothing can be done about it beforehand.
    pub(crate) fn has_room(&self, end: u64) -> bool {
        end <= self.reserved.load(Ordering::Relaxed) || !self.reserves.load(Ordering::Relaxed)
    }

    /// Bytes known to be reserved.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Whether a tail has come so far that more space should be reserved, before an append has to wait for it.
    #[inline]
    pub(crate) fn wants_space(&self, end: u64, limit: u64) -> bool {
        let reserved = self.reserved();
        end > reserved / 2 && reserved < limit && self.reserves.load(Ordering::Relaxed)
    }

    /// Reserves what the file's length promises, should it have holes.
    pub(crate) fn reserve_again(&self) -> Result<()> {
        self.file.fill_holes().map_err(|e| e.in_segment(self.number))
    }

    /// Lets frames go out through memory from now on. `limit`: the size that the segment will grow to.
    pub(crate) fn open_window(&self, limit: u64) {
        self.window.get_or_init(|| {
            let len = self.reserved.load(Ordering::Relaxed).max(limit).min(LARGEST_WINDOW);
            // Without it frames are written, only slower.
            Window::open(&self.file, len).unwrap_or(None)
        });
    }

    fn window(&self, end: u64) -> Option<&Window> {
        let window = self.window.get()?.as_ref()?;
        let inside = end <= window.len().min(self.reserved.load(Ordering::Relaxed));
        (inside && self.reserves.load(Ordering::Relaxed)).then_some(window)
    }

    /// Whether appends come near pages that this process has not touched yet.
    #[inline]
    pub(crate) fn wants_pages(&self, end: u64) -> bool {
        self.lacks_pages(end, FEWEST_PAGES / 4).is_some()
    }

    /// Makes the next pages present: twice as many as the last time, in a process that writes alone. Among many most pages are
    /// another's by the time they are reached.
    pub(crate) fn populate(&self, end: u64) {
        if let Some(window) = self.lacks_pages(end, FEWEST_PAGES / 4) {
            let overtaken = end > window.populated();
            let pages =
                if overtaken { FEWEST_PAGES } else { (window.run() * 2).clamp(FEWEST_PAGES, MOST_PAGES) };
            window.populate(end, (end + pages).min(self.reserved()));
        }
    }

    /// Whether a process that writes alone for a while should have more pages made present in the background.
    #[inline]
    pub(crate) fn wants_pages_ahead(&self, end: u64) -> bool {
        self.lacks_pages(end, PAGES_AHEAD / 2).is_some_and(|window| window.run() >= MOST_PAGES)
    }

    /// Makes pages present far ahead, a part at a time: a file system that is busy with a sync may let one wait long.
    pub(crate) fn populate_ahead(&self, end: u64) {
        while let Some(window) = self.lacks_pages(end, PAGES_AHEAD) {
            let from = window.populated().max(end);
            window.populate(from, (from + MOST_PAGES).min(self.reserved()));
            if window.populated() <= from {
                break;
            }
        }
    }

    /// The window, if fewer than so many bytes behind `end` are present, and more could be.
    #[inline]
    fn lacks_pages(&self, end: u64, bytes: u64) -> Option<&Window> {
        let window = self.window(end)?;
        let most = self.reserved().min(window.len());
        (window.populated() < most.min(end + bytes)).then_some(window)
    }

    /// Writes a frame at the tail and returns its header's CRC.
    pub(crate) fn write_frame(&self, header: &Header, body: &Body, at: u64, through: Through) -> Result<u32> {
        match self.window(at + header.frame_len()).filter(|_| through == Through::Memory) {
            Some(window) => {
                // The padding stands there already: behind the tail there are only zeros.
                let (head, crc) = header.encode(self.salt());
                self.file.store(window, [&head, &body.bytes], at);
                Ok(crc)
            }
            None => {
                let (frame, crc) = body.frame(header, self.salt());
                self.write(&frame, at).map(|()| crc)
            }
        }
    }

    /// What was learned about the file through an earlier handle holds for this one.
    pub(crate) fn learn_from(&self, earlier: &Segment) {
        self.reserves.store(earlier.reserves.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Reserves space to `end` at least, outside the append lock: four times what there was if the disk has it, at most `limit`.
    pub(crate) fn grow(&self, end: u64, limit: u64) -> Result<()> {
        // Another process may have done it.
        let len = self.file.len()?;
        if len >= end && self.reserves.load(Ordering::Relaxed) {
            self.reserved.fetch_max(len, Ordering::Relaxed);
            return Ok(());
        }
        let had = self.reserved.load(Ordering::Relaxed);
        let end = whole_pages(end);
        let generous = whole_pages(had.saturating_mul(4).clamp(end, end.max(limit)));
        let reserved = match self.file.allocate(generous) {
            Err(e) if e.is_no_space() && generous > end => {
                self.file.allocate(end).map(|reserves| (reserves, end))
            }
            other => other.map(|reserves| (reserves, generous)),
        };
        let (reserves, to) = reserved.map_err(|e| e.in_segment(self.number))?;
        if reserves {
            self.reserved.fetch_max(to, Ordering::Relaxed);
        } else {
            self.reserves.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes the link: from here on the segment is part of the journal. **The commit point of a rotation and of a cut.**
    pub(crate) fn write_link(&self, link: &Link) -> Result<()> {
        self.write(&link.encode(self.salt()), BLOCK as u64)
    }

    /// Writes all of `bytes`, or leaves zeros where some of them stood: a caller whose write failed finds the segment as it
    /// was. Should even that fail, the rest is a torn tail and the next writer cuts it off.
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_at(bytes, offset).or_else(|ShortWrite { written, error }| {
            // If what is missing is zeros, and zeros stand there, the whole is there, and readers may have seen it.
            let end = offset + bytes.len() as u64;
            if format::is_blank(&bytes[written..]) && self.file.len().is_ok_and(|len| len >= end) {
                return Ok(());
            }
            let zeros = vec![0; written];
            let _ = self.file.write_at(&zeros, offset);
            Err(error.in_segment(self.number))
        })
    }

    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| e.in_segment(self.number))
    }

    /// Whether there is nothing but zeros from `offset` to the end.
    pub(crate) fn is_blank_from(&self, mut offset: u64) -> Result<bool> {
        let mut chunk = vec![0; 64 << 10];
        while let Some(at) = self.file.next_data(offset)? {
            // A hole may begin inside a page that holds data, so look at all from there.
            let read = self.file.read_at(&mut chunk, at)?;
            if read == 0 {
                break;
            }
            if !format::is_blank(&chunk[..read]) {
                return Ok(false);
            }
            offset = at + read as u64;
        }
        Ok(true)
    }

    /// The highest `durable_seq` of any whole frame behind a hole that begins before `from`, where a frame counts only if its
    /// own seq lies beyond `expected` and its `durable_seq` below its own: what stands there may be what a user logged.
    pub(crate) fn durable_behind(&self, from: u64, expected: Seq) -> Result<Seq> {
        const CHUNK: usize = 1 << 20;
        let len = self.file.len()?;
        let mut highest = 0;
        let mut at = from.next_multiple_of(format::ALIGN);
        let mut chunk = vec![0; CHUNK];
        while at + HEADER as u64 <= len {
            let Some(data) = self.file.next_data(at)? else { break };
            at = at.max(data / format::ALIGN * format::ALIGN);
            let read = self.file.read_at(&mut chunk, at)?;
            if read < HEADER {
                break;
            }
            // The file may have grown under a reader's eyes since its length was asked for.
            let end = len.max(at + read as u64);
            let mut i = 0;
            while i + HEADER <= read {
                let place = at + i as u64;
                if let Some(header) = Header::decode(&chunk[i..], self.salt(), end - place)
                    && header.first_seq > expected
                    && header.durable_seq < header.first_seq
                    && header.durable_seq > highest
                    && self.frame_is_whole(&header, place)?
                {
                    highest = header.durable_seq;
                }
                i += format::ALIGN as usize;
            }
            at += i as u64;
        }
        Ok(highest)
    }

    fn frame_is_whole(&self, header: &Header, at: u64) -> Result<bool> {
        // The header's CRC vouches for the length, and it fits into the file.
        let mut frame = vec![0; header.frame_len() as usize];
        let read = self.file.read_at(&mut frame, at)?;
        Ok(header.body_is_whole(&frame[..read]))
    }
}
