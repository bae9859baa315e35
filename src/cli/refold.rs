//! `tallyfold refold`: a new cohort of all records of an old one, with another fold.

use std::io::Write;

use serde::Serialize;

use super::create::fold_name;
use super::exit::Failure;
use super::options::Options;
use super::output::{Escaped, Output};
use super::progress::Waiting;
use super::settings;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The new cohort holds the same records with the same seqs, batches and times, up to the last one there was when this \
began. The old one stays as it is. It needs the whole history: what is folded away cannot be folded otherwise. If the new \
fold refuses a record, nothing is made, and the record is named.

Examples:
  tallyfold refold events by-run --fold latest
  tallyfold refold index index-file --settings '{\"fold\":{\"kind\":\"latest\"},\"lock\":\"file\"}'")]
pub(crate) struct Args {
    /// The cohort that has the records
    cohort: String,

    /// The name of the new cohort
    new: String,

    /// How records become entries in the new cohort
    #[arg(long, value_name = "FOLD", value_parser = fold_name, required_unless_present = "settings")]
    fold: Option<String>,

    /// The settings of the new cohort as `tallyfold create` takes them, or @FILE to read them from a file
    #[arg(long, value_name = "JSON|@FILE")]
    settings: Option<String>,
}

#[derive(Serialize)]
struct Refolded<'a> {
    cohort: &'a str,
    new: &'a str,
    fold: &'a str,
    seq: u64,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let settings = settings::from_arguments(args.settings.as_deref(), args.fold.as_deref())?;
    let fold = settings.fold().name();
    let waiting = Waiting::new("refolding");
    let seq = options.store()?.refold(&args.cohort, &args.new, settings)?;
    drop(waiting);
    let mut out = Output::new();
    match options.json {
        true => out.json(&Refolded { cohort: &args.cohort, new: &args.new, fold, seq })?,
        false => {
            let (new, old) = (Escaped(&args.new), Escaped(&args.cohort));
            writeln!(out, "{new}: made of the records of {old} up to seq {seq}, with the fold {fold}")?;
        }
    }
    Ok(out.flush()?)
}
