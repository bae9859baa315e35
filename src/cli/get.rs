//! `tallyfold get`: one value, or the whole state.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use tallyfold::{Cohort, EntryRef, Fold, View};

use super::exit::{self, Failure};
use super::options::Options;
use super::output::{Escaped, Output, say};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The JSON text of the value is printed as it was appended; without a KEY the whole state, as one object with an \
entry on each line. A cohort whose fold is log has no state: see `tallyfold log`.

Examples:
  tallyfold get index run-1:TRAINING
  tallyfold get index | jq 'keys'")]
pub(crate) struct Args {
    /// The cohort's name
    cohort: String,
    /// The key; without it the whole state
    key: Option<String>,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let cohort = options.cohort(&args.cohort)?;
    let no_state = (*cohort.settings().fold() == Fold::Log).then(|| hint(&cohort));
    let mut out = Output::new();
    match (&args.key, no_state) {
        (Some(_), Some(hint)) => return Err(Failure::new(exit::NOT_FOUND, hint)),
        (None, Some(hint)) => {
            say(hint);
            writeln!(out, "{{}}")?;
        }
        (Some(key), None) => {
            let view = cohort.view()?;
            let entry = view.get(key)?;
            warn_of_damage(&view);
            let entry = entry.ok_or_else(|| {
                Failure::new(
                    exit::NOT_FOUND,
                    format!("there is no key {key:?} in the cohort {:?}", args.cohort),
                )
            })?;
            warn_of_nonfinite(entry.nonfinite());
            writeln!(out, "{}", shown(entry.json(), io::stdout().is_terminal()))?;
        }
        (None, None) => {
            let view = cohort.view()?;
            let written = write_state(&mut out, &view);
            // What was read before a failure stays to be seen.
            out.flush()?;
            warn_of_damage(&view);
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
fn write_state(out: &mut Output, view: &View) -> Result<bool, Failure> {
    let terminal = io::stdout().is_terminal();
    let mut nonfinite = false;
    let mut before = "{\n";
    for item in view.iter() {
        let (key, entry) = item?;
        write_entry(out, before, &key, entry, terminal)?;
        nonfinite |= entry.nonfinite();
        before = ",\n";
    }
    out.write_all(if before == "{\n" { b"{}\n" } else { b"\n}\n" })?;
    Ok(nonfinite)
}

fn write_entry(
    out: &mut Output,
    before: &str,
    key: &str,
    entry: EntryRef<'_>,
    terminal: bool,
) -> io::Result<()> {
    let key = serde_json::to_string(key)?;
    write!(out, "{before}{}:{}", shown(&key, terminal), shown(entry.json(), terminal))
}

/// JSON as it is; to a terminal with the control characters escaped that JSON lets stand (DEL and U+0080 to U+009F), which means
/// the same.
fn shown(json: &str, terminal: bool) -> Cow<'_, str> {
    match terminal && json.contains(char::is_control) {
        true => Cow::Owned(Escaped(json).to_string()),
        false => Cow::Borrowed(json),
    }
}

fn warn_of_damage(view: &View) {
    if let Some(damage) = view.damage() {
        say(format!(
            "warning: {damage}; nothing is missing here, for it was rebuilt from the previous snapshot and the journal, and \
             the next compaction puts it right"
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
