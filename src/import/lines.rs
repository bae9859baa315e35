//! Lines, each with its number. One that is too long is passed over without being kept.

use std::io::{self, BufRead};

pub(super) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    number: u64,
    longest: usize,
    /// Whether the last line had an end, or the input ended in it.
    ended: bool,
}

/// A line's number, and its bytes or what is wrong with it.
type Line<'a> = (u64, Result<&'a [u8], String>);

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R, longest: usize) -> Lines<R> {
        Lines { reader, line: Vec::new(), number: 0, longest, ended: true }
    }

    /// The next line that is not of white space only; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            self.line.clear();
            let Some(fits) = self.read()? else { return Ok(None) };
            self.number += 1;
            if !fits {
                let reason = format!("it is longer than {} bytes, twice what a batch may take", self.longest);
                return Ok(Some((self.number, Err(reason))));
            }
            // Windows puts it in front of a text.
            if self.number == 1 && self.line.starts_with(super::split::BYTE_ORDER_MARK) {
                self.line.drain(..super::split::BYTE_ORDER_MARK.len());
            }
            if !self.line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some((self.number, Ok(&self.line))));
            }
        }
    }

    /// Whether the line that came last has an end, and is not what a dead writer has left.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether the line fits; `None`: there is none.
    fn read(&mut self) -> io::Result<Option<bool>> {
        let (mut there, mut fits) = (false, true);
        loop {
            let bytes = match self.reader.fill_buf() {
                Ok(bytes) => bytes,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if bytes.is_empty() {
                self.ended &= !there;
                return Ok(there.then_some(fits));
            }
            there = true;
            let end = memchr::memchr(b'\n', bytes);
            let part = &bytes[..end.unwrap_or(bytes.len())];
            fits = fits && self.line.len() + part.len() <= self.longest;
            if fits {
                self.line.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                self.ended = true;
                return Ok(Some(fits));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_numbers_and_long_ones_are_told_and_passed_over() {
        let text = b"\xef\xbb\xbf1\n\n  \r\n12345\n123456\n2\r\n\xff\n3";
        let mut lines = Lines::new(io::BufReader::with_capacity(2, &text[..]), 5);
        let mut found = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            found.push((number, line.map(<[u8]>::to_vec).map_err(|e| e.contains("longer than 5 bytes"))));
        }
        let line = |text: &[u8]| Ok(text.to_vec());
        assert!(!lines.is_ended());
        assert_eq!(
            found,
            [
                (1, line(b"1")),
                (4, line(b"12345")),
                (5, Err(true)),
                (6, line(b"2\r")),
                (7, line(b"\xff")),
                (8, line(b"3"))
            ]
        );
    }
}
