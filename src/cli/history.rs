//! `tallyfold history`: the records of a key, or of all, that are still in the journal.

use super::exit::Failure;
use super::filter::{PARTS, RecordArgs, WHERE};
use super::options::Options;
use super::record::{FormArgs, Printer};
use super::records::{Extent, Reading, first_kept};
use super::time::TAKEN;

#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
Records are printed as `tallyfold log` prints them. How far back they go is what the cohort retains: see the setting \
retain. Without --from it begins with the first record still there; a SEQ that is folded away is an error that names it.

A TIME is {TAKEN}. It is asked of each record, for the clocks of writers may be set back.

{PARTS}

{WHERE}

Examples:
  tallyfold history index --key run-1:TRAINING
  tallyfold history index --parts run-1 --since -1d --where 'auc>=0.5' -o short
  tallyfold history index --from 1 --to 99 --json | jq .value.auc"))]
pub(crate) struct Args {
    /// The cohort's name
    cohort: String,

    #[command(flatten)]
    records: RecordArgs,

    #[command(flatten)]
    form: FormArgs,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let printer = Printer::of_records(options, &args.form)?;
    let filter = args.records.filter()?;
    let cohort = options.cohort(&args.cohort)?;
    let cursor = match args.records.from {
        Some(from) => cohort.cursor(from)?,
        None => first_kept(&cohort, 1)?.0,
    };
    Reading::new(&cohort, &filter, printer).run(cursor, Extent { limit: None, follow: false })
}
