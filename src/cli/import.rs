//! `tallyfold import`: what other programs wrote becomes records.

use std::io::{BufRead, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::NonEmptyStringValueParser;
use serde::Serialize;
use tallyfold::{Cohort, Import, Imported, Keys, Settings};

use super::append;
use super::exit::{self, Failure};
use super::input;
use super::key::KeySource;
use super::options::{self, Options};
use super::output::{Escaped, Output, say};
use super::settings;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
json takes an object of entries, {\"key\": value}, or with --key-from a list of rows (or an object of them, whose names are then \
left aside); jsonl a value on each line; parquet a row for each record. Numbers, texts and the order of members stay as they \
are; NaN and Infinity, as Python writes them, are taken as non-finite numbers.

A row that cannot be taken is left out and told with its place, and so is everything behind the place where a document is \
broken; then the exit code is 1. Rows with the same key are folded in their order: with the fold latest the last counts. A cohort that is missing is made: with the fold \
latest if the rows have keys, else log.

Examples:
  tallyfold import json snapshot_index.json index --seq-from snapshot_seq
  tallyfold import json rows.json index --key-from run_id,stage --dry-run
  tallyfold import json metrics.json runs --key run-1
  tallyfold import parquet index.parquet index --key-from run_id,phase")]
pub(crate) struct Args {
    /// What the file holds
    #[arg(value_name = "FORMAT")]
    format: Format,

    /// The file; - is standard input
    file: PathBuf,

    /// The cohort's name
    cohort: String,

    /// The key of every record, as it is; json is then one record, whatever it holds
    #[arg(long, value_name = "K", conflicts_with = "key_from")]
    key: Option<String>,

    /// The fields of each row that make its key, joined with ':' (inside a part, % becomes %25 and : becomes %3A)
    #[arg(long, value_name = "FIELD[,FIELD…]", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    key_from: Vec<String>,

    /// Append the rows in the order of the number in this field, those without one behind all others; needs memory for all of
    /// them
    #[arg(long, value_name = "FIELD")]
    seq_from: Option<String>,

    /// Append all rows as one batch, or none of them if one cannot be taken or they do not fit
    #[arg(long)]
    all_or_nothing: bool,

    /// Append nothing and make nothing, only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Jsonl,
    Parquet,
}

#[derive(Serialize)]
struct Told<'a> {
    dry_run: bool,
    #[serde(flatten)]
    imported: &'a Imported,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
}

/// The input, open: before anything is made, for a name mistyped should leave nothing behind.
enum Source {
    Text(Box<dyn BufRead>),
    #[cfg(feature = "parquet")]
    File(std::fs::File),
    #[cfg(feature = "parquet")]
    Bytes(Vec<u8>),
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let mut source = source(args)?;
    let keyed = args.has_keys(&mut source)?;
    let (cohort, planned) = if args.dry_run {
        look(options, args, keyed)?
    } else {
        (Some(append::open_or_make(options, &args.cohort, keyed)?), None)
    };
    let import = match (&cohort, &planned) {
        (Some(cohort), _) if args.dry_run => Import::into(cohort).dry(),
        (Some(cohort), _) => Import::into(cohort),
        (None, Some(planned)) => Import::rehearsal(planned),
        (None, None) => {
            return Err(Failure::new(exit::FAILURE, "there is neither a cohort nor settings for one"));
        }
    };
    let imported = args.import(import, source);
    let mut failure = tell_what_was_not_taken(&imported);
    if let Some(cohort) = cohort.filter(|_| !args.dry_run) {
        match &failure {
            Some(failure) => options.detach_after(&cohort, failure),
            None => failure = options::detach(&cohort).inspect_err(|failure| say(&failure.message)).err(),
        }
        if let Err(e) = cohort.compact_if_due() {
            say(format!("the tail could not be folded: {e}"));
        }
        append::say_if_not_mirrored(&cohort);
    }
    let mut out = Output::new();
    let stopped = imported.stopped.as_ref().map(ToString::to_string);
    match options.json {
        true => out.json(&Told { dry_run: args.dry_run, imported: &imported, stopped })?,
        false => writeln!(out, "{}: {}", Escaped(&args.cohort), sentence(&imported, args))?,
    }
    out.flush()?;
    // What went wrong was told already.
    failure.map_or(Ok(()), |failure| Err(Failure::new(failure.code, "")))
}

fn source(args: &Args) -> Result<Source, Failure> {
    match args.format {
        Format::Json | Format::Jsonl => Ok(Source::Text(input::open(&args.file)?)),
        #[cfg(feature = "parquet")]
        Format::Parquet if input::is_standard(&args.file) => {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut input::open(&args.file)?, &mut bytes)
                .map_err(|e| Failure::new(exit::FAILURE, format!("cannot read standard input: {e}")))?;
            Ok(Source::Bytes(bytes))
        }
        #[cfg(feature = "parquet")]
        Format::Parquet => Ok(Source::File(input::open_file(&args.file)?)),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => {
            Err(Failure::new(exit::FAILURE, "this tallyfold was built without the feature `parquet`"))
        }
    }
}

/// The cohort as it is; or the settings of the one that would be made.
fn look(options: &Options, args: &Args, keyed: bool) -> Result<(Option<Cohort>, Option<Settings>), Failure> {
    match options.cohort(&args.cohort) {
        Ok(cohort) => Ok((Some(cohort), None)),
        Err(failure) if failure.code == exit::NOT_FOUND => {
            let (fold, why) = append::fold_for(keyed);
            say(format!("would make the cohort {:?} with the fold {}, for {why}", args.cohort, fold));
            Ok((None, Some(settings::of_fold(fold)?)))
        }
        Err(failure) => Err(failure),
    }
}

impl Args {
    /// Whether the rows will have keys: by the options, or as the members of an object.
    fn has_keys(&self, source: &mut Source) -> Result<bool, Failure> {
        if self.key.is_some() || !self.key_from.is_empty() {
            return Ok(true);
        }
        match source {
            Source::Text(input) if self.format == Format::Json => begins_an_object(input),
            _ => Ok(false),
        }
    }

    fn import(&self, import: Import<'_>, source: Source) -> Imported {
        let literal = self.key.as_deref().unwrap_or_default();
        let keys = match self.key_from.is_empty() {
            true => KeySource::Literal(literal),
            false => KeySource::Fields(&self.key_from),
        };
        let key = |json: &str| keys.key(json).map(std::borrow::Cow::into_owned);
        let log = *import.settings().fold() == tallyfold::Fold::Log;
        // The members of an object name themselves; rows of a log need no key.
        let members = self.format == Format::Json && self.key.is_none() && self.key_from.is_empty() && !log;
        let mut import = import.keys(if members { Keys::Members } else { Keys::Of(&key) });
        if let Some(field) = &self.seq_from {
            import = import.seq_from(field);
        }
        if self.all_or_nothing {
            import = import.all_or_nothing();
        }
        match source {
            Source::Text(input) if self.format == Format::Jsonl => import.jsonl(input),
            Source::Text(input) if self.key.is_some() => import.json_value(input),
            Source::Text(input) => import.json(input),
            #[cfg(feature = "parquet")]
            Source::File(file) => import.parquet(file),
            #[cfg(feature = "parquet")]
            Source::Bytes(bytes) => import.parquet_bytes(bytes),
        }
    }
}

/// Looks at what is in the buffer, and takes white space from it.
fn begins_an_object(input: &mut Box<dyn BufRead>) -> Result<bool, Failure> {
    let failed = |e: std::io::Error| Failure::new(exit::FAILURE, format!("cannot read the input: {e}"));
    let bytes = input.fill_buf().map_err(failed)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // A buffer of nothing but white space says nothing; then it is taken for what most documents are.
    Ok(bytes.iter().find(|byte| !byte.is_ascii_whitespace()).is_none_or(|byte| *byte == b'{'))
}

/// On standard error, and as a failure if there was anything.
fn tell_what_was_not_taken(imported: &Imported) -> Option<Failure> {
    for refused in &imported.refused {
        say(format!("{}: not taken: {}", refused.place, refused.reason));
    }
    let untold = imported.skipped - imported.refused.len() as u64;
    if untold > 0 {
        say(format!("{untold} more rows were not taken"));
    }
    if let Some(stopped) = &imported.stopped {
        say(stopped);
    }
    match &imported.stopped {
        Some(stopped) if stopped.is_lock_timeout() => Some(Failure::new(exit::LOCK_TIMEOUT, "")),
        Some(stopped) if stopped.is_corruption() => Some(Failure::new(exit::CORRUPTION, "")),
        Some(stopped) if stopped.is_unsafe_file_system() => Some(Failure::new(exit::UNSAFE_FILE_SYSTEM, "")),
        Some(_) => Some(Failure::new(exit::FAILURE, "")),
        None => (imported.skipped > 0).then(|| Failure::new(exit::FAILURE, "")),
    }
}

fn sentence(imported: &Imported, args: &Args) -> String {
    let Imported { rows, taken, skipped, repeated, nonfinite, unnumbered, seq, .. } = imported;
    let done = if args.dry_run { "would be taken" } else { "taken" };
    let mut text = format!("{taken} of {rows} rows {done}, {skipped} not");
    if *seq > 0 {
        text.push_str(&format!(", the last as seq {seq}"));
    }
    for (number, what) in [
        (repeated, "had the key of an earlier row"),
        (nonfinite, "held NaN or an infinity, which are non-finite numbers now"),
    ] {
        if *number > 0 {
            text.push_str(&format!("; {number} {what}"));
        }
    }
    if let Some(field) = &args.seq_from
        && *unnumbered > 0
    {
        text.push_str(&format!("; {unnumbered} had no number in {field:?} and came last"));
    }
    text
}
