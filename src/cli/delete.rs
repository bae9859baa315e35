//! `tallyfold delete`: the delete of a key, which is a record like any other.

use std::io::Write;

use serde::Serialize;
use tallyfold::Seq;

use super::exit::Failure;
use super::options::{self, Options};
use super::output::{Output, say};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The key need not exist.

Example:
  tallyfold delete index run-1:TRAINING")]
pub(crate) struct Args {
    /// The cohort's name
    cohort: String,
    /// The key whose entry is to go
    key: String,
}

#[derive(Serialize)]
struct Deleted {
    seq: Seq,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let cohort = options.cohort(&args.cohort)?;
    let seq = cohort.delete(&args.key)?;
    if let Err(failure) = options::detach(&cohort) {
        say(format!("the delete was appended before, as seq {seq}"));
        return Err(failure);
    }
    let mut out = Output::new();
    match options.json {
        true => out.json(&Deleted { seq })?,
        false => writeln!(out, "{seq}")?,
    }
    Ok(out.flush()?)
}
