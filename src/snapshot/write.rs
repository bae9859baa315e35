//! Writing a snapshot, line by line.

use super::{BLOCK_BYTES, Head, Line, foot_end};
use crate::error::{Error, Result};
use crate::fold::EntryRef;
use crate::format;
use crate::sys::File;
use crate::value;

/// How much is written between two syncs while a snapshot is made, so that the last one is short.
const SYNC_EVERY: u64 = 8 << 20;
const WRITE_BUFFER: usize = 256 << 10;

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
        self.line(&line.key, line.text.as_bytes())
    }

    pub(crate) fn entry(&mut self, key: &str, entry: EntryRef<'_>) -> Result<()> {
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
