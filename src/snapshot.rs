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

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::fold::{Entry, Fold};
use crate::format;
use crate::record::Seq;
use crate::segment::Owner;
use crate::settings::DOCUMENT_VERSION;
use crate::sys::{Dir, File, Mapping, Names, Reach};
use crate::value;

/// A block ends with the line that makes it at least this long.
const BLOCK_BYTES: u64 = 64 << 10;
/// How much is written between two syncs while a snapshot is made, so that the last one is short.
const SYNC_EVERY: u64 = 8 << 20;
const WRITE_BUFFER: usize = 256 << 10;

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

#[derive(Deserialize)]
struct Foot {
    entries: u64,
    blocks: Vec<(String, u64, String)>,
    crc32: String,
}

/// A snapshot whose first and last line have been checked; a block is checked when something in it is read.
#[derive(Debug)]
pub(crate) struct Snapshot {
    bytes: Mapping,
    pub(crate) head: Head,
    pub(crate) entries: u64,
    blocks: Vec<Block>,
    path: std::path::PathBuf,
    /// How many blocks have been checked: what reads cost.
    blocks_read: AtomicU64,
}

#[derive(Debug)]
struct Block {
    first_key: String,
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
        fold: Fold,
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
        if head.cohort != owner.cohort || head.fold != fold {
            return Err(damaged(&path, "it is the snapshot of another cohort or fold".into()));
        }
        Ok(Some(Snapshot { bytes, head, entries, blocks, path, blocks_read: AtomicU64::new(0) }))
    }

    /// The entry of a key. Reads one block.
    pub(crate) fn get(&self, key: &str) -> Result<Option<Entry>> {
        let after = self.blocks.partition_point(|block| block.first_key.as_str() <= key);
        let Some(block) = after.checked_sub(1).map(|i| &self.blocks[i]) else { return Ok(None) };
        let mut begin = Vec::with_capacity(key.len() + 3);
        value::key_text(key, &mut begin);
        begin.push(b':');
        let lines = self.checked(block)?;
        match split_lines(lines).find(|line| line.starts_with(&begin)) {
            Some(line) => Ok(Some(self.parsed(line)?.entry())),
            None => Ok(None),
        }
    }

    /// The lines whose keys are `from` or greater, in order.
    pub(crate) fn lines(&self, from: &str) -> Lines<'_> {
        let after = self.blocks.partition_point(|block| block.first_key.as_str() <= from);
        Lines { snapshot: self, block: after.saturating_sub(1), rest: &[], from: from.to_string() }
    }

    fn checked(&self, block: &Block) -> Result<&[u8]> {
        self.blocks_read.fetch_add(1, Ordering::Relaxed);
        let bytes = &self.bytes[block.from..block.to];
        if format::crc(bytes, 0) != block.crc {
            return Err(damaged(
                &self.path,
                format!("the CRC of the block at {:?} does not match", block.first_key),
            )
            .at_offset(block.from as u64));
        }
        Ok(bytes)
    }

    fn parsed<'a>(&self, line: &'a [u8]) -> Result<Line<'a>> {
        Line::parse(line).ok_or_else(|| damaged(&self.path, "a line is no entry".into()))
    }

    /// How many blocks have been read through this handle.
    pub(crate) fn blocks_read(&self) -> u64 {
        self.blocks_read.load(Ordering::Relaxed)
    }

    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Reads everything: every block's CRC, every line, their order and number.
    pub(crate) fn verify(&self) -> Result<()> {
        let mut last: Option<String> = None;
        let mut entries = 0;
        for line in self.lines("") {
            let line = line?;
            if last.as_deref().is_some_and(|last| last >= &*line.key) {
                return Err(damaged(&self.path, format!("the key {:?} is out of order", line.key)));
            }
            if line.seq > self.head.seq {
                return Err(damaged(
                    &self.path,
                    format!("the entry of {:?} is newer than the snapshot", line.key),
                ));
            }
            entries += 1;
            last = Some(line.key.into_owned());
        }
        if entries != self.entries {
            return Err(damaged(&self.path, format!("{entries} entries, {} are promised", self.entries)));
        }
        Ok(())
    }
}

enum Fault {
    Damaged(String),
    Newer(u32),
}

/// The first line, and what the last line says, both held against the CRC at the end.
fn outline(bytes: &[u8]) -> std::result::Result<(Head, u64, Vec<Block>), Fault> {
    let cut = || Fault::Damaged("it is cut short".into());
    let first = bytes.iter().position(|b| *b == b'\n').ok_or_else(cut)? + 1;
    let content = bytes.strip_suffix(b"\n").ok_or_else(cut)?;
    let last = content.iter().rposition(|b| *b == b'\n').ok_or_else(cut)? + 1;
    let unreadable = |line: &str, e: &dyn std::fmt::Display| {
        Fault::Damaged(format!("its {line} line cannot be read: {e}"))
    };

    let foot_text = std::str::from_utf8(&content[last..]).map_err(|e| unreadable("last", &e))?;
    let foot: Foot =
        serde_json::from_str(&format!("{{\"state\":{{{foot_text}")).map_err(|e| unreadable("last", &e))?;
    let covered = foot_text.rfind(CRC_FIELD).ok_or_else(cut)?;
    let sum = format::crc(&content[last..last + covered], format::crc(&bytes[..first], 0));
    if foot.crc32 != format!("{sum:08x}") || foot_text[covered..] != foot_end(sum) {
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

    let mut blocks: Vec<Block> = Vec::with_capacity(foot.blocks.len());
    for (first_key, offset, crc) in foot.blocks {
        let from = usize::try_from(offset).map_err(|_| cut())?;
        let crc = u32::from_str_radix(&crc, 16).map_err(|e| unreadable("last", &e))?;
        match blocks.last_mut() {
            Some(previous) if previous.from < from => previous.to = from,
            None if from == first => {}
            _ => return Err(Fault::Damaged("its blocks are out of order".into())),
        }
        blocks.push(Block { first_key, from, to: last, crc });
    }
    if blocks.last().is_some_and(|block| block.from >= last) || (blocks.is_empty() && first != last) {
        return Err(Fault::Damaged("its blocks do not cover its lines".into()));
    }
    Ok((head, foot.entries, blocks))
}

const CRC_FIELD: &str = ",\"crc32\":";

fn foot_end(sum: u32) -> String {
    format!("{CRC_FIELD}\"{sum:08x}\"}}")
}

pub(crate) fn damaged(path: &std::path::Path, what: String) -> Error {
    Error::corruption(format!("the snapshot is damaged: {what}")).at(path)
}

/// Lines without their comma and newline.
fn split_lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    block.split_inclusive(|b| *b == b'\n').map(trim)
}

fn trim(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b",").unwrap_or(line)
}

/// One entry of a snapshot, as bytes and taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) key: std::borrow::Cow<'a, str>,
    pub(crate) seq: Seq,
    nonfinite: bool,
    json: &'a str,
}

impl<'a> Line<'a> {
    fn parse(text: &'a [u8]) -> Option<Line<'a>> {
        let line = std::str::from_utf8(text).ok()?;
        let key_end = string_end(text)?;
        let key = value::key_of(&text[..key_end])?;
        let rest = line[key_end..].strip_prefix(":{\"seq\":")?;
        let (digits, rest) = rest.split_once(',')?;
        let seq = digits.parse().ok()?;
        let (nonfinite, rest) = match rest.strip_prefix("\"nonfinite\":true,") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let json = rest.strip_prefix("\"value\":")?.strip_suffix('}')?;
        Some(Line { text, key, seq, nonfinite, json })
    }

    pub(crate) fn entry(&self) -> Entry {
        Entry { seq: self.seq, nonfinite: self.nonfinite, json: self.json.into() }
    }
}

/// Where the JSON string at the beginning of `text` ends.
fn string_end(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    for (i, byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return (text[0] == b'"').then_some(i + 1),
            _ => {}
        }
    }
    None
}

/// See [`Snapshot::lines`].
pub(crate) struct Lines<'a> {
    snapshot: &'a Snapshot,
    block: usize,
    rest: &'a [u8],
    from: String,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<Line<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.rest.is_empty() {
                let block = self.snapshot.blocks.get(self.block)?;
                self.block += 1;
                match self.snapshot.checked(block) {
                    Ok(lines) => self.rest = lines,
                    Err(e) => {
                        self.block = self.snapshot.blocks.len();
                        return Some(Err(e));
                    }
                }
            }
            let end = self.rest.iter().position(|b| *b == b'\n').map_or(self.rest.len(), |i| i + 1);
            let (line, rest) = self.rest.split_at(end);
            self.rest = rest;
            match self.snapshot.parsed(trim(line)) {
                Ok(line) if *line.key < *self.from => {}
                other => return Some(other),
            }
        }
    }
}

/// Writes a snapshot line by line into a new file; its memory does not grow with the state (the block index aside).
pub(crate) struct Writer {
    file: File,
    buffer: Vec<u8>,
    /// Bytes before the buffer.
    written: u64,
    synced: u64,
    head_crc: u32,
    entries: u64,
    blocks: Vec<(String, u64, u32)>,
    block: crc32fast::Hasher,
    block_from: u64,
}

impl Writer {
    pub(crate) fn begin(file: File, head: &Head) -> Result<Writer> {
        let text = serde_json::to_string(head)
            .map_err(|e| Error::invalid(format!("the snapshot's first line cannot be written: {e}")))?;
        let mut buffer = text.into_bytes();
        buffer.pop();
        buffer.extend_from_slice(b",\"state\":{\n");
        Ok(Writer {
            head_crc: format::crc(&buffer, 0),
            block_from: buffer.len() as u64,
            file,
            buffer,
            written: 0,
            synced: 0,
            entries: 0,
            blocks: Vec::new(),
            block: crc32fast::Hasher::new(),
        })
    }

    /// A line as another snapshot has it.
    pub(crate) fn copy(&mut self, line: &Line<'_>) -> Result<()> {
        self.line(&line.key, line.text)
    }

    pub(crate) fn entry(&mut self, key: &str, entry: &Entry) -> Result<()> {
        let mut text = Vec::with_capacity(key.len() + entry.json.len() + 48);
        value::key_text(key, &mut text);
        text.extend_from_slice(format!(":{{\"seq\":{},", entry.seq).as_bytes());
        if entry.nonfinite {
            text.extend_from_slice(b"\"nonfinite\":true,");
        }
        text.extend_from_slice(b"\"value\":");
        text.extend_from_slice(entry.json.as_bytes());
        text.push(b'}');
        self.line(key, &text)
    }

    /// Ends the line before, begins a block where one is due (a huge line has one for itself), and puts the line. Its own end
    /// is left open, for only the next one tells whether a comma belongs there.
    fn line(&mut self, key: &str, text: &[u8]) -> Result<()> {
        if self.entries > 0 {
            self.put(b",\n");
        }
        if self.entries == 0 || (self.at() - self.block_from).max(text.len() as u64) >= BLOCK_BYTES {
            self.end_block();
            self.blocks.push((key.to_string(), self.at(), 0));
            self.block_from = self.at();
        }
        self.entries += 1;
        self.put(text);
        if self.buffer.len() >= WRITE_BUFFER { self.flush() } else { Ok(()) }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.block.update(bytes);
        self.buffer.extend_from_slice(bytes);
    }

    fn at(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn end_block(&mut self) {
        let block = std::mem::replace(&mut self.block, crc32fast::Hasher::new());
        if let Some(last) = self.blocks.last_mut() {
            last.2 = block.finalize();
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_at(&self.buffer, self.written).map_err(|short| short.error)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        if self.written - self.synced >= SYNC_EVERY {
            self.file.sync_data()?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Writes the last line and syncs the file. The name it gets is the caller's business.
    pub(crate) fn finish(mut self) -> Result<u64> {
        if self.entries > 0 {
            self.put(b"\n");
        }
        self.end_block();
        let blocks: Vec<_> =
            self.blocks.iter().map(|(key, at, crc)| (key, at, format!("{crc:08x}"))).collect();
        let blocks = serde_json::to_string(&blocks)
            .map_err(|e| Error::invalid(format!("the snapshot's last line cannot be written: {e}")))?;
        let foot = format!("}},\"entries\":{},\"blocks\":{blocks}", self.entries);
        let sum = format::crc(foot.as_bytes(), self.head_crc);
        self.buffer.extend_from_slice(foot.as_bytes());
        self.buffer.extend_from_slice(foot_end(sum).as_bytes());
        self.buffer.push(b'\n');
        self.flush()?;
        self.file.sync_all()?;
        Ok(self.written)
    }
}
