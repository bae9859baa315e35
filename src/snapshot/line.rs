//! The lines of a snapshot: taking one apart, and going over all of them.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use super::{Snapshot, damaged};
use crate::error::Result;
use crate::fold::EntryRef;
use crate::value;

/// One entry of a snapshot, as text and taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) text: &'a str,
    pub(crate) key: Cow<'a, str>,
    pub(crate) entry: EntryRef<'a>,
}

impl<'a> Line<'a> {
    #[inline]
    pub(super) fn parse(text: &'a str) -> Option<Line<'a>> {
        let (key, rest) = key(text)?;
        let (seq, rest) = number(rest.strip_prefix(":{\"seq\":")?)?;
        let rest = rest.strip_prefix(',')?;
        let (nonfinite, rest) = match rest.strip_prefix("\"nonfinite\":true,") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let json = rest.strip_prefix("\"value\":")?.strip_suffix('}')?;
        Some(Line { text, key, entry: EntryRef { seq, nonfinite, json } })
    }
}

/// The key that the JSON string at the beginning of `text` stands for, and what follows it. Borrowed unless it is escaped.
#[inline]
pub(crate) fn key(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let string = text.strip_prefix('"')?;
    let mut at = memchr2(b'"', b'\\', string.as_bytes())?;
    let escaped = string.as_bytes()[at] == b'\\';
    while string.as_bytes()[at] == b'\\' {
        // Whatever it escapes is no end.
        at += 2;
        at += memchr2(b'"', b'\\', string.as_bytes().get(at..)?)?;
    }
    let control = |key: &str| key.bytes().fold(false, |found, byte| found | (byte < b' '));
    let key = match &string[..at] {
        key if escaped || control(key) => value::key_of(&text.as_bytes()[..at + 2])?,
        key => Cow::Borrowed(key),
    };
    Some((key, &string[at + 1..]))
}

/// A decimal number, and what follows it.
#[inline]
pub(super) fn number(text: &str) -> Option<(u64, &str)> {
    let mut number = 0u64;
    let mut digits = 0;
    while let Some(digit) =
        text.as_bytes().get(digits).map(|byte| byte.wrapping_sub(b'0')).filter(|d| *d < 10)
    {
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
        digits += 1;
    }
    (digits > 0).then(|| (number, &text[digits..]))
}

/// See [`Snapshot::lines`].
pub(crate) struct Lines<'a> {
    snapshot: &'a Snapshot,
    block: usize,
    rest: &'a str,
    /// Lines before this key are passed over; `None` once one was not.
    from: Option<String>,
    /// From here on the bytes have not been given back; `None` if they are not to be.
    kept: Option<usize>,
}

/// How much is kept at most by who gives back.
const KEEP: usize = 4 << 20;

impl<'a> Lines<'a> {
    pub(super) fn begin(snapshot: &'a Snapshot, block: usize, from: &str) -> Lines<'a> {
        let from = (!from.is_empty()).then(|| from.to_string());
        Lines { snapshot, block, rest: "", from, kept: None }
    }

    /// Gives the memory behind back, for whoever goes over a state once: so it costs as much memory as it takes to look at a
    /// part of it.
    pub(crate) fn giving_back(mut self) -> Lines<'a> {
        self.kept = Some(0);
        self
    }

    /// The lines of the next block.
    fn next_block(&mut self) -> Result<&'a str> {
        let snapshot = self.snapshot;
        let block = &snapshot.blocks[self.block];
        if let Some(kept) = self.kept
            && block.from - kept.min(block.from) >= KEEP
        {
            snapshot.bytes.give_back(kept..block.from);
            self.kept = Some(block.from);
        }
        self.block += 1;
        snapshot.block_text(self.block - 1)
    }

    #[inline]
    fn step(&mut self) -> Result<Option<Line<'a>>> {
        loop {
            let begins = self.rest.is_empty();
            if begins {
                if self.block == self.snapshot.blocks.len() {
                    if let Some(kept) = self.kept.take() {
                        self.snapshot.bytes.give_back(kept..self.snapshot.bytes.len());
                    }
                    return Ok(None);
                }
                self.rest = self.next_block()?;
            }
            let (line, rest) = match memchr(b'\n', self.rest.as_bytes()) {
                Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
                None => (self.rest, ""),
            };
            self.rest = rest;
            let line = self.snapshot.parsed(trim(line))?;
            if begins && *line.key != *self.snapshot.blocks[self.block - 1].first_key {
                return Err(damaged(
                    &self.snapshot.path,
                    format!("a block does not begin with {:?}", line.key),
                ));
            }
            match &self.from {
                Some(from) if *line.key < **from => {}
                Some(_) => {
                    self.from = None;
                    return Ok(Some(line));
                }
                None => return Ok(Some(line)),
            }
        }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<Line<'a>>;

    /// After an error it ends.
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.step() {
            Ok(Some(line)) => Some(Ok(line)),
            ended => {
                self.rest = "";
                self.block = self.snapshot.blocks.len();
                ended.transpose()
            }
        }
    }
}

/// A line without its comma.
pub(super) fn trim(line: &str) -> &str {
    line.strip_suffix(',').unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Seq;
    use quickcheck::quickcheck;

    fn line(key: &str, seq: Seq, nonfinite: bool, json: &str) -> String {
        let mut text = Vec::new();
        value::key_text(key, &mut text);
        let flag = if nonfinite { "\"nonfinite\":true," } else { "" };
        format!("{}:{{\"seq\":{seq},{flag}\"value\":{json}}}", String::from_utf8(text).unwrap())
    }

    #[test]
    fn what_is_no_line_is_none() {
        let good = line("k", 1, true, "[1]");
        assert_eq!(Line::parse(&good).unwrap().entry, EntryRef { seq: 1, nonfinite: true, json: "[1]" });
        for end in 0..good.len() - 1 {
            assert!(Line::parse(&good[..end]).is_none(), "{}", &good[..end]);
        }
        for bad in [
            "\"a\u{1}b\":{\"seq\":1,\"value\":1}",
            "\"k\":{\"seq\":,\"value\":1}",
            "\"k\":{\"seq\":18446744073709551616,\"value\":1}",
            "\"k\":{\"seq\":-1,\"value\":1}",
            "\"k\\\":{\"seq\":1,\"value\":1}",
            "k:{\"seq\":1,\"value\":1}",
        ] {
            assert!(Line::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(number("18446744073709551615,"), Some((u64::MAX, ",")));
        assert_eq!(number(""), None);
    }

    quickcheck! {
        fn a_line_is_taken_apart_into_what_it_was_made_of(key: String, seq: Seq, nonfinite: bool, json: String) -> bool {
            let text = line(&key, seq, nonfinite, &json);
            let line = Line::parse(&text).unwrap();
            let plain = !key.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\');
            line.key == key
                && line.entry == EntryRef { seq, nonfinite, json: &json }
                && matches!(line.key, Cow::Borrowed(_)) == plain
        }

        fn no_text_makes_it_panic(text: String) -> bool {
            let _ = (Line::parse(&text), key(&text), key(&format!("\"{text}")), number(&text));
            true
        }
    }
}
