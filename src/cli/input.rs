//! What comes in: the user's own files and standard input, the only ones opened here that are not the store's.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::exit::{self, Failure};
use super::interrupt;
use super::progress::Progress;

/// The name that stands for standard input.
const STANDARD_INPUT: &str = "-";
/// What the settings of a cohort may take, in bytes.
const SETTINGS_BYTES: u64 = 1 << 20;
/// What is kept of the buffer of a long line once the next one begins.
const KEPT_BYTES: usize = 64 << 10;

/// The file at a path, or standard input.
pub(crate) fn open(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if path == Path::new(STANDARD_INPUT) {
        return Ok(Box::new(io::stdin().lock()));
    }
    #[allow(clippy::disallowed_methods, reason = "the user's own file, not one of the store's")]
    let file = std::fs::File::open(path);
    match file {
        Ok(file) => {
            let len = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len());
            let progress =
                len.map_or_else(|| Progress::new("reading", None), |len| Progress::bytes("reading", len));
            Ok(Box::new(BufReader::new(Watched { file, progress })))
        }
        Err(e) => Err(Failure::new(exit::FAILURE, format!("cannot open {}: {e}", path.display()))),
    }
}

/// A file that shows how far it has been read, and is read no further after Ctrl-C.
struct Watched {
    file: std::fs::File,
    progress: Progress,
}

impl Read for Watched {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if interrupt::requested() {
            return Err(io::Error::other("interrupted"));
        }
        let read = self.file.read(bytes)?;
        self.progress.advance(read as u64);
        Ok(read)
    }
}

/// Whether a path stands for standard input.
#[cfg(feature = "parquet")]
pub(crate) fn is_standard(path: &Path) -> bool {
    path == Path::new(STANDARD_INPUT)
}

/// A file of the user's that has to be read here and there.
#[cfg(feature = "parquet")]
pub(crate) fn open_file(path: &Path) -> Result<std::fs::File, Failure> {
    #[allow(clippy::disallowed_methods, reason = "the user's own file, not one of the store's")]
    let file = std::fs::File::open(path);
    file.map_err(|e| Failure::new(exit::FAILURE, format!("cannot open {}: {e}", path.display())))
}

/// A small file as text.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let refused = |why: &dyn std::fmt::Display| {
        Failure::new(exit::FAILURE, format!("cannot read {}: {why}", path.display()))
    };
    let mut text = String::new();
    let read = open(path)?.take(SETTINGS_BYTES + 1).read_to_string(&mut text).map_err(|e| refused(&e))?;
    match read as u64 > SETTINGS_BYTES {
        true => Err(refused(&format_args!("it holds more than {SETTINGS_BYTES} bytes"))),
        false => Ok(text),
    }
}

/// Lines of UTF-8, each as soon as it is there. Those of white space only are passed over.
pub(crate) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    number: u64,
    longest: usize,
}

/// A line and its number, from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) number: u64,
    pub(crate) text: &'a str,
}

impl<R: BufRead> Lines<R> {
    /// Lines of at most `longest` bytes.
    pub(crate) fn new(reader: R, longest: usize) -> Lines<R> {
        Lines { reader, line: Vec::new(), number: 0, longest }
    }

    /// The number of the line read last, refused ones included.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The next line; `None` at the end of the input. The text of a refusal does not name the line.
    pub(crate) fn next(&mut self) -> Result<Option<Line<'_>>, String> {
        loop {
            self.line.clear();
            self.line.shrink_to(KEPT_BYTES);
            self.number += 1;
            // One byte more than is allowed, so that a line too long is known without being read whole.
            let most = self.longest as u64 + 1;
            let read = self.reader.by_ref().take(most).read_until(b'\n', &mut self.line);
            if read.map_err(|e| format!("cannot be read: {e}"))? == 0 {
                return Ok(None);
            }
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
            } else if self.line.len() > self.longest {
                return Err(format!("it is longer than {} bytes, twice what a batch may take", self.longest));
            }
            if !self.line.iter().all(u8::is_ascii_whitespace) {
                break;
            }
        }
        match std::str::from_utf8(&self.line) {
            Ok(text) => Ok(Some(Line { number: self.number, text })),
            Err(e) => Err(format!("it is not UTF-8 at byte {}", e.valid_up_to() + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], longest: usize) -> Lines<&[u8]> {
        Lines::new(bytes, longest)
    }

    #[test]
    fn lines_keep_their_numbers_when_blank_ones_are_passed_over() {
        let mut lines = lines(b"\n1\r\n \t\r\n2", 10);
        assert_eq!(lines.next(), Ok(Some(Line { number: 2, text: "1\r" })));
        assert_eq!(lines.next(), Ok(Some(Line { number: 4, text: "2" })));
        assert_eq!(lines.next(), Ok(None));
    }

    #[test]
    fn a_line_may_be_as_long_as_allowed_and_no_longer() {
        assert_eq!(lines(b"1234\n", 4).next(), Ok(Some(Line { number: 1, text: "1234" })));
        assert_eq!(lines(b"1234", 4).next(), Ok(Some(Line { number: 1, text: "1234" })));
        assert!(lines(b"12345\n", 4).next().unwrap_err().contains("longer than 4 bytes"));
        assert!(lines(b"12345", 4).next().unwrap_err().contains("longer than 4 bytes"));
    }

    #[test]
    fn what_is_not_utf_8_is_refused_with_its_place() {
        let mut lines = lines(b"1\n\"a\xff\"\n", 10);
        assert!(lines.next().is_ok());
        assert_eq!(lines.next(), Err("it is not UTF-8 at byte 3".to_string()));
        assert_eq!(lines.number(), 2);
    }
}
