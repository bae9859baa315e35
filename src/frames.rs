//! The frames of one segment, in order, each checked.

use std::sync::Arc;

use crate::error::Result;
use crate::format::{self, FRAMES_BEGIN, HEADER, Header};
use crate::record::Seq;
use crate::segment::{Linked, Segment};

/// Reads the frames of one segment in order, checking each; can be asked again when it stopped, for a frame may be there now.
#[derive(Debug)]
pub(crate) struct Frames {
    linked: Linked,
    at: u64,
    next_seq: Seq,
    last_crc: u32,
    window: Vec<u8>,
    window_at: u64,
    /// Where in the window the last frame's body is.
    body: std::ops::Range<usize>,
}

/// The first read of a segment and every read at the tail, and the most that reading on takes at a time.
const SMALL_WINDOW: usize = 4 << 10;
const LARGE_WINDOW: usize = 256 << 10;

impl Frames {
    pub(crate) fn begin(linked: Linked) -> Frames {
        let last_crc = linked.link.crc(linked.segment.salt());
        Frames {
            at: FRAMES_BEGIN,
            next_seq: linked.link.first_seq,
            last_crc,
            linked,
            window: Vec::new(),
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
            self.window.clear();
        }
        (self.at, self.next_seq, self.last_crc) = (at, next_seq, last_crc);
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
        self.fill(len.clamp(SMALL_WINDOW, LARGE_WINDOW))?;
        if let Some(header) = self.frame_in_window() {
            return Ok(Some(header));
        }
        if self.window.len() < HEADER || format::is_blank(&self.window[..HEADER]) {
            return Ok(None);
        }
        let left = self.segment().file.len()?.saturating_sub(self.at);
        match Header::decode(&self.window, self.segment().salt(), left) {
            Some(header) if header.frame_len() as usize > self.window.len() => {
                self.fill(header.frame_len() as usize)?;
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
        self.window.clear();
    }

    /// Goes past a frame that this process wrote at the place where the next one was expected.
    pub(crate) fn wrote(&mut self, frame_len: u64, next_seq: Seq, crc: u32) {
        self.at += frame_len;
        self.next_seq = next_seq;
        self.last_crc = crc;
        self.window.clear();
    }

    fn fill(&mut self, len: usize) -> Result<()> {
        self.window.resize(len, 0);
        let segment = Arc::clone(&self.linked.segment);
        let read =
            segment.file.read_at(&mut self.window, self.at).map_err(|e| e.in_segment(segment.number))?;
        self.window.truncate(read);
        self.window_at = self.at;
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
