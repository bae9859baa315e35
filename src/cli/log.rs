//! `tallyfold log`: the records of the journal, in order.

use std::path::PathBuf;

use super::cursor_file::CursorFile;
use super::exit::Failure;
use super::filter::{PARTS, RecordArgs, WHERE};
use super::options::Options;
use super::record::{FormArgs, Printer};
use super::records::{Extent, Reading, cursor_at_least};
use super::time::TAKEN;

#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
On a terminal a record is a line to be read, elsewhere a line of JSON with seq, time, key and value (or \"deleted\":true, or \
\"raw\" and the bytes in hexadecimal). Times are shown in UTC.

-n N alone prints the last N records that are wanted, and with -f goes on behind them. --from SEQ -n N prints the first N from SEQ \
on, and with -f waits until there are so many. With -f it ends with Ctrl-C, behind --to, and with 1 if a compaction has removed \
records before they were printed, which is said when it happens.

A TIME is {TAKEN}. Records are in the order of their seqs; their times come from the clocks of their writers, and clocks are \
set back. So --since and --until are asked of each record: nothing is skipped because of the time of another one, and --until ends \
nothing. To read less, name seqs as well (--from, --to) or how many (-n).

{PARTS}

{WHERE}

--cursor-file FILE begins behind the last record that the run before it has looked at, and remembers in FILE where this one stops: \
after each record has gone out, so that after a crash one may come again and none is missed. Without FILE it begins with --from, \
or with the first record; with it, --from does not count. -n N is the next N then. FILE is of one cohort and one reader at a \
time, who locks FILE.lock beside it. If records behind it are folded away, or it was cut, that is an error.

Examples:
  tallyfold log metrics -n 10
  tallyfold log metrics -f --from 1 -n 2 -o pretty
  tallyfold log metrics --since yesterday --where stage=TRAINING --where 'loss<0.5'
  tallyfold log metrics --from 1 -n 100 | jq .value.loss
  tallyfold log index --parts run-1 -n 1 --cursor-file ./index.cursor"))]
pub(crate) struct Args {
    /// The cohort's name
    cohort: String,

    /// Only the last N records; with --from or --cursor-file, the first N
    #[arg(short, value_name = "N")]
    number: Option<u64>,

    /// Wait at the end for more
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    records: RecordArgs,

    #[command(flatten)]
    form: FormArgs,

    /// Go on where the last run stopped, which this file says
    #[arg(long, value_name = "FILE")]
    cursor_file: Option<PathBuf>,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let printer = Printer::of_records(options, &args.form)?;
    let filter = args.records.filter()?;
    let cohort = options.cohort(&args.cohort)?;
    let reading = Reading::new(&cohort, &filter, printer);
    let extent = Extent { limit: args.number, follow: args.follow };
    let begin = || match args.records.from {
        Some(from) => Ok(cohort.cursor(from)?),
        None => cursor_at_least(&cohort, 1),
    };
    match (&args.cursor_file, args.number, args.records.from) {
        (Some(path), ..) => {
            let file = CursorFile::open(options, path, &cohort)?;
            let cursor = file.resume(&cohort)?.map_or_else(begin, Ok)?;
            reading.remembering(file).run(cursor, extent)
        }
        (None, Some(number), None) => reading.run_last(number, args.follow),
        (None, ..) => reading.run(begin()?, extent),
    }
}
