//! What all tables share: the options, a directory, and what has failed.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use tempfile::TempDir;

use crate::Result;

/// The tables, in the order they are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// Appends that survive the death of a process
    Buffered,
    /// Appends that survive a power cut
    Durable,
    /// The threads of one process
    Threads,
    /// A hundred records at once
    Batches,
    /// Reading all records
    Scan,
    /// A state of 10,000 keys: put, compact, open, read
    Keyed,
    /// Read, modify, write
    Update,
    /// Appends while another process compacts
    Stall,
    /// Appends when many records are there
    Growth,
    /// The bytes and the memory of a compaction
    Compaction,
}

/// What `make bench` takes.
#[derive(Args)]
pub struct Options {
    /// Where the stores are made, in a directory that is removed in the end
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// How long each cell writes
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// How often each cell runs; the tables show medians
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Only these tables
    #[arg(long, value_delimiter = ',')]
    only: Vec<Name>,
    /// How much data scan, keyed, stall, growth and compaction have: 0.1 is a tenth
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
}

/// A benchmark under way.
pub struct Bench {
    pub seconds: f64,
    pub runs: usize,
    scale: f64,
    only: Vec<Name>,
    directory: TempDir,
    failures: RefCell<Vec<String>>,
}

impl Bench {
    pub fn new(options: Options) -> Result<Bench> {
        fs::create_dir_all(&options.dir)?;
        let directory = tempfile::Builder::new().prefix("peers-").tempdir_in(&options.dir)?;
        if !(options.seconds > 0.0 && options.scale > 0.0 && options.runs > 0) {
            return Err("seconds, runs and scale are more than nothing".into());
        }
        Ok(Bench {
            seconds: options.seconds,
            runs: options.runs,
            scale: options.scale,
            only: options.only,
            directory,
            failures: RefCell::default(),
        })
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn wants(&self, table: Name) -> bool {
        self.only.is_empty() || self.only.contains(&table)
    }

    /// So many, or fewer or more if the data is to be.
    pub fn scaled(&self, full: u64) -> u64 {
        ((full as f64 * self.scale) as u64).max(1)
    }

    /// A name in the directory where nothing is, on a file system that has nothing left to write from before.
    pub fn fresh_directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory().join(name);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        rustix::fs::syncfs(File::open(self.directory())?)?;
        Ok(path)
    }

    /// Says on the terminal how far it is; the tables go to standard output.
    pub fn progress(&self, what: &str) {
        eprintln!("{what}");
    }

    /// Keeps what went wrong until the end.
    pub fn fail(&self, what: &str) {
        self.progress(&format!("FAILED: {what}"));
        self.failures.borrow_mut().push(what.to_string());
    }

    /// Runs one part of a table; `None` if that failed.
    pub fn attempt<T>(&self, what: &str, part: impl FnOnce() -> Result<T>) -> Option<T> {
        part().map_err(|e| self.fail(&format!("{what}: {e}"))).ok()
    }

    pub fn failures(self) -> Vec<String> {
        self.failures.into_inner()
    }
}

/// The middle one; of an even number the higher of the two.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
