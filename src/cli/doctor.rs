//! `tallyfold doctor`: whether a directory is good for many writers.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tallyfold::doctor::{self, Check, Examination, Outcome, Verdict};

use super::exit::{self, Failure};
use super::interrupt;
use super::options::Options;
use super::output::{Escaped, Output};
use super::progress::Progress;
use super::style::Style;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Tries what the store asks of a file system: that processes exclude each other by the locks that would be used, that the lock \
of one that dies is free, that files are replaced, linked and made as they should be, that what is written is read again, and \
how long syncs take. It makes a directory .doctor-<16 hex> for that, starts a few processes of its own, and removes it again. \
Of a store it also says what is left over, and whether its cohorts fit the place; nothing in them is changed.

Exit code 0: many processes may write here; a warning says what should be known. Exit code 8: they may not, or nothing can be \
written here; the answers say why, and what to do. Locks are tried between processes of this host: what other hosts do on a \
network file system cannot be seen from here.

Examples:
  tallyfold doctor
  tallyfold doctor /dev/shm | head -n 4
  tallyfold doctor --json . | jq -r .verdict")]
pub(crate) struct Args {
    /// The directory; without it the store's, or where the store would be
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What the examination starts its processes with.
#[derive(Debug, clap::Args)]
pub(crate) struct WorkerArgs {
    /// What to do
    task: String,
    /// How often
    turns: u64,
    /// Where
    dir: PathBuf,
}

#[derive(Serialize)]
struct Examined<'a> {
    directory: &'a str,
    file_system: &'a str,
    verdict: Verdict,
    checks: &'a [Check],
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let dir = directory(options, args);
    let worker = env::current_exe().map_err(|e| {
        Failure::new(exit::FAILURE, format!("this program does not find itself to start processes: {e}"))
    })?;
    let mut examination = Examination::begin(&dir, vec![worker.into(), "doctor-worker".into(), "--".into()])
        .map_err(|e| {
            let advice = if e.is_not_found() { "; make it, or name the one it is to be in" } else { "" };
            let failure = Failure::from(e);
            Failure::new(failure.code, failure.message + advice)
        })?;
    let scratch = examination.scratch();
    let farewell = interrupt::farewell(move || scratch.iter().for_each(|path| doctor::remove_scratch(path)));
    let mut progress = Progress::new("examining", Some(Examination::steps()));
    while examination.step() {
        interrupt::check()?;
        progress.advance(1);
    }
    drop(progress);
    let (verdict, checks) = (examination.verdict(), examination.checks().to_vec());
    let file_system = examination.file_system().to_string();
    // Before anything is printed: it is gone also if nobody listens.
    drop(examination);
    drop(farewell);

    let mut out = Output::new();
    let shown = dir.display().to_string();
    match options.json {
        true => {
            out.json(&Examined { directory: &shown, file_system: &file_system, verdict, checks: &checks })?
        }
        false => print(&mut out, &shown, verdict, &checks)?,
    }
    out.flush()?;
    match verdict {
        Verdict::Safe | Verdict::Warning => Ok(()),
        // It was told already.
        Verdict::Unsafe | Verdict::ReadOnly => Err(Failure::new(exit::UNSAFE_FILE_SYSTEM, "")),
    }
}

/// The directory named, or the store's; where there is none yet, the one that it would be made in.
fn directory(options: &Options, args: &Args) -> PathBuf {
    let store = match &args.dir {
        Some(dir) => return dir.clone(),
        None => options.path(),
    };
    if store.is_dir() {
        return store.to_path_buf();
    }
    match store.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => Path::new(".").to_path_buf(),
    }
}

fn print(out: &mut Output, dir: &str, verdict: Verdict, checks: &[Check]) -> Result<(), Failure> {
    let style = Style::stdout();
    let width = checks.iter().map(|check| check.check.len()).max().unwrap_or(0);
    for check in checks {
        let name = format!("{:width$}", check.check);
        let cohort = check.cohort.as_ref().map(|name| format!("{}: ", Escaped(name))).unwrap_or_default();
        let said = Escaped(&check.said);
        match check.outcome {
            Outcome::Ok => writeln!(out, "{}       {name}  {cohort}{said}", style.green("ok")),
            Outcome::Skipped => writeln!(out, "{}  {name}  {cohort}{said}", style.dim("skipped")),
            Outcome::Warning => writeln!(out, "{}  {name}  {cohort}{said}", style.yellow("warning")),
            Outcome::Unsafe => writeln!(out, "{}   {name}  {cohort}{said}", style.red("UNSAFE")),
        }?;
        if let Some(advice) = &check.advice {
            writeln!(out, "         {:width$}  -> {}", "", Escaped(advice))?;
        }
    }
    let dir = Escaped(dir);
    match verdict {
        Verdict::Safe => writeln!(out, "{}", style.green(format!("{dir}: many processes may write here"))),
        Verdict::Warning => writeln!(
            out,
            "{}",
            style.yellow(format!("{dir}: many processes may write here, and the warnings say what to know"))
        ),
        Verdict::Unsafe => {
            writeln!(out, "{}", style.red(format!("{dir}: NOT for many writers: see what is UNSAFE")))
        }
        Verdict::ReadOnly => writeln!(
            out,
            "{}",
            style.red(format!("{dir}: nothing can be written here; a store that is here can be read"))
        ),
    }?;
    Ok(())
}

pub(crate) fn work(args: &WorkerArgs) -> Result<(), Failure> {
    Ok(doctor::work(&args.task, &args.dir, args.turns)?)
}
