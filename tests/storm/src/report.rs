//! What processes report, kept outside the store: acknowledgements, what a witness saw, and violations. Each report is one
//! write of 64 bytes to a file that is only appended to; a kill cannot tear it, for 64 divides a page.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use tallyfold::Seq;

use crate::Result;

const BYTES: usize = 64;
const WORDS: usize = BYTES / 8;

#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// An append has returned.
    Ack(Ack),
    /// In an epoch (as high or higher), records 1 to `seq` had this hash; durable or not.
    Saw { epoch: u64, seq: Seq, hash: u64, durable: bool },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ack {
    pub worker: u64,
    pub n: u64,
    pub last: Seq,
    pub durable: bool,
}

impl Report {
    fn words(&self) -> [u64; WORDS] {
        match *self {
            Report::Ack(Ack { worker, n, last, durable }) => [1, worker, n, last, durable.into(), 0, 0, 0],
            Report::Saw { epoch, seq, hash, durable } => [2, epoch, seq, hash, durable.into(), 0, 0, 0],
        }
    }

    fn parse(words: [u64; WORDS]) -> Result<Report> {
        match words {
            [1, worker, n, last, durable, ..] => {
                Ok(Report::Ack(Ack { worker, n, last, durable: durable != 0 }))
            }
            [2, epoch, seq, hash, durable, ..] => Ok(Report::Saw { epoch, seq, hash, durable: durable != 0 }),
            _ => Err("a report makes no sense".into()),
        }
    }
}

/// Where one process reports.
pub struct Reporter {
    file: File,
}

impl Reporter {
    pub fn new(dir: &Path, name: &str) -> Result<Reporter> {
        let file = OpenOptions::new().append(true).create(true).open(dir.join(format!("{name}.reports")))?;
        Ok(Reporter { file })
    }

    pub fn tell(&self, report: &Report) -> Result<()> {
        let bytes: Vec<u8> = report.words().into_iter().flat_map(u64::to_le_bytes).collect();
        match (&self.file).write(&bytes)? {
            BYTES => Ok(()),
            short => Err(format!("only {short} bytes of a report were written").into()),
        }
    }
}

fn violations(dir: &Path) -> PathBuf {
    dir.join("violations")
}

/// A process has seen what must not be.
pub fn tell_violation(dir: &Path, what: &str) {
    let line = format!("{}\n", what.replace('\n', " "));
    let told = OpenOptions::new()
        .append(true)
        .create(true)
        .open(violations(dir))
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(e) = told {
        eprintln!("{what}\n(and that could not be reported: {e})");
    }
}

/// All violations that were reported.
pub fn read_violations(dir: &Path) -> Result<Vec<String>> {
    match fs::read_to_string(violations(dir)) {
        Ok(text) => Ok(text.lines().map(str::to_string).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e.into()),
    }
}

/// All that was reported, of each process in its order.
pub fn read_all(dir: &Path) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "reports") {
            continue;
        }
        for bytes in fs::read(&path)?.chunks_exact(BYTES) {
            let mut words = [0; WORDS];
            for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
                *word = u64::from_le_bytes(bytes.try_into()?);
            }
            reports.push(Report::parse(words)?);
        }
    }
    Ok(reports)
}

pub fn acks(reports: &[Report]) -> Vec<Ack> {
    reports
        .iter()
        .filter_map(|report| match report {
            Report::Ack(ack) => Some(ack.clone()),
            Report::Saw { .. } => None,
        })
        .collect()
}
