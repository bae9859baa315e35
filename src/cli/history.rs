//! `tallyfold history`: the records of a key, or of all, that are still in the journal.

use tallyfold::Seq;

use super::exit::Failure;
use super::log;
use super::options::Options;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Records are printed as `tallyfold log` prints them. How far back they go is what the cohort retains: see the setting \
retain. Without --from it begins with the first record still there; a SEQ that is folded away is an error that names it.

Examples:
  tallyfold history index --key run-7:TRAINING
  tallyfold history index --from 100 --to 199 --json | jq .value.auc")]
pub(crate) struct Args {
    /// The cohort's name
    cohort: String,

    /// Only the records of this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// The first record
    #[arg(long, value_name = "SEQ")]
    from: Option<Seq>,

    /// The last record
    #[arg(long, value_name = "SEQ")]
    to: Option<Seq>,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let cohort = options.cohort(&args.cohort)?;
    let (key, to) = (args.key.as_deref(), args.to.unwrap_or(Seq::MAX));
    let records = match args.from {
        Some(from) => cohort.history(key, from..=to)?,
        None => cohort.history(key, ..=to)?,
    };
    log::print(options, records, None, false)
}
