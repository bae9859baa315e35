//! `tallyfold ls`: the cohorts of a store, or the keys of one.

use std::io::Write;

use serde::Serialize;
use tallyfold::{Stats, View};

use super::cohorts::each;
use super::exit::Failure;
use super::log::entry_line;
use super::options::Options;
use super::output::{Escaped, Output};

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

/// A line of the table: the name, and what there is to say of it.
type Row = (String, Result<[String; 5], String>);

const HEADER: [&str; 6] = ["COHORT", "FOLD", "SEQ", "WATERMARK", "ENTRIES", "TAIL BYTES"];

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
    let mut rows = Vec::new();
    let listed = each(
        options,
        None,
        |cohort| Ok(cohort.stats()?),
        |name, stats| match (options.json, stats) {
            (true, Ok(stats)) => Ok(out.json(&short(&stats))?),
            (true, Err(failure)) => Ok(out.json(&Bad { cohort: name, error: &failure.message })?),
            (false, stats) => {
                rows.push(row(name, stats));
                Ok(())
            }
        },
    );
    if !rows.is_empty() {
        write_table(&mut out, &rows)?;
    }
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

fn row(name: &str, stats: Result<Stats, &Failure>) -> Row {
    let cells = match stats {
        Ok(stats) => {
            let numbers =
                [stats.seq, stats.watermark, stats.entries, stats.tail_bytes].map(|n| n.to_string());
            let [seq, watermark, entries, tail_bytes] = numbers;
            Ok([stats.fold.to_string(), seq, watermark, entries, tail_bytes])
        }
        Err(failure) => Err(format!("error: {}", Escaped(&failure.message))),
    };
    (Escaped(name).to_string(), cells)
}

fn write_table(out: &mut Output, rows: &[Row]) -> std::io::Result<()> {
    let mut widths = HEADER.map(str::len);
    for (name, cells) in rows {
        let cells = cells.as_ref().map(|cells| cells.as_slice()).unwrap_or_default();
        for (width, cell) in widths.iter_mut().zip(std::iter::once(name).chain(cells)) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let [name_width, fold_width, numbers @ ..] = widths;
    let [name, fold, titles @ ..] = HEADER;
    write!(out, "{name:name_width$}  {fold:fold_width$}")?;
    for (title, width) in titles.iter().zip(numbers) {
        write!(out, "  {title:>width$}")?;
    }
    writeln!(out)?;
    for (name, cells) in rows {
        write!(out, "{name:name_width$}  ")?;
        match cells {
            Err(error) => write!(out, "{error}")?,
            Ok([fold, cells @ ..]) => {
                write!(out, "{fold:fold_width$}")?;
                for (cell, width) in cells.iter().zip(numbers) {
                    write!(out, "  {cell:>width$}")?;
                }
            }
        }
        writeln!(out)?;
    }
    Ok(())
}
