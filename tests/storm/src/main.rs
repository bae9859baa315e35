//! A storm over tallyfold: processes that append are killed and stopped at random moments, or their disk is cut off, fails to
//! sync or is full; and whatever was acknowledged must be there, once, as it was said. Everything goes through the public
//! library. This program is the parent and all its children.
#![allow(
    clippy::disallowed_methods,
    reason = "reports are kept outside of any store, and this starts processes and mounts"
)]

mod act;
mod board;
mod children;
mod cuts;
mod disk;
mod full;
mod judge;
mod kills;
mod reader;
mod report;
mod self_test;
mod syncs;
mod writer;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use judge::Verdict;

pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

#[derive(Parser)]
#[command(about, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// Where stores are made [default: the temporary directory]
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    /// Plans the kills and all that is appended [default: another one each time]
    #[arg(long, global = true)]
    seed: Option<u64>,
}

#[derive(Subcommand)]
enum Verb {
    /// Kill and stop writers, readers and a compactor at random moments
    Kills {
        #[arg(long, default_value_t = 10_000)]
        kills: u64,
        /// Writer processes at a time
        #[arg(long, default_value_t = 10)]
        writers: u64,
    },
    /// Cut off a file system under writers, mount it again, and see what is there
    Cuts {
        #[arg(long, default_value_t = 8)]
        cuts: u64,
    },
    /// Let syncs fail because there is no space beneath the file system
    Syncs {
        #[arg(long, default_value_t = 2)]
        rounds: u64,
    },
    /// Fill and empty the disk again and again under writers
    Full {
        #[arg(long, default_value_t = 6)]
        cycles: u64,
    },
    /// Show that the checks find what they are for
    #[command(hide = true)]
    SelfTest,
    #[command(hide = true)]
    Child { role: String },
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Verb::Child { role } = &args.verb {
        return child(role);
    }
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("tallyfold-storm: {e}");
            ExitCode::FAILURE
        }
    }
}

fn child(role: &str) -> ExitCode {
    match children::Role::play(role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            match serde_json::from_str::<children::Role>(role) {
                Ok(role) => report::tell_violation(role.outside(), &e.to_string()),
                Err(_) => eprintln!("tallyfold-storm: {e}"),
            }
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing was found.
fn run(args: &Args) -> Result<bool> {
    let dir = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    children::take_charge();
    let begun = Instant::now();
    let seconds = || format!("{:.1} seconds", begun.elapsed().as_secs_f64());
    println!("seed {seed}");
    match &args.verb {
        Verb::Kills { kills, writers } => {
            let tally = kills::run(&dir, *kills, *writers, seed)?;
            println!(
                "{} kills ({} of forked writers), {} stops, {} rounds, {} epochs, {} reader checks, {}",
                tally.kills,
                tally.forks_killed,
                tally.stops,
                tally.rounds,
                tally.epochs,
                tally.checks,
                seconds()
            );
            Ok(told(&tally.verdict))
        }
        Verb::Cuts { cuts } => on_disks(&dir, |disks| cuts::run(disks, *cuts, seed), seconds),
        Verb::Syncs { rounds } => on_disks(&dir, |disks| syncs::run(disks, *rounds, seed), seconds),
        Verb::Full { cycles } => on_disks(&dir, |disks| full::run(disks, *cycles, seed), seconds),
        Verb::SelfTest => self_test::run(&dir, seed),
        Verb::Child { .. } => Err("a child has no children".into()),
    }
}

fn on_disks(
    dir: &std::path::Path,
    run: impl FnOnce(&disk::Disks) -> Result<Verdict>,
    seconds: impl Fn() -> String,
) -> Result<bool> {
    match disk::Disks::new(dir) {
        Ok(disks) => {
            let verdict = run(&disks)?;
            println!("{}", seconds());
            Ok(told(&verdict))
        }
        Err(e) => {
            println!("skipped: {e}");
            Ok(true)
        }
    }
}

fn told(verdict: &Verdict) -> bool {
    println!(
        "{} records, {} acknowledged: {} lost, {} duplicated, {} invented, {} otherwise wrong",
        verdict.records, verdict.acks, verdict.lost, verdict.duplicated, verdict.invented, verdict.wrong
    );
    verdict.told.iter().for_each(|what| println!("  {what}"));
    verdict.is_clean()
}
