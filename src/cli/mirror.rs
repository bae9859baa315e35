//! `tallyfold mirror`: the state as a plain file.

use std::io::Write;
use std::path::PathBuf;

use super::exit::Failure;
use super::options::Options;
use super::output::{Escaped, Output};
use super::progress::Waiting;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file is replaced as a whole: who reads it meanwhile sees the old one or the new one. It is one JSON object, an entry on \
each line, sorted by key; a path that ends in .parquet gets a table with a row for each entry. Non-finite numbers are the \
strings NaN, Infinity and -Infinity in JSON.

Without --to it goes where the setting `mirror` of the cohort says, which every compaction does by itself.

Examples:
  tallyfold mirror index --to index.parquet
  tallyfold mirror runs --key run-1 --to metrics.json
  tallyfold alter index --settings '{\"mirror\":\"../index.json\"}' && tallyfold mirror index")]
pub(crate) struct Args {
    /// The cohort's name
    cohort: String,

    /// The file to write, instead of the one in the settings
    #[arg(long, value_name = "PATH")]
    to: Option<PathBuf>,

    /// Write the value of this key, and nothing else
    #[arg(long, value_name = "K", requires = "to")]
    key: Option<String>,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let cohort = options.cohort(&args.cohort)?;
    let waiting = Waiting::new("writing");
    let mirrored = match &args.to {
        Some(path) => cohort.mirror_to(path, args.key.as_deref())?,
        None => cohort.mirror()?,
    };
    drop(waiting);
    let mut out = Output::new();
    match options.json {
        true => out.json(&mirrored)?,
        false => {
            let path = mirrored.path.display().to_string();
            let (name, path) = (Escaped(&args.cohort), Escaped(&path));
            writeln!(out, "{name}: {} entries up to seq {} in {path}", mirrored.entries, mirrored.seq)?;
        }
    }
    Ok(out.flush()?)
}
