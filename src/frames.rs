//! The frames of one segment, in order, each checked.
//!
//! They are decoded where they lie: in a window onto the segment, which is read, or mapped where that is allowed. What is being
//! written may be looked at with reads only. What is *settled*, whole and never to change, may be mapped, and then nothing is
//! copied.

use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::error::Result;
use crate::format::{self, FRAMES_BEGIN, HEADER, Header};
use crate::record::Seq;
use crate::segment::{Linked, Segment};
use crate::sys::Mapping;

/// Reads the frames of one segment in order, checking each; can be asked again when it stopped, for a frame may be there now.
#[derive(Debug)]
pub(crate) struct Frames {
    linked: Linked,
    at: u64,
    next_seq: Seq,
    last_crc: u32,
    /// Up to here the segment may be mapped.
    settled: u64,
    window: Window,
    window_at: u64,
    /// Where in the window the last frame's body is.
    body: Range<usize>,
}

/// A part of the segment in memory.
#[derive(Debug)]
enum Window {
    Read(Vec<u8>),
    Mapped(Mapping),
}

/// The first read of a segment and every read at the tail, and the most that reading on takes at a time.
const SMALL_WINDOW: usize = 4 << 10;
const LARGE_WINDOW: usize = 256 << 10;
/// Shorter pieces are read: a mapping costs two calls and a fault for each few pages.
const MAP_FROM: usize = 64 << 10;
/// As much is mapped at a time, so that a scan's memory does not grow with the segment.
const MAP_WINDOW: usize = 2 << 20;

impl Frames {
    pub(crate) fn begin(linked: Linked) -> Frames {
        let last_crc = linked.link.crc(linked.segment.salt());
        Frames {
            at: FRAMES_BEGIN,
            next_seq: linked.link.first_seq,
            last_crc,
            linked,
            settled: 0,
            window: Window::Read(Vec::new()),
            window_at: 0,
            body: 0..0,
        }
    }

    pub(crate) fn linked(&self) -> &Linked {
        &self.linked
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.linked.segment
    }

    /// Where the next frame begins.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The seq that the next frame must begin with.
    pub(crate) fn next_seq(&self) -> Seq {
        self.next_seq
    }

    /// The CRC of the last frame's header, or of the link before the first frame.
    pub(crate) fn last_crc(&self) -> u32 {
        self.last_crc
    }

    /// Goes to a place where a frame is known to begin, and what stands before it.
    pub(crate) fn jump(&mut self, at: u64, next_seq: Seq, last_crc: u32) {
        if self.at != at {
            self.forget();
        }
        (self.at, self.next_seq, self.last_crc) = (at, next_seq, last_crc);
    }

    /// Every frame before `end` is whole and will never change, and the segment lies where it may be mapped.
    pub(crate) fn settled(&mut self, end: u64) {
        self.settled = self.settled.max(end);
    }

    /// The next whole frame if it is in memory and ends at `end` or before: what most frames of a long scan are.
    #[inline]
    pub(crate) fn next_at_hand(&mut self, end: u64) -> Option<Header> {
        self.frame_in_window(end)
    }

    /// The next whole frame, if it is there.
    pub(crate) fn next(&mut self) -> Result<Option<Header>> {
        if let Some(header) = self.frame_in_window(u64::MAX) {
            return Ok(Some(header));
        }
        // Not whole in what was read before: read on, for it may be cut by the window or have been written since.
        // Twice as much each time, so that a long way takes few reads and a short one under the lock stays short. Not after a
        // window that reached behind the tail.
        let rest = self.at.checked_sub(self.window_at).and_then(|from| self.window.get(from as usize..));
        let reading_on = rest.is_some_and(|rest| rest.len() < HEADER || !format::is_blank(&rest[..HEADER]));
        let len = if reading_on && self.at > self.window_at { self.window.len() * 2 } else { 0 };
        self.fill(len.clamp(SMALL_WINDOW, LARGE_WINDOW), 0)?;
        if let Some(header) = self.frame_in_window(u64::MAX) {
            return Ok(Some(header));
        }
        if self.window.len() < HEADER || format::is_blank(&self.window[..HEADER]) {
            return Ok(None);
        }
        let left = self.segment().file.len()?.saturating_sub(self.at);
        match Header::decode(&self.window, self.segment().salt(), left) {
            Some(header) if header.frame_len() as usize > self.window.len() => {
                let len = header.frame_len() as usize;
                self.fill(len, len)?;
                Ok(self.frame_in_window(u64::MAX))
            }
            _ => Ok(None),
        }
    }

    /// The body of the frame that [`next`](Frames::next) returned last.
    pub(crate) fn body(&self) -> &[u8] {
        &self.window[self.body.clone()]
    }

    /// Whether the place of the next frame held zeros, or was past the end, when [`next`](Frames::next) found none there:
    /// nobody had written.
    pub(crate) fn found_blank(&self) -> bool {
        let here = &self.window[..self.window.len().min(HEADER)];
        self.window_at == self.at && format::is_blank(here)
    }

    /// Reads on from the same place in the same segment, opened anew.
    pub(crate) fn reopened(&mut self, linked: Linked) {
        self.linked = linked;
        self.forget();
    }

    /// Goes past a frame that this process wrote at the place where the next one was expected.
    pub(crate) fn wrote(&mut self, frame_len: u64, next_seq: Seq, crc: u32) {
        self.at += frame_len;
        self.next_seq = next_seq;
        self.last_crc = crc;
        self.forget();
    }

    fn forget(&mut self) {
        match &mut self.window {
            Window::Read(bytes) => bytes.clear(),
            Window::Mapped(_) => self.window = Window::Read(Vec::new()),
        }
        self.body = 0..0;
    }

    /// Moves the window to the next frame. It gets `len` bytes, or as many as the file has; more or less where it is mapped,
    /// but not less than `needed`.
    fn fill(&mut self, len: usize, needed: usize) -> Result<()> {
        self.body = 0..0;
        self.window_at = self.at;
        let settled = usize::try_from(self.settled.saturating_sub(self.at)).unwrap_or(usize::MAX);
        if len >= MAP_FROM && settled >= MAP_FROM.max(needed) {
            let len = len.max(MAP_WINDOW).min(settled);
            if let Some(mapping) = Mapping::settled(&self.linked.segment.file, self.at, len) {
                self.window = Window::Mapped(mapping);
                return Ok(());
            }
        }
        // What is settled is there as far as it goes, and what stands behind it does not matter yet.
        let len = if settled > needed { len.min(settled) } else { len };
        let mut bytes = match std::mem::replace(&mut self.window, Window::Read(Vec::new())) {
            Window::Read(bytes) => bytes,
            Window::Mapped(_) => Vec::new(),
        };
        bytes.resize(len, 0);
        let segment = &self.linked.segment;
        let read = segment.file.read_at(&mut bytes, self.at).map_err(|e| e.in_segment(segment.number))?;
        bytes.truncate(read);
        self.window = Window::Read(bytes);
        Ok(())
    }

    #[inline]
    fn frame_in_window(&mut self, end: u64) -> Option<Header> {
        let from = usize::try_from(self.at.checked_sub(self.window_at)?).ok()?;
        let bytes = self.window.get(from..)?;
        let header = Header::decode(bytes, self.linked.segment.salt(), bytes.len() as u64)?;
        let frame = &bytes[..header.frame_len() as usize];
        // A frame of another time, left behind or copied here, has another seq.
        if header.first_seq != self.next_seq || !header.body_is_whole(frame) {
            return None;
        }
        if end - self.at.min(end) < header.frame_len() {
            return None;
        }
        self.body = from + HEADER..from + HEADER + header.body_len as usize;
        self.at += header.frame_len();
        self.next_seq = header.next_seq();
        self.last_crc = header.header_crc;
        Some(header)
    }
}

impl Deref for Window {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Window::Read(bytes) => bytes,
            Window::Mapped(mapping) => mapping,
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]
mod tests {
    use super::*;
    use crate::segment::{Access, Found};
    use crate::{Batch, Settings, Store, names};
    use std::io::{Seek, SeekFrom, Write};

    /// A segment with frames of many lengths, one longer than a mapping, and where they end.
    fn segment(dir: &tempfile::TempDir) -> (crate::Cohort, u64) {
        let store = Store::open(dir.path().join("store")).unwrap();
        let cohort = store.create("c", Settings::log()).unwrap();
        for i in 0..400usize {
            let len = if i == 200 { MAP_WINDOW + 5 } else { i * i % 2000 };
            let mut batch = Batch::new();
            batch.put_raw("k", &vec![i as u8; len]).unwrap().put_raw("l", b"").unwrap();
            cohort.append_batch(batch).unwrap();
        }
        let end = linked(&cohort, |frames| while frames.next().unwrap().is_some() {}).at();
        (cohort, end)
    }

    fn linked(cohort: &crate::Cohort, act: impl FnOnce(&mut Frames)) -> Frames {
        let home = cohort.home();
        match Segment::open(&home.dir, 1, &home.owner, Access::Read).unwrap() {
            Some(Found::Linked(linked)) => {
                let mut frames = Frames::begin(linked);
                act(&mut frames);
                frames
            }
            other => panic!("{other:?}"),
        }
    }

    /// Everything that reading to the end gives, and how it ends.
    fn read(cohort: &crate::Cohort, settled: u64) -> (Vec<(Header, u32)>, u64, Seq, bool, bool) {
        let mut read = Vec::new();
        let mut mapped = false;
        let frames = linked(cohort, |frames| {
            frames.settled(settled);
            while let Some(header) = frames.next().unwrap() {
                read.push((header, format::crc(frames.body(), 0)));
                mapped |= matches!(frames.window, Window::Mapped(_));
            }
        });
        (read, frames.at(), frames.next_seq(), frames.found_blank(), mapped)
    }

    #[test]
    fn a_settled_segment_is_mapped_and_gives_what_reads_give() {
        let dir = tempfile::tempdir().unwrap();
        let (cohort, end) = segment(&dir);
        let (frames, at, seq, blank, mapped) = read(&cohort, 0);
        assert_eq!((frames.len(), at, seq, blank, mapped), (400, end, 801, true, false));
        for settled in [end, frames_end(&frames, 250), frames_end(&frames, 201), frames_end(&frames, 199)] {
            assert!(read(&cohort, settled) == (frames.clone(), end, 801, true, true), "{settled}");
        }
        let little = frames_end(&frames, 10);
        assert!(read(&cohort, little) == (frames.clone(), end, 801, true, false), "too little to map");
        let beyond = std::fs::metadata(path(&cohort)).unwrap().len() + 1;
        assert!(read(&cohort, beyond).0 == frames, "a promise the file does not keep");
    }

    #[test]
    fn a_flipped_byte_is_the_same_to_a_mapping_as_to_reads() {
        let dir = tempfile::tempdir().unwrap();
        let (cohort, end) = segment(&dir);
        let whole = std::fs::read(path(&cohort)).unwrap();
        let mut file = std::fs::OpenOptions::new().write(true).open(path(&cohort)).unwrap();
        let mut put = |at: u64, byte: u8| {
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(&[byte]).unwrap();
        };
        // Every byte of a header and its neighbours, and bytes all over.
        let (_, at, ..) = read(&cohort, 0);
        let near = at - 3000..at - 2900;
        for at in near.chain((FRAMES_BEGIN..end).step_by(9973)) {
            put(at, whole[at as usize] ^ (1 << (at % 8)));
            let (from_reads, from_mapping) = (read(&cohort, 0), read(&cohort, end));
            assert!(from_reads.0 == from_mapping.0, "byte {at}");
            assert_eq!((from_reads.1, from_reads.2), (from_mapping.1, from_mapping.2), "byte {at}");
            assert_eq!(from_reads.3, from_mapping.3, "byte {at}: whether the place is blank");
            assert!(from_reads.1 <= at, "byte {at}");
            put(at, whole[at as usize]);
        }
    }

    fn path(cohort: &crate::Cohort) -> std::path::PathBuf {
        cohort.path().join(names::segment(1))
    }

    fn frames_end(frames: &[(Header, u32)], count: usize) -> u64 {
        FRAMES_BEGIN + frames[..count].iter().map(|(header, _)| header.frame_len()).sum::<u64>()
    }
}
