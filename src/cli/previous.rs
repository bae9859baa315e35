//! `tallyfold previous`: the newest earlier entry with certain fields.

use std::io::{self, IsTerminal, Write};

use tallyfold::{Fold, Query, Seq};

use super::exit::{self, Failure};
use super::filter::{Condition, WHERE, WhereArgs, condition};
use super::options::Options;
use super::output::Output;
use super::record::{entry_line, shown};

#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
Of the entries with a lower seq that are so, the one with the highest is printed, as a line of JSON with seq, key and \
value. Without --key and --before it is the newest of all. In a cohort whose fold is log the records are looked \
through, and with --key those before the last one with that key, of other keys. If there is none, it ends with 3.

{WHERE} --not takes the same, and finds what --where would not: also where the field is not there.

Examples:
  tallyfold previous index --key run-7:TRAINING --where stage=TRAINING --not run_id=run-7
  tallyfold previous index --where stage=TRAINING --where 'auc>=0.5'"))]
pub(crate) struct Args {
    /// The cohort's name
    cohort: String,

    /// Only what is older than the entry of this key
    #[arg(long, value_name = "KEY", conflicts_with = "before")]
    key: Option<String>,

    /// Only what is older than this seq
    #[arg(long, value_name = "SEQ")]
    before: Option<Seq>,

    #[command(flatten)]
    wanted: WhereArgs,

    /// Only where that does not hold, or the field is not there
    #[arg(long = "not", value_name = "FIELD=VALUE", value_parser = condition)]
    unwanted: Vec<Condition>,
}

impl Args {
    fn query(&self) -> tallyfold::Result<Query> {
        let query = match (&self.key, self.before) {
            (Some(key), _) => Query::new().before_key(key),
            (None, Some(seq)) => Query::new().before(seq),
            (None, None) => Query::new(),
        };
        let query = self.wanted.add(query)?;
        self.unwanted.iter().try_fold(query, |query, condition| condition.add(query, false))
    }
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let cohort = options.cohort(&args.cohort)?;
    let query = args.query()?;
    let line = if *cohort.settings().fold() == Fold::Log {
        let record = cohort.previous(&query)?;
        record.map(|record| {
            entry_line(record.seq(), record.key(), record.json().unwrap_or_default(), record.nonfinite())
        })
    } else {
        let view = cohort.view()?;
        let found = view.previous(&query)?;
        found.map(|(key, entry)| entry_line(entry.seq(), &key, entry.json(), entry.nonfinite()))
    };
    let line = line.ok_or_else(|| {
        let what = format!("nothing earlier in the cohort {:?} is what was asked for", args.cohort);
        Failure::new(exit::NOT_FOUND, what)
    })?;
    let mut out = Output::new();
    writeln!(out, "{}", shown(&line, io::stdout().is_terminal()))?;
    Ok(out.flush()?)
}
