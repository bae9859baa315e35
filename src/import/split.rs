//! A JSON document taken apart into the texts of its members or elements, as it is read: none is parsed here, and none is kept.

use std::fmt;
use std::io::{self, BufRead};

use super::Place;

/// Windows puts it in front of a text.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(super) struct Split<R> {
    reader: R,
    longest: usize,
    line: u64,
    column: u64,
    shape: Shape,
    /// Nothing was read of the members or elements.
    first: bool,
    text: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Object,
    List,
    Other,
}

/// A member or an element.
#[derive(Debug, PartialEq)]
pub(super) struct Item<'a> {
    /// Where its value begins.
    pub(super) place: Place,
    /// A member's name, as the JSON text that it is.
    pub(super) name: Option<Vec<u8>>,
    /// The value, which is only known to end somewhere; or why it is not kept.
    pub(super) text: Result<&'a [u8], String>,
}

/// Why the rest cannot be taken apart. Part of a sentence about the input.
#[derive(Debug)]
pub(super) enum Stop {
    Read(io::Error),
    Found { what: String, line: u64, column: u64 },
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Read(e) => write!(f, "cannot be read: {e}"),
            Stop::Found { what, line, column } => {
                write!(f, "is no JSON at line {line} column {column}: {what}")
            }
        }
    }
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Stop {
        Stop::Read(e)
    }
}

impl<R: BufRead> Split<R> {
    /// Texts of at most `longest` bytes are kept.
    pub(super) fn new(reader: R, longest: usize) -> Split<R> {
        Split { reader, longest, line: 1, column: 1, shape: Shape::Other, first: true, text: Vec::new() }
    }

    /// Reads up to the first member or element.
    pub(super) fn begin(&mut self) -> Result<Shape, Stop> {
        self.byte_order_mark()?;
        self.shape = match self.token()? {
            Some(b'{') => Shape::Object,
            Some(b'[') => Shape::List,
            Some(_) => Shape::Other,
            None => return Err(self.found("it is empty")),
        };
        if self.shape != Shape::Other {
            self.bump();
        }
        Ok(self.shape)
    }

    /// The whole input as one item.
    pub(super) fn whole(&mut self) -> Result<Item<'_>, Stop> {
        self.byte_order_mark()?;
        if self.token()?.is_none() {
            return Err(self.found("it is empty"));
        }
        let place = Place::Column(self.line, self.column);
        self.text.clear();
        while let Some(byte) = self.peek()? {
            self.keep(byte);
        }
        Ok(Item { place, name: None, text: self.kept() })
    }

    /// The next one; `None` behind the last.
    pub(super) fn next(&mut self) -> Result<Option<Item<'_>>, Stop> {
        let end = if self.shape == Shape::Object { b'}' } else { b']' };
        match self.token()? {
            Some(byte) if byte == end => {
                self.bump();
                return match self.token()? {
                    None => Ok(None),
                    Some(_) => Err(self.found("something stands behind the document")),
                };
            }
            Some(b',') if !self.first => self.bump(),
            Some(_) if self.first => {}
            Some(_) => return Err(self.found("a comma or the end was expected")),
            None => return Err(self.found("it ends in the middle of the document")),
        }
        self.first = false;
        let name = if self.shape == Shape::Object { Some(self.name()?) } else { None };
        self.token()?;
        let place = Place::Column(self.line, self.column);
        self.value()?;
        Ok(Some(Item { place, name, text: self.kept() }))
    }

    fn name(&mut self) -> Result<Vec<u8>, Stop> {
        if self.token()? != Some(b'"') {
            return Err(self.found("a name in quotes was expected"));
        }
        self.text.clear();
        self.string()?;
        let name = match self.kept() {
            Ok(name) => name.to_vec(),
            Err(_) => return Err(self.found("the name before is too long to be a key")),
        };
        if self.token()? != Some(b':') {
            return Err(self.found("a colon was expected"));
        }
        self.bump();
        Ok(name)
    }

    /// Everything up to the comma or bracket that ends the value.
    fn value(&mut self) -> Result<(), Stop> {
        self.text.clear();
        let mut depth = 0u64;
        loop {
            let byte = self.peek()?.ok_or_else(|| self.found("it ends in the middle of a value"))?;
            match byte {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b',' | b'}' | b']' if depth == 0 => return Ok(()),
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.keep(byte);
        }
    }

    fn string(&mut self) -> Result<(), Stop> {
        let mut inside = false;
        loop {
            let byte = self.peek()?.ok_or_else(|| self.found("it ends in the middle of a text"))?;
            self.keep(byte);
            match byte {
                b'"' if inside => return Ok(()),
                b'\\' => {
                    let escaped =
                        self.peek()?.ok_or_else(|| self.found("it ends in the middle of a text"))?;
                    self.keep(escaped);
                }
                _ => inside = true,
            }
        }
    }

    /// One byte more than is allowed is kept, so that a text too long is known as one.
    fn keep(&mut self, byte: u8) {
        if self.text.len() <= self.longest {
            self.text.push(byte);
        }
        self.bump();
    }

    fn kept(&self) -> Result<&[u8], String> {
        match self.text.len() > self.longest {
            true => Err(format!("it is longer than {} bytes, twice what a batch may take", self.longest)),
            false => Ok(&self.text),
        }
    }

    /// The next byte that is no white space, not taken yet.
    fn token(&mut self) -> Result<Option<u8>, Stop> {
        loop {
            match self.peek()? {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.bump(),
                other => return Ok(other),
            }
        }
    }

    fn byte_order_mark(&mut self) -> Result<(), Stop> {
        // Its first byte begins no JSON; if the others do not follow, whoever parses says so.
        for byte in BYTE_ORDER_MARK {
            if self.peek()? == Some(*byte) {
                self.reader.consume(1);
            }
        }
        Ok(())
    }

    fn peek(&mut self) -> Result<Option<u8>, Stop> {
        loop {
            match self.reader.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Takes the byte that was looked at.
    fn bump(&mut self) {
        // It is in the buffer still.
        let newline = self.reader.fill_buf().is_ok_and(|bytes| bytes.first() == Some(&b'\n'));
        self.reader.consume(1);
        if newline {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
    }

    fn found(&self, what: &str) -> Stop {
        Stop::Found { what: what.into(), line: self.line, column: self.column }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every item as `line:column name=text`, and how it ended.
    fn split(text: &[u8], longest: usize) -> (Vec<String>, String) {
        let mut split = Split::new(io::BufReader::with_capacity(3, text), longest);
        let mut items = Vec::new();
        let ended = split.begin().and_then(|_| {
            while let Some(item) = split.next()? {
                let Place::Column(line, column) = item.place else { panic!("a place in a document") };
                let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let name = item.name.as_deref().map(|name| show(name) + "=").unwrap_or_default();
                let text = item.text.map_or_else(|_| "too long".to_string(), show);
                items.push(format!("{line}:{column} {name}{text}"));
            }
            Ok(())
        });
        (items, ended.err().map(|stop| stop.to_string()).unwrap_or_default())
    }

    #[test]
    fn members_and_elements_come_with_their_places_as_they_stand() {
        let (items, ended) =
            split(b"\xef\xbb\xbf {\"a\" : 1e3,\n \"b\\\"\":{\"x\":[1,\"}\"]} ,\"\":\"\",\"a\":NaN}\n", 100);
        assert_eq!(
            items,
            ["1:9 \"a\"=1e3", "2:8 \"b\\\"\"={\"x\":[1,\"}\"]} ", "2:26 \"\"=\"\"", "2:33 \"a\"=NaN"]
        );
        assert_eq!(ended, "");
        assert_eq!(split(b"[1,[2,{}] , \"\\\\\"]", 100).0, ["1:2 1", "1:4 [2,{}] ", "1:13 \"\\\\\""]);
        assert_eq!(split(b" [ ] ", 9), (vec![], String::new()));
        assert_eq!(split(b"{}", 9), (vec![], String::new()));
    }

    #[test]
    fn what_is_too_long_is_passed_over_and_what_follows_is_not() {
        assert_eq!(split(b"[123456,12345]", 5).0, ["1:2 too long", "1:9 12345"]);
    }

    #[test]
    fn a_broken_document_is_told_with_its_place_and_what_is_before_is_there() {
        for (text, items, words) in [
            ("", 0, "line 1 column 1: it is empty"),
            ("[1,2", 1, "line 1 column 5: it ends in the middle of a value"),
            ("[1,", 1, "in the middle of a value"),
            ("{\"a\":1,\n\"b", 1, "line 2 column 3: it ends in the middle of a text"),
            ("{\"a\":1,}", 1, "column 8: a name in quotes"),
            ("{\"a\" 1}", 0, "column 6: a colon"),
            ("{a:1}", 0, "column 2: a name in quotes"),
            ("[1] x", 1, "column 5: something stands behind"),
            ("[1}", 1, "column 3: a comma or the end"),
            ("[1,2", 1, "is no JSON"),
            ("{\"a\":1", 0, "in the middle of a value"),
            ("[\"\\", 0, "in the middle of a text"),
            ("[", 0, "in the middle of the document"),
        ] {
            let (found, ended) = split(text.as_bytes(), 100);
            assert_eq!(found.len(), items, "{text}: {found:?}");
            assert!(ended.contains(words), "{text}: {ended}");
        }
    }
}
