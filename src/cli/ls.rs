//! `tallyfold ls`: the cohorts of a store, or the keys of one.

use std::io::Write;

use serde::Serialize;
use tallyfold::Stats;

use super::cohorts::{Bad, each};
use super::exit::Failure;
use super::filter::{PARTS, WHERE};
use super::options::Options;
use super::output::{Escaped, Output};
use super::record::{Form, FormArgs, Printer};
use super::select::{SORT, SelectArgs};
use super::table::{Align, Table};

#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
The columns: the last seq; the watermark, up to which records are folded into the snapshot; the entries of the \
snapshot; the bytes of frames that are not folded yet. With --json one object a line.

With a COHORT its keys are listed, one a line, in order; with --json each as an object with seq, key and value, with -o pretty \
with the value over several lines. With --parts or --prefix no others are read.

{PARTS}

{WHERE}

{SORT}

Examples:
  tallyfold ls --json | jq -r .cohort
  tallyfold ls index --parts run-1,TRAINING
  tallyfold ls index --where 'auc>=0.5' --sort auc:desc --limit 10 --json | jq .value"))]
pub(crate) struct Args {
    /// The cohort whose keys are listed; without it the cohorts are
    cohort: Option<String>,

    #[command(flatten)]
    select: SelectArgs,

    #[command(flatten)]
    form: FormArgs,
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

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    match &args.cohort {
        Some(cohort) => keys(options, cohort, args),
        None => cohorts(options),
    }
}

fn keys(options: &Options, cohort: &str, args: &Args) -> Result<(), Failure> {
    let printer = Printer::new(args.form.form(options, Form::Short)?);
    let view = options.cohort(cohort)?.view()?;
    let mut out = Output::new();
    let written = args.select.each(&view, |key, entry| {
        match printer.form {
            Form::Short => writeln!(out, "{}", Escaped(key))?,
            Form::Json | Form::Pretty => out.write_all(printer.entry(key, entry).as_bytes())?,
        }
        Ok(())
    });
    // What was read before a failure stays to be seen.
    out.flush()?;
    written
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
