//! `snapshot.json`: a state as one valid JSON document that is also a sorted table. `docs/format.md` specifies it.
//!
//! ```text
//! {"tallyfold":1,"cohort":"TRAINING","fold":{"kind":"latest"},"epoch":1,"seq":1234,"state":{
//! "run-1:TRAINING":{"seq":12,"value":{…}},
//! "run-2:TRAINING":{"seq":1234,"nonfinite":true,"value":{…}}
//! },"entries":2,"blocks":[["run-1:TRAINING",91,"a1b2c3d4"]],"crc32":"deadbeef"}
//! ```
//!
//! One entry a line, sorted by the bytes of the decoded keys. A block is about 64 KiB of lines. Nothing in the file depends on
//! when it was written: the same records give the same bytes.

mod line;
mod write;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::{memchr, memrchr};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::fold::{EntryRef, Fold};
use crate::format;
use crate::record::Seq;
use crate::segment::Owner;
use crate::settings::DOCUMENT_VERSION;
use crate::sys::{Dir, Mapping, Names, Reach};

pub(crate) use line::{Line, Lines, key};
pub(crate) use write::Writer;

/// A block ends with the line that makes it at least this long.
const BLOCK_BYTES: u64 = 64 << 10;

/// What the first line says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) tallyfold: u32,
    pub(crate) cohort: String,
    pub(crate) fold: Fold,
    pub(crate) epoch: u64,
    /// The watermark: the highest seq folded in. Every later snapshot has a higher one, so it also names the snapshot.
    pub(crate) seq: Seq,
}

/// A snapshot whose first and last line have been checked; a block is checked when something in it is read.
#[derive(Debug)]
pub(crate) struct Snapshot {
    bytes: Mapping,
    pub(crate) head: Head,
    pub(crate) entries: u64,
    blocks: Vec<Block>,
    path: std::path::PathBuf,
    /// A bit for each block: whether its CRC has been checked. The bytes do not change, so once is enough.
    checked: Box<[AtomicU64]>,
}

#[derive(Debug)]
struct Block {
    first_key: Box<str>,
    from: usize,
    to: usize,
    crc: u32,
}

impl Snapshot {
    /// Opens a snapshot; `None` if there is no such file.
    ///
    /// # Errors
    /// `is_corruption` if its first or last line is damaged, `is_unsupported` if a newer version wrote it.
    pub(crate) fn open(
        dir: &Dir,
        name: &str,
        owner: &Owner,
        fold: &Fold,
        reach: Reach,
    ) -> Result<Option<Snapshot>> {
        let file = match dir.open_read(name, Names::Several) {
            Ok(file) => file,
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e),
        };
        let bytes = Mapping::snapshot(&file, reach)?;
        let path = file.path().to_path_buf();
        let (head, entries, blocks) = outline(&bytes).map_err(|fault| match fault {
            Fault::Damaged(what) => damaged(&path, what),
            Fault::Newer(version) => {
                let what =
                    format!("the snapshot has format version {version}, this is version {DOCUMENT_VERSION}");
                Error::new(Kind::Unsupported, what).at(&path).advise("use that version of tallyfold")
            }
        })?;
        if head.cohort != owner.cohort || head.fold != *fold {
            return Err(damaged(&path, "it is the snapshot of another cohort or fold".into()));
        }
        let checked = std::iter::repeat_with(AtomicU64::default).take(blocks.len().div_ceil(64)).collect();
        Ok(Some(Snapshot { bytes, head, entries, blocks, path, checked }))
    }

    /// The entry of a key. Reads one block, the first time.
    pub(crate) fn get(&self, key: &str) -> Result<Option<EntryRef<'_>>> {
        let after = self.blocks.partition_point(|block| *block.first_key <= *key);
        let Some(block) = after.checked_sub(1) else { return Ok(None) };
        let mut rest = self.block(block)?;
        // The lines are sorted, so the half that cannot hold the key is left aside each time.
        while !rest.is_empty() {
            let middle = rest.len() / 2;
            let begin = memrchr(b'\n', &rest[..middle]).map_or(0, |at| at + 1);
            let end = memchr(b'\n', &rest[middle..]).map_or(rest.len(), |at| middle + at + 1);
            let line = self.parsed(line::trim(self.text(&rest[begin..end])?.trim_end_matches('\n')))?;
            match (*line.key).cmp(key) {
                std::cmp::Ordering::Equal => return Ok(Some(line.entry)),
                std::cmp::Ordering::Less => rest = &rest[end..],
                std::cmp::Ordering::Greater => rest = &rest[..begin],
            }
        }
        Ok(None)
    }

    /// The lines whose keys are `from` or greater, in order.
    pub(crate) fn lines(&self, from: &str) -> Lines<'_> {
        let after = self.blocks.partition_point(|block| *block.first_key <= *from);
        Lines::begin(self, after.saturating_sub(1), from)
    }

    /// The bytes of a block, checked.
    fn block(&self, index: usize) -> Result<&[u8]> {
        let block = &self.blocks[index];
        let bytes = &self.bytes[block.from..block.to];
        let (word, bit) = (&self.checked[index / 64], 1 << (index % 64));
        // Relaxed: nothing else is published by it, and two threads may well check the same block.
        if word.load(Ordering::Relaxed) & bit == 0 {
            if format::crc(bytes, 0) != block.crc {
                return Err(damaged(
                    &self.path,
                    format!("the CRC of the block at {:?} does not match", block.first_key),
                )
                .at_offset(block.from as u64));
            }
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(bytes)
    }

    /// The lines of a block, checked.
    fn block_text(&self, index: usize) -> Result<&str> {
        self.text(self.block(index)?)
    }

    fn text<'a>(&self, bytes: &'a [u8]) -> Result<&'a str> {
        std::str::from_utf8(bytes).map_err(|_| damaged(&self.path, "a line is not UTF-8".into()))
    }

    #[inline]
    fn parsed<'a>(&self, line: &'a str) -> Result<Line<'a>> {
        Line::parse(line).ok_or_else(|| damaged(&self.path, "a line is no entry".into()))
    }

    /// How many blocks have been checked through this handle: what reads cost.
    pub(crate) fn blocks_read(&self) -> u64 {
        self.checked.iter().map(|word| u64::from(word.load(Ordering::Relaxed).count_ones())).sum()
    }

    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// All lines, for whoever goes over them once: each is behind the one before it, and not newer than the snapshot. What CRCs
    /// vouch for may still have been written wrong.
    pub(crate) fn all(&self) -> impl Iterator<Item = Result<Line<'_>>> {
        let mut last: Option<Cow<'_, str>> = None;
        self.lines("").giving_back().map(move |line| {
            let line = line?;
            if last.as_deref().is_some_and(|last| last >= &*line.key) {
                return Err(damaged(&self.path, format!("the key {:?} is out of order", line.key)));
            }
            if line.entry.seq > self.head.seq {
                let what = format!("the entry of {:?} is newer than the snapshot", line.key);
                return Err(damaged(&self.path, what));
            }
            last = Some(line.key.clone());
            Ok(line)
        })
    }

    /// What is whole of a damaged snapshot: each block's lines, or the first key of a block that is not and of the one behind it.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = std::result::Result<Vec<Line<'_>>, Gap>> {
        (0..self.blocks.len()).map(move |index| {
            let lines = self.block_text(index).and_then(|text| {
                text.lines().map(|line| self.parsed(line::trim(line))).collect::<Result<Vec<_>>>()
            });
            lines.map_err(|_| {
                let first_key = |block: &Block| block.first_key.to_string();
                (first_key(&self.blocks[index]), self.blocks.get(index + 1).map(first_key))
            })
        })
    }

    /// Reads everything: every block's CRC, every line, their order and number.
    pub(crate) fn verify(&self) -> Result<()> {
        let mut entries = 0;
        for line in self.all() {
            line?;
            entries += 1;
        }
        if entries != self.entries {
            return Err(damaged(&self.path, format!("{entries} entries, {} are promised", self.entries)));
        }
        Ok(())
    }
}

/// The first key of what cannot be read, and the first one behind it.
pub(crate) type Gap = (String, Option<String>);

/// What the first line says of a snapshot of which nothing else is known; `None` if that cannot be believed.
pub(crate) fn head_of(dir: &Dir, name: &str, reach: Reach) -> Option<Head> {
    let file = dir.open_read(name, Names::Several).ok()?;
    let bytes = Mapping::snapshot(&file, reach).ok()?;
    outline(&bytes).ok().map(|(head, ..)| head)
}

enum Fault {
    Damaged(String),
    Newer(u32),
}

/// The first line, and what the last line says, both held against the CRC at the end before anything in them is believed.
fn outline(bytes: &[u8]) -> std::result::Result<(Head, u64, Vec<Block>), Fault> {
    let cut = || Fault::Damaged("it is cut short".into());
    let unreadable = |line: &str, e: &dyn std::fmt::Display| {
        Fault::Damaged(format!("its {line} line cannot be read: {e}"))
    };
    let first = memchr(b'\n', bytes).ok_or_else(cut)? + 1;
    let content = bytes.strip_suffix(b"\n").ok_or_else(cut)?;
    let last = memrchr(b'\n', content).ok_or_else(cut)? + 1;
    let covered = (content.len() - last).checked_sub(foot_end(0).len()).ok_or_else(cut)?;
    let (covered, end) = content[last..].split_at(covered);
    if end != foot_end(format::crc(covered, format::crc(&bytes[..first], 0))).as_bytes() {
        return Err(Fault::Damaged("the CRC of its first and last line does not match".into()));
    }

    #[derive(Deserialize)]
    struct Version {
        tallyfold: u32,
    }
    let head_text = std::str::from_utf8(&bytes[..first]).map_err(|e| unreadable("first", &e))?;
    let head_text = format!("{head_text}}}}}");
    let version: Version = serde_json::from_str(&head_text).map_err(|e| unreadable("first", &e))?;
    if version.tallyfold > DOCUMENT_VERSION {
        return Err(Fault::Newer(version.tallyfold));
    }
    let head: Head = serde_json::from_str(&head_text).map_err(|e| unreadable("first", &e))?;
    if head.seq.max(head.epoch) > format::MAX_NUMBER {
        return Err(Fault::Damaged("it has a number that nobody has counted to".into()));
    }
    let foot = std::str::from_utf8(covered).map_err(|e| unreadable("last", &e))?;
    let (entries, blocks) =
        foot_of(foot, last).ok_or_else(|| unreadable("last", &"it is not spelled as it should be"))?;
    let begins = blocks.first().map_or(last, |block| block.from);
    if begins != first || blocks.iter().any(|block| block.from >= block.to) {
        return Err(Fault::Damaged("its blocks do not cover its lines".into()));
    }
    Ok((head, entries, blocks))
}

/// What the last line says. By hand, for a large state has thousands of blocks, and every look at the watermark reads them.
fn foot_of(foot: &str, last: usize) -> Option<(u64, Vec<Block>)> {
    let (entries, rest) = line::number(foot.strip_prefix("},\"entries\":")?)?;
    let mut rest = rest.strip_prefix(",\"blocks\":[")?;
    let mut blocks: Vec<Block> = Vec::with_capacity(rest.len() / 32);
    while let Some(block) = rest.strip_prefix('[') {
        let (first_key, block) = line::key(block)?;
        let (from, block) = line::number(block.strip_prefix(',')?)?;
        let (crc, block) = block.strip_prefix(",\"")?.split_at_checked(8)?;
        let from = usize::try_from(from).ok()?;
        if let Some(previous) = blocks.last_mut() {
            previous.to = from;
        }
        let crc = u32::from_str_radix(crc, 16).ok()?;
        blocks.push(Block { first_key: first_key.into(), from, to: last, crc });
        let block = block.strip_prefix("\"]")?;
        rest = match block.strip_prefix(',') {
            Some(next) if next.starts_with('[') => next,
            Some(_) => return None,
            None => block,
        };
    }
    (rest == "]").then_some((entries, blocks))
}

const CRC_FIELD: &str = ",\"crc32\":";

fn foot_end(sum: u32) -> String {
    format!("{CRC_FIELD}\"{sum:08x}\"}}")
}

pub(crate) fn damaged(path: &std::path::Path, what: String) -> Error {
    Error::corruption(format!("the snapshot is damaged: {what}")).at(path)
}
