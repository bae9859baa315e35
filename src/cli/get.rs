//! `tallyfold get`: one value, or the state, or a part of it.

use std::io::Write;

use tallyfold::{Cohort, EntryRef, Fold, View};

use super::exit::{self, Failure};
use super::filter::{PARTS, WHERE};
use super::options::Options;
use super::output::{Escaped, Output, say};
use super::pretty::pretty;
use super::record::{Form, FormArgs, Printer, shown};
use super::select::{SORT, SelectArgs};

#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
The JSON text of the value is printed as it was appended; without a KEY the whole state, or the part of it that is asked for, as \
one object with an entry on each line. -o pretty prints values over several lines, -o short a line with key and value for each. \
A cohort whose fold is log has no state: see `tallyfold log`.

{PARTS}

{WHERE}

{SORT}

Examples:
  tallyfold get index run-1:TRAINING
  tallyfold get index run-1:TRAINING -o pretty
  tallyfold get index --where stage=TRAINING --sort auc:desc --limit 3
  tallyfold get index --prefix run- | jq 'keys'"))]
pub(crate) struct Args {
    /// The cohort's name
    cohort: String,
    /// The key; without it the whole state
    #[arg(conflicts_with_all = ["parts", "prefix", "wanted", "sort", "limit"])]
    key: Option<String>,

    #[command(flatten)]
    select: SelectArgs,

    #[command(flatten)]
    form: FormArgs,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let printer = Printer::new(args.form.form(options, Form::Json)?);
    let cohort = options.cohort(&args.cohort)?;
    let no_state = (*cohort.settings().fold() == Fold::Log).then(|| hint(&cohort));
    let mut out = Output::new();
    match (&args.key, no_state) {
        (Some(_), Some(hint)) => return Err(Failure::new(exit::NOT_FOUND, hint)),
        (None, Some(hint)) => {
            say(hint);
            if printer.form != Form::Short {
                writeln!(out, "{{}}")?;
            }
        }
        (Some(key), None) => {
            let view = cohort.view()?;
            let entry = view.get(key)?;
            warn_of_damage(view.damage());
            let entry = entry.ok_or_else(|| {
                Failure::new(
                    exit::NOT_FOUND,
                    format!("there is no key {key:?} in the cohort {:?}", args.cohort),
                )
            })?;
            warn_of_nonfinite(entry.nonfinite());
            match printer.form {
                Form::Json => writeln!(out, "{}", shown(entry.json(), printer.terminal))?,
                Form::Short => writeln!(out, "{}", Escaped(entry.json()))?,
                Form::Pretty => writeln!(out, "{}", pretty(entry.json(), 0, printer.style))?,
            }
        }
        (None, None) => {
            let view = cohort.view()?;
            let written = write_state(&mut out, &view, &args.select, &printer);
            // What was read before a failure stays to be seen.
            out.flush()?;
            warn_of_damage(view.damage());
            warn_of_nonfinite(written?);
        }
    }
    Ok(out.flush()?)
}

fn hint(cohort: &Cohort) -> String {
    format!(
        "the cohort {:?} has no state, for its fold is log: see its records with `tallyfold log {}`",
        cohort.name(),
        cohort.name()
    )
}

/// One entry a line, as it comes. Returns whether one holds non-finite numbers.
fn write_state(
    out: &mut Output,
    view: &View,
    select: &SelectArgs,
    printer: &Printer,
) -> Result<bool, Failure> {
    let mut nonfinite = false;
    let mut before = "{\n";
    let written = select.each(view, |key, entry| {
        nonfinite |= entry.nonfinite();
        match printer.form {
            Form::Short => out.write_all(printer.entry(key, entry).as_bytes())?,
            Form::Json | Form::Pretty => write_member(out, before, key, entry, printer)?,
        }
        before = ",\n";
        Ok(())
    });
    written?;
    if printer.form != Form::Short {
        out.write_all(if before == "{\n" { b"{}\n" } else { b"\n}\n" })?;
    }
    Ok(nonfinite)
}

fn write_member(
    out: &mut Output,
    before: &str,
    key: &str,
    entry: EntryRef<'_>,
    printer: &Printer,
) -> std::io::Result<()> {
    let key = serde_json::to_string(key)?;
    let terminal = printer.terminal;
    match printer.form {
        Form::Pretty => {
            let (key, value) = (printer.style.bold(Escaped(&key)), pretty(entry.json(), 1, printer.style));
            write!(out, "{before}  {key}: {value}")
        }
        _ => write!(out, "{before}{}:{}", shown(&key, terminal), shown(entry.json(), terminal)),
    }
}

pub(super) fn warn_of_damage(damage: Option<impl std::fmt::Display>) {
    if let Some(damage) = damage {
        say(format!(
            "warning: {damage}; nothing is missing here, for it was rebuilt from the previous snapshot and the journal; `tallyfold \
             repair` puts it right, and so does the next compaction that has something to fold"
        ));
    }
}

fn warn_of_nonfinite(nonfinite: bool) {
    if nonfinite {
        say(
            "note: non-finite numbers stand here as the strings NaN, Infinity and -Infinity, and a string that would read so \
             has one more ~ in front",
        );
    }
}
