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
        #[arg(long, default_value_t = WRITERS)]
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
    /// All of these for long, and one table of them at the end
    Long {
        #[arg(long, default_value_t = 10_000)]
        kills: u64,
        #[arg(long, default_value_t = 200)]
        cuts: u64,
        #[arg(long, default_value_t = 10)]
        rounds: u64,
        #[arg(long, default_value_t = 80)]
        cycles: u64,
    },
    /// Show that the checks find what they are for
    #[command(hide = true)]
    SelfTest,
    #[command(hide = true)]
    Child { role: String },
}

/// Writer processes at a time, unless asked for another number.
const WRITERS: u64 = 10;

/// What came of each part, as Markdown.
struct Table {
    rows: Vec<String>,
    dirty: bool,
    /// When the part began whose row comes next.
    begun: Instant,
}

impl Table {
    fn row(&mut self, what: &str, verdict: Verdict) {
        let seconds = std::mem::replace(&mut self.begun, Instant::now()).elapsed().as_secs_f64();
        let Verdict { records, acks, lost, duplicated, invented, wrong, .. } = verdict;
        self.dirty |= !told(&verdict);
        self.rows.push(format!(
            "| {what} | {records} | {acks} | {lost} | {duplicated} | {invented} | {wrong} | {seconds:.0} |"
        ));
    }

    /// Prints all of it. Whether nothing was found.
    fn end(&self) -> bool {
        println!("\n| | records | acknowledged | lost | duplicated | invented | otherwise wrong | seconds |");
        println!("|---|--:|--:|--:|--:|--:|--:|--:|");
        self.rows.iter().for_each(|row| println!("{row}"));
        !self.dirty
    }
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
        Verb::Long { kills, cuts, rounds, cycles } => {
            let mut table = Table { rows: Vec::new(), dirty: false, begun };
            let long = kills::run(&dir, *kills, WRITERS, seed)?;
            table.row(&format!("processes killed: {}", long.kills), long.verdict);
            match disk::Disks::new(&dir) {
                Ok(disks) => {
                    table.row(&format!("disks cut off: {cuts}"), cuts::run(&disks, *cuts, seed)?);
                    table.row(
                        &format!("rounds of failing syncs: {rounds}"),
                        syncs::run(&disks, *rounds, seed)?,
                    );
                    table.row(&format!("disks filled: {cycles}"), full::run(&disks, *cycles, seed)?);
                }
                Err(e) => println!("disks are skipped: {e}"),
            }
            Ok(table.end())
        }
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
