//! `tallyfold append`: JSON values, one a line, each appended as it arrives.

use std::fmt;
use std::io::{BufRead, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::builder::NonEmptyStringValueParser;
use serde::Serialize;
use tallyfold::{Batch, Cohort, Seq};

use super::exit::{self, Failure};
use super::input::{self, Lines};
use super::interrupt::{self, Farewell};
use super::key::KeySource;
use super::options::{self, Options};
use super::output::{Output, say};
use super::settings;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A line that is no JSON is refused with its batch, and nothing behind it is appended; what was appended before \
stays, and is told. A cohort that is missing is made: with the fold latest if a key option is given, else log. \
Without a key option the key is empty.

Examples:
  echo '{\"loss\":0.31}' | tallyfold append metrics
  tallyfold append index --key-from run_id,stage --batch 100 rows.jsonl")]
pub(crate) struct Args {
    /// The cohort's name
    cohort: String,

    /// The key of every record, as it is
    #[arg(long, value_name = "K", conflicts_with = "key_from")]
    key: Option<String>,

    /// The fields of each value that make its key, joined with ':' (inside a part, % becomes %25 and : becomes %3A)
    #[arg(long, value_name = "FIELD[,FIELD…]", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    key_from: Vec<String>,

    /// Sync each append before the next line is read
    #[arg(long)]
    durable: bool,

    /// Append N lines together, all or none of them; what is left at the end of the input too
    #[arg(long, value_name = "N", default_value = "1", hide_default_value = true)]
    batch: NonZeroUsize,

    /// The file with the lines; - or nothing is standard input
    #[arg(value_name = "FILE", default_value = "-", hide_default_value = true)]
    file: PathBuf,
}

impl Args {
    fn key_source(&self) -> KeySource<'_> {
        match self.key_from.is_empty() {
            true => KeySource::Literal(self.key.as_deref().unwrap_or_default()),
            false => KeySource::Fields(&self.key_from),
        }
    }
}

/// What has been acknowledged so far.
#[derive(Clone, Copy, Default, Serialize)]
struct Appended {
    seq: Seq,
    appended: u64,
}

impl fmt::Display for Appended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.appended {
            0 => write!(f, "nothing was appended before"),
            1 => write!(f, "1 record was appended before, as seq {}", self.seq),
            n => write!(f, "{n} records were appended before, the last as seq {}", self.seq),
        }
    }
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    // Before anything is made, for a name mistyped should leave nothing behind.
    let input = input::open(&args.file)?;
    let keyed = args.key.is_some() || !args.key_from.is_empty();
    let cohort = open_or_make(options, &args.cohort, keyed)?;
    let told = Arc::new(Mutex::new(Appended::default()));
    let farewell = farewell(options, &cohort, &told);
    let ended = append_lines(&cohort, args, input, &told);
    drop(farewell);
    let appended = *so_far(&told);
    if let Err(failure) = ended {
        if !failure.message.is_empty() {
            say(&failure.message);
        }
        say(appended);
        options.detach_after(&cohort, &failure);
        return Err(Failure::new(failure.code, ""));
    }
    if let Err(failure) = options::detach(&cohort) {
        say(appended);
        return Err(failure);
    }
    // What was appended is there, whatever becomes of this.
    if let Err(e) = cohort.compact_if_due() {
        say(format!("the tail could not be folded: {e}"));
    }
    say_if_not_mirrored(&cohort);
    if appended.appended == 0 {
        say("the input was empty: nothing was appended");
        return Ok(());
    }
    let mut out = Output::new();
    match options.json {
        true => out.json(&appended)?,
        false => writeln!(out, "{}", appended.seq)?,
    }
    Ok(out.flush()?)
}

/// What a command does that is ended while it waits for input, or for the lock.
fn farewell(options: &Options, cohort: &Cohort, told: &Arc<Mutex<Appended>>) -> Farewell {
    let (options, cohort, told) = (options.clone(), cohort.clone(), Arc::clone(told));
    interrupt::farewell(move || {
        say(*so_far(&told));
        options.detach_after(&cohort, &Failure::new(exit::INTERRUPTED, ""));
    })
}

fn so_far(told: &Mutex<Appended>) -> MutexGuard<'_, Appended> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The cohort; one that is missing is made as fits records with or without keys.
pub(super) fn open_or_make(options: &Options, name: &str, keyed: bool) -> Result<Cohort, Failure> {
    let store = options.make_store()?;
    let cohort = match store.cohort(name) {
        Err(e) if e.is_not_found() => {
            let (fold, why) = fold_for(keyed);
            match store.create(name, settings::of_fold(fold)?) {
                // Somebody else has made it meanwhile, as they wanted it.
                Err(e) if e.is_conflict() => store.cohort(name)?,
                made => {
                    let made = made?;
                    say(format!("made the cohort {name:?} with the fold {}, for {why}", fold));
                    made
                }
            }
        }
        other => other?,
    };
    Ok(options.patient(cohort))
}

/// The fold of a cohort that is made for records with or without keys, and why.
pub(super) fn fold_for(keyed: bool) -> (&'static str, &'static str) {
    match keyed {
        true => ("latest", "a key was given"),
        false => ("log", "no key was given"),
    }
}

/// Says of the mirror what the compactions of this process could not do about it.
pub(super) fn say_if_not_mirrored(cohort: &Cohort) {
    if let Some(failure) = cohort.mirror_failure() {
        say(format!("the mirror could not be written: {failure}"));
    }
}

fn append_lines(
    cohort: &Cohort,
    args: &Args,
    input: impl BufRead,
    told: &Mutex<Appended>,
) -> Result<(), Failure> {
    let most = max_body_bytes(cohort)?;
    // White space between tokens is not kept. A space behind every comma and colon doubles no value.
    let mut lines = Lines::new(input, most.saturating_mul(2));
    let mut pending = Pending::default();
    loop {
        let put = match lines.next() {
            Ok(None) => break,
            Ok(Some(line)) => pending.put(args.key_source(), line.number, line.text),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = put {
            // The input has ended for that reason.
            interrupt::check()?;
            return Err(pending.refused(lines.number(), &refusal));
        }
        // One that is too large already is for the library to refuse, before it takes more memory.
        if pending.batch.len() >= args.batch.get() || pending.batch.bytes() > most {
            pending.append(cohort, args.durable, told)?;
            interrupt::check()?;
        }
    }
    match pending.batch.is_empty() {
        true => Ok(()),
        false => pending.append(cohort, args.durable, told),
    }
}

/// Lines that will be appended together.
#[derive(Default)]
struct Pending {
    batch: Batch,
    first: u64,
    last: u64,
}

impl Pending {
    fn put(&mut self, key: KeySource<'_>, number: u64, json: &str) -> Result<(), String> {
        let key = key.key(json)?;
        self.batch.put_json(&key, json).map_err(|e| e.to_string())?;
        if self.batch.len() == 1 {
            self.first = number;
        }
        self.last = number;
        Ok(())
    }

    fn append(&mut self, cohort: &Cohort, durable: bool, told: &Mutex<Appended>) -> Result<(), Failure> {
        let batch = std::mem::take(&mut self.batch);
        let count = batch.len() as u64;
        let written = match durable {
            true => cohort.append_batch_durable(batch),
            false => cohort.append_batch(batch),
        };
        let seq = written.map_err(|e| {
            let failure = Failure::from(e);
            Failure::new(failure.code, format!("{}: {}", self.name(), failure.message))
        })?;
        let mut appended = so_far(told);
        *appended = Appended { seq, appended: appended.appended + count };
        Ok(())
    }

    fn name(&self) -> String {
        match self.first == self.last {
            true => format!("line {}", self.last),
            false => format!("lines {} to {}", self.first, self.last),
        }
    }

    /// A bad line takes the rest of its batch with it.
    fn refused(&self, number: u64, refusal: &str) -> Failure {
        let besides = match self.batch.is_empty() {
            true => String::new(),
            false => format!("; {}, of the same batch, not appended either", self.name()),
        };
        Failure::new(exit::FAILURE, format!("line {number}: {refusal}{besides}"))
    }
}

/// The cohort's limit, from where its settings say it.
fn max_body_bytes(cohort: &Cohort) -> Result<usize, Failure> {
    let settings = serde_json::to_value(cohort.settings())
        .map_err(|e| Failure::new(exit::FAILURE, format!("the cohort's settings cannot be read: {e}")))?;
    let bytes = settings.get("max_body_bytes").and_then(serde_json::Value::as_u64).unwrap_or(u64::MAX);
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}
