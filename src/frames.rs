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

    /// Every frame before `end` is whole and will never change, and the segment lies where it may be mapped.
    pub(crate) fn settled(&mut self, end: u64) {
        self.settled = self.settled.max(end);
    }

    /// The next whole frame, if it is there.
    pub(crate) fn next(&mut self) -> Result<Option<Header>> {
        if let Some(header) = self.frame_in_window() {
            return Ok(Some(header));
        }
        // Not whole in what was read before: read on, for it may be cut by the window or have been written since.
        // Twice as much each time, so that a long way takes few reads and a short one under the lock stays short.
        let reading_on = self.at > self.window_at && self.at <= self.window_at + self.window.len() as u64;
        let len = if reading_on { self.window.len() * 2 } else { 0 };
        self.fill(len.clamp(SMALL_WINDOW, LARGE_WINDOW), 0)?;
        if let Some(header) = self.frame_in_window() {
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
                Ok(self.frame_in_window())
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

    fn frame_in_window(&mut self) -> Option<Header> {
        let from = usize::try_from(self.at.checked_sub(self.window_at)?).ok()?;
        let bytes = self.window.get(from..)?;
        let header = Header::decode(bytes, self.linked.segment.salt(), bytes.len() as u64)?;
        let frame = &bytes[..header.frame_len() as usize];
        // A frame of another time, left behind or copied here, has another seq.
        if header.first_seq != self.next_seq || !header.body_is_whole(frame) {
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
