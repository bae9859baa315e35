//! A file of lines, each written at its end with one call: with a lock around it, and without.
//!
//! With the lock this is the floor: whoever orders writers by `flock` pays at least this. Neither has a number, a checksum or
//! a way to tell a torn line.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::{Append, Log, Peer, Promise};
use crate::Result;
use crate::record::Text;

pub struct Lines {
    pub locked: bool,
}

fn path(dir: &Path) -> PathBuf {
    dir.join("records.jsonl")
}

impl Peer for Lines {
    fn name(&self) -> &'static str {
        if self.locked { "flock + O_APPEND" } else { "O_APPEND, no lock" }
    }

    fn make(&self, dir: &Path) -> Result<()> {
        fs::create_dir(dir)?;
        File::create_new(path(dir))?;
        Ok(())
    }

    fn open(&self, dir: &Path, promise: Promise) -> Result<Box<dyn Log>> {
        Ok(Box::new(Place { path: path(dir), promise, locked: self.locked }))
    }

    fn read(&self, dir: &Path, see: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(path(dir))?);
        let mut line = Vec::new();
        while file.read_until(b'\n', &mut line)? > 0 {
            see(line.strip_suffix(b"\n").unwrap_or(&line));
            line.clear();
        }
        Ok(())
    }
}

struct Place {
    path: PathBuf,
    promise: Promise,
    locked: bool,
}

impl Log for Place {
    /// Every writer opens the file anew: a lock belongs to the open file.
    fn writer(&self) -> Result<Box<dyn Append>> {
        let file = OpenOptions::new().append(true).open(&self.path)?;
        Ok(Box::new(Writer { file, buffer: Vec::new(), promise: self.promise, locked: self.locked }))
    }
}

struct Writer {
    file: File,
    buffer: Vec<u8>,
    promise: Promise,
    locked: bool,
}

impl Append for Writer {
    fn append(&mut self, records: &[Text]) -> Result<()> {
        self.buffer.clear();
        for record in records {
            self.buffer.extend_from_slice(record.as_str().as_bytes());
            self.buffer.push(b'\n');
        }
        if self.locked {
            self.file.lock()?;
        }
        let written = self.file.write(&self.buffer);
        if self.locked {
            self.file.unlock()?;
        }
        if written? != self.buffer.len() {
            return Err("a short write".into());
        }
        // Not under the lock: others need not wait for this sync.
        if self.promise == Promise::Durable {
            self.file.sync_data()?;
        }
        Ok(())
    }
}
