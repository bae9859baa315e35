//! `tallyfold once`: the value of a key, computed by one of all who ask.

use std::ffi::OsString;
use std::io::Write;
use std::process::{Command, Stdio};

use serde::Serialize;
use serde_json::value::RawValue;
use tallyfold::{Cohort, Entry, Seq};

use super::append;
use super::exit::{self, Failure};
use super::interrupt;
use super::options::{self, Options};
use super::output::{Output, say};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
If the key has a value it is printed, and nothing is run. Else the command runs, and the JSON that it prints becomes \
the value; whoever asks for the same key meanwhile waits for that, as long as --timeout says. If the command fails, \
or this process is killed, another one who waits runs its own. A command that is killed this way is not ended by it.

Example:
  tallyfold once cache vocabulary -- ./vocabulary.sh genes.tsv")]
pub(crate) struct Args {
    /// The cohort's name
    cohort: String,

    /// The key
    key: String,

    /// The command that prints the value, and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Serialize)]
struct Shown<'a> {
    seq: Seq,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    nonfinite: bool,
    value: &'a RawValue,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let cohort = append::open_or_make(options, &args.cohort, true)?;
    let entry = match cohort.once_json(&args.key, || output_of(&args.command)) {
        Ok(entry) => entry,
        Err(failure) => {
            options.detach_after(&cohort, &failure);
            return Err(failure);
        }
    };
    settle(&cohort, &entry)?;
    let mut out = Output::new();
    match options.json {
        true => {
            let value: &RawValue = serde_json::from_str(entry.json())
                .map_err(|e| Failure::new(exit::FAILURE, format!("the value cannot be read: {e}")))?;
            out.json(&Shown { seq: entry.seq(), nonfinite: entry.nonfinite(), value })?;
        }
        false => writeln!(out, "{}", entry.json())?,
    }
    Ok(out.flush()?)
}

fn settle(cohort: &Cohort, entry: &Entry) -> Result<(), Failure> {
    options::detach(cohort).inspect_err(|_| say(format!("the value is there, as seq {}", entry.seq())))
}

/// What a command prints, if it ends well. It has our input and our messages.
fn output_of(command: &[OsString]) -> Result<String, Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::new(exit::USAGE, "which command?"));
    };
    let name = program.to_string_lossy();
    let failed = |what: String| Failure::new(exit::FAILURE, format!("nothing was appended: {name:?} {what}"));
    let left = interrupt::left_to_child();
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| failed(format!("cannot be run: {e}")))?;
    if !output.status.success() && left.was_pressed() {
        return Err(Failure::new(exit::INTERRUPTED, "nothing was appended: the command was interrupted"));
    }
    if !output.status.success() {
        return Err(failed(format!("has failed: {}", output.status)));
    }
    String::from_utf8(output.stdout).map_err(|_| failed("printed something that is not UTF-8".into()))
}
