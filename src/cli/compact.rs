//! `tallyfold compact`: journals folded into snapshots.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Serialize;
use tallyfold::{Cohort, Compaction};

use super::cohorts::each;
use super::exit::{self, Failure};
use super::interrupt;
use super::options::Options;
use super::output::{Escaped, Output, say};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without a name every cohort is compacted; one that fails does not stop the others. One that another process is \
compacting is left to it, which is no failure. The journal of a cohort whose fold is log is only sealed. A mirror that \
cannot be written undoes nothing, and is told; the exit code is 1.

With --every it goes on until Ctrl-C (exit code 130) or SIGTERM, and finds cohorts that are made meanwhile. It prints what \
was folded or sealed, and says what fails once, until that changes.

Examples:
  tallyfold compact index
  tallyfold compact --json | jq -r .result
  tallyfold compact --every 30s")]
pub(crate) struct Args {
    /// The cohort's name; without it every cohort
    cohort: Option<String>,

    /// Go on, and compact as often as this (such as 30s, 5m or 1h30m)
    #[arg(long, value_name = "TIME", value_parser = interval)]
    every: Option<Duration>,
}

#[derive(Serialize)]
struct Compacted<'a> {
    cohort: &'a str,
    #[serde(flatten)]
    result: Outcome<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mirror_failure: Option<String>,
}

#[derive(Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
enum Outcome<'a> {
    Busy,
    Nothing,
    Sealed { seq: u64 },
    Folded { seq: u64, records: u64, entries: u64, bytes: u64 },
    Error { error: &'a str },
    Other,
}

fn interval(text: &str) -> Result<Duration, String> {
    let refused = || "it must be a time such as 30s, 5m or 1h30m, longer than 0".to_string();
    let time: SignedDuration = text.parse().map_err(|_| refused())?;
    Duration::try_from(time).ok().filter(|time| !time.is_zero()).ok_or_else(refused)
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    match args.every {
        Some(every) => go_on(options, args.cohort.as_deref(), every),
        None => once(options, args.cohort.as_deref()),
    }
}

fn once(options: &Options, name: Option<&str>) -> Result<(), Failure> {
    let mut out = Output::new();
    let mut mirrored = true;
    each(options, name, compact, |name, compaction| {
        let (result, mirror_failure) = match compaction {
            Ok((compaction, mirror_failure)) => (outcome(compaction), mirror_failure),
            Err(failure) => (Outcome::Error { error: &failure.message }, None),
        };
        if let Some(failure) = &mirror_failure {
            mirrored = false;
            say(not_mirrored(name, failure));
        }
        show(&mut out, options, name, result, mirror_failure)
    })?;
    // It was told already.
    if mirrored { Ok(()) } else { Err(Failure::new(exit::FAILURE, "")) }
}

/// Compacts again and again. A store or a cohort that is not there when this begins is a mistake; later it is something that
/// passes, as everything else is that goes wrong.
fn go_on(options: &Options, name: Option<&str>, every: Duration) -> Result<(), Failure> {
    match name {
        Some(name) => drop(options.cohort(name)?),
        None => drop(options.store()?),
    }
    let mut out = Output::new();
    let mut troubles = Troubles::default();
    loop {
        match names(options, name) {
            Err(failure) => troubles.tell(None, failure.message),
            Ok(names) => {
                troubles.end(None);
                troubles.keep(&names);
                for name in &names {
                    interrupt::check()?;
                    round(&mut out, options, name, &mut troubles)?;
                }
            }
        }
        interrupt::sleep(every)?;
    }
}

fn names(options: &Options, name: Option<&str>) -> Result<Vec<String>, Failure> {
    match name {
        Some(name) => Ok(vec![name.to_string()]),
        None => Ok(options.store()?.cohorts()?),
    }
}

/// Compacts one cohort, opened anew: it may have been made anew or altered since the last time.
fn round(out: &mut Output, options: &Options, name: &str, troubles: &mut Troubles) -> Result<(), Failure> {
    let (compaction, mirror_failure) = match options.cohort(name).and_then(|cohort| compact(&cohort)) {
        Ok(done) => done,
        Err(failure) => {
            troubles.tell(Some(name), format!("cohort {name:?}: {}", failure.message));
            return Ok(());
        }
    };
    match (&mirror_failure, compaction) {
        (Some(failure), _) => troubles.tell(Some(name), not_mirrored(name, failure)),
        (None, Compaction::Busy) => {
            let busy = format!("cohort {name:?}: {}; it is left to that one", sentence(&Outcome::Busy));
            troubles.tell(Some(name), busy);
        }
        (None, _) => troubles.end(Some(name)),
    }
    match compaction {
        Compaction::Busy | Compaction::Nothing => Ok(()),
        done => show(out, options, name, outcome(done), mirror_failure),
    }
}

/// What was said last about each cohort, and under no name about the store: it is not said again until it changes.
#[derive(Default)]
struct Troubles(BTreeMap<Option<String>, String>);

impl Troubles {
    fn tell(&mut self, name: Option<&str>, trouble: String) {
        if self.is_new(name, &trouble) {
            say(trouble);
        }
    }

    fn is_new(&mut self, name: Option<&str>, trouble: &str) -> bool {
        let last = self.0.insert(name.map(str::to_string), trouble.to_string());
        last.is_none_or(|last| last != trouble)
    }

    fn end(&mut self, name: Option<&str>) {
        self.0.remove(&name.map(str::to_string));
    }

    /// Forgets the cohorts that are gone.
    fn keep(&mut self, names: &[String]) {
        self.0.retain(|name, _| name.as_ref().is_none_or(|name| names.contains(name)));
    }
}

fn compact(cohort: &Cohort) -> Result<(Compaction, Option<String>), Failure> {
    Ok((cohort.compact()?, cohort.mirror_failure()))
}

fn not_mirrored(name: &str, failure: &str) -> String {
    format!("cohort {name:?}: the mirror could not be written: {failure}")
}

fn show(
    out: &mut Output,
    options: &Options,
    name: &str,
    result: Outcome<'_>,
    mirror_failure: Option<String>,
) -> Result<(), Failure> {
    match options.json {
        true => out.json(&Compacted { cohort: name, result, mirror_failure })?,
        false => writeln!(out, "{}: {}", Escaped(name), sentence(&result))?,
    }
    Ok(out.flush()?)
}

fn outcome(compaction: Compaction) -> Outcome<'static> {
    match compaction {
        Compaction::Busy => Outcome::Busy,
        Compaction::Nothing => Outcome::Nothing,
        Compaction::Sealed { seq } => Outcome::Sealed { seq },
        Compaction::Folded { seq, records, entries, bytes } => {
            Outcome::Folded { seq, records, entries, bytes }
        }
        _ => Outcome::Other,
    }
}

fn sentence(outcome: &Outcome<'_>) -> String {
    match outcome {
        Outcome::Busy => "another process is compacting it".into(),
        Outcome::Nothing => "there is nothing new".into(),
        Outcome::Sealed { seq } => format!("sealed up to seq {seq}"),
        Outcome::Folded { seq, records, entries, bytes } => {
            format!("folded {records} records up to seq {seq}: {entries} entries in {bytes} bytes")
        }
        Outcome::Error { error } => format!("error: {}", Escaped(error)),
        Outcome::Other => "compacted".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_a_unit_and_is_longer_than_nothing() {
        assert_eq!(interval("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(interval("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(interval("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(interval("250ms"), Ok(Duration::from_millis(250)));
        for text in ["", "30", "0s", "-5s", "soon", "5 fortnights"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_trouble_is_said_again_only_when_it_changes_or_comes_back() {
        let mut troubles = Troubles::default();
        assert!(troubles.is_new(Some("a"), "damage"));
        assert!(!troubles.is_new(Some("a"), "damage"));
        assert!(troubles.is_new(Some("b"), "damage") && troubles.is_new(None, "damage"));
        assert!(troubles.is_new(Some("a"), "more damage"));
        troubles.end(Some("a"));
        assert!(troubles.is_new(Some("a"), "more damage"));
        troubles.keep(&["b".to_string()]);
        assert!(!troubles.is_new(Some("b"), "damage") && !troubles.is_new(None, "damage"));
        assert!(troubles.is_new(Some("a"), "more damage"), "a cohort of that name that was made anew");
    }
}
