//! `tallyfold compact`: journals folded into snapshots.

use std::io::Write;

use serde::Serialize;
use tallyfold::Compaction;

use super::cohorts::each;
use super::exit::Failure;
use super::options::Options;
use super::output::{Escaped, Output};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without a name every cohort is compacted; one that fails does not stop the others. One that another process is \
compacting is left to it, which is no failure. The journal of a cohort whose fold is log is only sealed.

Example:
  tallyfold compact index")]
pub(crate) struct Args {
    /// The cohort's name; without it every cohort
    cohort: Option<String>,
}

#[derive(Serialize)]
struct Compacted<'a> {
    cohort: &'a str,
    #[serde(flatten)]
    result: Outcome<'a>,
}

#[derive(Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
enum Outcome<'a> {
    Busy,
    Nothing,
    Sealed { seq: u64 },
    Folded { seq: u64, records: u64, entries: u64, bytes: u64 },
    Error { error: &'a str },
    Other,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let mut out = Output::new();
    each(
        options,
        args.cohort.as_deref(),
        |cohort| Ok(cohort.compact()?),
        |name, compaction| {
            let result = match compaction {
                Ok(compaction) => outcome(compaction),
                Err(failure) => Outcome::Error { error: &failure.message },
            };
            match options.json {
                true => out.json(&Compacted { cohort: name, result })?,
                false => writeln!(out, "{}: {}", Escaped(name), sentence(&result))?,
            }
            Ok(out.flush()?)
        },
    )
}

fn outcome(compaction: Compaction) -> Outcome<'static> {
    match compaction {
        Compaction::Busy => Outcome::Busy,
        Compaction::Nothing => Outcome::Nothing,
        Compaction::Sealed { seq } => Outcome::Sealed { seq },
        Compaction::Folded { seq, records, entries, bytes } => {
            Outcome::Folded { seq, records, entries, bytes }
        }
        _ => Outcome::Other,
    }
}

fn sentence(outcome: &Outcome<'_>) -> String {
    match outcome {
        Outcome::Busy => "another process is compacting it".into(),
        Outcome::Nothing => "there is nothing new".into(),
        Outcome::Sealed { seq } => format!("sealed up to seq {seq}"),
        Outcome::Folded { seq, records, entries, bytes } => {
            format!("folded {records} records up to seq {seq}: {entries} entries in {bytes} bytes")
        }
        Outcome::Error { error } => format!("error: {}", Escaped(error)),
        Outcome::Other => "compacted".into(),
    }
}
