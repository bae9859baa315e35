//! `tallyfold compact`: journals folded into snapshots.

use std::io::Write;

use serde::Serialize;
use tallyfold::Compaction;

use super::cohorts::each;
use super::exit::{self, Failure};
use super::options::Options;
use super::output::{Escaped, Output, say};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without a name every cohort is compacted; one that fails does not stop the others. One that another process is \
compacting is left to it, which is no failure. The journal of a cohort whose fold is log is only sealed. A mirror that \
cannot be written undoes nothing, and is told; the exit code is 1.

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
    #[serde(skip_serializing_if = "Option::is_none")]
    mirror_failure: Option<String>,
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
    let mut mirrored = true;
    each(
        options,
        args.cohort.as_deref(),
        |cohort| Ok((cohort.compact()?, cohort.mirror_failure())),
        |name, compaction| {
            let (result, mirror_failure) = match compaction {
                Ok((compaction, mirror_failure)) => (outcome(compaction), mirror_failure),
                Err(failure) => (Outcome::Error { error: &failure.message }, None),
            };
            if let Some(failure) = &mirror_failure {
                mirrored = false;
                say(format!("cohort {name:?}: the mirror could not be written: {failure}"));
            }
            match options.json {
                true => out.json(&Compacted { cohort: name, result, mirror_failure })?,
                false => writeln!(out, "{}: {}", Escaped(name), sentence(&result))?,
            }
            Ok(out.flush()?)
        },
    )?;
    // It was told already.
    if mirrored { Ok(()) } else { Err(Failure::new(exit::FAILURE, "")) }
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
