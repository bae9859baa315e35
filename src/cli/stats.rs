//! `tallyfold stats`: sizes and positions.

use std::io::Write;

use serde::Serialize;
use tallyfold::Stats;

use super::cohorts::each;
use super::exit::Failure;
use super::options::Options;
use super::output::{Escaped, Output};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json one object a line for each cohort.

Example:
  tallyfold stats index --json | jq .tail_bytes")]
pub(crate) struct Args {
    /// The cohort's name; without it every cohort
    cohort: Option<String>,
}

#[derive(Serialize)]
struct Bad<'a> {
    cohort: &'a str,
    error: &'a str,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let mut out = Output::new();
    each(
        options,
        args.cohort.as_deref(),
        |cohort| Ok(cohort.stats()?),
        |name, stats| {
            match (options.json, stats) {
                (true, Ok(stats)) => out.json(&stats)?,
                (true, Err(failure)) => out.json(&Bad { cohort: name, error: &failure.message })?,
                (false, Ok(stats)) => out.write_all(readable(&stats).as_bytes())?,
                (false, Err(failure)) => {
                    writeln!(out, "{}\n  error: {}", Escaped(name), Escaped(&failure.message))?;
                }
            }
            Ok(out.flush()?)
        },
    )
}

fn readable(stats: &Stats) -> String {
    let poisoned = if stats.poisoned { "yes: the next append carries its records on" } else { "no" };
    let lines = [
        ("fold", stats.fold.to_string()),
        ("last seq", stats.seq.to_string()),
        ("durable seq", stats.durable_seq.to_string()),
        ("watermark", stats.watermark.to_string()),
        ("epoch", stats.epoch.to_string()),
        ("entries", format!("{} in the snapshot", stats.entries)),
        ("snapshot", format!("{} bytes", stats.snapshot_bytes)),
        ("segments", format!("{} of {} bytes, reserved space included", stats.segments, stats.segment_bytes)),
        ("tail", format!("{} bytes not folded yet", stats.tail_bytes)),
        ("quarantine", format!("{} files", stats.quarantined)),
        ("failed sync", poisoned.to_string()),
        ("file system", stats.file_system.clone()),
        ("lock", stats.lock.to_string()),
    ];
    let mut text = format!("{}\n", Escaped(&stats.cohort));
    for (name, value) in lines {
        text.push_str(&format!("  {name:<12}  {value}\n"));
    }
    text
}
