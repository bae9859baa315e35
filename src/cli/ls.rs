//! `tallyfold ls`: the cohorts of a store, or the keys of one.

use std::io::Write;

use serde::Serialize;
use tallyfold::{Stats, View};

use super::cohorts::each;
use super::exit::Failure;
use super::log::entry_line;
use super::options::Options;
use super::output::{Escaped, Output};
use super::table::{Align, Table};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The columns: the last seq; the watermark, up to which records are folded into the snapshot; the entries of the \
snapshot; the bytes of frames that are not folded yet. With --json one object a line.

With a COHORT its keys are listed, one a line, in order; with --json each as an object with seq, key and value. --parts \
lists those that begin with these parts, and reads no others: run-1 finds run-1 and run-1:TRAINING, and not run-10. \
(The parts of a key are joined by colons; a colon or percent sign in a part is spelled %3A or %25.)

Examples:
  tallyfold ls --json | jq -r .cohort
  tallyfold ls index --parts run-7,TRAINING")]
pub(crate) struct Args {
    /// The cohort whose keys are listed; without it the cohorts are
    cohort: Option<String>,

    /// The first parts of the keys to be listed
    #[arg(long, value_name = "PART,…", value_delimiter = ',', requires = "cohort")]
    parts: Vec<String>,
}

#[derive(Serialize)]
struct Cohort<'a> {
    cohort: &'a str,
    fold: &'a str,
    seq: u64,
    watermark: u64,
    entries: u64,
    tail_bytes: u64,
}

#[derive(Serialize)]
struct Bad<'a> {
    cohort: &'a str,
    error: &'a str,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    match &args.cohort {
        Some(cohort) => keys(options, cohort, &args.parts),
        None => cohorts(options),
    }
}

fn keys(options: &Options, cohort: &str, parts: &[String]) -> Result<(), Failure> {
    let view = options.cohort(cohort)?.view()?;
    let mut out = Output::new();
    let written = write_keys(&mut out, &view, parts, options.json);
    // What was read before a failure stays to be seen.
    out.flush()?;
    written
}

fn write_keys(out: &mut Output, view: &View, parts: &[String], json: bool) -> Result<(), Failure> {
    for item in view.prefix(parts) {
        let (key, entry) = item?;
        match json {
            true => writeln!(out, "{}", entry_line(entry.seq(), &key, entry.json(), entry.nonfinite()))?,
            false => writeln!(out, "{}", Escaped(&key))?,
        }
    }
    Ok(())
}

fn cohorts(options: &Options) -> Result<(), Failure> {
    let mut out = Output::new();
    let mut table = Table::new([
        ("COHORT", Align::Left),
        ("FOLD", Align::Left),
        ("SEQ", Align::Right),
        ("WATERMARK", Align::Right),
        ("ENTRIES", Align::Right),
        ("TAIL BYTES", Align::Right),
    ]);
    let listed = each(
        options,
        None,
        |cohort| Ok(cohort.stats()?),
        |name, stats| match (options.json, stats) {
            (true, Ok(stats)) => Ok(out.json(&short(&stats))?),
            (true, Err(failure)) => Ok(out.json(&Bad { cohort: name, error: &failure.message })?),
            (false, Ok(stats)) => {
                let numbers = [stats.seq, stats.watermark, stats.entries, stats.tail_bytes];
                let [seq, watermark, entries, tail_bytes] = numbers.map(|n| n.to_string());
                table.row([name.to_string(), stats.fold.to_string(), seq, watermark, entries, tail_bytes]);
                Ok(())
            }
            (false, Err(failure)) => {
                table.across(name, &format!("error: {}", failure.message));
                Ok(())
            }
        },
    );
    table.write(&mut out)?;
    out.flush()?;
    listed
}

fn short(stats: &Stats) -> Cohort<'_> {
    Cohort {
        cohort: &stats.cohort,
        fold: stats.fold,
        seq: stats.seq,
        watermark: stats.watermark,
        entries: stats.entries,
        tail_bytes: stats.tail_bytes,
    }
}
