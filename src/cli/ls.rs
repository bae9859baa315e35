//! `tallyfold ls`: the cohorts of a store.

use std::io::Write;

use serde::Serialize;
use tallyfold::Stats;

use super::cohorts::each;
use super::exit::Failure;
use super::options::Options;
use super::output::{Escaped, Output};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The columns: the last seq; the watermark, up to which records are folded into the snapshot; the entries of the \
snapshot; the bytes of frames that are not folded yet. With --json one object a line.

Example:
  tallyfold ls --json | jq -r .cohort")]
pub(crate) struct Args {}

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

pub(crate) fn run(options: &Options, _args: &Args) -> Result<(), Failure> {
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
