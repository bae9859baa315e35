//! Keys made of parts, such as (run id, stage): joined, taken apart, and looked up by their first parts.

use std::borrow::Cow;
use std::ops::Bound;

use crate::error::Result;
use crate::fold::EntryRef;
use crate::view::{Iter, View};

/// What stands between the parts of a key.
const JOINT: char = ':';
/// The character behind it: every key that goes on after a joint sorts before the same key with this in the joint's place.
const BEHIND_JOINT: char = ';';

/// The key of these parts: joined by `:`, and where `:` and `%` stand in a part they are escaped as `%3A` and `%25`, so that no
/// two lists of parts have the same key.
///
/// (An empty list has none: it gives the key of one empty part.)
///
/// ```
/// assert_eq!(tallyfold::key(["run-1", "TRAINING"]), "run-1:TRAINING");
/// assert_eq!(tallyfold::key(["a:b", "100%"]), "a%3Ab:100%25");
/// assert_eq!(tallyfold::key_parts("a%3Ab:100%25"), ["a:b", "100%"]);
/// ```
pub fn key<S: AsRef<str>>(parts: impl IntoIterator<Item = S>) -> String {
    let mut key = String::new();
    for (i, part) in parts.into_iter().enumerate() {
        if i > 0 {
            key.push(JOINT);
        }
        for char in part.as_ref().chars() {
            match char {
                '%' => key.push_str("%25"),
                JOINT => key.push_str("%3A"),
                other => key.push(other),
            }
        }
    }
    key
}

/// The parts of a key: what [`key`] was given. Of a key that was made otherwise, all that is no escape of [`key`] stands for
/// itself.
pub fn key_parts(key: &str) -> Vec<Cow<'_, str>> {
    let part = |part: &'_ str| part.replace("%3A", ":").replace("%25", "%");
    let parts = key.split(JOINT).map(|text| match text.contains('%') {
        true => Cow::Owned(part(text)),
        false => Cow::Borrowed(text),
    });
    parts.collect()
}

impl View {
    /// The entries whose keys have these first [parts](key), in order: `run-1` finds `run-1` and `run-1:TRAINING`, and not
    /// `run-10`. No parts: all entries. Reads only the blocks of the snapshot that may hold them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?; let store = tallyfold::Store::open(dir.path().join("s"))?;
    /// # let index = store.create("index", tallyfold::Settings::latest())?;
    /// for key in ["run-1:TRAINING", "run-10:TRAINING", "run-1"] {
    ///     index.append(key, &0.61)?;
    /// }
    /// let view = index.view()?;
    /// let keys: tallyfold::Result<Vec<_>> = view.prefix(["run-1"]).map(|item| Ok(item?.0)).collect();
    /// assert_eq!(keys?, ["run-1", "run-1:TRAINING"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The iterator's items are errors as of [`get`](View::get); after one it ends.
    pub fn prefix<S: AsRef<str>>(&self, parts: impl IntoIterator<Item = S>) -> Prefix<'_> {
        let mut parts = parts.into_iter().peekable();
        if parts.peek().is_none() {
            return Prefix { view: self, alone: None, longer: Longer::Begun(self.iter()), until: None };
        }
        let alone = key(parts);
        let longer = Longer::From(format!("{alone}{JOINT}"));
        let until = Some(format!("{alone}{BEHIND_JOINT}"));
        Prefix { view: self, alone: Some(alone), longer, until }
    }
}

/// See [`View::prefix`].
pub struct Prefix<'a> {
    view: &'a View,
    /// The key that has these parts and no more, until it was asked for: other keys may sort between it and the longer ones.
    alone: Option<String>,
    longer: Longer<'a>,
    /// Keys from here on have other parts.
    until: Option<String>,
}

enum Longer<'a> {
    /// They begin here, and nobody has asked for one yet.
    From(String),
    Begun(Iter<'a>),
    Ended,
}

impl<'a> Prefix<'a> {
    fn step(&mut self) -> Result<Option<(Cow<'a, str>, EntryRef<'a>)>> {
        let view = self.view;
        if let Some(alone) = self.alone.take()
            && let Some(entry) = view.get_ref(&alone)?
        {
            return Ok(Some((Cow::Owned(alone), entry)));
        }
        if let Longer::From(from) = &self.longer {
            self.longer = Longer::Begun(view.range_from(Bound::Included(from)));
        }
        let Longer::Begun(iter) = &mut self.longer else { return Ok(None) };
        let next = iter.next().transpose()?;
        Ok(next.filter(|(key, _)| self.until.as_deref().is_none_or(|until| **key < *until)))
    }
}

impl<'a> Iterator for Prefix<'a> {
    type Item = Result<(Cow<'a, str>, EntryRef<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.step().transpose();
        if !matches!(next, Some(Ok(_))) {
            (self.alone, self.longer) = (None, Longer::Ended);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    #[test]
    fn parts_are_joined_and_escaped() {
        assert_eq!(key(["r-1", "TRAINING"]), "r-1:TRAINING");
        assert_eq!(key(["x", "y:100%"]), "x:y%3A100%25");
        assert_eq!(key(["%3A"]), "%253A");
        assert_eq!(key(["", ""]), ":");
        assert_eq!(key([] as [&str; 0]), "");
    }

    #[test]
    fn what_is_no_escape_stands_for_itself() {
        assert_eq!(key_parts(""), [""]);
        assert_eq!(key_parts("100%:%41:%3a:%"), ["100%", "%41", "%3a", "%"]);
        assert_eq!(key_parts("%253A"), ["%3A"]);
    }

    quickcheck! {
        fn parts_come_back_as_they_were_given(parts: Vec<String>) -> bool {
            let parts = if parts.is_empty() { vec![String::new()] } else { parts };
            key_parts(&key(&parts)) == parts
        }

        fn parts_of_signs_come_back_too(parts: Vec<Vec<u8>>) -> bool {
            let sign = |byte: &u8| [":", "%", "%25", "%3A", "3A", "a"][usize::from(*byte) % 6];
            let parts: Vec<String> = parts.iter().map(|part| part.iter().map(sign).collect()).collect();
            parts.is_empty() || key_parts(&key(&parts)) == parts
        }
    }
}
