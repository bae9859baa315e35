//! `tallyfold backup`: a consistent copy of cohorts while writers go on, or a check of one.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tallyfold::{BackedUp, Backup, Copied};

use super::exit::{self, Failure};
use super::interrupt::{self, Farewell};
use super::options::Options;
use super::output::{Escaped, Output, say};
use super::progress::Progress;
use super::time::rfc3339;

/// How often a directory is removed in which somebody may still make files.
const REMOVALS: u32 = 10;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each cohort is copied up to a record that was the last one at some moment: what was acknowledged before the backup began is in \
it. Writers do not wait, compactions do. Bundles come along; what is in quarantine does not, which is told. The copy is checked \
before it gets its name; until then it is .DIR.….incomplete beside that, and if it was killed it may be removed.

A backup can be read as a store (--store DIR), and is not for writing: `tallyfold restore` makes a store of it.

Examples:
  tallyfold backup backup-all
  tallyfold backup backup-two index metrics
  tallyfold backup backup-checked && tallyfold backup --verify backup-checked")]
pub(crate) struct Args {
    /// The new directory; with --verify, the backup
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// The cohorts; without any all of them
    #[arg(value_name = "COHORT")]
    cohorts: Vec<String>,

    /// Check every byte of a backup
    #[arg(long, conflicts_with = "cohorts")]
    verify: bool,
}

#[derive(Serialize)]
struct Told<'a> {
    path: String,
    store: &'a str,
    began: String,
    ended: String,
    bytes: u64,
    cohorts: Vec<Cohort<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<&'a [String]>,
}

#[derive(Serialize)]
struct Cohort<'a> {
    cohort: &'a str,
    seq: u64,
    epoch: u64,
    files: u64,
    bytes: u64,
    left_out: &'a [String],
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    if args.verify {
        return verify(options, &args.dir);
    }
    let store = options.store()?;
    let names: Vec<&str> = args.cohorts.iter().map(String::as_str).collect();
    let mut watcher = Watcher::new(Progress::new("copying bytes", None));
    let backup = store.backup(&names, &args.dir, &mut |copied| watcher.told(copied));
    let backup = ended(watcher, backup)?;
    if backup.cohorts().is_empty() {
        say(format!("there is no cohort in the store {}", store.path().display()));
    }
    tell(options, &backup, None, "backed up")
}

fn verify(options: &Options, dir: &Path) -> Result<(), Failure> {
    let backup = Backup::open(dir)?;
    let mut watcher = Watcher::new(Progress::bytes("checking", backup.bytes()));
    let wrong = backup.verify(&mut |copied| watcher.told(copied));
    let wrong: Vec<String> = ended(watcher, wrong)?.iter().map(ToString::to_string).collect();
    if wrong.is_empty() {
        return tell(options, &backup, Some(&wrong), "whole");
    }
    if options.json {
        tell(options, &backup, Some(&wrong), "damaged")?;
    }
    for what in &wrong {
        say(what);
    }
    Err(Failure::new(exit::CORRUPTION, format!("the backup {} is damaged", dir.display())))
}

fn tell(options: &Options, backup: &Backup, damage: Option<&[String]>, word: &str) -> Result<(), Failure> {
    let mut out = Output::new();
    let (began, ended) = backup.times_us();
    if options.json {
        out.json(&Told {
            path: backup.path().display().to_string(),
            store: backup.store_id(),
            began: rfc3339(began),
            ended: rfc3339(ended),
            bytes: backup.bytes(),
            cohorts: backup.cohorts().iter().map(cohort).collect(),
            damage,
        })?;
    } else {
        for BackedUp { cohort, seq, left_out, .. } in backup.cohorts() {
            writeln!(out, "{}: {word} up to seq {seq}", Escaped(cohort))?;
            if damage.is_none() {
                for what in left_out {
                    writeln!(out, "{}: left out: {}", Escaped(cohort), Escaped(what))?;
                }
            }
        }
        let (path, bytes) = (backup.path().display().to_string(), backup.bytes());
        writeln!(out, "{}: {word}: {bytes} bytes, begun {}", Escaped(&path), rfc3339(began))?;
    }
    Ok(out.flush()?)
}

fn cohort(backed_up: &BackedUp) -> Cohort<'_> {
    let BackedUp { cohort, seq, epoch, left_out, .. } = backed_up;
    Cohort { cohort, seq: *seq, epoch: *epoch, files: backed_up.files(), bytes: backed_up.bytes(), left_out }
}

/// Draws the bar, breaks off at Ctrl-C, and removes what is incomplete if the process ends in the middle of a call.
pub(crate) struct Watcher {
    progress: Progress,
    incomplete: Arc<Mutex<Option<PathBuf>>>,
    _farewell: Farewell,
}

impl Watcher {
    pub(crate) fn new(progress: Progress) -> Watcher {
        let incomplete: Arc<Mutex<Option<PathBuf>>> = Arc::default();
        let left = Arc::clone(&incomplete);
        let farewell = interrupt::farewell(move || {
            if let Some(path) = left.lock().unwrap_or_else(PoisonError::into_inner).take() {
                remove(&path);
            }
        });
        Watcher { progress, incomplete, _farewell: farewell }
    }

    pub(crate) fn told(&mut self, copied: Copied<'_>) -> ControlFlow<()> {
        self.progress.at(copied.bytes);
        let mut incomplete = self.incomplete.lock().unwrap_or_else(PoisonError::into_inner);
        if incomplete.as_deref() != copied.incomplete {
            *incomplete = copied.incomplete.map(Path::to_path_buf);
        }
        if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Best effort: the other thread may be making files in there.
#[allow(clippy::disallowed_methods, reason = "the process ends, and the library with it")]
fn remove(path: &Path) {
    for _ in 0..REMOVALS {
        if std::fs::remove_dir_all(path).is_ok() {
            break;
        }
    }
}

/// What became of it; Ctrl-C comes before all else.
pub(crate) fn ended<T>(watcher: Watcher, result: tallyfold::Result<T>) -> Result<T, Failure> {
    // Nothing that is complete is to be removed.
    drop(watcher);
    match result {
        Ok(done) => Ok(done),
        Err(e) => {
            interrupt::check()?;
            Err(e.into())
        }
    }
}
