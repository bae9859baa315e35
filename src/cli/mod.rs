//! The command line: one file for each verb, and what they share.

pub(crate) mod alter;
pub(crate) mod append;
pub(crate) mod backup;
pub(crate) mod bundle;
pub(crate) mod compact;
pub(crate) mod completions;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod get;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod lock;
pub(crate) mod log;
pub(crate) mod ls;
pub(crate) mod mirror;
pub(crate) mod once;
pub(crate) mod plot;
pub(crate) mod previous;
pub(crate) mod refold;
pub(crate) mod repair;
pub(crate) mod restore;
pub(crate) mod stats;
pub(crate) mod stress;
pub(crate) mod top;
pub(crate) mod verify;

pub(crate) mod again;
pub(crate) mod cohorts;
pub(crate) mod config;
pub(crate) mod cursor_file;
pub(crate) mod exit;
pub(crate) mod exposition;
pub(crate) mod filter;
pub(crate) mod help;
pub(crate) mod input;
pub(crate) mod interrupt;
pub(crate) mod key;
pub(crate) mod listen;
pub(crate) mod options;
pub(crate) mod output;
pub(crate) mod picture;
pub(crate) mod pretty;
pub(crate) mod progress;
pub(crate) mod random;
pub(crate) mod record;
pub(crate) mod records;
pub(crate) mod screen;
pub(crate) mod select;
pub(crate) mod settings;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod time;

use clap::Parser;
use clap::error::ErrorKind;

use exit::Failure;
use options::Options;

/// Many processes keep one tally without losing a line of it: checksummed journals, folded into JSON snapshots.
#[derive(Debug, Parser)]
#[command(name = "tallyfold", version, help_template = help::template(), after_help = exit_codes())]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Make a cohort (and the store)
    Create(create::Args),
    /// Append JSON values, one a line, and print the last seq
    Append(append::Args),
    /// Append what a JSON, JSON Lines, Parquet or Optuna journal file holds
    Import(import::Args),
    /// Append the delete of a key, and print its seq
    Delete(delete::Args),
    /// Print the value of a key, or the whole state
    Get(get::Args),
    /// Commit files and a value as one act, or find the newest ones
    Bundle(bundle::Args),
    /// Print the value of a key; if there is none, one of all who ask computes it
    Once(once::Args),
    /// Print the records of the journal, and follow it
    Log(log::Args),
    /// Print the records of a key that are still there
    History(history::Args),
    /// Draw how a metric goes, as curves in the terminal
    Plot(plot::Args),
    /// Print the newest earlier entry with certain fields
    Previous(previous::Args),
    /// List the cohorts of the store, or the keys of one
    Ls(ls::Args),
    /// Fold the journal into the snapshot
    Compact(compact::Args),
    /// Run a command while a lock is held
    Lock(lock::Args),
    /// Change settings of a cohort
    Alter(alter::Args),
    /// Make a new cohort of all records of another, with another fold
    Refold(refold::Args),
    /// Write the state, records or points as JSON Lines, CSV, Parquet or Arrow
    Export(export::Args),
    /// Write the state as a plain file, JSON or Parquet
    Mirror(mirror::Args),
    /// Check every byte, changing nothing
    Verify(verify::Args),
    /// Repair a damaged cohort; without --yes, say what that would do and what would be lost
    Repair(repair::Args),
    /// Copy cohorts to a new directory while writers go on, or check such a copy
    Backup(backup::Args),
    /// Make a store, or a cohort, of a backup
    Restore(restore::Args),
    /// Print sizes and positions
    Stats(stats::Args),
    /// Watch what the cohorts do, on a screen of its own
    Top(top::Args),
    /// Try whether a directory is good for many writers
    Doctor(doctor::Args),
    /// Print what a shell needs to complete this command
    Completions(completions::Args),
    /// Try here whether anything is lost when processes write at once, and are killed
    Stress(stress::Args),
    Demo(demo::Args),
    #[command(hide = true)]
    DoctorWorker(doctor::WorkerArgs),
    #[command(hide = true)]
    DemoWorker(demo::WorkerArgs),
    #[command(hide = true)]
    StressWorker(stress::WorkerArgs),
}

fn exit_codes() -> String {
    use exit::{
        CONFLICT, CORRUPTION, FAILURE, INTERRUPTED, LOCK_TIMEOUT, NOT_FOUND, OK, REPAIRED_WITH_LOSS,
        UNSAFE_FILE_SYSTEM, USAGE,
    };
    format!(
        "Exit codes: {OK} all well, {FAILURE} failure, {USAGE} usage, {NOT_FOUND} no such store, cohort or key, \
         {LOCK_TIMEOUT} no lock in time, {CORRUPTION} damage, {REPAIRED_WITH_LOSS} repaired with loss, {CONFLICT} other settings, \
         {UNSAFE_FILE_SYSTEM} unsafe file system, {INTERRUPTED} Ctrl-C"
    )
}

/// The arguments of this process, with what the config file adds to them.
///
/// # Errors
/// Usage; a config file that cannot be understood; or that help was asked for and printed, which is no failure.
pub(crate) fn arguments() -> Result<Arguments, Failure> {
    let Arguments { options, verb } = parsed()?;
    let options = options.completed(config::read()?);
    style::choose(options.color.unwrap_or(style::Color::Auto));
    Ok(Arguments { options, verb })
}

fn parsed() -> Result<Arguments, Failure> {
    Arguments::try_parse().map_err(|e| {
        if !e.use_stderr() {
            return e.print().map_or_else(Failure::from, |()| Failure::new(exit::OK, ""));
        }
        if e.kind() == ErrorKind::MissingSubcommand {
            // clap would list the verbs, the hidden one among them.
            return Failure::new(exit::USAGE, "which verb? `tallyfold --help` lists them");
        }
        let text = e.render().to_string();
        Failure::new(exit::USAGE, text.strip_prefix("error: ").unwrap_or(&text).trim_end())
    })
}
