//! `tallyfold previous`: the newest earlier entry with certain fields.

use std::io::Write;

use tallyfold::{Fold, Query, Seq};

use super::exit::{self, Failure};
use super::log::entry_line;
use super::options::Options;
use super::output::Output;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Of the entries with a lower seq that are so, the one with the highest is printed, as a line of JSON with seq, key and \
value. Without --key and --before it is the newest of all. In a cohort whose fold is log the records are looked \
through, and with --key those before the last one with that key, of other keys. If there is none, it ends with 3.

FIELD is the names that lead to it, joined by dots (outputs.auc; \\. is a dot in a name). VALUE is a string or any \
other JSON value, whichever the field holds: stage=TRAINING is the string, and n=5 finds 5, 5.0 and \"5\". NaN, \
Infinity and -Infinity find the numbers too. A field that is not there is equal to nothing.

Example:
  tallyfold previous index --key run-7:TRAINING --where stage=TRAINING --not run_id=run-7")]
pub(crate) struct Args {
    /// The cohort's name
    cohort: String,

    /// Only what is older than the entry of this key
    #[arg(long, value_name = "KEY", conflicts_with = "before")]
    key: Option<String>,

    /// Only what is older than this seq
    #[arg(long, value_name = "SEQ")]
    before: Option<Seq>,

    /// Only where the field has the value; all of these have to hold
    #[arg(long = "where", value_name = "FIELD=VALUE", value_parser = condition)]
    wanted: Vec<Condition>,

    /// Only where the field has another value, or is not there
    #[arg(long = "not", value_name = "FIELD=VALUE", value_parser = condition)]
    unwanted: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq)]
struct Condition {
    field: String,
    value: String,
}

/// A field's name may hold no `=`; a value may.
fn condition(text: &str) -> Result<Condition, String> {
    match text.split_once('=') {
        Some((field, value)) => Ok(Condition { field: field.into(), value: value.into() }),
        None => Err("it must be FIELD=VALUE".into()),
    }
}

impl Args {
    fn query(&self) -> tallyfold::Result<Query> {
        let mut query = match (&self.key, self.before) {
            (Some(key), _) => Query::new().before_key(key),
            (None, Some(seq)) => Query::new().before(seq),
            (None, None) => Query::new(),
        };
        for Condition { field, value } in &self.wanted {
            query = query.field_word(field, value)?;
        }
        for Condition { field, value } in &self.unwanted {
            query = query.not_word(field, value)?;
        }
        Ok(query)
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
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_cut_at_its_first_equals_sign() {
        let expected = Condition { field: "a.b".into(), value: "c=d".into() };
        assert_eq!(condition("a.b=c=d"), Ok(expected));
        assert_eq!(condition("a="), Ok(Condition { field: "a".into(), value: String::new() }));
        assert!(condition("a").is_err());
    }
}
